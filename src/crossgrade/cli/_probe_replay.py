"""`crossgrade probe replay`: recorded runs of an agent, and where another model leaves them."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import cluster_option, config_option, json_option
from crossgrade.cli._output import note, print_fields, print_json, print_table, shows_progress
from crossgrade.cli._params import complete_model
from crossgrade.cli._probing import SCHEMA_VERSION, dollars
from crossgrade.cli._spending import Dollars, confirm

if TYPE_CHECKING:
    from crossgrade.decide import Spent
    from crossgrade.evidence.replay import ReplayEstimate, ReplayResult

_SHOWN = 8


@click.command("replay")
@click.argument("offer", metavar="MODEL", shell_complete=complete_model)
@click.argument("runs", nargs=-1, required=True, metavar="RUNS…")
@click.option(
    "--runs",
    "most",
    type=click.IntRange(1, 10_000),
    metavar="N",
    default=20,
    show_default=True,
    help="Runs to draw at random.",
)
@click.option(
    "--same",
    "same_by",
    type=click.Choice(["action", "tool"]),
    default="action",
    show_default=True,
    help="What must be the same: tools and arguments, or the tools alone.",
)
@click.option("--seed", type=int, default=1, show_default=True, metavar="N", help="Seed of the draw.")
@click.option("--dry-run", is_flag=True, help="Estimate calls, tokens and dollars; ask nothing.")
@click.option("--max-cost", type=Dollars(), metavar="USD", help="Stop before it costs more than this.")
@click.option(
    "--yes",
    is_flag=True,
    help="Do not ask before a replay that may cost more than $5; needed where no terminal is.",
)
@cluster_option("asks the model")
@config_option
@json_option
def replay(
    offer: str,
    runs: tuple[str, ...],
    config_path: str,
    *,
    most: int,
    same_by: Any,
    seed: int,
    dry_run: bool,
    max_cost: Decimal | None,
    yes: bool,
    cluster: str | None,
    as_json: bool,
) -> None:
    """See where MODEL leaves recorded runs of an agent.

    Asks MODEL, at each step of a run, what the recorded model was asked, with the recorded results of tools,
    up to the first action that differs. RUNS are logs of requests with their sessions, trajectories in ATIF
    (also a job of Harbor) or logs of Inspect. This is a screening: it certifies nothing, for another way may
    lead there too. The same command again pays for nothing twice.
    """
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        plan = project.probes.plan_replay(offer, runs, most=most, seed=seed, same_by=same_by)
        estimate = plan.estimate
        for cause, n in plan.recorded.left_out.items():
            note(f"left out, {cause}: {n:,}", code="runs-left-out")
        if dry_run:
            if as_json:
                print_json({"estimate": estimate}, schema_version=SCHEMA_VERSION)
            else:
                click.echo(_estimate_words(estimate))
            return
        note(_estimate_words(estimate), code="estimate")
        confirm(
            None if estimate.cost_usd is None else estimate.cost_usd[1],
            go_on=yes or max_cost is not None,
            what="replay",
            unpriced=() if plan.price is not None or plan.offer.provider == "local" else (offer,),
        )
        with project.on_cluster(cluster):
            result, path = project.probes.replay(plan, max_cost_usd=max_cost, on_step=_on_step(estimate.runs))
    if shows_progress():
        click.echo("\r\x1b[K", err=True, nl=False)
    if as_json:
        print_json({"replay": result}, schema_version=SCHEMA_VERSION)
    else:
        _show(result)
    spent = result.spent
    note(f"{spent.calls:,} calls, {dollars(spent.cost_usd)}; kept in {path}", code="replayed")
    if result.reason is not None:
        note(f"{result.unfinished:,} runs are not finished: {result.reason}", code="replay-unfinished")
    note(
        "This is a screening. What decides is trials: `crossgrade decide RUNS` compares them.",
        code="screening",
    )


def _on_step(runs: int) -> Any:
    def told(finished: int, spent: "Spent") -> None:
        if shows_progress():
            line = f"{finished:,} of {runs:,} runs, {spent.calls:,} calls, {dollars(spent.cost_usd)}"
            click.echo(f"\r\x1b[K{line}", err=True, nl=False)

    return told


def _estimate_words(estimate: "ReplayEstimate") -> str:
    low, high = estimate.calls
    words = f"{estimate.runs:,} run{'s' * (estimate.runs != 1)}, {low:,} to {high:,} calls"
    if estimate.cost_usd is None:
        return f"{words}, cost unknown: a price is missing"
    cheap, dear = estimate.cost_usd
    return f"{words}, ${cheap:.4f} to ${dear:.4f}"


def _show(result: "ReplayResult") -> None:
    agreed = result.agreed
    share = "unknown" if agreed.value is None else f"{agreed.value:.0%} [{agreed.low:.0%}, {agreed.high:.0%}]"
    print_fields(
        {
            "model": result.offer,
            "recorded with": ", ".join(result.recorded_models) or "unknown",
            "runs": f"{result.replayed:,} replayed of {result.found:,} found",
            "followed to the end": f"{share} of them",
            "steps followed": "unknown" if result.followed is None else f"{result.followed:.0%} in the mean",
            "first difference": _counts(result.kinds),
            "recorded tool there": _counts(result.tools),
            "at step": _counts({f"step {step}": n for step, n in result.at_step.items()}),
        }
    )
    if not result.divergences:
        return
    click.echo()
    rows = [
        [each.run, f"{each.step} of {each.of_steps}", each.kind, *map(_tools, (each.recorded, each.replayed))]
        for each in result.divergences[:_SHOWN]
    ]
    print_table(["run", "step", "difference", "recorded", "replayed"], rows)
    left = len(result.divergences) - len(rows)
    if left:
        note(f"and {left:,} more, which `--json` has", code="divergences-left-out")


def _counts(counts: Any) -> str:
    return ", ".join(f"{name}: {n:,}" for name, n in list(counts.items())[:_SHOWN]) or "none"


def _tools(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "no tool"
