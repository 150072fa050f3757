"""Bills as words: the lines of the table, the JSON, and what is said about them on stderr."""

import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from crossgrade.cli._output import note
from crossgrade.pricing.thrift import best_thrift

if TYPE_CHECKING:
    from crossgrade.catalog.bills import Bills, OfferBill
    from crossgrade.domain import Estimate, IncumbentEnd
    from crossgrade.hosting.boxes import BoxBill
    from crossgrade.pricing.bill import Bill
    from crossgrade.pricing.commitment import Commitment
    from crossgrade.pricing.moving import WinBack
    from crossgrade.pricing.thrift import Thrift
    from crossgrade.project import OfferMove


def offer_row(bills: "Bills", row: "OfferBill", commitment: "Commitment") -> dict[str, Any]:
    """Return an offer as a line of the table."""
    from crossgrade.project import saving_of

    found = row.bill
    month = found.month
    return {
        "offer": row.offer,
        "$/month": usd(found.usd_per_month),
        "interval": None if month.low is None else f"{usd(month.low)} to {usd(month.high)}",
        "$/M tokens": usd(found.per_mtok_usd),
        "$/call": usd(found.per_call_usd.value),
        **({"$/solved": usd(row.per_solved_usd.value)} if row.per_solved_usd else _no_scores(bills)),
        "mostly": _mostly(found),
        "batch": None if row.batch is None else usd(row.batch.usd_per_month),
        "saves": usd(saving_of(bills, row, commitment)),
        "tokens": row.tokens,
        **({} if all(each.conformity is None for each in bills.offers) else {"conforms": row.conformity}),
        "to know": "; ".join(_to_know(row)) or None,
    }


def _no_scores(bills: "Bills") -> dict[str, None]:
    """Keep the column where some other offer of the table has it."""
    return {"$/solved": None} if any(row.per_solved_usd for row in bills.offers) else {}


def offer_record(bills: "Bills", row: "OfferBill", commitment: "Commitment") -> dict[str, Any]:
    """Return an offer as it stands in the JSON."""
    from crossgrade.project import saving_of

    return {
        "offer": row.offer,
        "status": row.status,
        "price": row.price,
        "bill": row.bill,
        "batch_usd_per_month": None if row.batch is None else row.batch.usd_per_month,
        "per_solved_usd": row.per_solved_usd,
        "saving_usd_per_month": saving_of(bills, row, commitment),
        "tokens": row.tokens,
        "facts": row.facts,
        "calls_too_long": row.too_long,
        "doubts": row.doubts,
        "conformity": row.conformity,
    }


def _mostly(bill: "Bill") -> str | None:
    if bill.dominant_share is None:
        return None
    return f"{bill.dominated_by} {bill.dominant_share:.0%}"


def _to_know(row: "OfferBill") -> Iterator[str]:
    if row.bill.per_call_usd.value is None and row.bill.reason:
        yield row.bill.reason
    if row.status == "retired":
        yield f"retired on {row.facts.retires_on}"
    elif row.status == "delisted":
        yield f"gone from catalogues since {row.facts.delisted_on}"
    elif (
        row.facts.retires_on is not None and (ends := f"retires on {row.facts.retires_on}") not in row.doubts
    ):
        yield ends
    if row.too_long:
        calls = "1 call is" if row.too_long == 1 else f"{row.too_long:,} calls are"
        yield f"{calls} longer than its {row.facts.context_tokens:,} tokens"
    yield from row.doubts


