"""Whether a host still answers as it did: a daily look at a few answers, for years.

The first 300 answers are themselves a sample. A test of each day against them would be wrong on all days
alike if that sample happens to be unusual, so the reference grows: each day is compared with everything
before it.

While the host is the same, all answers to a question, of whatever day, are exchangeable: which of them are
today's is then a draw without replacement. Each answer in the bag of past and present ones has a surprise:
the less it is like the others, the larger. The distribution of today's sum of surprises over all such draws,
independent from question to question, is computed exactly, and gives the day's p-value, two-sided. P-values
of successive days are independent, because a day's p-value tells nothing of how the bag came to be: they are
conformal (V. Vovk, A. Gammerman and G. Shafer, Algorithmic Learning in a Random World, 2nd ed., 2022, chapter
8).

Real days are not quite alike: a host is busier on some, or has machines of two kinds. So the watch learns a
tolerance from the days it accepted. A p-value is turned into the normal deviate z that has it, and z is
divided by the root mean square of those of past days, at least 1, which starts at `FIRST_SPREAD`. This never
makes a p-value smaller, so what is said below holds with it.

Bets on small p-values, k p^(k - 1), have a mean of at most 1 on each day (V. Vovk and R. Wang, Ann. Statist.
49 (2021) 1736-1754). They are started afresh each day and added up by the rule of `ChangeDetector`: the sum
minus the number of days is a supermartingale, so n healthy days give at most n / threshold alarms in
expectation.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from crossgrade.errors import UsageError
from crossgrade.stats._answers import Answers
from crossgrade.stats._likeness import answer_likeness
from crossgrade.stats._monitors import State
from crossgrade.stats._pairs import FloatArray, IntArray

DAILY_THRESHOLD = 365 / 0.05
"""The threshold of the daily look: a healthy year gives 0.05 false alarms at most, in expectation."""

MOST_DAILY_ANSWERS, DAILY_ANSWER_TOKENS, BASELINE_ANSWERS = 50, 64, 300
"""What a day may ask, how long its answers are, and how many answers a fingerprint has."""

POWERS: FloatArray = np.array([0.05, 0.1, 0.2, 0.35, 0.6])
"""The exponents k of the bets k p^(k - 1), weighed alike."""

LEVELS = 16
"""Surprises are rounded to this many levels, so that the distribution of their sums is exact and small."""

FIRST_SPREAD, SPREAD_DAYS = 1.5, 5.0
"""The spread of days that is assumed at first, and how many days that assumption counts for."""

_MOST_LISTED = 5
_LEAST_P = 1e-300


@dataclass(frozen=True, slots=True, kw_only=True)
class DayLook:
    """What one day's answers say.

    `p_value` is that of the day alone, and `tolerated` the one that is left of it after the tolerance.
    `e_value` is the sum of all bets since the start. `differing` are the questions whose answers are the
    least like the past ones, at most 5.
    """

    day: int
    p_value: float
    tolerated: float
    e_value: float
    threshold: float
    alarm: bool
    answers: int
    differing: tuple[str, ...]


class AnswerWatch:
    """The e-detector of a host that no longer answers as its fingerprint and all days since.

    While the host is the same, n days give at most n / `threshold` alarms in expectation. This needs answers
    of different days to be exchangeable: settings, prompts and the number of answers are the same each day.
    """

    def __init__(self, baseline: Answers, threshold: float = DAILY_THRESHOLD) -> None:
        """Start from a fingerprint's answers.

        Raises `UsageError` without any answer, or for a threshold below 1.
        """
        if not 1.0 <= threshold < math.inf:
            raise UsageError(
                f"threshold is {threshold}; a mean number of days to a false alarm is expected, 1 or more",
                code="threshold-invalid",
                hint="7300 gives at most one false alarm in twenty years, on average",
            )
        self.threshold = float(threshold)
        self.n = 0
        self._sums = np.zeros(len(POWERS))
        self._squares = 0.0
        self._bags = {key: list(texts) for key, texts in baseline.items() if texts}
        if not self._bags:
            raise _too_few("the fingerprint has no answer")

    @property
    def e_value(self) -> float:
        """The sum of all bets since the start; the alarm comes when it reaches the threshold."""
        return float(self._sums.mean())

    def take(self, day: Answers) -> DayLook:
        """Take one day's answers and say whether the host has changed.

        Without an alarm the answers join the reference. After an alarm they do not: measure the host again
        and start from its new fingerprint. Questions that the fingerprint does not have are left out. Raises
        `UsageError` if no answer is left.
        """
        asked = {key: list(texts) for key, texts in day.items() if texts and key in self._bags}
        if not asked:
            raise _too_few("the day has no answer to a question of the fingerprint")
        surprises = [surprise(answer_likeness(self._bags[key] + texts)) for key, texts in asked.items()]
        counts = [len(texts) for texts in asked.values()]
        p_value = day_p_value(surprises, counts)
        kept, square = tolerated(p_value, self._squares, self.n)
        self.n += 1
        self._sums = (self._sums + 1) * POWERS * kept ** (POWERS - 1)
        e_value = self.e_value
        alarm = e_value >= self.threshold
        if not alarm:
            self._squares += square
            for key, texts in asked.items():
                self._bags[key] += texts
        excess = {
            key: float(each[-m:].mean() - each.mean())
            for key, each, m in zip(asked, surprises, counts, strict=True)
        }
        return DayLook(
            day=self.n,
            p_value=p_value,
            tolerated=kept,
            e_value=e_value,
            threshold=self.threshold,
            alarm=alarm,
            answers=sum(counts),
            differing=tuple(sorted(excess, key=lambda key: -excess[key])[:_MOST_LISTED]),
        )

    def state(self) -> State:
        """Return what `restore` needs to go on from here, without the answers, as plain JSON."""
        return {"n": self.n, "sums": self._sums.tolist(), "squares": self._squares}

    def restore(self, state: Mapping[str, object], accepted: Sequence[Answers]) -> Self:
        """Go on from where a watch of the same fingerprint stood, with the answers of its days without alarm.

        Raises `UsageError` for another monitor's state.
        """
        n, sums, squares = state.get("n"), state.get("sums"), state.get("squares")
        if not (
            type(n) is int
            and n >= 0
            and isinstance(sums, list)
            and len(sums) == len(POWERS)
            and all(isinstance(number, int | float) and math.isfinite(number) for number in [*sums, squares])
        ):
            raise UsageError(
                f"this is not the state of a daily watch: it lacks `n`, `squares` or {len(POWERS)} `sums`",
                code="state-invalid",
                hint="compute the state again from the fingerprint and the days",
            )
        self.n, self._sums = n, np.array(sums, dtype=np.float64)
        self._squares = float(str(squares))
        for day in accepted:
            for key, texts in day.items():
                if key in self._bags:
                    self._bags[key] += texts
        return self


def tolerated(p_value: float, squares: float, days: int) -> tuple[float, float]:
    """Return what is left of a p-value, and the square of its deviate.

    `squares` is the sum of those squares over so many past days.
    """
    from scipy.special import ndtr, ndtri

    deviate = -float(ndtri(p_value / 2))
    known = (SPREAD_DAYS * FIRST_SPREAD**2 + squares) / (SPREAD_DAYS + days)
    return max(2 * float(ndtr(-deviate / max(1.0, math.sqrt(known)))), _LEAST_P), deviate**2


def surprise(likeness: FloatArray) -> FloatArray:
    """Return how little each answer is like all, in nats: minus the logarithm of its mean likeness."""
    found: FloatArray = -np.log(likeness.mean(axis=1))
    return found


def day_p_value(surprises: Sequence[FloatArray], counts: Sequence[int]) -> float:
    """Return the two-sided p-value of a day.

    Each question has the surprises of its past answers and then of today's, and the count of the latter.
    """
    least = [float(each.min()) for each in surprises]
    width = max(float(each.max()) - low for each, low in zip(surprises, least, strict=True))
    distributions, found = [], 0
    for each, low, m in zip(surprises, least, counts, strict=True):
        levels = as_levels(each - low, width)
        found += int(levels[-m:].sum())
        distributions.append(sum_of_draws(np.bincount(levels), m))
    return two_sided(distributions, found)


def as_levels(above: FloatArray, width: float) -> IntArray:
    """Return as levels what surprises are above the least of their question; `width` is the day's largest."""
    if width < 1e-9:
        return np.zeros(above.shape, dtype=np.int64)
    levels: IntArray = np.rint(above * ((LEVELS - 1) / width)).astype(np.int64)
    return levels


