"""What a policy saves, with its interval; unknown stays unknown."""

import numpy as np
import pytest
from scipy import stats

from crossgrade.pricing.saving import per_month, policy_savings
from tests.codes import check_reason


def test_a_paired_saving_is_at_least_the_t_interval_of_the_differences():
    rng = np.random.default_rng(0)
    before, after, score = rng.gamma(2, 0.01, 80), rng.gamma(2, 0.002, 80), rng.random(80)
    found = policy_savings(before, after, score, requests_per_month=1000)
    difference = before - after
    low, high = stats.t.interval(0.95, 79, difference.mean(), stats.sem(difference))
    saving = found.saving_per_request_usd
    assert saving.value == pytest.approx(difference.mean())
    assert saving.low <= low
    assert saving.high >= high
    assert saving.high - saving.low < 1.2 * (high - low)
    assert found.saving_per_month_usd.value == pytest.approx(1000 * difference.mean())
    assert found.saving_per_month_usd.high == pytest.approx(1000 * saving.high)
    assert found.saving_share.value == pytest.approx(1 - after.sum() / before.sum())
    assert found.per_solved_usd.value == pytest.approx(after.sum() / score.sum())
    assert found.saving_share.low < found.saving_share.value < found.saving_share.high


def test_weights_are_shares_of_traffic():
    found = policy_savings(
        np.array([1.0, 3.0]), np.array([0.0, 0.0]), np.ones(2), weight=np.array([3.0, 1.0])
    )
    assert found.saving_per_request_usd.value == pytest.approx(1.5)


def test_samples_of_a_cluster_count_as_one_observation():
    rng = np.random.default_rng(3)
    before, after = rng.gamma(2, 0.01, 40), rng.gamma(2, 0.002, 40)
    once = policy_savings(before, after, np.ones(40))
    cluster = np.repeat(np.arange(40), 5)
    repeated = [np.repeat(column, 5) for column in (before, after, np.ones(40))]
    clustered = policy_savings(*repeated, cluster=cluster)
    naive = policy_savings(*repeated)
    for name in ("per_request_usd", "per_solved_usd", "saving_per_request_usd", "saving_share"):
        alone, together, wrong = (getattr(found, name) for found in (once, clustered, naive))
        assert (together.value, together.low, together.high) == pytest.approx(
            (alone.value, alone.low, alone.high)
        )
        assert wrong.high - wrong.low < together.high - together.low
    assert clustered.saving_share.method == "measured, interval for skewed costs by cluster"
    single = policy_savings(*repeated, cluster=np.zeros(200, dtype=np.int64))
    assert single.saving_share.low is None


def test_unknown_costs_are_unknown_and_never_zero():
    half = np.where(np.arange(40) < 4, np.nan, 0.01)
    found = policy_savings(half, np.full(40, 0.001), np.ones(40), requests_per_month=10)
    assert found.saving_per_request_usd.value is None
    check_reason(found.saving_per_request_usd, "cost-unknown", 4, 40)
    check_reason(found.saving_per_month_usd, "cost-unknown", 4, 40)
    assert found.saving_per_month_usd.value is None
    assert found.per_request_usd.value == pytest.approx(0.001)
    one = np.where(np.arange(40) < 1, np.nan, 0.01)
    assert policy_savings(one, np.full(40, 0.001), np.ones(40)).saving_per_request_usd.n == 39


def test_nothing_solved_and_nothing_known():
    found = policy_savings(np.full(9, np.nan), np.ones(9), np.zeros(9))
    assert found.per_solved_usd.value is None
    check_reason(found.per_solved_usd, "sum-is-zero")
    check_reason(found.saving_share, "cost-unknown", 9)
    assert policy_savings(np.ones(0), np.ones(0), np.ones(0)).per_request_usd.value is None


def test_stated_costs_get_no_interval_and_one_sample_has_none():
    stated = policy_savings(np.full(9, 1.0), np.full(9, 0.5), np.ones(9), stated=True)
    assert stated.saving_per_request_usd.method == "stated"
    assert stated.saving_per_request_usd.low is None
    single = policy_savings(np.ones(1), np.zeros(1), np.ones(1))
    assert (single.saving_per_request_usd.value, single.saving_per_request_usd.low) == (1.0, None)


def test_without_a_volume_there_is_no_monthly_figure():
    saving = policy_savings(np.ones(3), np.zeros(3), np.ones(3)).saving_per_request_usd
    check_reason(per_month(saving, None), "volume-unknown")
