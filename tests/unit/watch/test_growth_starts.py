"""What a growing route's evidence begins with and goes on from: alarms, other scorers, kept states."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from crossgrade.decide import decide_policy
from crossgrade.routing import held_back, route_table_digest
from crossgrade.store import Alarm
from tests.codes import check_reason, raises_code
from tests.unit.watch.conftest import BAD, GOOD, NOW, Site, pair
from tests.unit.watch.growing import DAY, apply, config, digest_of, growth, rescore, seen, verdict_of


def test_it_goes_on_where_it_stood(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 1600)
    router = apply(site, verdict_id)
    for day in range(3):
        seen(site, verdict_id, router, 100, day=day)
        last = growth(site, day=day + 1)
    with site.project() as project:
        states = project.store.alarms.state(
            "support", verdict_id=verdict_id, segment="growth", scorer_digest=f"{digest_of(project)}#1"
        )
    assert states is not None
    assert states.state["day"] == (NOW + 2 * DAY).date().isoformat()
    assert last.audits == 300
    # From the first audit on it comes to the same.
    with site.project() as project:
        project.store.alarms.append_state(replace(states, state={**states.state, "version": 0}))
    again = growth(site, day=3)
    assert again.audits == 300
    assert [step.e_value for step in again.steps] == pytest.approx([step.e_value for step in last.steps])


@pytest.mark.parametrize("damage", [{"audits": 7, "day": "yesterday"}, {"audits": 7, "steps": []}])
def test_a_damaged_state_is_computed_again(site: Site, damage: dict[str, Any]) -> None:
    config(site)
    verdict_id = verdict_of(site, 800)
    router = apply(site, verdict_id)
    seen(site, verdict_id, router, 50, day=0)
    before = growth(site, day=1)
    with site.project() as project:
        key = f"{digest_of(project)}#1"
        state = project.store.alarms.state(
            "support", verdict_id=verdict_id, segment="growth", scorer_digest=key
        )
        assert state is not None
        project.store.alarms.append_state(replace(state, state={**state.state, **damage}))
    assert growth(site, day=1) == before


def test_an_alarm_sends_all_back_and_begins_again_with_evidence_from_after_it(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 1600)
    router = apply(site, verdict_id)
    name = site.route().policy.segments[0]
    seen(site, verdict_id, router, 300, day=0, kept=0.1, segment=name)
    found = site.look(now=NOW + timedelta(hours=1))
    assert {alarm.kind for alarm in found.alarms} == {"claim", "change"}
    route = site.route()
    assert route.growth is not None
    assert (route.growth.start, route.growth.since, route.is_held) == (2, found.at, True)
    assert route.policy.kind == "split"
    again = site.look(now=NOW + timedelta(hours=2))
    assert (again.alarms, again.problems) == ([], [])
    (standing,) = again.growth
    assert [step.e_value for step in standing.steps] == [1.0] * len(standing.steps)
    assert {round(step.e_value_at, 1) for step in standing.steps} == {106.7}
    with site.project() as project, raises_code("alarm-raised"):
        project.apply(verdict_id)
    for day in range(1, 7):
        seen(site, verdict_id, router, 300, day=day)
    found = site.look(now=NOW + 9 * DAY)
    assert found.grown == ["support"]
    route = site.route()
    assert route.growth is not None
    assert (route.growth.start, route.is_held) == (2, False)
    # A second fall is an alarm of its own, and the next start asks for more again.
    name = route.policy.segments[0]
    seen(site, verdict_id, router, 300, day=9, kept=0.1, segment=name)
    found = site.look(now=NOW + 9 * DAY + timedelta(hours=1))
    assert {alarm.kind for alarm in found.alarms} == {"claim", "change"}
    route = site.route()
    assert route.growth is not None
    assert (route.growth.start, route.is_held) == (3, True)


def test_on_the_first_day_a_long_conversation_counts_more_than_a_short_one(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 1600)
    router = apply(site, verdict_id)
    seen(site, verdict_id, router, 300, day=0, kept=0.1, segment=site.route().policy.segments[0])
    assert site.look(now=NOW + timedelta(hours=1)).alarms  # the next start begins without evidence
    score = max((router.segments or {}).values())
    good = [(f"short {talk}", GOOD) for talk in range(300)]
    bad = [(f"long {talk}", BAD) for talk in range(36) for _ in range(10)]
    with site.project() as project:
        project.store.pairs.append(
            [
                replace(pair(verdict_id, GOOD, answer), score=score, at=NOW + DAY, conversation=talk)
                for talk, answer in (*good, *bad)
            ]
        )
    standing = growth(site, day=2)
    assert standing.audits == 660
    assert standing.steps[0].e_value == 1.0


def test_an_alarm_is_on_the_evidence_and_not_on_one_verdict_alone(site: Site) -> None:
    config(site)
    verdict_id, fresh = verdict_of(site, 1600), verdict_of(site, 1600, seed=6)
    router = apply(site, verdict_id)
    seen(site, verdict_id, router, 300, day=0, kept=0.1, segment=site.route().policy.segments[0])
    assert site.look(now=NOW + timedelta(hours=1)).alarms
    with site.project() as project:
        found = project.store.verdicts.evidence(verdict_id)
        settings = project.store.verdicts.get(verdict_id).verdict.settings
        again = project.store.verdicts.append(decide_policy(found, settings, now=NOW), found)
        with raises_code("alarm-raised"):
            project.apply(again)
    assert site.route().is_held
    apply(site, fresh)
    assert not site.route().is_held


def test_an_alarm_that_had_no_effect_begins_the_next_start_when_it_was_raised(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 1600)
    apply(site, verdict_id)
    at = NOW + timedelta(hours=1)
    alarm = Alarm(
        route="support",
        kind="claim",
        detail={},
        verdict_id=verdict_id,
        segment=site.route().policy.segments[0],
        at=at,
    )
    with site.project() as project:
        project.store.alarms.append(alarm)  # and the process ends
    found = site.look(now=NOW + DAY)
    check_reason(found.problems[0], "stepped-back-again", "support", "new evidence")
    growth_now = site.route().growth
    assert growth_now is not None
    assert (growth_now.start, growth_now.since, growth_now.is_held) == (2, at, True)
    assert site.look(now=NOW + DAY).problems == []


def test_another_scorer_is_a_start_of_its_own(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 800)
    router = apply(site, verdict_id)
    seen(site, verdict_id, router, 50, day=0)
    first = growth(site, day=1)
    rescore(site, other=True)
    other = growth(site, day=1)
    assert (first.start, other.start) == (1, 2)
    assert other.steps[0].e_value_at == pytest.approx(4 * first.steps[0].e_value_at)
    assert other.audits == 50
    assert max(step.n for step in other.steps) <= 50  # without the certificate's samples
    rescore(site, other=False)
    again = growth(site, day=1)
    assert again.start == 1
    assert again.steps == first.steps


def test_the_certificates_samples_are_evidence_of_its_own_scorer_alone(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 800)
    router = apply(site, verdict_id)
    seen(site, verdict_id, router, 50, day=0)
    rescore(site, other=True)
    other = growth(site, day=1)  # before the certificate's scorer has kept anything
    assert other.start == 2
    assert max(step.n for step in other.steps) <= 50
    rescore(site, other=False)
    assert growth(site, day=1).start == 1


def test_no_two_starts_spend_the_same_part_of_alpha(site: Site) -> None:
    """The third start's scorer is replaced; of the second nothing was ever counted."""
    config(site)
    verdict_id = verdict_of(site, 800)
    router = apply(site, verdict_id)
    with site.project() as project:
        for at in range(2):
            table = project.store.routes.current()
            assert table is not None
            back = held_back(table.by_name["support"], NOW + timedelta(minutes=at))
            digest = route_table_digest(table)
            project.store.publish_route(table.replacing(back, previous=digest), digest, step="down")
    seen(site, verdict_id, router, 50, day=1)
    third = growth(site, day=2)
    rescore(site, other=True)
    other = growth(site, day=2)
    rescore(site, other=False)
    assert (third.start, other.start, growth(site, day=3).start) == (3, 4, 3)
