"""Who answers where a route's incumbent would, and when nobody would."""

from datetime import date, timedelta

import pytest

from crossgrade.domain import Clause, RouteSpec
from crossgrade.project._succession import Succession, ends_at, succession

TODAY = date(2026, 12, 1)
SPEC = RouteSpec(name="support", incumbent="old", successor="next")
BLOCKED = Clause(model="next", code="licence-uses", severity="forbidden", text="No.")


def found(
    ends: dict[str, int],
    *,
    incumbent: str | None = None,
    spec: RouteSpec = SPEC,
    clause: Clause | None = None,
) -> Succession:
    days = {name: TODAY + timedelta(days=each) for name, each in ends.items()}
    clauses = () if clause is None else (clause,)
    return succession(spec, ends_on=days.get, clauses_of=lambda model: clauses, on=TODAY, incumbent=incumbent)


@pytest.mark.parametrize(
    ("ends", "answering", "nobody_in", "lacking", "due"),
    [
        ({}, "old", None, None, False),
        ({"old": 1}, "old", None, None, False),
        ({"old": 0}, "next", None, None, False),
        ({"old": 0, "next": 91}, "next", 91, None, False),
        ({"old": 0, "next": 90}, "next", 90, "successor-ends", False),
        ({"old": 0, "next": 7}, "next", 7, "successor-ends", True),
        ({"old": -9, "next": 0}, "old", 0, "successor-ends", True),
        ({"old": 30, "next": -5}, "old", 30, "successor-ends", False),
    ],
)
def test_a_successor_answers_from_the_incumbents_end_to_its_own(
    ends: dict[str, int], answering: str, nobody_in: int | None, lacking: str | None, *, due: bool
) -> None:
    made = found(ends)
    assert made.answering(TODAY) == answering
    assert made.nobody_on == (None if nobody_in is None else TODAY + timedelta(days=nobody_in))
    lack = made.lack(TODAY)
    assert (None if lack is None else lack.code) == lacking
    assert made.is_due(TODAY) is due


def test_one_that_may_not_be_used_takes_nobodys_place() -> None:
    made = found({"old": 0}, clause=BLOCKED)
    assert made.answering(TODAY) == "old"
    lack = made.lack(TODAY)
    assert lack is not None
    assert (lack.code, made.is_due(TODAY)) == ("successor-not-allowed", True)


@pytest.mark.parametrize(("ends", "heir"), [({"older": -1}, "old"), ({"older": -1, "old": -1}, "next")])
def test_an_incumbent_of_the_route_table_is_followed_by_the_configured_one(
    ends: dict[str, int], heir: str
) -> None:
    made = found(ends, incumbent="older", clause=BLOCKED if heir == "old" else None)
    assert (made.incumbent, made.answering(TODAY)) == ("older", heir)


def test_an_end_begins_with_its_day_in_utc() -> None:
    assert ends_at(date(1970, 1, 2)) == 86_400.0
