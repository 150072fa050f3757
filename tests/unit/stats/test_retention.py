"""The fixed retention test: published tables, oracles, degenerate and invalid input."""

import math

import numpy as np
import pytest

from crossgrade.stats import retention
from crossgrade.stats._linear_test import linear_test
from crossgrade.stats._pairs import read_pairs
from crossgrade.stats._score_test import PairedTable, score_z
from tests.codes import check_reason, raises_code

# Published per-item results as paired tables: both right, only the incumbent, only the candidate,
# both wrong; then the ratio, bounds of 97.5 % confidence each, and the outcome at floor 0.85, alpha 5 %.
# RouteLLM (GSM8K, MMLU; Apache-2.0), MMLU-Pro (Apache-2.0), SWE-bench Verified (counts), BFCL (counts).
PUBLISHED = [
    ("GSM8K Mixtral/GPT-4", (747, 383, 95, 94), "0.745 [0.712, 0.778]", "fail"),
    ("MMLU Mixtral/GPT-4", (8818, 2497, 742, 1985), "0.845 [0.836, 0.854]", "undecided"),
    ("MMLU-Pro Llama-3.1-70B/Gemini-1.5-Pro", (6496, 1926, 1052, 2513), "0.896 [0.884, 0.908]", "pass"),
    ("MMLU-Pro Llama-3.1-70B/Gemini-1.5-Flash", (6148, 1528, 1391, 2912), "0.982 [0.969, 0.996]", "pass"),
    ("MMLU-Pro Qwen1.5-72B/Gemini-1.5-Pro", (4985, 3437, 680, 2885), "0.673 [0.660, 0.685]", "fail"),
    ("SWE-bench DeepSeek V3.2/GPT-5", (262, 63, 38, 137), "0.923 [0.865, 0.984]", "pass"),
    ("SWE-bench MiniMax M2/GPT-5", (263, 62, 42, 133), "0.938 [0.879, 1.001]", "pass"),
    ("SWE-bench Qwen3-Coder-480B/GPT-5", (246, 79, 31, 144), "0.852 [0.794, 0.912]", "undecided"),
    ("SWE-bench Qwen3-Coder-480B/Claude 4.5 Opus", (262, 110, 15, 113), "0.745 [0.693, 0.796]", "fail"),
    ("SWE-bench DeepSeek V3.2/Claude 4.5 Sonnet", (276, 77, 24, 123), "0.850 [0.797, 0.902]", "undecided"),
    ("SWE-bench DeepSeek V3.2/GPT-5 mini", (240, 59, 60, 141), "1.003 [0.933, 1.079]", "pass"),
    ("SWE-bench Llama 4 Maverick/GPT-5", (95, 230, 10, 165), "0.323 [0.272, 0.380]", "fail"),
    ("SWE-bench Llama 4 Maverick/Gemini 2.5 Pro", (92, 176, 13, 219), "0.392 [0.331, 0.459]", "fail"),
    ("BFCL Llama-3-70B/GPT-4o", (1056, 100, 112, 122), "1.010 [0.986, 1.036]", "pass"),
    ("BFCL Mistral-Nemo/GPT-4o", (875, 281, 96, 138), "0.840 [0.810, 0.870]", "undecided"),
]


def columns(table):
    """Two columns of scores with this paired table."""
    return np.repeat([1.0, 1.0, 0.0, 0.0], table), np.repeat([1.0, 0.0, 1.0, 0.0], table)


def graded(n=60, seed=3):
    """Two correlated columns of graded scores."""
    rng = np.random.default_rng(seed)
    b = rng.beta(4, 2, n)
    return b, np.clip(b * 0.9 + rng.normal(0, 0.1, n), 0, 1)


