"""The t test on d = c - r b for graded, clustered or weighted scores, and Fieller's interval.

One formula serves all three. Each mean is linearised into one contribution a cluster,
z_g = sum of w_i (x_i - mean) over the cluster's pairs (weights summing to 1), and the
covariance matrix of the two means is G / (G - 1) times the sum of z_g z_g' over the G clusters;
where every pair is its own cluster and all weights are equal this is the ordinary one
(D. A. Binder, International Statistical Review 51 (1983) 279-292). The statistic for any r
follows from the two means and that matrix, and inverting it in r is a quadratic equation
(E. C. Fieller, J. R. Statist. Soc. B 16 (1954) 175-185).
"""

import math
from dataclasses import dataclass

import numpy as np

from crossgrade.stats._distributions import t_quantile
from crossgrade.stats._pairs import FloatArray, Pairs

_NO_VARIANCE = 1e-24  # of a mean of scores in [0, 1]: rounding, not variation
_CANCELLED = 1e-13  # of the variances that a difference is taken of: the same


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedMeans:
    """Means of both scores, the covariance matrix of the means, and its degrees of freedom."""

    incumbent: float
    candidate: float
    var_incumbent: float
    var_candidate: float
    covariance: float
    df: float

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

    def interval(self, level: float) -> tuple[float, float]:
        """The ratios >= 0 not rejected at (1 - level) / 2 a side, as one interval.

        The upper end is infinite where the incumbent's mean is not clearly above 0; where the
        set is then in two pieces, or everything, the answer is the smallest interval up to
        infinity that covers it. Needs a positive incumbent mean.
        """
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
    if pairs.group is not None:
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
    )


def _effective(weight: FloatArray) -> float:
    return float(weight.sum() ** 2 / (weight @ weight))
