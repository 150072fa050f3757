"""What must hold of the retention test for any scores."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossgrade.stats import FixedRetention, SequentialRetention, holm, holm_levels, read_pairs, retention

FLOORS = st.floats(0.55, 1.7)
ALPHAS = st.floats(0.001, 0.3)


@st.composite
def tables(draw, smallest=0):
    """Paired tables with a right answer of each model."""
    table = draw(st.tuples(*[st.integers(smallest, 60)] * 4))
    assume(table[0] + table[1] > 0 and table[0] + table[2] > 0)
    return table


@st.composite
def graded(draw):
    """Two columns of graded scores whose difference varies, and a generator."""
    n = draw(st.integers(3, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    b = np.clip(rng.beta(3, 2, n), 0.01, 1.0)
    return b, np.clip(b * draw(st.floats(0.3, 1.2)) + rng.normal(0, 0.15, n), 0.0, 1.0), rng


def columns(table):
    """Two columns of scores with this paired table."""
    return np.repeat([1.0, 1.0, 0.0, 0.0], table), np.repeat([1.0, 0.0, 1.0, 0.0], table)


@given(tables(5), FLOORS)
def test_swap_binary(table, floor):
    """Swapping the models inverts the ratio; "below" allows for a quarter of a loss besides."""
    b, c = columns(table)
    one, other = retention(b, c, floor), retention(c, b, 1 / floor)
    assert one.p_value <= other.p_value_below + 1e-9
    assert one.p_value == pytest.approx(other.p_value_below, abs=0.15)
    assert one.value == pytest.approx(1 / other.value)


@given(graded(), FLOORS)
def test_swap_graded(scores, floor):
    b, c, _ = scores
    assume(c.mean() > 0.01)
    one, other = retention(b, c, floor), retention(c, b, 1 / floor)
    assert one.p_value == pytest.approx(other.p_value_below, abs=1e-9)
    assert one.value == pytest.approx(1 / other.value)
    if other.low and other.low > 1e-9 and math.isfinite(other.high) and math.isfinite(one.high):
        assert (one.low, one.high) == pytest.approx((1 / other.high, 1 / other.low), rel=1e-5, abs=1e-9)


@given(graded(), FLOORS, st.floats(0.05, 1.0))
def test_a_smaller_scale_is_never_surer(scores, floor, factor):
    """Where both models score less, a failure or a gain too rare to be seen weighs more."""
    b, c, _ = scores
    one, other = retention(b, c, floor), retention(factor * b, factor * c, floor)
    assert one.p_value <= other.p_value + 1e-9
    assert one.p_value_below <= other.p_value_below + 1e-9
    assert one.value == pytest.approx(other.value)


@given(graded(), FLOORS)
def test_order_does_not_matter_at_a_fixed_n(scores, floor):
    b, c, rng = scores
    order, labels = rng.permutation(len(b)), rng.integers(0, 5, len(b))
    for clusters, moved in ((None, None), (labels, labels[order])):
        one, other = retention(b, c, floor, 0.05, clusters), retention(b[order], c[order], floor, 0.05, moved)
        assert one.p_value == pytest.approx(other.p_value, abs=1e-9)
        assert one.outcome == other.outcome


@given(tables(), FLOORS, FLOORS)
def test_a_higher_floor_is_harder(table, one, other):
    b, c = columns(table)
    low, high = sorted((one, other))
    assert retention(b, c, low).p_value <= retention(b, c, high).p_value + 1e-12
    assert retention(b, c, low).p_value_below >= retention(b, c, high).p_value_below - 1e-12


@given(tables(), FLOORS, ALPHAS, ALPHAS)
def test_a_smaller_alpha_decides_less(table, floor, one, other):
    b, c = columns(table)
    strict, lax = (retention(b, c, floor, alpha) for alpha in sorted((one, other)))
    assert strict.outcome in {lax.outcome, "undecided"}
    assert strict.p_value == lax.p_value


def agrees(found):
    """The outcome and the bounds at its level say the same of the floor."""
    if found.low is None:
        assert found.outcome == "undecided"
        return
    assert (found.outcome == "pass") == (found.low >= found.floor)
    assert (found.outcome == "fail") == (found.high < found.floor)
    assert found.low_confidence == found.high_confidence == pytest.approx(1 - found.alpha)


@given(tables(), FLOORS, ALPHAS)
def test_bounds_and_test_agree_binary(table, floor, alpha):
    found = retention(*columns(table), floor, alpha)
    agrees(found)
    assert found.low is None or found.low <= found.value <= found.high


@given(graded(), FLOORS, ALPHAS, st.sampled_from(["pairs", "clusters", "weights"]))
def test_bounds_and_test_agree_graded(scores, floor, alpha, kind):
    b, c, rng = scores
    clusters = rng.integers(0, 30, len(b)) if kind == "clusters" else None
    weights = rng.random(len(b)) ** 2 + 0.01 if kind == "weights" else None
    agrees(retention(b, c, floor, alpha, clusters, weights=weights))


@given(graded(), FLOORS, ALPHAS, st.integers(1, 90), st.integers(1, 120), st.booleans())
def test_bounds_and_test_agree_in_a_sequential_test(scores, floor, alpha, planned, most, weighted):
    b, c, rng = scores
    test = SequentialRetention(floor, alpha, planned, most=most)
    test.update_many(b, c, rng.uniform(0.1, 1.0, len(b)) if weighted else None)
    agrees(test.result())


@given(st.integers(0, 2**32 - 1), FLOORS, ALPHAS)
def test_bounds_at_holms_levels_agree_with_its_rejections(seed, floor, alpha):
    rng = np.random.default_rng(seed)
    tests = []
    for _ in range(rng.integers(1, 6)):
        n = int(rng.integers(20, 200))
        b = rng.random(n) < 0.8
        tests.append(FixedRetention(read_pairs(b, b & (rng.random(n) < rng.uniform(0.5, 1.0))), floor))
    p, weights = [each.p_value for each in tests], rng.random(len(tests))
    levels = holm_levels(p, weights, alpha=alpha)
    for test, adjusted, level in zip(tests, holm(p, weights), levels, strict=True):
        low = test.result(level, level).low
        assert low is None or (adjusted <= alpha) == (low >= floor)


@given(tables(), FLOORS)
def test_numbers_are_numbers(table, floor):
    found = retention(*columns(table), floor)
    assert 0 <= found.p_value <= 1
    assert found.p_value + found.p_value_below >= 1 - 1e-12
    assert found.low is None or all(map(math.isfinite, (found.value, found.low, found.high)))
    assert found.needed is None or found.needed >= found.n


@given(graded(), FLOORS, st.integers(1, 40), st.booleans())
def test_sequential_is_replayed_alike_and_never_undoes_itself(scores, floor, planned, anytime):
    b, c, _ = scores
    tests = [SequentialRetention(floor, 0.1, planned, anytime=anytime) for _ in range(2)]
    seen = []
    for x, y in zip(b.tolist(), c.tolist(), strict=True):
        seen.append(tests[0].update(x, y))
    tests[1].update_many(b, c)
    assert tests[0].result() == tests[1].result()
    decided = [outcome for outcome in seen if outcome is not None]
    assert len(set(decided)) <= 1
    found = tests[0].result()
    assert (found.outcome == "pass") == (found.p_value <= 0.1)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 10)), min_size=1, max_size=12))
def test_holm_never_undercuts_the_raw_p_and_is_at_least_as_strong_as_bonferroni(pairs):
    p, w = (np.array(x, dtype=float) for x in zip(*pairs, strict=True))
    assume(w.sum() > 0)
    bonferroni = [raw * w.sum() / weight if weight else np.inf for raw, weight in zip(p, w, strict=True)]
    adjusted = holm(p, w)
    order = np.argsort(bonferroni, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()
    for raw, least, bound in zip(p, adjusted, bonferroni, strict=True):
        assert raw - 1e-12 <= least <= min(bound, 1.0) + 1e-12
