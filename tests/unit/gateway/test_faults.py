"""Providers that fail in every way known: the client gets a clear answer, never a key."""

import gzip
import json
import socket
import zlib
from contextlib import contextmanager
from decimal import Decimal

import pytest

from crossgrade.domain import Price, RouteSpec
from crossgrade.testing import FakeProvider, Fault, Reply
from tests.unit.gateway.scripted import GO, JSON_HEAD, KEY, PAUSE, SSE_HEAD, raw_target, scripted

ANSWER = (
    b'{"id":"1","choices":[{"message":{"content":"ok"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}'
)
CHUNK = b'data: {"id":"1","choices":[{"delta":{"content":"ok"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
PRICE = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(2))


@contextmanager
def behind(run, make, script, **fields):
    """Run a worker whose only target is a fake provider; yields both."""
    with FakeProvider(script) as fake, run([make.target(fake, **fields)], environ={"KEY": KEY}) as world:
        yield world, fake


@contextmanager
def before(run, answer: bytes):
    """Run a worker whose only target sends raw bytes; yields it and what the target received."""
    with scripted(answer) as (url, received):
        target = raw_target(url)
        with run([target], only(target.name), environ={"KEY": KEY}) as world:
            yield world, received


def only(name: str) -> list[RouteSpec]:
    return [RouteSpec(name="support", incumbent=name, attempts=1)]


FAULTS = {
    "bad_key": (502, "upstream_refused_key"),
    "context_too_long": (400, "context_length_exceeded"),
    "drop": (502, "upstream_error"),
    "filtered": (400, "content_filter"),
    "gzip_bomb": (502, "upstream_error"),
    "half_json": (502, "upstream_error"),
    "hang": (504, "timeout"),
    "html": (502, "upstream_error"),
    "rate_limit": (429, "rate_limit_exceeded"),
    "redirect": (502, "upstream_error"),
    "server_error": (502, "upstream_error"),
}


CODES_KEPT = {"server_error": "server_error"}
"""What a provider's own code is, where it differs from the record's."""


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_becomes_a_clear_error(run, make, kind):
    with FakeProvider(Fault(kind, size=1 << 20)) as fake:
        target = make.target(fake, key_env="KEY", timeout_s=0.3)
        with run([target], only("big"), environ={"KEY": KEY}) as world:
            answer = world.post(make.chat())
            status, code = FAULTS[kind]
            assert (answer.status, answer.code) == (status, CODES_KEPT.get(kind, code))
            assert KEY.encode() not in answer.body
            assert b"sk-fake" not in answer.body
            assert b"<" not in answer.body
            record = world.settled()[0]
            assert (record.status, record.error) == FAULTS[kind]


FILTERED = {
    "message": "The response was filtered",
    "type": None,
    "param": "prompt",
    "code": "content_filter",
    "innererror": {
        "code": "ResponsibleAIPolicyViolation",
        "content_filter_result": {"hate": {"filtered": True, "severity": "high"}},
    },
}
UNKNOWN_MODEL = {
    "message": "No model",
    "type": "invalid_request_error",
    "param": "model",
    "code": "model_not_found",
}
NEWER = {
    "message": "Filtered",
    "type": "invalid_request_error",
    "param": "prompt",
    "code": "content_filter",
    "inner_error": {"code": "ResponsibleAIPolicyViolation"},
    "content_filters": [{"blocked": True}],
}
OVERLOADED = {"type": "overloaded_error", "message": "Overloaded"}
NO_CODE = {"message": "Bad `top_p`", "type": "invalid_request_error", "param": "top_p", "code": None}


