"""`crossgrade route`: which model answers now, and the steps up and down."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import Renamed, config_option, json_option
from crossgrade.cli._output import note, print_fields, print_json, print_table, warn
from crossgrade.cli._params import complete_route, complete_workload
from crossgrade.errors import NotFoundError, UsageError, closest

if TYPE_CHECKING:
    from crossgrade.decide import Verdict
    from crossgrade.project import Project, RouteState
    from crossgrade.routing import Policy, Route, RouteTable
    from crossgrade.routing.export import Exporter


@click.group()
def command() -> None:
    """Show, apply, promote, abort and export routes."""


@command.command()
@click.argument("route", required=False, shell_complete=complete_route)
@config_option
@json_option
def show(route: str | None, config_path: str, *, as_json: bool) -> None:
    """Show which model answers each route now, and until when.

    With ROUTE, everything that is known of it.
    """
    now = datetime.now(UTC)
    with _project(config_path) as project:
        states = _states(project, (route,) if route else ())
        rows = [_state_row(state, now) for state in states]
        table = project.store.routes.current()
    if as_json:
        print_json({"version": table.version if table else None, "routes": rows}, schema_version=1)
    elif route:
        print_fields(rows[0])
    elif rows:
        shown = ["route", "status", "incumbent", "candidate", "share", "valid_until", "verdict"]
        _print_rows(shown, rows)
    else:
        note("no routes yet: add a workload, or `routes`, to the configuration", code="no-routes")
    _note_ends(states, now)


@command.command()
@click.argument("workload", shell_complete=complete_workload)
@click.option("--verdict", "verdict_id", metavar="ID", help="This verdict instead of the newest.")
@click.option("--canary", is_flag=True, help="Begin with the first of the route's `canary_steps`.")
@click.option(
    "--route",
    "names",
    metavar="ROUTE",
    multiple=True,
    shell_complete=complete_route,
    help="Only this route; repeat for more.",
)
@config_option
@json_option
def apply(
    workload: str,
    verdict_id: str | None,
    names: tuple[str, ...],
    config_path: str,
    *,
    canary: bool,
    as_json: bool,
) -> None:
    """Put a WORKLOAD's newest verdict in force on its routes.

    A verdict that is invalid or expired, that an alarm was raised on, or that was reached on other
    models than those of the configuration is refused. So is one that its recorded scores do not
    confirm (`crossgrade decide --verify`).
    """
    with _project(config_path) as project:
        (stored,) = project.newest_verdicts([workload], verdict_id=verdict_id)
        if stored.verdict.workload != workload:
            raise UsageError(
                f"verdict {stored.id} is on {stored.verdict.workload}, not on {workload}",
                code="verdict-of-other-workload",
                hint=f"`crossgrade report --list {workload}` lists those on it",
            )
        table = project.routing.apply(stored.id, canary=canary, names=names)
        _say(project, table, stored.verdict.workload, as_json=as_json)
        for reason in stored.verdict.reasons:
            if reason.code == "other-api" and reason.candidate == stored.verdict.policy.candidate:
                note(reason.text, code="not-carried")
        _warn_of_prompts(project, stored.verdict)


def _warn_of_prompts(project: "Project", verdict: "Verdict") -> None:
    """Say that the gateway passes requests on as they are, where a candidate was tested with others.

    A ported prompt may stand in the verdict's tuning alone, and not in crossgrade.yaml.
    """
    wanted, candidate = project.workload(verdict.workload), verdict.policy.candidate
    tuning = verdict.settings.tuning
    tested = next((each for each in wanted.candidates if each.name == candidate), None)
    usual = wanted.incumbent
    is_ported = tuning is not None and tuning.kind == "port"
    if tested is None or (
        not is_ported and (tested.prompt, tested.settings) == (usual.prompt, usual.settings)
    ):
        return
    warn(
        f"{candidate} was tested with a prompt or settings of its own, and the gateway passes requests on as "
        "clients send them: what is served is what was certified only if clients send these to it",
        code="prompt-not-served",
    )


@command.command()
@click.argument("route", shell_complete=complete_route)
@config_option
@json_option
def promote(route: str, config_path: str, *, as_json: bool) -> None:
    """Give a ROUTE the next share of its `canary_steps`."""
    with _project(config_path) as project:
        _say_one(project, project.routing.promote(route), route, as_json=as_json)


@command.command()
@click.argument("route", shell_complete=complete_route)
@config_option
@json_option
def abort(route: str, config_path: str, *, as_json: bool) -> None:
    """Send all traffic of a ROUTE back to the incumbent, at once."""
    with _project(config_path) as project:
        _say_one(project, project.routing.abort(route), route, as_json=as_json)


@command.command()
@click.argument("route", required=False, shell_complete=complete_route)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", default=20, show_default=True, help="Most rows."
)
@config_option
@json_option
def history(route: str | None, limit: int, config_path: str, *, as_json: bool) -> None:
    """List the past route tables, newest first.

    With ROUTE, only what they say about it.
    """
    with _project(config_path) as project:
        published = project.routing.history()
        if route and not any(route in each.table.by_name for each in published):
            _states(project, (route,))  # which may be misspelt
    rows = [
        {
            "version": each.table.version,
            "since": each.at.isoformat(timespec="seconds"),
            "digest": each.digest.removeprefix("sha256:")[:12],
            **_route_row(found),
        }
        for each in reversed(published)
        for found in each.table.routes
        if route in (None, found.name)
    ][:limit]
    if as_json:
        print_json({"history": rows}, schema_version=1)
    elif rows:
        shown = ["version", "since", "route", "policy", "candidate", "share", "verdict", "digest"]
        _print_rows(shown, rows)
    else:
        note(
            "no route table was published yet: `crossgrade route apply WORKLOAD` publishes one",
            code="no-route-table",
        )


@command.command()
@click.argument("routes", nargs=-1, metavar="[ROUTE…]", shell_complete=complete_route)
@click.option(
    "--proxy",
    "--to",
    "proxy",
    metavar="NAME",
    required=True,
    cls=Renamed,
    help="Kind of the proxy that you have: litellm, openrouter, envoy, or one that a plugin brings.",
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write instead of printing."
)
@config_option
@json_option
def export(
    routes: tuple[str, ...], proxy: str, output: Path | None, config_path: str, *, as_json: bool
) -> None:
    """Write the routes for a proxy that is already in place.

    What that proxy cannot carry (an expiry, stickiness, shadows, …) is said on standard error.
    `crossgrade export` writes a verdict for others to compute again.
    """
    from crossgrade.report import write_text
    from crossgrade.routing.export import plan_route

    now = datetime.now(UTC)
    with _project(config_path) as project:
        exporter = _exporter(project, proxy)
        offers = project.config.offers
        states = [state.answering(now) for state in _states(project, routes)]
        plans = [
            plan_route(
                replace(state.spec, fallbacks=state.fallbacks),
                None if state.clause else state.route,
                offers,
                os.environ,
                now=now,
            )
            for state in states
            if state.spec is not None
        ]
    exported = exporter.write(plans)
    if output is not None:
        write_text(output, exported.text)
        note(f"written to {output}")
    if as_json:
        print_json({"text": exported.text, "notes": exported.notes}, schema_version=1)
        return
    if output is None:
        click.echo(exported.text, nl=False)
    for each in exported.notes:
        note(f"note: {each}", code="not-exported")
    _note_ends(states, now)


def _note_ends(states: "list[RouteState]", now: datetime) -> None:
    """Say of each route whose incumbent ends within 90 days, or has ended, who answers then."""
    for state in states:
        found = state.succession
        if found is not None and (words := found.words(now.date())) is not None:
            note(words, code="incumbent-ends")


def _exporter(project: "Project", proxy: str) -> "Exporter":
    known = project.plugins.exporters
    if proxy not in known:
        raise UsageError(
            f"there is no exporter for `{proxy}`; there are: {', '.join(known)}{closest(proxy, known)}",
            code="proxy-unknown",
            hint="name one of them, or under `plugins` the package that brings it",
        )
    return known[proxy]


def _project(config_path: str) -> "Project":
    from crossgrade.project import Project

    return Project.open(config_path)


def _states(project: "Project", names: tuple[str, ...]) -> "list[RouteState]":
    states = {state.name: state for state in project.routing.states()}
    for name in names:
        if name not in states:
            known = ", ".join(states) or "none"
            raise NotFoundError(
                f"there is no route `{name}`; there are: {known}{closest(name, states)}",
                code="route-unknown",
                hint="`crossgrade route show`",
            )
    return [states[name] for name in names or states]


def _state_row(state: "RouteState", now: datetime) -> dict[str, Any]:
    spec = state.spec
    if state.route is not None:
        row = _route_row(state.route)
    else:
        empty = dict.fromkeys(
            (
                "policy",
                "candidate",
                "max_bytes",
                "plain_only",
                "least_score",
                "share",
                "valid_until",
                "verdict",
            )
        )
        row = {"route": state.name, **empty, "incumbent": spec.incumbent if spec else None, "segments": []}
    ends_on = None if state.succession is None else state.succession.ends_on
    return {
        "route": state.name,
        "status": state.status(now),
        "workload": spec.workload if spec else None,
        "models": list(spec.models) if spec else [],
        "incumbent_ends_on": None if ends_on is None else ends_on.isoformat(),
        "successor": spec.successor if spec else None,
        **{key: value for key, value in row.items() if key != "route"},
    }


def _route_row(route: "Route") -> dict[str, Any]:
    policy = route.policy
    moves = policy.kind != "keep" and not route.is_held
    return {
        "route": route.name,
        "policy": policy.kind,
        "incumbent": policy.incumbent,
        "candidate": policy.candidate,
        "segments": list(policy.segments),
        "max_bytes": policy.max_bytes,
        "plain_only": policy.plain_only,
        "least_score": policy.least_score,
        "share": route.share if moves else None,
        "valid_until": route.valid_until.date().isoformat() if route.valid_until else None,
        "verdict": route.verdict_id,
    }


def _print_rows(shown: list[str], rows: list[dict[str, Any]]) -> None:
    """Print these columns of routes, and those of a policy's limits that any of them has."""
    at = shown.index("candidate") + 1
    limits = [
        limit
        for limit in ("max_bytes", "plain_only", "least_score")
        if any(row[limit] is not None and row[limit] is not False for row in rows)
    ]
    shown = [*shown[:at], *limits, *shown[at:]]
    right = [each for each in ("version", "max_bytes", "least_score", "share") if each in shown]
    print_table(shown, [[row[column] for column in shown] for row in rows], right=right)


