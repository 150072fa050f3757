"""Holm, the judge's correction, and intervals of shares, means and quantiles."""

import subprocess
import sys

import numpy as np
import pytest

from crossgrade import stats
from crossgrade.errors import UsageError
from crossgrade.stats import (
    corrected_retention,
    corrected_test,
    holm,
    holm_levels,
    mean_interval,
    proportion_interval,
    quantile_interval,
    read_pairs,
    retention,
)
from tests.codes import check_reason, raises_code


def test_holm_agrees_with_statsmodels():
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(1)
    for n in (1, 2, 7, 40):
        p = rng.random(n) ** 3
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_weighted_holm_by_hand():
    # Ratios p/w: 0.02, 0.02, 0.5; open weights 1, 0.5 (ties in order), 0.25.
    assert holm([0.01, 0.005, 0.125], [0.5, 0.25, 0.25]) == pytest.approx([0.02, 0.02, 0.125])
    assert holm([0.03, 0.5], [1, 0]) == pytest.approx([0.03, 1.0])
    assert holm([]) == []


def test_holm_refuses_what_it_cannot_use():
    for arguments in (([1.2],), ([0.1], [1, 1]), ([0.1], [-1]), ([float("nan")],)):
        with pytest.raises(UsageError):
            holm(*arguments)


def test_the_level_at_which_holm_compares():
    # The first is compared with alpha times its share of all, the second with its share of what is left.
    assert holm_levels([0.01, 0.02, 0.5], alpha=0.05) == pytest.approx([0.05 / 3, 0.05 / 2, 0.05])
    assert holm_levels([0.01, 0.04, 0.5], alpha=0.05) == pytest.approx([0.05 / 3, 0.025, 0.025])
    assert holm_levels([0.5, 0.5], [3, 1], alpha=0.05) == pytest.approx([0.0375, 0.0125])
    assert holm_levels([0.5, 0.5], [1, 0], alpha=0.05) == pytest.approx([0.05, 0.0])


def judged(n, labels, ratio=0.95, seed=1):
    """Scores by a lenient judge for all, by people for some; retention `ratio` of 0.75."""
    rng = np.random.default_rng(seed)
    b, c = (rng.random((2, n)) < np.array([[0.75], [0.75 * ratio]])).astype(float)
    jb = np.where(b > 0, rng.random(n) < 0.92, rng.random(n) < 0.15).astype(float)
    jc = np.where(c > 0, rng.random(n) < 0.96, rng.random(n) < 0.35).astype(float)
    human = np.where(rng.permutation(n) < labels, [b, c], np.nan)
    return jb, jc, human[0], human[1]


def test_correction_undoes_a_lenient_judge():
    jb, jc, hb, hc = judged(40_000, 4_000, ratio=0.85)
    assert retention(jb, jc).outcome == "pass"
    found = corrected_retention(jb, jc, hb, hc)
    assert found.outcome == "undecided"
    assert found.low < 0.85 < found.high
    assert "4000 human scores" in found.method


def test_correction_is_narrower_than_people_alone():
    jb, jc, hb, hc = judged(2_000, 200)
    scored = ~np.isnan(hb)
    alone, found = retention(hb[scored], hc[scored]), corrected_retention(jb, jc, hb, hc)
    assert found.high - found.low < alone.high - alone.low


def test_correction_with_everything_scored_is_nearly_the_t_test():
    jb, jc, hb, hc = judged(150, 150)
    hb, hc = hb * 0.9, hc * 0.9  # graded, so that the fixed test is the t test too
    found, alone = corrected_retention(jb, jc, hb, hc), retention(hb, hc)
    assert found.value == pytest.approx(alone.value)
    assert found.low < alone.low  # one more label as bad as the worst
    assert found.low == pytest.approx(alone.low, abs=0.02)


def test_correction_with_a_useless_judge_is_people_alone():
    _, _, hb, hc = judged(500, 100)
    found = corrected_retention(np.ones(500), np.ones(500), hb, hc)
    scored = ~np.isnan(hb)
    assert found.value == pytest.approx(hc[scored].mean() / hb[scored].mean())


def test_power_tuning_agrees_with_the_published_formula():
    # PPI++ for a mean: lambda = cov(h, j) / ((1 + n/N) var(j)); theta and its variance as published.
    jb, jc, hb, hc = judged(1_000, 120)
    scored = ~np.isnan(hb)
    h, j, rest = (
        x - 0.85 * y
        for x, y in ((hc[scored], hb[scored]), (jc[scored], jb[scored]), (jc[~scored], jb[~scored]))
    )
    spread = np.var(np.append(j, rest), ddof=1) * (1 + 120 / 880)
    k = np.array([np.cov(np.delete(h, at), np.delete(j, at))[0, 1] for at in range(120)]) / spread
    theta = (h - k * (j - rest.mean())).mean()  # each label has the k of the others
    k = np.cov(h, j)[0, 1] / spread
    variance = k * k * rest.var(ddof=1) / 880 + (h - k * j).var(ddof=1) / 120
    from scipy.stats import t

    found = corrected_retention(jb, jc, hb, hc)
    assert found.candidate_mean - 0.85 * found.incumbent_mean == pytest.approx(theta, rel=1e-9)
    published = t.sf(theta / variance**0.5, 119)
    assert published < found.p_value < 2.5 * published  # stricter, not another test


