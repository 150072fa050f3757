"""The pages of `crossgrade cost` (a month's bill, token prices, break-even) and `crossgrade cost outlook`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossgrade.catalog.bills import Bills, OfferBill
from crossgrade.outlook import HalfLife
from crossgrade.report import _format as fmt
from crossgrade.report._bills import bill_table
from crossgrade.report._chart import Axis, Chart, Dot, Line, Rule, draw, log_ticks
from crossgrade.report._html import PagePart, render_page
from crossgrade.report._lasting import chance_keys, chances, half_lives
from crossgrade.report._money import price_bars
from crossgrade.report._rows import Key
from crossgrade.report._view import Table

if TYPE_CHECKING:
    from crossgrade.hosting.boxes import BoxBill

_DAYS = 30
_POINTS = 240
_VOLUMES = (100, 1_000, 10_000, 100_000, 1_000_000)
_LONGEST = 40
_MOST_BOXES = 3
_MOST_BARS = 20

_DRAWN = (0.0, 0.1, 0.3, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Payer:
    """One way to serve the traffic: its name, its colour's class, and its monthly bill by calls a day."""

    name: str
    kind: str
    month: Callable[[float], float]
    own: bool = False


def render_cost(bills: Bills, moving: Sequence[str] = ()) -> str:
    """Return the bills as one HTML page; `moving` are sentences on the cost and the value of a move.

    Raises MissingExtraError without the `report` extra.
    """
    rival = bills.rival
    payers = _payers(bills, rival)
    sections = [
        PagePart(
            title="What a million tokens cost",
            bars=price_bars(bills, most_bars=_MOST_BARS),
            caption="Input and output of this traffic together. A price says nothing about quality.",
        ),
        *_by_volume(bills, payers),
        PagePart(title="The bill", table=bill_table(bills)),
    ]
    if moving:
        sections.append(PagePart(title="What a move is worth", lines=tuple(map(fmt.sentence, moving))))
    return render_page(
        "What it costs",
        above="A month of traffic at every offer",
        headline=_headline(bills, rival),
        lead=_lead(bills, rival),
        facts=_facts(bills),
        sections=[each for each in sections if each.bars or each.chart or each.table or each.lines],
    )


def _headline(bills: Bills, rival: OfferBill | None) -> str:
    now = bills.of_incumbent
    if rival is None:
        return "No other offer has a known price"
    if now is None or now.bill.per_call_usd.value is None:
        return f"{fmt.short(rival.offer, _LONGEST)} is the cheapest of {len(bills.offers)} offers"
    paid, asked = now.bill.usd_per_month, rival.bill.usd_per_month
    if (
        rival.bill.per_call_usd.value is not None
        and rival.bill.per_call_usd.value >= now.bill.per_call_usd.value
    ):
        return f"{fmt.short(now.offer, _LONGEST)} is already the cheapest of {len(bills.offers)} offers"
    if paid is not None and asked is not None:
        return f"A move could save at most {fmt.money(paid - asked)} a month"
    share = 1 - (rival.bill.per_call_usd.value or 0.0) / now.bill.per_call_usd.value
    return f"The cheapest offer costs {fmt.percent(share, 0)} less"


def _lead(bills: Bills, rival: OfferBill | None) -> str:
    said = []
    for row in (bills.of_incumbent, rival):
        if row is not None:
            month = row.bill.usd_per_month
            many, words = fmt.scale([row.bill.per_call_usd.value])
            each = fmt.money(fmt.times(row.bill.per_call_usd, many).value)
            said.append(
                f"{row.offer} bills {fmt.money(month)} a month for this traffic"
                if month is not None
                else f"{row.offer} bills {each} for {f'{words}calls' if words else 'a call'}"
            )
    said = [
        *said,
        "Run `crossgrade evaluate` and `crossgrade decide` to see whether the cheaper model is good enough",
    ]
    return ". ".join(said) + "."


def _facts(bills: Bills) -> list[tuple[str, str]]:
    mix, calls = bills.mix, bills.traffic.calls_per_month
    facts = [("traffic", bills.traffic.source)]
    facts.append(("calls a month", fmt.UNKNOWN if calls is None else f"{calls:,.0f}"))
    if mix.input_tokens is not None and mix.output_tokens is not None:
        facts.append(("tokens a call", f"{mix.input_tokens:,.0f} in, {mix.output_tokens:,.0f} out"))
    facts.append(("input from a cache", fmt.percent(mix.cache_hit_share, 0)))
    facts.append(("list prices of", bills.on.isoformat()))
    return facts


def _payers(bills: Bills, rival: OfferBill | None) -> list[_Payer]:
    """Return the incumbent, the cheapest offer and the team's own boxes, if their bills are known."""
    found = []
    for row, kind in ((bills.of_incumbent, "incumbent"), (rival, "c1")):
        per_call = None if row is None else row.bill.per_call_usd.value
        if row is not None and per_call:
            found.append(_Payer(name=row.offer, kind=kind, month=_linear(per_call)))
    mix = bills.mix
    tokens = (mix.input_tokens or 0.0) + (mix.output_tokens or 0.0)
    for box, kind in zip(bills.boxes[:_MOST_BOXES], ("c2", "c3", "c4"), strict=False):
        if tokens and box.box_tokens_per_day.value:
            found.append(_Payer(name=box.name, kind=kind, month=_stepped(box, tokens), own=True))
    return found


def _linear(per_call: float) -> Callable[[float], float]:
    return lambda calls: per_call * calls * _DAYS


