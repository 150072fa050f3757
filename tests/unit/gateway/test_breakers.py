"""What opens a target's circuit breaker, for everyone: that it fails, never what it answers to one client."""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from crossgrade.domain import RouteSpec, ToolCall
from crossgrade.errors import RateLimitedError, UpstreamError
from crossgrade.gateway._targets import FAILURES_TO_OPEN, Attempts, Breaker, TargetState, note_failure
from crossgrade.gateway.settings import Target
from crossgrade.testing import FakeProvider, Fault, Reply
from tests.unit.gateway.scripted import JSON_HEAD, SSE_HEAD, raw_target, scripted

TOOL = {"type": "object", "properties": {"a": {"type": "integer"}}}
MESSAGES = "/v1/messages"
CALLING = json.dumps(
    {
        "model": "support",
        "max_tokens": 9,
        "tools": [{"name": "f", "input_schema": TOOL}],
        "messages": [{"role": "user", "content": "hello"}],
    }
).encode()
CHOICE = (
    b'{"id":"a","choices":[{"index":0,"message":{"role":"assistant","content":"%b"},"finish_reason":"%b"}]}'
)


def answer(body: bytes, head: bytes = JSON_HEAD) -> bytes:
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def named(name: str, url: str) -> Target:
    return replace(raw_target(url), name=name)


def calling(arguments: str) -> Reply:
    call = ToolCall(id="c1", name="f", arguments=arguments)
    return Reply("", tool_calls=(call,), finish_reason="tool_calls")


@pytest.mark.parametrize("reply", [calling("[1, 2]"), calling("no JSON"), Fault("empty_choices")])
def test_one_clients_answers_that_cannot_be_used_keep_no_other_from_the_target(run, make, reply):
    def script(request):
        return reply if b'"tools"' in request.body else Reply("hello")

    route = RouteSpec(name="support", incumbent="big", attempts=1)
    with FakeProvider(script) as provider, run([make.target(provider)], [route]) as world:
        for _ in range(FAILURES_TO_OPEN + 2):
            assert world.post(CALLING, MESSAGES).status == 502
        assert not world.worker.context.targets["big"].breaker.is_open
        assert world.post(make.chat()).status == 200


WHOLE = [b'["a"]', b'"a"', b'{"a":', b"", b"null", b'{"choices":[]}', CHOICE % (b"message", b"error")]
STREAM = b"data: %b\n\ndata: [DONE]\n\n" % (CHOICE % (b"delta", b"error"))


@pytest.mark.parametrize("data", [*map(answer, WHOLE), SSE_HEAD + STREAM])
def test_an_answer_that_is_no_object_opens_nothing(run, data):
    asked = json.dumps(
        {
            "model": "support",
            "max_tokens": 9,
            "output_format": {"type": "json_schema", "schema": TOOL},
            "messages": [{"role": "user", "content": "hello"}],
        }
    ).encode()
    route = RouteSpec(name="support", incumbent="raw", attempts=1)
    with scripted(data) as (url, received), run([raw_target(url)], [route]) as world:
        for _ in range(FAILURES_TO_OPEN + 2):
            assert b"error" in world.post(asked, MESSAGES).body
        assert len(received) == FAILURES_TO_OPEN + 2
        assert not world.worker.context.targets["raw"].breaker.is_open


def test_such_an_answer_goes_to_the_next_target_as_configured(run, make):
    route = RouteSpec(name="support", incumbent="big", fallbacks=("other",), attempts=2)
    with (
        FakeProvider(calling("[1, 2]")) as first,
        FakeProvider("hello") as second,
        run([make.target(first), make.target(second, "other")], [route]) as world,
    ):
        answered = world.post(CALLING, MESSAGES)
    assert (answered.status, answered.headers["x-crossgrade-target"]) == (200, "other")


@pytest.mark.parametrize("attempts", [2, 3])
def test_such_answers_leave_the_retries_to_other_callers(run, make, attempts):
    """A caller's answers that cannot be used, however many, spend only the attempts of its own requests."""
    down = threading.Event()

    def script(request):
        if b'"tools"' in request.body:
            return calling("no JSON")
        return Fault("server_error") if down.is_set() else Reply("hello")

    route = RouteSpec(name="support", incumbent="big", fallbacks=("other",), attempts=attempts)
    with (
        FakeProvider(script) as first,
        FakeProvider(lambda request: calling("no JSON") if b'"tools"' in request.body else "hello") as second,
        run([make.target(first), make.target(second, "other")], [route]) as world,
    ):
        for _ in range(20):
            assert world.post(CALLING, MESSAGES).status == 502
        assert len(first.requests) + len(second.requests) == 20 * attempts
        down.set()
        answered = world.post(make.chat())
        assert (answered.status, answered.headers["x-crossgrade-target"]) == (200, "other")


