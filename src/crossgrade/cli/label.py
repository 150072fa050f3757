"""`crossgrade label`: people label answers side by side, on a page of this machine."""

import re
import sys
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from crossgrade.cli._frame import FiniteRange, config_option, json_option
from crossgrade.cli._output import note, print_json, print_table
from crossgrade.cli._params import complete_route, complete_workload_or_suite, filled
from crossgrade.errors import NotFoundError, UsageError, closest

if TYPE_CHECKING:
    from crossgrade.project import LabelDesk, LabelPlan, LabelProgress, Project
    from crossgrade.store import Rater, RaterEventKind

SCHEMA_VERSION = 1
_OWNER = "owner"
_MOST_RATERS = 50
_NAME = re.compile(r"[\w.@-](?:[\w .@-]{0,58}[\w.@-])?")
_SCALES = ("right-wrong", "graded", "compare")
_DRAWING = ("--export", "--import")
"""What is done in place of the page, and draws the items if nobody has."""


class _Link(NamedTuple):
    """A one-time link of a rater, as it is shown once."""

    rater: str
    link: str
    ends_at: datetime


@click.command()
@click.argument("workload", required=False, shell_complete=complete_workload_or_suite)
@click.option("--run", "run_id", metavar="RUN", help="Label this run instead of the newest.")
@click.option(
    "--live",
    "route",
    metavar="ROUTE",
    shell_complete=complete_route,
    help="Label the pairs of this route that `watch` drew for people, instead of a run.",
)
@click.option(
    "--labels",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Items to label in all. Once there are labels, a larger number begins the next planned round.  "
    "[default: 100, with `--draw residual` 200, of a safety suite 50, or what its limit takes]",
)
@click.option(
    "--draw",
    type=click.Choice(("random", "residual")),
    help="Which items: all alike, or after a pilot at random more often those where labels help the most.  "
    "[default: random]",
)
@click.option("--scale", type=click.Choice(_SCALES), help="What raters say.  [default: as the judge]")
@click.option(
    "--seed", type=click.IntRange(0, 2**62), metavar="N", help="Seed of the draw.  [default: the run's]"
)
@click.option(
    "--rater", "raters", multiple=True, metavar="NAME", help="Give NAME a one-time link; repeat for several."
)
@click.option(
    "--days",
    type=click.IntRange(1, 365),
    default=7,
    show_default=True,
    metavar="D",
    help="Days after which the links of this start end.",
)
@click.option(
    "--quota", type=click.IntRange(1, 100_000), metavar="N", help="Most items that each new rater labels."
)
@click.option(
    "--overlap",
    type=FiniteRange(0, 1),
    metavar="SHARE",
    help="Share of the items that two raters label, for their agreement.  [default: 0]",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 10),
    metavar="K",
    help="Rounds in which items are drawn, each as large as the first. Each is tested at alpha / K.  "
    "[default: 1]",
)
@click.option("--suspend", "suspended", metavar="NAME", help="Let a rater label no more; the labels stay.")
@click.option("--resume", "resumed", metavar="NAME", help="Let a suspended rater label again.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8400, show_default=True, metavar="PORT",
    help="Port of the page; 0 is any that is free.",
)  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Do not open the page in a browser.")
@click.option(
    "--export",
    "export_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the drawn items, with the labels so far, as CSV instead.",
)
@click.option(
    "--import",
    "import_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Record the scores of such a CSV instead, as the `--rater`'s or the owner's.",
)
@click.option("--status", is_flag=True, help="Say how far the labelling is instead.")
@config_option
@json_option
def command(workload: str | None, *, config_path: str, as_json: bool, **options: Any) -> None:
    """Let people label answers, side by side and blind.

    Opens a page on this machine where the answers to each item stand in random order without names. The
    items are drawn from a run of WORKLOAD, or from a route's live pairs. Every action is saved at
    once: stop with Ctrl-C and go on with the same command. `crossgrade decide WORKLOAD` takes the labels
    when all drawn items have one or are skipped.
    """
    from crossgrade.project import Project

    _check(workload, options)
    with Project.open(config_path) as project:
        plan, desk = _opened(project, workload, options)
        if options["suspended"] or options["resumed"]:
            _change_rater(project, desk, options)
        elif options["export_path"]:
            assert plan is not None
            written = project.labelling.write(plan, options["export_path"])
            note(f"{written:,} items written to {options['export_path']}", code="labels-exported")
        elif options["import_path"]:
            assert plan is not None
            rater = _imports_as(desk, options)
            read = project.labelling.read(plan, options["import_path"], rater)
            note(f"{read:,} new labels of {rater.name} recorded", code="labels-imported")
        elif options["status"]:
            _print_status(desk, as_json=as_json)
        else:
            _serve(desk, options, as_json=as_json)