@pytest.mark.parametrize(
    ("client", "dialect", "status", "error", "wanted"),
    [
        ("chat/completions", "openai", 400, FILTERED, (400, None, "prompt", "content_filter")),
        ("chat/completions", "openai", 404, UNKNOWN_MODEL, (404, "invalid_request_error", "model", "model_not_found")),
        ("chat/completions", "openai", 400, NO_CODE, (400, "invalid_request_error", "top_p", "invalid_request")),
        ("chat/completions", "openai", 400, NEWER, (400, "invalid_request_error", "prompt", "content_filter")),
        ("responses", "openai", 404, UNKNOWN_MODEL, (404, "invalid_request_error", "model", "model_not_found")),
        ("messages", "openai", 404, UNKNOWN_MODEL, (404, "not_found_error", None, None)),
        ("messages", "anthropic", 529, OVERLOADED, (529, "overloaded_error", None, None)),
        ("messages", "openai", 503, OVERLOADED, (529, "overloaded_error", None, None)),
        ("chat/completions", "anthropic", 529, OVERLOADED, (503, "server_error", None, "overloaded")),
        ("chat/completions", "anthropic", 200, OVERLOADED, (503, "server_error", None, "overloaded")),
    ],
)  # fmt: skip
def test_what_a_provider_says_of_an_error_is_kept(run, make, client, dialect, status, error, wanted):
    body = json.dumps({"type": "error", "error": error}).encode()
    answer = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    asked = make.chat(max_tokens=9) if client != "responses" else b'{"model":"support","input":"a"}'
    with (
        scripted(answer % (status, len(body), body)) as (url, _),
        run([raw_target(url, dialect=dialect)], only("raw"), environ={"KEY": KEY}) as world,
    ):
        got = world.post(asked, f"/v1/{client}")
    told = got.json["error"]
    kind = wanted[1] or "invalid_request_error"
    assert (got.status, told["type"], told.get("param"), told.get("code")) == (wanted[0], kind, *wanted[2:])
    if client != "messages":
        for name in ("innererror", "inner_error", "content_filters"):
            assert told.get(name) == error.get(name)


ERROR = b'{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}'
PIECES = {"whole": b"application/json", "stream": b"text/event-stream", "error": b"application/json"}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP "])
@pytest.mark.parametrize("kind", PIECES)
def test_a_compressed_answer_is_inflated(run, make, kind, encoding):
    plain = {"whole": ANSWER, "stream": CHUNK * 30 + DONE, "error": ERROR}[kind]
    packed = zlib.compress(plain) if encoding == "deflate" else gzip.compress(plain)
    status = b"404 X" if kind == "error" else b"200 OK"
    head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n"
    sent = head % (status, PIECES[kind], encoding.encode(), len(packed)) + packed[:20] + PAUSE + packed[20:]
    GO.set()
    with before(run, sent) as (world, _):
        answer = world.post(make.chat(stream=kind == "stream"))
        (record,) = world.settled()
    assert "content-encoding" not in answer.headers
    if kind == "error":
        assert (answer.status, answer.code) == (404, "model_not_found")
    else:
        assert (answer.status, answer.body) == (200, plain)
        assert record.output_tokens == (1 if kind == "whole" else None)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        (b"br", b"x"),
        (b"gzip", b"no gzip"),
        (b"gzip", gzip.compress(ANSWER)[:-9]),
        (b"gzip", gzip.compress(b" " * (64 << 20))),
        (b"gzip, gzip", gzip.compress(ANSWER)),
    ],
    ids=["unknown", "no gzip", "half", "bomb", "twice"],
)
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_what_cannot_be_inflated_is_an_upstream_error(run, make, encoding, packed, kind):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n"
    with before(run, head % (kind.encode(), encoding, len(packed)) + packed) as (world, _):
        answer = world.post(make.chat(stream="event" in kind))
    assert (answer.status, answer.code) == (502, "upstream_error")


def test_a_compressed_stream_that_breaks_ends_in_an_error(run, make):
    packer = zlib.compressobj(wbits=31)
    begun = packer.compress(CHUNK) + packer.flush(zlib.Z_SYNC_FLUSH)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\r\n"
    with before(run, head + begun + PAUSE + b"no gzip") as (world, _):
        GO.clear()
        connection, body, got = world.connect(), make.chat(stream=True), b""
        connection.sendall(world.head("/v1/chat/completions", len(body)) + body)
        while CHUNK not in got:
            got += connection.recv(65_536)
        GO.set()
        answer = make.read_answer(connection, got)
    assert answer.status == 200
    assert answer.body.startswith(CHUNK)
    assert b'"error"' in answer.body[len(CHUNK) :]
    assert b"[DONE]" not in answer.body
    (record,) = world.settled()
    assert (record.error, record.response_id) == ("broken_off", "1")


