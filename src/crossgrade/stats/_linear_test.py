"""The t test on d = c - r b for graded, clustered or weighted scores.

One formula serves all three. An observation is a pair or a cluster, with its two mean scores and its
weight W (weights sum to 1; a cluster's is the sum of its pairs'). Each mean is linearised into one
contribution an observation, z_g = W_g (x_g - mean), and the covariance matrix of the two means is
G / (G - 1) times the sum of z_g z_g' (D. A. Binder, International Statistical Review 51 (1983)
279-292). G is the number of observations where they weigh alike, else Kish's effective number,
(sum W)^2 / sum W^2, for the matrix as for the degrees of freedom G - 1 (L. Kish, Survey Sampling,
1965, section 11.7): a few heavy clusters are worth less than their number.

Scores of answers that are good or worthless are skewed, and t then takes a run of luck for precision.
A tail is therefore never smaller than any of these:

- that of the statistic with its skewness removed (P. Hall, "On the removal of skewness by
  transformation", J. R. Statist. Soc. B 54 (1992) 221-228, the cubic);
- the chance that a failure too rare to be seen makes up the difference. At worst a failure costs
  r (the incumbent right, the candidate worthless). Were the mean d of the rest as it is seen, failures
  on a share q = d / (d + r) would bring it to 0, and G observations show none with probability
  (1 - q)^G = (r / (r + d))^G. Where some observations weigh more, failures on the heavy ones alone are
  allowed for as well (`_unseen`). For a fail the same holds of rare gains, which are worth 1 at most. Where
  every pair is equal this is r^G: the chance that G pairs show no failure where the candidate fails
  on the share 1 - r that the floor forgives;
- below 5 %, as where Holm compares many segments, that of t with one more observation as bad as the
  worst: in full below 0.4 %, in proportion between. Where people's labels correct a judge, always.
"""

import math
from dataclasses import dataclass

import numpy as np

from crossgrade.stats._pairs import FloatArray, Pairs
from crossgrade.stats._tails import t_tail

