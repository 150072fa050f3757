"""How many pairs a retention test needs."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from crossgrade.errors import UsageError
from crossgrade.stats._pairs import read_floor, read_rate
from crossgrade.stats._score_test import score_z
from crossgrade.stats._tails import normal_quantile

_MOST_PAIRS = 1_000_000_000
_HALVINGS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The pairs a test needs to settle an expected retention, and what a budget can tell apart.

    `n` pairs settle it in a fixed design with probability `power`; `planned` is the same for
    `SequentialRetention`, whose test at the end has half of alpha (it usually stops long
    before). None: no number of pairs settles it, because the expected retention is the floor.
    `smallest_separable_retention` is the smallest retention above the floor that a fixed test
    of the budget (of `n` where none was given) passes with that power; None if not even a
    candidate that is always right would pass. `correlation` is the one used: a wanted one that
    the two means do not allow is replaced by the nearest that they do.
    """

    n: int | None
    planned: int | None
    smallest_separable_retention: float | None
    incumbent_mean: float
    correlation: float
    expected_retention: float
    floor: float
    alpha: float
    power: float


def plan(  # noqa: PLR0917 - the documented order, from what is known to what is wished
    incumbent_mean: float,
    correlation: float = 0.3,
    expected_retention: float = 0.95,
    floor: float = 0.85,
    alpha: float = 0.05,
    power: float = 0.8,
    *,
    budget: int | None = None,
) -> Plan:
    """Plan a retention test for right and wrong answers.

    `incumbent_mean` is the share of right answers of the incumbent, in (0, 1); `correlation`
    that between the two models' scores (0.3 if nothing is known; 0.2 to 0.6 is usual). With
    p10 and p01 the shares of pairs that only one gets right, mu and s^2 mean and variance of
    c - floor b, n = ((z_alpha sqrt(floor (p10 + p01)) + z_power s) / mu)^2. The normal
    approximation promises too much below about 100 pairs. Graded scores vary less than right
    and wrong ones of the same mean, so for them the plan is on the safe side.

    Raises `UsageError` for an expected retention that would need a mean above 1.
    """
    read_floor(floor)
    for name, rate in (("incumbent_mean", incumbent_mean), ("alpha", alpha), ("power", power)):
        read_rate(name, rate)
    if not -1.0 <= correlation <= 1.0:
        raise UsageError(
            f"correlation is {correlation}; it must lie in [-1, 1]",
            code="correlation-invalid",
            hint="0.3 is a fair guess",
        )
    if not 0.0 <= expected_retention * incumbent_mean <= 1.0:
        raise UsageError(
            f"a retention of {expected_retention} of an incumbent mean of {incumbent_mean} is not in [0, 1]",
            code="retention-impossible",
            hint=f"with this incumbent the expected retention is at most {1 / incumbent_mean:.3f}",
        )
    design = _Design(incumbent_mean=incumbent_mean, correlation=correlation, floor=floor, power=power)
    n = design.pairs_needed(expected_retention, alpha)
    at = n if budget is None else budget
    return Plan(
        n=n,
        planned=design.pairs_needed(expected_retention, alpha / 2),
        smallest_separable_retention=None if at is None else design.smallest_separable(at, alpha),
        incumbent_mean=incumbent_mean,
        correlation=design.cells(expected_retention)[3],
        expected_retention=expected_retention,
        floor=floor,
        alpha=alpha,
        power=power,
    )


def pairs_to_certify(planned: Plan, alpha: float) -> int | None:
    """Return how many pairs pass the fixed test at `alpha`, in (0, 1), with the power of a plan.

    None if its expected retention is not above the floor, or no number of pairs will do. The normal
    approximation of `plan` promises too much at strict error rates: at 0.004 its pairs have 3 to 7 points
    less power than wanted. This takes the statistic that the test has on a table with the expected shares,
    with its variance under the floor and its allowance for skewness.
    """
    read_rate("alpha", alpha)
    return _design_of(planned).pairs_passing(planned.expected_retention, alpha)


def least_certified(planned: Plan, alpha: float, n: int) -> float | None:
    """Return the smallest retention that `n` pairs pass at `alpha` with the power of a plan.

    None if not even a candidate that is always right would. It is the inverse of `pairs_to_certify`.
    """
    read_rate("alpha", alpha)
    design = _design_of(planned)
    return design.smallest(lambda retention: _within(design.pairs_passing(retention, alpha), n))


def _design_of(planned: Plan) -> "_Design":
    return _Design(
        incumbent_mean=planned.incumbent_mean,
        correlation=planned.correlation,
        floor=planned.floor,
        power=planned.power,
    )


def _within(needed: int | None, n: int) -> bool:
    return needed is not None and needed <= n


@dataclass(frozen=True, slots=True, kw_only=True)
class _Design:
    """The settings that stay while the retention and the error rate are varied."""

    incumbent_mean: float
    correlation: float
    floor: float
    power: float

    def cells(self, retention: float) -> tuple[float, float, float, float]:
        """Shares p11, p10, p01 of the paired table, and the correlation they have."""
        b, c = self.incumbent_mean, self.incumbent_mean * retention
        spread = math.sqrt(b * (1 - b) * max(c * (1 - c), 0.0))
        p11 = min(max(b * c + self.correlation * spread, b + c - 1, 0.0), b, c)
        return p11, b - p11, c - p11, (p11 - b * c) / spread if spread > 0 else 0.0

    def pairs_needed(self, retention: float, alpha: float) -> int | None:
        """The n of `plan` (None if no number, or more than a thousand million, would do)."""
        p11, p10, p01, _ = self.cells(retention)
        mean = (retention - self.floor) * self.incumbent_mean
        if abs(mean) < 1e-12:
            return None
        variance = p11 * (1 - self.floor) ** 2 + p10 * self.floor**2 + p01 - mean * mean
        at_null = normal_quantile(1 - alpha) * math.sqrt(self.floor * (p10 + p01))
        root = at_null + normal_quantile(self.power) * math.sqrt(max(variance, 0.0))
        pairs = (max(root, 0.0) / mean) ** 2
        return max(1, math.ceil(pairs)) if pairs <= _MOST_PAIRS else None

    def pairs_passing(self, retention: float, alpha: float) -> int | None:
        """The n of `pairs_to_certify`."""
        p11, p10, p01, _ = self.cells(retention)
        mean = (retention - self.floor) * self.incumbent_mean
        variance = p11 * (1 - self.floor) ** 2 + p10 * self.floor**2 + p01 - mean * mean
        at_null, beyond = normal_quantile(1 - alpha), normal_quantile(self.power)

        def enough(n: int) -> bool:
            z = float(score_z(n * p11, n * p10, n * p01, self.floor)[0])
            return z >= at_null + beyond * math.sqrt(max(variance, 0.0)) * z / (math.sqrt(n) * mean)

        if mean < 1e-12 or not enough(_MOST_PAIRS):
            return None
        low, high = 0, _MOST_PAIRS
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high

    def smallest_separable(self, n: int, alpha: float) -> float | None:
        """The smallest retention above the floor that `n` pairs settle."""
        return self.smallest(lambda retention: _within(self.pairs_needed(retention, alpha), n))

    def smallest(self, is_enough: Callable[[float], bool]) -> float | None:
        """The smallest retention above the floor that is enough (None if none is)."""
        low, high = self.floor, 1 / self.incumbent_mean
        if high <= low or not is_enough(high):
            return None
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if is_enough(middle) else (middle, high)
        return high