def _check(workload: str | None, options: dict[str, Any]) -> None:
    """Raise UsageError for options that do not go together."""
    if (workload is None) == (options["route"] is None):
        raise UsageError(
            "nothing to label" if workload is None else "a workload and a route are labelled apart",
            code="label-subject",
            hint="name a workload, or a route with `--live`",
        )
    named = {"export_path": "--export", "import_path": "--import", "status": "--status"}
    named |= {"suspended": "--suspend", "resumed": "--resume"}
    instead = [option for name, option in named.items() if options[name]]
    if options["route"] is not None:
        of_runs = {
            "run_id": "--run",
            "labels": "--labels",
            "seed": "--seed",
            "rounds": "--rounds",
            "draw": "--draw",
        }
        of_runs |= {"export_path": "--export", "import_path": "--import"}
        given = [option for name, option in of_runs.items() if options[name] is not None]
        _refuse(given, "they are for runs, and `--live` labels live pairs")
    if len(instead) > 1:
        _refuse(instead, "each is done by itself")
    if instead and instead[0] not in _DRAWING:
        draws = {"labels": "--labels", "scale": "--scale", "seed": "--seed", "overlap": "--overlap"}
        draws |= {"draw": "--draw", "rounds": "--rounds"}
        given = [option for name, option in draws.items() if options[name] is not None]
        _refuse(given, f"{instead[0]} draws nothing")
    if len(options["raters"]) > _MOST_RATERS:
        raise UsageError(
            f"{len(options['raters'])} raters at once",
            code="label-raters-many",
            hint=f"name at most {_MOST_RATERS}",
        )
    for name in options["raters"]:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name[:60]!r} is no name of a rater",
                code="rater-name-invalid",
                hint="use letters, digits, spaces and `.`, `-`, `_`, `@`, at most 60",
            )
    if not instead:
        _check_extra()


def _refuse(given: list[str], why: str) -> None:
    if given:
        raise UsageError(
            f"{', '.join(given)} cannot be given here: {why}",
            code="options-conflict",
            hint=f"leave out {given[0]}",
        )


def _check_extra() -> None:
    """Raise MissingExtraError before any work if the page could not be served."""
    from importlib.util import find_spec

    from crossgrade.errors import MissingExtraError

    for module in ("jinja2", "markdown_it", "starlette", "uvicorn"):
        try:
            is_there = find_spec(module) is not None
        except ValueError:  # a module that was put out of reach
            is_there = False
        if not is_there:
            raise MissingExtraError("the labelling page", "ui")


