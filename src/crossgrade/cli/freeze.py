"""`crossgrade freeze`: seal the incumbent's answers for later; a group whose default is `seal`."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import DefaultGroup, FiniteRange, cluster_option, config_option, json_option
from crossgrade.cli._output import note, print_json, print_table, warn
from crossgrade.cli._params import complete_workload, filled
from crossgrade.cli._spending import Dollars, confirm, consent
from crossgrade.errors import CrossgradeError, UsageError

if TYPE_CHECKING:
    from crossgrade.project import BaselineCheck, FreezeOptions, FreezePlan, Project
    from crossgrade.store import Baseline

SCHEMA_VERSION = 1


class _Freeze(DefaultGroup):
    default = "seal"


@click.group(cls=_Freeze)
def command() -> None:
    """Seal the incumbent's answers for comparisons after it is gone.

    `crossgrade freeze WORKLOAD` plans how many answers are worth buying, buys those that are neither paid
    for nor logged, and seals them by digest and date. `evaluate` and `decide` then use them as the
    incumbent's, which is not asked any more. `crossgrade freeze seal --help` shows the options.
    """


@command.command("seal")
@click.argument("workloads", nargs=-1, metavar="[WORKLOAD]...", shell_complete=complete_workload)
@click.option("--all", "every", is_flag=True, help="Freeze every workload that has no baseline yet.")
@click.option("--dry-run", is_flag=True, help="Show the plan, its calls and dollars; ask no model.")
@click.option(
    "--candidates",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="How many later models are planned; they share the error rate.",
)
@click.option(
    "--retention",
    type=FiniteRange(0.01, 2.0),
    default=0.95,
    show_default=True,
    help="What a good candidate is expected to keep.",
)
@click.option(
    "--power",
    type=FiniteRange(0.1, 0.99),
    default=0.8,
    show_default=True,
    help="How probably such a candidate shall be certified.",
)
@click.option(
    "--samples", type=click.IntRange(1), help="Seal this many answers, at most all, whatever the plan says."
)
@click.option("--answered", is_flag=True, help="Seal only what is paid for or logged, and buy nothing.")
@click.option(
    "--version",
    "versions",
    multiple=True,
    metavar="MODEL",
    help="A model that the provider says to have served, which is the incumbent.",
)
@click.option(
    "--max-cost",
    type=Dollars(),
    metavar="USD",
    help="Stop before this call costs more than this for a workload.",
)
@click.option(
    "--yes",
    is_flag=True,
    help="Do not ask before a run that may cost more than $5; needed where no terminal is.",
)
@cluster_option("asks the incumbent")
@config_option
@json_option
def _seal(
    workloads: tuple[str, ...],
    max_cost: Decimal | None,
    cluster: str | None,
    config_path: str,
    *,
    every: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Plan, buy and seal the incumbent's answers.

    Interrupt it at any time: what was paid for is kept, and the next call goes on from there. Exits 3 if
    some of several workloads could not be sealed.
    """
    from crossgrade.project import FreezeOptions, Project

    options = filled(FreezeOptions, given)
    with Project.open(config_path) as project:
        names = _named(project, workloads, every=every)
        plans = [project.baselines.plan(name, options) for name in names]
        if dry_run:
            _show_plans(plans, as_json=as_json)
            return 0
        for plan in plans:
            _tell(plan)
        limits = [project.workload(name).max_cost_usd if max_cost is None else max_cost for name in names]
        open_ended = [plan for plan, limit in zip(plans, limits, strict=True) if limit is None]
        confirm(
            sum((plan.cost_usd[1] for plan in open_ended if plan.cost_usd is not None), Decimal(0)),
            go_on=yes,
            unpriced=[plan.incumbent for plan in open_ended if plan.cost_usd is None and plan.calls],
        )
        sealed, failed = [], None
        for name in names:
            try:
                sealed.append(_freeze(project, name, options, cluster, max_cost=max_cost))
            except CrossgradeError as error:
                if len(names) == 1:
                    raise
                warn(f"{name} is not sealed: {error}", code=error.code)
                failed = error
        if as_json and sealed:
            print_json({"baselines": [_summary(each) for each in sealed]}, schema_version=SCHEMA_VERSION)
        elif sealed:
            _show_checks(project.baselines.check([each.workload for each in sealed]))
        if failed is not None and not sealed:
            raise failed
    return 0 if failed is None else 3


