"""`crossgrade evaluate`: ask both models until the verdict is certain."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import note, print_json, print_table
from crossgrade.errors import UsageError

if TYPE_CHECKING:
    from crossgrade.evaluate import Progress, RunEstimate
    from crossgrade.project import Project

SCHEMA_VERSION = 1
CONFIRM_ABOVE_USD = Decimal(5)
"""A run that may cost more than this asks first, on a terminal."""


class _Dollars(click.ParamType[Decimal]):
    name = "usd"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            amount = Decimal(-1)
        if not amount.is_finite() or amount < 0:
            self.fail(f"{value!r} is not an amount of dollars", param, ctx)
        return amount


@click.command()
@click.argument("workload")
@click.option("--dry-run", is_flag=True, help="Estimate calls, tokens and dollars; ask no model.")
@click.option("--max-cost", type=_Dollars(), metavar="USD", help="Stop before the run costs more than this.")
@click.option("--resume", metavar="RUN", help="Go on with this run; nothing is paid for twice.")
@click.option("--no-reuse", is_flag=True, help="Ask again what another run has already paid for.")
@click.option("--yes", is_flag=True, help="Do not ask before spending.")
@click.option(
    "--decide/--no-decide", "decides", default=True, show_default=True, help="Decide when the run ends."
)
@config_option
@json_option
def command(
    workload: str,
    max_cost: Decimal | None,
    resume: str | None,
    config_path: str,
    *,
    dry_run: bool,
    no_reuse: bool,
    yes: bool,
    decides: bool,
    as_json: bool,
) -> None:
    """Ask both models until the verdict is certain.

    Every answer is in the store before it counts: after Ctrl-C, a crash or a spent budget the run
    goes on where it stopped (`--resume`), and nothing is paid for twice.
    """
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        estimate = project.estimate(workload, reuse=not no_reuse)
        if dry_run:
            _show_estimate(estimate, as_json=as_json)
            return
        note(_estimate_words(estimate))
        is_limited = max_cost is not None or project.workload(workload).max_cost_usd is not None
        _confirm(estimate, go_on=yes or is_limited)
        _run(project, workload, max_cost, resume, reuse=not no_reuse, decides=decides, as_json=as_json)


def _run(
    project: "Project",
    name: str,
    max_cost: Decimal | None,
    resume: str | None,
    *,
    reuse: bool,
    decides: bool,
    as_json: bool,
) -> None:
    from crossgrade.cli._interrupt import ends_at_second_interrupt
    from crossgrade.cli._progress import shown_progress
    from crossgrade.evaluate import GRACE_S

    with ends_at_second_interrupt(GRACE_S) as arm, _resumable(name) as run_ids, shown_progress(name) as show:

        def on_progress(progress: "Progress") -> None:
            if not run_ids:
                arm()
            run_ids.add(progress.run_id)
            show(progress)

        result = project.evaluate(
            name, max_cost_usd=max_cost, resume=resume, reuse=reuse, on_progress=on_progress
        )
    progress = result.progress
    note(
        f"run {result.run_id}: {progress.calls:,} calls, {progress.reused:,} answers reused, "
        f"{progress.calls_saved:,} calls not needed ({result.ending})"
    )
    if not decides:
        if as_json:
            print_json(
                {"run_id": result.run_id, "ending": result.ending, "progress": progress}, schema_version=1
            )
        return
    recorded = project.decide(name, run_id=result.run_id)
    note(f"recorded as verdict {recorded.id}; `crossgrade report {name}` writes the report")
    if as_json:
        from crossgrade.decide import verdict_to_json

        print_json(
            {"verdict_id": recorded.id, **verdict_to_json(recorded.verdict)}, schema_version=SCHEMA_VERSION
        )
    else:
        from crossgrade.report import render_text

        click.echo(render_text(recorded.verdict), nl=False)


@contextmanager
def _resumable(name: str) -> Iterator[set[str]]:
    """Say how to go on with a run that an error or Ctrl-C ended."""
    run_ids: set[str] = set()
    try:
        yield run_ids
    except BaseException:
        for run_id in run_ids:
            note(f"go on where it stopped: crossgrade evaluate {name} --resume {run_id}")
        raise


def _estimate_words(estimate: "RunEstimate") -> str:
    low, high = estimate.calls
    calls = f"{estimate.samples:,} samples, {low:,} to {high:,} calls"
    if estimate.cost_usd is None:
        return f"{calls}, cost unknown: a price is missing"
    cheap, dear = estimate.cost_usd
    return f"{calls}, ${cheap:.4f} to ${dear:.4f} (no tokenizer: bytes over 2.5 to 6)"


def _confirm(estimate: "RunEstimate", *, go_on: bool) -> None:
    """Ask before much is spent, unless the user said to go on or set a limit."""
    dear = None if estimate.cost_usd is None else estimate.cost_usd[1]
    if go_on or dear is None or dear <= CONFIRM_ABOVE_USD:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"the run may cost up to ${dear:.2f}, and there is no terminal to ask at",
            hint="add `--max-cost USD`, or `--yes`",
        )
    click.confirm(f"The run may cost up to ${dear:.2f}. Go on?", abort=True, err=True)


def _show_estimate(estimate: "RunEstimate", *, as_json: bool) -> None:
    if as_json:
        print_json({"estimate": estimate}, schema_version=SCHEMA_VERSION)
        return
    rows = []
    for model in estimate.models:
        cost = (
            "unknown" if model.cost_usd is None else f"${model.cost_usd[0]:.4f} to ${model.cost_usd[1]:.4f}"
        )
        tokens = [f"{low:,} to {high:,}" for low, high in (model.input_tokens, model.output_tokens)]
        rows.append([model.model, model.calls, model.reused, *tokens, cost])
    headers = ["model", "calls", "reused", "input tokens", "output tokens", "cost"]
    print_table(headers, rows, right=headers[1:])
    note(_estimate_words(estimate))
