"""`crossgrade runs`: what was measured, and whether it can go on."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import Renamed, config_option, json_option
from crossgrade.cli._output import note, print_json, print_table, short_id, warn
from crossgrade.cli._params import complete_workload_or_suite

if TYPE_CHECKING:
    from crossgrade.config import Config
    from crossgrade.project import Export


@click.command()
@click.argument("workload", required=False, shell_complete=complete_workload_or_suite)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", default=20, show_default=True, help="Most runs to list."
)
@click.option("--export", "run_id", metavar="RUN", help="Write this run's scored answers as a table instead.")
@click.option(
    "--output",
    "--to",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("run.csv"),
    show_default=True,
    cls=Renamed,
    metavar="FILE",
    help="CSV file to export to. Its column `human` has people's labels once all drawn items are done.",
)
@click.option(
    "--label-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV file for people to score, answers in random order without names: written where it is not "
    "there, else its scores fill the column `human`. Needs `--export`.",
)
@config_option
@json_option
def command(
    workload: str | None,
    *,
    limit: int,
    run_id: str | None,
    path: Path,
    label_file: Path | None,
    config_path: str,
    as_json: bool,
) -> None:
    """List the runs in the project's store.

    Newest first, of one WORKLOAD or of all. Every run but a finished one can be resumed:
    `crossgrade evaluate WORKLOAD --resume RUN`.
    """
    from crossgrade.errors import UsageError
    from crossgrade.project import Project

    if label_file is not None and run_id is None:
        raise UsageError("`--label-file` is of one run", code="run-not-named", hint="add `--export RUN`")
    with Project.open(config_path) as project:
        if run_id is not None:
            written = project.export_run(run_id, path, label_file=label_file)
            note(f"{written.answers:,} answers written to {path}")
            if written.waiting:
                note(f"{written.waiting:,} samples written to {label_file}: score them from the top,")
                note("then type the same command again")
            elif label_file is not None:
                note(f"{written.labelled:,} labelled samples read from {label_file}")
            _note_labels(written, in_store=label_file is None)
            if project.store.runs.get(run_id).settings["mode"] != "fixed":
                warn(
                    "the run could stop early, so the table is for reading: a test on it counts on "
                    "a fixed number of samples; evaluate with `mode: fixed` to decide on a table",
                    code="run-could-stop-early",
                )
            if as_json:
                print_json(
                    {
                        "run": run_id,
                        "answers": written.answers,
                        "path": path,
                        "labelled": written.labelled,
                        "waiting": written.waiting,
                        "unfinished": written.unfinished,
                    },
                    schema_version=1,
                )
            return
        rows = _rows(project.config, workload, limit)
        if workload is not None and not rows:
            project.workload(workload)  # which may be misspelt
    if as_json:
        print_json({"runs": rows}, schema_version=1)
    elif rows:
        shown = [row | {"run": short_id(row["run"])} for row in rows]
        print_table(list(rows[0]), [list(row.values()) for row in shown], right=("run", *_NUMBERS))
    else:
        note("no runs yet: `crossgrade evaluate WORKLOAD` makes one", code="no-runs")


def _note_labels(written: "Export", *, in_store: bool) -> None:
    """Say whether the table has the labels of the store."""
    if written.unfinished:
        note(
            f"no label is in the table: {written.unfinished:,} items are neither labelled nor skipped. "
            "`crossgrade label WORKLOAD --export FILE` writes the labels so far",
            code="labels-not-in-table",
        )
    elif in_store and written.labelled:
        rounds = (
            f", with `--alpha` divided by the {written.rounds} planned rounds" if written.rounds > 1 else ""
        )
        note(
            f"labels of {written.labelled:,} items are in the table. "
            f"`crossgrade decide FILE --judge JUDGE` takes them{rounds}",
            code="labels-in-table",
        )


_NUMBERS = ("planned", "answers", "errors", "spent_usd")


def _rows(config: "Config", workload: str | None, limit: int) -> list[dict[str, Any]]:
    from crossgrade.store import Store

    if "://" not in config.store and not Path(config.store).exists():
        return []  # opening the store would make it
    with Store.open(config.store, folder=config.root / ".crossgrade") as store:
        rows = []
        for run in store.runs.recent(workload)[:limit]:
            totals = store.runs.totals(run.id)
            rows.append(
                {
                    "run": run.id,
                    "workload": run.workload,
                    "started": run.created_at.isoformat(timespec="seconds"),
                    "status": store.runs.status(run.id).value,
                    "planned": run.planned,
                    "answers": totals.answers,
                    "errors": totals.errors,
                    "spent_usd": totals.spent_usd,
                }
            )
        return rows