def _stepped(box: "BoxBill", tokens_per_call: float) -> Callable[[float], float]:
    """Return the rent of as many boxes as the volume needs, none busier than planned."""
    rent = float(box.gpus * 24 * box.usd_per_gpu_hour) * _DAYS
    serves = (box.box_tokens_per_day.value or 0.0) * box.planned_utilisation
    return lambda calls: rent * max(1, math.ceil(calls * tokens_per_call / serves))


def _by_volume(bills: Bills, payers: Sequence[_Payer]) -> list[PagePart]:
    """Return the bill of each payer over the volume, with where one's own boxes break even."""
    if len(payers) < 2:
        return []
    month = bills.traffic.calls_per_month
    today = None if month is None else float(month) / _DAYS
    meets = [found for own in payers if own.own for other in payers if not other.own
             for found in [_break_even(own, other)] if found is not None]  # fmt: skip
    centre = [each for each in (*(calls for calls, _, _ in meets), today) if each]
    low, high = min([*centre, 1_000.0]) / 20, max([*centre, 10_000.0]) * 20
    volumes = [low * (high / low) ** (at / (_POINTS - 1)) for at in range(_POINTS)]
    least = min(payer.month(low) for payer in payers)
    most = max(payer.month(high) for payer in payers)
    chart = Chart(
        title="Dollars a month over calls a day",
        x=Axis(low=low, high=high, log=True, title="calls a day",
               ticks=tuple((tick, _round(tick)) for tick in log_ticks(low, high))),
        y=Axis(low=least, high=most, log=True, title="dollars a month",
               ticks=tuple((tick, fmt.tick(tick)) for tick in log_ticks(least, most, 6))),
        lines=tuple(Line(points=tuple((calls, payer.month(calls)) for calls in volumes), kind=payer.kind,
                         strong=payer.kind == "incumbent", dashed=payer.own) for payer in payers),
        dots=tuple(Dot(x=calls, y=own.month(calls), kind=own.kind, label=f"{_round(calls)} calls",
                       title=f"{own.name} meets {other.name} at {_round(calls)} calls a day")
                   for calls, own, other in meets),
        rules=() if today is None else (
            Rule(at=today, label=f"today: {_round(today)}", upright=True, kind="muted"),
        ),
    )  # fmt: skip
    owns = any(payer.own for payer in payers)
    caption = "Both scales are logarithmic. "
    caption += (
        "A dot marks where your own GPUs first cost no more than that offer."
        if owns and meets
        else "Your own GPUs cost less at no volume shown."
        if owns
        else "Both grow with every call."
    )
    keys = tuple(
        Key(kind=payer.kind, shape="dash" if payer.own else "line", words=payer.name) for payer in payers
    )
    return [
        PagePart(title="Break-even by volume", chart=draw(chart), keys=keys, caption=caption,
                table=_volumes(payers, today))
    ]  # fmt: skip


def _break_even(own: _Payer, other: _Payer) -> tuple[float, _Payer, _Payer] | None:
    """Return the fewest calls a day at which own boxes cost no more than an offer (None up to a billion)."""
    for at in range(2_700):
        calls = 10.0 ** (at / 300)
        if own.month(calls) <= other.month(calls):
            return calls, own, other
    return None


def _volumes(payers: Sequence[_Payer], today: float | None) -> Table:
    volumes = sorted({*map(float, _VOLUMES), *([] if today is None else [today])})
    rows = []
    for calls in volumes:
        bills = [payer.month(calls) for payer in payers]
        named = f"{_round(calls)} (today)" if calls == today else f"{calls:,.0f}"
        cheapest = payers[bills.index(min(bills))].name
        rows.append((named, *(fmt.money(each) for each in bills), cheapest))
    return Table(
        title="By volume",
        head=("calls a day", *(payer.name for payer in payers), "cheapest"),
        rows=tuple(rows),
        numeric=frozenset(range(1, 1 + len(payers))),
        note="Dollars a month of 30 days, at list prices. Boxes are added as the volume needs them.",
    )


def _round(calls: float) -> str:
    """Return a number of calls with two significant digits."""
    if calls < 1:
        return f"{calls:.2g}"
    digits = 1 - math.floor(math.log10(calls))
    return f"{round(calls, min(0, digits)):,.0f}"


def render_outlook(
    curve: Sequence[HalfLife],
    camp: HalfLife,
    *,
    tolerance: float,
    valid_days: int,
    months: int,
    tables: Sequence[Table],
    notes: Sequence[str],
    facts: Sequence[tuple[str, str]],
) -> str:
    """Return the outlook as one HTML page; `tables` are its numbers, `notes` its assumptions.

    Raises MissingExtraError without the `report` extra.
    """
    drawn = [each for each in curve if each.tolerance in {*_DRAWN, tolerance}]
    return render_page(
        "How long today's choice lasts",
        above="Outlook on prices, releases and capability",
        headline=f"Ask again after {fmt.count(valid_days, 'day')}",
        lead=(
            "By then the odds are even that today's choice can no longer be bought, or costs over "
            f"{fmt.percent(tolerance, 0)} more than the best offer. Half-lives are medians over simulated "
            "futures, not promises."
        ),
        facts=facts,
        sections=[
            PagePart(
                title="Survival of a decision",
                chart=chances(drawn, camp, months, tolerance),
                keys=chance_keys(drawn),
                caption="The chance that today's choice can still be bought and costs at most so much more "
                "than the best offer of that month. A dot marks even odds.",
            ),
            PagePart(
                title="How long, by what a new switch costs you",
                chart=half_lives(curve, months, tolerance),
                caption="The more a new switch would cost you, the longer today's choice stays right.",
            ),
            *(PagePart(title=table.title, table=table) for table in tables),
            PagePart(title="What it rests on", lines=tuple(map(fmt.sentence, notes))),
        ],
    )