def test_details_of_an_error_never_hold_the_key(run, make):
    error = {"message": "no", "type": "x", "param": KEY[3:], "code": "c", "innererror": {"a": [KEY[3:]]}}
    body = json.dumps({"error": error}).encode()
    answer = b"HTTP/1.1 400 X\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    with (
        scripted(answer) as (url, _),
        run([raw_target(url)], only("raw"), environ={"KEY": KEY[3:]}) as world,
    ):
        got = world.post(make.chat())
    assert (got.status, got.code) == (400, "invalid_request")
    assert KEY[3:].encode() not in got.body


def test_an_error_in_a_stream_keeps_its_code(run, make):
    error = b'data: {"error":{"message":"busy","type":"server_error","param":null,"code":"busy_now"}}\n\n'
    with before(run, SSE_HEAD + CHUNK + PAUSE + error) as (world, _):
        GO.clear()
        body = make.chat(stream=True)
        connection = world.connect()
        connection.sendall(world.head("/v1/chat/completions", len(body)) + body)
        GO.set()
        assert b'"code":"busy_now"' in make.read_answer(connection).body


def test_a_year_of_retry_after_is_capped(run, make):
    script = Fault("rate_limit", retry_after="31536000")
    with behind(run, make, script) as (world, _):
        assert int(world.post(make.chat()).headers["retry-after"]) <= 3600


def test_a_key_that_the_provider_quotes_never_reaches_the_client(run, make):
    with behind(run, make, Fault("echo_key"), key_env="KEY") as (world, fake):
        for stream in (False, True):
            answer = world.post(make.chat(stream=stream))
            assert answer.status == 200
            assert fake.requests[-1].headers["authorization"] == f"Bearer {KEY}"
            assert KEY.encode() not in answer.body


def test_nonsense_usage_is_unknown_and_the_cost_an_estimate(run, make):
    with FakeProvider(Fault("wrong_usage")) as fake:
        target = make.target(fake, price=PRICE)
        with run([target], only("big")) as world:
            answer = world.post(make.chat())
            record = world.settled()[0]
            assert record.input_tokens is None
            assert record.cost_origin == "estimate"
            assert record.cost_usd > 0
            assert float(answer.headers["x-crossgrade-cost-usd"]) > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("priced", [True, False])
def test_a_cost_is_never_zero_for_want_of_usage_or_price(run, stream, priced):
    whole = b'{"id":"1","choices":[{"message":{"content":"ok"}}]}'
    answer = (
        SSE_HEAD + CHUNK + DONE
        if stream
        else JSON_HEAD + b"content-length: %d\r\n\r\n%b" % (len(whole), whole)
    )
    with (
        scripted(answer) as (url, _),
        run([raw_target(url, price=PRICE if priced else None)], only("raw"), environ={"KEY": KEY}) as world,
    ):
        body = b'{"model":"support","messages":[{"role":"user","content":"hi"}],"stream":%b}'
        got = world.post(body % (b"true" if stream else b"false"))
        assert got.status == 200
        (record,) = world.settled()
        assert (record.input_tokens, record.output_tokens) == (None, None)
        if priced:
            assert record.cost_origin == "estimate"
            assert record.cost_usd > 0
        else:
            assert record.cost_usd is None
            assert "x-crossgrade-cost-usd" not in got.headers


STREAM_FAULTS = {
    "no marker": CHUNK * 2,
    "half an event": CHUNK + b'data: {"id"',
    "an error inside": CHUNK
    + PAUSE
    + b'data: {"error":{"message":"overloaded sk-provider-0123456789abcdef"}}\n\n'
    + DONE,
    "a named error": CHUNK + PAUSE + b'event: error\ndata: {"error":{"message":"overloaded"}}\n\n',
    "a huge event": CHUNK + PAUSE + b"data: " + b"x" * (5 << 20),
}