def _say(project: "Project", table: "RouteTable", workload: str, *, as_json: bool) -> None:
    routes = [
        route
        for route in table.routes
        if route.name in project.config.routes and project.config.routes[route.name].workload == workload
    ]
    _print(project, table, routes, as_json=as_json)


def _say_one(project: "Project", table: "RouteTable", name: str, *, as_json: bool) -> None:
    _print(project, table, [table.by_name[name]], as_json=as_json)


def _print(project: "Project", table: "RouteTable", routes: "list[Route]", *, as_json: bool) -> None:
    if as_json:
        print_json(
            {"version": table.version, "routes": [_route_row(route) for route in routes]}, schema_version=1
        )
        return
    now = datetime.now(UTC)
    known = {state.name: state for state in project.routing.states()}
    states = [known[route.name] for route in routes]
    for route, state in zip(routes, states, strict=True):
        found = state.succession
        heir = route.policy.incumbent if found is None else found.answering(now.date())
        click.echo(f"{route.name}: {_words(route, heir)}")
    note(f"route table version {table.version} in force", code="route-applied")
    _note_ends(states, now)


def _words(route: "Route", heir: str) -> str:
    """Say who answers what; `heir` is the model that answers where the incumbent would."""
    policy = route.policy
    if policy.kind == "keep":
        return f"{heir} answers everything"
    if route.share == 0:
        again = f"`route promote` starts the canary of {policy.candidate} again"
        return f"{heir} answers everything; {again}"
    if route.is_held:
        return f"{heir} answers everything until audits show what {policy.candidate} may take"
    what = "everything" if policy.kind == "switch" else _segments(policy)
    if policy.max_bytes is not None:
        what += f" up to {policy.max_bytes:,} bytes"
    if policy.plain_only:
        what += " of text without tools"
    share = "" if route.share == 1 else f"{route.share:.0%} of "
    until = f" until {route.valid_until:%Y-%m-%d}" if route.valid_until else ""
    return f"{policy.candidate} answers {share}{what}{until}"


def _segments(policy: "Policy") -> str:
    names = list(policy.segments)
    if policy.fact == "score":
        return f"requests with {names[0]} by the router"
    if len(names) == 1:
        return f"the {policy.fact} {names[0]}"
    return f"the {policy.fact}s {', '.join(names[:-1])} and {names[-1]}"
