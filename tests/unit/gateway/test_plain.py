"""Which answers and chunks are taken without the parser: those of which nothing has to be known but the body."""

from itertools import pairwise
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.errors import ProviderError
from crossgrade.gateway._plain import chunk_data, plain_body
from crossgrade.gateway._upstream import UpstreamConnection


def _answer(*lines: bytes, body: bytes = b'{"id":"a"}', status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, b"".join(line + b"\r\n" for line in lines), body)


@pytest.mark.parametrize(
    "lines",
    [
        (b"content-length: 10",),
        (b"Content-Type: application/json", b"Content-length:10"),
        (b"date: today", b"server: uvicorn", b"Content-Length:  10 ", b"X-Request-Id: a b\tc"),
    ],
)
def test_a_plain_answer_is_its_body(lines: tuple[bytes, ...]) -> None:
    assert plain_body(_answer(*lines)) == b'{"id":"a"}'


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"content-length: 9",),
        (b"content-length: 11",),
        (b"content-length: 10", b"content-length: 10"),
        (b"content-length: 10", b"Transfer-Encoding: chunked"),
        (b"content-length: 10", b"transfer-encoding : chunked"),
        (b"content-encoding: gzip", b"content-length: 10"),
        (b"connection: close", b"content-length: 10"),
        (b"upgrade: h2c", b"content-length: 10"),
        (b"content-type: text/event-stream", b"content-length: 10"),
        (b"X-RateLimit-Limit-Requests: 5", b"content-length: 10"),
        (b"anthropic-ratelimit-requests-limit: 5", b"content-length: 10"),
        (b"CONTENT-LENGTH: 10",),
        (b"Trailer: x", b"content-length: 10"),
        (b"Proxy-Connection: close", b"content-length: 10"),
        (b"Content-Length: 10", b"CONTENT-LENGTH: 10"),
        (b"content-type: Text/Event-Stream", b"content-length: 10"),
        (b": no name", b"content-length: 10"),
        (b"content-length: +10",),
        (b"content-length: 1_0",),
        (b"content-length: 0x0a",),
        (b"content-length: 10, 10",),
        (b"content-length: 10", b" folded: line"),
        (b"content-length: 10", b"no colon"),
        (b"content-length: 10", b"bad name: a"),
        (b"content-length: 10", b"nul: a\x00b"),
        (b"content-length: 10", b"bare: a\rb"),
        (b"content-length: 10", b"bare: a\nb"),
        (b"a: " + b"a" * 70_000, b"content-length: 10"),
    ],
)
def test_anything_that_has_to_be_known_is_for_the_parser(lines: tuple[bytes, ...]) -> None:
    assert plain_body(_answer(*lines)) is None


def test_only_one_whole_answer_of_status_200_is_plain() -> None:
    line = b"content-length: 10"
    whole = _answer(line)
    assert plain_body(whole + b"HTTP/1.1 200 OK\r\n") is None
    assert all(plain_body(whole[:end]) is None for end in range(len(whole)))
    for status in (b"100 Continue", b"204 No Content", b"429 Slow down", b"500 Oh", b"200", b"2000 OK"):
        assert plain_body(_answer(line, status=status)) is None
    assert plain_body(whole.replace(b"HTTP/1.1", b"HTTP/1.0")) is None


class _Call:
    """Keeps what it hears of a call, and the chunks that were handed on as they came."""

    repeatable = False

    def __init__(self) -> None:
        self.body = b""
        self.framed: list[tuple[bytes, bytes]] = []
        self.ended = 0
        self.error: ProviderError | None = None

    def on_ready(self, connection: UpstreamConnection) -> None: ...

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> None: ...

    def on_whole(self, body: bytes) -> None:
        raise AssertionError(body)

    def on_data(self, data: bytes, framed: bytes | None = None) -> None:
        self.body += data
        if framed is not None:
            self.framed.append((data, framed))

    def on_end(self) -> None:
        self.ended += 1

    def on_fail(self, error: ProviderError) -> None:
        self.error = error

    def upstream_paused(self) -> None: ...

    def upstream_resumed(self) -> None: ...


def _receive(*pieces: bytes) -> _Call:
    connection, call = UpstreamConnection(Mock(timeout_s=9.0, now=lambda: 0.0)), _Call()
    connection.connection_made(Mock(get_extra_info=lambda _: None, is_closing=lambda: False))
    connection.start(call)
    for piece in pieces:
        connection.data_received(piece)
    return call


_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"a", b"\r\n", b"data: {}\n\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"x" * 300]),
            st.sampled_from([b"", b"", b";a=b"]),
        ),
        max_size=6,
    ),
    st.none() | st.lists(st.integers(0, 500), max_size=8),
)
def test_a_chunked_answer_is_the_same_wherever_it_is_cut(
    chunks: list[tuple[bytes, bytes]], cuts: list[int] | None
) -> None:
    frames = [_HEAD, *(_chunk(*chunk) for chunk in chunks), b"0\r\n\r\n"]
    stream = b"".join(frames)
    if cuts is not None:
        ends = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        frames = [stream[begin:end] for begin, end in pairwise(ends) if begin < end]
    call = _receive(*frames)
    assert (call.body, call.ended, call.error) == (b"".join(data for data, _ in chunks), 1, None)
    assert all(framed == _chunk(data) for data, framed in call.framed)


def test_a_chunk_that_comes_alone_is_handed_on_as_it_came() -> None:
    events = [_chunk(b"data: 1\n\n"), _chunk(b"data: 2\n\n")]
    call = _receive(_HEAD + events[0], *events)
    assert [framed for _, framed in call.framed] == events


@pytest.mark.parametrize(
    "chunk",
    [
        b"+3\r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b"3 \r\nabc\r\n",
        b"0_3\r\nabc\r\n",
        b"4\r\nabc\r\n",
        b"3\nabc\r\n",
        b"0\r\n\r\n",
    ],
)
def test_chunks_are_read_strictly(chunk: bytes) -> None:
    assert chunk_data(chunk) is None
    call = _receive(_HEAD + _chunk(b"data: 1\n\n"), chunk)
    assert (call.body, call.framed) == (b"data: 1\n\n", [])