def two_sided(distributions: Sequence[FloatArray], found: int) -> float:
    """Return twice the smaller tail at `found` of the sum of independent whole numbers, at most 1."""
    distribution = np.ones(1)
    for each in distributions:
        distribution = np.convolve(distribution, each[: int(each.nonzero()[0][-1]) + 1])
    tails = float(distribution[found:].sum()), float(distribution[: found + 1].sum())
    return min(1.0, max(2 * min(tails), _LEAST_P))


def sum_of_draws(counts: IntArray, m: int) -> FloatArray:
    """Return the distribution of the sum of `m` draws without replacement from whole numbers, from 0 on.

    `counts` says how many there are of 0, 1, 2, ...
    """
    if m == 1:
        one: FloatArray = counts / counts.sum()
        return one
    width = (len(counts) - 1) * m + 1
    ways = np.zeros((m + 1, width))  # of choosing so many with this sum, over the ways of choosing so many
    ways[0, 0] = 1.0
    seen = 0
    for level, count in enumerate(counts.tolist()):
        if not count:
            continue
        joined = np.zeros_like(ways)
        for taken in range(min(m, count) + 1):
            for before in range(min(m - taken, seen) + 1):
                share = (
                    math.comb(count, taken)
                    * math.comb(seen, before)
                    / math.comb(seen + count, taken + before)
                )
                moved = ways[before, : width - taken * level]
                joined[before + taken, taken * level :] += share * moved
        ways, seen = joined, seen + count
    all_drawn: FloatArray = ways[m]
    return all_drawn


def _too_few(seen: str) -> UsageError:
    return UsageError(
        seen, code="answers-too-few", hint="ask the host again, or record the day as not checked"
    )
