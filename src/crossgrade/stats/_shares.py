"""Two shares of two independent sets of cases: whether they differ, and by how much at least.

The test is Fisher's: of all cases with the property, how many fall to the first side follows the
hypergeometric distribution if both sides are drawn alike (R. A. Fisher, J. Royal Statist. Soc. 98 (1935)
39-82). It holds at any counts and any sizes, where a chi-square test would need five expected cases in every
cell. Of the probability of what was seen a half is counted (the mid-p, H. O. Lancaster, J. Amer. Statist.
Assoc. 56 (1961) 223-234): all of it would make the test wrong less often than is said, at the price of power.
"""

import math
from functools import lru_cache

import numpy as np

from crossgrade.errors import UsageError
from crossgrade.stats._intervals import proportion_interval


@lru_cache(maxsize=4096)
def shares_differ(found: int, n: int, other: int, m: int) -> float:
    """Return the two-sided p-value of "the shares `found` / n and `other` / m are equal", in (0, 1].

    It is twice the smaller of the two mid-p tails, at most 1. If the shares are equal it is at most alpha
    with a probability of about alpha, on average over the counts that may be seen, and never more than
    2 alpha. It is 1 where no case, or every case, of both sides has the property, and where a side has no
    cases. Raises `UsageError` for counts that cannot be.
    """
    _check(found, n)
    _check(other, m)
    both = found + other
    least, most = max(0, both - m), min(n, both)
    if least == most:
        return 1.0
    from scipy.special import gammaln

    k = np.arange(least, most + 1, dtype=np.float64)
    log = -(gammaln(k + 1) + gammaln(n - k + 1) + gammaln(both - k + 1) + gammaln(m - both + k + 1))
    weight = np.exp(log - log.max())
    at = found - least
    tails = float(weight[: at + 1].sum()), float(weight[at:].sum())
    tail = (min(tails) - float(weight[at]) / 2) / float(weight.sum())
    return min(1.0, max(2 * tail, math.ulp(0.0)))


def least_difference(found: int, n: int, other: int, m: int, alpha: float) -> float:
    """Return the least amount by which two shares are shown to differ, in [0, 1], at an error rate of alpha.

    It is the end that is nearer to 0 of Newcombe's interval of the difference, from Wilson's intervals of
    the two shares, with alpha / 2 beyond each end, and 0 if the interval contains 0 (R. G. Newcombe, Statist.
    Med. 17 (1998) 873-890, method 10). Raises `UsageError` for counts that cannot be, and for an alpha
    outside (0, 1).
    """
    _check(found, n)
    _check(other, m)
    if not n or not m:
        return 0.0
    one, two = proportion_interval(found, n, 1 - alpha), proportion_interval(other, m, 1 - alpha)
    p, q = found / n, other / m
    below, above = (one, two) if p <= q else (two, one)
    low, high = min(p, q), max(p, q)
    return max(0.0, (high - low) - math.hypot(high - above.low, below.high - low))


def _check(found: int, n: int) -> None:
    if not 0 <= found <= n:
        raise UsageError(f"{found} of {n} cases", code="counts-invalid", hint="counts lie between 0 and n")
