"""A month's bill at every offer, as a table of the report."""

from typing import TYPE_CHECKING

from crossgrade.catalog.bills import Bills, OfferBill
from crossgrade.report import _format as fmt
from crossgrade.report._view import Table

if TYPE_CHECKING:
    from crossgrade.hosting.boxes import BoxBill


_OWN = (
    " Your own GPUs are rented around the clock, and are those on which the model's tokens cost least by"
    " `crossgrade cost host` (fp8 weights, 8-bit cache, 80 % band). People and spare machines are not"
    " included."
)


def bill_table(bills: Bills) -> Table:
    """Return the bills of offers for the same traffic, the cheapest first; then GPUs of one's own."""
    many, words = fmt.scale(row.bill.per_call_usd.value for row in bills.offers if row.can_be_bought)
    call, solved = (f"{words}calls", f"{words}solved samples") if words else ("call", "solved sample")
    return Table(
        title="The bill",
        head=("offer", "a month", "per million tokens", f"per {call}", f"per {solved}", "mostly", "notes"),
        rows=(*(_row(bills, row, many) for row in bills.offers), *map(_box_row, bills.boxes)),
        numeric=frozenset({1, 2, 3, 4}),
        note=_note(bills),
    )


def _row(bills: Bills, row: OfferBill, many: int) -> tuple[str, ...]:
    found = row.bill
    name = f"{row.offer} (incumbent)" if row.offer == bills.incumbent else row.offer
    share = found.dominant_share
    return (
        name,
        fmt.estimate(found.month, reason=False),
        fmt.money(found.per_mtok_usd),
        fmt.money(fmt.times(found.per_call_usd, many).value),
        "" if row.per_solved_usd is None else fmt.estimate(fmt.times(row.per_solved_usd, many), reason=False),
        "" if share is None else f"{found.dominated_by} {fmt.percent(share, 0)}",
        "; ".join(_to_know(row)),
    )


def _box_row(box: "BoxBill") -> tuple[str, ...]:
    busy, serves, planned = box.busy.value, box.box_tokens_per_day, box.planned_utilisation
    number = "" if box.boxes is None else f"{box.boxes} x "
    capacity = f"{fmt.tokens(serves.low)} to {fmt.tokens(serves.high)} tokens a day"
    cached = (
        f"; {fmt.percent(box.cached_share, 0)} of input in its own prefix cache" if box.cached_share else ""
    )
    to_know = (
        f"{number}{box.gpus} GPUs at ${box.usd_per_gpu_hour} an hour ({box.rent_from or 'as given'})",
        f"one box serves {capacity}{cached}",
        f"{fmt.estimate(box.planned_per_mtok_usd)} per million at {fmt.percent(planned, 0)} busy",
    )
    return (
        box.name,
        fmt.money(box.month.value)
        if box.month.low == box.month.high
        else fmt.estimate(box.month, reason=False),
        fmt.money(box.per_mtok_usd),
        "",
        "",
        "" if busy is None else f"idle {fmt.percent(max(0.0, 1 - busy), 0)}",
        "; ".join(to_know),
    )


def _to_know(row: OfferBill) -> list[str]:
    said = [row.tokens] if row.tokens != "measured" else []
    if row.facts.retires_on is not None and (ends := f"retires on {row.facts.retires_on}") not in row.doubts:
        said.append(ends)
    if row.status == "delisted":
        said.append(f"gone from the catalogues since {row.facts.delisted_on}")
    if row.bill.per_call_usd.value is None and row.bill.reason:
        said.append(row.bill.reason)
    return [*said, *row.doubts]


def _note(bills: Bills) -> str:
    mix, calls = bills.mix, bills.traffic.calls_per_month
    volume = "the number of calls a month is not stated" if calls is None else f"{calls:,.0f} calls a month"
    tokens = ""
    if mix.input_tokens is not None and mix.output_tokens is not None:
        tokens = f", {mix.input_tokens:,.0f} tokens in and {mix.output_tokens:,.0f} out a call"
    as_asked = ""
    if bills.traffic.measured and bills.traffic.source.startswith("run "):
        as_asked = (
            " Every call of the run counts once here; where it stopped early it asked some segments more "
            "than others, and the table of costs weighs them by their traffic."
        )
    return (
        f"List prices of {bills.on.isoformat()}; {bills.traffic.source}; {volume}{tokens}. "
        "Each model is billed for the tokens that it was measured to use, any other as the incumbent. "
        f"95 % intervals of the mean call.{as_asked}{_OWN if bills.boxes else ''}"
    )