@pytest.mark.parametrize("name", STREAM_FAULTS)
def test_a_stream_that_breaks_ends_in_an_error_and_never_in_a_terminal_marker(run, make, name):
    with before(run, SSE_HEAD + STREAM_FAULTS[name]) as (world, _):
        GO.clear()
        connection = world.connect()
        body = make.chat(stream=True)
        connection.sendall(world.head("/v1/chat/completions", len(body)) + body)
        data = connection.recv(65536)
        while CHUNK not in data:
            data += connection.recv(65536)
        GO.set()
        answer = make.read_answer(connection, data)
        assert answer.body.startswith(CHUNK)
        assert b"[DONE]" not in answer.body
        assert b'"error"' in answer.body.split(b"\n\n")[-2]
        assert KEY.encode() not in answer.body
        assert world.settled()[0].error == "broken_off"


def test_a_stream_that_fails_before_its_first_event_can_be_answered_by_another_target(run, make, fake):
    broken = SSE_HEAD + b'data: {"error":{"message":"overloaded","code":503}}\n\n'
    with scripted(broken) as (url, _):
        route = RouteSpec(name="support", incumbent="big", fallbacks=())
        raw = RouteSpec(name="raw-first", incumbent="raw", fallbacks=("big",))
        with run([make.target(fake), raw_target(url)], [route, raw], environ={"KEY": KEY}) as world:
            answer = world.post(make.chat("raw-first", stream=True))
            assert answer.body.endswith(DONE)
            record = world.settled()[0]
            assert (record.target, record.reason, record.attempts) == ("big", "fallback", 2)


STREAMS = {
    "CRLF": (CHUNK + DONE).replace(b"\n", b"\r\n"),
    "mixed ends": CHUNK.replace(b"\n", b"\r\n") + DONE,
    "comments": b": ping\n\n" + CHUNK + b": ping\n\n" + DONE,
    "two terminal markers": CHUNK + DONE + DONE,
    "data after the marker": CHUNK + DONE + CHUNK,
    "no blank line behind the marker": CHUNK + b"data: [DONE]",
    "usage with choices": CHUNK[:-3] + b',"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n' + DONE,
}


@pytest.mark.parametrize("name", STREAMS)
def test_odd_but_whole_streams_end_well(run, make, name):
    with before(run, SSE_HEAD + STREAMS[name]) as (world, _):
        answer = world.post(make.chat(stream=True))
        body = answer.body.replace(b"\r\n", b"\n")
        assert body.endswith(DONE)
        assert body.count(b"[DONE]") == 1
        assert body.count(b'"content":"ok"') == 1
        record = world.settled()[0]
        assert record.error is None
        assert record.response_id == "1"


def test_headers_that_are_the_providers_own_business_stay_there(run, make):
    head = JSON_HEAD + b"set-cookie: a=b\r\nx-ratelimit-remaining-requests: 7\r\nserver: x\r\nx-key: y\r\n"
    with before(run, head + b"content-length: %d\r\n\r\n" % len(ANSWER) + ANSWER) as (world, received):
        answer = world.post(make.chat(), cookie="c", x_remote_user="root", openai_organization="o")
        assert answer.headers["x-ratelimit-remaining-requests"] == "7"
        assert not {"set-cookie", "server", "x-key"} & set(answer.headers)
        sent = received[0].lower()
        for name in (b"cookie", b"x-remote-user", b"openai-organization", b"accept-encoding: gzip"):
            assert name not in sent
        assert b"accept-encoding: identity" in sent


def test_a_kept_connection_that_turns_out_dead_costs_the_client_nothing(run, make, fake):
    with run([make.target(fake)], [RouteSpec(name="support", incumbent="big", attempts=2)]) as world:
        assert world.post(make.chat()).status == 200
        # The provider closes just as the next request is written: nothing of an answer has come.
        pool = world.worker.context.targets["big"].pool
        world.on_loop(lambda: pool._idle[0]._transport.get_extra_info("socket").shutdown(socket.SHUT_WR))
        assert world.post(make.chat()).status == 200
        assert world.settled(2)[1].attempts <= 2  # one where the gateway saw the end before it wrote


