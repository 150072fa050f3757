"""A growing route: audits move more of its traffic, and never without evidence."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crossgrade.cli._frame import run
from crossgrade.routing import threshold_name
from crossgrade.store import PairAnswer
from tests.codes import raises_code, shown_codes
from tests.unit.watch.conftest import BAD, GOOD, NOW, SCHEMA, Site, pair
from tests.unit.watch.growing import DAY, apply, config, growth, seen, verdict_of


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
