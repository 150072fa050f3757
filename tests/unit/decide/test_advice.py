"""What an undecided verdict says it needs: for which hypothesis, of what, and which way it points."""

from dataclasses import replace

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, EveryModel, decide_policy, verdict_to_json
from crossgrade.domain import Requirements
from crossgrade.report import view
from crossgrade.stats import MOST_NEEDED
from tests.codes import names, said


def outcomes(both: int, lost: int, won: int = 0) -> tuple[list[float], list[float]]:
    """Scores of the incumbent and the candidate: both right, lost by the candidate, won by it."""
    return [1.0] * both + [1.0] * lost + [0.0] * won, [1.0] * both + [0.0] * lost + [1.0] * won


def test_samples_of_a_segment_are_counted_as_samples_of_the_workload(make, now):
    small, large = outcomes(27, 3), outcomes(230, 40)
    evidence = make(small[0] + large[0], small[1] + large[1], segment=["small"] * 30 + ["large"] * 270)
    verdict = decide_policy(evidence, DecisionSettings(splits_only=True), now=now)
    by_segment = {one.segment: one.retention for one in verdict.certificates if one.segment}
    alone = {name: (one.needed - one.n) * 300 / one.n for name, one in by_segment.items() if one.needed}
    assert verdict.name == "undecided"
    assert min(alone.values()) <= verdict.needed <= 1.1 * min(alone.values()) + 1


@pytest.mark.parametrize("seen", [70, 24])
def test_rows_that_ask_the_same_need_others_and_no_cluster(make, now, seen):
    """None is declared. Of 12 questions too few are known to advise a number."""
    b, c = outcomes(seen - 4, 4)
    for column, words in (("input", "that ask something else"), ("cluster", "from other clusters")):
        labels = [f"question {at // 2}" for at in range(seen)]
        verdict = decide_policy(make(b, c, **{column: labels}), now=now)
        assert verdict.name == "undecided"
        code = "more-samples" if seen == 70 else "more-evidence"
        assert said(verdict.would_change, code, words)


@pytest.mark.parametrize("splits_only", [True, False])
def test_no_number_is_advised_that_nobody_would_ask(make, now, splits_only):
    """A small segment near the floor: many of its samples, and twenty times as many of the whole."""
    small, large = outcomes(860, 140), outcomes(11_400, 7_600)
    evidence = make(small[0] + large[0], small[1] + large[1], segment=["small"] * 1_000 + ["large"] * 19_000)
    verdict = decide_policy(evidence, DecisionSettings(splits_only=splits_only), now=now)
    (open_one,) = [one for one in verdict.certificates if one.segment == "small"]
    assert verdict.name == "undecided"
    assert open_one.retention.needed - open_one.retention.n < MOST_NEEDED
    assert verdict.needed is None
    assert not said(verdict.would_change, "more-samples")
    assert said(verdict.would_change, "many-more-samples", f"{MOST_NEEDED:,}", segments=("small",))


def test_the_sentence_is_about_what_was_tested(make, now):
    first, second = outcomes(27, 3), outcomes(28, 4)
    evidence = make(first[0] + second[0], first[1] + second[1], segment=["a"] * 30 + ["b"] * 32)
    verdict = decide_policy(evidence, DecisionSettings(splits_only=True), now=now)
    whole = next(one for one in verdict.certificates if one.segment is None)
    assert (whole.tested, whole.retention.low, whole.retention.high) == (False, None, None)
    assert verdict.name == "undecided"
    assert f"{whole.retention.value:.3f}" not in verdict.sentence
    shown = [f"{one.retention.value:.3f}" for one in verdict.certificates if one.tested]
    assert any(names(verdict.sentence, each) for each in shown)
    assert f"{100 * whole.retention.value:.1f} %" not in view(verdict).headline


def test_a_row_that_passes_alone_and_not_among_several_is_advised_at_its_level(make, now):
    incumbent, candidate = outcomes(150, 15)  # p lies between alpha and a quarter of it
    evidence = make(incumbent, *[candidate] * 4)
    alone = decide_policy(make(incumbent, candidate), DecisionSettings(), now=now)
    together = decide_policy(evidence, DecisionSettings(), now=now)
    assert alone.certificates[0].certified
    assert not any(one.certified for one in together.certificates)
    assert together.needed is not None


