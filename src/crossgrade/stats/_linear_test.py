"""The t test on d = c - r b for graded, clustered or weighted scores, and Fieller's interval.

One formula serves all three. Each mean is linearised into one contribution a cluster,
z_g = sum of w_i (x_i - mean) over the cluster's pairs (weights summing to 1), and the
covariance matrix of the two means is G / (G - 1) times the sum of z_g z_g' over the G clusters;
where every pair is its own cluster and all weights are equal this is the ordinary one
(D. A. Binder, International Statistical Review 51 (1983) 279-292). The statistic for any r
follows from the two means and that matrix, and inverting it in r is a quadratic equation
(E. C. Fieller, J. R. Statist. Soc. B 16 (1954) 175-185).

Scores of answers that are good or worthless are skewed, and t then takes a run of luck for
precision: with a candidate that fails outright on the 15 % that a floor of 0.85 forgives, it passes
10 % of the time at 40 pairs where 5 % is meant, and 4 % where 0.6 % is. So a tail is never smaller
than that of the statistic with its skewness removed (P. Hall, "On the removal of skewness by
transformation", J. R. Statist. Soc. B 54 (1992) 221-228, the cubic), nor a pass surer than the
number of pairs allows: at the floor m clusters show no such failure with probability floor^m (a
floor above 1 is the same with the models swapped). The interval is Fieller's, widened by the ratios next
to it that these stricter tails do not reject.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from crossgrade.stats._distributions import t_quantile, t_tail
from crossgrade.stats._pairs import FloatArray, Pairs

_NO_VARIANCE = 1e-24  # of a mean of scores in [0, 1]: rounding, not variation
_CANCELLED = 1e-13  # of the variances that a difference is taken of: the same
_STEP = 1.05
_MOST_STEPS = 400
_HALVINGS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedMeans:
    """Means of both scores, the covariance matrix of the means, and its degrees of freedom.

    `contributions` are those of each cluster to both means, shape (2, G), None where they are not
    known; `scored` counts the clusters in which the incumbent, and the candidate, scores anything.
    """

    incumbent: float
    candidate: float
    var_incumbent: float
    var_candidate: float
    covariance: float
    df: float
    contributions: FloatArray | None = None
    scored: tuple[int, int] = (0, 0)

    @property
    def varies_nowhere(self) -> bool:
        """Whether both models scored the same on every cluster."""
        return self.var_incumbent + self.var_candidate <= _NO_VARIANCE

    def t(self, floor: float) -> float | None:
        """The t statistic of H0: R = floor; None where nothing varies."""
        variance = self.var_candidate - 2 * floor * self.covariance + floor * floor * self.var_incumbent
        if variance <= _NO_VARIANCE + _CANCELLED * (self.var_candidate + floor * floor * self.var_incumbent):
            return None
        return (self.candidate - floor * self.incumbent) / math.sqrt(variance)

    def tails(self, t: float, floor: float) -> tuple[float, float]:
        """P-values of R < floor and of R >= floor at statistic `t`: the larger with and without skewness."""
        if self.contributions is None:
            return t_tail(t, self.df), t_tail(-t, self.df)
        return self._tails(t, floor, _skewness(self.contributions[1] - floor * self.contributions[0]))

    def _tails(self, t: float, floor: float, skewness: float) -> tuple[float, float]:
        units = self.df + 1
        g = skewness / math.sqrt(units)
        straight = t + g * t * t / 3 + g * g * t**3 / 27 + g / 6
        passing, failing = (
            max(t_tail(sign * t, self.df), t_tail(sign * straight, self.df)) for sign in (1, -1)
        )
        ours, theirs = (min(each, units) for each in self.scored)
        return max(passing, floor**ours if floor < 1 else 0.0), max(
            failing, floor**-theirs if floor > 1 else 0.0
        )

    def interval(self, level: float) -> tuple[float, float]:
        """The ratios >= 0 around the estimate that are not rejected at (1 - level) / 2 a side.

        The upper end is infinite where the incumbent's mean is not clearly above 0; where the
        set is then in two pieces, or everything, the answer is the smallest interval up to
        infinity that covers it. Needs a positive incumbent mean.
        """
        low, high = self._fieller(level)
        if self.contributions is None:
            return low, high
        skewness, alpha = (
            _skewness_by_ratio(self.contributions, self.candidate / self.incumbent),
            (1 - level) / 2,
        )

        def rejected(ratio: float, side: int) -> bool:
            t = self.t(ratio)
            return t is not None and self._tails(t, ratio, skewness(ratio))[side] <= alpha

        if low > 0:
            low = _last_kept(low, 1 / _STEP, lambda ratio: rejected(ratio, 0))
        if 0 < high < math.inf:
            high = _last_kept(high, _STEP, lambda ratio: rejected(ratio, 1))
        return low, high

    def _fieller(self, level: float) -> tuple[float, float]:
        critical = t_quantile(0.5 + level / 2, self.df) ** 2
        a = self.incumbent**2 - critical * self.var_incumbent
        half_b = self.incumbent * self.candidate - critical * self.covariance
        c = self.candidate**2 - critical * self.var_candidate
        root = math.sqrt(max(half_b * half_b - a * c, 0.0))
        if a > 0:
            return max((half_b - root) / a, 0.0), max((half_b + root) / a, 0.0)
        if a < 0 < c:  # the rejected ratios lie between the roots, and 0 is one of them
            return (half_b - root) / a, math.inf
        return 0.0, math.inf


def paired_means(pairs: Pairs) -> PairedMeans | None:
    """Means and their covariance for two or more clusters (pairs, without clusters); else None.

    Degrees of freedom are G - 1. Under weights G is Kish's effective number of clusters,
    (sum W_g)^2 / sum W_g^2, for the matrix as for the degrees of freedom.
    """
    n = pairs.n
    weight = np.full(n, 1.0 / n) if pairs.weight is None else pairs.weight
    means = np.array([weight @ pairs.incumbent, weight @ pairs.candidate])
    parts = np.stack([weight * (pairs.incumbent - means[0]), weight * (pairs.candidate - means[1])])
    scored = np.stack([pairs.incumbent, pairs.candidate]) > 0
    if pairs.group is not None:
        scored = np.stack([np.bincount(pairs.group, weights=row) > 0 for row in scored])
        parts = np.stack([np.bincount(pairs.group, weights=row) for row in parts])
        weight = np.bincount(pairs.group, weights=weight)
    units = parts.shape[1] if pairs.weight is None else _effective(weight)
    if units < 1.0 + 1e-9:
        return None
    matrix = units / (units - 1) * (parts @ parts.T)
    return PairedMeans(
        incumbent=float(means[0]),
        candidate=float(means[1]),
        var_incumbent=float(matrix[0, 0]),
        var_candidate=float(matrix[1, 1]),
        covariance=float(matrix[0, 1]),
        df=units - 1,
        contributions=parts,
        scored=(int(scored[0].sum()), int(scored[1].sum())),
    )


def _skewness(d: FloatArray) -> float:
    """The third standardised moment; 0 where nothing varies."""
    centred = d - d.mean()
    spread = math.sqrt(float((centred**2).mean()))
    return float((centred**3).mean()) / spread**3 if spread > 0 else 0.0


def _skewness_by_ratio(contributions: FloatArray, centre: float) -> Callable[[float], float]:
    """Return the skewness of d as a function of the ratio, from sums that are taken once.

    They are of d at the ratio `centre`, near which d may cancel.
    """
    b = contributions[0]
    d = contributions[1] - centre * b
    d2, b2 = d * d, b * b
    second = float(d2.sum()), float(d @ b), float(b2.sum())
    third = float(d2 @ d), float(d2 @ b), float(d @ b2), float(b2 @ b)

    def skewness(ratio: float) -> float:
        r = ratio - centre
        spread = second[0] - 2 * r * second[1] + r * r * second[2]
        if spread <= 0:
            return 0.0
        cubes = third[0] - 3 * r * third[1] + 3 * r * r * third[2] - r**3 * third[3]
        return math.sqrt(len(b)) * max(-1.0, min(cubes / math.pow(spread, 1.5), 1.0))

    return skewness


def _last_kept(kept: float, step: float, is_rejected: Callable[[float], bool]) -> float:
    """Return the last ratio from `kept` on that is not rejected, by steps of a factor and halving.

    The bound by the number of clusters begins anew at 1, which is therefore never stepped over.
    """
    for _ in range(_MOST_STEPS):
        beyond = kept * step
        if (kept - 1) * (beyond - 1) < 0:
            beyond = 1.0
        if is_rejected(beyond):
            for _ in range(_HALVINGS):
                middle = (kept + beyond) / 2
                kept, beyond = (kept, middle) if is_rejected(middle) else (middle, beyond)
            return kept
        kept = beyond
    return math.inf if step > 1 else 0.0


def _effective(weight: FloatArray) -> float:
    return float(weight.sum() ** 2 / (weight @ weight))
