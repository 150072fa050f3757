"""What few observations decide: heavy weights, labels in few clusters, small error rates, extreme numbers."""

import math

import numpy as np
import pytest

from crossgrade.stats import SequentialRetention, corrected_retention, retention
from tests.codes import check_reason

FLOOR = 0.85


def heavy_losses(rng, n, share, weight, accuracy):
    """Pairs of which a few are heavy, with every loss of the candidate on those; R is the floor exactly."""
    heavy = rng.random(n) < share
    traffic = share * weight / (share * weight + 1 - share)
    incumbent = (rng.random(n) < accuracy).astype(float)
    again = rng.random(n) < 0.1  # drawn again: as often right, so that the columns differ
    candidate = np.where(again, rng.random(n) < accuracy, incumbent).astype(float)
    candidate[heavy & (rng.random(n) < (1 - FLOOR) / traffic)] = 0.0
    return incumbent, candidate, np.where(heavy, weight, 1.0)


@pytest.mark.parametrize(
    ("n", "share", "weight", "accuracy"),
    [(100, 0.10, 10.0, 0.8), (150, 0.05, 10.0, 0.6), (200, 0.05, 20.0, 0.6), (400, 0.02, 50.0, 0.8)],
)
def test_losses_on_a_few_heavy_samples_are_not_overlooked(n, share, weight, accuracy):
    rng, runs = np.random.default_rng((8, n)), 400  # the t test alone passes 9 to 14 %; s.e. 0.011 at 5 %
    fixed = sequential = 0
    for _ in range(runs):
        incumbent, candidate, weights = heavy_losses(rng, n, share, weight, accuracy)
        fixed += retention(incumbent, candidate, weights=weights).outcome == "pass"
        test, order = SequentialRetention(planned=n), rng.permutation(n)
        test.update_many(incumbent[order], candidate[order], weights[order] / weight)
        sequential += test.outcome == "pass"
    assert fixed / runs < 0.06
    assert sequential / runs < 0.06


def test_a_strict_error_rate_holds_for_grades():
    shares = {
        (0, 0): .182, (0, .5): .018, (0, 1): .009, (.5, 0): .018, (.5, .5): .365, (.5, 1): .018,
        (1, 0): .098, (1, .5): .018, (1, 1): .273,
    }  # fmt: skip
    pairs, share = np.array(list(shares)), np.array(list(shares.values()))
    share /= share.sum()
    truth = float((share @ pairs[:, 1]) / (share @ pairs[:, 0]))
    rng, runs, alpha = np.random.default_rng(9), 3_000, 0.01
    passed = 0
    for _ in range(runs):
        drawn = pairs[rng.choice(len(pairs), 50, p=share)]
        passed += retention(drawn[:, 0], drawn[:, 1], floor=truth, alpha=alpha).outcome == "pass"
    assert passed / runs < alpha + 2 * 0.0018


def test_the_advice_is_for_what_is_missing():
    """Thirty alike documents are clearly above the floor but for what they are too few to show."""
    rng = np.random.default_rng(12)
    document = np.repeat(np.arange(30), 50)
    incumbent = np.ones(1500)
    candidate = (rng.random(1500) < 0.94).astype(float)
    found = retention(incumbent, candidate, clusters=document, alpha=0.01)
    unseen = math.log(0.01) / math.log(FLOOR / (FLOOR + float(candidate.mean()) - FLOOR))
    assert found.outcome == "undecided"
    assert found.needed == pytest.approx(50 * unseen, rel=0.01)


def test_pairs_without_weight_change_nothing():
    rng = np.random.default_rng(10)
    incumbent, candidate = rng.random((2, 100)).round(1)
    weights = np.where(np.arange(100) < 99, 1.0, 1.0001)
    alone = retention(incumbent, candidate, weights=weights)
    padded = retention(
        np.concatenate([incumbent, np.ones(300)]),
        np.concatenate([candidate, np.zeros(300)]),
        weights=np.concatenate([weights, np.zeros(300)]),
    )
    assert padded == alone


def test_tiny_scores_are_numbers_too():
    found = retention([1e-120, 2e-120] * 50, [1.0, 0.4] * 50)
    assert found.outcome in {"pass", "undecided"}
    assert math.isfinite(found.p_value)


def test_a_bound_never_sits_at_the_floor_of_an_undecided_test():
    rng = np.random.default_rng(3013)
    incumbent = (rng.random(40) < 0.8).astype(float)
    candidate = np.where(rng.random(40) < 0.1, rng.random(40), incumbent)
    found = retention(incumbent, candidate, 0.7, 0.0005)
    assert (found.low >= 0.7) == (found.outcome == "pass")


@pytest.mark.parametrize("clusters", [1, 9])
def test_labels_from_few_clusters_correct_nothing(clusters):
    rng = np.random.default_rng(11)
    b, c = (rng.random((2, 300)) < 0.8).astype(float)
    seen = np.arange(300) < 120
    document = [f"x{at % clusters}" if seen[at] else f"d{at}" for at in range(300)]
    found = corrected_retention(b, c, np.where(seen, b, np.nan), np.where(seen, c, np.nan), clusters=document)
    assert found.outcome == "undecided"
    assert found.p_value == found.p_value_below == 1.0
    check_reason(found, "too-few-observations", 20)
    assert found.labels == 120


@pytest.mark.parametrize("n", [5, 19])
def test_the_advice_is_never_fewer_than_a_test_takes(n):
    assert retention([1] * n, [0] * n).needed is None
    check_reason(retention([1] * n, [0] * n), "too-few-observations", n)


def test_the_advice_is_for_the_level_that_decides():
    incumbent = np.ones(200)
    candidate = np.where(np.arange(200) % 20 < 18, 1.0, 0.0)  # 0.90 of 200
    usual, strict = (retention(incumbent, candidate, alpha=alpha) for alpha in (0.05, 0.005))
    assert usual.outcome == "pass"
    assert usual.needed is None
    assert strict.outcome == "undecided"
    assert strict.needed > 200
