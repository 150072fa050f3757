"""`crossgrade decide`: the verdict on result files, or on a workload of the project."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import FiniteRange, FiniteRanges, config_option, json_option
from crossgrade.cli._output import note, print_json, print_verdict
from crossgrade.cli._params import (
    column_option,
    complete_workload_or_file,
    filled,
    importers_of,
    named_sources,
    note_ignored,
)
from crossgrade.cli._spending import check_report_extra
from crossgrade.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from crossgrade.decide import Verdict
    from crossgrade.project import Project
    from crossgrade.store import StoredVerdict

SCHEMA_VERSION = 1

# What may be given beside each kind of source; anything else would be ignored, so it is refused.
_OUTPUTS = {"as_json", "frontier", "gated", "junit", "markdown", "report", "config_path"}
_WITH_VERDICT = _OUTPUTS | {"verify_id", "rescore"}
_WITH_ONE_WORKLOAD = {"floors", "alpha", "run_id", "label_file", "recent_logs", "recent_name"}
_WITH_ONE_FLOOR = {"apply_it", "gated", "junit", "markdown", "report", "verify_id", "frontier"}
_WITH_WORKLOAD = _OUTPUTS | _WITH_ONE_WORKLOAD | {"sources", "apply_it"}
_NOT_WITH_FILES = {"run_id", "label_file", "recent_logs", "recent_name", "apply_it", "verify_id"}


@click.command()
@click.argument("sources", nargs=-1, metavar="RESULTS… | WORKLOAD…", shell_complete=complete_workload_or_file)
@click.option("--incumbent", metavar="MODEL", help="Model that serves today, as the results name it.")
@click.option(
    "--candidate",
    "candidates",
    multiple=True,
    metavar="MODEL",
    help="Model that may replace it; repeat for several.",
)
@click.option(
    "--floor",
    "floors",
    type=FiniteRanges(0.01, 2, max_open=True),
    metavar="SHARE[,…]",
    help="Retention that must hold. Several show what each costs.  [default: 0.85]",
)
@click.option(
    "--alpha",
    type=FiniteRange(1e-6, 0.5, max_open=True),
    metavar="SHARE",
    help="Error rate of the decision.  [default: 0.05]",
)
@click.option(
    "--segment", metavar="COLUMN", help="Column that splits the traffic; known when a request arrives."
)
@click.option("--group", metavar="COLUMN", help="Column to look for broken parts in; no policy splits by it.")
@click.option(
    "--cluster", metavar="COLUMN", help="Column that names the document or conversation of a sample."
)
@click.option(
    "--chance",
    type=FiniteRange(0, 1, max_open=True),
    metavar="SHARE",
    default=0.0,
    show_default=True,
    help="Score of guessing.",
)
@click.option(
    "--format", "file_format", metavar="NAME", help="Format of the files, where it is not recognised."
)
@click.option("--metric", metavar="NAME", help="Scorer, metric or filter, where a log has several.")
@column_option
@click.option("--workload", metavar="NAME", help="Keep this one of several workloads in the files.")
@click.option("--allow-unfinished", is_flag=True, help="Take logs of runs that did not end.")
@click.option(
    "--scale",
    nargs=2,
    type=float,
    metavar="WORST BEST",
    default=(0.0, 1.0),
    help="Worst and best score in the files.",
)
@click.option(
    "--origin",
    type=click.Choice(["own", "independent", "vendor"]),
    default="own",
    show_default=True,
    help="Who measured the scores.",
)
@click.option(
    "--cost",
    "costs",
    multiple=True,
    metavar="MODEL=USD",
    help="Cost per request, where the files carry none.",
)
@click.option(
    "--tokens",
    "typical_tokens",
    nargs=2,
    type=click.IntRange(min=0, max=100_000_000),
    metavar="IN OUT",
    help="Tokens of a typical request: models without a cost get the cheapest list price.",
)
@click.option(
    "--stated",
    "stated_means",
    multiple=True,
    metavar="MODEL=SCORE",
    help="Mean score published for these results; a guard compares it with the items.",
)
@click.option(
    "--requests-per-month",
    type=click.IntRange(min=1, max=10**15),
    metavar="N",
    help="Requests a month, for the saving a month.",
)
@click.option("--judge", metavar="MODEL", help="Model that scored; a `human` column corrects its scores.")
@click.option("--splits-only", is_flag=True, help="Test each segment for itself, never the whole.")
@click.option(
    "--router",
    is_flag=True,
    help="Train a router on half of the samples, and test on the others what it moves.",
)
@click.option(
    "--grow",
    is_flag=True,
    help="With --router: certify so that audits in service may move more.",
)
@click.option(
    "--whole-floor",
    type=FiniteRange(0.01, 2, max_open=True),
    metavar="SHARE",
    help="With `--router`: retention that the whole must keep too, besides what moves.",
)
@click.option(
    "--declare-parity",
    "parity_declared",
    is_flag=True,
    help="Accept prompts or settings that differ on purpose.",
)
@click.option("--agent", metavar="NAME", help="Of agents' runs, keep those of this agent.")
@click.option("--incumbent-agent", metavar="NAME", help="Agent that the incumbent runs with, if another.")
@click.option(
    "--allow-different-agent",
    "different_agents",
    is_flag=True,
    help="Compare runs of unequal agents, versions or limits: of model and agent together.",
)
@click.option(
    "--declare-equal",
    "declared_equal",
    multiple=True,
    type=click.Choice(["agent", "agent-version", "dataset", "limits"]),
    help="Say that this is the same of both models' runs, where they do not name it; repeat.",
)
@click.option("--drop-errors", is_flag=True, help="Leave failed calls out instead of counting them as 0.")
@click.option(
    "--run",
    "run_id",
    metavar="ID",
    help="Decide on this run of the workload instead of the newest, finished or not.",
)
@click.option(
    "--label-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Scores by people that correct a workload's judge; `crossgrade runs --export` writes the file.",
)
@click.option(
    "--recent",
    "recent_logs",
    multiple=True,
    metavar="LOG",
    help="Compare the workload's samples with this log of recent traffic. Repeat for several files.",
)
@click.option(
    "--recent-name", metavar="NAME", help="The workload's name in that log.  [default: the workload's]"
)
@click.option(
    "--verify",
    "verify_id",
    metavar="VERDICT",
    help="Compute a recorded verdict, or the `latest`, again and compare.",
)
@click.option(
    "--rescore", is_flag=True, help="With `--verify`: score the stored answers again too. Asks no model."
)
@click.option("--apply", "apply_it", is_flag=True, help="Write the route table that carries the verdict out.")
@click.option(
    "--gate", "gated", is_flag=True, help="Exit 0 on switch or split, 1 on keep or undecided, 3 on invalid."
)
@click.option(
    "--frontier", is_flag=True, help="Show what every policy costs and keeps, instead of the verdict."
)
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write JUnit XML here.")
@click.option(
    "--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write a Markdown summary here."
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report here, by its suffix HTML, Markdown or JUnit XML.",
)
@config_option
@json_option
def command(sources: tuple[str, ...], as_json: bool, gated: bool, **options: Any) -> int:  # noqa: FBT001 -- flags of a command line
    """Decide whether the candidate may replace the incumbent.

    RESULTS are scored answers, in tables (CSV, JSON, Parquet, Excel) or logs of Inspect, lm-eval, promptfoo,
    HELM, DeepEval and OpenAI's evals, or runs of agents (Harbor, Terminal-Bench, SWE-bench, tau-bench): no
    project is needed. MODEL=PATH names the model of a file, `-` is
    standard input. WORKLOAD is one of the project's, or several.
    """
    from crossgrade.decide import gate
    from crossgrade.report import report_form

    if options["report"] and report_form(options["report"]) == "html":
        check_report_extra()
    if len(options["floors"] or ()) > 1:
        _refuse(_given() & _WITH_ONE_FLOOR, "it takes one floor")
        _compare_floors(sources, options, as_json=as_json)
        return 0
    verdicts = _verdicts(sources, options)
    if as_json:
        _print_json(verdicts)
    elif options["frontier"]:
        for verdict in verdicts:
            _print_frontier(verdict)
    else:
        for number, verdict in enumerate(verdicts):
            if number:
                click.echo()
            print_verdict(verdict)
    _write(verdicts, options)
    return max(map(gate, verdicts)) if gated else 0


def _compare_floors(sources: tuple[str, ...], options: dict[str, Any], *, as_json: bool) -> None:
    """Print what each of several floors costs."""
    from crossgrade.report import render_floors

    floors = options["floors"]
    verdicts = [each for floor in floors for each in _verdicts(sources, {**options, "floors": (floor,)})]
    if as_json:
        _print_json(verdicts)
    else:
        click.echo(render_floors(verdicts), nl=False)
    note(
        "each floor is tested by itself. A floor that is chosen after this look has a larger error rate",
        code="floors-compared",
    )


def _print_frontier(verdict: "Verdict") -> None:
    """Print what every policy costs and keeps."""
    from crossgrade.report import render_frontier

    click.echo(f"{verdict.workload}: {verdict.name.upper()}")
    click.echo(render_frontier(verdict), nl=False)


def _print_json(verdicts: "list[Verdict]") -> None:
    """Print one verdict as it is, and several in a list."""
    from crossgrade.decide import verdict_to_json

    trees = [verdict_to_json(verdict) for verdict in verdicts]
    print_json(trees[0] if len(trees) == 1 else {"verdicts": trees}, schema_version=SCHEMA_VERSION)


def _verdicts(sources: tuple[str, ...], options: dict[str, Any]) -> "list[Verdict]":
    given = _given()
    if options["verify_id"]:
        _refuse(given - _WITH_VERDICT, "a recorded verdict is computed again as it was decided")
        return [_verify(options)]
    if options["rescore"]:
        raise UsageError(
            "`--rescore` scores the answers of a recorded verdict again",
            code="verdict-not-named",
            hint="add `--verify latest`",
        )
    if not sources:
        raise UsageError(
            "nothing to decide on",
            code="evidence-not-named",
            hint="try `crossgrade decide RESULTS.csv --incumbent A --candidate B`, or name a workload",
        )
    if all(_is_workload(each, options["config_path"]) for each in sources):
        _refuse(
            given - _WITH_WORKLOAD, "it is for result files; a workload's settings are in crossgrade.yaml"
        )
        if len(sources) > 1:
            _refuse(given & _WITH_ONE_WORKLOAD, "each workload has its own")
        return _decide_workloads(sources, options)
    _refuse(given & _NOT_WITH_FILES, "result files belong to no project")
    return [_decide_files(sources, options)]


def _given() -> set[str]:
    """Return the names of the parameters that stand on the command line."""
    context = click.get_current_context()
    source = click.core.ParameterSource.COMMANDLINE
    return {name for name in context.params if context.get_parameter_source(name) is source}


def _refuse(names: set[str], why: str) -> None:
    if names:
        parameters = click.get_current_context().command.params
        shown = [
            each.opts[0] if each.name != "sources" else "RESULTS" for each in parameters if each.name in names
        ]
        raise UsageError(
            f"{', '.join(shown)} cannot be given here: {why}",
            code="options-conflict",
            hint=f"leave out {shown[0]}",
        )


def _is_workload(word: str, config_path: str) -> bool:
    """A file is a file; another word names a workload if it looks like no path, or the project has it."""
    from crossgrade.errors import ConfigError
    from crossgrade.project import find_suite, read_config

    path = Path(word)
    if word == "-" or "=" in word or path.parts != (word,) or path.is_file():
        return False
    if not path.suffix and not path.exists():
        return True
    with suppress(ConfigError):
        config = read_config(config_path)
        return word in config.workloads or find_suite(config, word) is not None
    return False


def _decide_files(sources: tuple[str, ...], options: dict[str, Any]) -> "Verdict":
    from crossgrade.domain import Origin, Usage
    from crossgrade.project import ResultOptions, decide_results

    tokens = options["typical_tokens"]
    return decide_results(
        named_sources(sources),
        incumbent=options["incumbent"],
        candidates=options["candidates"],
        floor=_floor(options) or 0.85,
        alpha=options["alpha"] or 0.05,
        options=filled(
            ResultOptions,
            options,
            importers=importers_of(options["config_path"]),
            agents_declared_equal=tuple(name.replace("-", "_") for name in options["declared_equal"]),
            on_read=note_ignored,
            origin=Origin(options["origin"]),
            stated_cost_usd=_by_model("--cost", options["costs"], "USD", "gpt-4.1=0.0042", least=0),
            typical=Usage(input_tokens=tokens[0], output_tokens=tokens[1], images=0) if tokens else None,
            stated_means=_by_model("--stated", options["stated_means"], "SCORE", "gpt-4.1=0.528"),
            errors_count_as_zero=not options["drop_errors"],
        ),
    )


def _floor(options: dict[str, Any]) -> float | None:
    return options["floors"][0] if options["floors"] else None


def _by_model(
    option: str, given: tuple[str, ...], what: str, example: str, *, least: float = float("-inf")
) -> dict[str, float]:
    """Return the numbers of an option that is repeated as MODEL=NUMBER."""
    found = {}
    for each in given:
        model, _, number = each.rpartition("=")
        try:
            found[model] = float(number)
        except ValueError:
            found[model] = float("nan")
        if not model or not least <= found[model] < float("inf"):
            raise UsageError(
                f"{option} {each!r} is not MODEL={what}",
                code="option-syntax",
                hint=f"for example `{option} {example}`",
            )
    return found


def _decide_workloads(names: tuple[str, ...], options: dict[str, Any]) -> "list[Verdict]":
    from crossgrade.project import Project, RecentLog

    if options["recent_name"] and not options["recent_logs"]:
        raise UsageError(
            f"`--recent-name {options['recent_name']}` names a workload in a log, and no log is named",
            code="recent-log-missing",
            hint="add `--recent LOG`",
        )
    if not Path(options["config_path"]).exists():
        raise NotFoundError(
            f"there is no file `{names[0]}`, and no {options['config_path']} with a workload of that name",
            code="results-missing",
            hint="give the path of a result file, or go to the project's folder",
        )
    is_what_if = _floor(options) is not None or options["alpha"] is not None
    if is_what_if and options["apply_it"]:
        raise UsageError(
            "a what-if (`--floor`, `--alpha`) is not recorded, so it cannot be applied",
            code="what-if-not-recorded",
            hint="set floor and alpha of the workload in crossgrade.yaml, then decide again",
        )
    with Project.open(options["config_path"]) as project:
        if len(names) > 1:
            recorded = project.decide_all(names)
        else:
            rules = {key: options[key] for key in ("alpha", "label_file", "run_id")}
            rules["floor"] = _floor(options)
            if options["recent_logs"]:
                rules["recent"] = RecentLog(sources=options["recent_logs"], name=options["recent_name"])
            recorded = [project.decide(names[0], **rules)]
        for each in recorded:
            _note_unfinished(project, each.verdict)
            _note_labels(project, each.verdict, options["label_file"])
            _tell_recorded(each)
            if options["apply_it"]:
                table, verdict = project.apply(each.id), each.verdict
                route = next(route for route in table.routes if route.verdict_id == each.id)
                kind = "keep, until audits show what may move" if route.is_held else route.policy.kind
                note(
                    f"route table version {table.version} in force: {verdict.workload} -> {kind}",
                    code="route-applied",
                )
        return [each.verdict for each in recorded]


def _tell_recorded(stored: "StoredVerdict") -> None:
    if not stored.id:
        note("This is a what-if decision and is not recorded.", code="not-recorded")
    elif stored.is_known:
        note(f"already recorded as verdict {stored.id}", code="already-recorded")
    else:
        note(f"recorded as verdict {stored.id}", code="recorded")


def _note_labels(project: "Project", verdict: "Verdict", label_file: Path | None) -> None:
    """Say whose scores correct the judge where that is not what was asked for, and which are missing."""
    used = max((one.retention.labels or 0 for one in verdict.certificates), default=0)
    counts, run = verdict.settings.labels, verdict.run_id
    if label_file is not None:
        if project.store.labels.count(f"run:{run}"):
            note(
                f"run {run} has labels in the store too: those of {label_file} are used",
                code="labels-of-file",
            )
    elif counts is None and used:
        note(
            f"people's scores of {used:,} samples correct the judge, as recorded with an earlier verdict "
            f"on run {run}",
            code="labels-recorded",
        )
    elif counts is not None and counts.left:
        note(
            f"{counts.left:,} of {counts.drawn:,} items are neither labelled nor skipped, so no label "
            f"counts yet: `crossgrade label {verdict.workload}`",
            code="labels-left",
        )
    elif counts is not None:
        too_few = all(one.retention.judge_alone for one in verdict.certificates)
        note(
            f"labels of {counts.labelled:,} items (raters: {counts.raters:,}) "
            f"{'are too few to ' if too_few else ''}correct the judge; {counts.skipped:,} were skipped and "
            "count against either outcome",
            code="labels-used",
        )


def _note_unfinished(project: "Project", verdict: "Verdict") -> None:
    """Say that the run decided on did not finish, and which earlier one did."""
    from crossgrade.store import RunStatus

    runs = project.store.runs
    if verdict.run_id is None or (status := runs.status(verdict.run_id)) is RunStatus.FINISHED:
        return
    name = verdict.workload
    note(f"decided on run {verdict.run_id}, which did not finish ({status})", code="run-unfinished")
    note(f"  resume it: crossgrade evaluate {name} --resume {verdict.run_id}", code="resume")
    finished = (each.id for each in runs.recent(name) if runs.status(each.id) is RunStatus.FINISHED)
    if (last := next(finished, None)) is not None:
        note(
            f"  or decide on the last one that finished: crossgrade decide {name} --run {last}",
            code="run-finished",
        )


def _verify(options: dict[str, Any]) -> "Verdict":
    from crossgrade.project import Project

    with Project.open(options["config_path"]) as project:
        check = project.verify(options["verify_id"])
        name, today = f"verdict {check.verdict_id}", check.confirmed()
        for plugin in check.plugins:  # of a scorer, whose scores are recorded
            note(f"{name}: {plugin.words} [{plugin.code}]")
        if options["rescore"]:
            _rescore(project, check.verdict_id)
    if check.is_older:
        note(
            f"{name} was decided by method {check.verdict.method_version} and cannot be computed again, so "
            "its costs and p-values were not checked. On the same scores today's method "
            f"{today.method_version} gives the same policy, and the verdict shown here",
            code="verified-as-older",
        )
    elif check.writer is not None:
        note(
            f"{name} recomputed from its recorded scores: the figures are identical. Its sentences were "
            f"written by {check.writer} and not compared. Those shown here are of this release",
            code="verified-but-reworded",
        )
    else:
        note(f"{name} recomputed from its recorded scores: identical", code="verified")
    if check.unchecked:
        note(
            f"taken as recorded, for want of a verdict on the same scores: {', '.join(check.unchecked)}",
            code="taken-as-recorded",
        )
    return today


def _rescore(project: "Project", verdict_id: str) -> None:
    from crossgrade.errors import CrossgradeError

    found = project.rescore(verdict_id)
    if found.differences:
        shown = "; ".join(found.differences[:5])
        more = f"; and {rest:,} more" if (rest := len(found.differences) - 5) > 0 else ""
        raise CrossgradeError(
            f"verdict {verdict_id} does not match the answers of run {found.run_id}: {shown}{more}",
            code="scores-differ",
            hint=f"do not act on it; `crossgrade runs --export {found.run_id}` writes the answers and scores",
        )
    note(
        f"{found.answers:,} stored answers of run {found.run_id} scored again with `{found.scorer}`: "
        "identical",
        code="rescored",
    )


def _write(verdicts: "list[Verdict]", options: dict[str, Any]) -> None:
    from crossgrade.report import render_junit, render_markdown, write_report, write_text

    if options["junit"]:
        write_text(options["junit"], render_junit(verdicts))
    if options["markdown"]:
        write_text(options["markdown"], render_markdown(verdicts))
    if options["report"]:
        note(f"report written to {write_report(verdicts, options['report'])}")