@pytest.mark.parametrize(("lost", "certifies"), [(3, True), (7, False)])
def test_the_advice_says_which_way_it_points(make, now, lost, certifies):
    verdict = decide_policy(make(*outcomes(32 - lost, lost)), DecisionSettings(), now=now)
    assert verdict.name == "undecided"
    assert verdict.needed is not None
    (more,) = said(verdict.would_change, "more-samples", f"{verdict.needed:,}", candidate="b")
    assert names(more.text, "certify b") == certifies
    assert names(more.text, "below the floor") == (not certifies)


def test_the_cheapest_near_miss_leads_and_is_the_one_that_needs_more(make, now):
    """Of several models that are open above the floor, the cheapest; those below it come last."""
    incumbent, near = outcomes(36, 4)
    _, nearer = outcomes(37, 3)
    _, poor = outcomes(33, 7)
    evidence = make(incumbent, nearer, near, poor, inc={"cost_usd": 0.01})
    usd = {"b": 0.005, "c": 0.002, "d": 0.001}
    priced = tuple(
        replace(each, cost_usd=np.full(evidence.n, usd[each.model])) for each in evidence.candidates
    )
    verdict = decide_policy(replace(evidence, candidates=priced), DecisionSettings(), now=now)
    assert verdict.name == "undecided"
    value = {one.candidate: one.retention.value for one in verdict.certificates}
    assert value["b"] > value["c"] >= 0.85 > value["d"]
    assert verdict_to_json(verdict)["retention"]["value"] == value["c"]
    assert names(verdict.sentence, f"{value['c']:.3f}")
    assert said(verdict.would_change, "more-samples", candidate="c")
    assert names(view(verdict).headline, "c")
    assert names(dict(view(verdict).facts)["to settle it"], "c")
    unpriced = decide_policy(evidence, DecisionSettings(), now=now)
    assert verdict_to_json(unpriced)["retention"]["value"] == value["b"]


def test_a_small_error_rate_is_never_printed_as_none(make, now):
    scores = outcomes(60, 5)
    evidence = make(scores[0], scores[1], scores[1])
    settings = DecisionSettings(alpha=0.0004, every_model=EveryModel())
    verdict = decide_policy(evidence, settings, now=now)
    for remarks, code in (
        (verdict.would_change, "testing-again"),
        (verdict.reasons, "every-model-tested"),
    ):
        (told,) = said(remarks, code)
        assert names(told.text, "0.04 %")
        assert not names(told.text, "0 %")
    limited = DecisionSettings(requirements=Requirements(error_rate=0.0004))
    (check,) = [
        each for each in decide_policy(evidence, limited, now=now).requirements if each.candidate == "b"
    ]
    assert names(check.wanted, "0.04 %")


@pytest.mark.parametrize(("usd", "name"), [(0.012, "keep"), (0.01, "keep"), (0.00999, "undecided")])
def test_a_certified_candidate_that_is_no_cheaper_is_told_its_price(make, now, usd, name):
    noise = np.random.default_rng(1).uniform(-1, 1, 400) * 0.002 * (usd != 0.01)
    evidence = make(*outcomes(380, 20), inc={"cost_usd": 0.01}, cand={"cost_usd": usd + noise})
    verdict = decide_policy(evidence, DecisionSettings(), now=now)
    assert verdict.certificates[0].certified
    assert verdict.name == name
    (price,) = said(verdict.would_change, "price-below", candidate="b")
    assert names(price.text, "0.010000")
    assert bool(said(verdict.would_change, "floor-above")) == (name == "undecided")


def test_a_judge_needs_labels(make, now):
    rng = np.random.default_rng(3)
    truth = (rng.random((2, 600)) < 0.8).astype(float)
    labels = np.where(np.arange(600) < 120, truth, np.nan)
    evidence = make(truth[0], truth[1], inc={"human": labels[0]}, cand={"human": labels[1]})
    verdict = decide_policy(replace(evidence, judge="j"), DecisionSettings(floor=0.93), now=now)
    result = verdict.certificates[0].retention
    assert result.labels == 120
    assert verdict.needed is None
    assert result.needed - 120 <= verdict.needed_labels <= 1.1 * (result.needed - 120)


def test_too_few_labels_say_how_many_are_missing(make, now):
    scores = [1.0] * 300
    evidence = make(scores, scores, inc={"human": np.nan}, cand={"human": np.nan})
    verdict = decide_policy(replace(evidence, judge="j"), DecisionSettings(), now=now)
    assert said(verdict.would_change, "more-labels", 100, candidate="b", segments=())
    assert verdict.needed is verdict.needed_labels is None