_NO_VARIANCE = 1e-24  # of a mean of scores in [0, 1]: rounding, not variation
_FARTHEST = 1e50
_USUAL, _STRICT = 0.05, 0.004  # p-values between which one more observation comes to matter
_MOST_PARTS = 20_000
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
    def value(self) -> float:
        """The ratio of the means; 1 where the incumbent scores nothing."""
        return self.candidate / self.incumbent if self.incumbent > 0 else 1.0

    @property
    def varies_nowhere(self) -> bool:
        """Whether both models scored the same on every observation."""
        return self.var_incumbent + self.var_candidate <= _NO_VARIANCE

    def t(self, ratio: float) -> float | None:
        """Return the t statistic of H0: R = ratio (None if nothing varies)."""
        variance = self.var_candidate - 2 * ratio * self.covariance + ratio * ratio * self.var_incumbent
        if variance <= _NO_VARIANCE + _CANCELLED * (self.var_candidate + ratio * ratio * self.var_incumbent):
            return None
        return (self.candidate - ratio * self.incumbent) / math.sqrt(variance)

    @classmethod
    def of(cls, scores: FloatArray, weight: FloatArray) -> "PairedMeans":
        """Return the means of `scores`, shape (2, G), under weights that sum to 1."""
        means = scores @ weight
        parts = weight * (scores - means[:, None])
        units = 1.0 / float(weight @ weight)
        matrix = units / (units - 1) * (parts @ parts.T)
        return cls(
            incumbent=float(means[0]),
            candidate=float(means[1]),
            var_incumbent=float(matrix[0, 0]),
            var_candidate=float(matrix[1, 1]),
            covariance=float(matrix[0, 1]),
            df=units - 1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearTest:
    """The means with what makes their tails stricter (see the module); `units` is G.

    `parts` are the contributions of the observations to both means, shape (2, observations), of people's
    labels alone where those correct a judge (`labelled`); None if there are too many for one more to
    matter. `heaviest` are the shares of the traffic of the 1, 2, ... heaviest observations, None if all
    weigh alike. `settled` is the share of the variance of d at the floor that further labels leave as it
    is, where labels are drawn with unequal probabilities. `rarest` is then how many observations there
    would be, were all drawn as rarely as the rarest: failures may be where hardly anybody looks (None: G).
    """

    means: PairedMeans
    skewness: "Skewness"
    units: float
    parts: FloatArray | None
    heaviest: FloatArray | None = None
    labelled: bool = False
    settled: float = 0.0
    rarest: float | None = None

    def tails(self, ratio: float) -> tuple[float, float]:
        """Return the p-values of R < ratio and of R >= ratio."""
        if self.means.t(ratio) is None:
            return 1.0, 1.0
        seen, unseen = self.tails_seen(ratio), self.unseen(ratio)
        return max(seen[0], unseen[0]), max(seen[1], unseen[1])

    def _unseen(self, share: float) -> float:
        """Return the chance that what happens on this share of the traffic shows in no observation.

        It may happen on the heavy ones alone. On the k heaviest, which have the share W_k together, it
        happens at the rate share / W_k, and none of them shows it with the chance (1 - share / W_k)^k.
        The largest counts, and that of G equal observations.
        """
        alike: float = math.pow(1.0 - share, self.units if self.rarest is None else self.rarest)
        if self.heaviest is None:
            return alike
        rest = np.maximum(1.0 - share / self.heaviest, 0.0)
        return max(alike, float((rest ** np.arange(1, len(rest) + 1)).max()))

    def tails_seen(self, ratio: float) -> tuple[float, float]:
        """Return the p-values without failures and gains that are too rare to be seen."""
        t, df = self.means.t(ratio), self.means.df
        if t is None or not math.isfinite(t) or df <= 0:
            return 1.0, 1.0
        straight = _straightened(t, self.skewness.at(ratio))
        above = max(t_tail(t, df), t_tail(straight, df))
        below = max(t_tail(-t, df), t_tail(-straight, df))
        if self.parts is None or not (self.labelled or min(above, below) < _USUAL):
            return above, below
        lowest, highest = self._with_one_more(self._mean(ratio), t, ratio)
        return self._stricter(above, t_tail(lowest, df)), self._stricter(below, t_tail(-highest, df))

    def _stricter(self, p: float, with_one_more: float) -> float:
        """Return p as far raised to that with one more observation as its size asks for.

        All the way for labels, few of which decide. Otherwise not at all at 5 %, all the way from 0.4 %
        on, and in proportion to the logarithm between, since skewness and kurtosis matter far out.
        """
        with_one_more = max(p, with_one_more)
        if self.labelled:
            return with_one_more
        if p >= _USUAL or p <= 0:
            return p
        share = min(math.log(_USUAL / p) / math.log(_USUAL / _STRICT), 1.0)
        return math.pow(p, 1 - share) * math.pow(with_one_more, share)

    def unseen(self, ratio: float) -> tuple[float, float]:
        """Return the chances that no observation shows the failures, or the gains, that make up for d."""
        mean = self._mean(ratio)
        failures, gains = max(mean, 0.0) / (ratio + max(mean, 0.0)), max(-mean, 0.0) / (1.0 - min(mean, 0.0))
        return self._unseen(failures), self._unseen(gains)

    def _mean(self, ratio: float) -> float:
        return self.means.candidate - ratio * self.means.incumbent

    def _with_one_more(self, mean: float, t: float, ratio: float) -> tuple[float, float]:
        """Return t after one more observation of the lowest, and of the highest, contribution to d."""
        if self.parts is None or not mean or not t:
            return t, t
        d = self.parts[1] - ratio * self.parts[0]
        old = self.units / (self.units + 1)
        variance = (mean / t) ** 2

        def after(part: float) -> float:
            return (mean + old * part) / (old * math.sqrt(variance + part * part))

        return after(float(d.min())), after(float(d.max()))


def linear_test(pairs: Pairs) -> LinearTest | None:
    """Return the test of two or more observations; None of fewer (or of no effective two)."""
    if not pairs.n:
        return None
    weight = np.full(pairs.n, 1.0 / pairs.n) if pairs.weight is None else pairs.weight
    scores = np.stack([pairs.incumbent, pairs.candidate])
    if pairs.group is not None:
        total = np.bincount(pairs.group, weights=weight)
        sums = np.stack([np.bincount(pairs.group, weights=weight * row) for row in scores])
        scores = sums / np.maximum(total, 1e-300)
        weight = total
    units = 1.0 / float(weight @ weight)
    if units < 1.0 + 1e-9:
        return None
    means = PairedMeans.of(scores, weight)
    parts = weight * (scores - np.array([[means.incumbent], [means.candidate]]))
    heaviest = None
    if weight.max() > weight.min() * (1 + 1e-9):
        heaviest = np.minimum(np.cumsum(np.sort(weight)[::-1]), 1.0)
    return LinearTest(
        means=means,
        skewness=Skewness(parts, means.value, units),
        units=units,
        parts=parts if parts.shape[1] <= _MOST_PARTS else None,
        heaviest=heaviest,
    )


class Skewness:
    """The skewness of the sum of contributions of d, as a function of the ratio.

    From sums that are taken once, at the ratio `centre`, near which d may cancel. `units` is the
    effective number of observations, which makes the skewness of unequal ones larger.
    """

    __slots__ = ("_centre", "_factor", "_second", "_third")

    def __init__(self, parts: FloatArray, centre: float, units: float) -> None:
        b = parts[0]
        d = parts[1] - centre * b
        d2, b2 = d * d, b * b
        self._centre = centre
        self._second = float(d2.sum()), float(d @ b), float(b2.sum())
        self._third = float(d2 @ d), float(d2 @ b), float(d @ b2), float(b2 @ b)
        self._factor = math.sqrt(max(len(b) / units, 1.0))

    def at(self, ratio: float) -> float:
        """Return the skewness at a ratio, in [-1, 1]; 0 where nothing varies."""
        r = ratio - self._centre
        if abs(r) > _FARTHEST:  # far from the data; its third power is no number any more
            return math.copysign(1.0, -self._third[3] * r)
        spread = self._second[0] - 2 * r * self._second[1] + r * r * self._second[2]
        if spread <= 0:
            return 0.0
        cubes = self._third[0] - 3 * r * self._third[1] + 3 * r * r * self._third[2] - r**3 * self._third[3]
        return self._factor * max(-1.0, min(cubes / math.pow(spread, 1.5), 1.0))


def _straightened(t: float, g: float) -> float:
    """Return t with the skewness g of its mean removed, by Hall's cubic.

    Where skewness and t have opposite signs the cubic flattens at |t| = 3 / |g| and rises again beyond,
    where it is no approximation any more. From there on it stays as it is there.
    """
    if g * t < 0:
        t = math.copysign(min(abs(t), 3.0 / abs(g)), t)
    return t + g * t * t / 3 + g * g * t**3 / 27 + g / 6
