"""A verdict for a route that grows: bets alone certify it, at most of the error rate, and audits can go on."""

from dataclasses import replace

import numpy as np
import pytest

from crossgrade.decide import (
    DecisionSettings,
    Evidence,
    decide_policy,
    growth_mark,
    growth_steps,
    train_router,
    verify,
)
from crossgrade.decide._observations import Observer
from crossgrade.decide._router import _columns, certifying
from crossgrade.decide._view import make_view
from crossgrade.errors import DataError
from crossgrade.report import render_html, render_text
from tests.codes import raises_code, said
from tests.unit.decide.test_router import NOW, decide, evidence

GROW = DecisionSettings(mode="fixed", grow=True)


def test_bets_alone_certify_at_the_first_starts_part_of_the_error_rate() -> None:
    routed, verdict = decide(evidence(), GROW)
    assert verdict.name == "split"
    moved = [one for one in verdict.certificates if one.certified]
    for one in moved:
        assert one.retention.method == "bets"
        assert one.retention.e_pass is not None
        assert one.retention.e_pass >= 1 / 0.0375
        assert one.adjusted_p <= 0.05
        assert one.retention.low is not None
        assert one.retention.low >= 0.85
        assert one.retention.low_confidence == pytest.approx(0.9625)
    steps = growth_steps(routed, GROW)
    assert [step.process.passed for step in steps][: len(moved)] == [True] * len(moved)
    parts = [one for one in verdict.certificates if one.segment is not None]
    for step, one in zip(steps, parts, strict=True):
        assert step.share == pytest.approx(one.share)
        assert step.process.e_value == pytest.approx(one.retention.e_pass)


def test_it_certifies_no_more_than_a_test_at_the_end() -> None:
    _, grown = decide(evidence(), GROW)
    _, fixed = decide(evidence())
    assert sum(one.certified for one in grown.certificates) <= sum(
        one.certified for one in fixed.certificates
    )


def _twice(routed: Evidence) -> Evidence:
    """Every row a second time, under another id."""
    rows = np.r_[np.arange(routed.n), np.arange(routed.n)]
    twice = _columns(routed, rows)
    ids = [f"{name}{'' if at < routed.n else ' again'}" for at, name in enumerate(twice.sample_ids)]
    return replace(
        twice,
        sample_ids=np.array(ids, dtype=np.object_),
        incumbent=_columns(routed.incumbent, rows),
        candidates=(_columns(routed.candidates[0], rows),),
        routing=_columns(routed.routing, rows),
    )


def test_rows_that_ask_the_same_are_one_observation_of_the_bets() -> None:
    routed, verdict = decide(evidence(), GROW)
    twice = _twice(routed)
    assert len(set(twice.units)) == routed.n
    again = decide_policy(twice, GROW, now=NOW)
    assert (again.name, again.policy) == (verdict.name, verdict.policy)
    for one, other in zip(verdict.certificates, again.certificates, strict=True):
        if one.tested:
            assert other.retention.e_pass == pytest.approx(one.retention.e_pass)
            assert (other.retention.n, other.retention.clusters) == (2 * one.retention.n, one.retention.n)
    for step, other in zip(growth_steps(routed, GROW), growth_steps(twice, GROW), strict=True):
        assert (other.process.n, other.process.planned) == (step.process.n, step.process.planned)
        assert other.process.e_value == pytest.approx(step.process.e_value)
    assert verify(again, twice) == ()


def test_audits_in_service_settle_rows_that_ask_the_same_too() -> None:
    settings = replace(GROW, floor=0.97)
    routed, verdict = decide(evidence(600), settings)
    again = decide_policy(_twice(routed), settings, now=NOW)
    assert any(one.retention.clusters for one in again.certificates if one.tested)
    assert again.needed_audits == verdict.needed_audits, (
        "an audit is as much evidence as a question, however many ask it"
    )
    assert said(again.would_change, "more-audits", f"{again.needed_audits:,} more audits in service")
    assert "clusters would" not in again.sentence


