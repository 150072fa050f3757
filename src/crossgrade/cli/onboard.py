"""`crossgrade onboard`: which new models are worth a test, and one from its name to a canary."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import note, print_json, print_table, warn
from crossgrade.cli._params import complete_model, complete_workload
from crossgrade.cli._progress import followed
from crossgrade.cli._spending import Dollars, confirm, estimate_words, tell_clauses, tell_left_out
from crossgrade.errors import UsageError

if TYPE_CHECKING:
    from crossgrade.project import Onboarded, Project
    from crossgrade.store import OnboardingStep


@click.command()
@click.argument("offer", metavar="[MODEL]", required=False, shell_complete=complete_model)
@click.option(
    "--workload",
    "-w",
    shell_complete=complete_workload,
    help="The workload that it is tried on. Without MODEL, the one to look at.  [default: all]",
)
@click.option(
    "--least-saving",
    type=Dollars(),
    metavar="USD",
    help="Without MODEL: list what could save so much a month.  [default: watch.renew in crossgrade.yaml]",
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
    offer: str | None,
    workload: str | None,
    max_cost: Decimal | None,
    resume: str | None,
    config_path: str,
    *,
    least_saving: Decimal | None,
    dry_run: bool,
    canary: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Bring a MODEL of the configuration from its name to a canary.

    MODEL is evaluated on the workload as its only candidate, with the incumbent's prompt unless the
    workload gives it its own, then decided on, and, if certified, tried on the first share of the
    route's `canary_steps`. The canary replaces a candidate that is in force on the route: the rest of
    its traffic goes back to the incumbent. Exits 0 when certified, 1 when not, 3 when the verdict is
    invalid.

    Without MODEL it asks no model. It lists the offers of `models` and of the catalogue that are new to a
    workload, fit it, and could save enough, each with its saving and the cost of its test. `crossgrade watch
    --renew USD` tests them.
    """
    from crossgrade.decide import gate
    from crossgrade.project import Project

    if offer is None:
        if resume is not None or max_cost is not None:
            raise click.MissingParameter(param_hint="MODEL", param_type="argument")
        _list_new(config_path, workload, least_saving, as_json=as_json)
        return 0
    if least_saving is not None:
        raise UsageError(
            "`--least-saving` lists new models", code="options-conflict", hint="leave out one of the two"
        )
    if workload is None:
        raise click.MissingParameter(param_hint="--workload", param_type="option")

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


def _list_new(config_path: str, workload: str | None, least_saving: Decimal | None, *, as_json: bool) -> None:
    from crossgrade.cli._renewals import print_proposals, screening_record
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        least = None if least_saving is None else float(least_saving)
        found = project.renewals.screen(() if workload is None else (workload,), least_saving_usd=least)
    if as_json:
        print_json(screening_record(found), schema_version=1)
    else:
        print_proposals(found)


def _warn_replaced(project: "Project", offer: str, workload: str) -> None:
    """Say which candidate the canary would take the traffic from."""
    for route in project.routing.replaced_by(offer, workload):
        policy = route.policy
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
        days = {"days_to_verdict": done.days_to_verdict}
        print_json({**found, **days, "steps": steps}, schema_version=1)
        return
    from crossgrade.report import render_text

    click.echo(render_text(done.verdict.verdict), nl=False)
    click.echo()
    rows = [
        [step.kind, at, _span(after), _words(step)]
        for step, at, after in zip(done.steps, when, after_s, strict=True)
    ]
    print_table(("step", "at", "after", "what"), rows, right=["after"])
    if done.days_to_verdict is not None:
        note(f"{done.days_to_verdict} days from its listing to this verdict", code="days-to-verdict")
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
    if step.kind == "listed":
        return f"price listed by {detail['source']}"
    words = {
        "seen": "first asked for here",
        "proposed": "found to be new",
        "renewal": "test begun, of at most ${limit_usd}",
        "spent": "test ended, for ${usd}",
        "delivered": "told to the webhook",
    }
    return words[step.kind].format(**detail)


def _span(seconds: int) -> str:
    """Return a length of time in its two largest units."""
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
