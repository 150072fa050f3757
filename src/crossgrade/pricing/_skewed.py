"""Intervals of mean costs, and of what two mean costs differ by, for costs that are skewed.

Costs of calls spread like a log-normal: most are small and a few make up the bill. A sample then
rarely holds its share of the largest ones, and Student's interval covers the mean 82 % of the time at
60 calls whose logarithms have a standard deviation of 1.5, where 95 % is meant. Up to three intervals
are taken, and the end further out on either side is returned:

- Student's t of the linearised residuals w (x - r y) / sum(w y) of the ratio r (W. G. Cochran,
  Sampling Techniques, 3rd edition, 1977, section 6.4), with Kish's effective number of units.
- The same with the skewness of the statistic removed (P. Hall, "On the removal of skewness by
  transformation", J. R. Statist. Soc. B 54 (1992) 221-228, the cubic).
- Where the logarithms look normal, that of a log-normal model. The logarithm of a mean is then
  m + v / 2 for logarithms of mean m and variance v, estimated with variance v / n + v^2 / (2 (n - 1))
  (Cox's method: X.-H. Zhou and S. Gao, Statistics in Medicine 16 (1997) 783-790). The estimates for
  two correlated columns are taken as jointly normal, and the interval of a function of both means is
  its range over the ellipse of those values that the estimates do not reject, as for one parameter.

Units are calls or, where samples share a cluster (a document, a conversation), clusters with their
weighted means.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]

_FEWEST_LOGS = 10
"""Fewer units say nothing about how their logarithms are distributed."""

_MOST_LOGS = 100_000
"""With more units the model adds nothing to an interval that follows from the units alone."""

_NORMAL_WITHIN = 9.21
"""The statistic of Jarque and Bera is below it 99 % of the time, or more, for normal logarithms.

Costs that a context limit or a limit on the answer bounds have logarithms with a short tail: the model
then puts the mean too high, so from a few hundred units on it must be found out.
"""

_EQUAL = 1e-20
"""A variance of logarithms that is rounding."""

_MOST_LOG = 700.0
"""Beyond it an exponential is no number."""

_DIRECTIONS = np.linspace(0, 2 * np.pi, 720, endpoint=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Independent units of a ratio sum(w (cost - less)) / sum(w per), by their weighted means.

    `weight` sums to 1. `less` None is nothing to subtract, `per` None is 1 in every unit. `value` is the
    ratio.
    """

    value: float
    weight: Column
    cost: Column
    less: Column | None
    per: Column | None

    @property
    def effective(self) -> float:
        """Kish's effective number: the number of units where all weigh alike."""
        return float(1.0 / (self.weight @ self.weight))

    @property
    def numerator(self) -> Column:
        """What is summed above the line."""
        return self.cost if self.less is None else self.cost - self.less


def units_of(
    cost: Column,
    less: Column | None,
    per: Column | None,
    *,
    weight: Column,
    cluster: NDArray[np.int64] | None,
) -> Units | None:
    """Return rows as independent units: each for itself, or all rows of a cluster together.

    None if there is nothing to divide by: no weight, or `per` is zero in all.
    """
    held = weight > 0
    weight = weight[held]
    columns = [None if each is None else each[held] for each in (cost, less, per)]
    if cluster is not None and len(weight):
        _, groups = np.unique(cluster[held], return_inverse=True)
        sums = np.bincount(groups, weights=weight).astype(np.float64)
        columns = [
            None if each is None else np.bincount(groups, weights=weight * each) / sums for each in columns
        ]
        weight = sums
    first, second, third = columns
    assert first is not None
    if not len(weight):
        return None
    total, shared = float(weight.sum()), float(weight.sum() if third is None else weight @ third)
    if not shared > 0:
        return None
    value = float(weight @ (first if second is None else first - second)) / shared
    return Units(value=value, weight=weight / total, cost=first, less=second, per=third)