def test_a_question_weighs_as_much_as_its_rows() -> None:
    routed, _ = decide(evidence(), GROW)
    certified = certifying(routed, in_order=True)
    unit = np.array([f"u{at // 3}" for at in range(certified.n)], dtype=np.object_)
    found = replace(certified, unit=unit, order=np.arange(certified.n), routing=None)
    view = make_view(found, replace(GROW, mode="anytime"))
    plan = view.design.whole
    assert (plan.samples, plan.observations, plan.heaviest) == (found.n, -(-found.n // 3), 3.0)
    asked = list(view.asked_in_order("new", view.whole, view.whole.rows))
    assert [each.cluster_size for each in asked[:-3]] == [3] * (found.n - 3)
    observer = Observer(view.design.run, plan)
    made = [each for each in map(observer.take, asked) if each is not None]
    assert len(made) == plan.observations
    assert {(each.weight, each.pairs) for each in made[:-1]} == {(1.0, 3)}
    assert made[0].candidate == pytest.approx(found.candidates[0].score[:3].mean())


def test_a_later_start_begins_without_evidence_and_asks_for_more() -> None:
    routed, _ = decide(evidence(), GROW)
    for first, second in zip(growth_steps(routed, GROW), growth_steps(routed, GROW, start=2), strict=True):
        assert (second.process.n, second.process.e_value) == (0, 1.0)
        assert (
            second.process.threshold == pytest.approx(4 * first.process.threshold) == pytest.approx(320 / 3)
        )
        assert second.process.planned == first.process.planned
        marks = [growth_mark(GROW, start=start) for start in (1, 2)]
        assert marks == [first.process.threshold, second.process.threshold]


def test_what_is_said_of_the_next_step_names_its_mark() -> None:
    for settings in (GROW, replace(GROW, alpha=0.1)):
        _, verdict = decide(evidence(), settings)
        (remark,) = said(verdict.reasons, "router-grows", f"{growth_mark(settings):.3g}")
        assert f"a step takes {growth_mark(settings):.3g}" in render_html([verdict])
        assert remark.segments == (
            next(one.segment for one in verdict.certificates if not one.certified and one.segment),
        )


def test_a_start_that_is_resumed_leaves_the_samples_to_its_state() -> None:
    routed, _ = decide(evidence(), GROW)
    begun, resumed = growth_steps(routed, GROW), growth_steps(routed, GROW, is_resumed=True)
    for step, empty in zip(begun, resumed, strict=True):
        assert (empty.process.n, empty.process.e_value) == (0, 1.0)
        assert (empty.least_score, empty.share) == (step.least_score, step.share)
        assert empty.process.restore(step.process.state()).state() == step.process.state()


def test_the_order_of_the_tests_does_not_depend_on_the_order_of_rows() -> None:
    routed, _ = decide(evidence(), GROW)
    assert routed.routing is not None
    back = np.arange(routed.n)[::-1]
    models = [replace(each, score=each.score[back]) for each in (routed.incumbent, *routed.candidates)]
    turned = replace(
        routed, sample_ids=routed.sample_ids[back], incumbent=models[0], candidates=(models[1],),
        routing=replace(routed.routing, trained=routed.routing.trained[back]),
    )  # fmt: skip
    rows = [certifying(each, in_order=True) for each in (routed, turned)]
    first, second = (each.sample_ids[each.order].tolist() for each in rows)
    assert first == second != sorted(first)


def test_such_a_verdict_can_be_verified() -> None:
    routed, verdict = decide(evidence(), GROW)
    assert verify(verdict, routed) == ()


@pytest.mark.parametrize("field", ["cluster", "judge"])
def test_samples_that_are_tested_once_are_refused(field: str) -> None:
    found = evidence()
    value = (
        "judge" if field == "judge" else np.array([f"c{i // 2}" for i in range(found.n)], dtype=np.object_)
    )
    with pytest.raises(DataError) as raised:
        train_router(replace(found, **{field: value}), GROW)
    assert raised.value.code == "growth-evidence"


def test_a_floor_of_the_whole_is_tested_once_too() -> None:
    with pytest.raises(DataError) as raised:
        train_router(evidence(), replace(GROW, whole_floor=0.95))
    assert raised.value.code == "growth-evidence"


def test_without_enough_evidence_it_is_undecided_and_could_begin() -> None:
    routed, verdict = decide(evidence(2400), GROW)
    assert verdict.name == "undecided"
    steps = growth_steps(routed, GROW)
    assert steps
    assert not steps[0].process.passed
    assert decide_policy(routed, GROW, now=NOW) == verdict


def test_more_audits_would_settle_what_is_undecided() -> None:
    _, verdict = decide(evidence(600), replace(GROW, floor=0.97))
    assert verdict.name == "undecided"
    first = next(one for one in verdict.certificates if one.tested)
    (remark,) = verdict.would_change
    assert verdict.needed is verdict.needed_labels is None
    assert said(
        verdict.would_change, "more-audits", f"{verdict.needed_audits:,}", segments=(first.segment,)
    ) == [remark]
    for page in (render_text(verdict), render_html([verdict]), verdict.sentence):
        assert f"{verdict.needed_audits:,} more audits" in page
        assert "more samples" not in page


@pytest.mark.parametrize("floor", [0.85, 0.95])
def test_the_next_step_is_the_strictest_threshold_that_is_open(floor: float) -> None:
    """Whatever is seen of later ones, they wait for it; here too little is, to say how many audits it takes."""
    _, verdict = decide(evidence(2400), replace(GROW, floor=floor))
    assert (verdict.name, verdict.needed, verdict.needed_audits) == ("undecided", None, None)
    first = next(one for one in verdict.certificates if one.tested)
    (remark,) = verdict.would_change
    assert (remark.code, remark.segments) == ("more-audits", (first.segment,))
    assert "audits" in verdict.sentence
    assert "more samples" not in verdict.sentence


def test_a_threshold_that_looks_below_its_floor_is_nothing_for_audits() -> None:
    """Audits can only certify."""
    _, verdict = decide(evidence(600), replace(GROW, floor=1.02))
    assert verdict.name == "undecided"
    assert not said(verdict.would_change, "more-audits")
    assert "audits" not in verdict.sentence
    assert {each.code for each in verdict.would_change} <= {"more-samples", "many-more-samples"}


def test_evidence_without_a_router_is_refused() -> None:
    routed, _ = decide(evidence(), GROW)
    assert routed.routing is not None
    for routing in (None, replace(routed.routing, router=None, score=None)):
        with raises_code("growth-router-missing"):
            growth_steps(replace(routed, routing=routing), GROW)


def test_the_report_has_the_evidence_of_every_threshold() -> None:
    _, verdict = decide(evidence(), GROW)
    page = render_html([verdict])
    for one in verdict.certificates:
        if one.tested:
            assert f"e-value {one.retention.e_pass:.3g}" in page
    assert "a step takes 26.7" in page
    assert "e-value" not in render_html([decide(evidence())[1]])
