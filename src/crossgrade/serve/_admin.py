"""The admin API: state of the gateway, routes, keys, feedback; JSON in closed schemas, one bearer key.

No cookie and no form is ever read, so no web page can make an authorised request.
"""

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Path
from starlette.types import ASGIApp, Receive, Scope, Send

from crossgrade import __version__
from crossgrade.domain import keys_once
from crossgrade.errors import CrossgradeError, UsageError
from crossgrade.gateway import ADMIN, GatewaySettings, Outcome
from crossgrade.identity import KeyLimit, KeyRecord, KeyScope, NewKey
from crossgrade.project import Project, RouteState
from crossgrade.routing import RouteTable, route_table_digest
from crossgrade.serve._contact import report, survey
from crossgrade.store import CompatibilityRecord

MOST_BYTES = 65_536
_T = TypeVar("_T")
_Answer: TypeAlias = Callable[[Request], Awaitable[Response]]
_Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
_Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class _Body(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Every request body: an object without unknown fields."""


class NewKeyBody(_Body):
    """A key to create; without `valid_days` it does not expire."""

    name: _Name
    valid_days: Annotated[int, msgspec.Meta(ge=1, le=3650)] | None = None
    team: str = ""
    tier: str = ""
    routes: tuple[str, ...] = ()
    limits: tuple[KeyLimit, ...] = ()
    segment: _Text | None = None
    tenant: _Text | None = None
    scope: KeyScope = "calls"


class RotationBody(_Body):
    """How long the previous secret stays valid, in seconds."""

    overlap_s: Annotated[int, msgspec.Meta(ge=0, le=30 * 86_400)] = 86_400


class FeedbackBody(_Body):
    """The quality of a response: `value` in [0, 1], where 0 is worthless."""

    response_id: _Text
    name: _Name
    value: Annotated[float, msgspec.Meta(ge=0, le=1)]


def build_admin(project: Project, settings: GatewaySettings, key: str) -> ASGIApp:
    """Return the ASGI app; callers send `key` as `Authorization: Bearer`."""
    admin = _Admin(project, settings)
    app = Starlette(
        routes=[
            Path("/status", _plainly(admin.status)),
            Path("/routes", _plainly(admin.routes)),
            Path("/routes/{name}/promote", _plainly(admin.promote), methods=["POST"]),
            Path("/routes/{name}/abort", _plainly(admin.abort), methods=["POST"]),
            Path("/keys", _plainly(admin.keys)),
            Path("/keys", _plainly(admin.create_key), methods=["POST"]),
            Path("/keys/{key}/rotate", _plainly(admin.rotate_key), methods=["POST"]),
            Path("/keys/{key}", _plainly(admin.revoke_key), methods=["DELETE"]),
            Path("/feedback", _plainly(admin.feedback), methods=["POST"]),
        ],
        exception_handlers={HTTPException: _no_such_call},
    )
    app.router.redirect_slashes = False
    return _Gate(app, key)


class _Gate:
    """Authorises callers with the key, before anything else, so that others learn nothing."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        keys = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(keys) == 1 and hmac.compare_digest(keys[0], self._expected):
            await self._app(scope, receive, send)
        else:
            await _error(401, "the admin key is missing or wrong", "admin-key-wrong")(scope, receive, send)


class _Admin:
    """The handlers; blocking work runs in a thread."""

    def __init__(self, project: Project, settings: GatewaySettings) -> None:
        self._project = project
        self._settings = settings

    async def status(self, _request: Request) -> Response:
        state = await survey(self._settings.broker)
        table = await run_in_threadpool(self._project.store.routes.current)
        return _json({"version": __version__, "table": _table(table), **state})

    async def routes(self, _request: Request) -> Response:
        states = await run_in_threadpool(self._project.routing.states)
        records = await run_in_threadpool(self._project.live.newest, self._project.config.offers.values())
        now = datetime.now(UTC)
        return _json({"routes": [_route(state, now, records) for state in states]})

    async def promote(self, request: Request) -> Response:
        name = request.path_params["name"]
        return _json({"table": _table(await run_in_threadpool(self._project.routing.promote, name))})

    async def abort(self, request: Request) -> Response:
        name = request.path_params["name"]
        return _json({"table": _table(await run_in_threadpool(self._project.routing.abort, name))})

    async def keys(self, _request: Request) -> Response:
        records = await run_in_threadpool(self._project.store.keys.records)
        now = datetime.now(UTC)
        return _json({"keys": [_key(record, now) for record in records]})

    async def create_key(self, request: Request) -> Response:
        body = await _read(request, NewKeyBody)
        days = body.valid_days
        made = await run_in_threadpool(
            self._project.store.keys.create,
            body.name,
            expires_at=None if days is None else datetime.now(UTC) + timedelta(days=days),
            team=body.team,
            tier=body.tier,
            routes=body.routes,
            limits=body.limits,
            segment=body.segment,
            tenant=body.tenant,
            scope=body.scope,
        )
        return _json(_made(made), status=201)

    async def rotate_key(self, request: Request) -> Response:
        body = await _read(request, RotationBody)
        overlap = timedelta(seconds=body.overlap_s)
        rotate = self._project.store.keys.rotate
        return _json(_made(await run_in_threadpool(rotate, request.path_params["key"], overlap=overlap)))

    async def revoke_key(self, request: Request) -> Response:
        record = await run_in_threadpool(self._project.store.keys.revoke, request.path_params["key"])
        return _json(_key(record, datetime.now(UTC)))

    async def feedback(self, request: Request) -> Response:
        body = await _read(request, FeedbackBody)
        now = datetime.now(UTC).timestamp()
        outcome = Outcome(response_id=body.response_id, name=body.name, value=body.value, at=now, key=ADMIN)
        await report(self._settings.broker, outcome)
        return _json({"kept": True}, status=201)


def _plainly(handler: _Answer) -> _Answer:
    """Turn our errors into answers that say what to do."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except CrossgradeError as error:
            return _error(error.http_status, error.message, error.code, error.hint)

    return answer


async def _read(request: Request, kind: type[_T]) -> _T:
    """Read a JSON body in a closed schema; raises UsageError."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_BYTES:
            raise UsageError(f"the body is larger than {MOST_BYTES} bytes", code="body-too-large")
    try:
        body = msgspec.json.decode(bytes(data) or b"{}", type=kind)
        json.loads(data or b"{}", object_pairs_hook=keys_once)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UsageError(
            f"the body cannot be used: {error}", code="body-invalid", hint="correct the field that is named"
        ) from None

    return body


async def _no_such_call(_request: Request, error: Exception) -> Response:
    """Say in JSON that there is no such path, or that it does not take the method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return _error(405, "this path does not take the method", "method-not-allowed")
    return _error(error.status_code, "there is no such path", "path-unknown")


def _table(table: RouteTable | None) -> dict[str, Any] | None:
    return None if table is None else {"version": table.version, "digest": route_table_digest(table)}


def _route(state: RouteState, now: datetime, records: Mapping[str, CompatibilityRecord]) -> dict[str, Any]:
    route = state.route
    incumbent = route.policy.incumbent if route else state.spec.incumbent if state.spec else None
    candidate = route.policy.candidate if route else None
    asked = {name: records.get(name) for name in (incumbent, candidate) if name is not None}
    return {
        "name": state.name,
        "status": state.status(now),
        "incumbent": incumbent,
        "incumbent_ends_on": None if state.succession is None else state.succession.ends_on,
        "successor": state.spec.successor if state.spec else None,
        "candidate": candidate,
        "policy": route.policy.kind if route else "keep",
        "share": route.share if route else None,
        "valid_until": route.valid_until if route else None,
        "verdict_id": route.verdict_id if route else None,
        "records": {name: None if each is None else _record(each) for name, each in asked.items()},
    }


def _record(record: CompatibilityRecord) -> dict[str, Any]:
    return {"at": record.at, "checks": {each.name: each.status for each in record.checks}}


def _key(record: KeyRecord, now: datetime) -> dict[str, Any]:
    fields = (
        "id",
        "name",
        "created_at",
        "expires_at",
        "revoked_at",
        "team",
        "tier",
        "scope",
        "routes",
        "limits",
    )
    shown = {name: getattr(record, name) for name in fields}
    return {**shown, "segment": record.segment, "tenant": record.tenant, "status": record.status(now)}


def _made(key: NewKey) -> dict[str, Any]:
    return {"id": key.id, "key": key.text}


def _json(data: dict[str, Any], *, status: int = 200) -> Response:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    content = msgspec.json.encode({"schema_version": 1, **data})
    return Response(content, status, headers, media_type="application/json")


def _error(status: int, message: str, code: str, hint: str | None = None) -> Response:
    return _json({"error": {"code": code, "message": message, "hint": hint}}, status=status)