@pytest.mark.parametrize(
    "bytes_",
    [
        b"",
        b"HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 503 Oops\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 401 Oops\r\ncontent-length: 2\r\n\r\n{}",
        answer(b"<html>down</html>", b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n"),
        answer(b'{"error":{"message":"oops","type":"server_error"}}'),
        JSON_HEAD + b'content-length: 99\r\n\r\n{"choices":',
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: {}\n\n",
        b"no HTTP\r\n\r\n",
    ],
    ids=["nothing", "500", "503", "401", "HTML", "error", "cut", "cut stream", "no HTTP"],
)
def test_what_shows_that_the_target_fails_opens_it(run, make, bytes_):
    route = RouteSpec(name="support", incumbent="raw", attempts=1)
    with scripted(bytes_) as (url, received), run([raw_target(url)], [route]) as world:
        for _ in range(FAILURES_TO_OPEN):
            world.post(make.chat())
        assert world.worker.context.targets["raw"].breaker.is_open
        assert world.post(make.chat()).code == "upstream_unavailable"
        assert len(received) == FAILURES_TO_OPEN


def test_connections_that_are_all_in_use_say_nothing_about_the_target():
    breaker = Breaker()
    for code in ("connections-busy", "connections-busy-timeout"):
        for _ in range(FAILURES_TO_OPEN):
            note_failure(breaker, UpstreamError("too many wait", code=code), 0.0)
    assert not breaker.is_open


CHOOSING = {"models": ["another"]}
BELOW_1_MIB = json.dumps({"model": "support", "messages": [], **CHOOSING}).encode()
ABOVE_1_MIB = json.dumps({"model": "support", "pad": " " * (1 << 20), **CHOOSING}).encode()


@pytest.mark.parametrize("refused", [BELOW_1_MIB, ABOVE_1_MIB], ids=["parsed", "scanned"])
def test_a_refused_request_is_not_the_probe_for_which_all_others_wait(run, make, refused):
    with (
        FakeProvider("hello") as provider,
        run([make.target(provider, provider="openrouter")]) as world,
    ):
        breaker = world.worker.context.targets["big"].breaker
        open_breaker(breaker)  # long ago: the next call is the probe
        assert world.post(refused).code == "forbidden_field"
        assert breaker.is_open
        assert world.post(make.chat()).status == 200
        assert not breaker.is_open


def test_a_probe_without_an_outcome_is_given_up_after_the_timeout():
    breaker = Breaker(timeout_s=30.0)
    open_breaker(breaker)
    assert breaker.sent(10.0)
    assert not breaker.admits(39.9)
    assert breaker.admits(40.0)


SLOW = RateLimitedError("slow down", code="x", status=429)
BUSY = UpstreamError("too many wait", code="connections-busy")
CUT = UpstreamError("closed", code="connection-broke-off")
TELLS_NOTHING = pytest.mark.parametrize(("error", "by_body"), [(SLOW, False), (BUSY, False), (CUT, True)])
"""Failures that do not show whether the target works."""


@pytest.fixture
def asked() -> Callable[[], Attempts]:
    """A function that returns the attempts of a new request to one target, which is failing."""
    target = SimpleNamespace(name="big", offer="big", breaker=Breaker(timeout_s=30.0))
    route = RouteSpec(name="support", incumbent="big", attempts=3)
    return lambda: Attempts(route, (cast("TargetState", target),), 100)


def open_breaker(breaker: Breaker) -> None:
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(0.0)


@TELLS_NOTHING
def test_a_request_that_hangs_up_ends_no_probe_but_its_own(asked, error, by_body):
    first, second = asked(), asked()
    breaker = first.next(0.0).breaker
    open_breaker(breaker)
    assert first.next(10.0)
    assert first.is_probe
    first.failed(error, 11.0, answered=False, by_body=by_body)
    assert not first.is_probe
    assert second.next(12.0)
    assert second.is_probe
    first.abandoned()  # it hung up while it waited for its next attempt
    assert not breaker.admits(13.0)
    second.abandoned()
    assert breaker.admits(13.0)


@TELLS_NOTHING
def test_a_call_from_before_ends_no_probe(asked, error, by_body):
    before, probe = asked(), asked()
    breaker = before.next(0.0).breaker
    open_breaker(breaker)
    assert probe.next(10.0)
    assert probe.is_probe
    before.failed(error, 11.0, answered=False, by_body=by_body)
    assert not breaker.admits(12.0)


def _sized(size: int, *, first: bool) -> bytes:
    pad = {"messages": [{"role": "user", "content": "x" * size}]}
    return json.dumps({"model": "support", **pad} if first else {**pad, "model": "support"}).encode()


TOO_LARGE = (
    b"HTTP/1.1 413 Too Large\r\ncontent-type: text/html\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
)


@pytest.mark.parametrize("answer_", [b"", TOO_LARGE], ids=["closes", "413"])
@pytest.mark.parametrize("first", [True, False], ids=["passed on", "kept first"])
@pytest.mark.parametrize("size", [500_000, 9 << 20], ids=["parsed", "scanned"])
def test_a_body_at_which_a_target_closes_opens_nothing(run, size, first, answer_):
    route = RouteSpec(name="support", incumbent="raw", attempts=1)
    body = _sized(size, first=first)
    with scripted(answer_) as (url, _), run([raw_target(url)], [route]) as world:
        for _ in range(FAILURES_TO_OPEN + 1):
            with suppress(ConnectionError):  # it was answered before it was sent
                world.post(body)
        assert len(world.settled(FAILURES_TO_OPEN + 1)) == FAILURES_TO_OPEN + 1
        assert not world.worker.context.targets["raw"].breaker.is_open


@pytest.mark.parametrize("size", [500_000, 9 << 20], ids=["parsed", "scanned"])
def test_a_target_that_cannot_be_reached_fails_whatever_closed_before_it(run, make, fake, size):
    away = make.target(fake, "away", base_url="http://127.0.0.1:9")
    route = RouteSpec(name="support", incumbent="raw", fallbacks=("away",), attempts=2)
    body = _sized(size, first=False)
    with scripted(b"") as (url, _), run([raw_target(url), away], [route]) as world:
        for _ in range(FAILURES_TO_OPEN):
            assert world.post(body).status == 502
        targets = world.worker.context.targets
        assert not targets["raw"].breaker.is_open
        assert targets["away"].breaker.is_open


def spend_retries(world) -> None:
    retries = world.worker.context.routes.find("support", None).retries

    def spend() -> None:
        while retries.spend():
            pass

    world.on_loop(spend)


@pytest.mark.parametrize("size", [100_000, 9 << 20], ids=["parsed", "scanned"])
def test_a_body_at_which_a_target_closes_is_sent_there_again_only_for_a_retry(run, size):
    """It may be an outage after all, which such requests must not make worse."""
    route = RouteSpec(name="support", incumbent="raw", attempts=2)
    body = _sized(size, first=False)
    with scripted(b"") as (url, received), run([raw_target(url)], [route]) as world:
        assert world.post(body).status == 502
        assert len(received) == 2
        spend_retries(world)
        assert world.post(body).status == 502
        assert len(received) == 3


@pytest.mark.parametrize("size", [100_000, 9 << 20], ids=["parsed", "scanned"])
def test_a_body_at_which_a_target_closes_goes_to_the_others_without_a_retry(run, size):
    route = RouteSpec(name="support", incumbent="raw", fallbacks=("one", "two"), attempts=5)
    with (
        scripted(b"") as (url, first),
        scripted(b"") as (one, second),
        scripted(b"") as (two, third),
        run([named("raw", url), named("one", one), named("two", two)], [route]) as world,
    ):
        spend_retries(world)
        assert world.post(_sized(size, first=False)).status == 502
        assert (len(first), len(second), len(third)) == (1, 1, 1)


def test_an_upload_that_stalls_opens_nothing(run, make, fake):
    route = RouteSpec(name="support", incumbent="big", attempts=1)
    body = _sized(2 << 20, first=True)
    with run([make.target(fake, timeout_s=0.1)], [route]) as world:
        started = world.head("/v1/chat/completions", len(body)) + body[: 1 << 20]
        for _ in range(FAILURES_TO_OPEN):
            assert world.raw(started).status == 504
        assert not world.worker.context.targets["big"].breaker.is_open
        assert world.post(make.chat()).status == 200
