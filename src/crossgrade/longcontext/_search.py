"""Where a model's quality falls below the floor: which length to ask at next, and what is known.

The curve of quality over x = log2(length in tokens) is taken to be a falling logistic between a base
and a tail, crossing the floor at x*; a grid posterior over (x*, width, base, tail) says where the next
haystack tells most about x* for its tokens. Real curves are no logistics: they fall slowly, level off
and rise again. So the likelihood counts half (a tempered posterior), the search climbs at most an
octave above what it has asked, and it ends only when answers lie on both sides of the estimate.
Simulated error rates, on published answers and on synthetic curves, are in
docs/benchmarks/longcontext.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from crossgrade.errors import UsageError
from crossgrade.stats import Proportion, proportion_interval

TEMPER = 0.5
SURE = 0.85
"""Posterior share within a factor of 2 at which the search ends: tempered, so simulated runs do better."""
CACHED_PRICE = 0.1
ALIKE = 0.1
"""Correlation assumed between the questions on one haystack."""
_STEP = 0.25
_WIDTHS = np.array([0.15, 0.3, 0.6, 1.0, 1.6, 2.6, 4.0])
_BASES = np.array([0.87, 0.9, 0.94, 0.97, 1.0, 1.05, 1.2])
_TAILS = np.array([0.02, 0.2, 0.45, 0.6, 0.7, 0.78])
_LEAST, _MOST = 0.005, 0.995
_SETTLE_BASE = 12
_MOST_ANSWERS = 100_000
_SPAN_OCTAVES = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What was answered at one length: `right` may be a sum of shares; `share` has a Wilson interval."""

    tokens: int
    right: float
    n: int
    haystacks: int
    share: Proportion


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveLength:
    """The first length at which quality is under the floor, with an interval; None is not determined.

    `low` and `high` hold it with `level` credibility, where a `high` of the longest tested length stands
    for that and more; `at_least` and `at_most` say that it lies beyond the lengths that were to be
    tested. `reason` says why there is no value.
    """

    tokens: int | None
    low: int
    high: int
    level: float
    floor: float
    at_least: bool = False
    at_most: bool = False
    reason: str | None = None


