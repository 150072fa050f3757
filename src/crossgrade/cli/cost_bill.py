"""`crossgrade cost [bill]`: a month of traffic at every offer, what dominates it, what a move is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._bills import box_row, explain, move_lines, offer_record, offer_row, tell_boxes, tell_move
from crossgrade.cli._frame import DEFAULT_CONFIG, FiniteRange, config_option, json_option
from crossgrade.cli._offers import catalog_here, day, day_option, priced
from crossgrade.cli._output import note, print_json, print_table
from crossgrade.cli._params import complete_workload
from crossgrade.cli._serving import deployment_spec
from crossgrade.cli._spending import Dollars
from crossgrade.errors import NotFoundError, UsageError, nearest

if TYPE_CHECKING:
    from crossgrade.catalog.bills import Bills
    from crossgrade.hosting.boxes import BoxBill
    from crossgrade.pricing.commitment import Commitment
    from crossgrade.pricing.moving import MovingCosts
    from crossgrade.pricing.usage import Traffic

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

BOXES = ("llama-4-scout@h100x4", "llama-4-maverick@h100x8")
"""GPUs of one's own that are billed beside the shortlist: fp8 weights, an 8-bit cache."""

_INCUMBENT = "gpt-4o@openai"
_MOST_CALLS = 10**12
_PLANNED = 0.7
_RESELLER = "huggingface_"
"""Hosts reached through a router, which is the same price again."""
_NUMBERS = ("$/month", "interval", "$/M tokens", "$/call", "$/solved", "batch", "saves")


