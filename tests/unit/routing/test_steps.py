"""A canary rises by its steps, and falls to none."""

from datetime import UTC, datetime

import pytest

from crossgrade.routing import Policy, RequestFacts, Route, aborted, promoted
from tests.codes import raises_code

UNTIL = datetime(2027, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = (0.05, 0.25, 1.0)


def route(share: float) -> Route:
    policy = Policy(kind="switch", incumbent="old", candidate="new")
    return Route(
        name="r",
        policy=policy,
        targets={"old": "old", "new": "new"},
        valid_until=UNTIL,
        share=share,
        verdict_id="v",
    )


@pytest.mark.parametrize(("share", "after"), [(0, 0.05), (0.05, 0.25), (0.1, 0.25), (0.25, 1.0)])
def test_a_route_rises_to_the_next_step(share: float, after: float) -> None:
    assert promoted(route(share), STEPS).share == after


def test_a_whole_share_cannot_rise() -> None:
    with raises_code("route-at-whole-share"):
        promoted(route(1), STEPS)


def test_a_kept_route_has_nothing_to_promote() -> None:
    kept = Route(name="r", policy=Policy(kind="keep", incumbent="old"), targets={"old": "old"})
    with raises_code("route-keeps", "old"):
        promoted(kept, STEPS)


def test_an_aborted_route_sends_nobody_to_the_candidate() -> None:
    down = aborted(route(1))
    assert {down.pick(RequestFacts(), now=NOW, unit=str(unit)) for unit in range(500)} == {"old"}
    assert promoted(down, STEPS).share == 0.05


def test_who_was_in_a_smaller_share_is_in_a_larger_one() -> None:
    small = {
        unit for unit in range(2000) if route(0.05).pick(RequestFacts(), now=NOW, unit=str(unit)) == "new"
    }
    large = {
        unit for unit in range(2000) if route(0.25).pick(RequestFacts(), now=NOW, unit=str(unit)) == "new"
    }
    assert small < large
    assert 60 < len(small) < 140
    assert 430 < len(large) < 570
