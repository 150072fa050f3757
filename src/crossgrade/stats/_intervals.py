"""Intervals of a share, a mean and a quantile."""

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crossgrade.domain import Reason
from crossgrade.errors import UsageError
from crossgrade.stats._pairs import read_numbers, read_rate
from crossgrade.stats._tails import binomial_cdf, normal_quantile, t_quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate from n observations with its two-sided interval.

    What n is too small for is None, and `reason` (for programs `reason_code`) says so: an end, both, or the
    value.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    n: int
    method: str
    reason: str | None = None
    reason_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """A share of n cases with its two-sided interval; of no cases it is None, in [0, 1]."""

    value: float | None
    low: float
    high: float
    level: float
    n: int


def proportion_interval(
    successes: float, n: int, level: float = 0.95, *, design_effect: float = 1.0
) -> Proportion:
    """Wilson's interval of the share `successes` / n.

    A sum of graded scores in [0, 1] may be passed as successes: their variance is at most that
    of right and wrong, so the interval is on the wide side. (E. B. Wilson, J. Amer. Statist.
    Assoc. 22 (1927) 209-212.) Where observations come in clusters, `design_effect` is by how much that
    raises the variance: 1 + (m - 1) rho for clusters of m with a correlation of rho (L. Kish, Survey
    Sampling, 1965, section 5.4).
    """
    read_rate("level", level)
    if not 0 <= successes <= n:
        raise UsageError(
            f"{successes} successes of {n}", code="counts-invalid", hint="successes lie between 0 and n"
        )
    if n == 0:
        return Proportion(value=None, low=0.0, high=1.0, level=level, n=0)
    z2 = normal_quantile(0.5 + level / 2) ** 2
    share, counted = successes / n, n / design_effect
    middle = share + z2 / (2 * counted)
    half = math.sqrt(z2 * (share * (1 - share) / counted + z2 / (4 * counted * counted)))
    return Proportion(
        value=share,
        low=max((middle - half) / (1 + z2 / counted), 0.0) if successes else 0.0,
        high=min((middle + half) / (1 + z2 / counted), 1.0) if successes < n else 1.0,
        level=level,
        n=n,
    )


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's t interval of the mean of one or more numbers of any range."""
    read_rate("level", level)
    array = read_numbers("values", values)
    n = len(array)
    mean = float(array.mean()) if n else None
    if mean is None or n < 2:
        why = Reason("too-few-observations", f"{n} observations; an interval of a mean needs 2")
        return Interval(
            value=mean,
            low=None,
            high=None,
            level=level,
            n=n,
            method="t",
            reason=why.text,
            reason_code=why.code,
        )
    half = t_quantile(0.5 + level / 2, n - 1) * float(array.std(ddof=1)) / math.sqrt(n)
    return Interval(value=mean, low=mean - half, high=mean + half, level=level, n=n, method="t")


def quantile_interval(values: ArrayLike, quantile: float = 0.95, level: float = 0.95) -> Interval:
    """The interval of a quantile between two order statistics, for any distribution.

    The number of observations below the quantile is binomial, so the ranks come from its tails,
    (1 - level) / 2 each; an end for which n is too small is None. The value is the order
    statistic of rank n `quantile`, rounded up. (W. J. Conover, Practical Nonparametric
    Statistics, 3rd edition, 1999, section 3.2.)
    """
    read_rate("level", level), read_rate("quantile", quantile)
    array = np.sort(read_numbers("values", values))
    n, tail = len(array), (1 - level) / 2
    if not n:
        why = Reason("too-few-observations", "no observations")
        return Interval(
            value=None,
            low=None,
            high=None,
            level=level,
            n=0,
            method="order statistics",
            reason=why.text,
            reason_code=why.code,
        )
    # Ranks count from 1. The quantile is below the k-th with probability P(X <= k - 1), and
    # above it with at most P(X >= k); each must be <= tail.
    low_rank, high_rank = (_rank(n, quantile, p) for p in (tail, 1 - tail))
    high_rank += 1
    needed = math.ceil(math.log(tail) / math.log(max(quantile, 1 - quantile)))
    few = Reason("too-few-observations", f"{n} observations; both ends of this interval need {needed}")
    missing = low_rank < 1 or high_rank > n
    return Interval(
        value=float(array[min(math.ceil(n * quantile), n) - 1]),
        low=float(array[low_rank - 1]) if low_rank >= 1 else None,
        high=float(array[high_rank - 1]) if high_rank <= n else None,
        level=level,
        n=n,
        method="order statistics",
        reason=few.text if missing else None,
        reason_code=few.code if missing else None,
    )


def _rank(n: int, quantile: float, probability: float) -> int:
    """The smallest k with P(X <= k) >= `probability` for X binomial of n and `quantile`."""
    return bisect_left(range(n + 1), probability, key=lambda k: binomial_cdf(k, n, quantile))