def _named(project: "Project", workloads: Sequence[str], *, every: bool) -> list[str]:
    """Return the workloads to freeze; raises UsageError if none or both ways are given."""
    if bool(workloads) == every:
        raise UsageError(
            "name workloads, or all of them with `--all`, not both",
            code="workload-not-named",
            hint="`crossgrade freeze WORKLOAD`, or `crossgrade freeze --all`",
        )
    if not every:
        return [project.workload(name).name for name in dict.fromkeys(workloads)]
    names = [name for name in project.config.workloads if project.store.baselines.newest(name) is None]
    if not names:
        raise UsageError(
            "every workload has a sealed baseline",
            code="baseline-exists",
            hint="`crossgrade freeze verify` shows them",
        )
    return names


def _freeze(
    project: "Project", name: str, options: "FreezeOptions", cluster: str | None, *, max_cost: Decimal | None
) -> "Baseline":
    from crossgrade.cli._progress import followed

    with project.on_cluster(cluster), followed(name, f"crossgrade freeze {name}", by_id=False) as on_progress:
        baseline = project.baselines.freeze(name, options, max_cost_usd=max_cost, on_progress=on_progress)
    note(
        f"{name}: {baseline.answered:,} samples sealed on {baseline.sealed_at:%Y-%m-%d %H:%M} UTC as "
        f"{baseline.digest}. Keep this digest elsewhere: it shows later that nothing was changed",
        code="baseline-sealed",
    )
    if baseline.versions:
        note(f"the provider said that it served {', '.join(baseline.versions)}", code="baseline-versions")
    if baseline.seen_before:
        warn(
            f"{', '.join(baseline.seen_before)} answered some of these samples before they were sealed. What "
            "was learnt from that is not covered by the error rate: take fresh rows if candidates were tuned "
            "to them",
            code="samples-seen",
        )
    if baseline.price is None:
        warn(
            f"the price of {baseline.incumbent['name']} is unknown, so no verdict on this baseline can say "
            "what a candidate saves: add `prices` to the model and freeze again, or state them before you "
            "decide",
            code="baseline-without-price",
        )
    return baseline


def _show_plans(plans: "Sequence[FreezePlan]", *, as_json: bool) -> None:
    if as_json:
        print_json({"plans": plans}, schema_version=SCHEMA_VERSION)
        return
    rows = [
        [
            plan.workload,
            plan.incumbent,
            plan.answers,
            plan.reused,
            plan.calls,
            _dollars(plan.cost_usd),
            plan.block,
            plan.samples,
            _dollars(plan.candidate_usd),
        ]
        for plan in plans
    ]
    headers = ["workload", "incumbent", "answers", "there", "to buy", "cost", "K", "samples", "a candidate"]
    print_table(headers, rows, right=headers[2:])
    for plan in plans:
        _tell(plan)


def _dollars(span: "tuple[Decimal, Decimal] | None") -> str:
    return "unknown" if span is None else f"${span[0]:.2f} to ${span[1]:.2f}"


def _tell(plan: "FreezePlan") -> None:
    """Say in words what a plan rests on, and what it can tell apart."""
    wanted = plan.options
    source = (
        "which is usual, until some answers are there"
        if plan.basis is None
        else f"{plan.basis_answers:,} answers of run {plan.basis}"
    )
    many = f"{wanted.candidates} candidate{'s' * (wanted.candidates != 1)}"
    to_buy = f"{plan.calls:,} answer{'s' * (plan.calls != 1)} to buy"
    cost = "at an unknown price" if plan.cost_usd is None else f"for {_dollars(plan.cost_usd)}"
    note(
        f"{plan.workload}: for {many} at an error rate of {plan.alpha_each:.3g} each. One that keeps "
        f"{wanted.retention:g} needs {_many(plan.needed)} answers to be certified above {plan.floor:g} with "
        f"a probability of {wanted.power:g}, if {plan.incumbent} scores {plan.incumbent_mean:.3f} ({source}) "
        f"and the scores correlate by {plan.correlation:.2f}. There are "
        f"{to_buy}{f' {cost}' * (plan.calls > 0)}, and {plan.reused:,} are there",
        code="freeze-plan",
    )
    if plan.needed is None or plan.needed > plan.available:
        best = plan.separable
        least = "no candidate" if best is None else f"only one that keeps {best:.3f} or more"
        warn(
            f"{plan.workload} has {plan.available:,} samples. With all of them, {least} is certified with "
            "that probability. More answers to the same samples help less than more samples do",
            code="freeze-short",
        )


def _many(needed: int | None) -> str:
    return "more than any number of" if needed is None else f"{needed:,}"


