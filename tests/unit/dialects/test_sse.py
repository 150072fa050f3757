"""The event reader gives the same events wherever the bytes are split."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.dialects import SseEvent, SseReader
from tests.codes import raises_code

STREAM = (
    b"\xef\xbb\xbf: a comment\r\n"
    b"data: one\r\n\r\n"
    b"event: named\r\ndata: two\r\ndata: lines \xc3\xa9\xf0\x9f\x98\x80\r\n\r\n"
    b"id: 7\nretry: 10\ndata\ndata:tight\n\n"
    b":ping\n\n"
    b"event: without data\n\n"
    b"data: mac\rdata: style\r\r"
    b"data: [DONE]\n\n"
    b"data: never closed"
)
EVENTS = [
    SseEvent("", b"one"),
    SseEvent("named", b"two\nlines \xc3\xa9\xf0\x9f\x98\x80"),
    SseEvent("", b"\ntight"),
    SseEvent("", b"mac\nstyle"),
    SseEvent("", b"[DONE]"),
]


def read(pieces: list[bytes]) -> list[SseEvent]:
    reader = SseReader()
    return [event for piece in pieces for event in reader.feed(piece)]


def test_whole() -> None:
    assert read([STREAM]) == EVENTS


@pytest.mark.parametrize("at", range(1, len(STREAM)))
def test_split_at_every_byte(at: int) -> None:
    assert read([STREAM[:at], STREAM[at:]]) == EVENTS


def test_a_byte_at_a_time() -> None:
    assert read([STREAM[at : at + 1] for at in range(len(STREAM))]) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_split_anywhere(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert read([STREAM[start:end] for start, end in itertools.pairwise(edges)]) == EVENTS


@given(
    st.binary(max_size=300).map(
        lambda raw: raw.replace(b"\x00", b"\r\n").replace(b"\x01", b"\n\n").replace(b"\x02", b"data:")
    ),
    st.data(),
)
def test_any_bytes_read_the_same_in_any_pieces(raw: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=10)))
    edges = [0, *cuts, len(raw)]
    pieces = [raw[start:end] for start, end in itertools.pairwise(edges)]
    assert read(pieces) == read([raw])


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: " + b"x" * 100],
        [b"data: " + b"x" * 100 + b"\n\n"],
        [b"x"] * 100,
        [b"data: 0123456789\n"] * 5,
    ],
)
def test_sizes_are_bounded(pieces: list[bytes]) -> None:
    reader = SseReader(longest_line=50, longest_event=40)

    def feed_all() -> None:
        for piece in pieces:
            reader.feed(piece)

    with raises_code("stream-event-too-large"):
        feed_all()