def _opened(
    project: "Project", workload: str | None, options: dict[str, Any]
) -> "tuple[LabelPlan | None, LabelDesk]":
    """Return the desk, and the plan of a run's labelling; says what is drawn."""
    from crossgrade.project import LabelOptions

    if workload is None:
        from crossgrade.watch import live_desk

        desk = live_desk(project, options["route"], scale=options["scale"], overlap=options["overlap"])
        note(f"{desk.drawn:,} live pairs of route {desk.title} wait for people", code="labels-waiting")
        return None, desk
    labelling = project.labelling
    plan = labelling.plan(workload, filled(LabelOptions, options), run_id=options["run_id"])
    only_looks = options["status"] or options["suspended"] or options["resumed"]
    if only_looks and project.store.labels.newest_draw(plan.draw.subject) is None:
        raise NotFoundError(
            f"no items of run {plan.run.id} are drawn yet",
            code="labels-not-drawn",
            hint=f"`crossgrade label {workload}` draws them",
        )
    draw = plan.draw
    how = "where labels help the most" if draw.kind == "residual" and not plan.undrawn else "at random"
    more = f", then about {plan.undrawn:,} where labels help the most" if plan.undrawn else ""
    note(
        f"{len(draw.items):,} of {plan.items:,} items of run {plan.run.id}, drawn {how} "
        f"(seed {draw.seed}){more}, scale {draw.scale}: about {plan.hours:.1f} h for one person",
        code="labels-drawn" if plan.is_new else "labels-go-on",
    )
    if not only_looks:
        _note_certified(plan)
    return plan, labelling.open(plan)


def _note_certified(plan: "LabelPlan") -> None:
    """Say which retention the planned labels could certify, before anybody has labelled."""
    from crossgrade.stats import LEAST_LABELS

    floor, labels = plan.workload.floor, plan.labels
    if plan.workload.suite is not None:
        _note_rate(labels)
        return
    if labels < LEAST_LABELS:
        note(
            f"{labels:,} labels correct no judge: that takes {LEAST_LABELS}",
            code="labels-too-few",
        )
    elif plan.certified_from is None:
        note(
            f"{labels:,} labels could certify a candidate at a floor of {floor:g} only if the judge agrees "
            "with people",
            code="labels-certify-little",
        )
    else:
        note(
            f"{labels:,} labels would probably certify a retention of {plan.certified_from:.3f} or more at a "
            f"floor of {floor:g}, and a lower one if the judge agrees with people",
            code="labels-certify",
        )


def _note_rate(labels: int) -> None:
    """Say which rate of a safety suite the planned labels could show."""
    from crossgrade.stats import LEAST_RATE_LABELS, calibrated_rate

    if labels < LEAST_RATE_LABELS:
        note(f"{labels:,} labels show no rate: that takes {LEAST_RATE_LABELS}", code="labels-too-few")
        return
    bound = calibrated_rate([0] * labels, dict.fromkeys(range(labels), 0.0)).upper
    assert bound is not None
    note(
        f"{labels:,} labels without an event would show a rate of at most {bound:.1%}, and no limit below "
        "that can be met",
        code="labels-show-rate",
    )


def _change_rater(project: "Project", desk: "LabelDesk", options: dict[str, Any]) -> None:
    rater = _named(desk, options["suspended"] or options["resumed"])
    kind: RaterEventKind = "suspended" if options["suspended"] else "resumed"
    project.store.raters.append_event(rater.id, kind)
    note(f"{rater.name} is {kind}", code="rater-changed")


def _named(desk: "LabelDesk", name: str) -> "Rater":
    raters = desk.raters()
    found = next((each for each in raters if each.name == name), None)
    if found is None:
        raise NotFoundError(
            f"there is no rater {name!r}{closest(name, [each.name for each in raters])}",
            code="rater-unknown",
            hint="`--status` lists the raters",
        )
    return found


def _imports_as(desk: "LabelDesk", options: dict[str, Any]) -> "Rater":
    """Return whose labels a file has: those of the one `--rater`, or the owner's."""
    if len(options["raters"]) > 1:
        raise UsageError("a file has one rater's labels", code="options-conflict", hint="give one `--rater`")
    name = options["raters"][0] if options["raters"] else _OWNER
    if all(each.name != name for each in desk.raters()):
        _invite(desk, name, options)
    return _named(desk, name)


