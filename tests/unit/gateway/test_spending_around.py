"""What a caller cannot do: spend around a limit by asking another way."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crossgrade.domain import Limit, RouteSpec
from crossgrade.gateway._broker import BrokerLink
from crossgrade.identity import Principal
from crossgrade.testing import FakeProvider
from tests.unit.gateway.test_reservations import A_DOLLAR, BROKEN, TOOL, price
from tests.unit.serve.driving import Machine

DAY = 86_400
LIMITS = (
    Limit(scope="route", match="support", unit="usd", cap=10, window_s=DAY),
    Limit(scope="route", match="sales", unit="usd", cap=10, window_s=DAY),
    Limit(scope="key", unit="requests", cap=10, window_s=DAY),
    Limit(scope="team", unit="usd", cap=1e300, window_s=DAY),
)


@pytest.fixture
def context(run, make, fake):
    routes = [
        RouteSpec(name="support", incumbent="big"),
        RouteSpec(name="sales", incumbent="big", tiers=("gold",)),
    ]
    with run([make.target(fake), make.target(fake, "spare")], routes, limits=LIMITS) as world:
        yield world.worker.context


@pytest.mark.parametrize(
    ("who", "asked", "counted"),
    [
        (Principal(id="k"), "support", ["support", "k"]),
        (Principal(id="k"), "big", ["k", "support"]),
        (Principal(id="k", tier="gold", routes=("sales",)), "big", ["k", "sales"]),
        (Principal(id="k"), "spare", ["k"]),
    ],
)
def test_a_target_asked_for_by_its_own_name_counts_for_the_route_it_is_reached_by(
    context, who, asked, counted
):
    permit = context.permit(who, context.routes.find(None, asked))
    assert [counter.match for counter in permit.counters] == counted


def test_a_cap_above_what_can_be_counted_is_as_good_as_none(context):
    permit = context.permit(Principal(id="k", team="blue"), context.routes.find(None, "support"))
    (cap,) = (counter.cap for counter in permit.counters if counter.scope == "team")
    assert cap.bit_length() <= 62


@pytest.fixture
def lent(tmp_path_factory) -> Iterator[Callable[[Any], Callable[[], float]]]:
    """Return a function that lets a worker borrow from a broker of its own; it returns what reads the spend.

    The spend is that of the budget in dollars, as the broker knows it once it has heard of everything.
    """
    made: list[Machine] = []

    def lend(world: Any) -> Callable[[], float]:
        limits = world.worker.limits
        machine = Machine(tmp_path_factory.mktemp("m"), dict(os.environ), limits._configured)
        made.append(machine)
        machine.start()
        machine.wait()
        link = BrokerLink(
            str(machine.folder / "k.sock"), worker=0, limits=limits, metrics=world.worker.metrics
        )
        spent: list[int] = []
        take = limits.take_spends

        def note() -> Any:
            found = take()
            spent.extend(each.spent for each in found if each.lease.unit == "usd")
            return found

        limits.take_spends = note
        world.on_loop(link.start)
        give_up = time.monotonic() + 10
        while not link.connected:
            assert time.monotonic() < give_up
            time.sleep(0.01)

        def read() -> float:
            asyncio.run_coroutine_threadsafe(link.close(), world.loop).result(10)
            return sum(spent) / 1e9

        return read

    yield lend
    for machine in made:
        machine.end()


def test_answers_that_cannot_be_used_spend_a_cap_and_no_more(run, make, lent):
    """Each request makes two attempts of $0.20, and reserves for one of them."""
    with FakeProvider(BROKEN) as fake:
        route = RouteSpec(name="support", incumbent="big", attempts=2)
        with run([make.target(fake, price=price(10))], [route], limits=(A_DOLLAR,)) as world:
            read = lent(world)
            statuses: list[int] = []
            while len(statuses) < 10 and 429 not in statuses:
                body = make.chat(tools=[TOOL], max_tokens=20_000)
                statuses.append(world.post(body, "/v1/messages").status)
            assert statuses == [502, 502, 429]
            assert read() == pytest.approx(0.8, rel=0.01)
