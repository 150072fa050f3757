"""`crossgrade port`: search a prompt for a candidate, test it once, decide again."""

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import cluster_option, config_option, json_option
from crossgrade.cli._output import note, print_json, print_table, print_verdict, warn
from crossgrade.cli._params import complete_model, complete_workload, filled
from crossgrade.cli._progress import followed
from crossgrade.cli._spending import Dollars, confirm, tell_ended, unpriced

if TYPE_CHECKING:
    from crossgrade.project import Ported, PortPlan, Project
    from crossgrade.tuning import ReflectionCount

SCHEMA_VERSION = 1


@click.command()
@click.argument("workload", shell_complete=complete_workload)
@click.option(
    "--candidate",
    required=True,
    metavar="MODEL",
    shell_complete=complete_model,
    help="The candidate whose prompt is searched.",
)
@click.option(
    "--segment",
    "segments",
    multiple=True,
    metavar="NAME",
    help="Tune and test this segment alone; repeat for several.",
)
@click.option("--both", is_flag=True, help="Tune the incumbent's prompt with the same budget too.")
@click.option(
    "--variants",
    type=click.IntRange(2, 200),
    default=20,
    show_default=True,
    metavar="N",
    help="Most prompts that are compared.",
)
@click.option(
    "--development",
    type=click.IntRange(20, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="Items that they are compared on; none of them is in the test.",
)
@click.option(
    "--instruction",
    "instructions",
    multiple=True,
    metavar="TEXT",
    help="Try adding this instruction; repeat for several.",
)
@click.option(
    "--reflection",
    metavar="MODEL",
    shell_complete=complete_model,
    help="Model of the configuration that writes an instruction from what went wrong (extra `port`).",
)
@click.option(
    "--reflection-answers",
    type=click.IntRange(10, 100_000),
    default=200,
    show_default=True,
    metavar="N",
    help="Most answers that it may use.",
)
@click.option("--apply", "applies", is_flag=True, help="Write the proposed prompt into crossgrade.yaml.")
@click.option("--dry-run", is_flag=True, help="Estimate calls and dollars; ask no model.")
@click.option("--max-cost", type=Dollars(), metavar="USD", help="Stop before this costs more.")
@click.option(
    "--yes",
    is_flag=True,
    help="Do not ask before what may cost more than $5; needed where no terminal is.",
)
@cluster_option("asks the models")
@config_option
@json_option
def command(
    workload: str,
    candidate: str,
    max_cost: Decimal | None,
    cluster: str | None,
    config_path: str,
    *,
    applies: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Search a prompt for a candidate, test it once, decide again.

    Layouts, instructions, examples and output constraints are compared on development items. The best
    prompt is tested once, on items that nothing has touched, at the error rate of its round. The same
    command goes on after Ctrl-C, a crash or a spent budget, and nothing is paid for twice.
    """
    from crossgrade.project import PortOptions, Project

    with Project.open(config_path) as project:
        plan = project.porting.plan(workload, candidate, filled(PortOptions, options))
        if dry_run:
            _show_plan(plan, as_json=as_json)
            return
        if not tell_ended(plan):
            note(_plan_words(plan), code="port-plan")
        free = yes or max_cost is not None or plan.basis.has_ended
        most = plan.cost_usd and plan.cost_usd[1]
        confirm(most, go_on=free, what="port", unpriced=unpriced(project, plan.models))
        typed = f"crossgrade port {workload} --candidate {candidate}"
        with project.on_cluster(cluster), followed(workload, typed, by_id=False) as on_progress:
            ported = project.porting.port(
                plan, max_cost_usd=max_cost, on_search=_Told(), on_progress=on_progress
            )
        _show(project, ported, config_path, applies=applies, as_json=as_json)


class _Told:
    """Tells how far the search is: once for each stage, and at every tenth of its calls."""

    def __init__(self) -> None:
        self._stage, self._tenth = "", 0

    def __call__(self, stage: str, calls: int, most: int, spent_usd: Decimal) -> None:
        tenth = 10 * calls // max(1, most)
        if stage != self._stage or tenth > self._tenth:
            self._stage, self._tenth = stage, tenth
            note(f"{stage}; {calls:,} of at most {most:,} calls, ${spent_usd:.4f}", code="port-stage")


def _plan_words(plan: "PortPlan") -> str:
    basis, split = plan.basis, plan.basis.split
    cost = plan.cost_usd
    dollars = "cost unknown: a price is missing" if cost is None else f"${cost[0]:.4f} to ${cost[1]:.4f}"
    where = (
        "the sealed baseline gives its error rate"
        if basis.number is None
        else f"round {basis.number} of {basis.workload.rounds}, error rate {basis.rate:g}"
    )
    return (
        f"up to {plan.calls:,} calls to compare up to {plan.options.variants} prompts on {plan.scored:,} "
        f"development items, then up to {plan.test_calls:,} to test one of them on "
        f"{len(split.certification):,} items ({where}); {dollars}"
    )


def _show_plan(plan: "PortPlan", *, as_json: bool) -> None:
    split = plan.basis.split
    facts = {
        "variants": plan.first,
        "development": plan.scored,
        "examples": plan.pool,
        "certification": len(split.certification),
        "reserved": len(split.reserved),
        "touched": split.touched,
        "round": plan.basis.number,
        "rounds": plan.basis.workload.rounds,
        "alpha": plan.basis.rate,
        "calls": plan.calls,
        "test_calls": plan.test_calls,
        "cost_usd": plan.cost_usd,
        "certifiable": plan.certifiable,
        "items_at_par": plan.at_par,
        "has_ended": plan.basis.has_ended,
    }
    if as_json:
        print_json({"plan": facts}, schema_version=SCHEMA_VERSION)
        return
    if tell_ended(plan):
        return
    click.echo(_plan_words(plan))
    click.echo(_power_words(plan))
    click.echo("tried first: " + "; ".join(plan.first))


def _power_words(plan: "PortPlan") -> str:
    """Return which candidate the test certifies, and how many items it lacks for one as good as before."""
    least, at_par, items = plan.certifiable, plan.at_par, len(plan.basis.split.certification)
    certified = "no candidate" if least is None else f"a candidate that keeps {least:.2f}"
    words = f"{certified} is certified in 4 of 5 such tests, if the incumbent is right three times in four"
    if at_par is None or at_par <= items:
        return words
    return f"{words}. For one that keeps 1.00 such a test needs {at_par:,} items, and it has {items:,}"


def _show(project: "Project", ported: "Ported", config_path: str, *, applies: bool, as_json: bool) -> None:
    from crossgrade.decide import verdict_to_json

    entry = None if ported.variant is None else project.porting.entry(ported)
    if as_json:
        verdict = None if ported.verdict is None else ported.verdict
        print_json(
            {
                "tuning_id": ported.tuning_id,
                "trials": ported.trials,
                "proposed": ported.variant
                and {"prompt": ported.variant.prompt, "settings": ported.variant.settings},
                "retention_before": ported.before,
                "retention_after": ported.after,
                "calls": ported.calls,
                "reused": ported.reused,
                "spent_usd": str(ported.spent_usd),
                "reflection": ported.reflection,
                "page": ported.page,
                "verdict_id": verdict and verdict.id,
                "verdict": verdict and verdict_to_json(verdict.verdict),
            },
            schema_version=SCHEMA_VERSION,
        )
    else:
        _print(ported, entry)
    if ported.reflection is not None:
        note(_reflection_words(ported.reflection), code="port-reflection")
    if ported.page is not None:
        note(f"the page of what was tried: {ported.page}", code="port-page")
    if ported.variant is None:
        note(
            f"no variant did better than the prompt of {ported.candidate} as it is: nothing was tested, and "
            "the round is not spent",
            code="no-gain",
        )
    elif applies:
        project.porting.apply(ported, Path(config_path))
        note(f"wrote the prompt of {ported.candidate} into {config_path}", code="candidate-written")
    else:
        note(
            "the same command with `--apply` writes it into crossgrade.yaml, and tests nothing again",
            code="port-apply",
        )
    if ported.verdict is not None and ported.verdict.verdict.name in ("switch", "split"):
        warn(
            "the gateway passes requests on as clients send them, and adds neither this prompt nor these "
            f"settings. Let your application send them to {ported.candidate} first, then "
            f"`crossgrade route apply {ported.workload}`",
            code="prompt-to-send",
        )


def _reflection_words(count: "ReflectionCount") -> str:
    failed = ", ".join(f"{n:,} failed with `{code}`" for code, n in count.failed.items())
    parts = (failed, f"{count.empty:,} brought no instruction" if count.empty else "")
    found = "one of its instructions did" if count.has_found else "none of its instructions did"
    return (
        f"the reflection model was asked {count.questions:,} questions"
        f"{''.join(f', {each}' for each in parts if each)}; {found} better than a plain one"
    )


def _print(ported: "Ported", entry: str | None) -> None:
    from crossgrade.report import trial_rows

    headers = ["model", "variant", "items", "score", "unparsed", "failed", "what became of it"]
    print_table(headers, trial_rows(ported.trials), right=headers[2:6])
    if entry is not None:
        click.echo("\nproposed, as an entry of `candidates`:\n")
        click.echo(entry)
    if ported.verdict is not None:
        print_verdict(ported.verdict.verdict)