@command.command("verify")
@click.argument("workloads", nargs=-1, metavar="[WORKLOAD]...", shell_complete=complete_workload)
@click.option("--digest", metavar="DIGEST", help="The digest that you kept; one workload at a time.")
@config_option
@json_option
def _verify(workloads: tuple[str, ...], digest: str | None, config_path: str, *, as_json: bool) -> int:
    """Check that sealed baselines are as they were sealed.

    Exits 0 if everything is as it was sealed, and 3 if not; every difference is named.
    """
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        if digest is not None and len(workloads) != 1:
            raise UsageError(
                "a digest is that of one baseline", code="workload-not-named", hint="name its workload"
            )
        checks = project.baselines.check(workloads)
    if digest is not None:
        checks = [_with_digest(check, digest.rstrip("…")) for check in checks]
    problems = [(check, problem) for check in checks for problem in check.problems]
    if as_json:
        found = [{**_summary(each.baseline), **_state(each)} for each in checks]
        print_json({"baselines": found}, schema_version=SCHEMA_VERSION)
    else:
        _show_checks(checks)
    for check, problem in problems:
        warn(f"{check.baseline.workload}: {problem}", code="baseline-changed")
    return 3 if problems else 0


_LEAST_DIGEST = len("sha256:") + 12
"""The beginning of a digest that tables show."""


def _with_digest(check: "BaselineCheck", digest: str) -> "BaselineCheck":
    """Return a check with a problem if the baseline has another digest than the one that was kept."""
    if check.baseline.digest.startswith(digest) and len(digest) >= _LEAST_DIGEST:
        return check
    problem = (
        f"the digest is {check.baseline.digest}, not {digest}: it is another baseline than the one you kept"
    )
    return replace(check, problems=(*check.problems, problem))


@command.command("reveal")
@click.argument("workload", shell_complete=complete_workload)
@click.option("--yes", is_flag=True, help="Do not ask; needed where no terminal is.")
@config_option
@json_option
def _reveal(workload: str, config_path: str, *, yes: bool, as_json: bool) -> None:
    """Show a baseline's results sample by sample from now on.

    Candidates that were compared with it stay. A new one could have been tuned to what was shown, so it
    needs a baseline of fresh rows.
    """
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        (check,) = project.baselines.check([workload])
        if check.revealed_at is None and not yes:
            consent(
                f"no new candidate can be compared with baseline {check.baseline.id} afterwards",
                "add `--yes`",
            )
        baseline = project.baselines.reveal(workload)
    if as_json:
        print_json(_summary(baseline), schema_version=SCHEMA_VERSION)
        return
    note(
        f"{workload}: results are shown from now on (`crossgrade runs --export RUN`). No new candidate is "
        f"compared with baseline {baseline.id}",
        code="baseline-revealed",
    )


def _show_checks(checks: "Sequence[BaselineCheck]") -> None:
    rows = []
    for check in checks:
        sealed = check.baseline
        rows.append(
            [
                sealed.workload,
                sealed.incumbent["name"],
                f"{sealed.sealed_at:%Y-%m-%d}",
                check.rests_on,
                f"{len(check.tried)} of {sealed.planned_candidates}",
                "none: shown" if check.revealed_at else f"{check.left:.4g} of {sealed.alpha:g}",
                "changed" if check.problems else "as sealed",
                sealed.digest[:19] + "…",
            ]
        )
    headers = ["workload", "incumbent", "sealed", "answers", "tried", "error rate left", "state", "digest"]
    print_table(headers, rows, right=["answers"])
    if not checks:
        note(
            "no workload has a sealed baseline; `crossgrade freeze WORKLOAD` makes one",
            code="baseline-missing",
        )


def _summary(baseline: "Baseline") -> dict[str, Any]:
    return {
        "workload": baseline.workload,
        "id": baseline.id,
        "digest": baseline.digest,
        "sealed_at": baseline.sealed_at,
        "incumbent": baseline.incumbent["name"],
        "versions": baseline.versions,
        "answers": baseline.answered,
        "samples": len(baseline.samples),
        "planned_candidates": baseline.planned_candidates,
        "alpha": baseline.alpha,
        "price": baseline.price,
    }


def _state(check: "BaselineCheck") -> dict[str, Any]:
    return {
        "problems": check.problems,
        "rests_on": check.rests_on,
        "tried": [
            {"candidate": use.candidate, "alpha": use.alpha, "purpose": use.purpose, "at": use.at}
            for use in check.tried
        ],
        "left": check.left,
        "revealed_at": check.revealed_at,
    }