class LengthSearch:
    """Choose lengths and collect answers until the effective length is known within a factor of 2."""

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        base: float,
        floor: float = 0.85,
        questions: int = 5,
        level: float = 0.95,
        sure: float = SURE,
        beside: int = 20,
        most_answers: int = 2_000,
        cached_price: float = CACHED_PRICE,
    ) -> None:
        """Plan a search over `lengths` (tokens, rising).

        `base` is the model's score on the gold passages alone and `floor` the share of it that must
        hold; `questions` are asked on each haystack; `beside` answers are wanted within 1.5 octaves on
        either side of the estimate; it ends when `sure` of the posterior lies within an octave of its
        median. `level` is that of the interval. Raises UsageError for lengths or scores that make no search.
        """
        if len(lengths) < 2 or any(a >= b for a, b in pairwise(lengths)):
            raise UsageError("a search needs two or more lengths, in rising order")
        if not (0 < base <= 1 and 0 < floor < 1 and 1 <= questions <= 100 and lengths[0] > 0):
            raise UsageError(
                f"base {base}, floor {floor}, {questions} questions a haystack: no search can start",
                hint="a model that cannot answer from the gold passage alone cannot be probed at length",
            )
        self.lengths = tuple(lengths)
        self.floor = floor * base
        self.level = level
        self._sure = sure
        self.questions = questions
        self._beside = beside
        self._most = min(most_answers, _MOST_ANSWERS)
        self._x = np.log2(np.asarray(lengths, dtype=np.float64))
        self._price = np.asarray(lengths, dtype=np.float64) * (1 + (questions - 1) * cached_price)
        self.asked = np.zeros(len(lengths), dtype=np.int64)
        self.right = np.zeros(len(lengths))
        self.haystacks = np.zeros(len(lengths), dtype=np.int64)
        self._build(base)

    def _build(self, base: float) -> None:
        self._at = np.arange(self._x[0] - 1, self._x[-1] + 2 + _STEP / 2, _STEP)
        at, width, top, tail = np.meshgrid(self._at, _WIDTHS, _BASES * base, _TAILS * base, indexing="ij")
        possible = (top > self.floor + 0.01) & (tail < self.floor - 0.01)
        ratio = np.where(possible, (top - self.floor) / np.where(possible, self.floor - tail, 1), 1)
        centre = at - width * np.log(np.where(possible, ratio, 1))
        x = self._x[:, None, None, None, None]
        share = tail + (top - tail) / (1 + np.exp(np.clip((x - centre) / width, -60, 60)))
        share = np.clip(share, _LEAST, _MOST).reshape(len(self._x), len(self._at), -1)
        keep = possible.reshape(len(self._at), -1).any(axis=0)
        self._share = share[:, :, keep]
        self._yes, self._no = np.log(self._share), np.log1p(-self._share)
        self._log_weight = np.where(possible.reshape(len(self._at), -1)[:, keep], 0.0, -np.inf)

    def add(self, index: int, right: float, n: int) -> None:
        """Take a haystack's answers: `right` of `n` questions at `lengths[index]`."""
        if not 0 <= right <= n:
            raise UsageError(f"{right} right answers of {n}")
        counted = TEMPER / (1 + (n - 1) * ALIKE) if n else 0.0
        self._log_weight = self._log_weight + counted * (
            right * self._yes[index] + (n - right) * self._no[index]
        )
        self._log_weight -= self._log_weight.max()
        self.asked[index] += n
        self.right[index] += right
        self.haystacks[index] += 1

    def next(self) -> int | None:
        """Return the index of the length to ask the next haystack at, or None when enough is known."""
        if self.asked[0] < _SETTLE_BASE:
            return 0
        total = int(self.asked.sum())
        weight = self._weights()
        marginal = weight.sum(axis=1)
        median = self._median(marginal)
        sure = self._is_sure(marginal, median)
        below, above = self._sides(median)
        enough_below, enough_above = self._enough(median)
        if total >= self._most or (sure and enough_below and enough_above):
            return None
        reach = self._x[np.flatnonzero(self.asked)[-1]] + 1 + 1e-9
        gain = np.where(self._x <= reach, self._gain(weight, marginal) / self._price, -1.0)
        if sure:
            wanted = below if not enough_below else above
            if (wanted & (self._x <= reach)).any():
                gain = np.where(wanted, gain, -1.0)
        return int(np.argmax(gain))

    def rungs(self) -> tuple[Rung, ...]:
        """Return what was answered at each length that was asked."""
        return tuple(
            Rung(
                tokens=self.lengths[i],
                right=float(self.right[i]),
                n=int(self.asked[i]),
                haystacks=int(self.haystacks[i]),
                share=proportion_interval(float(self.right[i]), int(self.asked[i])),
            )
            for i in np.flatnonzero(self.asked)
        )

    def result(self) -> EffectiveLength:
        """Return the effective length as far as it is known; `tokens` None while it is not."""
        marginal = self._weights().sum(axis=1)
        heap = np.cumsum(marginal)
        median = self._median(marginal)
        low = float(self._at[int(np.searchsorted(heap, (1 - self.level) / 2))])
        high = float(self._at[min(int(np.searchsorted(heap, (1 + self.level) / 2)), len(heap) - 1)])
        first, last = self.lengths[0], self.lengths[-1]
        beyond, short = bool(median >= self._x[-1]), bool(median <= self._x[0])
        known = self._is_sure(marginal, median) and all(self._enough(median))
        return EffectiveLength(
            tokens=round(min(max(2**median, first), last)) if known else None,
            low=min(round(2**low), last),
            high=min(round(2**high), last),
            level=self.level,
            floor=self.floor,
            at_least=known and beyond,
            at_most=known and short,
            reason=None if known else f"{int(self.asked.sum())} answers leave more than a factor of 2",
        )

    def _is_sure(self, marginal: np.ndarray, median: float) -> bool:
        """Return whether x* is known within an octave, or to lie beyond the one or the other end."""
        near = marginal[np.abs(self._at - median) <= 1 + 1e-9].sum()
        ends = (marginal[self._at >= self._x[-1]].sum(), marginal[self._at <= self._x[0]].sum())
        return bool(max(near, *ends) >= self._sure)

    def _enough(self, median: float) -> tuple[bool, bool]:
        """Return whether answers lie below and above the estimate, where there are lengths to ask at."""
        below, above = self._sides(median)
        return (
            bool(self.asked[below].sum() >= self._beside or median <= self._x[0]),
            bool(self.asked[above].sum() >= self._beside or median >= self._x[-1]),
        )

    @property
    def median_octaves(self) -> float:
        """The posterior median of log2 of the effective length, beyond the tested lengths too."""
        return self._median(self._weights().sum(axis=1))

    def _weights(self) -> np.ndarray:
        weight = np.exp(self._log_weight)
        return np.asarray(weight / weight.sum())

    def _median(self, marginal: np.ndarray) -> float:
        return float(self._at[np.searchsorted(np.cumsum(marginal), 0.5)])

    def _sides(self, median: float) -> tuple[np.ndarray, np.ndarray]:
        median = min(max(median, self._x[0]), self._x[-1])
        below = (self._x <= median) & (self._x >= median - _SPAN_OCTAVES)
        above = (self._x > median) & (self._x <= median + _SPAN_OCTAVES)
        return below, above

    def _gain(self, weight: np.ndarray, marginal: np.ndarray) -> np.ndarray:
        """Expected information about x* from one question at each length, in nats."""
        joint = np.einsum("ij,lij->li", weight, self._share)
        yes = joint.sum(axis=1)
        left = np.clip(marginal[None] - joint, 0, 1)
        gain = _entropy(marginal[None])[0] - yes * _entropy(joint / yes[:, None])
        return np.asarray(gain - (1 - yes) * _entropy(left / (1 - yes)[:, None]))


def _entropy(shares: np.ndarray) -> np.ndarray:
    return np.asarray(-(shares * np.log(np.clip(shares, 1e-300, 1))).sum(axis=1))


def ladder(shortest: int, longest: int, *, per_octave: int = 2) -> tuple[int, ...]:
    """Return the lengths from `shortest` to `longest`, `per_octave` of them at each doubling."""
    if not 16 <= shortest < longest:
        raise UsageError(f"lengths from {shortest:,} to {longest:,} tokens make no ladder")
    steps = math.floor(math.log2(longest / shortest) * per_octave + 1e-9)
    lengths = [round(shortest * 2 ** (step / per_octave)) for step in range(steps + 1)]
    return tuple(dict.fromkeys(lengths if lengths[-1] == longest else [*lengths, longest]))
