"""When a target is asked again: its `retry-after` is respected, pauses grow and are spread, and it is left alone."""

from types import SimpleNamespace
from typing import Any

import pytest

from crossgrade.domain import RouteSpec
from crossgrade.errors import BadRequestError, ContextTooLongError, RateLimitedError, UpstreamError
from crossgrade.gateway._targets import FAILURES_TO_OPEN, Attempts, Breaker


def target(name: str, offer: str | None = None) -> Any:
    return SimpleNamespace(name=name, offer=offer or name, breaker=Breaker())


def attempts(*targets: Any, count: int = 5, **spec: Any) -> Attempts:
    return Attempts(RouteSpec(name="r", incumbent=targets[-1].name, attempts=count, **spec), targets, 100)


def test_a_retry_waits_as_long_as_was_asked_for() -> None:
    tried = attempts(one := target("one"))
    assert tried.next(0.0) is one
    pause = tried.pause_s(RateLimitedError("slow down", retry_after_s=2.5), 0.0)
    assert pause is not None
    assert pause >= 2.5
    assert tried.pause_s(RateLimitedError("slow down", retry_after_s=60.0), 0.0) is None, (
        "the client may wait"
    )


def test_pauses_grow_and_are_spread() -> None:
    tried = attempts(target("one"))
    courses = []
    for _ in range(3):
        tried.next(0.0)
        courses.append([tried.pause_s(UpstreamError("oops"), 0.0) or 0.0 for _ in range(200)])
    for number, course in enumerate(courses):
        most = 0.2 * 2**number
        assert most / 2 <= min(course) < max(course) <= most
        assert len(set(course)) > 100


def test_no_more_attempts_than_configured_and_none_that_cannot_help() -> None:
    tried = attempts(target("one"), count=2)
    tried.next(0.0)
    assert tried.pause_s(BadRequestError("no"), 0.0) is None
    assert tried.pause_s(UpstreamError("oops"), 0.0) is not None
    tried.next(0.0)
    assert tried.pause_s(UpstreamError("oops"), 0.0) is None


def test_another_target_is_asked_at_once() -> None:
    one, other = target("one"), target("other")
    tried = attempts(one, other)
    assert tried.next(0.0) is one
    assert tried.pause_s(RateLimitedError("slow down", retry_after_s=600.0), 0.0) == 0.0
    assert tried.next(0.0) is other


def test_what_is_too_long_for_a_model_is_not_tried_at_its_replicas() -> None:
    one, replica, other = target("one"), target("replica", "one"), target("other")
    tried = attempts(one, replica, other)
    assert tried.next(0.0) is one
    assert tried.pause_s(ContextTooLongError("too long"), 0.0) == 0.0
    assert tried.next(0.0) is other
    tried = attempts(one, replica)
    tried.next(0.0)
    assert tried.pause_s(ContextTooLongError("too long"), 0.0) is None


def test_replicas_are_under_the_limit_of_their_model() -> None:
    one, replica, other = target("one"), target("replica", "one"), target("other")
    assert attempts(replica, one, other, max_body_bytes={"one": 99}).next(0.0) is other


def test_who_asked_to_be_spared_comes_last_until_then() -> None:
    one, other = target("one"), target("other")
    one.breaker.slow_down(0.0, 10.0)
    assert attempts(one, other).next(1.0) is other
    one.breaker.succeeded()  # a call that was under way before
    assert attempts(one, other).next(2.0) is other
    assert attempts(one).next(2.0) is one, "there is nobody else"
    assert attempts(one, other).next(10.0) is one
    assert not one.breaker.is_quiet
    one.breaker.succeeded()
    assert one.breaker.is_quiet


def test_a_year_of_retry_after_spares_for_half_a_minute() -> None:
    one, other = target("one"), target("other")
    one.breaker.slow_down(0.0, 31_536_000.0)
    assert attempts(one, other).next(29.0) is other
    assert attempts(one, other).next(30.0) is one


def test_a_failing_target_is_probed_by_one_call_at_a_time_with_longer_pauses() -> None:
    one, other = target("one"), target("other")
    for _ in range(FAILURES_TO_OPEN):
        one.breaker.failed(0.0)
    assert one.breaker.is_open
    assert attempts(one, other).next(4.9) is other
    assert attempts(one, other).next(5.0) is one
    assert attempts(one, other).next(5.0) is other, "one finds out"
    one.breaker.failed(5.0)
    assert attempts(one, other).next(14.9) is other
    assert attempts(one, other).next(15.0) is one
    one.breaker.succeeded()
    assert not one.breaker.is_open
    assert attempts(one, other).next(15.0) is one


@pytest.mark.parametrize("wait_s", [None, 0.0])
def test_without_a_time_it_is_a_second(wait_s: float | None) -> None:
    one, other = target("one"), target("other")
    one.breaker.slow_down(0.0, wait_s)
    assert attempts(one, other).next(0.9) is (other if wait_s is None else one)
    assert attempts(one, other).next(1.0) is one
