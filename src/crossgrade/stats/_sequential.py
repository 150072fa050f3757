"""The retention test while pairs arrive: bet at every pair, test once more at the planned end."""

import math
from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from crossgrade.errors import UsageError
from crossgrade.stats._bets import BetInversion, Bets
from crossgrade.stats._pairs import (
    FloatArray,
    Pairs,
    read_count,
    read_floor,
    read_numbers,
    read_pairs,
    read_rate,
    shares,
)
from crossgrade.stats._retention import (
    LEAST_UNITS,
    MOST_FACTOR,
    MOST_NEEDED,
    FixedRetention,
    Outcome,
    Retention,
)
from crossgrade.stats._tails import at_floor, normal_quantile, normal_tail

_CHUNK = 2048
_PATH_POINTS = 400
_PLANNED_POWER = 0.812
"""The power at the end that `planned` pairs are taken to have, for the conditional power."""

_LEAST_TO_JUDGE = 20
_SETTLING_POWER = 0.8


class EValues(NamedTuple):
    """Both e-values after `n` pairs: against R < floor, and against R >= floor."""

    n: int
    e_pass: float
    e_fail: float


class SequentialRetention:
    """The retention test on pairs that arrive one at a time, in random order.

    Half of `alpha` pays for looking after every pair: the test stops with "pass" or "fail" as
    soon as the bets against the other hypothesis (`_bets`) reach 2 / alpha. The other half is
    kept for the end: at `planned` pairs the fixed test (`FixedRetention`) is made at alpha / 2 a side,
    once. It may leave the test "undecided". With `most` above `planned` it then goes on: the same bets
    stop it at 2 / alpha, until `most`. Either way a wrong pass, and a wrong fail, has probability of
    at most alpha: exactly for the bets, as good as the fixed test for the end. How large `most` is may
    depend on anything, the scores included.

    With `anytime` there is no test at the end: the bets stop at 1 / alpha, and `planned` only tunes them,
    times each of the `horizons`.

    An observation may weigh less than the heaviest planned one: `weight` in (0, 1] is its share of
    that. A cluster is one observation, with its weighted mean scores and its sum of weights.

    The pairs must come in an order that has nothing to do with their scores: shuffle the
    samples first. Given the same pairs in the same order the test does the same again. After
    the end (`outcome` is not None) further pairs change nothing: answers that were on their way
    when the test stopped may be handed in, and are not counted.
    """

    def __init__(
        self,
        floor: float = 0.85,
        alpha: float = 0.05,
        planned: int = 400,
        *,
        most: int | None = None,
        anytime: bool = False,
        horizons: Sequence[float] = (1.0,),
    ) -> None:
        """Plan the test; raises `UsageError` for a plan that is no whole number of pairs."""
        self.floor = read_floor(floor)
        self.alpha = read_rate("alpha", alpha)
        self.planned = read_count("planned", planned)
        self.most = max(self.planned, self.planned if most is None else read_count("most", most))
        self.anytime = anytime
        self.outcome: Outcome | None = None
        self.e_pass = 1.0
        self.e_fail = 1.0
        self._threshold = (1 if anytime else 2) / self.alpha
        self._bets = Bets(self.floor, self.planned, horizons)
        self._incumbent, self._candidate, self._weight = array("d"), array("d"), array("d")
        self._looks = array("d"), array("d")
        self._largest_at = [0, 0]
        self._incumbent_scored = False
        self._end: FixedRetention | None = None

    @property
    def n(self) -> int:
        """The number of pairs that counted."""
        return len(self._incumbent)

    @property
    def p_value(self) -> float:
        """The p-value for R < floor: small means pass. Valid at any time."""
        return self._p_value(self.e_pass, 1.0 if self._end is None else self._end.p_value)

    @property
    def p_value_below(self) -> float:
        """The p-value for R >= floor: small means fail. Valid at any time."""
        return self._p_value(self.e_fail, 1.0 if self._end is None else self._end.p_value_below)

    @property
    def path(self) -> tuple[EValues, ...]:
        """The e-values along the run, at most 400 looks evenly spread; the last is there."""
        if not self.n:
            return ()
        shown = np.unique(np.linspace(0, self.n - 1, min(self.n, _PATH_POINTS)).round().astype(np.int64))
        return tuple(EValues(int(i) + 1, self._looks[0][i], self._looks[1][i]) for i in shown)

    @property
    def conditional_power(self) -> float:
        """The chance of a pass at the planned end, if the retention is as high as the plan can show.

        The plan can show a difference with statistic z_(alpha / 2) + z_0.812 at its end. A run that
        stops where this is small loses hardly any power and spends its money elsewhere. The stop is
        not binding: the test may go on as if nothing had been computed. 1 where fewer than 20 pairs
        counted or the end has passed.
        """
        n, planned = self.n, self.planned
        if n < _LEAST_TO_JUDGE or n >= planned or self.anytime or self.outcome is not None:
            return 1.0
        incumbent, candidate, weight = (np.array(x) for x in self._columns)
        d = weight * (candidate - self.floor * incumbent)
        spread = math.sqrt(max(float(d.var()), 1e-9))
        z = float(d.mean()) / spread * math.sqrt(n)
        critical = normal_quantile(1 - self.alpha / 2)
        drift = (critical + normal_quantile(_PLANNED_POWER)) / math.sqrt(planned)
        rest = planned - n
        missing = critical * math.sqrt(planned) - z * math.sqrt(n) - drift * rest
        return normal_tail(missing / math.sqrt(rest))

    def update(self, incumbent: float, candidate: float, weight: float = 1.0) -> Outcome | None:
        """Take the next pair's scores; None while the test goes on, else its outcome.

        Raises `UsageError` for a score outside [0, 1] or a weight outside (0, 1].
        """
        if self.outcome is not None:
            return self.outcome
        if not (0.0 <= incumbent <= 1.0 and 0.0 <= candidate <= 1.0 and 0.0 < weight <= 1.0):
            raise UsageError(
                f"pair {self.n + 1} has scores {incumbent!r} and {candidate!r} and weight {weight!r}; "
                "scores must lie in [0, 1], weights in (0, 1]",
                code="score-out-of-range",
                hint="leave unscored samples out, and map the scorer's scale to [0, 1]",
            )
        e_pass, e_fail = self._bets.step(weight * incumbent, weight * candidate)
        self._incumbent_scored |= incumbent > 0
        if not self._incumbent_scored:
            e_pass = min(e_pass, 1.0)
        for column, value in zip(self._columns, (incumbent, candidate, weight), strict=True):
            column.append(value)
        self._looks[0].append(e_pass)
        self._looks[1].append(e_fail)
        self._remember(e_pass, e_fail, self.n, self.n)
        return self._conclude()

    def update_many(
        self, incumbent: ArrayLike, candidate: ArrayLike, weights: ArrayLike | None = None
    ) -> Outcome | None:
        """Take pairs in order, as `update` one after the other would, and faster.

        Raises `UsageError` as `update` does.
        """
        pairs = read_pairs(incumbent, candidate)
        weight = np.ones(pairs.n) if weights is None else read_numbers("weights", weights)
        if len(weight) != pairs.n or (pairs.n and not 0.0 < weight.min() <= weight.max() <= 1.0):
            raise UsageError(
                f"{len(weight)} weights for {pairs.n} pairs, or one outside (0, 1]",
                code="weight-invalid",
                hint="a weight is a share of the heaviest planned observation's",
            )
        at = 0
        while self.outcome is None and at < pairs.n:
            end = self.planned if self.n < self.planned else self.most
            room = _CHUNK if self.anytime else min(_CHUNK, end - self.n)
            self._take(*(x[at : at + room] for x in (pairs.incumbent, pairs.candidate, weight)))
            at += room
        return self.outcome

    def finish(self) -> Outcome | None:
        """Make the test at the end now: every planned sample was asked, and fewer than planned counted.

        That some got no score says nothing about when the run stopped. Where it settles nothing the test
        goes on as it would after the planned end. Without effect once the end was tested.
        """
        if self.outcome is None and self._end is None and self.n and not self.anytime:
            self._test_end()
        return self.outcome

    def replan(self, planned: int, *, most: int | None = None, variance: float | None = None) -> None:
        """Move the planned end, which must lie ahead; bets from here on are tuned to it.

        `variance` says that observations will be of another kind, of weight 1, and how much they vary
        relative to pairs. The new plan may follow from anything but the scores that it is about.
        """
        self.planned = read_count("planned", planned)
        self.most = max(self.planned, self.planned if most is None else read_count("most", most))
        square = None
        if variance is not None:
            d = np.array(self._candidate) - self.floor * np.array(self._incumbent)
            square = variance * self._bets.usual_square(d * d)
        self._bets.retune(self.planned, square=square)

    def bounds(self, low_alpha: float, high_alpha: float) -> tuple[float | None, float | None]:
        """Return the bounds that are dual to the test at these levels; they hold whenever one looks.

        The lower one is the larger of what the bets and what the test at the end do not reject, each
        with half of the level. It is computed where the bets were largest, as the test's outcome is.
        """
        pairs = self._pairs()
        fixed = FixedRetention(pairs, self.floor, self.alpha)
        if fixed.value is None:
            return None, None
        parts = 1 if self.anytime else 2
        low = self._bet_bound(0, math.log(parts / low_alpha))
        high = self._bet_bound(1, math.log(parts / high_alpha))
        if self._end is not None:
            end_low, end_high = self._end.bounds(low_alpha / 2, high_alpha / 2)
            if end_low is not None and end_high is not None:
                low, high = max(low, end_low), min(high, end_high)
        passes, fails = self.p_value <= low_alpha, self.p_value_below <= high_alpha
        return at_floor(low, high, self.floor, passes=passes, fails=fails)

    def result(self, low_alpha: float | None = None, high_alpha: float | None = None) -> Retention:
        """Return the retention so far, with bounds at these levels (None: `alpha`).

        The bounds are wider than a fixed test's: that is what looking early costs. `needed` is the
        number of pairs in all that would probably settle an undecided test under the rule that is left.
        """
        low_alpha = self.alpha if low_alpha is None else low_alpha
        high_alpha = self.alpha if high_alpha is None else high_alpha
        fixed = FixedRetention(self._pairs(), self.floor, self.alpha)
        low, high = self.bounds(low_alpha, high_alpha)
        why = fixed.reason if self._end is not None or fixed.value is None else None
        return Retention(
            value=fixed.value,
            low=low,
            high=high,
            low_confidence=1 - low_alpha,
            high_confidence=1 - high_alpha,
            n=self.n,
            floor=self.floor,
            alpha=self.alpha,
            outcome=self.outcome or "undecided",
            p_value=self.p_value,
            p_value_below=self.p_value_below,
            method="bets" if self._end is None else f"bets, then {self._end.method}",
            incumbent_mean=fixed.incumbent_mean,
            candidate_mean=fixed.candidate_mean,
            discordant=int((fixed.pairs.incumbent != fixed.pairs.candidate).sum()),
            e_pass=self.e_pass,
            e_fail=self.e_fail,
            needed=self._needed(fixed, low_alpha, high_alpha),
            reason=None if why is None else why.text,
            reason_code=None if why is None else why.code,
        )

    @property
    def _columns(self) -> tuple["array[float]", "array[float]", "array[float]"]:
        return self._incumbent, self._candidate, self._weight

    def _take(self, incumbent: FloatArray, candidate: FloatArray, weight: FloatArray) -> None:
        """Take a chunk that does not reach beyond the next end, up to the pair that stops the test."""
        before = self.n
        capitals = self._bets.walk(weight * incumbent, weight * candidate)
        scored = np.logical_or.accumulate(np.append(self._incumbent_scored, incumbent > 0))[1:]
        capitals[0] = np.where(scored, capitals[0], np.minimum(capitals[0], 1.0))
        crossed = (capitals >= self._threshold).any(axis=0)
        end = int(np.argmax(crossed)) + 1 if crossed.any() else len(incumbent)
        self._incumbent_scored = bool(scored[end - 1])
        for column, values in zip(self._columns, (incumbent, candidate, weight), strict=True):
            column.extend(values[:end].tolist())
        for looks, values in zip(self._looks, capitals[:, :end], strict=True):
            looks.extend(values.tolist())
        peaks = capitals[:, :end].argmax(axis=1)
        self._remember(
            float(capitals[0, peaks[0]]),
            float(capitals[1, peaks[1]]),
            before + int(peaks[0]) + 1,
            before + int(peaks[1]) + 1,
        )
        self._conclude()

    def _remember(self, e_pass: float, e_fail: float, pass_at: int, fail_at: int) -> None:
        """Keep the largest e-values and where they were."""
        if e_pass > self.e_pass:
            self.e_pass, self._largest_at[0] = e_pass, pass_at
        if e_fail > self.e_fail:
            self.e_fail, self._largest_at[1] = e_fail, fail_at

    def _conclude(self) -> Outcome | None:
        if self.e_pass >= self._threshold:
            self.outcome = "pass"
        elif self.e_fail >= self._threshold:
            self.outcome = "fail"
        elif not self.anytime and self.n == self.planned and self._end is None:
            self._test_end()
        elif not self.anytime and self.n >= self.most:
            self.outcome = "undecided"
        return self.outcome

    def _test_end(self) -> None:
        self._end = FixedRetention(self._pairs(), self.floor, self.alpha)
        passed, failed = (p <= self.alpha for p in (self.p_value, self.p_value_below))
        self.outcome = "pass" if passed else "fail" if failed else None
        if self.outcome is None and self.n >= self.most:
            self.outcome = "undecided"

    def _p_value(self, largest_e: float, end: float) -> float:
        return min(1.0, 1 / largest_e if self.anytime else 2 * min(1 / largest_e, end))

    def _pairs(self) -> Pairs:
        incumbent, candidate, weight = (np.array(x) for x in self._columns)
        return Pairs(incumbent=incumbent, candidate=candidate, weight=shares(weight))

    def _bet_bound(self, side: int, limit: float) -> float:
        """Return the ratio up to which (from which on) the bets of a side reject, then or now.

        Then is where they were largest, which is what the outcome is about. Now may be tighter on a
        side that never gained.
        """
        found = math.inf if side else 0.0
        for end in {self._largest_at[side], self.n} - {0}:
            incumbent, candidate, weight = (np.array(x[:end]) for x in self._columns)
            bets = BetInversion(weight * incumbent, weight * candidate, self._bets.used[:, :, :end])
            found = (max, min)[side](found, bets.bound(side, limit))
        return found

    def _needed(self, fixed: FixedRetention, low_alpha: float, high_alpha: float) -> int | None:
        """Return how many pairs in all would probably settle it, if the data so far tell the truth.

        Before the planned end that is the end, where its test would settle it. After it only bets
        are left, which take several times as many pairs as a fresh test.
        """
        if self.p_value <= low_alpha or self.p_value_below <= high_alpha or not self.n:
            return None
        open_end = self._end is None and not self.anytime
        if self.n < LEAST_UNITS:
            return self.planned if open_end and self.planned >= LEAST_UNITS else None
        side, z = fixed.direction
        if not z:
            return None
        level = (low_alpha, high_alpha)[side]
        if open_end:
            wanted = normal_quantile(1 - level / 2) + normal_quantile(_SETTLING_POWER)
            if self.n * (wanted / z) ** 2 <= self.planned:
                return self.planned
        more = self._bets.pairs_to((1 if self.anytime else 2) / level, z / math.sqrt(self.n), side)
        total = self.n + more
        return math.ceil(total) if total <= min(MOST_NEEDED, MOST_FACTOR * self.n) else None