@click.command()
@click.argument("workload", required=False, shell_complete=complete_workload)
@click.option("--input-tokens", type=int, metavar="N", help="Mean tokens into a call.")
@click.option("--output-tokens", type=int, metavar="N", help="Mean tokens out of a call.")
@click.option("--per-day", metavar="N", help="Calls a day; left out, the workload's or the trace's rate.")
@click.option(
    "--cache-hit",
    type=FiniteRange(0, 1),
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
    type=FiniteRange(0, 1, max_open=True),
    metavar="SHARE",
    help="The incumbent's discount.",
)
@click.option("--evaluation-usd", type=Dollars(), metavar="USD", help="What evaluating costs, once.")
@click.option("--judge-usd", type=Dollars(), metavar="USD", help="What judging costs, once.")
@click.option("--shadow-usd", type=Dollars(), metavar="USD", help="What shadow traffic costs, once.")
@click.option("--migration-usd", type=Dollars(), metavar="USD", help="What the migration costs, once.")
@click.option(
    "--deploy",
    "deployments",
    multiple=True,
    metavar="MODEL@GPUxN[:PRECISION]",
    help="Bill N GPUs of your own too, `llama-4-scout@h100x4`; repeat.",
)
@click.option(
    "--usd-per-gpu-hour", type=Dollars(), metavar="USD", help="Rent.  [default: the GPU's typical rent]"
)
@click.option(
    "--planned",
    type=FiniteRange(0, 1, min_open=True),
    default=_PLANNED,
    show_default=True,
    metavar="SHARE",
    help="How busy boxes of your own may be on average.",
)
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write one HTML page with the bill, its bars and the break-even by volume.",
)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", default=30, show_default=True, help="Most rows to print."
)
@day_option
@config_option
@json_option
def command(
    workload: str | None,
    config_path: str,
    on: datetime | None,
    page: Path | None,
    limit: int,
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """Bill a month of traffic at every offer.

    Tokens are those that the newest run of WORKLOAD measured, or what `--trace` recorded, or what
    `--input-tokens` and `--output-tokens` say. Unknown is never zero: an offer without a price has no bill.
    """
    from crossgrade.project import cheapest_move

    today = day(on)
    bills = _bills(workload, config_path, today, options)
    costs = _moving_costs(bills, options)
    money = _commitment(bills, options)
    rows = [offer_row(bills, row, money) for row in bills.offers]
    boxes = _boxes(bills, options, has_project=workload is not None or _has_project(config_path))
    move = cheapest_move(bills, money, costs)
    if page is not None:
        from crossgrade.report import render_cost, write_text

        bills = replace(bills, boxes=tuple(boxes))
        note(f"page written to {write_text(page, render_cost(bills, tuple(move_lines(bills, move))))}")
    if as_json:
        print_json(
            {
                "on": bills.on,
                "traffic": {
                    "source": bills.traffic.source,
                    "calls_per_month": bills.traffic.calls_per_month,
                    "days_per_month": 30,
                    **{each.name: getattr(bills.mix, each.name) for each in fields(bills.mix)},
                },
                "incumbent": bills.incumbent,
                "offers": [offer_record(bills, row, money) for row in bills.offers],
                "without_moving": bills.thrifts,
                "incumbent_end": bills.incumbent_end,
                "deployments": boxes,
                "move": move,
            },
            schema_version=SCHEMA_VERSION,
        )
        return
    headers = tuple(rows[0])
    _place_boxes(rows, bills, boxes)
    kept = {bills.incumbent, *(box.name for box in boxes)}
    shown = [row for at, row in enumerate(rows) if at < limit or row["offer"] in kept]
    print_table(headers, [tuple(row.values()) for row in shown], right=_NUMBERS)
    explain(bills, left_out=len(rows) - len(shown))
    tell_boxes(boxes)
    tell_move(bills, move)


def _bills(workload: str | None, config_path: str, today: date, options: dict[str, Any]) -> "Bills":
    traffic = _traffic(options)
    if workload is None and traffic is None:
        raise UsageError(
            "nothing says how large the calls are",
            code="usage-not-given",
            hint="name a WORKLOAD, or give `--trace FILE`, or `--input-tokens` and `--output-tokens`",
        )
    if workload is not None:
        from crossgrade.project import Project

        _check_subcommand(workload, config_path)
        with Project.open(config_path) as project:
            return project.bills(
                workload,
                run_id=options["run_id"],
                traffic=traffic,
                calls_per_day=_calls(options["per_day"]),
                cache_hit=options["cache_hit"],
                on=today,
                boxes=True,
            )
    from crossgrade.catalog.bills import bill_offers

    assert traffic is not None, "checked above"
    catalog = catalog_here(config_path)
    in_project = _has_project(config_path) and not options["patterns"]
    if in_project:
        from crossgrade.project import read_config

        offers = list(read_config(config_path).offers.values())
        incumbent = options["incumbent"]
    else:
        incumbent = options["incumbent"] or _INCUMBENT
        wanted = [*(options["patterns"] or SHORTLIST), incumbent]
        found = priced(catalog, wanted, today)
        if not options["patterns"]:
            found = [each for each in found if not each.provider.startswith(_RESELLER)]
        offers = [listing.offer() for listing in found]
    names = [offer.name for offer in offers]
    if incumbent is not None and incumbent not in names:
        raise UsageError(
            f"the incumbent {incumbent!r} is none of the offers",
            code="incumbent-not-offered",
            hint=f"name it as the table does: {', '.join(names[:6])}",
        )
    bills = bill_offers(offers, traffic, catalog, today, incumbent=incumbent)
    if not in_project:
        return bills
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        return project.with_conformity(bills)


def _check_subcommand(name: str, config_path: str) -> None:
    """Raise NotFoundError for a misspelt subcommand where there is no project with workloads."""
    from crossgrade.cli.cost import SUBCOMMANDS

    near = nearest(name, SUBCOMMANDS)
    if near and not _has_project(config_path):
        raise NotFoundError(
            f"there is no subcommand and no workload `{name}`; did you mean `{near[0]}`?",
            code="workload-unknown",
            hint="see `crossgrade cost --help`",
        )


def _traffic(options: dict[str, Any]) -> "Traffic | None":
    """Return the traffic that the options describe, None where a run has to say it."""
    paid, answered, trace = options["input_tokens"], options["output_tokens"], options["trace"]
    per_day = _calls(options["per_day"])
    if trace is not None:
        if paid is not None or answered is not None:
            raise UsageError(
                "`--trace` says the tokens itself", code="options-conflict", hint="leave out the token counts"
            )
        from crossgrade.workloads import read_trace

        return read_trace(trace).traffic().adjusted(calls_per_day=per_day, cache_hit=options["cache_hit"])
    if paid is None and answered is None:
        return None
    if paid is None or answered is None:
        hint = "give `--input-tokens` and `--output-tokens`"
        raise UsageError("one of the two token counts is missing", code="tokens-incomplete", hint=hint)
    from crossgrade.pricing.usage import stated_traffic

    return stated_traffic(paid, answered, calls_per_day=per_day, cache_hit=options["cache_hit"] or 0.0)


def _calls(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        calls = Decimal(text.replace(",", "").replace("_", ""))
    except InvalidOperation:
        calls = Decimal(-1)
    if not (calls.is_finite() and 0 < calls <= _MOST_CALLS):
        raise UsageError(
            f"`--per-day` must be positive and at most 10^12 (got {text[:40]!r})",
            code="volume-invalid",
            hint="give calls a day",
        )
    return calls


def _commitment(bills: "Bills", options: Mapping[str, Any]) -> "Commitment":
    """Return what is owed to the incumbent's provider: as the options say, else by the team's contract."""
    from crossgrade.pricing.commitment import Commitment

    stated = options["committed_usd"]
    return replace(
        bills.agreed if stated is None else Commitment(minimum_usd_per_month=stated),
        discount=Decimal(repr(options["discount"] or 0)),
    )


def _moving_costs(bills: "Bills", options: Mapping[str, Any]) -> "MovingCosts":
    """Return what moving costs: as stated, else as the workload's run and route say."""
    names = [each.name for each in fields(bills.moving)]
    return replace(bills.moving, **{name: options[name] for name in names if options[name] is not None})


def _has_project(config_path: str) -> bool:
    return config_path != DEFAULT_CONFIG or Path(config_path).exists()


def _boxes(bills: "Bills", options: Mapping[str, Any], *, has_project: bool) -> "list[BoxBill]":
    """Return the bills of GPUs of one's own: those asked for, else the workload's or the shortlist's."""
    if bills.boxes and not options["deployments"] and _as_usual(options):
        return list(bills.boxes)
    specs = options["deployments"] or (() if has_project or options["patterns"] else BOXES)
    if not specs:
        return []
    from crossgrade.hosting import Deployment, default_precision, known_gpu, known_model, shipped_fit
    from crossgrade.hosting.boxes import box_bill

    both = (bills.of_incumbent, bills.rival)
    against = {row.offer: row.bill.per_mtok_usd for row in both if row is not None}
    rent = options["usd_per_gpu_hour"]
    if rent is not None and rent <= 0:
        raise UsageError(
            f"--usd-per-gpu-hour is {rent}", code="rent-invalid", hint="give an amount above 0 in US dollars"
        )
    found = []
    for spec in specs:
        name, gpu_name, count, width = deployment_spec(spec)
        model, gpu = known_model(name), known_gpu(gpu_name)
        precision = width or default_precision(model)
        box = Deployment(gpu=gpu, tensor_parallel=count, precision=precision)
        try:
            found.append(
                box_bill(
                    f"{name} on {count} x {gpu.name}" + (f" in {width}" if width else ""),
                    model,
                    box,
                    bills.traffic,
                    shipped_fit(),
                    usd_per_gpu_hour=rent or gpu.typical.usd_per_hour,
                    planned_utilisation=options["planned"],
                    rent_from="" if rent else f"typical, {gpu.typical.as_of}: {gpu.typical.source}",
                    against=against,
                )
            )
        except UsageError as error:
            if error.code not in _DOES_NOT_SERVE:
                raise
            note(f"left out {spec}: {error}; {error.hint}", code="deployment-left-out")
    return found


_DOES_NOT_SERVE = {"gpus-too-small", "gpus-do-not-divide"}
"""Errors of one deployment that say nothing about the others, nor about the offers."""


def _as_usual(options: Mapping[str, Any]) -> bool:
    """Say whether boxes are as a project has them; else the refusal names what has no `--deploy`."""
    if options["usd_per_gpu_hour"] is None and options["planned"] == _PLANNED:
        return True
    raise UsageError(
        "Missing `--deploy`",
        code="deployment-not-named",
        hint="add `--deploy MODEL@GPUxN`, for instance llama-4-scout@h100x4",
    )


def _place_boxes(rows: list[dict[str, Any]], bills: "Bills", boxes: "Sequence[BoxBill]") -> None:
    """Put the boxes into the table where their bill belongs; the last of the unknown."""
    costs = [row.bill.month.value for row in bills.offers if row.can_be_bought]
    now = bills.of_incumbent.bill.usd_per_month if bills.of_incumbent else None
    for box in sorted(boxes, key=lambda box: -(box.month.value or 0.0)):
        month = box.month.value
        saves = None if now is None or month is None else now - Decimal(repr(month))
        cheaper = [cost for cost in costs if month is None or (cost is not None and cost <= month)]
        rows.insert(len(cheaper), box_row(box, list(rows[0]), saves=saves))
