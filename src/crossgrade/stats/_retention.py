"""The result of a retention test, and the test at a fixed number of pairs."""

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from numpy.typing import ArrayLike

from crossgrade.domain import Reason
from crossgrade.stats._linear_test import LinearTest, PairedMeans, linear_test
from crossgrade.stats._pairs import Pairs, read_floor, read_pairs, read_rate
from crossgrade.stats._score_test import PairedTable
from crossgrade.stats._tails import Tails, bounds, normal_quantile

Source: TypeAlias = PairedTable | LinearTest
"""What p-values are computed from."""

LEAST_LABELS = 100
"""Fewer labels than this correct no judge: nothing is tested, whatever the judge says."""

LEAST_UNITS = 20
"""The fewest pairs, or effective clusters, of a fixed test.

With 16 pairs that both models get right the score test already passes at 5 %, although the exact
chance under the floor 0.85 is 0.85**16 = 7.4 %. From 20 pairs on it is below 4 %.
"""

_SETTLING_POWER = 0.8
MOST_NEEDED = 100_000
"""The most pairs to advise: if a test needs more, the candidate is at the floor."""

MOST_FACTOR = 20.0
"""The most to advise as a multiple of the pairs so far: beyond it the statistic is below 0.6."""

Outcome = Literal["pass", "fail", "undecided"]

