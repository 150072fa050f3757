"""Long simulations: error rates at the boundary, coverage of intervals, the judge's correction.

Nine settings: incumbent accuracy 0.5, 0.7, 0.9 times correlation 0, 0.3, 0.6 (0.9 and 0.6 with
what the means allow). Monte-Carlo standard errors stand beside each limit; limits leave three.
"""

import math

import numpy as np
import pytest

from crossgrade.stats import SequentialRetention, corrected_retention, retention
from crossgrade.stats._score_test import score_z

FLOOR = 0.85
SETTINGS = [(accuracy, correlation) for accuracy in (0.5, 0.7, 0.9) for correlation in (0.0, 0.3, 0.6)]
INCUMBENT, CANDIDATE = np.array([1.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0])


def cells(accuracy, retained, correlation):
    """Shares of both right, only the incumbent, only the candidate, both wrong."""
    b, c = accuracy, accuracy * retained
    p11 = b * c + correlation * math.sqrt(b * (1 - b) * c * (1 - c))
    p11 = max(min(p11, b, c), b + c - 1, 0.0)
    return np.array([p11, b - p11, c - p11, 1 - b - c + p11])


def generator(*seed):
    """A generator of its own for each case."""
    return np.random.default_rng((71, *seed))


@pytest.mark.parametrize("n", [50, 100, 200, 400])
@pytest.mark.parametrize("setting", range(9))
def test_fixed_score_test_at_the_boundary(setting, n):
    counts = generator(1, setting, n).multinomial(
        n, cells(SETTINGS[setting][0], FLOOR, SETTINGS[setting][1]), 200_000
    )
    above, below = score_z(*counts.T[:3], FLOOR)
    assert np.mean(above >= 1.6448536) < 0.055  # s.e. 0.0005
    assert np.mean(below <= -1.6448536) < 0.06


@pytest.mark.parametrize("n", [50, 100, 200, 400])
@pytest.mark.parametrize("setting", range(9))
def test_sequential_rule_at_the_boundary(setting, n):
    rng, runs = generator(2, setting, n), 8_000
    shares = cells(SETTINGS[setting][0], FLOOR, SETTINGS[setting][1])
    outcomes = []
    for _ in range(runs):
        kind = rng.choice(4, size=n, p=shares)
        outcomes.append(SequentialRetention(planned=n).update_many(INCUMBENT[kind], CANDIDATE[kind]))
    assert outcomes.count("pass") / runs < 0.04 + 3 * 0.0022
    assert outcomes.count("fail") / runs < 0.05


@pytest.mark.parametrize("setting", range(9))
def test_bets_alone_at_the_boundary(setting):
    # Ville's inequality promises 5 % whatever the length; 2,000 looks here. s.e. 0.0049.
    rng, runs = generator(3, setting), 2_000
    shares = cells(SETTINGS[setting][0], FLOOR, SETTINGS[setting][1])
    passes = 0
    for _ in range(runs):
        kind = rng.choice(4, size=2_000, p=shares)
        test = SequentialRetention(planned=200, anytime=True)
        passes += test.update_many(INCUMBENT[kind], CANDIDATE[kind]) == "pass"
    assert passes / runs < 0.05 + 3 * 0.0049


@pytest.mark.parametrize("retained", [0.6, 0.85, 1.0])
@pytest.mark.parametrize("setting", range(9))
def test_bounds_cover(setting, retained):
    # Each bound leaves out the truth in at most 5 % of runs: the floor is only where it is tested.
    rng, runs = generator(4, setting, int(100 * retained)), 2_000
    shares = cells(SETTINGS[setting][0], retained, SETTINGS[setting][1])
    above = below = 0
    for _ in range(runs):
        kind = rng.choice(4, size=200, p=shares)
        found = retention(INCUMBENT[kind], CANDIDATE[kind], FLOOR)
        above += found.low > retained
        below += found.high < retained
    assert above / runs < 0.05 + 3 * 0.0049
    assert below / runs < 0.06 + 3 * 0.0053


