"""Tails and quantiles of distributions, and the bounds that are dual to a test's tails.

A test of every ratio r has two p-values, of "R < r" and of "R >= r". The lower bound at level alpha
is the smallest ratio below the estimate that the first does not reject. The upper bound is the largest
ratio above the estimate that the second does not reject. Both hold with confidence 1 - alpha.

The normal distribution uses the standard library. The others import `scipy.special` on first use,
because that import takes several times as long as the rest of the room.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

Tails = Callable[[float], tuple[float, float]]
"""The p-values of R < r and of R >= r, as a function of r > 0."""

_STEP = 1.05
_HALVINGS = 36
_LEAST, _MOST = 1e-12, 1e6

_STANDARD = NormalDist()


def bounds(
    tails: Tails, value: float, floor: float, low_alpha: float, high_alpha: float
) -> tuple[float, float]:
    """Return the lower bound at `low_alpha` and the upper bound at `high_alpha` around `value`.

    The upper bound is infinite if no ratio is too large. The bounds also respect whether `floor` itself
    is rejected, so that they never contradict the test there, even if a p-value is not monotone in the
    ratio.
    """
    below, above = tails(floor)
    low, high = 0.0, math.inf
    if value > 0:
        low = _last_kept(value, 1 / _STEP, lambda ratio: tails(ratio)[0] <= low_alpha)
    high = _last_kept(max(value, _LEAST), _STEP, lambda ratio: tails(ratio)[1] <= high_alpha)
    low = 0.0 if low < _LEAST else low
    return at_floor(low, high, floor, passes=below <= low_alpha, fails=above <= high_alpha)


def at_floor(low: float, high: float, floor: float, *, passes: bool, fails: bool) -> tuple[float, float]:
    """Return the bounds, moved to the floor if rounding put them on its other side."""
    return (
        max(low, floor) if passes else min(low, math.nextafter(floor, 0.0)),
        min(high, math.nextafter(floor, 0.0)) if fails else max(high, floor),
    )


def _last_kept(kept: float, step: float, is_rejected: Callable[[float], bool]) -> float:
    """Return the last ratio from `kept` on that is not rejected, found by growing steps and bisection.

    Some p-values are not continuous at 1, so no step passes over 1.
    """
    while _LEAST <= kept <= _MOST:
        beyond = kept * step
        if (kept - 1) * (beyond - 1) < 0:
            beyond = 1.0
        if is_rejected(beyond):
            for _ in range(_HALVINGS):
                middle = (kept + beyond) / 2
                kept, beyond = (kept, middle) if is_rejected(middle) else (middle, beyond)
            return kept
        kept, step = beyond, step * step if abs(math.log(step)) < 0.5 else step
    return math.inf if step > 1 else 0.0


def normal_tail(z: float) -> float:
    """Return P(Z > z) of a standard normal."""
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def normal_quantile(probability: float) -> float:
    """Return the z with P(Z <= z) = `probability`, in (0, 1)."""
    return _STANDARD.inv_cdf(probability)


def t_tail(t: float, df: float) -> float:
    """Return P(T > t) of Student's t with `df` > 0 degrees of freedom."""
    from scipy.special import stdtr

    return float(stdtr(df, -t))


def t_quantile(probability: float, df: float) -> float:
    """Return the t with P(T <= t) = `probability` for `df` > 0 degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def binomial_cdf(successes: int, n: int, probability: float) -> float:
    """Return P(X <= successes) of a binomial; 0 below zero successes."""
    from scipy.special import bdtr

    return 0.0 if successes < 0 else float(bdtr(successes, n, probability))


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Return the x with P(X <= x) = `probability` of a beta distribution with a > 0 and b > 0."""
    from scipy.special import betaincinv

    return float(betaincinv(a, b, probability))
