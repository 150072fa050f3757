"""A look at routes in force: quiet while certificates hold, one step back where they do not."""

from dataclasses import replace
from datetime import timedelta

import pytest

from crossgrade.routing import Policy, Route, route_table_digest
from crossgrade.store import Alarm, Feedback
from crossgrade.watch import look
from tests.codes import check_reason, raises_code
from tests.unit.watch.conftest import BAD, GOOD, NOW, SWITCH, Site

SPLIT = Policy(kind="split", incumbent="gpt", candidate="llama", segments=("de", "fr"))


def test_nothing_in_force_is_nothing_to_watch(site: Site) -> None:
    found = site.look()
    assert (found.standings, found.alarms, found.problems) == ([], [], [])


def test_good_pairs_raise_no_alarm(site: Site) -> None:
    verdict = site.apply()
    site.see(verdict, [(GOOD, GOOD)] * 300)
    found = site.look()
    (standing,) = found.standings
    assert (standing.status, standing.by, standing.audits) == ("watching", "scorer", 300)
    assert (standing.retention, standing.floor, standing.reason) == (1.0, 0.9, None)
    assert standing.e_change < standing.e_change_at
    assert found.alarms == []
    assert site.route().policy == SWITCH


def test_a_fall_in_quality_steps_the_route_back_once(site: Site) -> None:
    verdict = site.apply()
    site.see(verdict, [(GOOD, GOOD)] * 200)
    assert site.look().alarms == []
    site.see(verdict, [(GOOD, BAD)] * 60)
    found = site.look()
    assert "change" in {alarm.kind for alarm in found.alarms}
    (standing,) = found.standings
    assert (standing.status, standing.audits) == ("alarm", 260)
    alarm = next(each for each in found.alarms if each.kind == "change")
    assert alarm.detail["by"] == "scorer"
    assert alarm.detail["e_value"] >= alarm.detail["threshold"] == 5000
    route = site.route()
    assert (route.policy.kind, route.policy.incumbent, route.targets) == ("keep", "gpt", {"gpt": "gpt"})
    assert route.verdict_id == verdict
    again = site.look()
    assert (again.standings, again.alarms) == ([], [])


def test_a_claim_that_was_wrong_from_the_start(site: Site) -> None:
    verdict = site.apply()
    site.see(verdict, [(GOOD, GOOD), (GOOD, BAD)] * 40)
    assert {alarm.kind for alarm in site.look().alarms} == {"claim", "change"}
    assert site.route().policy.kind == "keep"


def test_a_split_loses_only_the_segment_that_fell(site: Site) -> None:
    verdict = site.apply(SPLIT)
    site.see(verdict, [(GOOD, GOOD)] * 80, segment="de")
    site.see(verdict, [(GOOD, BAD)] * 80, segment="fr")
    site.see(verdict, [(GOOD, BAD)] * 80, segment="unmoved")
    found = site.look()
    assert {alarm.segment for alarm in found.alarms} == {"fr"}
    assert site.route().policy == replace(SPLIT, segments=("de",))
    found = site.look()
    assert [(each.segment, each.status) for each in found.standings] == [("de", "watching")]
    site.see(verdict, [(GOOD, BAD)] * 80, segment="de")
    site.look()
    assert site.route().policy.kind == "keep"


def test_looking_often_or_once_comes_to_the_same(site: Site) -> None:
    verdict = site.apply()
    for answers in ([(GOOD, GOOD)] * 210, [(GOOD, BAD)], [(GOOD, GOOD)] * 220, [(BAD, GOOD)] * 3):
        site.see(verdict, answers)
        often = site.look()
    with site.project() as project:
        engine = project.store.pairs._database.engine
        with engine.begin() as connection:
            states = connection.exec_driver_sql("SELECT count(*) FROM watch_states").scalar()
            connection.exec_driver_sql("DELETE FROM watch_states")
    once = site.look()
    assert states == 2
    assert once.standings[0].audits == often.standings[0].audits == 434
    assert once.standings[0].e_change == pytest.approx(often.standings[0].e_change)
    assert once.standings[0].e_claim == pytest.approx(often.standings[0].e_claim)
    assert once.standings[0].retention == pytest.approx(often.standings[0].retention)


def test_failed_calls_count_as_zero_and_lost_texts_do_not_count(site: Site) -> None:
    verdict = site.apply()
    site.see(verdict, [(GOOD, None)] * 4 + [(None, GOOD)] * 2)
    site.see(verdict, [(GOOD, GOOD)] * 3, request=None)
    (standing,) = site.look().standings
    assert standing.audits == 6
    assert standing.retention == pytest.approx(0.5)


def test_pairs_of_another_certificate_say_nothing(site: Site) -> None:
    site.see("another", [(GOOD, BAD)] * 100)
    site.apply()
    (standing,) = site.look().standings
    assert (standing.status, standing.audits) == ("unmeasurable", 0)
    check_reason(standing, "nothing-scored")