def _invite(desk: "LabelDesk", name: str, options: dict[str, Any]) -> tuple[str, datetime]:
    """Return a one-time link's secret for a rater, new or known, and when it ends."""
    from crossgrade.store import Rater, utc_now

    ends_at = utc_now() + timedelta(days=options["days"])
    known = next((each for each in desk.raters() if each.name == name), None)
    if known is not None:
        return desk.invite_again(known, ends_at), ends_at
    is_owner = name == _OWNER
    quota = None if is_owner else options["quota"]
    rater = Rater(subject=desk.draw.subject, name=name, ends_at=ends_at, quota=quota, is_owner=is_owner)
    return desk.invite(rater), ends_at


def _serve(desk: "LabelDesk", options: dict[str, Any], *, as_json: bool) -> None:
    """Serve the page until Ctrl-C; what was done is saved at once."""
    from crossgrade.cli._loopback import listen, serve_app
    from crossgrade.ui import label_app

    with listen(options["port"]) as socket, suppress(KeyboardInterrupt):
        port = socket.getsockname()[1]
        app = label_app(desk, hosts={f"127.0.0.1:{port}", f"localhost:{port}"})
        serve_app(app, socket, on_start=partial(_show_links, desk, port, options, as_json=as_json))
    note(f"{desk.done():,} of {_in_all(desk)} items are done; the same command goes on", code="label-stopped")


def _show_links(desk: "LabelDesk", port: int, options: dict[str, Any], *, as_json: bool) -> None:
    """Print the links of the owner and of the raters, and open the owner's in the browser."""
    from crossgrade.cli._loopback import show_in_browser
    from crossgrade.ui import entry_path

    links: list[_Link] = []
    for name in dict.fromkeys((_OWNER, *options["raters"])):
        secret, ends_at = _invite(desk, name, options)
        links.append(_Link(name, f"http://127.0.0.1:{port}{entry_path(secret)}", ends_at))
    if as_json:
        given = [each._asdict() for each in links]
        print_json({"port": port, "links": given}, schema_version=SCHEMA_VERSION)
    else:
        rows = [[each.rater, each.link, f"{each.ends_at:%Y-%m-%d %H:%M} UTC"] for each in links]
        print_table(["rater", "link", "ends"], rows)
    sys.stdout.flush()
    note("each link works once. Ctrl-C stops the page; the labels are saved", code="label-page")
    if not options["no_browser"]:
        show_in_browser(links[0].link)


def _in_all(of: "LabelDesk | LabelProgress") -> str:
    """Return how many items are labelled in all: `about 200` while a pilot is."""
    return f"{'about ' if of.undrawn else ''}{of.drawn + of.undrawn:,}"


def _print_status(desk: "LabelDesk", *, as_json: bool) -> None:
    standing = desk.standing()
    if as_json:
        tree = {name: getattr(standing, name) for name in standing.__slots__ if name != "draw"}
        # The seed of a live draw tells which answer is the candidate's.
        fields = (
            "id",
            "kind",
            "scale",
            *(() if standing.draw.kind == "live" else ("seed",)),
            "settings",
            "at",
        )
        tree["draw"] = {name: getattr(standing.draw, name) for name in fields}
        tree["finished"] = standing.is_finished
        print_json(tree, schema_version=SCHEMA_VERSION)
        return
    click.echo(
        f"{standing.labelled:,} labelled, {standing.skipped:,} skipped, {standing.left + standing.undrawn:,} "
        f"left of {_in_all(standing)}, {standing.hours:.1f} h"
    )
    for bound in standing.bounds:
        click.echo(f"{bound.candidate}: {bound.words}")
    if standing.agreement is not None:
        click.echo(f"agreement: {standing.agreement.words}")
    if standing.doubled:
        click.echo(f"{standing.doubled:,} items were labelled by more raters than planned; all of it counts")
    rows = [
        [each.rater.name, each.labelled, each.skipped, each.left, each.state, each.warning]
        for each in standing.raters
    ]
    if rows:
        click.echo()
        numbers = ("labelled", "skipped", "left")
        print_table(["rater", *numbers, "state", "remark"], rows, right=numbers)
