"""Summarises simulated paths: half-lives, ablations, scenarios, GPU commitments and market revenue."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from crossgrade.errors import UsageError
from crossgrade.outlook._assumptions import (
    SIDES,
    Assumptions,
    Side,
    Strategy,
    changed,
    from_history,
)
from crossgrade.outlook._history import shipped_history
from crossgrade.outlook._paths import Paths, simulate

TOLERANCES = (0.0, 0.1, 0.3, 1.0)
"""Shares by which the total cost of today's choice may exceed the best offer's."""

DEFAULT_TOLERANCE = 0.1

LEAST_DAYS, MOST_DAYS = 30, 365
DAYS_PER_MONTH = 30.4375

SHRUNK = (0.20, 0.30)
"""The claim that is recomputed: closed revenue falls to this range of shares of today's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfLife:
    """The months until the odds are even that a choice is no longer within a tolerance of the best.

    `tolerance` is a share (0.1 is 10 %). `still_best` has the chance, from 0 to 1, that the choice is
    still within it at each month from 0. The standard error of a chance is at most 0.5 / sqrt(paths).
    `months` is None if the chance never falls below one half.
    """

    tolerance: float
    months: float | None
    still_best: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """The outcome of a set of assumptions at the last month: means over paths.

    Spend is a multiple of the spend on closed APIs at month 0. `closed_spend_low` and
    `closed_spend_high` bound its 80 % interval. Volumes are shares of all tokens. Half-lives are in
    months, None if they are beyond the last month.
    """

    name: str
    closed_spend: float
    closed_spend_low: float
    closed_spend_high: float
    open_spend: float
    closed_volume: float
    open_volume: float
    device_volume: float
    half_life_months: float | None
    camp_half_life_months: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A named set of changes to the assumptions, and the strategy of closed labs."""

    name: str
    changes: Mapping[str, float]
    strategy: Strategy
    why: str


SCENARIOS = (
    Scenario(
        name="bull",
        changes={"growth": 1.1, "open_stop": 0.3, "open_capture": 0.02},
        strategy="hold",
        why="demand doubles faster, sponsors of open weights stop sooner, work moves slowly",
    ),
    Scenario(
        name="bear",
        changes={"growth": 0.2, "open_capture": 0.15, "device_ceiling": 0.8, "price_elasticity": 0.2},
        strategy="cut",
        why="closed labs halve prices and volume hardly answers; devices and open hosts take the rest",
    ),
    Scenario(
        name="bifurcation",
        changes={"open_capture": 0.15, "device_ceiling": 0.7},
        strategy="specialise",
        why="closed labs keep hard work at higher prices, the rest goes to open hosts and devices",
    ),
)


def half_life(paths: Paths, tolerance: float) -> HalfLife:
    """Return how long today's choice stays within a tolerance of the best.

    `tolerance` is a share from 0 to 100 (0.3 is 30 %). Raises `UsageError` outside that range.
    """
    if not 0 <= tolerance <= 100:
        raise UsageError(
            f"a tolerance of {tolerance:g}", code="tolerance-invalid", hint="give a share from 0: 0.3 is 30 %"
        )
    return _half_life((paths.ratio <= 1 + tolerance).mean(axis=0), tolerance)


def camp_half_life(paths: Paths, tolerance: float = DEFAULT_TOLERANCE) -> HalfLife:
    """Return how long the best offer of the chosen camp, open or closed, stays within the tolerance."""
    return _half_life((paths.camp_ratio <= 1 + tolerance).mean(axis=0), tolerance)


def _half_life(chances: "np.ndarray[tuple[int], np.dtype[np.float64]]", tolerance: float) -> HalfLife:
    """Interpolate linearly between the month before the first below one half and that month."""
    below = np.flatnonzero(chances < 0.5)
    months: float | None = None
    if len(below):
        first = int(below[0])
        before = float(chances[first - 1]) if first else 1.0
        step = (before - 0.5) / (before - float(chances[first])) if first else 0.0
        months = max(0.0, first - 1 + step)
    return HalfLife(tolerance=tolerance, months=months, still_best=tuple(float(chance) for chance in chances))


def valid_days(paths: Paths, tolerance: float = DEFAULT_TOLERANCE) -> int:
    """Return the number of days that a decision is valid: its half-life, clipped to 30 to 365 days."""
    found = half_life(paths, tolerance).months
    days = MOST_DAYS if found is None else round(found * DAYS_PER_MONTH)
    return min(MOST_DAYS, max(LEAST_DAYS, days))


@lru_cache(maxsize=1)
def default_valid_days() -> int:
    """Return `valid_days` for the shipped history and the default assumptions.

    The seed is fixed, so the result is always the same.
    """
    rng = np.random.default_rng(20261125)
    return valid_days(simulate(from_history(shipped_history()), rng, paths=4000, months=12))


def outcome(name: str, paths: Paths, tolerance: float) -> Projection:
    """Return a summary of paths at their last month; `tolerance` is that of the half-lives."""
    spend = paths.closed_spend[:, -1]
    low, high = np.quantile(spend, [0.1, 0.9])
    return Projection(
        name=name,
        closed_spend=float(spend.mean()),
        closed_spend_low=float(low),
        closed_spend_high=float(high),
        open_spend=float(paths.open_spend[:, -1].mean()),
        closed_volume=float(paths.closed_volume[:, -1].mean()),
        open_volume=float(paths.open_volume[:, -1].mean()),
        device_volume=float(paths.device_volume[:, -1].mean()),
        half_life_months=half_life(paths, tolerance).months,
        camp_half_life_months=camp_half_life(paths, tolerance).months,
    )


def ablation(
    assumptions: Assumptions,
    *,
    seed: int,
    paths: int,
    months: int,
    strategy: Strategy = "hold",
    tolerance: float = DEFAULT_TOLERANCE,
) -> tuple[Projection, ...]:
    """Return five outcomes: with all three sides, without each one, and without any.

    All five use the same seed.
    """
    rows: list[tuple[str, Collection[Side]]] = [("all three", ())]
    rows += [(f"without {side}", (side,)) for side in SIDES]
    rows += [("without any", SIDES)]
    return tuple(
        outcome(
            name,
            simulate(
                assumptions,
                np.random.default_rng(seed),
                paths=paths,
                months=months,
                without=without,
                strategy=strategy,
            ),
            tolerance,
        )
        for name, without in rows
    )


def scenario_outcomes(
    assumptions: Assumptions,
    *,
    seed: int,
    paths: int,
    months: int,
    tolerance: float = DEFAULT_TOLERANCE,
    scenarios: Sequence[Scenario] = SCENARIOS,
) -> tuple[Projection, ...]:
    """Return the outcome of each named scenario, all with the same seed."""
    return tuple(
        outcome(
            each.name,
            simulate(
                changed(assumptions, dict(each.changes)),
                np.random.default_rng(seed),
                paths=paths,
                months=months,
                strategy=each.strategy,
            ),
            tolerance,
        )
        for each in scenarios
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketCase:
    """One case of `market_revenue`: its inputs and its result."""

    leaving: float
    price_cut: float
    elasticity: float
    growth: float
    revenue: float


def market_revenue(
    leaving: float,
    *,
    price_cut: float = 0.0,
    elasticity: float = 0.0,
    growth: float = 0.0,
    years: float = 1.0,
) -> float:
    """Return closed revenue as a multiple of the revenue before, (1 - f) (1 - d)^(1 - e) (1 + g)^years.

    f is `leaving`, the share of volume that leaves (0 to 1). d is `price_cut`, a share below 1. e is the
    price `elasticity` of volume. g is the `growth` of volume a year, above -1. Raises `UsageError` for
    values outside these ranges.
    """
    if not (0 <= leaving <= 1 and 0 <= price_cut < 1 and growth > -1):
        raise UsageError(
            "shares lie from 0 to 1, a price cut below 1, growth above -1",
            code="outlook-out-of-range",
            hint="write 0.75 for 75 %",
        )
    return float((1 - leaving) * (1 - price_cut) ** (1 - elasticity) * (1 + growth) ** years)


def shrunk_markets() -> tuple[MarketCase, ...]:
    """Return the cases of a grid of assumptions whose revenue lies in `SHRUNK`."""
    grid = product((0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9), (0.0, 0.5), (0.0, 0.5, 1.2), (0.0, 0.5, 1.0))
    cases = [
        MarketCase(
            leaving=f,
            price_cut=d,
            elasticity=e,
            growth=g,
            revenue=market_revenue(f, price_cut=d, elasticity=e, growth=g),
        )
        for f, d, e, g in grid
        if d > 0 or e == 0.0
    ]
    low, high = SHRUNK
    return tuple(case for case in cases if low - 1e-9 <= case.revenue <= high + 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRisk:
    """The risk of reserving GPUs for years, compared with paying by the hour while they are needed.

    `loss_share_*` is the committed cost divided by the flexible cost, minus 1. Above 0 the commitment
    costs more. `loss_chance` is the chance of that. `loss_share_low` and `loss_share_high` bound the
    80 % interval. `left_early` is the chance that the GPUs are given up before the end.
    `cheaper_rent` is the chance that the hourly price at the end is below the committed one.
    """

    years: int
    committed_usd_per_hour: float
    loss_chance: float
    loss_share_mean: float
    loss_share_low: float
    loss_share_high: float
    left_early: float
    cheaper_rent: float


def commitment_risk(
    assumptions: Assumptions,
    *,
    years: int,
    usd_per_gpu_hour: float,
    seed: int,
    paths: int = 10_000,
    tolerance: float = DEFAULT_TOLERANCE,
) -> CommitmentRisk:
    """Return the risk of a commitment of 1 or 3 years, given that open weights on own GPUs are best today.

    Only paths on which an open offer is within the tolerance of the best at month 0 count. Raises
    `UsageError` for another number of years, a price of 0 or less, or if no path counts.
    """
    a = assumptions
    discounts = {1: a.discount_1_year, 3: a.discount_3_years}
    if years not in discounts:
        raise UsageError(f"a commitment of {years} years", code="commitment-invalid", hint="1 or 3")
    if not usd_per_gpu_hour > 0:
        raise UsageError(
            f"{usd_per_gpu_hour:g} dollars a GPU-hour", code="rent-invalid", hint="give a price above 0"
        )
    months = 12 * years
    rng = np.random.default_rng(seed)
    world = simulate(a, rng, paths=paths, months=months, choice="open")
    camp = world.camp_ratio[world.camp_ratio[:, 0] <= 1 + tolerance]
    if not len(camp):
        raise UsageError(
            "open weights are best on no path",
            code="open-never-best",
            hint="change price_open or the difficulty of the work",
        )
    shocks = rng.standard_normal((len(camp), months)) * a.rent_volatility / np.sqrt(12)
    rent = usd_per_gpu_hour * np.exp(np.cumsum(shocks + a.rent_drift / 12, axis=1))
    needed = _needed(camp[:, 1:] > 1 + tolerance, round(a.give_up_months))
    committed = usd_per_gpu_hour * (1 - discounts[years])
    flexible = (rent * needed).sum(axis=1)
    share = committed * months / np.maximum(flexible, 1e-9) - 1
    low, high = np.quantile(share, [0.1, 0.9])
    return CommitmentRisk(
        years=years,
        committed_usd_per_hour=committed,
        loss_chance=float((share > 0).mean()),
        loss_share_mean=float(committed * months / flexible.mean() - 1),
        loss_share_low=float(low),
        loss_share_high=float(high),
        left_early=float((~needed[:, -1]).mean()),
        cheaper_rent=float((rent[:, -1] < committed).mean()),
    )


def _needed(away: NDArray[np.bool_], patience: int) -> NDArray[np.bool_]:
    """Return in which months GPUs are still needed, for `away` of shape (paths, months).

    The GPUs run the open model that is best in each month. They are given up for good after `patience`
    months in a row (`away`) in which no open model was good enough.
    """
    streak = np.zeros(len(away), dtype=np.int64)
    needed = np.ones_like(away)
    for month in range(away.shape[1]):
        streak = np.where(away[:, month], streak + 1, 0)
        before = needed[:, month - 1] if month else True
        needed[:, month] = before & (streak < patience)
    return needed
