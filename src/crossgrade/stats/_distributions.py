"""Tails and quantiles of the few distributions the room needs.

The normal ones use the standard library; the others import `scipy.special` on first use,
because that import costs several times what the rest of the room does.
"""

import math
from statistics import NormalDist

_STANDARD = NormalDist()


def normal_tail(z: float) -> float:
    """P(Z > z) of a standard normal."""
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def normal_quantile(probability: float) -> float:
    """The z with P(Z <= z) = `probability`, in (0, 1)."""
    return _STANDARD.inv_cdf(probability)


def t_tail(t: float, df: float) -> float:
    """P(T > t) of Student's t with `df` > 0 degrees of freedom."""
    from scipy.special import stdtr

    return float(stdtr(df, -t))


def t_quantile(probability: float, df: float) -> float:
    """The t with P(T <= t) = `probability` for `df` > 0 degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def binomial_cdf(successes: int, n: int, probability: float) -> float:
    """P(X <= successes) of a binomial; 0 below zero successes."""
    from scipy.special import bdtr

    return 0.0 if successes < 0 else float(bdtr(successes, n, probability))