def explain(bills: "Bills", *, left_out: int) -> None:
    """Say on stderr what was billed."""
    mix = bills.mix
    note(f"traffic: {bills.traffic.source}")
    if mix.input_tokens is not None and mix.output_tokens is not None:
        ratio = "" if mix.input_per_output is None else f" ({_ratio(mix.input_per_output)}:1)"
        hits = "unknown" if mix.cache_hit_share is None else f"{mix.cache_hit_share:.0%}"
        note(
            f"a call: {mix.input_tokens:,.0f} tokens in, {mix.output_tokens:,.0f} out{ratio}; "
            f"cache hits {hits}"
        )
    if bills.traffic.calls_per_month is None:
        note("no bill a month: give `--per-day N`", code="volume-unknown")
    else:
        note(
            f"{bills.traffic.calls_per_month:,.0f} calls a month of 30 days; list prices of {bills.on}",
            code="volume",
        )
    if any(row.bill.month.low is not None for row in bills.offers):
        note("intervals are 95 % of the mean call; that of a box is the 80 % band of the serving model")
    if left_out:
        note(f"{left_out} more offers; `--limit` and `--json` show them")


_AT_ONCE = 0.01
"""A payback in fewer months than this is said to be at once."""


def tell_move(bills: "Bills", move: "OfferMove | None") -> None:
    """Say on stderr what the cheapest move is worth, and what would undo it."""
    for line in move_lines(bills, move):
        note(line)


def move_lines(bills: "Bills", move: "OfferMove | None") -> Iterator[str]:
    """Yield how today's model could cost less, what the cheapest move is worth, and what would undo it."""
    if (known := bills.incumbent_end) is not None:
        yield from _incumbent_end_words(known)
    for each in bills.thrifts:
        yield f"before any move: {_thrift_words(bills, each)}"
    if move is None:
        return
    saving, back = move.saving_usd_per_month, move.incumbent_wins_back
    if saving is None or back is None:
        return
    if saving <= 0:
        yield (
            f"{bills.incumbent} is the cheapest already: {move.to} would cost ${usd(-saving)} more a month"
        )
        return
    yield (f"{move.to} is clearly the cheapest: ${usd(saving)}{_dollar_range(move.saving)} less a month")
    best, beyond = best_thrift(bills.thrifts), move.beyond_thrift_usd_per_month
    if best is not None and beyond is not None:
        more = f"${usd(beyond)} less" if beyond > 0 else f"${usd(-beyond)} more"
        yield f"that is {more} a month than {bills.incumbent} by {best.way} ({best.needs})"
    yield _payback_words(move)
    yield f"{bills.incumbent} would be as cheap {' '.join(_win_back_words(back))}"
    yield "cheaper does not mean good enough: `crossgrade evaluate` and `decide` test that"


def _incumbent_end_words(known: "IncumbentEnd") -> Iterator[str]:
    """Yield the incumbent's end, and its provider's newer model as tried or not tried."""
    if known.retires_on is not None:
        yield f"{known.model} ends on {known.retires_on}{known.origin}"
    if known.tried is not None:
        yield f"{known.tried}, a newer model of its provider, was tried"
    elif known.successor is not None and known.retires_on is not None:
        yield f"{known.successor}, a newer model of its provider, was not tried"


def _thrift_words(bills: "Bills", each: "Thrift") -> str:
    name = f"{bills.incumbent} by {each.way}" if each.keeps_answers else f"{each.offer}, a {each.way},"
    if each.saves_usd_per_month is None:
        return f"{name} saves an unknown amount {each.needs} ({each.reason or 'no volume is stated'})"
    return f"{name} saves ${usd(each.saves_usd_per_month)} a month {each.needs}"


def _payback_words(move: "OfferMove") -> str:
    unknown = ", ".join(move.moving_costs_unknown)
    months, volume = move.payback_months.value, move.paid_back_in_a_year_from
    if months is None:
        return f"the costs of moving are not stated ({unknown}), so no payback time can be given"
    rest = f" ({unknown} not stated)" if unknown else ""
    after = f"after {_count(months)} months{_months_range(move)}" if months >= _AT_ONCE else "at once"
    at = "" if volume is None or volume < 1 else f", or within a year at {volume:,.0f} calls a day or more"
    return f"moving costs ${usd(move.moving_usd)}{rest}. It is paid back {after}{at}"


def _dollar_range(found: "Estimate") -> str:
    if found.low is None or found.high is None:
        return ""
    return f" [${usd(found.low)}, ${usd(found.high)}]"


