"""The retention test at a fixed number of pairs."""

import math
from collections.abc import Hashable, Iterable

from numpy.typing import ArrayLike

from crossgrade.stats._distributions import normal_quantile
from crossgrade.stats._inversion import Tails, bounds
from crossgrade.stats._linear_test import LinearTest, PairedMeans, linear_test
from crossgrade.stats._pairs import Pairs, read_floor, read_pairs, read_rate
from crossgrade.stats._result import Outcome, Retention
from crossgrade.stats._score_test import PairedTable

LEAST_UNITS = 20
"""A fixed test of fewer pairs, or effective clusters, than this is not made.

With 16 pairs that both models get right the score test already passes at 5 %, where the exact
chance under the floor 0.85 is 0.85**16 = 7.4 %; from 20 pairs on it is below 4 %.
"""

_SETTLING_POWER = 0.8
MOST_NEEDED = 100_000
"""More pairs than this are no practical advice: the candidate is at the floor."""


def retention(
    incumbent: ArrayLike,
    candidate: ArrayLike,
    floor: float = 0.85,
    alpha: float = 0.05,
    clusters: Iterable[Hashable] | None = None,
    *,
    weights: ArrayLike | None = None,
    confidence: float | None = None,
) -> Retention:
    """Test whether the candidate retains at least `floor` of the incumbent's mean score.

    `incumbent` and `candidate` are scores in [0, 1] of the two models on the same n samples,
    in the same order; `clusters` labels samples that share a document, template or
    conversation; `weights` are shares of traffic, in any unit. The outcome is "pass" when
    R < floor is rejected at `alpha`, "fail" when R >= floor is rejected at `alpha`.

    - Right and wrong (0 and 1) alone: the constrained score test (`_score_test`).
    - Graded, clustered or weighted: the t test on c - floor b (`_linear_test`) with G - 1
      degrees of freedom for G observations (effective ones under unequal weights), made stricter
      where the scores are skewed.

    Each bound has `confidence` by itself, 1 - alpha where None: then it agrees with the outcome.
    Too little data, an incumbent that never scores, and scores that never vary give an undecided
    result with its `reason`. What cannot be scores raises `UsageError`.
    """
    test = FixedRetention(read_pairs(incumbent, candidate, clusters, weights), floor, alpha)
    outside = None if confidence is None else 1 - read_rate("confidence", confidence)
    return test.result(outside, outside)