def skewed_interval(units: Units, level: float) -> tuple[float, float] | None:
    """Return the interval of the units' ratio; None for fewer than two units."""
    n = units.effective
    if n < 1 + 1e-9:
        return None
    quantile = _t_quantile(level, n - 1)
    low, high = _linear(units, quantile)
    if low < high and n >= _FEWEST_LOGS:
        more = (_log_linear(units, quantile), _log_normal(units, quantile))
        ends = [(low, high), *(each for each in more if each is not None)]
        low, high = min(each[0] for each in ends), max(each[1] for each in ends)
    return (low, high) if units.less is not None or (units.cost < 0).any() else (max(low, 0.0), high)


def _linear(units: Units, quantile: float) -> tuple[float, float]:
    """Return the interval of the ratio, linearised."""
    per: Column | float = 1.0 if units.per is None else units.per
    residual = units.weight * (units.numerator - units.value * per)
    if units.per is not None:
        residual = residual / float(units.weight @ units.per)
    below, above = _distances(residual, units.effective, quantile)
    return units.value - below, units.value + above


def _log_linear(units: Units, quantile: float) -> tuple[float, float] | None:
    """Return the interval of a ratio of two means, its logarithm linearised (None if there is no ratio)."""
    if units.per is None:
        return None
    above_line = units.cost if units.less is None else units.less
    numerator, denominator = float(units.weight @ above_line), float(units.weight @ units.per)
    if not numerator > 0:
        return None
    residual = units.weight * (above_line / numerator - units.per / denominator)
    below, above = _distances(residual, units.effective, quantile)
    low, high = (numerator / denominator * math.exp(min(each, _MOST_LOG)) for each in (-below, above))
    return (low, high) if units.less is None else (1 - high, 1 - low)


def _distances(residual: Column, n: float, quantile: float) -> tuple[float, float]:
    """Return how far the ends are below and above an estimate: the larger of Student's and Hall's."""
    second = float(residual @ residual)
    if second <= 0:
        return 0.0, 0.0
    error = math.sqrt(n / (n - 1) * second)
    skewness = float((residual * residual) @ residual) / second**1.5
    below = max(quantile, _unskewed(quantile, skewness))
    above = max(quantile, -_unskewed(-quantile, skewness))
    return below * error, above * error


def _unskewed(z: float, skewness: float) -> float:
    """Return the t for which t + g t^2 / 3 + g^2 t^3 / 27 + g / 6 = z at skewness g."""
    if abs(skewness) < 1e-9:
        return z
    return 3 / skewness * (math.cbrt(1 + skewness * (z - skewness / 6)) - 1)


def _log_normal(units: Units, quantile: float) -> tuple[float, float] | None:
    """Return the interval of the log-normal model (None if the columns do not look like it)."""
    if len(units.weight) > _MOST_LOGS:
        return None
    if units.less is None:
        return _of_mean(units, units.cost, quantile)
    if units.per is not None:
        return _of_share(units, units.cost, units.less, quantile)
    for sign in (1, -1):
        found = _of_mean(units, sign * units.numerator, quantile)
        if found is not None:
            return found if sign > 0 else (-found[1], -found[0])
    return _of_difference(units, units.cost, units.less, quantile)


def _of_mean(units: Units, column: Column, quantile: float) -> tuple[float, float] | None:
    """Return the interval of a mean, or of a mean over the mean of the units' `per`."""
    found = _log_means(units.weight, column)
    if found is None:
        return None
    middle, variance = float(found.mean[0]), float(found.variance[0, 0])
    if units.per is not None:
        per = float(units.weight @ units.per)
        relative = units.per / per - 1
        middle -= math.log(per)
        variance += float(units.weight**2 @ (relative * (relative - 2 * found.influence)))
    return _exp(middle, quantile * math.sqrt(max(variance, 0.0)))


def _of_share(units: Units, cost: Column, less: Column, quantile: float) -> tuple[float, float] | None:
    """Return the interval of 1 - mean less / mean cost."""
    found = _log_means(units.weight, cost, less)
    if found is None:
        return None
    (v, c), (_, w) = found.variance
    low, high = _exp(found.mean[1] - found.mean[0], quantile * math.sqrt(max(v - 2 * c + w, 0.0)))
    return 1 - high, 1 - low