def _months_range(move: "OfferMove") -> str:
    low, high = move.payback_months.low, move.payback_months.high
    if low is None or high is None:
        return ""
    return f" [{_count(low)}, {'never' if math.isinf(high) else _count(high)}]"


def _count(months: float) -> str:
    return f"{months:,.0f}" if months >= 10 else f"{months:.2g}"


def _win_back_words(back: "WinBack") -> Iterator[str]:
    prices = f"${usd(back.input_per_mtok)} in, ${usd(back.output_per_mtok)} out per million"
    yield f"with a discount of {back.discount:.0%} ({prices})."
    if back.batch_usd_per_month is not None:
        enough = "enough" if back.batch_wins else "not enough"
        yield f"Its batch price (${usd(back.batch_usd_per_month)} a month) is {enough}."
    if back.cache_hit_share is None:
        yield "Its cache is not enough."
    else:
        yield f"Its cache is enough from {back.cache_hit_share:.0%} of input cached."
    if back.committed_usd_per_month:
        yield f"${usd(back.committed_usd_per_month)} a month stay owed to it after a move, and are counted."


def usd(amount: float | Decimal | None) -> str | None:
    """Return dollars with as many digits as matter."""
    if amount is None:
        return None
    value = float(amount)
    digits = (
        0 if abs(value) >= 1000 else 2 if abs(value) >= 1 or value == 0 else 4 if abs(value) >= 1e-2 else 8
    )
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if digits == 8 else text


def box_row(box: "BoxBill", columns: Iterable[str], *, saves: Decimal | None) -> dict[str, Any]:
    """Return boxes of one's own as a line of the offers' table."""
    month, busy = box.month, box.busy.value
    said = {
        "offer": box.name,
        "$/month": usd(month.value),
        "interval": f"{usd(month.low)} to {usd(month.high)}" if month.low != month.high else None,
        "$/M tokens": usd(box.per_mtok_usd),
        "mostly": None if busy is None else f"idle {max(0.0, 1 - busy):.0%}",
        "saves": usd(saves),
        "tokens": "serving model",
        "to know": None
        if box.boxes is None
        else f"{box.boxes} x {box.gpus} GPUs at ${box.usd_per_gpu_hour} an hour",
    }
    return {name: said.get(name) for name in columns}


def tell_boxes(boxes: "Sequence[BoxBill]") -> None:
    """Say on stderr where boxes of one's own break even, and how busy they would be then."""
    for box in boxes:
        low, high = box.box_tokens_per_day.low, box.box_tokens_per_day.high
        if low is not None and high is not None:
            note(
                f"{box.name}: one box serves {_tokens(low)} to {_tokens(high)} tokens a day of this mix "
                f"(80 % band); planned to be at most {box.planned_utilisation:.0%} busy"
            )
        note(f"  ${box.usd_per_gpu_hour} a GPU-hour ({box.rent_from or 'as given'}){_own_cache(box)}")
        for even in box.break_even:
            share = even.utilisation.value
            reach = "" if share is None or share <= 1 else ": more than one box can serve"
            note(
                f"  break-even with {even.against} (${usd(even.hosted_per_mtok)} a million): "
                f"{_tokens(even.tokens_per_day)} tokens a day, the box {share or 0:.0%} busy{reach}",
                code="break-even",
            )


def _own_cache(box: "BoxBill") -> str:
    if not box.cached_share:
        return ""
    return (
        f"; {box.cached_share:.0%} of input taken as found in its own prefix cache too,"
        " which no measured point covers"
    )


def _ratio(tokens: float) -> str:
    return f"{tokens:,.0f}" if tokens >= 1000 else f"{tokens:.3g}"


def _tokens(count: float | Decimal) -> str:
    """Return a number of tokens in millions or billions."""
    value = float(count)
    return f"{value / 1e9:,.3g}B" if value >= 1e9 else f"{value / 1e6:,.3g}M"
