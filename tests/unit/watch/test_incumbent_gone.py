"""What watching says of a route whose incumbent can no longer be asked, and what it still does."""

from datetime import timedelta

import pytest

from crossgrade.routing import Policy
from tests.codes import names
from tests.unit.watch.conftest import BAD, GOOD, NOW, Site

TODAY = NOW.date()


def ends(site: Site, days: int, model: str = "gpt", route: str = "    successor: llama") -> None:
    """Let a model of the site end so many days from now."""
    site.write(route=route)
    file = site.folder / "crossgrade.yaml"
    given = {"gpt": "  gpt: {", "llama": "  llama:\n"}[model]
    day = f"retires_on: {TODAY + timedelta(days=days)}"
    new = f"{given}{day}, " if model == "gpt" else f"{given}    {day}\n"
    file.write_text(file.read_text().replace(given, new))


@pytest.mark.parametrize(("days", "gone"), [(1, False), (0, True), (-200, True)])
def test_live_pairs_cannot_be_measured_once_the_incumbent_is_gone(
    site: Site, days: int, *, gone: bool
) -> None:
    verdict = site.apply()
    site.see(verdict, [(GOOD, GOOD)] * 50)
    before = site.look().standings
    ends(site, days)
    found = site.look()
    (standing,) = found.standings
    assert (standing.status, standing.reason_code) == (
        ("unmeasurable", "incumbent-gone") if gone else (before[0].status, before[0].reason_code)
    )
    if gone:
        assert names(standing.reason or "", "gpt")
        assert names(standing.reason or "", TODAY + timedelta(days=days))
    assert (standing.audits, standing.e_claim, standing.floor) == (50, before[0].e_claim, before[0].floor)
    assert not found.alarms
    assert not found.problems
    assert site.route().policy.kind == "switch"


def test_no_pairs_are_no_alarm(site: Site) -> None:
    site.apply()
    ends(site, -30)
    for days in range(3):
        found = site.look(now=NOW + timedelta(days=days))
        (standing,) = found.standings
        assert (standing.status, standing.reason_code, standing.audits) == (
            "unmeasurable",
            "incumbent-gone",
            0,
        )
        assert not found.alarms


def test_pairs_from_before_still_raise_an_alarm(site: Site) -> None:
    verdict = site.apply()
    ends(site, -1)
    site.see(verdict, [(GOOD, BAD)] * 80)
    found = site.look()
    assert {alarm.kind for alarm in found.alarms} == {"claim", "change"}
    assert {standing.status for standing in found.standings} == {"alarm"}
    assert site.route().policy == Policy(kind="keep", incumbent="gpt"), "whose successor answers then"


@pytest.mark.parametrize("kind", ["expired", "retired"])
def test_other_alarms_step_back_as_ever(site: Site, kind: str) -> None:
    site.apply(valid_until=NOW - timedelta(days=1) if kind == "expired" else NOW + timedelta(days=90))
    ends(site, -1)
    if kind == "retired":
        site.write(route="    successor: judge", llama=f"    retires_on: {TODAY}")
    assert [alarm.kind for alarm in site.look().alarms] == [kind]
    assert site.route().policy.kind == "keep"


def test_a_successor_that_ends_is_told(site: Site) -> None:
    site.write(route="    successor: judge")
    file = site.folder / "crossgrade.yaml"
    file.write_text(
        file.read_text().replace("judge: {", f"judge: {{retires_on: {TODAY + timedelta(days=20)}, ")
    )
    site.apply()
    (ending,) = site.look().endings
    assert (ending.model, ending.routes, ending.within) == ("judge", ("support",), 30)


@pytest.mark.parametrize("successor", ["", "    successor: llama"])
def test_an_ended_incumbent_is_told_until_another_takes_its_place(site: Site, successor: str) -> None:
    ends(site, -1, route=successor)
    site.apply()
    assert bool(site.look().endings) == (not successor)