@pytest.mark.parametrize("retained", [0.7, 0.95])
@pytest.mark.parametrize("setting", range(9))
def test_sequential_interval_covers_where_the_test_stops(setting, retained):
    rng, runs = generator(5, setting, int(100 * retained)), 1_000
    shares = cells(SETTINGS[setting][0], retained, SETTINGS[setting][1])
    inside = 0
    for _ in range(runs):
        kind = rng.choice(4, size=300, p=shares)
        test = SequentialRetention(planned=300)
        test.update_many(INCUMBENT[kind], CANDIDATE[kind])
        found = test.result()
        inside += found.low <= retained <= found.high
    assert inside / runs > 0.90 - 3 * 0.0095  # each bound has 95 % by itself


def graded(rng, n):
    """Judge-like grades in ninths whose means have ratio 0.85 exactly, by thinning the candidate's."""
    b = rng.binomial(9, rng.beta(5, 2.5, n)) / 9
    c = np.where(rng.random(n) < 0.5, b, rng.permutation(b)) * (rng.random(n) < 0.85 / 0.95) * 0.95
    return b, c


@pytest.mark.parametrize(("n", "limit"), [(30, 0.075), (100, 0.065), (300, 0.06)])
def test_graded_scores_at_the_boundary(n, limit):
    rng, runs = generator(6, n), 10_000
    found = [retention(*graded(rng, n), floor=FLOOR) for _ in range(runs)]
    assert sum(one.outcome == "pass" for one in found) / runs < limit  # s.e. 0.0025
    assert sum(one.low <= FLOOR <= one.high for one in found) / runs > 0.9 - (limit - 0.05) - 0.009


def logistic_mean(level, spread):
    """The mean of a logistic of a normal with this mean and standard deviation."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    return float(weights @ (1 / (1 + np.exp(-level - spread * nodes))) / weights.sum())


def level_for(mean, spread):
    """The normal mean whose logistic has this mean, by bisection."""
    low, high = -8.0, 8.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if logistic_mean(middle, spread) < mean else (low, middle)
    return low


@pytest.mark.parametrize(("groups", "size", "limit"), [(10, 20, 0.10), (20, 10, 0.075), (80, 5, 0.065)])
def test_clusters_at_the_boundary(groups, size, limit):
    # Clusters differ in difficulty for both models (sd 1) and in what suits the candidate (sd 1.5).
    rng, runs = generator(7, groups), 8_000
    both, own = level_for(0.8, 1.0), level_for(0.68, math.hypot(1.0, 1.5))
    passes = naive = 0
    labels = np.repeat(np.arange(groups), size)
    for _ in range(runs):
        shared = rng.standard_normal((groups, 1))
        suits = 1.5 * rng.standard_normal((groups, 1))
        b = (rng.random((groups, size)) < 1 / (1 + np.exp(-both - shared))).astype(float)
        c = (rng.random((groups, size)) < 1 / (1 + np.exp(-own - shared - suits))).astype(float)
        passes += retention(b.ravel(), c.ravel(), clusters=labels).outcome == "pass"
        naive += retention(b.ravel(), c.ravel()).outcome == "pass"
    assert passes / runs < limit  # s.e. 0.0027; ten clusters are too few, and known to be
    assert naive / runs > limit + 0.01


@pytest.mark.parametrize(("labels", "limit"), [(50, 0.0), (100, 0.06), (200, 0.06)])
def test_corrected_judge_at_the_boundary(labels, limit):
    # The judge misses 8 % and forgives 15 % for the incumbent, 4 % and 35 % for the candidate: by
    # itself it passes nearly always.
    rng, runs, n = generator(8, labels), 4_000, 1_000
    shares = cells(0.75, FLOOR, 0.4)
    corrected = trusting = 0
    for _ in range(runs):
        kind = rng.choice(4, size=n, p=shares)
        b, c = INCUMBENT[kind], CANDIDATE[kind]
        jb = np.where(b > 0, rng.random(n) < 0.92, rng.random(n) < 0.15).astype(float)
        jc = np.where(c > 0, rng.random(n) < 0.96, rng.random(n) < 0.35).astype(float)
        seen = np.arange(n) < labels  # pairs are independent: any fixed subset is drawn at random
        hb, hc = np.where(seen, b, np.nan), np.where(seen, c, np.nan)
        corrected += corrected_retention(jb, jc, hb, hc).outcome == "pass"
        trusting += retention(jb, jc).outcome == "pass"
    assert trusting / runs > 0.99
    assert corrected / runs <= limit + 3 * 0.0038 * (limit > 0)  # 50 labels certify nothing
