"""`crossgrade safety`: ask models the prompts of safety suites, import reports, show rates."""

from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import note, print_json, print_table, warn
from crossgrade.cli._params import complete_model, complete_workload, filled
from crossgrade.cli._safety_tables import print_suite
from crossgrade.cli._spending import Dollars, confirm, estimate_words, print_estimate, tell_clauses
from crossgrade.errors import UsageError

if TYPE_CHECKING:
    from crossgrade.evaluate import RunEstimate, RunResult
    from crossgrade.project import ImportedReport, Project

SCHEMA_VERSION = 1


@click.group()
def command() -> None:
    """Measure how often models do what they should not."""


def _suite_option(function: Any) -> Any:
    return click.option(
        "--suite",
        "suites",
        multiple=True,
        metavar="SUITE",
        help="Only this suite; repeat for several.  [default: those that the workload requires]",
    )(function)


@command.command()
@click.argument("workload", shell_complete=complete_workload)
@_suite_option
@click.option("--dry-run", is_flag=True, help="Estimate calls, tokens and dollars; ask no model.")
@click.option(
    "--max-cost", type=Dollars(), metavar="USD", help="Stop before all suites together cost more than this."
)
@click.option("--resume", metavar="RUN", help="Continue this run of the one `--suite`, or the `latest`.")
@click.option("--no-reuse", is_flag=True, help="Ask again what another run has already paid for.")
@click.option("--yes", is_flag=True, help="Do not ask before runs that may cost more than $5.")
@config_option
@json_option
def run(
    workload: str,
    suites: tuple[str, ...],
    max_cost: Decimal | None,
    resume: str | None,
    config_path: str,
    *,
    dry_run: bool,
    no_reuse: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Ask the models of WORKLOAD the prompts of safety suites.

    The incumbent and every candidate are asked, with their own system prompts and settings. The run of a
    suite is one of the workload WORKLOAD.SUITE: `crossgrade runs` lists it, and `crossgrade label
    WORKLOAD.SUITE` lets people label its answers. No rate is shown before 50 are labelled.
    """
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        names = [f"{workload}.{each.name}" for each in project.safety.suites(workload, suites)]
        if resume is not None and len(names) > 1:
            raise UsageError(
                "a run is of one suite", code="safety-suite-not-named", hint="name it with `--suite SUITE`"
            )
        if not dry_run:
            for name in names:
                project.check_terms(name)
        tell_clauses(project, [clause for name in names[:1] for clause in project.clauses(name)])
        estimates = {name: project.estimate(name, reuse=not no_reuse) for name in names}
        if dry_run:
            _show_estimates(estimates, as_json=as_json)
            return
        for name, estimate in estimates.items():
            note(f"{name}: {estimate_words(estimate)}", code="estimate")
        dear = sum((each.known_usd[1] for each in estimates.values()), Decimal(0))
        limit = max_cost if max_cost is not None else project.workload(workload).max_cost_usd
        confirm(dear, go_on=yes or limit is not None, what="runs")
        results: dict[str, RunResult] = {}
        for name in names:
            spent = sum((each.progress.spent_usd for each in results.values()), Decimal(0))
            left = None if limit is None else max(limit - spent, Decimal(0))
            results[name] = _asked(project, workload, name, left, resume, reuse=not no_reuse)
        _show_runs(project, workload, suites, results, as_json=as_json)


def _asked(
    project: "Project", workload: str, name: str, limit: Decimal | None, resume: str | None, *, reuse: bool
) -> "RunResult":
    from crossgrade.cli._progress import followed

    again = f"crossgrade safety run {workload} --suite {name.removeprefix(f'{workload}.')}"
    with followed(name, again) as on_progress:
        result = project.evaluate(
            name, max_cost_usd=limit, resume=resume, reuse=reuse, on_progress=on_progress
        )
    progress = result.progress
    note(
        f"run {result.run_id} of {name}: {progress.asked:,} prompts asked; {progress.calls:,} calls, "
        f"{progress.reused:,} answers reused",
        code="run-ended",
    )
    if progress.errors:
        warn(
            f"{progress.errors:,} calls of {name} failed. To try again: {again} --resume {result.run_id}",
            code="safety-calls-failed",
        )
    return result


def _show_estimates(estimates: "dict[str, RunEstimate]", *, as_json: bool) -> None:
    if as_json:
        print_json({"estimates": estimates}, schema_version=SCHEMA_VERSION)
        return
    for name, estimate in estimates.items():
        click.echo(name)
        print_estimate(estimate)
        note(f"{name}: {estimate_words(estimate)}", code="estimate")


def _show_runs(
    project: "Project",
    workload: str,
    suites: tuple[str, ...],
    results: "dict[str, RunResult]",
    *,
    as_json: bool,
) -> None:
    if as_json:
        runs = [
            {"workload": name, "run_id": each.run_id, "progress": each.progress}
            for name, each in results.items()
        ]
        print_json({"runs": runs}, schema_version=SCHEMA_VERSION)
        return
    for each in project.safety.show(workload, suites):
        print_suite(each)


@command.command("import")
@click.argument("report", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--workload",
    required=True,
    metavar="WORKLOAD",
    shell_complete=complete_workload,
    help="Whose model it is.",
)
@click.option(
    "--model", required=True, metavar="MODEL", shell_complete=complete_model, help="Whose answers it has."
)
@click.option("--suite", required=True, metavar="SUITE", help="The suite that the report is evidence of.")
@click.option(
    "--metric",
    metavar="NAME",
    help="Detector, scorer or metric, where the report has several. garak: also `any`.",
)
@click.option(
    "--category",
    metavar="KEY",
    help="Key of the answers' metadata that is their category, such as `pluginId`. garak: the probe.",
)
@click.option("--format", "file_format", metavar="NAME", help="Format of the report.  [default: recognised]")
@click.option(
    "--score-is-event",
    is_flag=True,
    help="A score of 1 is an event, for instance a harmful answer. By default it is an answer that passed.",
)
@click.option("--allow-unfinished", is_flag=True, help="Take a report that was cut off, and say so.")
@config_option
@json_option
def import_(
    report: Path, workload: str, model: str, suite: str, config_path: str, *, as_json: bool, **options: Any
) -> None:
    """Import the answers and grades of another tool's REPORT.

    REPORT is one of garak or promptfoo, or in another format that `crossgrade import` reads. Its answers
    become a run of WORKLOAD.SUITE with the report's own grades, whose answers people label as those of
    other runs. A report that was cut off is refused.
    """
    from crossgrade.project import Project, ReportOptions

    with Project.open(config_path) as project:
        found = project.safety.import_report(
            report, workload=workload, model=model, suite=suite, options=filled(ReportOptions, options)
        )
    _tell_imported(report, found)
    if not found.is_counted:
        note(
            "this format does not say how many answers a whole report has: compare the number",
            code="safety-report-uncounted",
        )
    if options["allow_unfinished"]:
        warn(
            "the report may have been cut off: it says nothing of what was not asked",
            code="safety-report-part",
        )
    if as_json:
        print_json(asdict(found), schema_version=SCHEMA_VERSION)
        return
    rows = [[each.category, each.answers, each.events, each.unread, each.failed] for each in found.counts]
    headers = ["category", "answers", "events", "unread", "no answer"]
    print_table(headers, rows, right=headers[1:])


def _tell_imported(report: Path, found: "ImportedReport") -> None:
    answers = sum(each.answers for each in found.counts)
    if found.is_new:
        note(
            f"{answers:,} answers of {found.model} imported as run {found.run_id} of {found.workload}, "
            f"graded by {found.grader}",
            code="safety-imported",
        )
    else:
        note(f"{report} is in the store already, as run {found.run_id}", code="safety-imported-before")
    note(
        f"people label them with `crossgrade label {found.workload} --run {found.run_id}`",
        code="safety-label",
    )


@command.command()
@click.argument("workload", shell_complete=complete_workload)
@_suite_option
@config_option
@json_option
def show(workload: str, suites: tuple[str, ...], config_path: str, *, as_json: bool) -> None:
    """Show the safety rates of the models of WORKLOAD, side by side.

    A rate takes 50 answers of the model that people labelled. It corrects the grader's own rate, and its
    interval includes what so few labels leave open.
    """
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        found = project.safety.show(workload, suites)
    if as_json:
        print_json({"workload": workload, "suites": found}, schema_version=SCHEMA_VERSION)
        return
    for each in found:
        print_suite(each)