def test_the_tuning_does_not_favour_a_candidate_that_the_judge_flatters():
    # The judge calls a quarter of the samples right for nearly all of the candidate's wrong answers. With one
    # k for all labels the mean of d at the floor was 0.14 of its standard deviation too large.
    rng, means = np.random.default_rng(12), []
    for _ in range(1_000):
        b, c = (rng.random((2, 1_000)) < np.array([[0.95], [0.95 * 0.85]])).astype(float)
        hard, seen = rng.random(1_000) < 0.25, np.arange(1_000) < 100
        jb, jc = (np.where(hard & (rng.random(1_000) < lucky), 1.0, x) for x, lucky in ((b, 0.5), (c, 0.9)))
        human = np.where(seen, [b, c], np.nan)
        found = corrected_test(read_pairs(jb, jc), *human, floor=0.85, alpha=0.05)
        means.append(found.candidate_mean - 0.85 * found.incumbent_mean)
    assert abs(np.mean(means)) < 3 * np.std(means) / 1_000**0.5


def test_correction_takes_clusters_and_weights():
    jb, jc, hb, hc = judged(400, 150)
    plain = corrected_retention(jb, jc, hb, hc)
    alike = corrected_retention(jb, jc, hb, hc, clusters=range(400), weights=np.full(400, 3.0))
    assert (alike.value, alike.p_value) == pytest.approx((plain.value, plain.p_value))
    twice = [np.repeat(x, 2) for x in (jb, jc, hb, hc)]
    clustered = corrected_retention(*twice, clusters=np.repeat(np.arange(400), 2))
    assert clustered.value == pytest.approx(plain.value, abs=1e-3)  # the judge is tuned to the labels
    assert clustered.p_value == pytest.approx(plain.p_value, rel=0.1)
    weighted = corrected_retention(jb, jc, hb, hc, weights=np.where(np.arange(400) % 2, 5.0, 1.0))
    assert weighted.high - weighted.low > plain.high - plain.low


@pytest.mark.parametrize("labels", [1, 99])
def test_too_few_labels_test_nothing(labels):
    jb, jc, hb, hc = judged(300, labels)
    found = corrected_retention(jb, jc, hb, hc)
    assert (found.outcome, found.p_value, found.low, found.needed) == ("undecided", 1.0, None, None)
    check_reason(found, "too-few-labels", labels, 100)
    assert found.method == f"the judge alone, {labels} human scores"
    with raises_code("human-scores-length"):
        corrected_retention(jb, jc, hb[:10], hc[:10])
    with raises_code("score-out-of-range", "human scores[0]"):
        corrected_retention(jb, jc, hb + 5, hc + 5)


def test_wilson_agrees_with_statsmodels():
    from statsmodels.stats.proportion import proportion_confint

    for k, n in [(0, 10), (3, 10), (10, 10), (480, 1000)]:
        found = proportion_interval(k, n)
        assert (found.low, found.high) == pytest.approx(proportion_confint(k, n, 0.05, "wilson"), abs=1e-12)


def test_share_of_nothing():
    found = proportion_interval(0, 0)
    assert (found.value, found.low, found.high) == (None, 0.0, 1.0)
    with pytest.raises(UsageError):
        proportion_interval(3, 2)


def test_mean_interval_agrees_with_scipy():
    from scipy import stats as scipy_stats

    values = np.random.default_rng(1).normal(5, 2, 30)
    low, high = scipy_stats.t.interval(0.95, 29, values.mean(), scipy_stats.sem(values))
    found = mean_interval(values)
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize("n", [0, 1])
def test_mean_of_too_few(n):
    found = mean_interval([3.0] * n)
    assert (found.value, found.low, found.high) == (3.0 if n else None, None, None)
    check_reason(found, "too-few-observations", n)


def test_quantile_ranks_are_those_of_the_binomial():
    # 16 observations, upper quartile: P(X <= 7) = 0.0075 and P(X <= 8) = 0.0271, so rank 8;
    # above only the largest has P(X >= k) = 0.0100 <= 0.025.
    found = quantile_interval(range(1, 17), 0.75)
    assert (found.low, found.high) == (8.0, 16.0)
    median = quantile_interval(range(1, 101), 0.5)
    assert (median.low, median.high) == (40.0, 61.0)


@pytest.mark.parametrize(("n", "defined"), [(0, False), (71, False), (72, True)])
def test_quantile_of_too_few(n, defined):
    found = quantile_interval(np.arange(n), 0.95)
    assert (found.high is not None) == defined
    assert found.reason_code == (None if defined else "too-few-observations")


def test_quantile_interval_covers():
    rng = np.random.default_rng(3)
    truth = 2.995732273553991  # the 95th percentile of a standard exponential
    inside = 0
    for _ in range(2000):
        found = quantile_interval(rng.exponential(size=200))
        inside += found.low <= truth <= found.high
    assert inside / 2000 > 0.94


def test_names_are_sorted_and_documented():
    assert stats.__all__ == sorted(stats.__all__, key=lambda name: (not name.isupper(), name.islower(), name))
    assert all(
        getattr(stats, name).__doc__
        for name in stats.__all__
        if name not in {"Outcome", "LEAST_FLOOR", "LEAST_LABELS", "METHOD_VERSION", "PILOT_SHARE"}
    )


def test_importing_the_room_leaves_scipy_alone():
    code = "import sys, crossgrade.stats as s; s.retention([1, 0], [1, 1]); print('scipy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
