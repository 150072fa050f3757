"""`crossgrade distil`: train a candidate on the workload, and test it once."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import FiniteRange, config_option, json_option
from crossgrade.cli._output import note, print_json, print_table, print_verdict, warn
from crossgrade.cli._params import complete_model, complete_workload, filled
from crossgrade.cli._spending import Dollars, confirm, tell_ended, unpriced
from crossgrade.errors import MissingExtraError

if TYPE_CHECKING:
    from crossgrade.project import Distilled, DistilPlan, DistilProgress

SCHEMA_VERSION = 1


@click.command()
@click.argument("workload", shell_complete=complete_workload)
@click.option(
    "--candidate",
    required=True,
    metavar="MODEL",
    shell_complete=complete_model,
    help="Candidate to train: one that runs on this machine.",
)
@click.option(
    "--teacher",
    metavar="MODEL",
    shell_complete=complete_model,
    help="Learn this model's answers where the scorer accepts them; without it, the samples' labels.",
)
@click.option(
    "--accept",
    type=FiniteRange(0, 1),
    default=1.0,
    show_default=True,
    metavar="SCORE",
    help="Least score of an answer that is learned.",
)
@click.option("--segment", "segments", multiple=True, metavar="NAME", help="Only this segment; repeat.")
@click.option(
    "--steps", type=click.IntRange(1, 100_000), default=120, show_default=True, metavar="N", help="Steps."
)
@click.option(
    "--batch",
    type=click.IntRange(1, 1024),
    default=4,
    show_default=True,
    metavar="N",
    help="Examples a step.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(16, 131_072),
    default=256,
    show_default=True,
    metavar="N",
    help="Longest example; longer ones are left out.",
)
@click.option(
    "--rank",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    metavar="N",
    help="Rank of the adapter.",
)
@click.option(
    "--learning-rate",
    type=FiniteRange(1e-7, 1.0),
    default=1e-3,
    show_default=True,
    metavar="RATE",
    help="Largest learning rate.",
)
@click.option("--seed", type=int, default=1, show_default=True, metavar="N", help="Seed of the training.")
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Threads of the training; by default the cores.",
)
@click.option(
    "--usd-per-hour",
    type=Dollars(),
    metavar="USD",
    help="What an hour of this machine costs, to price the training.",
)
@click.option("--apply", "applies", is_flag=True, help="Write the tested adapter into crossgrade.yaml.")
@click.option("--dry-run", is_flag=True, help="Say what would be learned, asked and needed; train nothing.")
@click.option(
    "--max-cost",
    type=Dollars(),
    metavar="USD",
    help="Stop before the answers and the test together cost more than this.",
)
@click.option(
    "--yes",
    is_flag=True,
    help="Do not ask before what may cost more than $5; needed where no terminal is.",
)
@config_option
@json_option
def command(
    workload: str,
    candidate: str,
    config_path: str,
    *,
    max_cost: Decimal | None,
    applies: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    threads: int | None,
    **options: Any,
) -> None:
    """Train a candidate on the workload, and test it once.

    A LoRA adapter learns from samples that certify nothing any more: their labels, or a teacher's answers.
    If it does better on samples that trained nothing, it is tested once on samples that nothing has
    touched, at the error rate of its round. After Ctrl-C or a crash the same command goes on where it was.
    """
    from crossgrade.project import DistilOptions, Project
    from crossgrade.providers.cores import usable_cores
    from crossgrade.tuning import TrainingSettings, check_installed

    training = filled(TrainingSettings, options, threads=threads or usable_cores())
    asked = filled(DistilOptions, options, training=training)
    with Project.open(config_path) as project:
        plan = project.distil.plan(workload, candidate, asked)
        if dry_run:
            _show_plan(plan, as_json=as_json)
            return
        check_installed()
        if not tell_ended(plan):
            note(plan_words(plan), code="distil-plan")
        free = yes or max_cost is not None or plan.basis.has_ended
        most = plan.cost_usd and plan.cost_usd[1]
        confirm(most, go_on=free, what="distillation", unpriced=unpriced(project, plan.asked))
        result = _followed(
            plan, lambda heard: project.distil.run(plan, max_cost_usd=max_cost, progress=heard)
        )
        if applies and result.verdict is not None:
            project.distil.apply(result, Path(config_path))
            note(f"wrote the adapter of {candidate} into {config_path}", code="candidate-written")
    _show(plan, result, as_json=as_json)
    if not applies and result.verdict is not None:
        note(
            "the same command with `--apply` writes it into crossgrade.yaml, and tests nothing again",
            code="distil-apply",
        )


def plan_words(plan: "DistilPlan") -> str:
    """Return what a distillation will do, in one line."""
    basis, training = plan.basis, plan.options.training
    source = "labels" if plan.teacher is None else f"answers of {plan.teacher.name}"
    cost = plan.cost_usd
    dollars = "cost unknown: a price is missing" if cost is None else f"${cost[0]:.4f} to ${cost[1]:.4f}"
    number = "" if basis.number is None else f" in round {basis.number} of {basis.workload.rounds}"
    return (
        f"{basis.candidate.name} learns from the {source} of up to {len(plan.training):,} samples, "
        f"{training.steps:,} steps of {training.batch}: {plan.estimate.wall_words} and about "
        f"{plan.estimate.memory_bytes / 2**30:.1f} GiB of memory. {len(plan.checking):,} other samples show "
        f"the gain, and {len(basis.split.certification):,} that nothing has touched are for the one "
        f"test{number}, at an error rate of {basis.rate:.4g}; {dollars} for answers"
    )


def _show_plan(plan: "DistilPlan", *, as_json: bool) -> None:
    basis, missing = plan.basis, _missing()
    if missing is not None:
        warn(f"{missing.message}: {missing.hint}", code="extra-missing")
    if as_json:
        print_json(
            {
                "candidate": basis.candidate.name,
                "base": plan.base,
                "training": len(plan.training),
                "checking": len(plan.checking),
                "certification": len(basis.split.certification),
                "round": basis.number,
                "error_rate": basis.rate,
                "answers": plan.asked,
                "cost_usd": plan.cost_usd,
                "estimate": plan.estimate,
                "teaching": plan.teaching,
                "missing_extra": missing and missing.extra,
                "has_ended": basis.has_ended,
            },
            schema_version=SCHEMA_VERSION,
        )
        return
    if tell_ended(plan):
        return
    print_table(["model", "answers"], [[name, n] for name, n in plan.asked.items()], right=["answers"])
    note(plan_words(plan), code="distil-plan")
    if plan.teaching is not None and plan.teacher is not None:
        note(f"{plan.teacher.name} may teach: {plan.teaching.ground}", code="teacher-permitted")


def _missing() -> MissingExtraError | None:
    """Return the error with which a training would end for want of its extra, None where it is installed."""
    from crossgrade.tuning import check_installed

    try:
        check_installed()
    except MissingExtraError as error:
        return error
    return None


def _followed(plan: "DistilPlan", run: "Callable[[DistilProgress], Distilled]") -> "Distilled":
    """Run a distillation, say how far it is, and how to go on if it stops early."""
    from crossgrade.cli._interrupt import ends_at_second_interrupt
    from crossgrade.cli._progress import shown_progress
    from crossgrade.evaluate import GRACE_S
    from crossgrade.project import DistilProgress
    from crossgrade.tuning import TrainingProgress

    name = plan.basis.workload.name
    told: dict[str, int] = {}

    def tell(what: str, done: int, of: int, more: str = "") -> None:
        tenth = 10 * done // max(1, of)
        if tenth > told.get(what, 0) or done == of:
            told[what] = tenth
            note(f"{what}: {done:,} of {of:,}{more}", code="progress")

    def trained(at: TrainingProgress) -> None:
        if at.step == at.resumed_from + 1 > 1:
            note(f"the training goes on after step {at.resumed_from:,}", code="training-resumed")
        tell("step", at.step, at.steps, "" if at.loss is None else f", loss {at.loss:.3f}")

    shown: AbstractContextManager[Any] = shown_progress(name)
    with ends_at_second_interrupt(GRACE_S) as arm, shown as tested:
        arm()
        try:
            return run(
                DistilProgress(
                    asked=lambda model, done, of: tell(f"answers of {model}", done, of),
                    trained=trained,
                    tested=tested,
                )
            )
        except BaseException:
            note("go on where it stopped: the same command again", code="resume")
            raise


def _show(plan: "DistilPlan", result: "Distilled", *, as_json: bool) -> None:
    checked, trained = result.checked, result.trained
    left_out = ", ".join(f"{count:,} {cause}" for cause, count in result.training_set.left_out.items())
    parts = f", in {trained.parts} parts" if trained.parts > 1 else ""
    machine = (
        "the machine's hours have no price (`--usd-per-hour`)"
        if result.machine_usd is None
        else f"{_dollars(result.machine_usd)} for the machine"
    )
    note(
        f"trained on {len(result.training_set.examples):,} examples ({left_out or 'none left out'}) in "
        f"{trained.cpu_seconds / 60:.1f} CPU-minutes{parts}; {_dollars(result.answers_usd)} for answers, "
        f"{machine}",
        code="distilled",
    )
    if trained.too_long:
        warn(
            f"{trained.too_long:,} examples are longer than --max-tokens and were left out",
            code="examples-too-long",
        )
    if as_json:
        from crossgrade.decide import verdict_to_json

        verdict = result.verdict
        print_json(
            {
                "tuning_id": result.tuning_id,
                "candidate": result.candidate,
                "adapter": result.adapter,
                "lineage": result.lineage,
                "examples": len(result.training_set.examples),
                "left_out": result.training_set.left_out,
                "checked": checked,
                "training": trained,
                "answers_usd": result.answers_usd,
                "machine_usd": result.machine_usd,
                "verdict_id": None if verdict is None else verdict.id,
                "verdict": None if verdict is None else verdict_to_json(verdict.verdict),
            },
            schema_version=SCHEMA_VERSION,
        )
        return
    headers = [f"on {checked.items} samples that trained nothing", "score", "retention"]
    rows = [
        [plan.basis.workload.incumbent.name, _share(checked.incumbent), "1.00"],
        [f"{result.candidate} before", _share(checked.before), _share(checked.retention_before)],
        [f"{result.candidate} after", _share(checked.after), _share(checked.retention_after)],
    ]
    print_table(headers, rows, right=headers[1:])
    if result.verdict is None:
        note(
            "there is no gain, so nothing was tested: the round and its samples are still there",
            code="no-gain",
        )
        return
    click.echo()
    print_verdict(result.verdict.verdict)
    note(f"recorded as verdict {result.verdict.id}. To answer as it was trained:", code="recorded")
    note(result.configuration.rstrip())


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _dollars(value: Decimal | None) -> str:
    return "an unknown amount" if value is None else f"${value:.4f}"
