"""What holds of the interval of any costs."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from crossgrade.pricing.saving import mean_cost, policy_savings


@st.composite
def columns(draw):
    """Costs of two models on up to 80 calls: log-normal, bounded, with free calls, nearly equal."""
    n = draw(st.integers(2, 80))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.0, 0.1, 1.0, 3.0]))
    before = np.exp(spread * rng.standard_normal(n) - 6)
    kinds = {
        "apart": np.exp(spread * rng.standard_normal(n) - 7),
        "a share": 0.3 * before,
        "the same": before,
        "bounded": rng.uniform(0, 0.01, n),
        "some free": np.where(rng.random(n) < 0.2, 0.0, before),
        "all free": np.zeros(n),
        "moved in part": np.where(rng.random(n) < 0.5, before, 0.5 * before),
    }
    after = kinds[draw(st.sampled_from(sorted(kinds)))]
    weight = draw(st.sampled_from([None, rng.uniform(0, 3, n), np.arange(n) % 2 + 0.0]))
    cluster = draw(st.sampled_from([None, rng.integers(0, max(n // 3, 1), n)]))
    score = (rng.random(n) < 0.8).astype(float)
    return before, after, score, weight, cluster


def _all(found):
    return [
        found.per_request_usd,
        found.per_solved_usd,
        found.saving_per_request_usd,
        found.saving_share,
    ]


@settings(max_examples=200, deadline=None)
@given(case=columns())
def test_an_interval_is_finite_and_holds_its_estimate(case):
    before, after, score, weight, cluster = case
    for each in _all(policy_savings(before, after, score, weight=weight, cluster=cluster)):
        if each.value is None or each.low is None:
            continue
        assert math.isfinite(each.low)
        assert math.isfinite(each.high)
        slack = 1e-9 * (abs(each.value) + before.mean())
        assert each.low - slack <= each.value <= each.high + slack


@settings(max_examples=100, deadline=None)
@given(case=columns(), factor=st.sampled_from([1e-6, 0.5, 1000.0]), seed=st.integers(0, 99))
def test_another_currency_or_order_of_rows_changes_nothing(case, factor, seed):
    before, after, score, weight, cluster = case
    order = np.random.default_rng(seed).permutation(len(before))
    weighted = None if weight is None else weight[order]
    clustered = None if cluster is None else cluster[order]
    one = _all(policy_savings(before, after, score, weight=weight, cluster=cluster))
    other = _all(
        policy_savings(
            factor * before[order], factor * after[order], score[order], weight=weighted, cluster=clustered
        )
    )
    for mine, theirs, times in zip(one, other, (factor, factor, factor, 1), strict=True):
        assert (mine.low is None) == (theirs.low is None)
        if mine.low is not None:
            ends = [times * mine.low, times * mine.high]
            assert np.allclose([theirs.low, theirs.high], ends, rtol=1e-6, atol=1e-9 * times)


@settings(max_examples=100, deadline=None)
@given(case=columns())
def test_what_one_saves_the_other_costs_more(case):
    before, after, _, weight, cluster = case
    there = mean_cost(before, less=after, weight=weight, cluster=cluster)
    back = mean_cost(after, less=before, weight=weight, cluster=cluster)
    if there.low is None:
        assert back.low is None
        return
    width = there.high - there.low
    assert np.allclose([back.low, back.high], [-there.high, -there.low], rtol=1e-6, atol=1e-3 * width)
