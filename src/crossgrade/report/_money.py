"""Figures about money: what each policy keeps and costs, and what a million tokens cost at each offer."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossgrade.catalog.bills import Bills, OfferBill
from crossgrade.decide import PolicyCost
from crossgrade.report import _format as fmt
from crossgrade.report._figures import COLOURS, new_figure, plain_labels, to_svg
from crossgrade.routing import Policy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from crossgrade.economics.boxes import BoxBill

MOST_BARS = 40
_LONGEST = 34
_INK, _MUTED, _GOOD, _BAD, _OPEN, _LINE, _FLOOR = COLOURS


@plain_labels()
def frontier(costs: Sequence[PolicyCost], floor: float, salt: str = "frontier") -> str | None:
    """Draw each policy at its cost and retention, with both intervals; dominated ones grey.

    None where fewer than two policies have both figures.
    """
    drawn = [cost for cost in costs if _point(cost) is not None]
    if len(drawn) < 2:
        return None
    figure, axes = new_figure(8.2, 3.6)
    for cost in drawn:
        _policy(axes, cost, dominated=is_dominated(cost, drawn))
    axes.axhline(floor, color=_FLOOR, linestyle=(0, (4, 3)), linewidth=1.2)
    axes.margins(x=0.18, y=0.15)
    axes.set_xlim(left=max(0.0, axes.get_xlim()[0]))
    axes.xaxis.set_major_formatter(lambda value, _: fmt.money(value))
    axes.set_xlabel("cost of a request", color=_MUTED)
    axes.set_ylabel(f"retention (dashed: the floor {floor:g})", color=_MUTED)
    return to_svg(figure, salt, f"Retention over cost of {len(drawn)} policies, with intervals")


def is_dominated(cost: PolicyCost, others: Sequence[PolicyCost]) -> bool:
    """Return whether another policy keeps at least as much for no more, and is better in one of the two."""
    mine = _point(cost)
    theirs = [point for other in others if other is not cost and (point := _point(other)) is not None]
    if mine is None:
        return False
    return any(usd <= mine[0] and kept >= mine[1] and (usd, kept) != mine for usd, kept in theirs)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bar:
    name: str
    usd: float
    colour: str
    words: str
    low: float | None = None
    high: float | None = None


@plain_labels()
def price_bars(bills: Bills, candidates: Collection[str], salt: str = "bars") -> str | None:
    """Draw what a million tokens of this traffic cost at each offer; None where no two prices are known.

    The incumbent is blue, candidates of the verdict green, what cannot be bought grey. GPUs of one's
    own stand above them as outlines, as busy as planned, with the band of the serving model.
    """
    rows = [row for row in bills.offers if row.bill.per_mtok_usd is not None]
    if len(rows) + len(bills.boxes) < 2:
        return None
    kept = {bills.incumbent, *candidates}
    rows = [row for at, row in enumerate(rows) if at < MOST_BARS or row.offer in kept]
    bars = [*map(_box_bar, bills.boxes), *(_offer_bar(row, bills.incumbent, candidates) for row in rows)][
        ::-1
    ]
    figure, axes = new_figure(8.2, 0.8 + 0.27 * len(bars))
    for at, bar in enumerate(bars):
        box = bar.low is not None
        axes.barh(
            at, bar.usd, height=0.62, color="none" if box else bar.colour, edgecolor=bar.colour,
            linewidth=1.2 if box else 0,
        )  # fmt: skip
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [at, at], color=bar.colour, linewidth=2.4)
        axes.annotate(
            bar.words, (max(bar.usd, bar.high or 0.0), at), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=9, color=_MUTED, annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(range(len(bars)), [_short(bar.name) for bar in bars], color=_INK)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, max(max(bar.usd, bar.high or 0.0) for bar in bars) * 1.12 or 1)
    axes.set_ylim(-0.7, len(bars) - 0.3)
    axes.xaxis.set_major_formatter(lambda value, _: fmt.money(value))
    axes.set_xlabel("dollars per million tokens of this traffic", color=_MUTED)
    title = f"Cost per million tokens at {len(rows)} offers"
    return to_svg(figure, salt, f"{title} and {len(bills.boxes)} boxes" if bills.boxes else title)


def _offer_bar(row: OfferBill, incumbent: str | None, candidates: Collection[str]) -> _Bar:
    usd = float(row.bill.per_mtok_usd or 0)
    return _Bar(name=row.offer, usd=usd, colour=_bar_colour(row, incumbent, candidates), words=fmt.money(usd))


def _box_bar(box: "BoxBill") -> _Bar:
    planned = box.planned_per_mtok_usd
    assert planned.value is not None, "the serving model gives a number"
    words = f"{fmt.money(planned.value)} at {box.planned_utilisation:.0%} busy"
    return _Bar(
        name=box.name, usd=planned.value, low=planned.low, high=planned.high, colour=_INK, words=words
    )


def _point(cost: PolicyCost) -> tuple[float, float] | None:
    kept, usd = cost.retention, cost.per_request_usd.value
    if kept is None or kept.value is None or usd is None:
        return None
    return usd, kept.value


def _policy(axes: "Axes", cost: PolicyCost, *, dominated: bool) -> None:
    kept, usd = cost.retention, cost.per_request_usd
    assert kept is not None, "only policies with both figures are drawn"
    assert kept.value is not None, "only policies with both figures are drawn"
    assert usd.value is not None, "only policies with both figures are drawn"
    colour = _MUTED if dominated else _FLOOR if cost.policy.kind == "keep" else _GOOD
    faint = 0.45 if dominated else 1.0
    if kept.low is not None and kept.high is not None:
        axes.plot([usd.value] * 2, [kept.low, kept.high], color=colour, linewidth=1.6, alpha=faint)
    if usd.low is not None and usd.high is not None:
        axes.plot([usd.low, usd.high], [kept.value] * 2, color=colour, linewidth=1.6, alpha=faint)
    axes.plot([usd.value], [kept.value], linestyle="", marker="o", markersize=6, color=colour, alpha=faint)
    # The incumbent stands at exactly 1 and its good candidates beside it: their labels go up, its own down.
    below = cost.policy.kind == "keep"
    axes.annotate(
        _short(_label(cost.policy)), (usd.value, kept.value), xytext=(6, -13 if below else 6),
        textcoords="offset points", fontsize=8.5, color=_MUTED if dominated else _INK,
        annotation_clip=False,
    )  # fmt: skip


def _label(policy: Policy) -> str:
    if policy.kind == "keep" or policy.candidate is None:
        return f"keep {policy.incumbent}"
    if policy.kind == "switch":
        return policy.candidate
    several = len(policy.segments)
    return f"{policy.candidate} on {policy.segments[0] if several == 1 else f'{several} segments'}"


def _bar_colour(row: OfferBill, incumbent: str | None, candidates: Collection[str]) -> str:
    if row.offer == incumbent:
        return _FLOOR
    if not row.can_be_bought:
        return _LINE
    return _GOOD if row.offer in candidates else _MUTED


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
