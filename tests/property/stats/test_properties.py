"""What must hold of the retention test for any scores."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossgrade.stats import SequentialRetention, holm, retention

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


def swaps(b, c, floor):
    """Swapping the models inverts the ratio and exchanges the two questions."""
    one, other = retention(b, c, floor), retention(c, b, 1 / floor)
    assert one.p_value == pytest.approx(other.p_value_below, abs=1e-9)
    assert one.value == pytest.approx(1 / other.value)
    if other.low > 1e-9 and math.isfinite(other.high) and math.isfinite(one.high):
        assert (one.low, one.high) == pytest.approx((1 / other.high, 1 / other.low), rel=1e-6, abs=1e-9)


@given(tables(), FLOORS)
def test_swap_binary(table, floor):
    swaps(*columns(table), floor)


@given(graded(), FLOORS)
def test_swap_graded(scores, floor):
    b, c, _ = scores
    assume(c.mean() > 0.01)
    swaps(b, c, floor)


@given(graded(), FLOORS, st.floats(0.05, 1.0))
def test_scale_does_not_matter(scores, floor, factor):
    b, c, _ = scores
    one, other = retention(b, c, floor), retention(factor * b, factor * c, floor)
    assert one.p_value == pytest.approx(other.p_value, abs=1e-9)
    assert one.value == pytest.approx(other.value)
    assert one.low == pytest.approx(other.low, rel=1e-6, abs=1e-9)


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


def agrees(b, c, floor, alpha):
    """The interval at level 1 - 2 alpha holds the value, and the floor where nothing is decided."""
    found = retention(b, c, floor, alpha, level=1 - 2 * alpha)
    assert found.low <= found.value + 1e-9
    assert found.value <= found.high + 1e-9
    assume(min(abs(found.low - floor), abs(found.high - floor)) > 1e-6)
    inside = found.low < floor < found.high
    if math.isfinite(found.high):
        assert inside == (found.outcome == "undecided")
    elif found.outcome == "undecided":
        assert inside


@given(tables(), FLOORS, ALPHAS)
def test_interval_and_test_agree_binary(table, floor, alpha):
    agrees(*columns(table), floor, alpha)


@given(graded(), FLOORS, ALPHAS)
def test_what_the_test_decides_the_interval_excludes_graded(scores, floor, alpha):
    found = retention(scores[0], scores[1], floor, alpha, level=1 - 2 * alpha)
    assert found.low <= found.value + 1e-9
    assert found.value <= found.high + 1e-9
    if found.outcome != "undecided" and math.isfinite(found.high):
        assert not found.low + 1e-6 < floor < found.high - 1e-6
    # Across 1 the bound by the number of pairs begins anew: there the test is the stricter. Of a few
    # skewed pairs the ratios that are not rejected may be in pieces, of which the interval is one.
    undecided = found.outcome == "undecided" and found.reason is None and found.n >= 20
    if undecided and (floor - 1) * (found.value - 1) > 0:
        assert found.low - 1e-6 <= floor <= found.high + 1e-6


@given(tables(), FLOORS)
def test_numbers_are_numbers(table, floor):
    found = retention(*columns(table), floor)
    assert 0 <= found.p_value <= 1
    assert found.p_value + found.p_value_below == pytest.approx(1)
    assert all(map(math.isfinite, (found.value, found.low, found.high)))
    assert found.needed is None or found.needed > found.n


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
    assert found.low <= found.value <= found.high or found.reason


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
