"""`crossgrade scan`: where the money goes in a team's logs, and what could move."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crossgrade.cli._frame import Renamed, config_option, jobs_option, json_option
from crossgrade.cli._output import note, print_json
from crossgrade.cli._params import DayOrCluster, day_and_cluster
from crossgrade.cli._spending import check_report_extra

if TYPE_CHECKING:
    from datetime import datetime

    from crossgrade.catalog import Catalog
    from crossgrade.report import ScanRow
    from crossgrade.workloads.traffic import LogFormat, Scan

_DETAILED = 5
"""Workloads that are shown in detail where no spend is known."""


@click.command()
@click.argument("logs", nargs=-1, required=True, metavar="LOGS…")
@click.option(
    "--query", metavar="SQL", help="Rows of a database, where LOGS is its URL; or a file that ends in .sql."
)
@click.option(
    "--format", "file_format", metavar="NAME", help="Format of the logs, where it is not recognised."
)
@click.option(
    "--model", metavar="MODEL", help="The model that answered, for records that name none: [PROVIDER/]MODEL."
)
@click.option(
    "--on",
    metavar="DATE|ray[://HOST:PORT]",
    type=DayOrCluster(),
    multiple=True,
    help="Day of the prices [default: the log's last day], and the cluster of Ray that reads the log.",
)
@click.option(
    "--label-usd",
    type=click.FloatRange(0, 10_000),
    default=0.5,
    show_default=True,
    metavar="USD",
    help="What labelling one sample costs you; counts in the net value.",
)
@click.option("--no-text", is_flag=True, help="Read no prompt and no answer; the money part still works.")
@click.option(
    "--by",
    "order",
    type=click.Choice(["net-value", "end"]),
    default="net-value",
    show_default=True,
    help="What comes first: what is worth most to find out, or the model that ends first.",
)
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write one HTML page with the treemap of spend and the ranked list.",
)
@click.option(
    "--output",
    "--save",
    "save",
    type=click.Path(dir_okay=False, path_type=Path),
    cls=Renamed,
    metavar="FILE",
    help="Write the scan as JSON, for `crossgrade workload create --from`.",
)
@jobs_option
@config_option
@json_option
def command(  # noqa: PLR0917 -- click passes them by name
    logs: tuple[str, ...],
    query: str | None,
    file_format: str | None,
    model: str | None,
    on: "tuple[datetime | str, ...]",
    label_usd: float,
    order: str,
    page: Path | None,
    save: Path | None,
    jobs: int | None,
    config_path: str,
    *,
    no_text: bool,
    as_json: bool,
) -> None:
    """Say where the money goes, and what could move.

    Reads logs of LiteLLM, OpenAI, Langfuse, LangSmith, Helicone, OpenTelemetry, Portkey, Azure API
    Management, Cloudflare, the own gateway, CSV, JSON lines and Parquet: files, folders or patterns, also
    .gz and .zst; or the rows of a query: postgresql://USER@HOST/DB, clickhouse://USER@HOST/DB, duckdb:FILE
    or duckdb: alone (which reads Parquet). The same request in two of them counts once. No model is asked,
    and no text is kept.
    """
    from datetime import UTC
    from datetime import datetime as clock

    from crossgrade.cli._progress import reading_elsewhere
    from crossgrade.errors import DataError
    from crossgrade.workloads.traffic import scan_logs, scan_record

    if page is not None:
        check_report_extra()
    catalog, formats = known_of_logs(config_path)
    day, cluster = day_and_cluster(on)
    with reading_elsewhere(jobs, cluster) as run:
        scan = scan_logs(
            logs,
            catalog=catalog,
            today=clock.now(UTC).date(),
            texts=not no_text,
            file_format=file_format,
            query=query_text(query),
            model=model,
            on=day,
            label_usd=label_usd,
            formats=formats,
            run=run,
        )
    scan = scan.knowing(_conformity(config_path))
    if scan.problems and not scan.rows:
        _note_problems(scan)
        raise DataError(
            f"no record could be read in {scan.files:,} file{'s' * (scan.files != 1)}",
            code="log-unreadable",
            hint="see which formats are read with `crossgrade scan --help`, or name it with `--format NAME`",
        )
    if order == "end":
        scan = scan.by_end()
    if as_json:
        print_json(scan_record(scan), schema_version=1)
    else:
        _print(scan)
    _note_problems(scan)
    if scan.model is None and any("unknown" in each.models for each in scan.findings):
        note(
            "the log does not name every model that answered: `--model [PROVIDER/]MODEL` says and prices it",
            code="model-not-named",
        )
    elif scan.findings and not scan.spend_n:
        note(
            f"no price of these models is known on {scan.prices_on}: `--on DATE` takes those of another day",
            code="prices-unknown",
        )
    if save is not None:
        _save(scan, save)
    if page is not None:
        from crossgrade.report import render_scan, write_text

        write_text(page, render_scan(scan))
        note(f"page written to {page}")


def _note_problems(scan: "Scan") -> None:
    for kind, count in scan.problems.items():
        times = f"{count:,} time{'s' * (count != 1)}"
        examples = "; ".join(scan.examples.get(kind, ())[:2])
        note(f"not read: {kind}, {times}, for instance {examples}", code="not-read")


def query_text(query: str | None) -> str | None:
    """Return a query, also one that stands in a file."""
    if query is None or not query.endswith(".sql"):
        return query
    from crossgrade.errors import unreadable

    try:
        return Path(query).read_text(encoding="utf-8")
    except OSError as error:
        raise unreadable(Path(query), error, hint="check the path") from error


def known_of_logs(config_path: str) -> "tuple[Catalog, Mapping[str, LogFormat]]":
    """Return the catalogue and the formats of logs; the project's own too, where there is a project."""
    from crossgrade.catalog import packaged_catalog
    from crossgrade.workloads.traffic import LOG_FORMATS

    if not Path(config_path).is_file():
        return packaged_catalog(), LOG_FORMATS
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        return project.catalog, project.plugins.log_formats


