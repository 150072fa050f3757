"""What the end of a large body adds to the reservation that its beginning made."""

import json
import time
from typing import Any

import pytest

from crossgrade.domain import Limit
from crossgrade.gateway import NANO
from tests.unit.gateway.test_reservations import Lender, price
from tests.waiting import until

PATH = "/v1/chat/completions"
MINUTE = Limit(scope="route", unit="usd", cap=1.0, window_s=60)
ONE = Limit(scope="route", unit="parallel", cap=1, window_s=0)
BODY_BYTES = 2_000


def halves(early: dict[str, Any], late: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return a body over `BODY_BYTES` in two parts: the fields in `late` are in the second."""
    fields = {"model": "support", "messages": [], **early, "user": "a" * BODY_BYTES, **late}
    body = json.dumps(fields).encode()
    return body[:1_000], body[1_000:]


class Clock:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.now = time.time() // 60 * 60 + 10

    def __call__(self) -> float:
        return self.now


def begin(world: Any, early: dict[str, Any], late: dict[str, Any]) -> tuple[Any, bytes]:
    """Send the beginning of a body, which reserves; return the connection and the rest of the body."""
    first, rest = halves(early, late)
    connection = world.connect()
    connection.sendall(world.head(PATH, len(first + rest)) + first)
    until(lambda: reserved(world, "parallel") == 1)
    return connection, rest


def reserved(world: Any, unit: str) -> int:
    """Return what is reserved of a limit in its present window, in nano-dollars or units."""
    counters = [each for each in world.worker.limits._counters.values() if each.unit == unit]
    return int(world.on_loop(lambda: sum(each.lease.reserved for each in counters)))


@pytest.mark.parametrize("turned", [False, True])
def test_a_body_that_ends_in_another_window_reserves_all_of_it_there(run, make, hanging, turned):
    limits = (MINUTE, ONE)
    with run([make.target(hanging, price=price(1_000))], limits=limits, body_parse_bytes=BODY_BYTES) as world:
        Lender(world)
        clock = world.worker.limits._clock = Clock()
        connection, rest = begin(world, {"max_tokens": 100}, {"n": 8})
        (usd,) = (each for each in world.worker.limits._counters.values() if each.unit == "usd")
        before = usd.lease
        assert reserved(world, "usd") / NANO == pytest.approx(0.1, rel=0.01)
        clock.now += 60.0 if turned else 0.0
        connection.sendall(rest)
        until(lambda: hanging.requests)
        assert (usd.lease is before) is not turned
        assert reserved(world, "usd") / NANO == pytest.approx(0.8, rel=0.01)
        assert reserved(world, "parallel") == 1
        if turned:
            assert world.on_loop(lambda: before.reserved) == 0


@pytest.mark.parametrize("turned", [False, True])
def test_a_body_that_may_cost_more_than_is_left_reserves_its_tokens_all_the_same(run, make, hanging, turned):
    limits = (MINUTE, ONE, Limit(scope="route", unit="tokens", cap=1e6, window_s=60))
    with run([make.target(hanging, price=price(200))], limits=limits, body_parse_bytes=BODY_BYTES) as world:
        Lender(world)
        clock = world.worker.limits._clock = Clock()
        connection, rest = begin(world, {}, {"n": 8})
        assert reserved(world, "usd") == 1
        assert reserved(world, "tokens") == pytest.approx(32_768, rel=0.02)
        clock.now += 60.0 if turned else 0.0
        connection.sendall(rest)
        until(lambda: hanging.requests)
        assert reserved(world, "usd") == 1
        assert reserved(world, "tokens") == pytest.approx(8 * 32_768, rel=0.02)


def test_an_answer_whose_bound_comes_late_teaches_no_size(run, make, fake):
    with run([make.target(fake, price=price(2))], limits=(MINUTE, ONE), body_parse_bytes=BODY_BYTES) as world:
        Lender(world)
        route, target = (
            world.worker.context.routes.by_name["support"],
            world.worker.context.targets["big"],
        )
        size = route.size(target)
        connection, rest = begin(world, {}, {"max_tokens": 1})
        connection.sendall(rest)
        assert make.read_answer(connection).status == 200
        assert len(world.settled()) == 1
        assert size._count == 0
