"""`crossgrade onboard`: a new model from its name to a canary."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import note, print_json, print_table, warn
from crossgrade.cli._params import complete_model, complete_workload
from crossgrade.cli._progress import followed
from crossgrade.cli._spending import Dollars, confirm, estimate_words, tell_clauses, tell_left_out

if TYPE_CHECKING:
    from crossgrade.project import Onboarded, Project
    from crossgrade.store import OnboardingStep


@click.command()
@click.argument("offer", metavar="MODEL", shell_complete=complete_model)
@click.option(
    "--workload",
    "-w",
    required=True,
    shell_complete=complete_workload,
    help="The workload that it is tried on.",
)
@click.option("--dry-run", is_flag=True, help="Estimate calls, tokens and dollars; ask no model.")
@click.option("--max-cost", type=Dollars(), metavar="USD", help="Stop before the run costs more than this.")
@click.option("--resume", metavar="RUN", help="Continue this run; nothing is paid for twice.")
@click.option("--canary/--no-canary", default=True, show_default=True, help="Start a canary if certified.")
@click.option(
    "--yes",
    is_flag=True,
    help="Do not ask before a run that may cost more than $5; needed where no terminal is.",
)
@config_option
@json_option
def command(
    offer: str,
    workload: str,
    max_cost: Decimal | None,
    resume: str | None,
    config_path: str,
    *,
    dry_run: bool,
    canary: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Bring a MODEL of the configuration from its name to a canary.

    It is evaluated on the workload as its only candidate, with the incumbent's prompt unless the
    workload gives it its own, then decided on, and, if certified, tried on the first share of the
    route's `canary_steps`. The canary replaces a candidate that is in force on the route: the rest of
    its traffic goes back to the incumbent. Exits 0 when certified, 1 when not, 3 when the verdict is
    invalid.
    """
    from crossgrade.decide import gate
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        with project.trying(offer, workload) as tried:
            clauses = tried.clauses(workload)
            if not dry_run:
                tried.check_terms(workload)
            tell_clauses(tried, clauses)
            estimate = tried.estimate(workload)
        note(estimate_words(estimate), code="estimate")
        tell_left_out(estimate)
        if dry_run:
            if as_json:
                print_json({"estimate": estimate, "clauses": clauses}, schema_version=1)
            return 0
        if canary:
            _warn_replaced(project, offer, workload)
        confirm(estimate.cost_usd and estimate.cost_usd[1], go_on=yes or max_cost is not None)
        with followed(offer, f"crossgrade onboard {offer} --workload {workload}") as on_progress:
            done = project.onboard(
                offer,
                workload,
                max_cost_usd=max_cost,
                resume=resume,
                canary=canary,
                on_progress=on_progress,
            )
    _show(done, as_json=as_json)
    candidates = project.workload(workload).candidates
    if offer not in {variant.name for variant in candidates}:
        note(
            f"add {offer} to `workloads.{workload}.candidates`: `crossgrade watch` asks it as it is there",
            code="candidate-to-add",
        )
    return gate(done.verdict.verdict)


def _warn_replaced(project: "Project", offer: str, workload: str) -> None:
    """Say which candidate the canary would take the traffic from."""
    for state in project.routing.states():
        route = state.route
        if state.spec is None or state.spec.workload != workload or route is None:
            continue
        policy = route.policy
        if policy.kind != "keep" and route.share and policy.candidate != offer:
            warn(
                f"{policy.candidate} answers {route.share:.0%} of route {route.name} now. If {offer} is "
                f"certified, its canary replaces {policy.candidate}, and the rest of that traffic goes back "
                f"to {policy.incumbent}. `--no-canary` leaves {policy.candidate} in force",
                code="canary-replaces",
            )


def _show(done: "Onboarded", *, as_json: bool) -> None:
    first = done.steps[0].at
    after_s = [round((step.at - first).total_seconds()) for step in done.steps]
    when = [step.at.isoformat(timespec="seconds") for step in done.steps]
    if as_json:
        steps = [
            {"step": step.kind, "at": at, "after_s": after, **step.detail}
            for step, at, after in zip(done.steps, when, after_s, strict=True)
        ]
        verdict = {"id": done.verdict.id, "name": done.verdict.verdict.name}
        version = done.table.version if done.table else None
        found = {"offer": done.offer, "workload": done.workload, "verdict": verdict, "version": version}
        print_json({**found, "steps": steps}, schema_version=1)
        return
    from crossgrade.report import render_text

    click.echo(render_text(done.verdict.verdict), nl=False)
    click.echo()
    rows = [
        [step.kind, at, _span(after), _words(step)]
        for step, at, after in zip(done.steps, when, after_s, strict=True)
    ]
    print_table(("step", "at", "after", "what"), rows, right=["after"])
    note(f"recorded as verdict {done.verdict.id}", code="recorded")
    if done.table is not None:
        note(
            f"route table version {done.table.version} in force; `crossgrade route promote` goes on",
            code="route-applied",
        )


def _words(step: "OnboardingStep") -> str:
    detail: Any = step.detail
    if step.kind == "verdict":
        return str(detail["name"])
    if step.kind == "canary":
        segments = f"{', '.join(detail['segments'])} in " if detail.get("segments") else ""
        return f"{detail['share']:.0%} of {segments}{', '.join(detail['routes'])}"
    return "first asked for here" if step.kind == "seen" else f"price listed by {detail['source']}"


def _span(seconds: int) -> str:
    """Return a length of time in its two largest units."""
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
