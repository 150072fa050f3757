"""Following a stream, wherever its bytes are split."""

import pytest

from crossgrade.dialects import DIALECTS
from crossgrade.domain import DialectName
from crossgrade.gateway._answers import StreamRelay

CHAT = (
    b'data: {"id":"c-1","choices":[{"delta":{"content":"say \\"error\\": [DONE] message_stop"}}],"usage":null}\n\n'
    b": ping\n\n"
    b'data: {"id":"c-1","choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
)
COUNT = b'data: {"id":"c-1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"
MESSAGE = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m-1","usage":{"input_tokens":7,"output_tokens":1}}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"message_stop"}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":3}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
RESPONSE = (
    b'event: response.created\ndata: {"type":"response.created","response":{"id":"r-1","usage":null}}\n\n'
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"response.completed"}\n\n'
    b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r-1","error":null,'
    b'"usage":{"input_tokens":7,"output_tokens":3}}}\n\n'
)

STREAMS: list[tuple[DialectName, bytes, bytes, str]] = [
    ("openai", CHAT + COUNT + DONE, CHAT + DONE, "c-1"),
    ("anthropic", MESSAGE, MESSAGE, "m-1"),
    ("openai-responses", RESPONSE, RESPONSE, "r-1"),
]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize(("dialect", "sent", "passed", "response_id"), STREAMS)
def test_whole_events_pass_and_tokens_are_counted(dialect, sent, passed, response_id, line_end):
    sent, passed = sent.replace(b"\n", line_end), passed.replace(b"\n", line_end)
    for size in (*range(1, 40), 100, len(sent)):
        watch = DIALECTS[dialect].follow(swallow=True)
        given = [watch.feed(sent[at : at + size]) for at in range(0, len(sent), size)]
        assert all(piece.endswith(line_end * 2) for piece in given if piece)
        assert b"".join(given) == passed
        assert watch.done
        assert watch.failure is None
        assert (watch.usage.input_tokens, watch.usage.output_tokens) == (7, 3)
        assert watch.response_id == response_id


class Outlet:
    """Takes what a relay sends."""

    def __init__(self):
        self.sent = b""
        self.ended = None
        self.failure = None

    def begin_stream(self):
        return self.take

    def take(self, data):
        self.sent += data

    def end_stream(self, usage, response_id, output_tokens, last=b""):
        self.sent += last
        self.ended = (usage.input_tokens, usage.output_tokens, response_id)
        self.events = output_tokens

    def failed(self, error):
        self.failure = error


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize(("dialect", "sent", "passed", "response_id"), STREAMS)
def test_a_relay_sends_the_same_wherever_a_stream_is_split(dialect, sent, passed, response_id, line_end):
    sent, passed = sent.replace(b"\n", line_end), passed.replace(b"\n", line_end)
    events = [event + line_end * 2 for event in sent.split(line_end * 2)[:-1]]
    pieces = [[sent[at : at + size] for at in range(0, len(sent), size)] for size in (*range(1, 40), 100)]
    for split in (events, [sent], *pieces):
        outlet, _ = relayed(split, dialect)
        assert outlet.failure is None
        assert outlet.ended == (7, 3, response_id)
        assert outlet.sent == passed


PLAIN = b'data: {"id":"c-1","choices":[{"delta":{"content":"of sk-1 nothing counts"}}]}\n\n'
HIDDEN = PLAIN.replace(b"sk-1", b"***")


def relayed(pieces, dialect="openai", key=None):
    outlet = Outlet()
    relay = StreamRelay(outlet, DIALECTS[dialect].follow(swallow=True), key)
    for piece in pieces:
        relay.data(piece)
    relay.end()
    return outlet, relay


def test_events_that_pass_unread_are_counted_and_do_not_tell_the_key():
    outlet, relay = relayed([PLAIN, PLAIN, PLAIN * 2, PLAIN[:9], PLAIN[9:], PLAIN, COUNT, DONE], key=b"sk-1")
    assert outlet.sent == HIDDEN * 6 + DONE
    assert outlet.events == 7
    assert relay.spent()[1] == 7


def test_a_relay_that_found_an_error_sends_nothing_more():
    outlet, _ = relayed([PLAIN, PLAIN, b'data: {"error": {"message": "no"}}\n\n', PLAIN, PLAIN])
    assert outlet.sent == PLAIN * 2
    assert "no" in outlet.failure.message
    assert outlet.ended is None


def test_nothing_follows_the_terminal_marker():
    outlet, _ = relayed([PLAIN, PLAIN, DONE, PLAIN, PLAIN])
    assert outlet.sent == PLAIN * 2 + DONE
    assert outlet.failure is None


LAST = b'data: {"id":"c-1","choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
NOT_LAST = LAST.replace(b'"stop"', b"null")


@pytest.mark.parametrize(
    ("pieces", "ends"),
    [
        ([CHAT, COUNT], True),
        ([CHAT + COUNT], True),
        ([CHAT, PLAIN, LAST], True),
        ([CHAT, LAST[:20], LAST[20:]], True),
        ([CHAT, COUNT.replace(b"\n", b"\r\n")], True),
        ([CHAT, NOT_LAST], False),
        ([CHAT, PLAIN, NOT_LAST, PLAIN], False),
        ([CHAT, COUNT, PLAIN], False),
        ([CHAT, COUNT + PLAIN], False),
        ([CHAT, COUNT, b"data: {"], False),
        ([CHAT, COUNT.replace(b'"completion_tokens":3', b'"completion_tokens":-3')], False),
        ([CHAT, PLAIN], False),
    ],
)
def test_usage_and_a_finish_reason_end_a_stream_without_its_marker(pieces, ends):
    outlet, _ = relayed(pieces)
    assert (outlet.failure is None) is ends
    assert (outlet.ended is not None) is ends
    assert DONE not in outlet.sent


def test_the_count_is_passed_on_to_a_client_that_asked():
    watch = DIALECTS["openai"].follow(swallow=False)
    assert watch.feed(CHAT + COUNT + DONE) == CHAT + COUNT + DONE


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_nothing_passes_from_an_error_on(size):
    sent = CHAT + b'data: {"error": {"message": "no"}}\n\n' + CHAT + DONE
    watch = DIALECTS["openai"].follow(swallow=True)
    assert b"".join(watch.feed(sent[at : at + size]) for at in range(0, len(sent), size)) == CHAT
    assert watch.failure is not None
    assert not watch.done


def test_half_a_terminal_marker_is_none():
    watch = DIALECTS["openai"].follow(swallow=True)
    watch.feed(CHAT + b"data: [DON")
    assert watch.end() == b""
    assert not watch.done
