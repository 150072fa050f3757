"""What the gateway answers by itself: models, health, metrics, feedback."""

from collections.abc import Callable
from typing import Annotated, Protocol

import msgspec

from crossgrade.gateway._answers import JSON_TYPE, Problem, bad_request
from crossgrade.gateway._delivery import send_whole
from crossgrade.gateway._head import Endpoint, Request
from crossgrade.gateway._messages import DENIED, Outcome
from crossgrade.gateway._routes import ServedRoute, ServedRoutes
from crossgrade.gateway._server import ClientConnection
from crossgrade.identity import Principal, is_subject

_TEXT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_NO_STORE = b"cache-control: no-store\r\n"
_FEEDBACK_BYTES = 4096


class _Feedback(msgspec.Struct, forbid_unknown_fields=True):
    response_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    value: Annotated[float, msgspec.Meta(ge=0, le=1)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] = "score"


_FEEDBACK = msgspec.json.Decoder(_Feedback)


class Desk(Protocol):
    """The keeper, as the pages see it."""

    @property
    def connected(self) -> bool:
        """Whether the keeper is there."""

    def feedback(self, outcome: Outcome, on_done: Callable[[str | None], None]) -> None:
        """Hand feedback over."""

    def metrics_text(self, on_text: Callable[[str | None], None]) -> None:
        """Ask for the metrics of all workers."""


class PagesContext(Protocol):
    """The worker, as the pages see it."""

    routes: ServedRoutes
    is_ready: bool

    def wall(self) -> float:
        """Seconds since 1970."""

    def next_id(self) -> str:
        """Return a fresh request id."""

    def allowed(self, principal: Principal, plan: ServedRoute) -> bool:
        """Tell whether a caller may use a route."""


class Pages:
    """Answers the endpoints that call no model."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def answer(
        self,
        world: PagesContext,
        client: ClientConnection,
        request: Request,
        *,
        endpoint: Endpoint,
        principal: Principal,
    ) -> None:
        """Answer one request."""
        head = b"%bx-request-id: %b\r\n" % (_NO_STORE, world.next_id().encode())
        if endpoint.name == "liveliness":
            _send(client, 200, b'{"status":"alive"}', head)
        elif endpoint.name == "readiness":
            ready = world.is_ready
            _send(
                client,
                200 if ready else 503,
                b'{"status":"%b"}' % (b"ready" if ready else b"starting"),
                head,
            )
        elif endpoint.name == "models":
            _send(client, 200, _models(world, principal), head)
        elif endpoint.name == "feedback":
            self._feedback(world, client, request, principal, head)
        elif principal.routes or principal.tenant is not None or is_subject(principal.id):
            client.refuse(_NOT_THEIRS)
        else:
            _Later(client, head).metrics(self._desk)

    def _feedback(
        self,
        world: PagesContext,
        client: ClientConnection,
        request: Request,
        principal: Principal,
        head: bytes,
    ) -> None:
        body = b"".join(request.parts)
        if not request.complete or len(body) > _FEEDBACK_BYTES:
            client.refuse(bad_request(f"Feedback has at most {_FEEDBACK_BYTES} bytes.", "too_large"))
            return
        try:
            given = _FEEDBACK.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            wanted = 'Feedback is {"response_id": "…", "value": 0 to 1, "name": "…"}'
            client.refuse(bad_request(f"{wanted}: {str(error)[:200]}", "invalid_feedback"))
            return
        outcome = Outcome(
            response_id=given.response_id,
            name=given.name,
            value=given.value,
            at=world.wall(),
            key=principal.id,
            team=principal.team,
        )
        _Later(client, head).feedback(self._desk, outcome)


class _Later:
    """An answer for which the keeper is asked first; it is the connection's exchange meanwhile."""

    __slots__ = ("_client", "_gone", "_head")

    begun = False

    def __init__(self, client: ClientConnection, head: bytes) -> None:
        self._client = client
        self._head = head
        self._gone = False
        client.exchange = self

    def metrics(self, desk: Desk) -> None:
        desk.metrics_text(self._on_text)

    def feedback(self, desk: Desk, outcome: Outcome) -> None:
        desk.feedback(outcome, self._on_done)

    def _on_text(self, text: str | None) -> None:
        if self._gone:
            return
        if text is None:
            self._client.refuse(_away("The metrics cannot be read"))
        else:
            send_whole(self._client, 200, _TEXT_TYPE, text.encode(), self._head)

    def _on_done(self, problem: str | None) -> None:
        if self._gone:
            return
        if problem is None:
            _send(self._client, 202, b'{"status":"kept"}', self._head)
        elif problem == DENIED:
            self._client.refuse(_DENIED)
        else:
            self._client.refuse(_away("The feedback was not kept"))

    def client_gone(self) -> None:
        self._gone = True

    def client_paused(self) -> None:
        """Do nothing: what is written is small."""

    def client_resumed(self) -> None:
        """Do nothing: what is written is small."""


_NOT_THEIRS = Problem(
    status=403,
    message="Metrics are of all callers: they are for keys that are bound to no route and no tenant.",
    code="metrics_denied",
)
_DENIED = Problem(
    status=403,
    message="The response was given to another caller; its own key, or one of its team, may report on it.",
    code="feedback_denied",
)


def _away(what: str) -> Problem:
    message = f"{what}: the keeper is not there at the moment."
    return Problem(status=503, message=message, code="keeper_away", retry_after_s=1.0)


def _send(client: ClientConnection, status: int, body: bytes, head: bytes) -> None:
    send_whole(client, status, JSON_TYPE, body, head)


def _models(world: PagesContext, principal: Principal) -> bytes:
    """Return the list of what the caller may ask for, in OpenAI's shape (Anthropic's clients read it too)."""
    routes = world.routes
    rows = []
    for name in routes.names():
        plan = routes.find(None, name)
        if plan is not None and world.allowed(principal, plan):
            owner = "crossgrade" if plan not in routes.direct else plan.incumbent.target.provider
            rows.append({"id": name, "object": "model", "created": 0, "owned_by": owner})
    return msgspec.json.encode({"object": "list", "data": rows})
