"""A growing route: audits move more of its traffic, never without evidence, and an alarm begins again."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgrade.cli._frame import run
from crossgrade.decide import DecisionSettings, decide_policy, train_router
from crossgrade.evaluate import build_scorer, run_settings
from crossgrade.project import Project
from crossgrade.routing import Router, held_back, route_table_digest, threshold_name
from crossgrade.store import Alarm, Pair, PairAnswer, Run
from crossgrade.watch import GrowthStanding
from tests.codes import check_reason, raises_code, shown_codes
from tests.unit.decide.test_router import columns, evidence
from tests.unit.store.conftest import make_run
from tests.unit.watch.conftest import BAD, GOOD, NOW, SCHEMA, Site, pair

DAY = timedelta(days=1)
SEGMENTS = {"a": 0.99, "b": 0.96, "c": 0.86, "d": 0.76, "e": 0.3}
"""The share of the incumbent's right answers that the candidate has right too."""


def config(site: Site, *, grow: bool = True, rate: float = 0.05, route: str = "") -> None:
    site.write(route=f"    grow: {str(grow).lower()}\n{route}")
    path = site.folder / "crossgrade.yaml"
    text = path.read_text().replace(
        "candidates: [llama]", "candidates: [llama]\n    router: true\n    mode: fixed"
    )
    path.write_text(text.replace("rate: 0.05", f"rate: {rate}"))


def verdict_of(site: Site, n: int, *, grow: bool = True, price: float | None = 0.001, seed: int = 5) -> str:
    """Record a verdict on n samples of the five segments, and return its id."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(list(SEGMENTS), n)
    b = (rng.random(n) < 0.9).astype(float)
    c = b * (rng.random(n) < np.array([SEGMENTS[label] for label in labels]))
    nan = float("nan")
    found = evidence(
        n, workload="support", input=None, segment=labels.astype(object),
        incumbent=columns("gpt", b, 0.01), candidates=(columns("llama", c, nan if price is None else price),),
    )  # fmt: skip
    settings = DecisionSettings(mode="fixed", floor=0.85, grow=grow, requests_per_month=100_000)
    routed = train_router(found, settings)
    assert routed.routing is not None
    router = routed.routing.router
    assert router is not None
    assert router.segments is not None
    scores = sorted(router.segments.values(), reverse=True)
    each = tuple(math.floor(score * 10_000) / 10_000 for score in scores)  # a step for each segment
    routed = replace(routed, routing=replace(routed.routing, router=replace(router, thresholds=each)))
    with site.project() as project:
        run = run_of(project)
        verdict = decide_policy(routed, settings, now=NOW - DAY, run_id=run.id)
        return project.store.verdicts.append(verdict, routed)


def run_of(project: Project) -> Run:
    """Record a run of the workload as it is configured, and return it."""
    workload = project.config.workloads["support"]
    digest = build_scorer(workload.scorer).digest
    settings = run_settings(workload, dataset_digest="d", scorer_digest=digest)
    run = make_run(settings=settings, seed=0)
    project.store.runs.append(run)
    return run


def apply(site: Site, verdict_id: str) -> Router:
    with site.project() as project:
        table = project.apply(verdict_id)
    router = table.by_name["support"].router
    assert router is not None
    return router


def seen(
    site: Site,
    verdict_id: str,
    router: Router,
    n: int,
    *,
    day: int,
    kept: float | None = None,
    **changes: Any,
) -> list[Pair]:
    """Append a day's audits, of which the candidate has the share `kept` right (None: as certified)."""
    rng = np.random.default_rng(day)
    pairs = []
    assert router.segments is not None
    for at in range(n):
        label = str(rng.choice(list(SEGMENTS)))
        score = router.segments[label]
        right = rng.random() < (SEGMENTS[label] if kept is None else kept)
        fields = {
            "score": score,
            "at": NOW + day * DAY + timedelta(seconds=at),
            "conversation": f"{day}-{at}",
        }
        made = pair(verdict_id, GOOD, GOOD if right else BAD)
        pairs.append(replace(made, **{**fields, **changes}))
    with site.project() as project:
        project.store.pairs.append(pairs)
    return pairs