NOT_NOW = b'{"error":{"message":"not now"}}'
RAW = {
    "not HTTP": (b"SSH-2.0-OpenSSH\r\n", "raw sent something that is not HTTP/1.1"),
    "nothing": (b"", "raw closed the connection without an answer"),
    "endless head": (
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000,
        "raw sent a head of more than 65536 bytes",
    ),
    "length and chunks": (
        JSON_HEAD + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "raw sent something that is not HTTP/1.1",
    ),
    "short": (JSON_HEAD + b"content-length: 500\r\n\r\n{}", "raw broke its answer off"),
    "text": (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok",
        "the provider's answer is not a JSON object: ok",
    ),
    "cut": (
        JSON_HEAD + b"content-length: 30\r\n\r\n" + NOT_NOW[:30],
        'the provider\'s answer is not a JSON object: {"error":{"message":"not now"}',
    ),
    "an error as 200": (
        JSON_HEAD + b"content-length: 31\r\n\r\n" + NOT_NOW,
        "the answer is an error: not now",
    ),
}


@pytest.mark.parametrize("name", RAW)
def test_what_is_no_answer_is_an_upstream_error_that_says_what_came(run, make, name):
    sent, message = RAW[name]
    with before(run, sent) as (world, _):
        answer = world.post(make.chat())
        assert (answer.status, answer.code) == (502, "upstream_error"), answer
        assert answer.json["error"]["message"] == message


def test_a_retry_mends_a_passing_failure(run, make):
    with behind(run, make, [Fault("server_error"), Reply("fine")]) as (world, _):
        assert world.post(make.chat()).status == 200
        assert world.settled()[0].attempts == 2


def test_a_refused_request_is_not_sent_again(run, make, fake):
    with FakeProvider(Fault("context_too_long")) as small:
        route = RouteSpec(name="support", incumbent="big", fallbacks=())
        first = RouteSpec(name="small", incumbent="small", fallbacks=("big",))
        with run([make.target(fake), make.target(small, "small")], [route, first]) as world:
            answer = world.post(make.chat("small"))  # a longer context may take it
            assert answer.headers["x-crossgrade-target"] == "big"
        with run([make.target(small, "small")], [RouteSpec(name="small", incumbent="small")]) as world:
            seen = len(small.requests)
            assert world.post(make.chat("small")).status == 400
            assert len(small.requests) == seen + 1


def test_a_target_that_keeps_failing_is_left_alone(run, make, fake):
    with FakeProvider(Fault("server_error")) as broken:
        route = RouteSpec(name="support", incumbent="broken", fallbacks=("big",))
        with run([make.target(fake), make.target(broken, "broken")], [route]) as world:
            for _ in range(12):
                assert world.post(make.chat()).status == 200
            assert len(broken.requests) == 5
            assert world.settled(12)[-1].attempts == 1


def test_retries_stay_within_their_budget(run, make):
    with behind(run, make, [Fault("server_error"), Reply("fine")]) as (world, _):
        world.on_loop(lambda: setattr(world.worker.context.routes.by_name["support"].retries, "_left", 0.0))
        assert world.post(make.chat()).status == 502


def test_a_body_over_a_targets_length_goes_to_the_next(run, make, fake):
    route = RouteSpec(name="support", incumbent="big", fallbacks=("long",), max_body_bytes={"big": 10})
    with run([make.target(fake), make.target(fake, "long")], [route]) as world:
        assert world.post(make.chat()).headers["x-crossgrade-target"] == "long"
    route = RouteSpec(name="support", incumbent="big", max_body_bytes={"big": 10})
    with run([make.target(fake)], [route]) as world:
        assert world.post(make.chat()).code == "context_length_exceeded"


def test_requests_wait_for_a_connection_and_are_all_served(run, make):
    with behind(run, make, Reply("ok", delay_s=0.02), max_connections=2) as (world, fake):
        clients = [world.connect() for _ in range(8)]
        body = make.chat()
        for client in clients:
            client.sendall(world.head("/v1/chat/completions", len(body)) + body)
        assert [make.read_answer(client).status for client in clients] == [200] * 8
        assert fake.connections == 2
