"""`crossgrade records`: the gateway's request log, elsewhere, and one run of an agent in it."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import note, print_fields, print_json, print_table, warn

if TYPE_CHECKING:
    from crossgrade.gateway import RequestRecord
    from crossgrade.serve import RecordBatch, RecordExport


@click.group()
def command() -> None:
    """Export the gateway's request records, or show those of a run."""


@command.command()
@click.option(
    "--to",
    metavar="PLACE",
    required=True,
    help="A folder, s3://BUCKET/FOLDER, gs://…, az://…, or clickhouse://USER@HOST/DB/TABLE.",
)
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(1, 86_400),
    metavar="SECONDS",
    help="Go on: export again so often, until stopped.  [default: once]",
)
@config_option
@json_option
def export(to: str, every_s: float | None, config_path: str, *, as_json: bool) -> None:
    """Export the records that PLACE does not have yet.

    Runs beside the gateway, on its machine, and reads its request log. Each record arrives at least once,
    with its id. `crossgrade scan PLACE` counts it once. Prompts of `serve.log_prompts` are left out.
    """
    from crossgrade.errors import UsageError
    from crossgrade.project import read_config
    from crossgrade.serve import RecordExport

    if as_json and every_s is not None:
        raise UsageError("`--json` prints one export", code="option-missing", hint="leave out `--every`")
    with RecordExport.open(read_config(config_path).root / ".crossgrade", to) as found:
        batches = list(_batches(found))
        if every_s is not None:
            _go_on(found, every_s)  # until interrupted
    summary = {"records": sum(each.records for each in batches), "batches": len(batches)}
    if as_json:
        print_json(summary, schema_version=1)
    else:
        print_fields(summary)


@command.command()
@click.argument("run")
@config_option
@json_option
def run(run: str, config_path: str, *, as_json: bool) -> None:
    """Show the calls of one run of an agent, and what they took together.

    A request names its run by its path (`/run/RUN/v1/…`) or the header `x-crossgrade-run`. Records arrive
    within a second. A cost is unknown (`-`) if that of any call is.
    Calls of a trial are found by its run id too, as long as the folder of its gateway is kept.
    """
    from crossgrade.errors import NotFoundError
    from crossgrade.project import read_config
    from crossgrade.serve import run_records

    state = read_config(config_path).root / ".crossgrade"
    found = run_records(state, run)
    if not found:  # a trial's calls are in the log of the gateway that was started for its run
        gateways = sorted((state / "trials").glob("gateway-*"))
        found = [each for own in gateways for each in run_records(own / ".crossgrade", run)]
    if not found:
        raise NotFoundError(
            f"the request log has no call of a run `{run}`",
            code="run-without-records",
            hint="give the agent http://HOST/run/ID/v1 as its base URL, and this ID here",
        )
    totals = _totals(found)
    if as_json:
        for each in found:
            each.prompt = None  # as in an export
        print_json({"run": run, **totals, "records": found}, schema_version=1)
        return
    headers = ("at", "model", "status", "input", "output", "cached", "dollars", "seconds", "reason")
    rows = [
        (
            datetime.fromtimestamp(each.at, UTC).isoformat(timespec="seconds"),
            each.target or None,
            each.status,
            each.input_tokens,
            each.output_tokens,
            each.cache_read_input_tokens,
            None if each.cost_usd is None else f"{each.cost_usd:.6f}",
            None if each.latency_ms is None else f"{each.latency_ms / 1000:.1f}",
            each.reason,
        )
        for each in found
    ]
    print_table(headers, rows, right=("status", "input", "output", "cached", "dollars", "seconds"))
    print_fields(totals)


def _totals(records: "list[RequestRecord]") -> dict[str, Any]:
    """Return what the calls of a run took together; a sum with an unknown part is None."""
    ends = [each.at + (each.latency_ms or 0.0) / 1000 for each in records]
    costs = [each.cost_usd for each in records if each.attempts]
    known = [cost for cost in costs if cost is not None]
    asked = [each for each in records if each.target]
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens")
    tokens = {name: [getattr(each, name) for each in asked if each.status < 400] for name in names}
    return {
        "calls": len(records),
        "models": dict(Counter(each.target for each in asked)),
        "mixed": any(each.mixed for each in records),
        **{name: None if None in counts else sum(counts) for name, counts in tokens.items()},
        "cost_usd": sum(known) if len(known) == len(costs) else None,
        "seconds": round(max(ends) - records[0].at, 3),
    }


def _go_on(found: "RecordExport", every_s: float) -> None:
    """Export again and again, until interrupted; the destination's troubles pass, so they are told."""
    from crossgrade.errors import StoreError

    while True:
        time.sleep(every_s)
        try:
            for batch in _batches(found):
                note(f"{batch.records:,} records exported", code="records-exported")
        except StoreError as error:
            warn(f"{error.message}. The next try is in {every_s:g} s", code=error.code)


def _batches(found: "RecordExport") -> "Iterator[RecordBatch]":
    """Export all that is there, batch by batch, and tell what is unusual about one."""
    while (batch := found.export_next()) is not None:
        if batch.removed:
            warn(
                "the request log lost its oldest files before they were exported: export more often",
                code="records-removed",
            )
        if batch.repeated:
            note(
                "how far this export was is unknown, so records may come again, with the same ids",
                code="records-repeated",
            )
        if batch.unreadable:
            warn(
                f"{batch.unreadable:,} damaged lines of the request log are left out", code="records-damaged"
            )
        yield batch
