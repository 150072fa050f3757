"""What a run observed while it went on is what a decision observes of its recorded answers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crossgrade.decide import Blocks, DecisionSettings, RunDesign, Stopping, _certify, make_design
from crossgrade.decide._view import make_view
from crossgrade.domain import Sample, ScoredAnswer
from crossgrade.workloads import evidence_from_answers


@st.composite
def runs(draw):
    """A plan, its scores and how much of it was asked before the run was cut short."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(5, 120))
    segments = draw(st.integers(0, 3))
    kind = draw(st.sampled_from(["samples", "weights", "clusters", "blocks", "pilot"]))
    weighted = kind == "weights" or (kind == "clusters" and draw(st.booleans()))
    clustered = kind == "clusters"
    cluster = np.sort(rng.integers(0, max(1, n // 4), n)) if clustered else None
    plan = [
        Sample(
            id=f"s{at}",
            fields={},
            segment=f"g{rng.integers(segments)}" if segments and rng.random() < 0.9 else None,
            cluster=None if cluster is None or rng.random() < 0.1 else f"c{cluster[at]}",
            weight=float(rng.lognormal()) if weighted else 1.0,
        )
        for at in range(n)
    ]
    plan = _together(plan)
    quality = draw(st.sampled_from([0.2, 0.8, 0.97, 1.0]))
    scores = np.stack([rng.random(n) < 0.9, rng.random(n) < quality]).astype(float)
    scores[rng.random((2, n)) < draw(st.sampled_from([0.0, 0.1]))] = np.nan
    first = draw(st.integers(1, n))
    design = RunDesign(samples=n, first_samples=first)
    if kind in {"blocks", "pilot"}:
        pilot = draw(st.integers(1, n - 1)) if kind == "pilot" else 0
        size = draw(st.integers(1, 5))
        blocks = Blocks(size=size, blend=draw(st.floats(0, 1)), pilot=pilot, pairs=n)
        design = replace(design, blocks=blocks)
        if pilot:
            # Blocks plan at least as many samples as were planned before: a first plan never ends earlier.
            before = draw(st.integers(pilot + 1, n))
            first = draw(st.integers(before, n))
            design = replace(design, pilot=pilot, before=before, first_samples=first)
    return plan, scores, design, draw(st.integers(1, n)), draw(st.booleans())


def _together(plan):
    """Put the samples of a cluster beside each other, as a run asks them."""
    units = {}
    for sample in plan:
        units.setdefault((sample.cluster is None, sample.cluster or sample.id), []).append(sample)
    return [sample for unit in units.values() for sample in unit]


def _run(plan, scores, design, cut, **options):
    """Ask while the rule wants it, at most `cut` samples; return the rule and the recorded answers."""
    begun = design
    if design.pilot:  # the run begins before the blocks are chosen
        n = design.before
        begun = replace(design, samples=n, first_samples=n, blocks=None)
    rule = Stopping(candidates=["new"], plan=plan[: begun.samples], design=begun, **options)
    answers = []
    for position, sample in enumerate(plan[:cut]):
        if design.pilot and position == design.pilot:
            rule.replan(plan, design)
        if not rule.wants("new", sample.segment):
            continue
        b, c = (None if np.isnan(each) else float(each) for each in scores[:, position])
        paired = design.pairs_at(position)
        if not paired:
            b = None
        row = {"segment": sample.segment, "cluster": sample.cluster, "weight": sample.weight}
        row |= {"sample_id": sample.id, "cost_usd": None}
        if paired:
            answers.append(ScoredAnswer(model="old", score=b, latency_ms=1.0, **row))
        answers.append(ScoredAnswer(model="new", score=c, latency_ms=1.0, **row))
        rule.update(sample, position, b, {"new": c})
    if design.pilot and cut == design.pilot:  # the design is recorded before the next question
        rule.replan(plan, design)
    return rule, answers


@settings(deadline=None, max_examples=150)
@given(runs())
def test_a_decision_observes_what_the_run_observed(case):
    plan, scores, design, cut, splits_only = case
    rule, answers = _run(plan, scores, design, cut, splits_only=splits_only, futility=None)
    assume({each.model for each in answers} == {"old", "new"})
    evidence = evidence_from_answers(
        answers, workload="w", incumbent="old", candidates=["new"], plan=plan,
        design=make_design(plan, design), file_order=[sample.id for sample in plan],
    )  # fmt: skip
    view = make_view(evidence, DecisionSettings(mode="sequential", splits_only=splits_only))
    found = {
        (one.candidate, one.part.label): one.test.result() for one in _certify.tested_hypotheses(view, ())
    }
    for key, follower in rule._followers.items():
        live, replayed = follower.result(), found[key]
        assert replayed.e_pass == pytest.approx(live.e_pass)
        assert replayed.e_fail == pytest.approx(live.e_fail)
        assert replayed.outcome == live.outcome
        assert replayed.p_value == pytest.approx(live.p_value)
        assert replace(replayed, n=0, clusters=None).value == pytest.approx(live.value)
