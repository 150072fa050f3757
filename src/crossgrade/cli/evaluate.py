"""`crossgrade evaluate`: ask both models until the verdict is certain."""

from decimal import Decimal
from typing import TYPE_CHECKING

import click

from crossgrade.cli._frame import cluster_option, config_option, json_option
from crossgrade.cli._output import note, print_json, print_table, print_verdict, warn
from crossgrade.cli._params import complete_workload
from crossgrade.cli._spending import (
    Dollars,
    confirm,
    estimate_words,
    print_estimate,
    tell_clauses,
    tell_left_out,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossgrade.domain import Clause
    from crossgrade.evaluate import ExpectedUse, RunEstimate
    from crossgrade.project import Project

SCHEMA_VERSION = 1


_ENDINGS = {"futile": "certain, or unlikely to pass"}
"""How a run that gave something up is said to have ended; others say it in one word."""


@click.command()
@click.argument("workload", shell_complete=complete_workload)
@click.option("--dry-run", is_flag=True, help="Estimate calls, tokens and dollars; ask no model.")
@click.option("--max-cost", type=Dollars(), metavar="USD", help="Stop before the run costs more than this.")
@click.option(
    "--resume", metavar="RUN", help="Continue this run, or the `latest`; nothing is paid for twice."
)
@click.option("--no-reuse", is_flag=True, help="Ask again what another run has already paid for.")
@click.option(
    "--every-hypothesis",
    is_flag=True,
    help="Also finish the segments and the more expensive candidates after the verdict is certain.",
)
@click.option(
    "--yes",
    is_flag=True,
    help="Do not ask before a run that may cost more than $5; needed where no terminal is.",
)
@click.option(
    "--decide/--no-decide", "decides", default=True, show_default=True, help="Decide when the run ends."
)
@cluster_option("asks the models")
@config_option
@json_option
def command(
    workload: str,
    max_cost: Decimal | None,
    resume: str | None,
    cluster: str | None,
    config_path: str,
    *,
    dry_run: bool,
    no_reuse: bool,
    every_hypothesis: bool,
    yes: bool,
    decides: bool,
    as_json: bool,
) -> None:
    """Ask both models until the verdict is certain.

    Every answer is in the store before it counts. After Ctrl-C, a crash or a spent budget you can
    continue the run with `--resume`, and nothing is paid for twice.
    """
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        clauses = project.clauses(workload)
        if not dry_run:
            project.check_terms(workload)
        tell_clauses(project, clauses)
        estimate = project.estimate(workload, reuse=not no_reuse)
        tell_left_out(estimate)
        if dry_run:
            expected = project.expected(workload, reuse=not no_reuse)
            _show_estimate(estimate, expected, clauses, as_json=as_json)
            _warn_gone(project, workload)
            return
        note(estimate_words(estimate), code="estimate")
        _warn_gone(project, workload)
        is_limited = max_cost is not None or project.workload(workload).max_cost_usd is not None
        confirm(estimate.known_usd[1], go_on=yes or is_limited)
        _run(
            project,
            workload,
            max_cost,
            resume,
            cluster,
            reuse=not no_reuse,
            every_hypothesis=every_hypothesis,
            decides=decides and project.workload(workload).suite is None,
            as_json=as_json,
        )


def _warn_gone(project: "Project", name: str) -> None:
    """Say which candidates can no longer be bought: a verdict does not switch to them."""
    candidates = (variant.offer for variant in project.workload(name).candidates)
    for model, gone in project.gone(candidates).items():
        warn(f"{model} is {gone}: no verdict switches to it", code="model-gone")


def _run(
    project: "Project",
    name: str,
    max_cost: Decimal | None,
    resume: str | None,
    cluster: str | None,
    *,
    reuse: bool,
    every_hypothesis: bool,
    decides: bool,
    as_json: bool,
) -> None:
    from crossgrade.cli._progress import followed

    with project.on_cluster(cluster), followed(name, f"crossgrade evaluate {name}") as on_progress:
        result = project.evaluate(
            name,
            max_cost_usd=max_cost,
            resume=resume,
            reuse=reuse,
            every_hypothesis=every_hypothesis,
            on_progress=on_progress,
        )
    progress = result.progress
    note(
        f"run {result.run_id}: {progress.asked:,} of {progress.planned:,} samples asked; "
        f"{progress.calls:,} calls, {progress.reused:,} answers reused, "
        f"{progress.calls_saved:,} calls not needed ({_ENDINGS.get(result.ending, result.ending)})",
        code="run-ended",
    )
    if progress.unscored or progress.errors:
        note(
            f"{progress.errors:,} calls failed, {progress.unscored:,} pairs have no score. To try these "
            f"again: crossgrade evaluate {name} --resume {result.run_id}",
            code="pairs-unscored",
        )
    gave_up = (
        "The run stopped because a pass had become unlikely. To continue it: "
        f"crossgrade evaluate {name} --resume {result.run_id}"
    )
    if not decides:
        if result.ending == "futile":
            note(gave_up, code="given-up")
        if as_json:
            print_json(
                {"run_id": result.run_id, "ending": result.ending, "progress": progress}, schema_version=1
            )
        return
    recorded = project.decide(name, run_id=result.run_id)
    if result.ending == "futile" and recorded.verdict.name == "undecided":
        note(gave_up, code="given-up")
    note(f"recorded as verdict {recorded.id}; `crossgrade report {name}` writes the report", code="recorded")
    workload = project.workload(name)
    if recorded.verdict.name == "keep" and workload.candidates and workload.agent is None:
        note(
            f"a candidate that failed may be mended: `crossgrade port {name} --candidate "
            f"{workload.candidates[0].name} --dry-run` plans a search for a prompt that suits it, and "
            "`crossgrade distil` one for weights that learn the task",
            code="candidate-mend",
        )
    if as_json:
        from crossgrade.decide import verdict_to_json

        print_json(
            {"verdict_id": recorded.id, **verdict_to_json(recorded.verdict)}, schema_version=SCHEMA_VERSION
        )
    else:
        print_verdict(recorded.verdict)


def _show_estimate(
    estimate: "RunEstimate",
    expected: "Sequence[ExpectedUse]",
    clauses: "Sequence[Clause]",
    *,
    as_json: bool,
) -> None:
    if as_json:
        print_json(
            {"estimate": estimate, "expected": expected, "clauses": clauses}, schema_version=SCHEMA_VERSION
        )
        return
    print_estimate(estimate)
    if expected:
        click.echo()
        _show_expected(expected)
    note(estimate_words(estimate), code="estimate")


def _show_expected(expected: "Sequence[ExpectedUse]") -> None:
    """Print what a run probably asks and costs, by what the candidates may keep."""
    rows = []
    for each in expected:
        cost = "unknown" if each.cost_usd is None else f"${each.cost_usd[0]:.4f} to ${each.cost_usd[1]:.4f}"
        rows.append(
            [f"{each.retention:.2f}", each.calls, cost, each.pairs, each.block, f"{each.certified:.0%}"]
        )
    headers = ["if it keeps", "expected calls", "expected cost", "N pairs", "K", "certified"]
    print_table(headers, rows, right=headers)
    note(
        f"Means of {expected[0].rehearsals} simulated runs. `certified` is the share of the samples whose "
        "segment was certified for the first candidate, not an error rate."
    )
