"""`crossgrade keys`: who may use the gateway."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import note, print_json, print_table
from crossgrade.cli._params import ParamType, complete_route
from crossgrade.domain import WINDOWS_S

if TYPE_CHECKING:
    from crossgrade.identity import KeyLimit, KeyRecord, KeyScope, NewKey
    from crossgrade.project import Project

_SPAN_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class _Name(ParamType[str]):
    name = "name"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from crossgrade.config import NAME_WANTED, is_name

        text = str(value)
        if not is_name(text):
            self.fail(f"{text!r} is not a name: {NAME_WANTED}", param, ctx)
        return text


class _Span(ParamType[timedelta]):
    name = "span"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = re.fullmatch(r"(\d{1,6})([smhd])", str(value))
        if found is None and value != "0":
            self.fail(f"{value!r} is not a span such as 30m, 24h or 7d", param, ctx)
        return timedelta(0) if found is None else timedelta(seconds=int(found[1]) * _SPAN_S[found[2]])


class _Expiry(ParamType[datetime | None]):
    name = "when"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | None:
        now = datetime.now(UTC)
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            until = _day(value)
        elif value == "never":
            return None
        elif re.fullmatch(r"\d{1,6}[smhd]", str(value)):
            until = now + _Span().convert(value, param, ctx)
        else:
            until = None
        if until is None or until <= now:
            self.fail(f"{value!r} is not a day to come, a span such as 90d, or `never`", param, ctx)
        return until


class _Budget(ParamType[tuple[float, int]]):
    name = "usd/window"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, int]:
        found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)/(\w+)", str(value))
        if found is None or found[2] not in WINDOWS_S or not float(found[1]):
            windows = ", ".join(WINDOWS_S)
            self.fail(f"{value!r} is not dollars a window, such as 100/day ({windows})", param, ctx)
        return float(found[1]), WINDOWS_S[found[2]]


@click.group()
def command() -> None:
    """Make, list, rotate and revoke the gateway's keys."""


@command.command()
@click.argument("name", type=_Name())
@click.option("--team", type=_Name(), help="Team whose budgets count its requests.")
@click.option("--tier", type=_Name(), help="Tier, for routes that are not for all.")
@click.option(
    "--route",
    "routes",
    metavar="ROUTE",
    multiple=True,
    shell_complete=complete_route,
    help="Only this route; repeat for more.",
)
@click.option(
    "--expires",
    "until",
    type=_Expiry(),
    default="90d",
    show_default=True,
    help="A day (2027-01-31), a span (30m, 24h, 90d), or `never`.",
)
@click.option("--budget", type=_Budget(), help="Most dollars a window, such as 100/day.")
@click.option("--rpm", type=click.IntRange(1), metavar="N", help="Most requests a minute.")
@click.option("--tpm", type=click.IntRange(1), metavar="N", help="Most tokens a minute.")
@click.option("--parallel", type=click.IntRange(1), metavar="N", help="Most requests in flight.")
@click.option("--segment", help="Segment bound to the key: requests cannot say otherwise.")
@click.option("--tenant", help="Tenant bound to the key: requests cannot say otherwise.")
@click.option(
    "--scope",
    type=click.Choice(["calls", "metrics"]),
    default="calls",
    show_default=True,
    help="What the key is for: to call models, or to read /metrics.",
)
@config_option
@json_option
def create(
    name: str,
    *,
    team: str | None,
    tier: str | None,
    routes: tuple[str, ...],
    until: datetime | None,
    budget: tuple[float, int] | None,
    rpm: int | None,
    tpm: int | None,
    parallel: int | None,
    segment: str | None,
    tenant: str | None,
    scope: "KeyScope",
    config_path: str,
    as_json: bool,
) -> None:
    """Make a key and print it, once.

    Only a digest of it is kept: whoever loses a key gets a new one (`crossgrade keys rotate`).
    """
    with _project(config_path) as project:
        _check_routes(project, routes)
        key = project.store.keys.create(
            name,
            expires_at=until,
            team=team or "",
            tier=tier or "",
            routes=routes,
            limits=_limits(budget, rpm, tpm, parallel),
            segment=segment,
            tenant=tenant,
            scope=scope,
        )
        _show_new(key, project.store.keys.get(key.id), as_json=as_json)


