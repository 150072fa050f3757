"""Holds the parameters of the outlook, each marked as fitted to the history or assumed."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, cast

from crossgrade.errors import UsageError, nearest
from crossgrade.outlook._history import History

Side = Literal["efficiency", "recursion", "distribution"]
Strategy = Literal["cut", "hold", "specialise"]

SIDES: tuple[Side, ...] = ("efficiency", "recursion", "distribution")
STRATEGIES: tuple[Strategy, ...] = ("cut", "hold", "specialise")


def _fitted(default: float, why: str, least: float = 0.0, most: float = 1e6) -> Any:
    return field(default=default, metadata={"origin": "fitted", "why": why, "least": least, "most": most})


def _assumed(default: float, why: str, least: float = 0.0, most: float = 1e6) -> Any:
    return field(default=default, metadata={"origin": "assumed", "why": why, "least": least, "most": most})


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """Parameters of the outlook.

    Rates are per year unless a field says otherwise. Prices are US dollars per million tokens, at
    three input tokens to one output token. `from_history` fills the fitted fields. Each field's
    metadata has its origin and its range. Raises `UsageError` for a value out of its range.
    """

    closed_releases: float = _fitted(34.0, "models a year in the capability index")
    open_releases: float = _fitted(35.0, "models a year in the capability index")
    closed_record_share: float = _fitted(0.18, "share that set the closed record", 0, 1)
    open_record_share: float = _fitted(0.19, "share that set the open record", 0, 1)
    closed_jump: float = _fitted(1.6, "points by which a record is beaten, mean of an exponential", 0, 100)
    open_jump: float = _fitted(2.3, "the same for open weights", 0, 100)
    gap: float = _fitted(7.0, "points between the records, mean of the index's last year", -50, 100)
    teacher_lag: float = _fitted(
        5.5, "months since the closed record first reached the open one, mean over the index", 0, 60
    )
    closed_cuts: float = _fitted(0.15, "price cuts a year of one closed offer", 0, 50)
    open_cuts: float = _fitted(0.2, "price cuts a year of one open offer", 0, 50)
    closed_rises: float = _fitted(0.03, "price rises a year of one closed offer", 0, 50)
    open_rises: float = _fitted(0.08, "price rises a year of one open offer", 0, 50)
    closed_cut_to: float = _fitted(0.58, "price after a cut over before", 0.01, 1)
    open_cut_to: float = _fitted(0.8, "the same for open weights", 0.01, 1)
    rise_to: float = _fitted(1.4, "price after a rise over before, open offers: most rises are theirs", 1, 10)
    closed_delistings: float = _fitted(0.05, "delistings a year of one closed offer", 0, 50)
    open_delistings: float = _fitted(0.17, "delistings a year of one open model at a host", 0, 50)

    price_closed: float = _assumed(4.375, "GPT-4o's list price at three tokens in to one out", 1e-4)
    price_closed_small: float = _assumed(0.2625, "GPT-4o mini's", 1e-4)
    price_open: float = _assumed(0.1675, "Llama 4 Scout's at a fast host", 1e-4)
    price_open_small: float = _assumed(0.10, "smaller open models", 1e-4)
    small_points: float = _assumed(4.0, "by how much a small model is behind its camp's record", 0, 50)
    price_spread: float = _assumed(0.4, "standard deviation of the logarithm of a new model's price", 0, 3)
    price_drop: float = _assumed(0.6, "fall a year of the logarithm of a camp's prices for new models", 0, 5)
    unit_cost: float = _assumed(0.10, "cost to serve a million tokens, the serving model on 4 x H100", 1e-6)
    efficiency: float = _assumed(
        0.35, "fall a year of the logarithm of that cost: experts, chips, width", 0, 5
    )

    spend_elasticity: float = _assumed(0.3, "release rate against R&D spend, in logarithms", 0, 2)
    builder_gain: float = _assumed(0.15, "more releases for ten points of the best model that helps", 0, 5)
    teacher_pull: float = _assumed(
        1.0, "how an open jump grows with the gap to its teacher, teacher_lag months ago", 0, 5
    )
    research_share: float = _assumed(0.35, "share of closed margins that goes into R&D", 0, 1)

    device_ceiling: float = _assumed(0.35, "share of easy work that device defaults take in the end", 0, 1)
    device_midpoint: float = _assumed(18.0, "months until half of that", 0, 240)
    device_points: float = _assumed(
        -2.0, "work this far above today's median is still done on devices", -50, 50
    )
    open_capture: float = _assumed(0.04, "share a month of movable work that moves to open hosts", 0, 1)
    open_at_once: float = _assumed(0.3, "share of movable work that is on open hosts from the start", 0, 1)
    growth: float = _assumed(0.7, "growth a year of the logarithm of all tokens", -5, 5)
    price_elasticity: float = _assumed(0.5, "volume against price, in logarithms", 0, 3)
    open_stop: float = _assumed(0.10, "chance a year that the sponsor of open weights stops", 0, 10)
    cut_price: float = _assumed(0.5, "`cut`: closed prices of new models, against holding", 0.01, 1)
    special_price: float = _assumed(1.5, "`specialise`: closed prices of new models", 0.1, 10)
    special_focus: float = _assumed(1.2, "`specialise`: closed jumps, on the hard work they keep", 0.1, 10)

    rent_volatility: float = _assumed(
        0.35, "deviation a year of the logarithm of rent: an H100 rose 40 % in five months of 2025-26", 0, 5
    )
    rent_drift: float = _assumed(-0.10, "drift a year of the logarithm of rent for the same chip", -5, 5)
    discount_1_year: float = _assumed(0.20, "off the hourly rent for a year: 2.95 against 2.35", 0, 0.99)
    discount_3_years: float = _assumed(0.45, "off the hourly rent for three years", 0, 0.99)
    give_up_months: float = _assumed(3.0, "months without a good open model after which GPUs go", 1, 120)

    tokens: float = _assumed(2000.0, "tokens of one request", 1, 1e8)
    loss_low: float = _assumed(0.002, "least loss of a failed request in dollars", 0)
    loss_high: float = _assumed(0.02, "most, log-uniform", 1e-9)
    difficulty_low: float = _assumed(
        -6.0, "easiest workload, points against today's closed record", -100, 100
    )
    difficulty_high: float = _assumed(10.0, "hardest", -100, 100)
    slope: float = _assumed(0.25, "how sharply success depends on capability", 1e-3, 10)

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            least, most = each.metadata["least"], each.metadata["most"]
            if not least <= value <= most:
                raise UsageError(
                    f"{each.name} is {value:g}",
                    code="assumption-invalid",
                    hint=f"give a number from {least:g} to {most:g}: {each.metadata['why']}",
                )
        if self.loss_low > self.loss_high or self.difficulty_low > self.difficulty_high:
            raise UsageError(
                "a lower end lies above its upper end",
                code="assumption-reversed",
                hint="see loss_* and difficulty_*",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """One parameter as printed: its value, origin and description."""

    name: str
    value: float
    origin: Literal["fitted", "assumed", "given"]
    why: str


def from_history(history: History) -> Assumptions:
    """Return assumptions with the fitted fields from a history and the defaults for all others."""
    closed, opened = history.closed, history.open
    return Assumptions(
        closed_releases=closed.releases_per_year,
        open_releases=opened.releases_per_year,
        closed_record_share=closed.record_share,
        open_record_share=opened.record_share,
        closed_jump=closed.jump_points,
        open_jump=opened.jump_points,
        gap=history.gap_points,
        teacher_lag=history.lag_months,
        closed_cuts=closed.cuts_per_year,
        open_cuts=opened.cuts_per_year,
        closed_rises=closed.rises_per_year,
        open_rises=opened.rises_per_year,
        closed_cut_to=closed.cut_to,
        open_cut_to=opened.cut_to,
        rise_to=opened.rise_to,
        closed_delistings=closed.delistings_per_year,
        open_delistings=opened.delistings_per_year,
    )


def changed(assumptions: Assumptions, changes: dict[str, float]) -> Assumptions:
    """Return assumptions with some replaced.

    Raises `UsageError` for an unknown name, with similar names, and for a value out of its range.
    """
    names = [each.name for each in fields(assumptions)]
    for name in changes:
        if name not in names:
            near = nearest(name, names, 3)
            meant = f"did you mean {' or '.join(near)}? " if near else ""
            raise UsageError(
                f"no assumption is named {name!r}",
                code="assumption-unknown",
                hint=f"{meant}The last table of `crossgrade cost outlook` has them all",
            )
    return replace(assumptions, **cast("dict[str, Any]", changes))


def listed(assumptions: Assumptions, given: frozenset[str] = frozenset()) -> tuple[Assumption, ...]:
    """Return every assumption with its origin; those in `given` were set by the caller."""
    return tuple(
        Assumption(
            name=each.name,
            value=getattr(assumptions, each.name),
            origin="given" if each.name in given else each.metadata["origin"],
            why=each.metadata["why"],
        )
        for each in fields(assumptions)
    )
