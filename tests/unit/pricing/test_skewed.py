"""Intervals of skewed costs: how often they cover, and what they make of costs of other kinds."""

import numpy as np
import pytest
from scipy import stats

from crossgrade.pricing.saving import mean_cost, policy_savings


def _log_normal(rng, spread, n, mean=1.0):
    """Costs with this mean whose logarithms have this standard deviation."""
    return mean * np.exp(spread * rng.standard_normal(n) - spread**2 / 2)


def _linear(values, level=0.95):
    return stats.t.interval(level, len(values) - 1, values.mean(), stats.sem(values))


def test_the_interval_of_a_mean_covers_it_where_students_does_not():
    rng = np.random.default_rng(5)
    covered = {"found": 0, "t": 0}
    runs = 600
    for _ in range(runs):
        costs = _log_normal(rng, 1.5, 60)
        found = mean_cost(costs)
        covered["found"] += found.low <= 1 <= found.high
        low, high = _linear(costs)
        covered["t"] += low <= 1 <= high
    assert covered["t"] < 0.86 * runs
    assert covered["found"] > 0.93 * runs


@pytest.mark.parametrize("per", [None, "cluster", "weight"])
def test_every_figure_covers_its_truth_also_in_clusters_and_weighted(per):
    rng = np.random.default_rng(6)
    runs, n = 300, 240
    cluster = np.repeat(np.arange(n // 4), 4) if per == "cluster" else None
    covered = dict.fromkeys(
        ("per_request_usd", "saving_per_request_usd", "saving_share", "per_solved_usd"), 0
    )
    truth = {
        "per_request_usd": 0.2,
        "saving_per_request_usd": 0.8,
        "saving_share": 0.8,
        "per_solved_usd": 0.2 / 0.7,
    }
    for _ in range(runs):
        shared = rng.standard_normal(n) if cluster is None else rng.standard_normal(n // 4)[cluster]
        own = rng.standard_normal((2, n))
        before, after = (np.exp(0.7 * shared + 1.0 * each - (0.49 + 1.0) / 2) for each in own)
        score = (rng.random(n) < 0.7).astype(float)
        weight = np.exp(0.7 * rng.standard_normal(n)) if per == "weight" else None
        found = policy_savings(before, 0.2 * after, score, weight=weight, cluster=cluster)
        for name in covered:
            estimate = getattr(found, name)
            covered[name] += estimate.low <= truth[name] <= estimate.high
    assert min(covered.values()) > 0.92 * runs, covered


def test_a_candidate_with_the_longer_tail_is_not_called_cheaper_at_equal_mean_cost():
    rng = np.random.default_rng(7)
    wrong = {"found": 0, "t": 0}
    runs = 500
    for _ in range(runs):
        before, after = _log_normal(rng, 0.5, 100), _log_normal(rng, 1.5, 100)
        wrong["found"] += mean_cost(before, less=after).low > 0
        wrong["t"] += _linear(before - after)[0] > 0
    assert wrong["t"] > 0.1 * runs
    assert wrong["found"] < 0.055 * runs


def test_costs_that_a_limit_bounds_are_not_taken_for_log_normal():
    costs = np.random.default_rng(8).uniform(0.0001, 0.02, 400)
    found = mean_cost(costs)
    assert (found.low, found.high) == pytest.approx(_linear(costs), rel=0.01)


def test_calls_at_no_cost_are_a_share_of_their_own():
    rng = np.random.default_rng(9)
    costs = np.where(np.arange(100) % 10 == 0, 0.0, _log_normal(rng, 1.5, 100))
    found, others = mean_cost(costs), mean_cost(costs[costs > 0])
    assert found.value == pytest.approx(0.9 * others.value)
    # The tail that ninety calls may have missed is in both.
    assert found.high > 0.9 * others.high
    assert found.high < 1.1 * others.high


def test_a_free_candidate_saves_all_that_the_incumbent_costs():
    before = _log_normal(np.random.default_rng(10), 1.0, 50)
    found = policy_savings(before, np.zeros(50), np.ones(50))
    assert (found.saving_share.low, found.saving_share.value, found.saving_share.high) == (1, 1, 1)
    mean = mean_cost(before)
    saving = found.saving_per_request_usd
    assert (saving.low, saving.high) == pytest.approx((mean.low, mean.high), rel=0.2)
    assert found.per_request_usd.high == 0


def test_a_candidate_at_a_fixed_share_of_every_call_has_an_exact_share():
    before = _log_normal(np.random.default_rng(11), 1.5, 60)
    found = policy_savings(before, 0.1 * before, np.ones(60))
    share = found.saving_share
    assert (share.low, share.high) == pytest.approx((0.9, 0.9))
    saving, cost = found.saving_per_request_usd, mean_cost(before)
    assert (saving.low, saving.high) == pytest.approx((0.9 * cost.low, 0.9 * cost.high))


def test_few_or_constant_costs_have_the_interval_that_they_allow():
    assert mean_cost(np.full(30, 0.25)).low == mean_cost(np.full(30, 0.25)).high == 0.25
    assert mean_cost(np.array([0.1])).low is None
    pair = mean_cost(np.array([0.1, 0.3]))
    assert (pair.low, pair.value) == (0.0, pytest.approx(0.2))
    unweighted = mean_cost(np.array([1.0, 2.0, 3.0]), weight=np.array([1.0, 1.0, 0.0]))
    assert (unweighted.value, unweighted.n) == (1.5, 3)