@pytest.mark.parametrize(("name", "table", "shown", "outcome"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_published_tables(name, table, shown, outcome):
    found = retention(*columns(table), confidence=0.975)
    assert f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" == shown
    assert (found.outcome, found.n, found.discordant) == (outcome, sum(table), table[1] + table[2])
    assert found.method == "score test"


def test_score_bounds_are_nearly_those_of_statsmodels_and_never_inside_them():
    # statsmodels solves Nam's quartic (Statistics in Medicine 28 (2009) 2929-2935) for the inversion of the
    # statistic without skewness and continuity; the function is private, and takes the candidate in rows.
    from statsmodels.stats.proportion import _confint_riskratio_paired_nam as nam

    rng = np.random.default_rng(1)
    for _ in range(50):
        table = PairedTable(*(int(x) for x in rng.integers(20, 200, 4)))
        found = nam(np.array([[table.n11, table.n01], [table.n10, table.n00]]), alpha=0.05).confint
        low, high = (float(x.real) for x in found)
        ours = retention(*columns(table), confidence=0.975)
        assert ours.low <= low + 1e-6
        assert ours.high >= high - 1e-6
        assert (ours.low, ours.high) == pytest.approx((low, high), rel=0.02)


def constrained_maximum(table, r):
    """The largest log-likelihood's discordant share under R = r, by scanning the one free cell."""
    n = sum(table)

    def cells(p01, pb):
        p11 = r * pb - p01
        return np.array([p11, pb - p11, p01, 1 - pb - p01])

    def loglik(p):
        if (p < -1e-12).any():
            return -math.inf
        return sum(k * math.log(max(x, 1e-300)) for k, x in zip(table, p, strict=True) if k)

    low, high = [0.0, 0.0], [1.0, 1.0]
    best = (-math.inf, 0.0, 0.0)
    for _ in range(14):
        grid = [np.linspace(a, b, 41) for a, b in zip(low, high, strict=True)]
        best = max((loglik(cells(x, y)), x, y) for x in grid[0] for y in grid[1])
        width = [(b - a) / 8 for a, b in zip(low, high, strict=True)]
        low = [max(best[1] - width[0], 0), max(best[2] - width[1], 0)]
        high = [min(best[1] + width[0], 1), min(best[2] + width[1], 1)]
    p = cells(best[1], best[2])
    return n * (p[1] + p[2])


@pytest.mark.parametrize("table", [(20, 9, 4, 7), (5, 1, 0, 4), (30, 2, 8, 1), (3, 6, 2, 9)])
@pytest.mark.parametrize("floor", [0.6, 0.85, 1.2])
def test_closed_form_is_the_constrained_maximum(table, floor):
    a, b, c, _ = table
    z = (a * (1 - floor) - b * floor + c) / math.sqrt(floor * constrained_maximum(table, floor))
    spread = math.sqrt(floor * constrained_maximum(table, floor))
    above, below = (float(x) for x in score_z(a, b, c, floor))
    assert above <= z + 2e-4
    assert below >= z + 0.25 / spread - 2e-4
    if abs(z) < 3:  # the skewness of a hundred pairs moves the statistic little
        assert (above, below) == pytest.approx((z, z + 0.25 / spread), abs=1.0)


def test_equal_right_answers_have_a_finite_statistic():
    z = math.sqrt(50 * 0.15 / 0.85)
    above, below = (float(x) for x in score_z(50, 0, 0, 0.85))
    assert (z / 2 < above <= z, below >= z) == (True, True)


@pytest.mark.parametrize("n", [50, 120])
@pytest.mark.parametrize("alpha", [0.05, 0.0042])
def test_a_candidate_that_only_loses_is_not_called_worse_too_often(n, alpha):
    # Exactly at the floor: right wherever the incumbent is, but for 15 %. The plain score test called it
    # below the floor 2.8 times as often as meant at small error rates.
    lost = np.random.default_rng(8).binomial(n, 0.15, size=200_000)
    z = score_z(n - lost, lost, 0, 0.85)[1]
    p = 0.5 * np.vectorize(math.erfc)(-z / math.sqrt(2))
    assert np.mean(p <= alpha) <= 1.2 * alpha


def test_graded_scores_use_t_without_skewness():
    from scipy import stats

    b, c = graded()
    found = retention(b, c)
    d, n = c - 0.85 * b, len(b)
    theirs = stats.ttest_1samp(d, 0.0, alternative="greater")
    g, t = stats.skew(d) / np.sqrt(n), theirs.statistic
    straight = t + g * t**2 / 3 + g**2 * t**3 / 27 + g / 6
    unseen = (0.85 / (0.85 + d.mean())) ** n
    assert found.p_value == pytest.approx(max(theirs.pvalue, stats.t.sf(straight, n - 1), unseen))
    assert found.p_value_below == 1.0  # the candidate is above the floor
    worse = retention(b, 0.7 * c)
    e = 0.7 * c - 0.85 * b
    below = stats.ttest_1samp(e, 0.0, alternative="less").pvalue
    assert worse.p_value_below >= max(below, (1 / (1 - e.mean())) ** n) - 1e-12
    assert found.method == "t"
    assert retention(b, c, found.low).p_value == pytest.approx(0.05)
    assert retention(b, c, found.high).p_value_below == pytest.approx(0.05)


@pytest.mark.parametrize("n", [30, 60, 100, 130])
def test_a_failure_too_rare_to_be_seen_is_allowed_for(n):
    # Exactly at the floor: 0.87 on nearly everything, worthless on 2.3 %. Where none of the n is worthless
    # the scores hardly vary, and t alone passes with all of that chance.
    rng, runs, passed = np.random.default_rng(5), 2_000, 0
    for _ in range(runs):
        c = np.where(rng.random(n) < 1 - 0.85 / 0.87, 0.0, 0.87 + rng.uniform(-0.03, 0.03, n))
        passed += retention(np.ones(n), c).outcome == "pass"
    assert passed / runs <= 0.05 + 3 * math.sqrt(0.05 / runs)


def test_few_heavy_clusters_are_worth_less_than_their_number():
    rng = np.random.default_rng(6)
    sizes = np.array([60] * 3 + [2] * 57)
    labels = np.repeat(np.arange(60), sizes)
    b = np.ones(len(labels))
    c = rng.random(len(labels)) < 0.95
    found = retention(b, c, clusters=labels)
    units = sizes.sum() ** 2 / (sizes**2).sum()
    assert units < 20
    assert (found.outcome, found.p_value) == ("undecided", 1.0)
    check_reason(found, "too-few-observations", 20)


def test_clusters_agree_with_statsmodels():
    from scipy import stats
    from statsmodels.regression.linear_model import OLS

    b, c = graded(90)
    labels = np.random.default_rng(5).integers(0, 25, 90)
    found = retention(b, c, clusters=labels.tolist())
    # CR1 of a regression on a constant is G / (G - 1) times (n - 1) / (n - 1): the same matrix.
    fit = OLS(c - 0.85 * b, np.ones(90)).fit(cov_type="cluster", cov_kwds={"groups": labels})
    assert found.clusters == len(set(labels.tolist()))
    t = fit.params[0] / fit.bse[0]
    sizes = np.bincount(labels)
    units = sizes.sum() ** 2 / (sizes**2).sum()
    smaller = math.sqrt((units - 1) / units * 25 / 24)  # Kish's effective number in place of 25
    assert linear_test(read_pairs(b, c, labels)).means.t(0.85) == pytest.approx(t * smaller)
    assert found.p_value >= stats.t.sf(t, found.clusters - 1)


@pytest.mark.parametrize("clustered", [False, True])
def test_a_run_of_luck_is_not_taken_for_precision(clustered):
    # At the floor itself: a candidate as good as the incumbent that fails outright on 15 %. By t
    # alone 10 % pass where 5 % is meant, and 4 % where 0.625 % is.
    rng, runs, n = np.random.default_rng(3), 2_000, 40
    p = []
    for _ in range(runs):
        b = rng.choice([0.8, 0.9, 1.0], n)
        c = b * (rng.random(n) >= 0.15)
        labels = None
        if clustered:
            b, c, labels = np.repeat(b, 2), np.repeat(c, 2), np.repeat(np.arange(n), 2)
        p.append(retention(b, c, clusters=labels).p_value)
    for alpha in (0.05, 0.00625):
        assert np.mean(np.array(p) <= alpha) <= alpha + 3 * np.sqrt(alpha / runs)


def test_equal_pairs_are_never_surer_than_their_number_allows():
    assert retention(np.full(30, 0.8), np.full(30, 0.8) - np.linspace(0, 1e-6, 30), 0.9).p_value >= 0.9**30


def test_mt_bench_like_clusters_widen_the_interval():
    b, c = graded(200)
    wide = retention(np.repeat(b, 3), np.repeat(c, 3), clusters=np.repeat(np.arange(200), 3))
    alone = retention(b, c)
    assert (wide.low, wide.high) == pytest.approx((alone.low, alone.high), rel=1e-9)
    assert (wide.clusters, wide.n) == (200, 600)


def test_one_pair_a_cluster_and_equal_weights_change_nothing():
    b, c = columns((40, 10, 5, 5))
    assert retention(b, c, clusters=range(60), weights=np.full(60, 7)) == retention(b, c)


def test_integer_weights_count_like_repeats():
    b, c = graded(30)
    weight = np.random.default_rng(2).integers(1, 4, 30)
    weighted = retention(b, c, weights=weight)
    repeated = retention(
        np.repeat(b, weight), np.repeat(c, weight), clusters=np.repeat(np.arange(30), weight)
    )
    assert weighted.value == pytest.approx(repeated.value)
    assert weighted.method == "weighted t"
    assert weighted.p_value == pytest.approx(repeated.p_value)


def test_weights_of_zero_leave_pairs_out():
    b, c = graded(40)
    weight = np.repeat([1.0, 0.0], 20)
    part, whole = retention(b[:20], c[:20]), retention(b, c, weights=weight)
    assert (whole.value, whole.p_value) == pytest.approx((part.value, part.p_value))
    assert (whole.low, whole.high) == pytest.approx((part.low, part.high))


@pytest.mark.parametrize(
    ("incumbent", "candidate", "settings", "code", "seen"),
    [
        ([], [], {}, "no-pairs", ()),
        ([0.5], [0.4], {}, "too-few-observations", ("pairs",)),
        ([], [], {"clusters": []}, "no-pairs", ()),
        ([0, 0, 0], [0, 1, 1], {}, "incumbent-scores-nothing", (3,)),
        ([1] * 19, [1] * 19, {}, "too-few-observations", (19, 20)),
        ([0.9] * 19, [0.8] * 18 + [0.7], {}, "too-few-observations", (19, 20)),
        ([0.0, 0.0], [0.5, 0.2], {}, "incumbent-scores-nothing", ()),
        ([0.5, 0.5], [0.4, 0.4], {}, "no-variation", ()),
        ([1, 0, 1], [1, 1, 0], {"clusters": ["a", "a", "a"]}, "too-few-observations", ("clusters",)),
        ([1, 0, 1], [1, 1, 0], {"weights": [0, 1, 0]}, "incumbent-scores-nothing", ()),
    ],
)
def test_too_little_data_is_a_result(incumbent, candidate, settings, code, seen):
    found = retention(incumbent, candidate, **settings)
    assert found.outcome == "undecided"
    assert (found.p_value, found.p_value_below) == (1.0, 1.0)
    assert found.needed is None or 19 in seen
    assert found.low is None
    assert found.high is None
    check_reason(found, code, *seen)


def test_candidate_proportional_to_the_incumbent():
    b, _ = graded(20)
    found = retention(b, 0.85 * b)
    assert found.value == pytest.approx(0.85)
    assert found.low <= 0.85 <= found.high
    assert found.outcome == "undecided"
    check_reason(found, "no-variation", 0.85)


def test_candidate_that_never_scores():
    found = retention(np.ones(30), np.zeros(30))
    assert (found.value, found.low, found.outcome) == (0.0, 0.0, "fail")
    assert 0 < found.high < 0.3


def test_incumbent_near_zero_has_no_upper_bound():
    rng = np.random.default_rng(2)
    found = retention([0.02] + [0.0] * 29, rng.uniform(0.3, 0.6, 30))
    assert found.high == math.inf
    assert 0 < found.low < found.value
    check_reason(found, "no-upper-bound")


def test_needed_pairs_would_settle_it():
    table = (250, 75, 37, 138)
    found = retention(*columns(table))
    grown = retention(*columns([k * found.needed // 500 for k in table]))
    assert (found.outcome, grown.outcome) == ("undecided", "pass")
    assert retention(*columns((85, 15, 0, 0))).needed is None  # exactly at the floor


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (([0.5, float("nan")], [1, 1]), ("score-not-finite", "incumbent[1]")),
        (([0.5, 1], [1, float("inf")]), ("score-not-finite", "candidate[1]")),
        (([0.5, 1], [-0.1, 1]), ("score-out-of-range", "candidate[0]", "-0.1")),
        (([0.5, 1.5], [0, 1]), ("score-out-of-range", "incumbent[1]", "1.5")),
        (([1, 1, 1], [1, 1]), ("scores-length", "3", "2")),
        (([[1, 1]], [[1, 1]]), ("scores-not-one-column", "2")),
        ((["a"], [1]), ("scores-not-numbers",)),
        (([1], [1], 0.0), ("floor-invalid", "0.0")),
        (([1], [1], 2.0), ("floor-invalid", "2.0")),
        (([1], [1], float("nan")), ("floor-invalid",)),
        (([1], [1], 0.85, 0.0), ("error-rate-invalid", "0.0")),
        (([1], [1], 0.85, 1.0), ("error-rate-invalid", "1.0")),
        (([1, 1], [1, 1], 0.85, 0.05, ["a"]), ("clusters-length", "1", "2")),
        (([1, 1], [1, 1], 0.85, 0.05, ["a", None]), ("cluster-missing", "1", "None")),
        (([1, 1], [1, 1], 0.85, 0.05, np.array([1, np.nan])), ("cluster-missing", "1")),
        (([1, 1], [1, 1], 0.85, 0.05, [["a"], ["b"]]), ("cluster-invalid", "0", "list")),
        (([1, 1], [1, 1], 0.85, 0.05, 5), ("clusters-invalid", "int")),
        (([1], [1], "0.85"), ("not-a-number", "floor", "0.85")),
        (([1], [1], None), ("not-a-number", "floor", "None")),
        (([1], [1], 10**400), ("not-a-number", "floor")),
        (([1], [1], 1e-300), ("floor-invalid", "1e-300")),
        (([1], [1], 0.85, "x"), ("not-a-number", "alpha", "x")),
        (([1], [1], 0.85, 1e-17), ("error-rate-invalid", "1e-17")),
    ],
)
def test_invalid_input_says_what_was_seen(arguments, what):
    with raises_code(*what) as caught:
        retention(*arguments)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("weights", "seen"),
    [
        ([1.0], ("weights-length", 1, 2)),
        ([1.0, -1.0], ("weight-invalid", "-1")),
        ([0.0, 0.0], ("weight-invalid", 0)),
        ([1.0, float("nan")], ("score-not-finite", "weights[1]", "nan")),
    ],
)
def test_invalid_weights(weights, seen):
    with raises_code(*seen):
        retention([1, 0], [1, 1], weights=weights)


def test_the_largest_weights_sum_to_a_number():
    b, c = [1, 0.5] * 50, [1, 0.4] * 50
    plain = retention(b, c, weights=[10, 1] * 50)
    assert retention(b, c, weights=[1e308, 1e307] * 50).p_value == pytest.approx(plain.p_value)
    assert retention(b, c, weights=[1e-307, 1e-308] * 50).p_value == pytest.approx(plain.p_value)


def test_confidence_is_checked():
    with raises_code("error-rate-invalid", "confidence", 95):
        retention([1, 0], [1, 1], confidence=95)


def test_score_test_holds_its_error_rate_in_a_short_simulation():
    p11 = 0.8 * 0.68 + 0.5 * math.sqrt(0.8 * 0.2 * 0.68 * 0.32)
    shares = [p11, 0.8 - p11, 0.68 - p11, 1 - 0.8 - 0.68 + p11]
    counts = np.random.default_rng(7).multinomial(100, shares, size=40_000).T
    rate = np.mean(score_z(*counts[:3], 0.85)[0] >= 1.6449)
    assert 0.040 < rate < 0.055  # Monte-Carlo s.e. 0.0011
