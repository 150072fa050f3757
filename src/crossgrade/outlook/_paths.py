"""Simulates prices, releases and capability month by month, all paths at once.

Releases are a Poisson process, because measured gaps have a coefficient of variation near 1. A
record release raises its camp's record by an exponential jump. All other releases are small models
behind the record. Three sides act on this and on each other, and each can be switched off:

- efficiency: the cost of serving a token falls with better architectures and chips, and new models
  are priced lower. Without it, prices of new models stay the same.
- recursion: releases come faster with R&D spend and with a better model to help build the next. An
  open jump grows with the gap to the closed teacher, whose record reaches it after a lag. Without
  it, rates and jumps stay the same.
- distribution: devices take easy work, and open hosts take work that can move. The remaining closed
  margins fund R&D. Without it, work goes to the cheapest offer at once.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossgrade.errors import UsageError
from crossgrade.outlook._assumptions import SIDES, Assumptions, Side, Strategy

Floats = NDArray[np.float32]
CLOSED, OPEN = 0, 1

WORKLOADS = 9
"""The number of equal shares, by difficulty, that the market's work is divided into."""

MOST_PATHS, MOST_MONTHS = 100_000, 120

_FAR = np.float32(1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The simulated values of n paths at each month from 0 to `months`.

    All arrays have the shape (n, months + 1), except `chosen_open`, which is (n,). `ratio` is the cost
    of today's choice divided by that of the best offer in the month. It is at least 1, and infinite
    once the choice is delisted. `camp_ratio` is the same for the best offer of the chosen camp.
    `closed_volume`, `open_volume` and `device_volume` are shares of all tokens. `closed_spend` and
    `open_spend` are multiples of the spend on closed APIs at month 0.
    """

    ratio: Floats
    camp_ratio: Floats
    chosen_open: NDArray[np.bool_]
    closed_volume: Floats
    open_volume: Floats
    device_volume: Floats
    closed_spend: Floats
    open_spend: Floats

    @property
    def months(self) -> int:
        """The last month; month 0 is today."""
        return int(self.ratio.shape[1]) - 1


def simulate(
    assumptions: Assumptions,
    rng: np.random.Generator,
    *,
    paths: int = 10_000,
    months: int = 24,
    without: Collection[Side] = (),
    strategy: Strategy = "hold",
    choice: str = "cheapest",
) -> Paths:
    """Return simulated paths under assumptions.

    `without` names the sides to switch off. `choice` is the decision at month 0: the "cheapest" offer
    of all, or the cheapest "open" or "closed" one. Raises `UsageError` for sizes beyond `MOST_PATHS`
    and `MOST_MONTHS`, an unknown side or an unknown choice.
    """
    if not (1 <= paths <= MOST_PATHS and 1 <= months <= MOST_MONTHS):
        raise UsageError(
            f"{paths:,} paths over {months:,} months",
            code="paths-invalid",
            hint=f"at most {MOST_PATHS:,} paths, {MOST_MONTHS} months",
        )
    for side in without:
        if side not in SIDES:
            raise UsageError(
                f"`--without` knows no {side!r}", code="side-unknown", hint=f"one of: {', '.join(SIDES)}"
            )
    if choice not in {"cheapest", "open", "closed"}:
        raise UsageError(
            f"a choice of {choice!r}", code="choice-invalid", hint="one of: cheapest, open, closed"
        )
    world = _World(assumptions, rng, paths, months, sides=frozenset(SIDES) - set(without), strategy=strategy)
    return world.run(choice)


class _World:
    """The state of all paths during the simulation."""

    def __init__(
        self,
        a: Assumptions,
        rng: np.random.Generator,
        paths: int,
        months: int,
        *,
        sides: frozenset[Side],
        strategy: Strategy,
    ) -> None:
        self.a, self.rng, self.n, self.months, self.sides = a, rng, paths, months, sides
        self.strategy = strategy
        uniform = rng.random(paths, dtype=np.float32)
        self.hardness = (a.difficulty_low + (a.difficulty_high - a.difficulty_low) * uniform)[:, None]
        low, high = np.log(max(a.loss_low, 1e-12)), np.log(max(a.loss_high, 1e-12))
        self.loss = np.exp(low + (high - low) * rng.random(paths, dtype=np.float32)).astype(np.float32)[
            :, None
        ]
        self.record = np.stack([np.zeros(paths), np.full(paths, -a.gap)]).astype(np.float32)
        cut = a.cut_price if strategy == "cut" else 1.0
        special = a.special_price if strategy == "specialise" else 1.0
        self.level = np.zeros((2, paths), dtype=np.float32)  # log of new models' prices relative to today's
        self.level[CLOSED] += np.log(cut * special)
        self.listed = np.array([[a.price_closed, a.price_closed_small], [a.price_open, a.price_open_small]])
        self.closed_records = [self.record[CLOSED].copy()]  # by month
        self.supplied = np.ones(paths, dtype=bool)  # whether open weights are still released
        self.research = np.ones(paths, dtype=np.float32)  # R&D spend relative to month 0
        self.offers = 4 + 4 * months
        self.used = 0
        self.quality = np.full((self.offers, paths), -_FAR, dtype=np.float32)
        self.price = np.full((self.offers, paths), _FAR, dtype=np.float32)
        self.dies = np.full((self.offers, paths), np.inf, dtype=np.float32)
        self.camp_of = np.zeros(self.offers, dtype=int)
        self.total = np.full((self.offers, paths), np.inf, dtype=np.float32)
        self.best_by_work = np.full((2, WORKLOADS, paths), np.inf, dtype=np.float32)
        self.price_by_work = np.zeros((2, WORKLOADS, paths), dtype=np.float32)
        steps = (np.arange(WORKLOADS) + 0.5) / WORKLOADS
        self.work = (a.difficulty_low + (a.difficulty_high - a.difficulty_low) * steps).astype(np.float32)
        self.typical_loss = np.float32(np.sqrt(max(a.loss_low, 1e-12) * max(a.loss_high, 1e-12)))
        self.first_price = self.price_by_work
        self.first_closed = np.ones(paths, dtype=np.float32)

    def run(self, choice: str) -> Paths:
        """Simulate all months and return the paths."""
        self._start()
        shape = (self.n, self.months + 1)
        ratios, volumes = ("ratio", "camp_ratio"), ("closed_volume", "open_volume", "device_volume")
        names = (*ratios, *volumes, "closed_spend", "open_spend")
        out = {name: np.zeros(shape, dtype=np.float32) for name in names}
        chosen = self._choose(choice)
        chosen_camp = self.camp_of[chosen]
        for month in range(self.months + 1):
            if month:
                self._release(month)
                self._reprice(chosen)
            costs = np.where(self.dies[: self.used] > month, self.total[: self.used], np.inf)
            camps = np.stack(
                [costs[self.camp_of[: self.used] == each].min(axis=0) for each in (CLOSED, OPEN)]
            )
            least, rows = camps.min(axis=0), np.arange(self.n)
            for name, own in (("ratio", costs[chosen, rows]), ("camp_ratio", camps[chosen_camp, rows])):
                gone = np.full(self.n, np.inf, dtype=np.float32)
                out[name][:, month] = np.divide(own, least, out=gone, where=np.isfinite(own))
            for name, values in self._market(month).items():
                out[name][:, month] = values
        return Paths(chosen_open=chosen_camp == OPEN, **out)

    def _start(self) -> None:
        for camp, (record, small) in enumerate(self.listed):
            kept = np.exp(self.level[camp])
            self._add(camp, self.record[camp], record * kept, 0)
            self._add(camp, self.record[camp] - np.float32(self.a.small_points), small * kept, 0)
        self.first_price = self.price_by_work.copy()

    def _choose(self, choice: str) -> NDArray[np.intp]:
        costs = self.total[: self.used].copy()
        if choice != "cheapest":
            wanted = OPEN if choice == "open" else CLOSED
            costs[self.camp_of[: self.used] != wanted] = np.inf
        return np.asarray(costs.argmin(axis=0))

    def _add(self, camp: int, quality: Floats, price: Floats, month: int, here: Floats | None = None) -> None:
        """Add an offer; `here` is 0 on paths where the model is not released."""
        a, at = self.a, self.used
        rate = a.closed_delistings if camp == CLOSED else a.open_delistings
        life = self.rng.standard_exponential(self.n, dtype=np.float32) * np.float32(12 / max(rate, 1e-9))
        there = np.ones(self.n, dtype=bool) if here is None else here > 0
        self.used += 1
        self.camp_of[at] = camp
        self.quality[at], self.price[at] = quality, price
        self.dies[at] = np.where(there, month + life, -1.0)
        self.total[at] = self._total(quality, self.price[at])
        # The market uses the best model released so far for each kind of work. It ignores delistings.
        seen = np.where(there, price, _FAR).astype(np.float32)
        fails = _failing(a.slope, quality[None] - self.work[:, None])
        cost = seen[None] * np.float32(a.tokens / 1e6) + self.typical_loss * fails
        better = cost < self.best_by_work[camp]
        self.best_by_work[camp] = np.where(better, cost, self.best_by_work[camp])
        self.price_by_work[camp] = np.where(better, seen[None], self.price_by_work[camp])

    def _total(self, quality: Floats, price: Floats) -> Floats:
        """Return the cost in dollars of a request on each path's own workload: tokens and failures."""
        a = self.a
        fails = _failing(a.slope, quality - self.hardness[:, 0])
        return np.asarray(price * np.float32(a.tokens / 1e6) + self.loss[:, 0] * fails, dtype=np.float32)

    def _release(self, month: int) -> None:
        a, rng = self.a, self.rng
        self.supplied &= rng.random(self.n) >= -np.expm1(-a.open_stop / 12)
        if "efficiency" in self.sides:
            floor = np.log(np.float32(a.unit_cost / a.price_open_small)) - np.float32(
                a.efficiency * month / 12
            )
            self.level -= np.float32(a.price_drop / 12)
            self.level[OPEN] = np.maximum(self.level[OPEN], floor)
        best = self.record.max(axis=0)
        for camp, rate, share, jump in (
            (CLOSED, a.closed_releases, a.closed_record_share, a.closed_jump),
            (OPEN, a.open_releases, a.open_record_share, a.open_jump),
        ):
            speed = pull = np.ones(self.n, dtype=np.float32)
            if "recursion" in self.sides:
                speed = (1 + np.float32(a.builder_gain) * np.maximum(best, 0) / 10).astype(np.float32)
                if camp == CLOSED:
                    speed *= np.clip(self.research, 0.05, 20) ** np.float32(a.spend_elasticity)
                elif a.gap > 0:
                    pull = self._teacher_pull(month)
            if camp == OPEN:
                speed = speed * self.supplied
            records = rng.poisson(rate * share / 12 * speed)
            others = rng.poisson(rate * (1 - share) / 12 * speed)
            ahead = np.where(records > 0, rng.standard_gamma(np.maximum(records, 1)), 0).astype(np.float32)
            focus = np.float32(a.special_focus if self.strategy == "specialise" and camp == CLOSED else 1.0)
            self.record[camp] += ahead * pull * np.float32(jump) * focus
            kept = np.exp(self.level[camp])
            for small, count in ((0, records), (1, others)):
                # The cheapest of `count` releases: the least of `count` log-normal draws, by its quantile.
                uniform = rng.random(self.n) ** (1 / np.maximum(count, 1))
                luck = np.exp(-a.price_spread * _normal_quantile(uniform)).astype(np.float32)
                price = (self.listed[camp, small] * kept * luck).astype(np.float32)
                self._add(
                    camp,
                    self.record[camp] - np.float32(small * a.small_points),
                    price,
                    month,
                    here=count.astype(np.float32),
                )

        self.closed_records.append(self.record[CLOSED].copy())

    def _teacher_pull(self, month: int) -> Floats:
        """Return the factor on open jumps due to the closed record of `teacher_lag` months ago.

        That record, plus the mean gain of closed labs during the lag, minus the open record, is
        divided by today's gap. The ratio is 1 while both camps keep their pace, and above 1 some
        months after a closed leap. It is clipped to 0.1 to 3 and raised to the power `teacher_pull`.
        """
        a = self.a
        lag = round(a.teacher_lag)
        a_month = a.closed_releases * a.closed_record_share * a.closed_jump / 12
        seen = month - 1 - lag
        teacher = self.closed_records[seen] if seen >= 0 else np.float32(a_month * seen)
        ratio = (teacher + np.float32(a_month * lag) - self.record[OPEN]) / np.float32(a.gap)
        return np.asarray(np.clip(ratio, 0.1, 3) ** np.float32(a.teacher_pull), dtype=np.float32)

    def _reprice(self, chosen: NDArray[np.intp]) -> None:
        """Cut or raise the price of the chosen offer; all other offers keep their price."""
        a, rows = self.a, np.arange(self.n)
        is_open = self.camp_of[chosen] == OPEN
        draw = self.rng.random(self.n)
        cut = np.where(is_open, a.open_cuts, a.closed_cuts) / 12
        rise = np.where(is_open, a.open_rises, a.closed_rises) / 12
        cut_to = np.where(is_open, a.open_cut_to, a.closed_cut_to)
        factor = np.where(draw < cut, cut_to, np.where(draw < cut + rise, a.rise_to, 1.0)).astype(np.float32)
        self.price[chosen, rows] *= factor
        moved = self._total(self.quality[chosen, rows], self.price[chosen, rows])
        self.total[chosen, rows] = moved

    def _market(self, month: int) -> dict[str, Floats]:
        """Split all tokens among closed APIs, open hosts and devices, and set R&D by closed margins."""
        a = self.a
        cheaper_open = self.best_by_work[OPEN] < self.best_by_work[CLOSED]
        moved = cheaper_open.astype(np.float32)
        device = np.zeros(self.n, dtype=np.float32)
        kept = np.ones((WORKLOADS, 1), dtype=np.float32)
        if "distribution" in self.sides:
            # Work moves to open hosts gradually, not on the day it becomes cheaper there.
            moved = moved * np.float32(
                a.open_at_once + (1 - a.open_at_once) * -np.expm1(-a.open_capture * month)
            )
            grown = _logistic(month, a.device_midpoint) - _logistic(0, a.device_midpoint)
            taken = a.device_ceiling * max(0.0, grown)
            middle = (a.difficulty_low + a.difficulty_high) / 2
            easy = self.work <= middle + a.device_points
            kept = (1 - taken * easy).astype(np.float32)[:, None]
            device = np.full(self.n, (taken * easy).mean(), dtype=np.float32)
        volume = np.float32(np.exp(a.growth * month / 12)) / WORKLOADS
        open_work, closed_work = kept * moved, kept * (1 - moved)
        closed_share, open_share = closed_work.sum(axis=0) / WORKLOADS, open_work.sum(axis=0) / WORKLOADS
        closed = (closed_work * self._demand(CLOSED) * self.price_by_work[CLOSED]).sum(axis=0) * volume
        opened = (open_work * self._demand(OPEN) * self.price_by_work[OPEN]).sum(axis=0) * volume
        if month == 0:
            self.first_closed = np.maximum(closed, np.float32(1e-12))
        if "distribution" in self.sides:
            margin = closed / self.first_closed
            self.research = (1 - a.research_share + a.research_share * margin).astype(np.float32)
        return {
            "closed_volume": closed_share,
            "open_volume": open_share,
            "device_volume": device,
            "closed_spend": closed / self.first_closed,
            "open_spend": opened / self.first_closed,
        }

    def _demand(self, camp: int) -> Floats:
        """Return the factor on the tokens of month 0 due to the change in price, from 0.01 to 100."""
        ratio = np.maximum(self.price_by_work[camp] / self.first_price[camp], 1e-6)
        return np.asarray(np.clip(ratio ** np.float32(-self.a.price_elasticity), 0.01, 100), dtype=np.float32)


def _failing(slope: float, ahead: Floats) -> Floats:
    """Return the chance that a request fails on a model `ahead` points above the request's difficulty."""
    return np.asarray(1 / (1 + np.exp(np.clip(np.float32(slope) * ahead, -80, 80))), dtype=np.float32)


def _logistic(month: float, midpoint: float) -> float:
    return float(1 / (1 + np.exp(-(month - midpoint) / max(midpoint / 4, 1e-9))))


def _normal_quantile(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import ndtri

    return np.asarray(ndtri(np.clip(uniform, 1e-9, 1 - 1e-9)))