class FixedRetention:
    """The test on pairs that are all there: its p-values at the floor, and bounds at any level."""

    def __init__(self, pairs: Pairs, floor: float = 0.85, alpha: float = 0.05) -> None:
        self.pairs = pairs
        self.floor = read_floor(floor)
        self.alpha = read_rate("alpha", alpha)
        self.p_value, self.p_value_below = 1.0, 1.0
        self.incumbent_mean, self.candidate_mean = _means(pairs)
        self.method, self.reason, tails, units = _choose(pairs, self.floor)
        self._rough = tails
        self._tails = tails if units >= LEAST_UNITS - 1e-9 else None
        if tails is not None and self._tails is None:
            self.reason = _too_few(pairs, units)
        self._settle()

    @classmethod
    def by(
        cls,
        test: LinearTest | None,
        pairs: Pairs,
        *,
        floor: float,
        alpha: float,
        method: str,
        reason: str,
    ) -> "FixedRetention":
        """Make the test from other means of the same pairs; `reason` says why where there are none."""
        self = cls.__new__(cls)
        self.pairs, self.method = pairs, method
        self.floor, self.alpha = read_floor(floor), read_rate("alpha", alpha)
        self.p_value, self.p_value_below = 1.0, 1.0
        self.incumbent_mean, self.candidate_mean = _means(pairs)
        if test is not None:
            self.incumbent_mean, self.candidate_mean = test.means.incumbent, test.means.candidate
        self.reason, self._tails = (reason, None) if test is None else _by_t(test, self.floor)
        self._rough = None  # how many more pairs it takes depends on who scores them
        self._settle()
        return self

    def _settle(self) -> None:
        if self._tails is not None:
            self.p_value, self.p_value_below = self._tails(self.floor)

    @property
    def value(self) -> float | None:
        """The retention in the data; None where the incumbent scores nothing."""
        b, c = self.incumbent_mean, self.candidate_mean
        return None if b is None or c is None or b <= 0 else c / b

    @property
    def outcome(self) -> Outcome:
        """What the test says at `alpha`."""
        if self.p_value <= self.alpha:
            return "pass"
        return "fail" if self.p_value_below <= self.alpha else "undecided"

    def bounds(self, low_alpha: float, high_alpha: float) -> tuple[float | None, float | None]:
        """Return the bounds that are dual to the test at these levels; None where undefined."""
        if self._tails is None or self.value is None:
            return None, None
        return bounds(self._tails, self.value, self.floor, low_alpha, high_alpha)

    def result(self, low_alpha: float | None = None, high_alpha: float | None = None) -> Retention:
        """Return the result, with bounds at these levels (None: `alpha`)."""
        low_alpha = self.alpha if low_alpha is None else low_alpha
        high_alpha = self.alpha if high_alpha is None else high_alpha
        low, high = self.bounds(low_alpha, high_alpha)
        reason = self.reason
        if reason is None and high is not None and math.isinf(high):
            reason = "the incumbent's mean is not clearly above 0, so there is no upper bound"
        pairs = self.pairs
        return Retention(
            value=self.value,
            low=low,
            high=high,
            low_confidence=1 - low_alpha,
            high_confidence=1 - high_alpha,
            n=pairs.n,
            floor=self.floor,
            alpha=self.alpha,
            outcome=self.outcome,
            p_value=self.p_value,
            p_value_below=self.p_value_below,
            method=self.method,
            incumbent_mean=self.incumbent_mean,
            candidate_mean=self.candidate_mean,
            discordant=int((pairs.incumbent != pairs.candidate).sum()),
            clusters=None if pairs.group is None else int(pairs.group.max()) + 1,
            needed=self.needed if self.outcome == "undecided" else None,
            reason=reason,
        )

    @property
    def direction(self) -> tuple[int, float]:
        """Where the data point (0: above the floor, 1: below) and with which z, 0 where it is not known.

        Of too few pairs for a test this is a rough figure, good for advice alone.
        """
        if self._rough is None or self.value is None:
            return 0, 0.0
        tails = self._rough(self.floor)
        side = 0 if tails[0] <= tails[1] else 1
        p = max(tails[side], 1e-300)
        return side, normal_quantile(1 - p) if p < 0.5 else 0.0

    @property
    def needed(self) -> int | None:
        """How many pairs in all would settle it with 80 % power if the data so far tell the truth.

        The statistic grows with the square root of n, so n ((z_alpha + z_power) / |z|)^2: a rough
        figure, and None where the difference is too small for a hundred thousand pairs.
        """
        z = self.direction[1]
        if not z:
            return None
        factor = ((normal_quantile(1 - self.alpha) + normal_quantile(_SETTLING_POWER)) / z) ** 2
        n = math.ceil(self.pairs.n * max(factor, 1.0))
        return n if n <= MOST_NEEDED else None


def _means(pairs: Pairs) -> tuple[float | None, float | None]:
    if not pairs.n:
        return None, None
    if pairs.weight is None:
        return float(pairs.incumbent.mean()), float(pairs.candidate.mean())
    return float(pairs.weight @ pairs.incumbent), float(pairs.weight @ pairs.candidate)


def _choose(pairs: Pairs, floor: float) -> tuple[str, str | None, Tails | None, float]:
    """Return the method, why it says nothing (else None), its p-values, and how many units it rests on."""
    if pairs.group is None and pairs.weight is None and pairs.binary:
        return "score test", *_by_score(pairs), float(pairs.n)
    method = "t" if pairs.group is None else "cluster t"
    method = method if pairs.weight is None else f"weighted {method}"
    test = linear_test(pairs)
    if test is None:
        unit = "pairs" if pairs.group is None else "clusters"
        found = "fewer than two" if pairs.n else "no"
        return method, f"{found} {unit} to see the variation between", None, 0.0
    return method, *_by_t(test, floor), test.means.df + 1


def _by_score(pairs: Pairs) -> tuple[str | None, Tails | None]:
    if not pairs.n:
        return "no pairs to compare", None
    table = PairedTable.of(pairs.incumbent, pairs.candidate)
    if not table.n11 + table.n10:
        return _no_denominator(pairs.n), None
    return None, table.tails


def _by_t(test: LinearTest, floor: float) -> tuple[str | None, Tails | None]:
    means: PairedMeans = test.means
    if not means.incumbent > 0:
        return _no_denominator(None), None
    if means.varies_nowhere:
        return "every pair has the same scores, so nothing shows their variation", None
    if means.t(floor) is None:
        return f"every pair has the same candidate - {floor:g} incumbent", test.tails
    return None, test.tails


def _too_few(pairs: Pairs, units: float) -> str:
    unit = "pairs" if pairs.group is None else "clusters"
    counted = "" if pairs.weight is None and pairs.group is None else ", counted by weight,"
    return f"{units:.3g} {unit}{counted} are too few: a fixed test needs {LEAST_UNITS}"


def _no_denominator(n: int | None) -> str:
    where = "every pair" if n is None else f"all {n} pairs"
    return f"the incumbent scored 0 on {where}, so the ratio has no denominator"