def growth(site: Site, *, day: int) -> GrowthStanding:
    found = site.look(now=NOW + day * DAY)
    (standing,) = found.growth
    return standing


def test_audits_move_more(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 800)
    router = apply(site, verdict_id)
    before = site.route()
    assert before.growth is not None
    assert (before.growth.start, before.growth.rate, before.is_held) == (1, 0.05, False)
    assert before.policy.least_score is not None
    first = growth(site, day=0)
    assert (first.status, first.audits, first.counted_until) == ("growing", 0, None)
    for day in range(6):
        seen(site, verdict_id, router, 300, day=day)
    found = site.look(now=NOW + 6 * DAY)
    assert found.grown == ["support"]
    (standing,) = found.growth
    route = site.route()
    assert route.policy.least_score is not None
    assert route.policy.least_score < before.policy.least_score
    assert route.policy.segments == (threshold_name(route.policy.least_score),)
    assert standing.audits == 6 * 300
    moving = [step.least_score for step in standing.steps if step.moves]
    assert moving[-1] == route.policy.least_score
    assert all(step.e_value >= step.e_value_at for step in standing.steps if step.moves)
    assert standing.steps[0].e_value_at == pytest.approx(1 / 0.0375)
    # With e what moves would be below the floor.
    assert router.segments is not None
    assert route.policy.least_score > router.segments["e"]
    assert site.look(now=NOW + 6 * DAY).grown == []


def test_a_day_counts_after_its_end_and_when_all_its_audits_are_scored(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 1600)
    router = apply(site, verdict_id)
    seen(site, verdict_id, router, 30, day=0)
    midnight = NOW.replace(hour=0) + DAY
    for now, audits in (
        (midnight - timedelta(minutes=1), 0),
        (midnight + timedelta(minutes=30), 0),
        (midnight + timedelta(hours=2), 30),
    ):
        (standing,) = site.look(now=now).growth
        assert (standing.audits, standing.later) == (audits, 30 - audits)


def test_without_a_certificate_nothing_moves_until_audits_settle_it(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 230)
    with site.project() as project:
        assert project.store.verdicts.get(verdict_id).verdict.name == "undecided"
    router = apply(site, verdict_id)
    assert site.route().is_held
    assert growth(site, day=0).status == "held"
    for day in range(6):
        seen(site, verdict_id, router, 300, day=day)
    assert site.look(now=NOW + 6 * DAY).grown == ["support"]
    route = site.route()
    assert not route.is_held
    assert route.policy.least_score is not None


def test_its_verdict_applied_again_takes_nothing_back(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 230)
    router = apply(site, verdict_id)
    for day in range(6):
        seen(site, verdict_id, router, 300, day=day)
    assert site.look(now=NOW + 6 * DAY).grown == ["support"]
    grown = site.route()
    assert grown.policy.least_score != router.thresholds[0]
    apply(site, verdict_id)
    assert site.route() == grown


