"""A canary's share: sticky, growing, and nothing for the expired."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crossgrade.routing import Policy, RequestFacts, Route, position, read_route_table
from tests.codes import raises_code

UNTIL = datetime(2027, 1, 1, tzinfo=UTC)
NOW = UNTIL - timedelta(days=30)
POLICY = Policy(kind="switch", incumbent="gpt", candidate="scout")
TARGETS = {"gpt": "gpt", "scout": "scout"}
UNITS = [f"conversation-{n}" for n in range(2_000)]


def moved(share: float, *, now: datetime = NOW, verdict_id: str = "v1") -> set[str]:
    route = Route(
        name="support",
        policy=POLICY,
        targets=TARGETS,
        valid_until=UNTIL,
        share=share,
        verdict_id=verdict_id,
    )
    return {unit for unit in UNITS if route.pick(RequestFacts(), now=now, unit=unit) == "scout"}


def test_a_share_moves_that_part_of_the_units_and_keeps_them_as_it_grows() -> None:
    some, more, everything = moved(0.05), moved(0.25), moved(1.0)
    assert 60 <= len(some) <= 140
    assert 430 <= len(more) <= 570
    assert some <= more <= everything == set(UNITS)
    assert moved(0.0) == set()


def test_another_certificate_starts_with_other_units() -> None:
    assert len(moved(0.25) & moved(0.25, verdict_id="v2")) < 200


def test_an_expired_certificate_moves_nothing() -> None:
    assert moved(1.0, now=UNTIL) == set()


def test_positions_are_the_same_everywhere() -> None:
    assert position("conversation-1", "v1") == pytest.approx(0.78806, abs=1e-5)


def test_a_share_outside_zero_and_one_is_refused() -> None:
    with raises_code("route-invalid", 1.5):
        Route(name="support", policy=POLICY, targets=TARGETS, valid_until=UNTIL, share=1.5)


def test_a_table_of_version_1_is_read_as_sharing_everything() -> None:
    data = (Path(__file__).parents[2] / "data" / "route_table_v1.json").read_bytes()
    (route,) = read_route_table(data).routes
    assert route.share == 1.0
