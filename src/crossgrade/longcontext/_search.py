"""Searches the length at which a model's quality falls below the floor.

The only assumption about the quality curve is that it falls with the length. The share of right answers at
each length and the reference are drawn from Beta posteriors. Each draw of `share - floor * reference` is made
to fall by weighted isotonic regression, and the length at which it reaches zero is one draw of the effective
length. This is the projection posterior of Chakraborty and Ghosal (Coverage of credible intervals in
nonparametric monotone regression, Annals of Statistics 49(2), 2021). The reference is the score on the gold
passages alone, which is estimated too, or another model's score at the same lengths.

Real curves may stay near the floor or rise again, and the search decides after each haystack whether to end.
Therefore the likelihood counts half (a tempered posterior), the search climbs at most an octave above the
longest length asked, and it ends only with answers on both sides of the estimate. Simulated error rates, on
published answers and on synthetic curves, are in docs/benchmarks/longcontext.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from crossgrade.decide import EffectiveLength
from crossgrade.domain import Reason
from crossgrade.errors import UsageError
from crossgrade.stats import Proportion, proportion_interval

BASE: Final = -1
"""The index that `LengthSearch.next` returns to ask questions on the gold passages alone."""
TEMPER = 0.5
"""The exponent of the likelihood."""
SURE = 0.975
"""The posterior share within a factor of 2 of the median at which the search ends."""
CACHED_PRICE = 0.1
"""The price of a cached input token, as a share of that of a fresh one."""
ALIKE = 0.1
"""The assumed correlation between the questions on one haystack."""
ALONE_TOKENS = 220
"""The approximate length of the prompt of a question on its gold passage alone, in tokens."""
_DRAWS = 256
_SURE_DRAWS = 4_096
"""The draws for the decision to end, more than for a choice: a share of 1 / 40 must be counted precisely."""
_PRIOR = 0.5
_REFUSED_ANSWERS = 40
"""The number of wrong answers that a refusal counts as."""
_UNASKED = 1e-3
"""The weight of a length that was not asked, in answers: its draws lie between its neighbours'."""
_EVEN_ANSWERS = 1_000
"""The number of answers from which more of them hardly raise the weight of a length."""
_TELLING_OCTAVES = 1.3
_CLIMB_HAYSTACKS = 2
_FIRST_ANSWERS = 12
_GROWTH = 0.04
"""The share by which the answers grow before the next length is chosen, because choosing takes time."""
_MOST_ANSWERS = 1_000_000
_SPAN_OCTAVES = 1.5
_BEYOND = 99.0
"""The octaves that stand for "above the lengths asked so far", while there are longer ones to ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """The answers at one length. `right` is the sum of their scores, `n` their number.

    `share` has a Wilson interval, which treats questions on one haystack as correlated.
    """

    tokens: int
    right: float
    n: int
    haystacks: int
    share: Proportion


@dataclass(frozen=True, slots=True)
class _Known:
    """Draws of the effective length in octaves (`crossings`), and the drawn shares and bases of each."""

    crossings: np.ndarray
    shares: np.ndarray
    bases: np.ndarray
    median: float
    too_low: np.ndarray
    too_high: np.ndarray


class LengthSearch:
    """Chooses lengths and collects answers until the effective length is known within a factor of 2."""

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        floor: float = 0.85,
        questions: int = 5,
        level: float = 0.95,
        sure: float = SURE,
        beside: int = 20,
        least_answers: int = 0,
        most_answers: int = 2_000,
        cached_price: float = CACHED_PRICE,
        same_length: bool = False,
    ) -> None:
        """Plan a search over `lengths` (tokens, rising).

        `floor` is the share of the reference that must hold. The reference is the score on the gold
        passages alone or, with `same_length`, another model's score at each length. `questions` are asked
        on each haystack. `level` is that of the interval.

        The search ends after `most_answers` answers on haystacks, or when all of these hold:

        - `sure` of the posterior lies within an octave of its median.
        - There are `beside` answers within 1.5 octaves on either side of the median.
        - There are `least_answers` at each length up to an octave above the median.

        Raises `UsageError` for invalid lengths, or a floor or number of questions out of range.
        """
        if len(lengths) < 2 or any(a >= b for a, b in pairwise(lengths)):
            raise UsageError("a search needs two or more lengths, in rising order", code="lengths-invalid")
        if not (0 < floor < 1 and 1 <= questions <= 100 and lengths[0] > 0):
            raise UsageError(
                f"floor {floor}, {questions} questions a haystack: no search can start", code="search-invalid"
            )
        self.lengths = tuple(lengths)
        self.floor = floor
        self.level = level
        self.questions = questions
        self.same_length = same_length
        self._sure = sure
        self._beside = beside
        self._least = least_answers
        self._most = min(most_answers, _MOST_ANSWERS)
        self._x = np.log2(np.asarray(lengths, dtype=np.float64))
        # The last entry is the price of as many questions on the gold passages alone.
        haystack = np.asarray(lengths, dtype=np.float64) * (1 + (questions - 1) * cached_price)
        self._price = np.append(haystack, ALONE_TOKENS * questions)
        self.asked = np.zeros(len(lengths), dtype=np.int64)
        self.right = np.zeros(len(lengths))
        self.reference_right = np.zeros(len(lengths))
        self.haystacks = np.zeros(len(lengths), dtype=np.int64)
        self._is_open = np.ones(len(lengths), dtype=bool)
        self.base_right, self.base_asked = 0.0, 0
        self._kept: tuple[int, int] | None = None
        self._cached: dict[int, _Known] = {}

    @property
    def design_effect(self) -> float:
        """The factor by which sharing a haystack raises the variance of a share."""
        return 1 + (self.questions - 1) * ALIKE

    @property
    def base(self) -> float | None:
        """The share of right answers on the gold passages alone, or None before any was asked."""
        return self.base_right / self.base_asked if self.base_asked else None

    def add(self, index: int, right: float, n: int, *, reference_right: float | None = None) -> None:
        """Add a haystack's answers: `right` of `n` questions at `lengths[index]`.

        `reference_right` is the number that the other model had right. A search with `same_length` needs
        it, and no other search takes it. Raises `UsageError` otherwise.
        """
        if not 0 <= right <= n or self.same_length != (reference_right is not None):
            raise UsageError(f"{right} right answers of {n}, beside {reference_right}", code="counts-invalid")
        self.asked[index] += n
        self.right[index] += right
        self.reference_right[index] += reference_right or 0.0
        self.haystacks[index] += 1
        self._cached.clear()

    def refuse(self, index: int) -> None:
        """Record that the provider refused `lengths[index]`. It and longer lengths are not asked again.

        A refusal counts as 40 wrong answers, and as 40 right answers of the other model.
        """
        self.asked[index] += _REFUSED_ANSWERS
        self.reference_right[index] += _REFUSED_ANSWERS
        self.haystacks[index] += 1
        self._is_open[index:] = False
        self._kept = None
        self._cached.clear()

    def add_base(self, right: float, n: int) -> None:
        """Add answers on the gold passages alone: `right` of `n` questions."""
        if not 0 <= right <= n:
            raise UsageError(f"{right} right answers of {n}", code="counts-invalid")
        self.base_right += right
        self.base_asked += n
        self._cached.clear()

    def next(self) -> int | None:
        """Return the index of the length of the next haystack, or None when the search has ended.

        `BASE` asks for `questions` questions on the gold passages alone.
        """
        if not self.same_length and not self.base_asked:
            return BASE
        if self.asked[0] < _FIRST_ANSWERS:
            return 0
        if self._kept is not None and self._kept[1]:
            self._kept = (self._kept[0], self._kept[1] - 1)
            return self._kept[0]
        if self.asked.sum() >= self._most or not self._is_open[0]:
            return None
        if self._is_known():
            shown = self._is_open & (self._x <= self.median_octaves + 1 + 1e-9)
            short = np.flatnonzero(shown & (self.asked < self._least))
            return int(short[0]) if len(short) else None
        known, top = self._known(), self._highest()
        if known.median > self._x[top] and self._is_open[top + 1 :].any():
            reach = np.flatnonzero(self._x <= self._x[top] + 1 + 1e-9)
            index, haystacks = max(int(reach[-1]), top + 1), _CLIMB_HAYSTACKS
        else:
            haystacks = max(1, int(_GROWTH * self.asked.sum() / self.questions))
            index = self._choose(known, haystacks * self.questions)
        self._kept = (index, haystacks - 1)
        return index

    def rungs(self) -> tuple[Rung, ...]:
        """Return the answers at each length that was asked."""
        return tuple(
            Rung(
                tokens=self.lengths[i],
                right=float(self.right[i]),
                n=int(self.asked[i]),
                haystacks=int(self.haystacks[i]),
                share=proportion_interval(
                    float(self.right[i]), int(self.asked[i]), design_effect=self.design_effect
                ),
            )
            for i in np.flatnonzero(self.asked)
        )

    def result(self) -> EffectiveLength:
        """Return the effective length and its interval; `tokens` is None while it is not known."""
        first, last = self.lengths[0], self.lengths[-1]
        floor = self.floor * (1.0 if self.same_length else self.base or 0.0)
        if not self.asked.any() or (not self.same_length and not self.base_asked):
            nothing = Reason("nothing-asked", "nothing was asked")
            return EffectiveLength(
                tokens=None,
                low=first,
                high=last,
                level=self.level,
                floor=floor,
                reason=nothing.text,
                reason_code=nothing.code,
            )
        known = self._known(_SURE_DRAWS)
        low, high = np.quantile(known.crossings, [(1 - self.level) / 2, (1 + self.level) / 2])
        is_known = self._is_known()
        few = Reason("too-few-answers", f"{int(self.asked.sum())} answers leave more than a factor of 2")
        return EffectiveLength(
            tokens=_tokens(known.median, first, last) if is_known else None,
            low=_tokens(low, first, last),
            high=_tokens(high, first, last),
            level=self.level,
            floor=floor,
            at_least=bool(is_known and known.median >= self._x[-1]),
            at_most=bool(is_known and known.median <= self._x[0]),
            reason=None if is_known else few.text,
            reason_code=None if is_known else few.code,
        )

    @property
    def median_octaves(self) -> float:
        """The posterior median of log2 of the effective length in tokens, within `lengths`."""
        return self._known(_SURE_DRAWS).median

    def _highest(self) -> int:
        return int(np.flatnonzero(self.asked)[-1])

    def _is_known(self) -> bool:
        return all(self._is_sure(draws) for draws in (_DRAWS, _SURE_DRAWS))

    def _is_sure(self, draws: int) -> bool:
        known = self._known(draws)
        is_near = self._doubt(known) <= 1 - self._sure
        return bool(is_near and not any(side.any() for side in self._wanting(known.median)))

    def _doubt(self, known: _Known) -> float:
        return float(known.too_low.mean() + known.too_high.mean())

    def _wanting(self, median: float) -> tuple[np.ndarray, np.ndarray]:
        """Return masks of the lengths below and above the estimate, empty for a side with enough answers."""
        below = (self._x <= median) & (self._x >= median - _SPAN_OCTAVES)
        above = (self._x > median) & (self._x <= median + _SPAN_OCTAVES)
        sides = [side & self._is_open & (self.asked[side].sum() < self._beside) for side in (below, above)]
        return sides[0], sides[1]

    def _choose(self, known: _Known, answers: int) -> int:
        """Return the index at which `answers` more tell most on whether the estimate is a factor of 2 off.

        That is the length a factor of 2 below or above it, on the side with more doubt, because the curve is
        furthest from the floor there. If a thousand answers there were not enough, the curve stays near the
        floor, and the length that tells most is computed.
        """
        below, above = self._wanting(known.median)
        if self._doubt(known) <= 1 - self._sure and (below | above).any():
            return int(np.flatnonzero(above)[-1]) if above.any() else int(np.flatnonzero(below)[0])
        reach = np.flatnonzero(self._is_open[: known.shares.shape[1]])
        median = min(max(known.median, self._x[reach[0]]), self._x[reach[-1]])
        if known.too_high.mean() > known.too_low.mean():
            edge = int(reach[self._x[reach] <= median + 1 + 1e-9][-1])
        else:
            edge = int(reach[self._x[reach] >= median - 1 - 1e-9][0])
        if self.asked[edge] >= _EVEN_ANSWERS:
            edge = self._most_telling(known, answers, edge)
        return BASE if edge == BASE or self._wants_base(edge) else edge

    def _wants_base(self, index: int) -> bool:
        """Return whether the base needs answers more than the length at `index`, for their prices.

        To estimate a difference at least cost, each of its two terms gets answers in proportion to its
        standard deviation divided by the square root of its price (J. Neyman, Journal of the Royal
        Statistical Society 97(4), 1934, 558-625).
        """
        if self.same_length or self.base_asked >= self._most:
            return False
        share = (self.right[index] + 1) / (self.asked[index] + 2)
        base = (self.base_right + 1) / (self.base_asked + 2)
        deviations = self.floor * math.sqrt(base * (1 - base) / (share * (1 - share) * self.design_effect))
        wanted = self.asked[index] * deviations * math.sqrt(self._price[index] / self._price[-1])
        return bool(self.base_asked < wanted)

    def _most_telling(self, known: _Known, answers: int, edge: int) -> int:
        """Return the index at which answers tell most about the effective length for their price.

        It follows from the covariance of the drawn shares with the drawn lengths. It is `edge` if none tells
        anything.
        """
        reach = known.shares.shape[1]
        draws = np.column_stack([known.shares, known.bases])
        draws = draws - draws.mean(axis=0)
        spread = draws.var(axis=0) + 1e-12
        crossings = np.clip(known.crossings, known.median - _TELLING_OCTAVES, known.median + _TELLING_OCTAVES)
        crossings = crossings - crossings.mean()
        covariance = (draws * crossings[:, None]).mean(axis=0)
        by_chance = 2 * spread * crossings.var() / _DRAWS
        told = np.maximum(covariance**2 - by_chance, 0)
        alike = self.design_effect
        known_answers = TEMPER * np.append(self.asked[:reach] / alike, self.base_asked) + 2 * _PRIOR
        new = TEMPER * answers / np.append(np.full(reach, alike), 1.0)
        price = np.append(self._price[:reach], self._price[-1])
        gain = told / spread * new / (known_answers + new) / price
        gain[:-1][~self._is_open[:reach]] = 0.0
        if self.same_length or self.base_asked >= self._most:
            gain[-1] = 0.0
        best = int(np.argmax(gain))
        if not gain[best]:
            return edge
        return BASE if best == reach else best

    def _known(self, draws: int = _DRAWS) -> _Known:
        if draws not in self._cached:
            self._cached[draws] = self._draw(draws)
        return self._cached[draws]

    def _draw(self, draws: int) -> _Known:
        """Draw the effective length from its posterior, up to an octave above the longest length asked."""
        # The seed depends on the counts only, so that a resumed search makes the same choices.
        rng = np.random.default_rng([int(self.asked.sum()), self.base_asked])
        reach = int(np.flatnonzero(self._x <= self._x[self._highest()] + 1 + 1e-9)[-1]) + 1
        x, asked, alike = self._x[:reach], self.asked[:reach] / self.design_effect, self.design_effect
        shares = _beta(rng, draws, self.right[:reach] / alike, asked)
        if self.same_length:
            bases = np.zeros(draws)
            reference = _beta(rng, draws, self.reference_right[:reach] / alike, asked)
        else:
            bases = _beta(rng, draws, np.array([self.base_right]), np.array([self.base_asked]))[:, 0]
            reference = bases[:, None]
        margins = shares - self.floor * reference
        crossings = _crossings(_falling(margins, _weights(asked)), x)
        crossings[np.isinf(crossings)] = _BEYOND if reach < len(self._x) else self._x[-1]
        median = float(np.median(crossings))
        return _Known(
            crossings,
            shares,
            bases,
            median,
            crossings < median - 1 - 1e-9,
            crossings > median + 1 + 1e-9,
        )


def next_of(searches: Sequence[LengthSearch]) -> int | None:
    """Return the next index of the first search that has not ended, or None if all have."""
    return next((index for each in searches if (index := each.next()) is not None), None)


def _beta(rng: np.random.Generator, draws: int, right: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Draw shares of shape (draws, lengths) from tempered Beta posteriors with Jeffreys' prior."""
    a, b = TEMPER * right + _PRIOR, TEMPER * np.maximum(n - right, 0) + _PRIOR
    return rng.beta(a, b, size=(draws, len(right)))