def test_what_is_said_of_a_route_that_waits_for_evidence(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(site.folder)
    config(site)
    verdict_of(site, 230)

    def shown(*arguments: str) -> dict[str, Any]:
        assert run([*arguments, "--json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)["routes"]
        return dict(row)

    assert shown("route", "apply", "support")["share"] is None
    row = shown("route", "show")
    assert (row["status"], row["share"]) == ("waits for evidence", None)
    assert run(["route", "promote", "support"]) == 2
    assert shown_codes(capsys.readouterr().err) == ["route-held"]
    # An abort of it can be taken back.
    shown("route", "abort", "support")
    assert shown("route", "show")["status"] == "aborted"
    shown("route", "promote", "support")
    assert shown("route", "show")["status"] == "waits for evidence"


def test_an_aborted_route_does_not_grow(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 230)
    router = apply(site, verdict_id)
    with site.project() as project:
        project.routing.abort("support")
    for day in range(6):
        seen(site, verdict_id, router, 300, day=day)
    found = site.look(now=NOW + 6 * DAY)
    (standing,) = found.growth
    assert (found.grown, standing.status) == ([], "aborted")
    assert any(step.passed for step in standing.steps)
    assert not any(step.moves for step in standing.steps)
    with site.project() as project:
        project.routing.promote("support")
    assert site.look(now=NOW + 6 * DAY).grown == ["support"]


def test_certified_without_a_price_does_not_move(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 1600, price=None)
    router = apply(site, verdict_id)
    for day in range(6):
        seen(site, verdict_id, router, 300, day=day)
    found = site.look(now=NOW + 6 * DAY)
    assert found.grown == []
    assert site.route().is_held
    assert any(step.passed for step in found.growth[0].steps)


@pytest.mark.parametrize("missing", [0, 100])
def test_audits_that_are_missing_count_as_the_worst_case(site: Site, missing: int) -> None:
    config(site)
    verdict_id = verdict_of(site, 800)
    router = apply(site, verdict_id)
    before = growth(site, day=0).steps
    for day in range(4):
        seen(site, verdict_id, router, 300, day=day)
    missed = {"missed": "parallel", "request": None, "incumbent": PairAnswer(model="gpt", answer=None), "candidate": PairAnswer(model="llama", answer=None, error="parallel")}  # fmt: skip
    for day in range(4):
        seen(site, verdict_id, router, missing, day=day, **missed)
    standing = growth(site, day=4)
    assert standing.audits == 1200 + 4 * missing
    assert standing.missed == ({"parallel": 400} if missing else {})
    assert [step.passed for step in before] == [True, True, False, False, False]
    assert [step.passed for step in standing.steps] == [True, True, *[not missing] * 2, False]
    assert site.route().policy.least_score == standing.steps[1 if missing else 3].least_score


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


def test_audits_at_a_lower_rate_do_not_count(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 1600)
    router = apply(site, verdict_id)
    seen(site, verdict_id, router, 50, day=0, probability=0.01)
    seen(site, verdict_id, router, 50, day=1, probability=0.5)
    standing = growth(site, day=2)
    assert standing.missed == {"rate-fell": 50}
    assert standing.audits == 50


def test_a_conversation_is_one_observation_a_day(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 1600)
    router = apply(site, verdict_id)
    before = growth(site, day=0).steps
    seen(site, verdict_id, router, 60, day=0, conversation="one", score=router.thresholds[-1])
    after = growth(site, day=1)
    assert after.audits == 60
    assert [step.n for step in after.steps] == [*(step.n for step in before[:-1]), before[-1].n + 1]


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


def digest_of(project: Project) -> str:
    (digest,) = {audit.scorer_digest for audit in project.store.pairs.audits("support")}
    return digest


def test_a_verdict_of_a_test_at_the_end_cannot_grow(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 1600, grow=False)
    with site.project() as project, raises_code("growth-without-evidence"):
        project.apply(verdict_id)


@pytest.mark.parametrize(
    ("was", "now", "code"),
    [
        ("router: true", "router: true\n    whole_floor: 0.9", "growth-tested-once"),
        (SCHEMA, " {kind: exact}", "growth-unscored"),
        (SCHEMA, " {kind: judge, options: {model: judge, criteria: Good?}}", "growth-tested-once"),
    ],
)
def test_a_route_that_never_could_grow_gets_no_verdict(site: Site, was: str, now: str, code: str) -> None:
    config(site)
    verdict_id = verdict_of(site, 1600)
    path = site.folder / "crossgrade.yaml"
    path.write_text(path.read_text().replace(was, now).replace("watch: {}", "watch: {label_share: 0}"))
    with site.project() as project:
        with raises_code(code, where="routes.support.grow"):
            project.apply(verdict_id)
        assert project.store.routes.current() is None


def test_where_growth_is_switched_off_nothing_moves_more(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 1600)
    router = apply(site, verdict_id)
    config(site, grow=False)
    for day in range(6):
        seen(site, verdict_id, router, 300, day=day)
    assert site.look(now=NOW + 6 * DAY).grown == []


def test_people_score_what_does_not_move_yet(site: Site, tmp_path: Path) -> None:
    config(site)
    path = site.folder / "crossgrade.yaml"
    exact = path.read_text().replace(SCHEMA, " {kind: exact}")
    path.write_text(exact.replace("watch: {}", "watch: {label_share: 1}"))
    verdict_id = verdict_of(site, 800)
    router = apply(site, verdict_id)
    policy = site.route().policy
    scores = {name: score for name, score in (router.segments or {}).items() if not policy.reaches(score)}
    assert scores
    seen(site, verdict_id, router, 40, day=0, score=max(scores.values()), segment=None)
    found = site.look(now=NOW + DAY, label_file=tmp_path / "labels.csv")
    assert found.waiting == 40
    assert found.growth[0].reason_code == "waits-for-scores"
    # People did not score the certificate's samples, so their evidence is a start of its own, without them.
    assert found.growth[0].start == 2
    assert {step.n for step in found.growth[0].steps} == {0}


def test_a_route_that_changed_meanwhile_does_not_grow(site: Site) -> None:
    config(site)
    first, second = verdict_of(site, 1600), verdict_of(site, 1600)
    router = apply(site, first)
    seen_before, widest = site.route(), router.thresholds[-1]
    for grow, verdict_id in ((True, second), (False, first)):
        config(site, grow=grow)
        apply(site, verdict_id)
        with site.project() as project, raises_code("growth-overtaken"):
            project.routing.grow(seen_before, widest)
    assert site.route().policy == seen_before.policy


def test_what_was_served_before_growth_was_switched_on_is_no_evidence(site: Site) -> None:
    config(site, grow=False)
    verdict_id = verdict_of(site, 1600)
    router = apply(site, verdict_id)
    seen(site, verdict_id, router, 30, day=0)  # of these, missed ones were not recorded
    config(site)
    began = datetime.now(UTC)
    apply(site, verdict_id)
    growth_now = site.route().growth
    assert growth_now is not None
    assert began <= growth_now.since <= datetime.now(UTC)


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
    path = site.folder / "crossgrade.yaml"
    path.write_text(
        path.read_text().replace("required: [city]", "required: [city], additionalProperties: true")
    )
    other = growth(site, day=1)
    assert (first.start, other.start) == (1, 2)
    assert other.steps[0].e_value_at == pytest.approx(4 * first.steps[0].e_value_at)
    assert other.audits == 50
    assert max(step.n for step in other.steps) <= 50  # without the certificate's samples
    path.write_text(path.read_text().replace(", additionalProperties: true", ""))
    again = growth(site, day=1)
    assert again.start == 1
    assert again.steps == first.steps


def test_the_certificates_samples_are_evidence_of_its_own_scorer_alone(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 800)
    router = apply(site, verdict_id)
    seen(site, verdict_id, router, 50, day=0)
    path, text = site.folder / "crossgrade.yaml", (site.folder / "crossgrade.yaml").read_text()
    path.write_text(text.replace("required: [city]", "required: [city], additionalProperties: true"))
    other = growth(site, day=1)  # before the certificate's scorer has kept anything
    assert other.start == 2
    assert max(step.n for step in other.steps) <= 50
    path.write_text(text)
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
    path, text = site.folder / "crossgrade.yaml", (site.folder / "crossgrade.yaml").read_text()
    path.write_text(text.replace("required: [city]", "required: [city], additionalProperties: true"))
    other = growth(site, day=2)
    path.write_text(text)
    assert (third.start, other.start, growth(site, day=3).start) == (3, 4, 3)


def test_a_long_conversation_counts_with_its_whole_size(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 800)
    router = apply(site, verdict_id)
    score = router.thresholds[-1]
    good = [pair(verdict_id, GOOD, GOOD) for _ in range(40)]
    bad = [pair(verdict_id, GOOD, BAD) for _ in range(40)]
    with site.project() as project:
        project.store.pairs.append(
            [replace(each, score=score, conversation=str(at)) for at, each in enumerate(good)]
            + [replace(each, score=score, conversation="long") for each in bad]
        )
    # Conversations that weigh alike would be 40 good ones against a bad one.
    assert growth(site, day=1).steps[-1].e_value == growth(site, day=0).steps[-1].e_value
