"""`crossgrade cost [bill]`: a month of traffic at every offer, what dominates it, what a move is worth."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import DEFAULT_CONFIG, config_option, json_option
from crossgrade.cli._offers import catalog_here, day, day_option, matching
from crossgrade.cli._output import note, print_json, print_table
from crossgrade.cli._spending import Dollars
from crossgrade.errors import UsageError

if TYPE_CHECKING:
    from crossgrade.economics import Bill, Commitment, MovingCosts, Traffic, WinBack
    from crossgrade.project import Bills, OfferBill

SCHEMA_VERSION = 1
SHORTLIST = (
    "gpt-4o@openai",
    "gpt-4o-mini@openai",
    "gpt-5@openai",
    "gpt-5.6-luna@openai",
    "claude-haiku-4.5@anthropic",
    "gemini-2.5-flash-lite@gemini",
    "llama-4-scout@*",
    "llama-4-maverick@*",
    "llama-3.3-70b@*",
    "gpt-oss-120b@*",
    "deepseek-v3.2@*",
)
"""What is billed where neither a project nor `--offer` says what to compare."""

_INCUMBENT = "gpt-4o@openai"
_MOST_CALLS = 10**12
_RESELLER = "huggingface_"
"""Hosts reached through a router, which is the same price again."""
_NUMBERS = ("$/month", "interval", "$/M tokens", "$/call", "$/solved", "batch", "saves")


@click.command()
@click.argument("workload", required=False)
@click.option("--input-tokens", type=int, metavar="N", help="Mean tokens into a call.")
@click.option("--output-tokens", type=int, metavar="N", help="Mean tokens out of a call.")
@click.option("--per-day", metavar="N", help="Calls a day; left out, the workload's or the trace's rate.")
@click.option(
    "--cache-hit",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Share of input read from the provider's cache.",
)
@click.option(
    "--trace",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Requests with their sizes: CSV, or JSON lines such as the gateway's request log.",
)
@click.option("--run", "run_id", metavar="RUN", help="Run whose tokens are billed.  [default: the newest]")
@click.option(
    "--offer", "patterns", multiple=True, metavar="OFFER", help="Offers to bill, `llama-4-*@groq`; repeat."
)
@click.option("--incumbent", metavar="OFFER", help="Offer that is paid today.")
@click.option(
    "--committed-usd", type=Dollars(), metavar="USD", help="Minimum a month promised to the incumbent."
)
@click.option(
    "--discount",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="SHARE",
    help="The incumbent's discount.",
)
@click.option("--evaluation-usd", type=Dollars(), metavar="USD", help="What evaluating costs, once.")
@click.option("--judge-usd", type=Dollars(), metavar="USD", help="What judging costs, once.")
@click.option("--shadow-usd", type=Dollars(), metavar="USD", help="What shadow traffic costs, once.")
@click.option("--migration-usd", type=Dollars(), metavar="USD", help="What the migration costs, once.")
@click.option("--limit", type=click.IntRange(1), default=30, show_default=True, help="Most rows to print.")
@day_option
@config_option
@json_option
def command(
    workload: str | None, config_path: str, on: datetime | None, limit: int, *, as_json: bool, **options: Any
) -> None:
    """Bill a month of traffic at every offer.

    Tokens are those that the newest run of WORKLOAD measured, or what `--trace` recorded, or what
    `--input-tokens` and `--output-tokens` say. Unknown is never zero: an offer without a price has no bill.
    """
    today = day(on)
    bills = _bills(workload, config_path, today, options)
    costs = _moving_costs(options)
    money = _commitment(options)
    rows = [_row(bills, row, money) for row in bills.offers]
    move = _move(bills, money, costs)
    if as_json:
        print_json(
            {
                "on": bills.on,
                "traffic": {
                    "source": bills.traffic.source,
                    "calls_per_month": bills.traffic.calls_per_month,
                    "days_per_month": 30,
                    **_fields(bills.mix),
                },
                "incumbent": bills.incumbent,
                "offers": [_record(bills, row, money) for row in bills.offers],
                "move": move,
            },
            schema_version=SCHEMA_VERSION,
        )
        return
    headers = tuple(rows[0])
    shown = [row for at, row in enumerate(rows) if at < limit or row["offer"] == bills.incumbent]
    print_table(headers, [tuple(row.values()) for row in shown], right=_NUMBERS)
    _explain(bills, left_out=len(rows) - len(shown))
    _tell_move(bills, move)


def _bills(workload: str | None, config_path: str, today: date, options: dict[str, Any]) -> "Bills":
    traffic = _traffic(options)
    has_project = config_path != DEFAULT_CONFIG or Path(config_path).exists()
    if workload is None and traffic is None:
        raise UsageError(
            "nothing says how large the calls are",
            hint="name a WORKLOAD, or give `--trace FILE`, or `--input-tokens` and `--output-tokens`",
        )
    if workload is not None:
        from crossgrade.project import Project

        with Project.open(config_path) as project:
            return project.bills(
                workload,
                run_id=options["run_id"],
                traffic=traffic,
                calls_per_day=_calls(options["per_day"]),
                cache_hit=options["cache_hit"],
                on=today,
            )
    from crossgrade.project import bill_offers

    assert traffic is not None, "checked above"
    catalog = catalog_here(config_path)
    if has_project and not options["patterns"]:
        from crossgrade.config import load_config

        offers = list(load_config(config_path).offers.values())
        incumbent = options["incumbent"]
    else:
        incumbent = options["incumbent"] or _INCUMBENT
        wanted = [*(options["patterns"] or SHORTLIST), incumbent]
        found = matching(catalog.listings(today), wanted)
        if not options["patterns"]:
            found = [each for each in found if not each.provider.startswith(_RESELLER)]
        offers = [listing.offer() for listing in found]
    names = [offer.name for offer in offers]
    if incumbent is not None and incumbent not in names:
        raise UsageError(
            f"the incumbent {incumbent!r} is none of the offers",
            hint=f"name it as the table does: {', '.join(names[:6])}",
        )
    return bill_offers(offers, traffic, catalog, today, incumbent=incumbent)


def _traffic(options: dict[str, Any]) -> "Traffic | None":
    """Return the traffic that the options describe, None where a run has to say it."""
    paid, answered, trace = options["input_tokens"], options["output_tokens"], options["trace"]
    per_day = _calls(options["per_day"])
    if trace is not None:
        if paid is not None or answered is not None:
            raise UsageError("`--trace` says the tokens itself", hint="leave out the token counts")
        from crossgrade.workloads import read_trace

        return read_trace(trace).traffic().adjusted(calls_per_day=per_day, cache_hit=options["cache_hit"])
    if paid is None and answered is None:
        return None
    if paid is None or answered is None:
        hint = "give `--input-tokens` and `--output-tokens`"
        raise UsageError("one of the two token counts is missing", hint=hint)
    from crossgrade.economics import stated_traffic

    return stated_traffic(paid, answered, calls_per_day=per_day, cache_hit=options["cache_hit"] or 0.0)


def _calls(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        calls = Decimal(text.replace(",", "").replace("_", ""))
    except InvalidOperation:
        calls = Decimal(-1)
    if not (calls.is_finite() and 0 < calls <= _MOST_CALLS):
        raise UsageError(f"{text[:40]!r} calls a day cannot be", hint="give a number above 0")
    return calls


def _commitment(options: Mapping[str, Any]) -> "Commitment":
    from crossgrade.economics import Commitment

    return Commitment(
        minimum_usd_per_month=options["committed_usd"] or Decimal(0),
        discount=Decimal(repr(options["discount"] or 0)),
    )


def _moving_costs(options: Mapping[str, Any]) -> "MovingCosts":
    from crossgrade.economics import MovingCosts

    return MovingCosts(**{each.name: options[each.name] for each in fields(MovingCosts)})


def _row(bills: "Bills", row: "OfferBill", commitment: "Commitment") -> dict[str, Any]:
    """Return an offer as a line of the table."""
    found = row.bill
    month = found.month
    return {
        "offer": row.offer,
        "$/month": _usd(found.usd_per_month),
        "interval": None if month.low is None else f"{_usd(month.low)} to {_usd(month.high)}",
        "$/M tokens": _usd(found.per_mtok_usd),
        "$/call": _usd(found.per_call_usd.value),
        **({"$/solved": _usd(row.per_solved_usd.value)} if row.per_solved_usd else _no_scores(bills)),
        "mostly": _mostly(found),
        "batch": None if row.batch is None else _usd(row.batch.usd_per_month),
        "saves": _usd(_saving(bills, row, commitment)),
        "tokens": row.tokens,
        "to know": "; ".join(_to_know(row)) or None,
    }


def _no_scores(bills: "Bills") -> dict[str, None]:
    """Keep the column where some other offer of the table has it."""
    return {"$/solved": None} if any(row.per_solved_usd for row in bills.offers) else {}


def _record(bills: "Bills", row: "OfferBill", commitment: "Commitment") -> dict[str, Any]:
    return {
        "offer": row.offer,
        "status": row.status,
        "price": row.price,
        "bill": row.bill,
        "batch_usd_per_month": None if row.batch is None else row.batch.usd_per_month,
        "per_solved_usd": row.per_solved_usd,
        "saving_usd_per_month": _saving(bills, row, commitment),
        "tokens": row.tokens,
        "facts": row.facts,
        "calls_too_long": row.too_long,
        "doubts": row.doubts,
    }


def _saving(bills: "Bills", row: "OfferBill", commitment: "Commitment") -> Decimal | None:
    from crossgrade.economics import saving_per_month

    now = bills.of_incumbent
    if now is None or row is now:
        return None
    return saving_per_month(now.bill, row.bill, commitment=commitment)


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
    elif row.facts.retires_on is not None:
        yield f"retires on {row.facts.retires_on}"
    if row.too_long:
        yield f"{row.too_long:,} calls are longer than its {row.facts.context_tokens:,} tokens"
    yield from row.doubts


def _explain(bills: "Bills", *, left_out: int) -> None:
    mix = bills.mix
    note(f"traffic: {bills.traffic.source}")
    if mix.input_tokens is not None and mix.output_tokens is not None:
        ratio = "" if mix.input_per_output is None else f" ({mix.input_per_output:.3g}:1)"
        hits = "unknown" if mix.cache_hit_share is None else f"{mix.cache_hit_share:.0%}"
        note(
            f"a call: {mix.input_tokens:,.0f} tokens in, {mix.output_tokens:,.0f} out{ratio}; "
            f"cache hits {hits}"
        )
    if bills.traffic.calls_per_month is None:
        note("no bill a month: give `--per-day N`")
    else:
        note(f"{bills.traffic.calls_per_month:,.0f} calls a month of 30 days; list prices of {bills.on}")
    if left_out:
        note(f"{left_out} more offers; `--limit` and `--json` show them")


def _move(bills: "Bills", commitment: "Commitment", costs: "MovingCosts") -> dict[str, Any] | None:
    """Return what moving to the cheapest offer without a doubt is worth, and what would undo it."""
    from crossgrade.domain import Estimate
    from crossgrade.economics import break_even_calls_per_day, payback_months, win_back

    now = bills.of_incumbent
    rival = next(
        (
            row
            for row in bills.offers
            if row.can_be_bought
            and not row.doubts
            and not row.too_long
            and row is not now
            and row.bill.usd_per_month is not None
        ),
        None,
    )
    if now is None or rival is None or now.price is None or rival.bill.usd_per_month is None:
        return None
    saving = _saving(bills, rival, commitment)
    found = Estimate(
        value=None if saving is None else float(saving), unit="USD/month", reason=now.bill.reason
    )
    return {
        "to": rival.offer,
        "saving_usd_per_month": saving,
        "moving_usd": costs.known_usd,
        "moving_costs_unknown": costs.unknown,
        "payback_months": payback_months(found, costs),
        "paid_back_in_a_year_from_calls_per_day": break_even_calls_per_day(
            costs.known_usd / 12, None if saving is None else saving / bills.traffic.calls_per_month
        )
        if bills.traffic.calls_per_month
        else None,
        "incumbent_wins_back": win_back(
            bills.traffic, now.price, rival.bill.usd_per_month, commitment=commitment
        ),
    }


def _tell_move(bills: "Bills", move: Mapping[str, Any] | None) -> None:
    if move is None:
        return
    saving, back = move["saving_usd_per_month"], move["incumbent_wins_back"]
    if saving is None:
        return
    if saving <= 0:
        note(
            f"{bills.incumbent} is the cheapest already: {move['to']} would cost {_usd(-saving)} more a month"
        )
        return
    note(f"the cheapest without a doubt is {move['to']}: {_usd(saving)} less a month")
    note(f"moving costs {_payback_words(move)}")
    note(f"{bills.incumbent} wins back {'; '.join(_win_back_words(back))}")
    note("what is cheaper is not shown to be good enough: `crossgrade evaluate` and `decide` do that")


def _payback_words(move: Mapping[str, Any]) -> str:
    unknown = ", ".join(move["moving_costs_unknown"])
    months, volume = move["payback_months"].value, move["paid_back_in_a_year_from_calls_per_day"]
    if months is None:
        return f"are not stated ({unknown}), so neither is when a move has paid for itself"
    rest = f" without {unknown}" if unknown else ""
    at = "" if volume is None else f", within a year from {volume:,.0f} calls a day"
    return f"{_usd(move['moving_usd'])}{rest}: paid back after {months:.2g} months{at}"


def _win_back_words(back: "WinBack") -> Iterator[str]:
    prices = f"{_usd(back.input_per_mtok)} in, {_usd(back.output_per_mtok)} out per million"
    yield f"at {back.discount:.0%} off: {prices}"
    if back.batch_usd_per_month is not None:
        yield f"by batch ({_usd(back.batch_usd_per_month)} a month): {'yes' if back.batch_wins else 'no'}"
    hits = "no" if back.cache_hit_share is None else f"from {back.cache_hit_share:.0%} of input cached"
    yield f"by its cache: {hits}"
    if back.committed_usd_per_month:
        yield f"{_usd(back.committed_usd_per_month)} a month stay owed to it after a move, and are counted"


def _usd(amount: float | Decimal | None) -> str | None:
    """Return dollars with as many digits as matter."""
    if amount is None:
        return None
    value = float(amount)
    digits = (
        0 if abs(value) >= 1000 else 2 if abs(value) >= 1 or value == 0 else 4 if abs(value) >= 1e-2 else 8
    )
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if digits == 8 else text


def _fields(record: Any) -> dict[str, Any]:
    return {each.name: getattr(record, each.name) for each in fields(record)}
