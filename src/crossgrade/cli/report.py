"""`crossgrade report`: the newest verdicts as one page, or as Markdown, text or JSON."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from crossgrade.cli._frame import Renamed, config_option, json_option
from crossgrade.cli._output import note, print_json, print_table, short_id
from crossgrade.cli._params import complete_workload

if TYPE_CHECKING:
    from crossgrade.store import StoredVerdict


@click.command()
@click.argument("workloads", nargs=-1, metavar="[WORKLOAD…]", shell_complete=complete_workload)
@click.option("--verdict", "verdict_id", metavar="ID", help="Report this verdict instead of the newest.")
@click.option("--list", "list_them", is_flag=True, help="List the recorded verdicts and write nothing.")
@click.option(
    "--output",
    "--to",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    cls=Renamed,
    metavar="FILE",
    help="File to write, by its suffix HTML, Markdown or JUnit XML.  [default: crossgrade-report.html]",
)
@config_option
@json_option
def command(
    workloads: tuple[str, ...],
    verdict_id: str | None,
    path: Path | None,
    config_path: str,
    *,
    list_them: bool,
    as_json: bool,
) -> None:
    """Write the report of the newest verdicts.

    Each verdict is computed again from its evidence first. One that does not hold is refused.
    """
    from crossgrade.errors import UsageError
    from crossgrade.project import Project

    if path is not None and (list_them or as_json):
        raise UsageError(
            "`--list` and `--json` print, they write no file",
            code="options-conflict",
            hint="leave out `--output`",
        )
    with Project.open(config_path) as project:
        if list_them:
            found = [each for name in workloads or (None,) for each in project.store.verdicts.recent(name)]
            if not found:
                for name in workloads:
                    project.workload(name)  # which may be misspelt
            _list(found, as_json=as_json)
            return
        if as_json:
            from crossgrade.decide import verdict_to_json

            newest = project.verified(workloads, verdict_id=verdict_id)
            verdicts = [{"id": each.verdict_id, **verdict_to_json(each.confirmed())} for each in newest]
            print_json({"verdicts": verdicts}, schema_version=1)
            return
        written = project.report(workloads, verdict_id=verdict_id, path=path)
    note(f"report written to {written}")


def _list(stored: "list[StoredVerdict]", *, as_json: bool) -> None:
    rows = [
        {
            "id": each.id,
            "workload": each.verdict.workload,
            "verdict": each.verdict.name,
            "decided_at": each.verdict.decided_at.isoformat(timespec="seconds"),
            "valid_until": each.verdict.valid_until.date().isoformat(),
        }
        for each in stored
    ]
    if as_json:
        print_json({"verdicts": rows}, schema_version=1)
    else:
        headers = ["id", "workload", "verdict", "decided_at", "valid_until"]
        shown = [row | {"id": short_id(row["id"])} for row in rows]
        print_table(headers, [[row[header] for header in headers] for row in shown], right=["id"])