METHOD_VERSION = 3
"""The version of the retention test, raised whenever the same scores may come out differently.

1: until November 2026. 2: bounds dual to the test; skewness in the score test; one unit of the worst
kind in the t test; Kish's effective number for clusters; weights and clusters in the sequential rule.
3: a judge is tuned for each label on the others.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Retention R = E[candidate] / E[incumbent], its bounds, and the test against a floor.

    `low` is a lower bound of R with confidence `low_confidence`, `high` an upper bound with
    confidence `high_confidence`, each by itself. They are dual to the test: at the confidence
    1 - alpha `low` is at least the floor exactly when the test passes, and `high` is below it
    exactly when the test fails. `value`, `low` and `high` are None if undefined; `reason` then says why,
    and `reason_code` says it to programs. An unbounded upper end is `inf`.

    `p_value` is for H0: R < floor (small means pass), `p_value_below` for H0: R >= floor (small
    means fail). `alpha` is the error rate of each direction. `n` counts pairs, `clusters`
    independent clusters (None: every pair is its own), `discordant` the pairs whose scores differ.
    `e_pass` and `e_fail` are the largest e-values of the bets against the two hypotheses (None in a
    fixed design). `labels` is how many of the pairs people scored (None: no judge is corrected), and
    `effective_labels` what they are worth if they were drawn with unequal probabilities (None: equal).
    `judged` is the retention by the judge's scores alone, if `value` is corrected.
    `needed` is how many pairs (with `labels`: how many labels) in all would probably settle a test that
    is undecided at the levels of the bounds.
    """

    value: float | None
    low: float | None
    high: float | None
    low_confidence: float
    high_confidence: float
    n: int
    floor: float
    alpha: float
    outcome: Outcome
    p_value: float
    p_value_below: float
    method: str
    incumbent_mean: float | None = None
    candidate_mean: float | None = None
    discordant: int | None = None
    clusters: int | None = None
    e_pass: float | None = None
    e_fail: float | None = None
    labels: int | None = None
    effective_labels: float | None = None
    judged: float | None = None
    needed: int | None = None
    reason: str | None = None
    reason_code: str | None = None

    @property
    def judge_alone(self) -> bool:
        """Whether a judge's scores are corrected by too few labels, so that the value is the judge's own."""
        counted = self.labels if self.effective_labels is None else self.effective_labels
        return counted is not None and counted < LEAST_LABELS - 1e-9


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

    Each bound has `confidence` by itself; None means 1 - alpha, at which the bounds agree with the outcome.
    Too little data, an incumbent that never scores, and scores that never vary give an undecided
    result with its `reason`. Raises `UsageError` for values that cannot be scores.
    """
    test = FixedRetention(read_pairs(incumbent, candidate, clusters, weights), floor, alpha)
    if confidence is None:
        return test.result()
    outside = 1 - read_rate("confidence", confidence)
    return replace(test.result(outside, outside), needed=test.result().needed)


def _untested(_floor: float) -> tuple[float, float]:
    return 1.0, 1.0


class FixedRetention:
    """The test on a complete set of pairs: its p-values at the floor, and bounds at any level."""

    _tails: Tails | None
    _seen: Tails

    def __init__(self, pairs: Pairs, floor: float = 0.85, alpha: float = 0.05) -> None:
        self.pairs = pairs
        self.floor = read_floor(floor)
        self.alpha = read_rate("alpha", alpha)
        self.p_value, self.p_value_below = 1.0, 1.0
        self.incumbent_mean, self.candidate_mean = _means(pairs)
        self.labels: int | None = None
        self.effective_labels: float | None = None
        self.judged: float | None = None
        self.method, self.reason, self._source, self._units = _choose(pairs, self.floor)
        self._settle(_unit(pairs))

    @classmethod
    def by(
        cls,
        test: LinearTest | None,
        pairs: Pairs,
        *,
        floor: float,
        alpha: float,
        method: str,
        reason: Reason,
        labels: int,
        effective_labels: float | None = None,
    ) -> "FixedRetention":
        """Make the test from corrected means of the pairs, of which people scored `labels`.

        `reason` says why if there is no test.
        """
        self = cls.__new__(cls)
        self.pairs, self.method = pairs, method
        self.floor, self.alpha = read_floor(floor), read_rate("alpha", alpha)
        self.p_value, self.p_value_below = 1.0, 1.0
        self.incumbent_mean, self.candidate_mean = _means(pairs)
        self.judged = None
        if test is not None:
            self.judged = self.value
            self.incumbent_mean, self.candidate_mean = test.means.incumbent, test.means.candidate
        self.reason, self._source = (reason, None) if test is None else _by_t(test, self.floor)
        self.effective_labels = effective_labels
        self.labels, self._units = labels, 0.0 if test is None else test.units
        self._settle("label" if pairs.group is None else "cluster with a label")
        return self

    def fail_by(self, other: "FixedRetention") -> None:
        """Take the p-value below the floor, and the upper bounds, from another test of the same pairs.

        Scores that are missing then count against either outcome: this test is of the lowest retention that
        they leave possible, the other of the highest.
        """
        if self._tails is None:
            return
        lower, seen = self._tails, self._seen
        self._tails = lambda floor: (lower(floor)[0], other.tails(floor)[1])
        self._seen = lambda floor: (seen(floor)[0], other.tails_seen(floor)[1])
        self.p_value_below = self._tails(self.floor)[1]

    def tails(self, floor: float) -> tuple[float, float]:
        """Return the p-values for and against a retention of at least `floor`, 1 where nothing is tested."""
        return (self._tails or _untested)(floor)

    def tails_seen(self, floor: float) -> tuple[float, float]:
        """Return rough p-values, which advice may use where too few pairs are there for a test."""
        return self._seen(floor)

    def _settle(self, unit: str) -> None:
        """Compute the p-values, unless there are too few observations for a test."""
        self._tails, self._seen = None, _untested
        if self._source is None:
            return
        self._seen = self._source.tails_seen
        if self._units < LEAST_UNITS - 1e-9:
            self.reason = _too_few(self._units, unit)
            return
        self._tails = self._source.tails
        self.p_value, self.p_value_below = self._tails(self.floor)

    @property
    def value(self) -> float | None:
        """The retention in the data (None if the incumbent scores nothing)."""
        b, c = self.incumbent_mean, self.candidate_mean
        return None if b is None or c is None or b <= 0 else c / b

    @property
    def outcome(self) -> Outcome:
        """The outcome at `alpha`."""
        if self.p_value <= self.alpha:
            return "pass"
        return "fail" if self.p_value_below <= self.alpha else "undecided"

    def bounds(self, low_alpha: float, high_alpha: float) -> tuple[float | None, float | None]:
        """Return the bounds that are dual to the test at these levels (None if undefined)."""
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
            reason = Reason(
                "no-upper-bound", "the incumbent's mean is not clearly above 0, so there is no upper bound"
            )
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
            labels=self.labels,
            effective_labels=self.effective_labels,
            judged=self.judged,
            needed=self.needed(low_alpha, high_alpha),
            reason=None if reason is None else reason.text,
            reason_code=None if reason is None else reason.code,
        )

    @property
    def direction(self) -> tuple[int, float]:
        """The side of the floor that the data suggest (0: above, 1: below), and its z (0 if unknown).

        With too few pairs for a test it is a rough figure, good only for advice.
        """
        if self._source is None or self.value is None:
            return 0, 0.0
        tails = self._seen(self.floor)
        side = 0 if tails[0] <= tails[1] else 1
        p = max(tails[side], 1e-300)
        return side, -normal_quantile(p) if p < 0.5 else 0.0

    def needed(self, low_alpha: float, high_alpha: float) -> int | None:
        """Return the total number of pairs (labels, if people correct a judge) that would probably settle it.

        They settle it with 80 % power at these levels, if the effect is as large as the data show. The
        statistic grows with the square root of n, so that is n ((z_alpha + z_power) / |z|)^2, and at least
        as many as rule out that failures are merely rare. None if the test is settled at these levels,
        cannot be made, or has too little data to say.
        """
        side, z = self.direction
        level = (low_alpha, high_alpha)[side]
        if self._tails is None or self._source is None or not z:
            return None
        if min(self.p_value - low_alpha, self.p_value_below - high_alpha) <= 0:
            return None
        factor = ((normal_quantile(1 - level) + normal_quantile(_SETTLING_POWER)) / z) ** 2
        unseen = self._source.unseen(self.floor)[side]
        if unseen > 0:
            factor = max(factor, math.log(level) / math.log(unseen) if unseen < 1 else math.inf)
        if factor > MOST_FACTOR:
            return None
        size = self.pairs.n if self.labels is None else self.labels
        if self.effective_labels is not None and isinstance(self._source, LinearTest):
            return more_labels(size, self.pairs.n, factor, self._source.settled)
        n = max(math.ceil(size * factor), size + 1)
        return n if n <= MOST_NEEDED else None


def more_labels(labels: int, n: int, factor: float, settled: float) -> int | None:
    """Return how many labels of n samples make the variance smaller by `factor` than `labels` do.

    The share `settled` of the variance is that of n samples which people have all scored. The rest shrinks
    with 1 / labels - 1 / n. None if no number of labels does.
    """
    left = (1 / factor - settled) / (1 - settled) if settled < 1 else 0.0
    if left <= 0:
        return None
    wanted = math.ceil(1 / ((1 / labels - 1 / n) * left + 1 / n) - 1e-9)
    return min(max(wanted, labels + 1), n) if labels < n else None


def _means(pairs: Pairs) -> tuple[float | None, float | None]:
    if not pairs.n:
        return None, None
    if pairs.weight is None:
        return float(pairs.incumbent.mean()), float(pairs.candidate.mean())
    return float(pairs.weight @ pairs.incumbent), float(pairs.weight @ pairs.candidate)


def _choose(pairs: Pairs, floor: float) -> tuple[str, Reason | None, "Source | None", float]:
    """Return the method, why there is no result (or None), what gives p-values, and the number of units."""
    if pairs.group is None and pairs.weight is None and pairs.binary:
        return "score test", *_by_score(pairs), float(pairs.n)
    method = "t" if pairs.group is None else "cluster t"
    method = method if pairs.weight is None else f"weighted {method}"
    test = linear_test(pairs)
    if test is None:
        unit = _unit(pairs)
        if not pairs.n:
            return method, Reason("no-pairs", f"no {unit}s to see the variation between"), None, 0.0
        few = Reason("too-few-observations", f"fewer than two {unit}s to see the variation between")
        return method, few, None, 0.0
    return method, *_by_t(test, floor), test.means.df + 1


def _unit(pairs: Pairs) -> str:
    return "pair" if pairs.group is None else "cluster"


def _by_score(pairs: Pairs) -> tuple[Reason | None, PairedTable | None]:
    if not pairs.n:
        return Reason("no-pairs", "no pairs to compare"), None
    table = PairedTable.of(pairs.incumbent, pairs.candidate)
    if not table.n11 + table.n10:
        return _no_denominator(pairs.n), None
    return None, table


def _by_t(test: LinearTest, floor: float) -> tuple[Reason | None, LinearTest | None]:
    means: PairedMeans = test.means
    if not means.incumbent > 0:
        return _no_denominator(None), None
    if means.varies_nowhere and test.units > 1 + 1e-9:  # one unit cannot vary: it is too few
        return (
            Reason("no-variation", "every pair has the same scores, so nothing shows their variation"),
            None,
        )
    if means.t(floor) is None:
        return Reason("no-variation", f"every pair has the same candidate - {floor:g} incumbent"), test
    return None, test


def _too_few(units: float, unit: str) -> Reason:
    """Return the reason "too few observations"; unequal ones count for fewer than their number."""
    noun, _, which = unit.partition(" ")
    nouns = f"{noun}{'' if units <= 1 else 's'}{f' {which}' if which else ''}"
    seen = f"{units:.0f} {nouns} {'is' if units <= 1 else 'are'}"
    if abs(units - round(units)) > 1e-6:
        seen = f"{nouns} of unequal size count as {units:.3g}, which is"
    wanted = f"{noun}s{f' {which}' if which else ''}"
    return Reason("too-few-observations", f"{seen} too few: a fixed test needs {LEAST_UNITS} {wanted}")


def _no_denominator(n: int | None) -> Reason:
    where = "every pair" if n is None or n == 1 else f"all {n:,} pairs"
    return Reason(
        "incumbent-scores-nothing", f"the incumbent scored 0 on {where}, so the ratio has no denominator"
    )
