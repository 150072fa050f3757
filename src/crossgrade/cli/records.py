"""`crossgrade records`: the gateway's request log, elsewhere."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import note, print_fields, print_json, warn

if TYPE_CHECKING:
    from crossgrade.serve import RecordBatch, RecordExport


@click.group()
def command() -> None:
    """Export the gateway's request records to Parquet or ClickHouse."""


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
