"""Two shares compared: against scipy's Fisher test, at the edges, and how often it is wrong."""

import math

import numpy as np
import pytest
from scipy.stats import fisher_exact, hypergeom

from crossgrade.errors import UsageError
from crossgrade.stats import least_difference, shares_differ


@pytest.mark.parametrize(
    ("found", "n", "other", "m"), [(100, 1000, 100, 500), (3, 40, 0, 60), (0, 7, 5, 9), (999, 1000, 480, 500)]
)
def test_it_is_fishers_tails_with_half_of_what_was_seen(found: int, n: int, other: int, m: int) -> None:
    table = [[found, n - found], [other, m - other]]
    tail = min(fisher_exact(table, alternative=side).pvalue for side in ("less", "greater"))
    seen = hypergeom.pmf(found, n + m, found + other, n)
    assert math.isclose(shares_differ(found, n, other, m), min(1.0, 2 * tail - seen), rel_tol=1e-9)


def test_either_side_may_come_first() -> None:
    assert shares_differ(10, 100, 30, 90) == pytest.approx(shares_differ(30, 90, 10, 100))
    assert least_difference(10, 100, 60, 90, 0.01) == pytest.approx(least_difference(60, 90, 10, 100, 0.01))


@pytest.mark.parametrize(
    ("found", "n", "other", "m"), [(0, 9, 0, 5), (9, 9, 5, 5), (0, 0, 3, 5), (2, 4, 0, 0)]
)
def test_what_no_or_every_case_has_cannot_differ(found: int, n: int, other: int, m: int) -> None:
    assert shares_differ(found, n, other, m) == 1.0
    assert least_difference(found, n, other, m, 0.05) == 0.0


@pytest.mark.parametrize(("found", "n"), [(-1, 5), (6, 5)])
def test_counts_that_cannot_be_are_refused(found: int, n: int) -> None:
    with pytest.raises(UsageError) as refused:
        shares_differ(found, n, 1, 2)
    assert refused.value.code == "counts-invalid"
    with pytest.raises(UsageError) as refused:
        least_difference(1, 2, found, n, 0.05)
    assert refused.value.code == "counts-invalid"


def test_far_tails_are_not_zero() -> None:
    assert 0 < shares_differ(0, 100_000, 100_000, 100_000) < 1e-300


def _size(n: int, m: int, share: float, alpha: float) -> float:
    """Return how often equal shares are said to differ, exactly."""
    from scipy.stats import binom

    k, other = np.arange(n + 1), np.arange(m + 1)
    chance = np.outer(binom.pmf(k, n, share), binom.pmf(other, m, share))
    said = [[shares_differ(int(a), n, int(b), m) <= alpha for b in other] for a in k]
    return float(chance[np.array(said)].sum())


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_equal_shares_rarely_differ(share: float, alpha: float) -> None:
    assert _size(60, 35, share, alpha) <= 1.3 * alpha


def test_the_least_difference_is_newcombes() -> None:
    # Newcombe 1998, table II, method 10, example (a): 56/70 against 48/80 has the interval 0.0524 to 0.3339.
    assert least_difference(56, 70, 48, 80, 0.05) == pytest.approx(0.0524, abs=5e-5)
    assert least_difference(48, 80, 56, 70, 0.05) == pytest.approx(0.0524, abs=5e-5)
    assert least_difference(9, 10, 8, 10, 0.05) == 0.0
