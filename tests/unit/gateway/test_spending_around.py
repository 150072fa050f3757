"""What a caller cannot do: spend around a limit by asking another way."""

import pytest

from crossgrade.domain import Limit, RouteSpec
from crossgrade.identity import Principal

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
