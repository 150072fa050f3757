"""The retention test while pairs arrive: bet at every pair, test once more at the planned end."""

import math
from array import array
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from crossgrade.errors import UsageError
from crossgrade.stats._bets import BetInversion, Bets
from crossgrade.stats._pairs import FloatArray, Pairs, read_floor, read_pairs, read_rate
from crossgrade.stats._result import Outcome, Retention
from crossgrade.stats._retention import Finding, find, fixed_retention

_CHUNK = 2048
_PATH_POINTS = 400
_HALVINGS = 30
_LARGEST_RATIO = 1e6


class Look(NamedTuple):
    """Both e-values after `n` pairs: against R < floor, and against R >= floor."""

    n: int
    e_pass: float
    e_fail: float


class SequentialRetention:
    """The retention test on pairs that arrive one at a time, in random order.

    Half of `alpha` pays for looking after every pair: the test stops with "pass" or "fail" as
    soon as the bets against the other hypothesis (`_bets`) reach 2 / alpha. The other half is
    kept for the end: at `planned` pairs the fixed test (`retention`) is made at alpha / 2 a side,
    and may leave it "undecided". Either way a wrong pass, and a wrong fail, has probability of
    at most alpha: exactly for the bets, as good as the fixed test for the end.

    With `anytime` there is no end and no test at it: the bets stop at 1 / alpha, and `planned`
    only tunes them.

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
        futility: float | None = None,
        anytime: bool = False,
        level: float = 0.95,
    ) -> None:
        """Plan the test; `level` is the confidence of the interval in `result`."""
        if not (planned >= 1 and planned == int(planned)):
            raise UsageError(
                f"planned is {planned}; a whole number of pairs, 1 or more, is wanted",
                hint="`crossgrade.stats.plan` computes how many pairs a test needs",
            )
        self.floor = read_floor(floor)
        self.alpha = read_rate("alpha", alpha)
        self.level = read_rate("level", level)
        self.planned = int(planned)
        self.most = max(self.planned, most or 0)
        self.futility = futility
        self.anytime = anytime
        self.outcome: Outcome | None = None
        self.e_pass = 1.0
        self.e_fail = 1.0
        self._threshold = (1 if anytime else 2) / self.alpha
        self._bets = Bets(self.floor, self.planned)
        self._incumbent, self._candidate, self._weight = array("d"), array("d"), array("d")
        self._looks = array("d"), array("d")
        self._incumbent_scored = False
        self._final: Finding | None = None

    @property
    def n(self) -> int:
        """The number of pairs that counted."""
        return len(self._incumbent)

    @property
    def p_value(self) -> float:
        """The p-value for R < floor: small means pass. Valid at any time."""
        return self._p_value(self.e_pass, 1.0 if self._final is None else self._final.p_value)

    @property
    def p_value_below(self) -> float:
        """The p-value for R >= floor: small means fail. Valid at any time."""
        return self._p_value(self.e_fail, 1.0 if self._final is None else self._final.p_value_below)

    @property
    def path(self) -> tuple[Look, ...]:
        """The e-values along the run, at most 400 looks evenly spread; the last is there."""
        if not self.n:
            return ()
        shown = np.unique(np.linspace(0, self.n - 1, min(self.n, _PATH_POINTS)).round().astype(np.int64))
        return tuple(Look(int(i) + 1, self._looks[0][i], self._looks[1][i]) for i in shown)

    def update(self, incumbent: float, candidate: float, weight: float = 1.0) -> Outcome | None:
        """Take the next pair's scores; None while the test goes on, else its outcome.

        Raises `UsageError` for a score outside [0, 1].
        """
        if self.outcome is not None:
            return self.outcome
        if not (0.0 <= incumbent <= 1.0 and 0.0 <= candidate <= 1.0):
            raise UsageError(
                f"pair {self.n + 1} has scores {incumbent!r} and {candidate!r}; scores must lie in [0, 1]",
                hint="leave unscored samples out, and map the scorer's scale to [0, 1]",
            )
        e_pass, e_fail = self._bets.step(weight * incumbent, weight * candidate)
        self._incumbent_scored |= incumbent > 0
        if not self._incumbent_scored:
            e_pass = min(e_pass, 1.0)
        self._incumbent.append(incumbent)
        self._candidate.append(candidate)
        self._weight.append(weight)
        self._looks[0].append(e_pass)
        self._looks[1].append(e_fail)
        self.e_pass = max(self.e_pass, e_pass)
        self.e_fail = max(self.e_fail, e_fail)
        return self._conclude()

    def replan(self, planned: int, *, most: int | None = None) -> None:
        """Change the planned end, which must lie ahead; bets from here on are tuned to it."""
        self.planned = int(planned)
        self.most = max(self.planned, most or 0)
        self._bets.retune(self.planned)

    def finish(self) -> Outcome | None:
        """Make the test at the end now: no further observation will come."""
        if self.outcome is not None or self.anytime or self._final is not None or not self.n:
            return self.outcome
        self._end()
        outcome: Outcome | None = self.outcome
        if outcome is None and self.most == self.planned:
            self.outcome = outcome = "undecided"
        return outcome

    def update_many(
        self, incumbent: ArrayLike, candidate: ArrayLike, weights: ArrayLike | None = None
    ) -> Outcome | None:
        """Take pairs in order, as `update` one after the other would, and faster.

        Raises `UsageError` as `retention` does.
        """
        pairs = read_pairs(incumbent, candidate)
        weight = np.ones(pairs.n) if weights is None else np.asarray(weights, dtype=np.float64)
        at = 0
        while self.outcome is None and at < pairs.n:
            end = self.planned if self.n < self.planned else self.most
            room = _CHUNK if self.anytime else min(_CHUNK, end - self.n)
            part = slice(at, at + room)
            self._take(pairs.incumbent[part], pairs.candidate[part], weight[part])
            at += room
        return self.outcome

    def result(self) -> Retention:
        """The retention so far, with an interval that may be looked at any time.

        The interval inverts the bets and, at the planned end, the fixed test too, with half of
        (1 - level) / 2 for each; one in an `anytime` test gives all of it to the bets. It is
        wider than a fixed test's: that is what looking early costs. `needed` is the number of
        planned pairs that would probably settle an undecided test.
        """
        pairs = self._pairs()
        spent = (1 - self.level) / 2
        # At the planned end the fixed test's interval has `spent` for both sides together.
        fixed = fixed_retention(pairs, self.floor, self.alpha / 2, 1 - spent)
        low = high = None
        if fixed.value is not None:
            low, high = self._bet_interval(pairs, fixed.value, (1 if self.anytime else 2) / spent)
            if self._final is not None and fixed.low is not None and fixed.high is not None:
                low, high = max(low, fixed.low), min(high, fixed.high)
        ended = self._final is not None
        return Retention(
            value=fixed.value,
            low=low,
            high=high,
            level=self.level,
            n=self.n,
            floor=self.floor,
            alpha=self.alpha,
            outcome=self.outcome or "undecided",
            p_value=self.p_value,
            p_value_below=self.p_value_below,
            method=f"bets, then {fixed.method}" if ended else "bets",
            incumbent_mean=fixed.incumbent_mean,
            candidate_mean=fixed.candidate_mean,
            discordant=fixed.discordant,
            e_pass=self.e_pass,
            e_fail=self.e_fail,
            needed=fixed.needed if self.outcome in {None, "undecided"} else None,
            reason=fixed.reason if ended or fixed.value is None else None,
        )

    def _take(self, incumbent: FloatArray, candidate: FloatArray, weight: FloatArray) -> None:
        """Take a chunk that does not reach beyond the planned end, up to the pair that stops the test."""
        capitals = self._bets.walk(weight * incumbent, weight * candidate)
        scored = np.logical_or.accumulate(np.append(self._incumbent_scored, incumbent > 0))[1:]
        capitals[0] = np.where(scored, capitals[0], np.minimum(capitals[0], 1.0))
        crossed = (capitals >= self._threshold).any(axis=0)
        end = int(np.argmax(crossed)) + 1 if crossed.any() else len(incumbent)
        self._incumbent_scored = bool(scored[end - 1])
        self._incumbent.extend(incumbent[:end].tolist())
        self._candidate.extend(candidate[:end].tolist())
        self._weight.extend(weight[:end].tolist())
        for looks, values in zip(self._looks, capitals[:, :end], strict=True):
            looks.extend(values.tolist())
        self.e_pass = max(self.e_pass, float(capitals[0, :end].max()))
        self.e_fail = max(self.e_fail, float(capitals[1, :end].max()))
        self._conclude()

    def _conclude(self) -> Outcome | None:
        if self.e_pass >= self._threshold:
            self.outcome = "pass"
        elif self.e_fail >= self._threshold:
            self.outcome = "fail"
        elif not self.anytime and self.n == self.planned and self._final is None:
            self._end()
        elif not self.anytime and self.n >= self.most:
            self.outcome = "undecided"
        return self.outcome

    def _end(self) -> None:
        self._final = find(self._pairs(), self.floor, level=None)
        passed, failed = (p <= self.alpha for p in (self.p_value, self.p_value_below))
        self.outcome = "pass" if passed else "fail" if failed else None
        if self.outcome is None and self.n >= self.most:
            self.outcome = "undecided"

    def _p_value(self, largest_e: float, final: float) -> float:
        return min(1.0, 1 / largest_e if self.anytime else 2 * min(1 / largest_e, final))

    def _pairs(self) -> Pairs:
        weight = np.array(self._weight)
        equal = not len(weight) or bool((weight == weight[0]).all())
        return Pairs(
            incumbent=np.array(self._incumbent),
            candidate=np.array(self._candidate),
            weight=None if equal else weight / weight.sum(),
        )

    def _bet_interval(self, pairs: Pairs, value: float, threshold: float) -> tuple[float, float]:
        """The ratios around `value` at which neither capital reaches the threshold."""
        w = np.array(self._weight)
        bets = BetInversion(w * pairs.incumbent, w * pairs.candidate, self.floor, self.planned)
        limit = math.log(threshold)
        inside, low, high = value, 0.0, max(2.0, 2 * value)
        for _ in range(_HALVINGS if value > 0 else 0):
            middle = (low + inside) / 2
            rejected = bets.log_capital(middle)[0] >= limit
            low, inside = (middle, inside) if rejected else (low, middle)
        while bets.log_capital(high)[1] < limit:
            high *= 4
            if high > _LARGEST_RATIO:
                return low, math.inf
        inside = value
        for _ in range(_HALVINGS):
            middle = (inside + high) / 2
            rejected = bets.log_capital(middle)[1] >= limit
            high, inside = (middle, inside) if rejected else (high, middle)
        return low, high
