"""Krippendorff's alpha and its interval."""

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossgrade.stats import krippendorff_alpha
from tests.codes import check_reason, raises_code

LEVELS = ("interval", "nominal")


def rated(rng, raters=3, items=40, missing=0.3, noise=0.2):
    truth = rng.random(items)
    table = np.round(np.clip(truth + noise * rng.standard_normal((raters, items)), 0, 1) * 4) / 4
    return np.where(rng.random(table.shape) < missing, np.nan, table)


@pytest.mark.parametrize("level", LEVELS)
@given(st.integers(0, 100_000), st.integers(2, 5), st.integers(2, 60), st.floats(0, 0.6))
def test_the_value_is_that_of_the_published_package(level, seed, raters, items, missing):
    table = rated(np.random.default_rng(seed), raters, items, missing)
    seen = table[:, np.isfinite(table).sum(axis=0) > 1]
    assume(len(np.unique(seen[np.isfinite(seen)])) > 1)
    found = krippendorff_alpha(table, level=level, rng=np.random.default_rng(1), draws=20)
    assert found.value == pytest.approx(krippendorff.alpha(table, level_of_measurement=level), abs=1e-9)


def test_the_published_example():
    # K. Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), section D.
    table = [
        [np.nan] * 5 + [3, 4, 1, 2, 1, 1, 3, 3, np.nan, 3],
        [1, np.nan, 2, 1, 3, 3, 4, 3] + [np.nan] * 7,
        [np.nan, np.nan, 2, 1, 3, 4, 4, np.nan, 2, 1, 1, 3, 3, np.nan, 4],
    ]
    for level, value in (("nominal", 0.691), ("interval", 0.811)):
        found = krippendorff_alpha(table, level=level, rng=np.random.default_rng(1))
        assert found.value == pytest.approx(value, abs=5e-4)
        assert found.n == 12
        assert found.low < found.value < found.high <= 1.0


@pytest.mark.parametrize("level", LEVELS)
def test_the_interval_covers(level):
    rng = np.random.default_rng(2)
    large = rated(rng, 2, 200_000, 0.0)
    truth = krippendorff.alpha(large, level_of_measurement=level)
    inside = 0
    for _ in range(200):
        found = krippendorff_alpha(rated(rng, 2, 60, 0.0), level=level, rng=rng, draws=400)
        inside += found.low <= truth <= found.high
    assert inside >= 180


def test_the_same_seed_gives_the_same_interval():
    table = rated(np.random.default_rng(3))
    one, other = (krippendorff_alpha(table, rng=np.random.default_rng(4)) for _ in range(2))
    assert one == other


def test_what_has_no_value_or_no_interval():
    rng = np.random.default_rng(5)
    found = krippendorff_alpha([[1, np.nan], [np.nan, 2]], rng=rng)
    assert (found.value, found.n) == (None, 0)
    check_reason(found, "no-pairs")
    found = krippendorff_alpha(np.ones((2, 30)), rng=rng)
    assert (found.value, found.low) == (None, None)
    check_reason(found, "no-variation")
    found = krippendorff_alpha([[0, 1, 0, 1], [0, 1, 1, 1]], rng=rng)
    assert (found.low, found.n) == (None, 4)
    check_reason(found, "too-few-observations", 4, 10)
    assert krippendorff_alpha(np.tile([0.0, 1.0], (2, 20)), rng=rng).low == pytest.approx(1.0)
    assert krippendorff_alpha(np.empty((0, 0)), rng=rng).value is None


def test_what_cannot_be_ratings():
    for table in ([1, 2], [["good"]], [[np.inf, 1]]):
        with raises_code("ratings-invalid"):
            krippendorff_alpha(table, rng=np.random.default_rng(1))
