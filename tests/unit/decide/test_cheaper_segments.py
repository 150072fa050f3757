"""Which segments a split moves where costs differ, and that choosing them does not flatter the saving."""

from dataclasses import replace

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, decide_policy
from crossgrade.decide._costs import cheaper_segments, policy_cost, split_policy
from crossgrade.decide._view import make_view
from tests.codes import said

SPLITS = DecisionSettings(splits_only=True)


def _evidence(make, before, after, segments, **changed):
    """Evidence in which both models are always right and rows take turns in the segments."""
    n = len(before)
    labels = [f"s{i % segments}" for i in range(n)]
    found = make(np.ones(n), np.ones(n), segment=labels, **changed)
    candidate = replace(found.candidates[0], cost_usd=after)
    return replace(found, incumbent=replace(found.incumbent, cost_usd=before), candidates=(candidate,))


def _costs(rng, n):
    return rng.lognormal(0.0, 1.0, n)


def _priced(make, before, after, segments, **changed):
    """What a split over the segments chosen saves, and the choice."""
    view = make_view(_evidence(make, before, after, segments, **changed), SPLITS)
    labels = tuple(f"s{i}" for i in range(segments))
    choice = cheaper_segments(view, "b", labels)
    policy = split_policy(view, "b", choice.segments or labels)
    return policy_cost(view, policy, without=choice.spent).saving_per_request_usd, choice


def test_segments_of_equal_cost_are_rarely_said_to_save(make):
    rng = np.random.default_rng(1)
    wrong, runs = 0, 100
    for _ in range(runs):
        saving, _ = _priced(make, _costs(rng, 240), _costs(rng, 240), 12)
        wrong += saving.low > 0
    # Chosen and priced by the same samples, half of such runs said that they save.
    assert wrong <= 0.07 * runs


def test_the_saving_is_that_of_the_segments_moved_on_average(make):
    rng = np.random.default_rng(2)
    effect = np.array([0.5, -0.5, 0.3, -0.2])
    printed, truth = [], []
    for _ in range(150):
        after = (1 - effect[np.arange(160) % 4]) * _costs(rng, 160)
        saving, choice = _priced(make, _costs(rng, 160), after, 4)
        moved = choice.segments or ("s0", "s1", "s2", "s3")
        printed.append(saving.value)
        truth.append(np.exp(0.5) * sum(effect[int(each[1])] for each in moved) / 4)
    error = np.std(np.subtract(printed, truth)) / np.sqrt(len(truth))
    assert abs(np.mean(printed) - np.mean(truth)) < 3 * error
    assert error < 0.15 * np.mean(truth)


def test_a_saving_beyond_doubt_is_priced_on_every_sample(make):
    rng = np.random.default_rng(3)
    before = _costs(rng, 120)
    saving, choice = _priced(make, before, 0.1 * _costs(rng, 120), 3)
    assert not choice.spent.any()
    assert (choice.segments, saving.n) == (("s0", "s1", "s2"), 120)
    # Even the half that saves least saves, however few samples there are and however widely costs spread.
    saving, choice = _priced(make, before[:24], 0.99 * before[:24], 3)
    assert (len(choice.segments), saving.n) == (3, 24)
    dearer, choice = _priced(make, before, 3 * before, 3)
    assert (choice.segments, dearer.n) == ((), 120)
    assert dearer.high < 0


def test_the_samples_that_choose_have_no_part_in_the_saving(make):
    rng = np.random.default_rng(4)
    before, after = _costs(rng, 200), 0.9 * _costs(rng, 200)
    saving, choice = _priced(make, before, after, 2)
    assert 70 <= choice.spent.sum() <= 130
    assert saving.n == 200 - choice.spent.sum()
    # Their costs change, but not what they choose: what is printed stays.
    nudged = np.where(choice.spent, 1.01 * before, before)
    again, same = _priced(make, nudged, np.where(choice.spent, 1.01 * after, after), 2)
    assert same.segments == choice.segments
    assert again == saving


def test_a_cluster_is_in_one_half_and_the_half_does_not_depend_on_the_order_of_rows(make):
    rng = np.random.default_rng(5)
    before, after = _costs(rng, 300), _costs(rng, 300)
    clusters = [f"c{i // 5}" for i in range(300)]
    _, choice = _priced(make, before, after, 3, cluster=clusters)
    by_cluster = choice.spent.reshape(60, 5)
    assert (by_cluster.any(axis=1) == by_cluster.all(axis=1)).all()
    order = rng.permutation(300)
    shuffled = _evidence(make, before, after, 3, cluster=clusters)
    shuffled = replace(
        shuffled,
        sample_ids=shuffled.sample_ids[order],
        segment=shuffled.segment[order],
        cluster=shuffled.cluster[order],
        incumbent=replace(shuffled.incumbent, cost_usd=before[order]),
        candidates=(replace(shuffled.candidates[0], cost_usd=after[order]),),
    )
    again = cheaper_segments(make_view(shuffled, SPLITS), "b", ("s0", "s1", "s2"))
    assert again.segments == choice.segments
    assert (again.spent == choice.spent[order]).all()


def test_an_unknown_or_stated_price_spends_no_samples(make):
    unknown = np.full(90, np.nan)
    saving, choice = _priced(make, unknown, np.ones(90), 3)
    assert (saving.value, len(choice.segments), choice.spent.any()) == (None, 3, False)
    evidence = _evidence(make, unknown, unknown, 3)
    stated = replace(SPLITS, stated_cost_usd={"a": 0.02, "b": 0.001})
    choice = cheaper_segments(make_view(evidence, stated), "b", ("s0", "s1", "s2"))
    assert (len(choice.segments), choice.spent.any()) == (3, False)


def test_the_verdict_says_how_the_segments_were_chosen(make, now):
    rng = np.random.default_rng(6)
    before = _costs(rng, 240)
    clear = decide_policy(_evidence(make, before, 0.1 * before, 2), SPLITS, now=now)
    assert not said(clear.reasons, "saving-on-other-samples")
    doubtful = decide_policy(_evidence(make, before, _costs(rng, 240), 2), SPLITS, now=now)
    (split,) = said(doubtful.reasons, "saving-on-other-samples", candidate="b")
    assert split.segments


@pytest.mark.parametrize(
    ("candidates", "segmented", "splits_only", "level"),
    [(1, False, False, 0.95), (1, True, False, 0.95), (2, True, False, 0.975), (4, True, True, 0.975)],
)
def test_the_level_of_a_saving_rises_with_the_policies_compared(
    make, now, candidates, segmented, splits_only, level
):
    n = 120
    scores = [np.ones(n)] * (candidates + 1)
    segment = [f"s{i % 2}" for i in range(n)] if segmented else None
    evidence = make(*scores, inc={"cost_usd": 0.02}, cand={"cost_usd": 0.001})
    if segment is not None:
        evidence = replace(evidence, segment=np.array(segment, dtype=object))
    verdict = decide_policy(evidence, DecisionSettings(splits_only=splits_only), now=now)
    assert verdict.name in {"switch", "split"}
    assert all(cost.saving_per_request_usd.level == pytest.approx(level) for cost in verdict.costs)
    assert len(said(verdict.reasons, "several-policies")) == (level > 0.95)
