"""Answers that a provider should not have given: none may hang, leak, or become another request's."""

import json
from decimal import Decimal

import pytest

from crossgrade.domain import Limit, Price, RouteSpec
from crossgrade.gateway import Grant
from tests.e2e.raw_upstream import STREAM_HEAD, RawUpstream, completion, event, json_answer
from tests.waiting import until

KEY = "0123456789abcdef0123456789abcdef"
"""A provider's key that no pattern of keys knows."""

PRICE = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(10))
BUSY = f"no room for the project of {KEY}"
LONG_ERROR = b"HTTP/1.1 500 No\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
STOPPED = b'data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":7}}\n\n'
SCRIPT = {
    "two answers": [json_answer(completion("mine"), closes=False) + json_answer(completion("another's"))],
    "more than promised": [json_answer(completion("mine"), closes=False) + b"and more"],
    "more after the last": [json_answer(completion("mine")) + b"and more"],
    "refused": [json_answer({"error": {"message": BUSY}}, status="400 Bad Request")],
    "busy": [json_answer({"error": {"message": BUSY}})],
    "cut in the key": [
        json_answer({"error": {"message": "x" * 150 + BUSY}}, status="422 Unprocessable Content")
    ],
    "busy in a stream": [
        STREAM_HEAD, event(content="Hello"), 0.2, b"data: " + json.dumps({"error": {"message": BUSY}}).encode() + b"\n\n",
    ],
    "an error without end": [LONG_ERROR, *([b"1000\r\n" + b"a" * 4096 + b"\r\n", 0.001] * 5_000)],
    "hanging": [30.0],
    "half": [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{", 30.0],
    "streaming": [STREAM_HEAD, event(content="one"), event(content="two"), 30.0],
    "silent stream": [STREAM_HEAD, 30.0],
    "commented": [STREAM_HEAD, b": still there\n\n", 30.0],
    "begun": [STREAM_HEAD, event(role="assistant", content=""), 30.0],
    "more than was asked for": [STREAM_HEAD, event(content="one") * 5_999, event(content="last"), 30.0],
    "counted": [STREAM_HEAD, event(content="one") + STOPPED, 30.0],
    "slow": [STREAM_HEAD, *([event(content="on"), 0.15] * 10), b"data: [DONE]\n\n"],
    "quoting": [
        json_answer({"error": {"message": "Invalid value: 'credit balance'."}}, status="400 Bad Request")
    ],
    "fine": [json_answer(completion("mine"))],
    "huge": [json_answer(completion("x" * (9 << 20)))],
    "queued": [json_answer({"id": "resp_1", "object": "response", "status": "queued", "usage": None})],
    "a long last event": [
        STREAM_HEAD,
        b"data: " + json.dumps({"type": "response.completed", "response": {"output": "x" * (3 << 20)}}).encode() + b"\n\n",
    ],
}  # fmt: skip

SEEN = {
    "commented": b"still",
    "begun": b"role",
    "streaming": b"two",
    "more than was asked for": b"last",
    "counted": b"one",
}


@pytest.fixture
def upstream():
    with RawUpstream(SCRIPT) as raw:
        yield raw


@pytest.fixture
def served(run, make, upstream):
    target = make.target(upstream, key_env="KEY", price=PRICE)
    route = RouteSpec(name="support", incumbent="big", attempts=1)
    limit = Limit(scope="route", unit="tokens", cap=1e6, window_s=86_400)
    with run([target], [route], environ={"KEY": KEY}, limits=(limit,)) as world:
        world.worker.limits.send = lambda ask: world.loop.call_soon(grant, world, ask) is not None
        yield world


def grant(world, ask):
    world.worker.limits.granted(Grant(ask.lease, 1_000_000))


def saying(text, **fields):
    body = {"model": "support", "messages": [{"role": "user", "content": text}], **fields}
    return json.dumps(body).encode()


@pytest.mark.parametrize("text", ["two answers", "more than promised", "more after the last"])
def test_what_follows_a_whole_answer_is_dropped_with_its_connection(served, text):
    answer = served.post(saying(text))
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == "mine"
    assert not served.on_loop(lambda: served.worker.context.targets["big"].pool._idle)


@pytest.mark.parametrize("text", ["refused", "busy", "cut in the key"])
def test_an_error_is_quoted_without_the_key(served, text):
    answer = served.post(saying(text))
    assert answer.status >= 400
    assert b"no room for the project of" in answer.body
    assert KEY[:6].encode() not in answer.body


def test_an_error_in_a_stream_is_quoted_without_the_key(served):
    answer = served.post(saying("busy in a stream", stream=True))
    assert b"no room for the project of ***" in answer.body
    assert KEY.encode() not in answer.body


def test_a_translated_stream_that_fails_says_so_once(served):
    answer = served.post(saying("busy in a stream", stream=True, max_tokens=9), "/v1/messages")
    assert answer.body.count(b"event: error") == 1
    assert b"no room for the project of ***" in answer.body


def test_an_error_without_end_is_not_waited_for(served):
    answer = served.post(saying("an error without end"))
    assert answer.status == 502


@pytest.mark.parametrize(
    ("text", "stream", "tokens"),
    [
        ("hanging", False, 5_000),
        ("half", False, 5_000),
        ("silent stream", True, 5_000),
        ("commented", True, 5_000),
        ("begun", True, 5_000),
        ("streaming", True, 5_000),
        ("more than was asked for", True, 6_000),
        ("counted", True, 7),
    ],
)
def test_who_hangs_up_pays_what_was_reserved_unless_the_answer_was_whole_or_longer(
    served, upstream, text, stream, tokens
):
    body = saying(text, stream=stream, max_tokens=5_000)
    connection = served.connect()
    connection.sendall(served.head("/v1/chat/completions", len(body)) + body)
    if text in SEEN:
        seen = b""
        while SEEN[text] not in seen:
            seen += connection.recv(65_536)
    else:
        until(lambda: upstream.requests)
        until(lambda: served.on_loop(lambda: served.worker.context.targets["big"].pool.open) == 1)
    connection.close()
    record = served.settled()[0]
    assert record.error == "client_gone"
    spent = served.on_loop(lambda: sum(each.spent for each in served.worker.limits.take_spends()))
    assert spent == (len(body) // 4 if text != "counted" else 10) + tokens
    assert (record.cost_usd is None) is (text not in SEEN)


def test_a_stream_may_last_longer_than_the_timeout_but_not_be_silent_for_so_long(run, make, upstream):
    target = make.target(upstream, key_env="KEY", timeout_s=1.0)
    with run(
        [target], [RouteSpec(name="support", incumbent="big", attempts=1)], environ={"KEY": KEY}
    ) as world:
        slow = world.post(saying("slow", stream=True))
        assert slow.body.count(b'"on"') == 10
        assert slow.body.endswith(b"data: [DONE]\n\n")
        silent = world.post(saying("streaming", stream=True))
        assert b'"two"' in silent.body
        assert b"sent nothing more within 1 s" in silent.body


def test_words_of_a_request_that_an_error_quotes_do_not_shut_the_target(served):
    for _ in range(8):
        assert served.post(saying("quoting")).code == "upstream_refused_key"
    assert served.post(saying("fine")).status == 200


def test_an_answer_too_large_to_be_translated_is_not_passed_on_as_it_is(served):
    answer = served.post(saying("huge", max_tokens=9), "/v1/messages")
    assert answer.status == 502
    assert "too large to be translated" in answer.json["error"]["message"]
    assert served.post(saying("huge")).status == 200


@pytest.fixture
def responding(run, make, upstream):
    limit = Limit(scope="route", unit="tokens", cap=1e6, window_s=86_400)
    target = make.target(upstream, dialect="openai-responses")
    with run([target], limits=(limit,), body_parse_bytes=1024) as world:
        world.worker.limits.send = lambda ask: world.loop.call_soon(grant, world, ask) is not None
        yield world


@pytest.mark.parametrize("size", [0, 3_000], ids=["small", "large"])
@pytest.mark.parametrize("value", [True, 1, "yes", {"a": 1}, []])
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions", "/v1/completions", "/v1/messages"])
def test_an_answer_in_the_background_is_refused_for_nobody_could_count_it(
    responding, upstream, path, value, size
):
    first = {"model": "support", "background": value, "x": "x" * size}
    for fields in (first, dict(reversed(first.items()))):
        assert responding.post(json.dumps(fields).encode(), path).status == 400
    assert {record.error for record in responding.settled(2)} == {"forbidden_field"}
    assert not upstream.requests


@pytest.mark.parametrize("size", [0, 3_000], ids=["small", "large"])
@pytest.mark.parametrize("value", [False, None])
def test_an_answer_in_the_foreground_is_served(responding, value, size):
    body = saying("queued", input="", background=value, padding="x" * size)
    assert responding.post(body, "/v1/responses").status == 200


def test_a_response_that_goes_on_when_it_is_answered_costs_what_was_reserved(responding):
    """A provider may answer so what was not asked for."""
    body = saying("queued", input="", padding="x" * 3_000)
    assert responding.post(body, "/v1/responses").status == 200
    (record,) = responding.settled()
    assert (record.cost_usd, record.cost_origin) == (None, "unknown")
    spent = responding.on_loop(lambda: sum(each.spent for each in responding.worker.limits.take_spends()))
    assert spent == len(body) // 4 + 32_768


def test_an_event_with_the_whole_answer_in_it_passes(responding):
    answer = responding.post(saying("a long last event", input="", stream=True), "/v1/responses")
    assert answer.status == 200
    assert len(answer.body) > 3 << 20
