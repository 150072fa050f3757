"""What the end of a large body adds to the reservation that its beginning made."""

import json
import time
from typing import Any

import pytest

from crossgrade.domain import Limit
from crossgrade.gateway import NANO
from crossgrade.testing import FakeProvider, Fault
from tests.unit.gateway.test_reservations import Lender, price

PATH = "/v1/chat/completions"
MINUTE = Limit(scope="route", unit="usd", cap=1.0, window_s=60)
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


def until(condition: Any) -> None:
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


@pytest.fixture
def hanging() -> Any:
    with FakeProvider(Fault("hang")) as fake:
        yield fake


@pytest.mark.parametrize("turned", [False, True])
def test_a_body_that_ends_in_another_window_reserves_all_of_it_there(run, make, hanging, turned):
    first, rest = halves({"max_tokens": 100}, {"n": 8})
    limits = (MINUTE, Limit(scope="route", unit="parallel", cap=1, window_s=0))
    with run([make.target(hanging, price=price(1_000))], limits=limits, body_parse_bytes=BODY_BYTES) as world:
        Lender(world)
        clock = world.worker.limits._clock = Clock()
        connection = world.connect()
        connection.sendall(world.head(PATH, len(first + rest)) + first)
        until(lambda: len(world.worker.limits._counters) == 2)
        usd, parallel = world.worker.limits._counters.values()
        until(lambda: world.on_loop(lambda: parallel.lease.reserved) == 1)
        before = usd.lease
        assert world.on_loop(lambda: before.reserved) / NANO == pytest.approx(0.1, rel=0.01)
        clock.now += 60.0 if turned else 0.0
        connection.sendall(rest)
        until(lambda: hanging.requests)
        assert (usd.lease is before) is not turned
        assert world.on_loop(lambda: usd.lease.reserved) / NANO == pytest.approx(0.8, rel=0.01)
        assert world.on_loop(lambda: parallel.lease.reserved) == 1
        if turned:
            assert world.on_loop(lambda: before.reserved) == 0