def test_a_step_back_that_a_crash_interrupted_is_finished(site: Site) -> None:
    verdict = site.apply()
    with site.project() as project:
        project.store.alarms.append(Alarm(route="support", kind="change", detail={}, verdict_id=verdict))
    site.look()
    assert site.route().policy.kind == "keep"


def test_an_alarm_about_an_old_certificate_leaves_a_new_one_alone(site: Site) -> None:
    site.apply()
    with site.project() as project:
        project.store.alarms.append(Alarm(route="support", kind="change", detail={}, verdict_id="older"))
    site.look()
    assert site.route().policy == SWITCH


def test_a_certificate_applied_again_after_its_alarm_steps_back_again(site: Site) -> None:
    verdict = site.apply()
    site.see(verdict, [(GOOD, BAD)] * 80)
    assert site.look().alarms
    with site.project() as project:
        table = project.store.routes.current()
        up = Route(
            name="support", policy=SWITCH, targets={"gpt": "gpt", "llama": "llama"},
            valid_until=NOW + timedelta(days=1), verdict_id=verdict,
        )  # fmt: skip
        project.store.publish_route(table.replacing(up, previous=""), route_table_digest(table))
    found = site.look()
    assert (found.alarms, found.standings) == ([], [])
    check_reason(found.problems[0], "stepped-back-again", "support")
    assert site.route().policy.kind == "keep"


def test_a_new_certificate_goes_up_again(site: Site) -> None:
    first = site.apply()
    site.see(first, [(GOOD, BAD)] * 80)
    site.look()
    second = site.apply()
    site.see(second, [(GOOD, GOOD)] * 80)
    found = site.look()
    assert found.alarms == []
    assert (found.standings[0].status, found.standings[0].audits) == ("watching", 80)


def test_a_certificate_that_the_store_does_not_have(site: Site) -> None:
    site.apply()
    with site.project() as project, project.store.pairs._database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM verdicts")
    found = site.look()
    check_reason(found.standings[0], "certificate-missing")
    check_reason(found.problems[0], "verdict-unknown", "support")


def test_texts_are_erased_after_their_time_and_scores_stay(site: Site) -> None:
    verdict = site.apply()
    site.see(verdict, [(GOOD, GOOD)] * 2, at=NOW - timedelta(days=31))
    site.look()
    with site.project() as project:
        assert {each.request for each in project.store.pairs.recent("support")} == {None}
    assert site.look().standings[0].audits == 2


def test_one_process_at_a_time(site: Site) -> None:
    with (
        site.project() as project,
        project.store.watching(),
        site.project() as other,
        raises_code("watch-locked"),
    ):
        look(other)


def test_outcomes_of_a_canary(site: Site) -> None:
    """Half of the requests are the candidate's, and few of those turn out well."""
    site.write(scorer="\n      kind: exact", route="    outcome: resolved", watch="{label_share: 0}")
    verdict = site.apply(share=0.5)
    known = {"route": "support", "verdict_id": verdict, "name": "resolved", "probability": 0.5}
    site.hear([Feedback(response_id=f"i{i}", value=1.0, side="incumbent", **known) for i in range(700)])
    site.hear([Feedback(response_id=f"c{i}", value=0.0, side="candidate", **known) for i in range(700)])
    found = site.look()
    (standing,) = found.standings
    assert (standing.by, standing.audits) == ("outcomes", 1400)
    assert {alarm.kind for alarm in found.alarms} >= {"claim"}


def test_outcomes_without_a_comparison_measure_nothing(site: Site) -> None:
    site.write(scorer="\n      kind: exact", route="    outcome: resolved", watch="{label_share: 0}")
    verdict = site.apply()
    known = {"route": "support", "verdict_id": verdict, "name": "resolved", "probability": 1.0}
    site.hear([Feedback(response_id=f"c{i}", value=0.0, side="candidate", **known) for i in range(50)])
    (standing,) = site.look().standings
    assert (standing.status, standing.audits) == ("unmeasurable", 0)
    check_reason(standing, "needs-reference")


def test_outcomes_that_name_no_response_are_said(site: Site) -> None:
    site.write(scorer="\n      kind: exact", route="    outcome: resolved", watch="{label_share: 0}")
    site.apply(share=0.5)
    long_ago = NOW - timedelta(hours=25)
    site.hear([Feedback(response_id=f"x{i}", name="resolved", value=1.0, at=NOW) for i in range(3)])
    site.hear([Feedback(response_id="y", name="resolved", value=1.0, at=long_ago)])
    site.hear([Feedback(response_id="z", name="other", value=1.0, at=NOW)])
    (problem,) = site.look().problems
    assert problem.code == "outcomes-unknown"
    assert " 3 outcomes " in problem.text


def test_nobody_measures(site: Site) -> None:
    site.write(scorer="\n      kind: exact", watch="{label_share: 0}")
    verdict = site.apply()
    site.see(verdict, [(GOOD, BAD)] * 100)
    (standing,) = site.look().standings
    assert (standing.status, standing.by) == ("unmeasurable", None)
    check_reason(standing, "needs-reference", "exact")
    assert site.route().policy == SWITCH