def _conformity(config_path: str) -> dict[tuple[str, str], str]:
    """Return what is known of the project's offers, by provider and id; nothing without a project."""
    if not Path(config_path).is_file():
        return {}
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        return {
            (offer.provider, offer.model): project.conformity_of(offer).words
            for offer in project.config.offers.values()
        }


def _save(scan: "Scan", path: Path) -> None:
    from crossgrade.report import trials_words, write_json
    from crossgrade.workloads.traffic import scan_record

    write_json(path, {"schema_version": 1, **scan_record(scan)})
    note(f"scan written to {path}", code="scan-written")
    with_texts = [finding for finding in scan.findings if finding.texts]
    plain = next((each.name for each in with_texts if each.needs_evidence != "agentic"), None)
    if plain is not None:
        note(f"next: crossgrade workload create {plain} --from {path} --n 400", code="next")
    for finding in scan.findings:
        if finding.needs_evidence == "agentic":
            note(f"next for {finding.name}: {trials_words(finding)}", code="next-trials")


def _print(scan: "Scan") -> None:
    from crossgrade._columns import paragraph
    from crossgrade.cli._output import print_fields, print_table, terminal_width
    from crossgrade.report import NET_VALUE_WORDS, scan_rows, scan_totals

    print_fields(dict(scan_totals(scan)))
    rows = scan_rows(scan)
    if not rows:
        return
    click.echo()
    ends = any(row.ends for row in rows)
    print_table(
        (
            "",
            "workload",
            "spend",
            "share",
            "cumulated",
            "net value",
            "saves a month, at most",
            "by moving to",
            *(["model ends"] if ends else []),
        ),
        [
            (
                number,
                row.name,
                row.spend,
                row.share,
                row.cumulated,
                row.net_value,
                row.saves,
                row.moves[0][0] if row.moves else None,
                *([row.ends[0][0] if row.ends else None] if ends else []),
            )
            for number, row in enumerate(rows, start=1)
        ],
        right=("", "share", "cumulated", "net value"),
    )
    click.echo("\n" + "\n".join(paragraph(NET_VALUE_WORDS, terminal_width())))
    ending = [at for at, row in enumerate(rows) if row.ends]
    most = scan.most_of_spend() or frozenset(range(min(_DETAILED, len(rows))))
    detailed = most.union(ending[:_DETAILED])
    for at in sorted(detailed):
        _print_details(at + 1, rows[at])
    left = len(rows) - len(detailed)
    if left and scan.spend_usd:
        held = sum(scan.shares[at] or 0.0 for at in detailed)
        note(
            f"Details are shown for {held:.0%} of the spend. "
            f"`--html` and `--json` have all {len(rows)} workloads.",
            code="details-left-out",
        )
    elif left:
        note(
            f"Details are shown for the first {len(detailed)}. "
            f"`--html` and `--json` have all {len(rows)} workloads.",
            code="details-left-out",
        )


def _print_details(number: int, row: "ScanRow") -> None:
    from crossgrade.cli._output import one_line, print_fields

    said = [words for _, words in row.ends]
    click.echo(f"\n{number}. {one_line(row.name)}")
    print_fields(
        {
            "  told by": row.reason,
            "  served by": row.incumbent,
            **({"  ends": f"{', '.join(said)}: certify another model in time"} if said else {}),
            "  requests": row.requests,
            "  tokens": f"{row.tokens}; from cache {row.cached}",
            "  length p50/p95/p99": row.lengths,
            "  latency": row.latency,
            "  errors": row.errors,
            "  features": row.features,
            "  spend a month": row.per_month,
            "  growth": row.growth,
            "  sessions": row.sessions,
            **({"  agent": row.agent} if row.agent else {}),
            **{f"  before a move, {at}": words for at, words in enumerate(row.thrifts, start=1)},
            **{
                f"  move to {name}": f"saves {saved}; a test costs {test}; price from {source}; {conforms}"
                for name, saved, test, source, conforms in row.moves
            },
            "  public evidence": row.evidence,
            "  net value": row.net_value_why,
        }
    )
    for line in row.unknown:
        click.echo(f"  unknown, {line}")