@command.command(name="list")
@click.option("--all", "shows_all", is_flag=True, help="Expired and revoked keys too.")
@config_option
@json_option
def list_(config_path: str, *, shows_all: bool, as_json: bool) -> None:
    """List the keys, never their secrets."""
    now = datetime.now(UTC)
    with _project(config_path) as project:
        records = project.store.keys.records()
        project.store.keys.publish()  # what another machine changed, or somebody deleted
    rows = [_row(record, now) for record in records if shows_all or record.status(now) == "live"]
    if as_json:
        print_json({"keys": rows}, schema_version=1)
    elif rows:
        cells = [
            [", ".join(cell) if isinstance(cell, list) else cell or None for cell in row.values()]
            for row in rows
        ]
        print_table(list(rows[0]), cells)
    elif records:
        note("no live keys; `--all` also lists expired and revoked ones", code="no-live-keys")
    else:
        note("no keys yet: `crossgrade keys create NAME` makes one", code="no-keys")


@command.command()
@click.argument("key")
@click.option(
    "--overlap",
    type=_Span(),
    default="24h",
    show_default=True,
    help="How long the old secret stays valid, such as 30m, 24h or 7d; 0 revokes it at once.",
)
@config_option
@json_option
def rotate(key: str, overlap: timedelta, config_path: str, *, as_json: bool) -> None:
    """Give a KEY (its id or name) a new secret and print it, once.

    Id, limits and expiry stay, and so does what was spent.
    """
    with _project(config_path) as project:
        made = project.store.keys.rotate(key, overlap=overlap)
        _show_new(made, project.store.keys.get(made.id), as_json=as_json)


@command.command()
@click.argument("key")
@config_option
@json_option
def revoke(key: str, config_path: str, *, as_json: bool) -> None:
    """Revoke a KEY (its id or name) at once and permanently."""
    with _project(config_path) as project:
        record = project.store.keys.revoke(key)
    if as_json:
        print_json({"key": _row(record, datetime.now(UTC))}, schema_version=1)
    else:
        click.echo(f"revoked {record.id} ({record.name})")


def _project(config_path: str) -> "Project":
    from crossgrade.project import Project

    return Project.open(config_path)


def _check_routes(project: "Project", routes: tuple[str, ...]) -> None:
    from crossgrade.errors import NotFoundError, closest

    for name in routes:
        if name not in project.config.routes:
            known = ", ".join(project.config.routes) or "none"
            raise NotFoundError(
                f"there is no route `{name}` in {project.config.path}; there are: {known}"
                f"{closest(name, project.config.routes)}",
                code="route-unknown",
                hint="name one of them, or add it under `routes`",
            )


def _limits(
    budget: tuple[float, int] | None, rpm: int | None, tpm: int | None, parallel: int | None
) -> "tuple[KeyLimit, ...]":
    from crossgrade.identity import KeyLimit

    minute = WINDOWS_S["minute"]
    given: list[tuple[Any, float | None, int]] = [
        ("usd", *(budget or (None, 0))),
        ("requests", rpm, minute),
        ("tokens", tpm, minute),
        ("parallel", parallel, 0),
    ]
    return tuple(
        KeyLimit(unit=unit, cap=float(cap), window_s=window_s)
        for unit, cap, window_s in given
        if cap is not None
    )


def _show_new(key: "NewKey", record: "KeyRecord", *, as_json: bool) -> None:
    if as_json:
        print_json({"secret": key.text, "key": _row(record, datetime.now(UTC))}, schema_version=1)
        return
    click.echo(key.text)
    note(
        f"key {key.id} ({record.name}) expires {_when(record.expires_at)}. "
        "Save it now; it will not be shown again.",
        code="key-shown-once",
    )


def _row(record: "KeyRecord", now: datetime) -> dict[str, Any]:
    return {
        "key": record.id,
        "name": record.name,
        "status": record.status(now),
        "team": record.team or None,
        "tier": record.tier or None,
        "scope": record.scope,
        "routes": list(record.routes),
        "limits": [_limit_words(limit) for limit in record.limits],
        "created": record.created_at.date().isoformat(),
        "expires": "never" if record.expires_at is None else record.expires_at.isoformat(timespec="seconds"),
    }


def _when(moment: datetime | None) -> str:
    return "never" if moment is None else moment.isoformat(timespec="minutes")


def _limit_words(limit: "KeyLimit") -> str:
    if limit.unit == "parallel":
        return f"{limit.cap:g} parallel"
    window = next(name for name, length in WINDOWS_S.items() if length == limit.window_s)
    return f"${limit.cap:g}/{window}" if limit.unit == "usd" else f"{limit.cap:g} {limit.unit}/{window}"


def _day(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None