def _of_difference(units: Units, cost: Column, less: Column, quantile: float) -> tuple[float, float] | None:
    """Return the interval of a difference of means: its range over the ellipse around the estimates.

    The model is of the units in which the two costs differ.
    """
    differ = cost != less
    found = _log_means(units.weight, np.where(differ, cost, 0.0), np.where(differ, less, 0.0))
    if found is None:
        return None
    (v, c), (_, w) = found.variance
    spread = math.sqrt(v)
    across = c / spread if spread > 0 else 0.0
    along = math.sqrt(max(w - across * across, 0.0))
    first = found.mean[0] + quantile * spread * np.cos(_DIRECTIONS)
    second = found.mean[1] + quantile * (across * np.cos(_DIRECTIONS) + along * np.sin(_DIRECTIONS))
    first, second = np.minimum(first, _MOST_LOG), np.minimum(second, _MOST_LOG)
    difference = np.exp(first) - np.exp(second)
    return float(difference.min()), float(difference.max())


@dataclass(frozen=True, slots=True, kw_only=True)
class _LogMeans:
    """Logarithms of the means of columns, with their covariance matrix.

    `influence` is by how much each unit moves the first of them, per weight.
    """

    mean: Column
    variance: NDArray[np.float64]
    influence: Column


def _log_means(weight: Column, *columns: Column) -> _LogMeans | None:
    """Return the model's means; None if a cost is negative or the logarithms do not look normal.

    The units that cost nothing are a share of their own: the logarithms are of the others. A mean is
    that share times the mean of the others, and the logarithms of both add up.
    """
    stacked = np.stack(columns)
    there = stacked != 0
    w = there * weight
    share = w.sum(axis=1, keepdims=True)
    if (stacked < 0).any() or not share.all():
        return None
    w /= share
    overlap = w @ w.T
    n = float(1 / overlap.max())
    if n < _FEWEST_LOGS:
        return None
    logs = np.log(np.where(there, stacked, 1.0))
    middle = (logs * w).sum(axis=1, keepdims=True)
    deviation = np.where(there, logs - middle, 0.0)
    apart = deviation[0] - deviation[-1]
    both = weight * there.all(axis=0)
    if not both.any() or not all(map(_looks_normal, (*deviation, apart), (*w, both))):
        return None
    together = (there * weight) @ there.T
    matrix = n / (n - 1) * ((deviation * weight) @ deviation.T) / together
    present = there / share - 1
    variance = overlap * (matrix + n / (n - 1) * matrix**2 / 2) + (present * weight**2) @ present.T
    return _LogMeans(
        mean=(middle + np.log(share)).ravel() + np.diag(matrix) / 2,
        variance=variance,
        influence=present[0] + w[0] / weight * (deviation[0] + (deviation[0] ** 2 - matrix[0, 0]) / 2),
    )


def _looks_normal(deviation: Column, weight: Column) -> bool:
    """Return whether skewness and kurtosis are those of normal numbers; equal numbers pass.

    (C. M. Jarque and A. K. Bera, International Statistical Review 55 (1987) 163-172.)
    """
    total = float(weight.sum())
    n = total**2 / float(weight @ weight)
    centred = deviation - float(weight @ deviation) / total
    squares = centred * centred
    variance = float(weight @ squares) / total
    if variance <= _EQUAL:
        return True
    skewness = float(weight @ (squares * centred)) / total / variance**1.5
    kurtosis = float(weight @ (squares * squares)) / total / variance**2 - 3
    return bool(n / 6 * (skewness**2 + kurtosis**2 / 4) <= _NORMAL_WITHIN)


def _exp(middle: float, half: float) -> tuple[float, float]:
    return math.exp(min(middle - half, _MOST_LOG)), math.exp(min(middle + half, _MOST_LOG))


def _t_quantile(level: float, df: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, (1 + level) / 2))
