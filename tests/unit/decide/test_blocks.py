"""Blocks: which are chosen, what they observe, and what a decision makes of them."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from crossgrade.decide import (
    USUAL,
    Blocks,
    DecisionSettings,
    KnownScores,
    Moments,
    RunDesign,
    choose_blocks,
    decide_policy,
    make_design,
    moments,
    pairs_for,
    rehearse,
    right_or_wrong,
    verify,
)
from crossgrade.decide._observations import AskedSample, Observer
from crossgrade.decide._view import make_view
from crossgrade.domain import Sample
from crossgrade.report import view
from tests.codes import names, said

OPTIONS = {"floor": 0.85, "planned": 300, "available": 100_000, "pilot": 0}


def _observer(size: int, blend: float, *, pilot: int = 0, n: int = 100) -> Observer:
    run = RunDesign(
        samples=n,
        first_samples=n,
        pilot=pilot,
        blocks=Blocks(size=size, blend=blend, pilot=pilot, pairs=n),
    )
    plan = [Sample(id=str(at), fields={}) for at in range(n)]
    return Observer(run, make_design(plan, run).whole)


def _observe(observer, scores):
    """Feed (b, c) pairs; return what was observed."""
    made = [observer.take(AskedSample(at, b, c)) for at, (b, c) in enumerate(scores)]
    return [each for each in made if each is not None]


def test_the_cheaper_the_candidate_the_larger_the_block():
    sizes = [
        choose_blocks([USUAL], incumbent_usd=1.0, candidate_usd=[price], **OPTIONS).size
        for price in (1.0, 0.3, 0.1, 0.03, 0.001)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] == 1
    assert 1 < sizes[-2] < sizes[-1] <= 16


def test_several_candidates_make_answers_beside_the_incumbents_dearer():
    one = choose_blocks([USUAL], incumbent_usd=1.0, candidate_usd=[0.05], **OPTIONS)
    five = choose_blocks([USUAL] * 5, incumbent_usd=1.0, candidate_usd=[0.05] * 5, **OPTIONS)
    assert five.size < one.size


def test_blocks_fit_into_the_dataset():
    found = choose_blocks([USUAL], incumbent_usd=1.0, candidate_usd=[0.01], **{**OPTIONS, "available": 400})
    assert found.samples <= 400
    small = choose_blocks([USUAL], incumbent_usd=1.0, candidate_usd=[0.01], **{**OPTIONS, "available": 310})
    assert (small.size, small.pairs, small.samples) == (1, 300, 300)


@pytest.mark.parametrize("pilot", [0, 30])
def test_a_plan_in_blocks_has_the_power_of_its_pairs(pilot):
    for planned in (100, 300, 3000):
        pairs = pairs_for(planned, variance=0.5, size=7, pilot=pilot)
        blocks = pairs - pilot
        variance = (0.25 * pilot + 0.5 * blocks) / (0.5 * pilot + blocks) ** 2
        assert variance <= 1 / planned
        assert variance > 0.97 / planned
    assert pairs_for(1000, variance=0.5, size=7, pilot=0) == 500


@pytest.mark.parametrize("size", [2, 5, 9])
def test_the_variance_of_a_block_is_what_is_computed(size):
    rng = np.random.default_rng(3)
    b, (c,) = right_or_wrong(rng, 400_000 - 400_000 % size, accuracy=0.8, retention=0.9, correlation=0.5)
    cov = np.cov(b, c)
    exact = Moments(incumbent=cov[0, 0], candidate=cov[1, 1], covariance=cov[0, 1])
    blend = exact.best_blend(0.85)
    blocks = c.reshape(-1, size)
    d = (1 - blend) * blocks[:, -1] + blend * blocks.mean(axis=1) - 0.85 * b.reshape(-1, size)[:, -1]
    ratio = d.var() / (c - 0.85 * b).var()
    assert ratio == pytest.approx(exact.variance(0.85, size, blend), rel=0.02)
    others = [exact.variance(0.85, size, each) for each in (blend - 0.1, min(blend + 0.1, 1.0))]
    assert exact.variance(0.85, size, blend) <= min(others)


def test_what_a_few_pairs_say_is_drawn_towards_what_is_usual():
    rng = np.random.default_rng(1)
    b = (rng.random(30) < 0.8).astype(float)
    same = moments(b, b)
    assert 0.6 < same.covariance / same.candidate < 1.0
    assert moments(b[:1], b[:1]) == USUAL
    right = moments(np.ones(30), np.ones(30))
    assert min(right.incumbent, right.candidate) > 0
    gaps = moments(np.append(b, np.nan), np.append(b, 1.0))
    assert gaps == same


def test_a_block_is_the_samples_since_the_last_paired_one():
    found = _observe(
        _observer(3, 0.5), [(None, 1.0), (None, 0.0), (1.0, 1.0), (None, 0.0), (None, 0.0), (0.0, 1.0)]
    )
    assert [tuple(each[:3]) for each in found] == [
        (1.0, pytest.approx(0.5 + 0.5 * 2 / 3), 1.0),
        (0.0, pytest.approx(0.5 + 0.5 * 1 / 3), 1.0),
    ]  # fmt: skip


def test_an_unscored_answer_leaves_the_mean_or_drops_its_block():
    found = _observe(
        _observer(2, 1.0), [(None, None), (1.0, 0.5), (None, 1.0), (1.0, None), (None, 1.0), (None, 1.0)]
    )
    assert [tuple(each[:2]) for each in found] == [(1.0, 0.5)]
    # The block that was dropped is over: what came before its paired sample counts nowhere.
    found = _observe(_observer(2, 1.0), [(None, 0.0), (None, 0.0), (None, 1.0), (1.0, 1.0)])
    assert [tuple(each[:2]) for each in found] == [(1.0, 1.0)]


def test_pairs_of_the_pilot_count_for_less_than_blocks():
    found = _observe(_observer(2, 1.0, pilot=2), [(1.0, 1.0), (1.0, 0.0), (None, 1.0), (1.0, 0.0)])
    assert [each.weight for each in found] == [0.5, 0.5, 1.0]
    assert found[-1].candidate == 0.5


def test_what_is_no_part_of_the_test_is_no_part_of_a_block():
    observer = _observer(2, 1.0)
    observer.take(AskedSample(0, None, 0.0, counts=False))
    assert observer.take(AskedSample(1, 1.0, 1.0)) is not None
    assert observer.take(AskedSample(2, None, 0.0)) is None
    assert observer.take(AskedSample(3, 1.0, 1.0, counts=False)) is None
    found = observer.take(AskedSample(5, 1.0, 1.0))
    assert found is not None
    assert found.candidate == 0.5


@pytest.fixture
def spared(make):
    """600 samples in blocks of 4, of which the incumbent answered every fourth; the candidate costs a tenth."""
    n, blocks = 600, Blocks(size=4, blend=0.7, pilot=0, pairs=150, variance=0.5)
    b, (c,) = right_or_wrong(np.random.default_rng(5), n, accuracy=0.8, retention=1.0, correlation=0.6)
    run = RunDesign(samples=n, first_samples=n, blocks=blocks)
    paired = np.array([run.pairs_at(at) for at in range(n)])
    usd = np.linspace(0.0005, 0.0015, n)
    plan = [Sample(id=f"s-{at}", fields={}) for at in range(n)]
    return make(
        np.where(paired, b, np.nan), c, order=np.arange(n), planned=n, position=np.arange(n),
        design=make_design(plan, run), inc={"cost_usd": np.where(paired, 0.01, np.nan)},
        cand={"cost_usd": usd},
    ), paired, usd  # fmt: skip


def test_a_decision_counts_every_answer_of_the_candidate(spared, now):
    evidence, paired, usd = spared
    verdict = decide_policy(evidence, DecisionSettings(mode="sequential"), now=now)
    assert verdict.name == "switch"
    whole = verdict.certificates[0].retention
    assert whole.n <= paired.sum()
    guards = {guard.name: guard.status for guard in verdict.guards}
    assert guards["mismatched-items"] == guards["unscored"] == guards["price-known"] == "pass"
    (cost,) = [each for each in verdict.costs if each.policy.kind == "switch"]
    assert cost.per_request_usd.value == pytest.approx(usd.mean())
    assert cost.per_request_usd.n == paired.sum()
    assert cost.saving_per_request_usd.value == pytest.approx(0.01 - usd.mean())
    assert said(verdict.reasons, "saves", f"N = {paired.sum()}", "K = 4", candidate="b")
    assert verify(verdict, evidence) == ()


@pytest.mark.parametrize(
    ("kept", "usd", "name", "code"),
    [
        (1.0, 0.001, "switch", "saves"),
        (1.0, 0.02, "keep", "costs-more"),
        (1.0, 0.0099, "undecided", "not-shown-cheaper"),
        (0.3, 0.001, "keep", None),
        (0.85, 0.001, "undecided", None),
    ],
)
def test_n_and_k_stand_beside_each_saving(spared, now, kept, usd, name, code):
    evidence, paired, _ = spared
    rng = np.random.default_rng(3)
    candidate = replace(
        evidence.candidates[0],
        score=np.where(rng.random(evidence.n) < kept, evidence.candidates[0].score, 0.0),
        cost_usd=usd * rng.uniform(0.5, 1.5, evidence.n),
    )
    verdict = decide_policy(
        replace(evidence, candidates=(candidate,)),
        DecisionSettings(mode="sequential", requests_per_month=1_000),
        now=now,
    )
    assert verdict.name == name
    assert verdict.blocks is not None
    assert (verdict.paired, verdict.blocks.size) == (paired.sum(), 4)
    seen = view(verdict)
    facts = dict(seen.facts)
    for shown in (facts["samples"], facts["saving a month"], seen.costs.note):
        assert names(shown, f"N = {paired.sum()}")
        assert names(shown, "K = 4")
    assert code is None or said(verdict.reasons, code, f"N = {paired.sum()}", "K = 4", candidate="b")


def test_late_answers_are_counted_as_samples_and_not_as_pairs(spared, now):
    evidence, paired, _ = spared
    verdict = decide_policy(evidence, DecisionSettings(mode="sequential"), now=now)
    counted = verdict.certificates[0].retention.n
    assert 0 < counted < paired.sum()
    (late,) = said(verdict.reasons, "later-samples", candidate="b", segments=())
    assert names(late.text, evidence.n - 4 * counted)
    assert not said(verdict.reasons, "uncounted-samples")


def test_a_guards_figure_that_is_not_the_certificates_says_why(spared, now):
    evidence, paired, _ = spared
    verdict = decide_policy(evidence, DecisionSettings(mode="sequential"), now=now)
    assert verdict.certificates[0].retention.n < paired.sum()
    for name in ("retention-too-high", "retention-too-low"):
        (guard,) = [each for each in verdict.guards if each.name == name]
        assert names(guard.seen, f"all {paired.sum()} pairs, each counted alike")
    alone = decide_policy(replace(evidence, order=None, design=None), DecisionSettings(), now=now)
    (guard,) = [each for each in alone.guards if each.name == "retention-too-low"]
    assert names(guard.seen, f"{paired.sum()} pairs")
    assert not names(guard.seen, "alike")


def test_answers_of_a_block_that_never_ended_are_named(spared, now):
    evidence, _, _ = spared
    asked = 43  # ten blocks of four, and three samples that the incumbent was not asked

    def cut(model):
        return replace(model, score=np.where(np.arange(evidence.n) < asked, model.score, np.nan))

    short = replace(
        evidence, incumbent=cut(evidence.incumbent), candidates=tuple(map(cut, evidence.candidates))
    )
    verdict = decide_policy(short, DecisionSettings(mode="sequential"), now=now)
    assert verdict.name == "undecided"
    assert verdict.certificates[0].retention.n == 10
    assert said(verdict.reasons, "uncounted-samples", 3, candidate="b", segments=())
    assert not said(verdict.reasons, "later-samples")


def test_the_advice_counts_samples_and_says_how_many_are_pairs(spared, now):
    evidence, paired, _ = spared
    rng = np.random.default_rng(3)
    scores = np.where(rng.random(evidence.n) < 0.8, evidence.candidates[0].score, 0.0)
    near = replace(evidence, candidates=(replace(evidence.candidates[0], score=scores),))
    verdict = decide_policy(near, DecisionSettings(mode="sequential"), now=now)
    assert verdict.name == "undecided"
    whole = verdict.certificates[0].retention
    assert whole.n == paired.sum()
    pairs = whole.needed - whole.n
    assert 4 * pairs <= verdict.needed <= 1.1 * 4 * pairs
    (more,) = said(verdict.would_change, "more-samples", f"{verdict.needed:,}", candidate="b")
    answered, planned = map(int, re.findall(r"about ([\d,]+)", more.text.replace(",", ""))[-2:])
    assert pairs <= answered <= 1.1 * pairs
    variance = evidence.design.run.blocks.variance
    assert pairs / variance <= planned <= 1.1 * pairs / variance


def test_paired_rows_carry_their_blocks(spared):
    evidence, paired, usd = spared
    view = make_view(evidence, DecisionSettings(mode="sequential"))
    means = view.block_means(usd)
    assert np.isnan(means[~paired]).all()
    assert means[paired] == pytest.approx(usd.reshape(-1, 4).mean(axis=1))
    everybody = replace(evidence, design=None, position=None)
    assert make_view(everybody, DecisionSettings()).block_means(usd) is usd


def test_a_rehearsal_asks_what_a_run_would():
    samples = [Sample(id=str(at), fields={}) for at in range(3000)]
    b, (c,) = right_or_wrong(np.random.default_rng(2), 3000, accuracy=0.8, retention=0.95, correlation=0.5)
    known = KnownScores(incumbent=b, candidates={"c": c}, candidate_usd={"c": 0.02})
    pairs = rehearse(samples, known, RunDesign(samples=300, first_samples=300))
    assert pairs.incumbent_calls == pairs.candidate_calls["c"] <= 300
    found = rehearse(samples, known, RunDesign(samples=300, first_samples=300, pilot=30, before=300))
    assert found.design.blocks is not None
    assert found.design.blocks.size > 1
    assert found.incumbent_calls < found.candidate_calls["c"]
    assert math.isclose(known.spent_usd(found), found.incumbent_calls + 0.02 * found.candidate_calls["c"])


def test_a_rehearsal_tests_each_candidate_of_a_baseline_as_if_it_were_the_only_one() -> None:
    samples = [Sample(id=str(at), fields={}) for at in range(300)]
    b, c = right_or_wrong(
        np.random.default_rng(2), 300, accuracy=0.8, retention=1.0, correlation=0.5, candidates=2
    )
    known = KnownScores(incumbent=b, candidates={"c": c[0], "d": c[1]})
    design = RunDesign(samples=300, first_samples=300)
    alone = {
        name: rehearse(samples, KnownScores(incumbent=b, candidates={name: scores}), design)
        for name, scores in known.candidates.items()
    }
    both = rehearse(samples, known, design, alone=True, every_hypothesis=True)
    assert both.candidate_calls == {name: each.candidate_calls[name] for name, each in alone.items()}
    shared = rehearse(samples, known, design, every_hypothesis=True)
    assert sum(shared.candidate_calls.values()) > sum(both.candidate_calls.values())