def _weights(asked: np.ndarray) -> np.ndarray:
    """Return the weights of lengths in the fit, which grow with their answers but level off.

    With the number of answers as the weight, a length that is asked often would pull its neighbours to its
    own margin.
    """
    return np.asarray(asked / (asked + _EVEN_ANSWERS) + _UNASKED / _EVEN_ANSWERS)


def _falling(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted least-squares fit to each row that never rises.

    Its closed form is the min over a <= i of the max over b >= i of the weighted mean of a..b (Robertson,
    Wright and Dykstra, Order Restricted Statistical Inference, 1988, theorem 1.4.4).
    """
    count = values.shape[1]
    heap = np.concatenate([[0.0], np.cumsum(weights)])
    sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values * weights, axis=1)], axis=1)
    is_span = np.triu(np.ones((count, count), dtype=bool))
    size = np.where(is_span, heap[None, 1:] - heap[:count, None], 1.0)
    means = np.where(is_span, (sums[:, None, 1:] - sums[:, :count, None]) / size, -np.inf)
    highest = np.maximum.accumulate(means[:, :, ::-1], axis=2)[:, :, ::-1]
    return np.asarray(np.where(is_span, highest, np.inf).min(axis=1))


def _crossings(margins: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the x at which each falling row crosses zero: x[0] if it begins below, infinity if never."""
    under = margins < 0
    first = under.argmax(axis=1)
    rows = np.arange(len(margins))
    before = margins[rows, np.maximum(first - 1, 0)]
    steepness = np.maximum(before - margins[rows, first], 1e-9)
    left = x[np.maximum(first - 1, 0)]
    between = left + np.clip(before / steepness, 0, 1) * (x[first] - left)
    return np.where(under.any(axis=1), np.where(first == 0, x[0], between), np.inf)


def _tokens(octaves: float, first: int, last: int) -> int:
    return round(min(max(float(2.0**octaves), first), last))


def ladder(shortest: int, longest: int, *, per_octave: int = 2) -> tuple[int, ...]:
    """Return lengths in tokens from `shortest` to `longest`, both included, `per_octave` per doubling.

    Raises `UsageError` unless 16 <= shortest < longest.
    """
    if not 16 <= shortest < longest:
        raise UsageError(
            f"lengths from {shortest:,} to {longest:,} tokens make no ladder", code="lengths-without-ladder"
        )
    steps = math.floor(math.log2(longest / shortest) * per_octave + 1e-9)
    lengths = [round(shortest * 2 ** (step / per_octave)) for step in range(steps + 1)]
    return tuple(dict.fromkeys(lengths if lengths[-1] == longest else [*lengths, longest]))
