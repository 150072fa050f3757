"""Figures about money: what each policy keeps and costs, and what a million tokens cost at each offer."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from crossgrade.catalog.bills import Bills, OfferBill
from crossgrade.decide import Certificate, PolicyCost, certified_by
from crossgrade.report import _format as fmt
from crossgrade.report._chart import Axis, Chart, Dot, Rule, draw, linear_ticks, log_ticks
from crossgrade.report._rows import Key, Row, Rows
from crossgrade.routing import Policy

if TYPE_CHECKING:
    from crossgrade.hosting.boxes import BoxBill

MOST_BARS = 40
MOST_NAMED = 8
"""Policies that a frontier names beside their dots; more of them are numbered, with a list."""
_LONGEST = 46
_APART = 40.0
"""How many times the cheapest policy the dearest must cost for a logarithmic axis."""

_OFFERS = {
    "incumbent": "the incumbent",
    "certified": "certified for this workload",
    "plain": "a candidate of this verdict",
    "other": "other offers",
    "gone": "no longer sold",
    "own": "your own GPUs, as busy as planned, with the 80 % band",
}


class Frontier:
    """The figure of policies by cost and retention, with the list of those that are only numbered."""

    def __init__(
        self, costs: Sequence[PolicyCost], certificates: Sequence[Certificate], floor: float
    ) -> None:
        self.drawn = [cost for cost in costs if _point(cost) is not None]
        self._certificates = certificates
        self._floor = floor
        amounts = [cost.per_request_usd.value for cost in self.drawn]
        self._many, self.unit = fmt.scale(amounts)

    @property
    def numbered(self) -> tuple[str, ...]:
        """The policies in the order of their numbers; empty where each has its name beside it."""
        if len(self.drawn) <= MOST_NAMED:
            return ()
        return tuple(label(cost.policy) for cost in self.drawn)

    @property
    def keys(self) -> tuple[Key, ...]:
        """The legend."""
        kinds = {self._kind(cost) for cost in self.drawn}
        words = {"incumbent": "keep the incumbent", "certified": "certified", "plain": "not certified"}
        keys = [Key(kind=each, shape="dot", words=said) for each, said in words.items() if each in kinds]
        if any(is_dominated(cost, self.drawn) for cost in self.drawn):
            keys.append(Key(kind="plain", shape="hollow", words="another keeps as much for less"))
        return tuple(keys)

    def draw(self) -> str | None:
        """Return the chart (None if fewer than two policies have both figures)."""
        if len(self.drawn) < 2:
            return None
        named = not self.numbered
        dots = tuple(self._dot(cost, label(cost.policy) if named else str(at))
                     for at, cost in enumerate(self.drawn, start=1))  # fmt: skip
        heights = [end for dot in dots for end in (dot.y, *(dot.y_ends or ()))] + [self._floor, 1.0]
        low, high = max(0.0, min(heights) - 0.03), min(max(heights), 1.6) + 0.03
        return draw(
            Chart(
                title=f"Quality kept over cost, for {len(dots)} policies",
                x=self._x(dots),
                y=Axis(low=low, high=high, title="share of the incumbent's quality that is kept",
                       ticks=tuple((tick, f"{tick:g}") for tick in linear_ticks(low, high, 5))),
                dots=dots,
                rules=(Rule(at=self._floor, label=f"floor {self._floor:g}"),),
            )
        )  # fmt: skip

    def _x(self, dots: Sequence[Dot]) -> Axis:
        amounts = [end for dot in dots for end in (dot.x, *(dot.x_ends or ()))]
        title = f"cost of {self.unit}requests" if self.unit else "cost of a request"
        least = min((dot.x for dot in dots if dot.x > 0), default=0.0)
        if least and max(amounts) > _APART * least and min(amounts) > 0:
            low, high = min(amounts) / 1.5, max(amounts) * 1.5
            ticks = log_ticks(low, high, 5)
            return Axis(low=low, high=high, ticks=_dollars(ticks if len(ticks) > 1 else (low, high)),
                        title=f"{title} (logarithmic)", log=True)  # fmt: skip
        high = max(amounts) * 1.08 or 1.0
        return Axis(low=0.0, high=high, ticks=_dollars(linear_ticks(0.0, high, 5)), title=title)

    def _dot(self, cost: PolicyCost, words: str) -> Dot:
        kept, usd = cost.retention, cost.per_request_usd
        point = _point(cost)
        assert kept is not None, "only policies with both figures are drawn"
        assert point is not None, "only policies with both figures are drawn"
        many = self._many
        x_ends = None if usd.low is None or usd.high is None else (usd.low * many, usd.high * many)
        return Dot(
            x=point[0] * many,
            y=point[1],
            kind=self._kind(cost),
            label=fmt.short(words, _LONGEST),
            title=f"{label(cost.policy)}: {fmt.money(point[0] * many)}, keeps {point[1]:.3f}",
            hollow=is_dominated(cost, self.drawn),
            x_ends=x_ends,
            y_ends=None if kept.low is None or kept.high is None else (kept.low, kept.high),
        )

    def _kind(self, cost: PolicyCost) -> str:
        if cost.policy.kind == "keep":
            return "incumbent"
        return "certified" if certified_by(cost.policy, self._certificates) else "plain"


def _dollars(ticks: Sequence[float]) -> tuple[tuple[float, str], ...]:
    return tuple((tick, fmt.tick(tick)) for tick in ticks)


def is_dominated(cost: PolicyCost, others: Sequence[PolicyCost]) -> bool:
    """Return whether another policy keeps at least as much for no more, and is better in one of the two."""
    mine = _point(cost)
    theirs = [point for other in others if other is not cost and (point := _point(other)) is not None]
    if mine is None:
        return False
    return any(usd <= mine[0] and kept >= mine[1] and (usd, kept) != mine for usd, kept in theirs)


def price_bars(
    bills: Bills,
    candidates: Collection[str] = (),
    certified: Collection[str] = (),
    *,
    most_bars: int = MOST_BARS,
) -> Rows | None:
    """Return the cost of a million tokens of this traffic at each offer; None if no two prices are known.

    Boxes of one's own stand above the offers, as busy as planned, with the band of the serving model.
    """
    rows = [row for row in bills.offers if row.bill.per_mtok_usd is not None]
    if len(rows) + len(bills.boxes) < 2:
        return None
    kept = {bills.incumbent, *candidates}
    shown = [row for at, row in enumerate(rows) if at < most_bars or row.offer in kept]
    most = max(
        [float(row.bill.per_mtok_usd or 0) for row in shown]
        + [box.planned_per_mtok_usd.high or box.planned_per_mtok_usd.value or 0.0 for box in bills.boxes]
    )
    boxes = [_box(box, most) for box in bills.boxes]
    bars = tuple(boxes) + tuple(_bar(row, bills.incumbent, candidates, certified, most) for row in shown)
    kinds = {bar.kind for bar in bars}
    left_out = len(rows) - len(shown)
    return Rows(
        rows=bars,
        keys=tuple(Key(kind=kind, words=words) for kind, words in _OFFERS.items() if kind in kinds),
        note=f"{fmt.count(left_out, 'more expensive offer')} in the table alone." if left_out else "",
    )


def _bar(
    row: OfferBill,
    incumbent: str | None,
    candidates: Collection[str],
    certified: Collection[str],
    most: float,
) -> Row:
    usd = float(row.bill.per_mtok_usd or 0)
    kind = "other"
    if row.offer == incumbent:
        kind = "incumbent"
    elif not row.can_be_bought:
        kind = "gone"
    elif row.offer in candidates:
        kind = "certified" if row.offer in certified else "plain"
    return Row(name=row.offer, kind=kind, words=fmt.money(usd), width=_percent(usd, most))


def _box(box: "BoxBill", most: float) -> Row:
    planned = box.planned_per_mtok_usd
    assert planned.value is not None, "the serving model gives a number"
    low, high = planned.low or planned.value, planned.high or planned.value
    return Row(
        name=box.name,
        kind="own",
        words=fmt.money(planned.value),
        small=f"{box.planned_utilisation:.0%} busy",
        start=_percent(low, most),
        width=round(_percent(high, most) - _percent(low, most), 2),
        at=_percent(planned.value, most),
    )


def _percent(usd: float, most: float) -> float:
    return round(100 * usd / most, 2) if most else 0.0


def _point(cost: PolicyCost) -> tuple[float, float] | None:
    kept, usd = cost.retention, cost.per_request_usd.value
    if kept is None or kept.value is None or usd is None:
        return None
    return usd, kept.value


def label(policy: Policy) -> str:
    """Return a policy in a few words."""
    if policy.kind == "keep" or policy.candidate is None:
        return f"keep {policy.incumbent}"
    if policy.kind == "switch":
        return policy.candidate
    several = len(policy.segments)
    where = policy.segments[0] if several == 1 else f"{several} segments"
    return f"{fmt.short(policy.candidate, 30)} on {where}"
