"""What the gateway answers without a model: models, health, metrics, feedback."""

from typing import Annotated

import msgspec

from crossgrade.gateway._answers import JSON_TYPE
from crossgrade.gateway._broker import BrokerLink
from crossgrade.gateway._context import WorkerContext
from crossgrade.gateway._delivery import send_whole
from crossgrade.gateway._head import Endpoint, Request
from crossgrade.gateway._messages import DENIED, UNKNOWN_RESPONSE, Outcome
from crossgrade.gateway._problems import Problem, bad_request
from crossgrade.gateway._server import ClientConnection
from crossgrade.gateway._who import LOCAL
from crossgrade.identity import Principal

_TEXT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_NO_STORE = b"cache-control: no-store\r\n"
_FEEDBACK_BYTES = 4096


class _Feedback(msgspec.Struct, forbid_unknown_fields=True):
    response_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    value: Annotated[float, msgspec.Meta(ge=0, le=1)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] = "score"


_FEEDBACK = msgspec.json.Decoder(_Feedback)


class Pages:
    """Answers the endpoints that call no model."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context

    def answer(
        self,
        client: ClientConnection,
        request: Request,
        *,
        endpoint: Endpoint,
        principal: Principal,
        request_id: str,
    ) -> None:
        """Answer one request."""
        head = b"%bx-request-id: %b\r\n" % (_NO_STORE, request_id.encode())
        if endpoint.name == "liveliness":
            _send(client, 200, b'{"status":"alive"}', head)
        elif endpoint.name == "readiness":
            ready = self._context.is_ready
            _send(
                client,
                200 if ready else 503,
                b'{"status":"%b"}' % (b"ready" if ready else b"starting"),
                head,
            )
        elif endpoint.name == "models":
            _send(client, 200, self._models(principal), head)
        elif endpoint.name == "metrics":
            if principal.scope == "metrics" or principal is LOCAL:
                _BrokerAnswer(client, head).metrics(self._context.broker)
            else:
                client.refuse(_NOT_THEIRS)
        elif principal.scope != "calls":
            client.refuse(_METRICS_ONLY)
        else:
            self._feedback(client, request, principal, head)

    def _feedback(
        self,
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
            feedback = _FEEDBACK.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            expected = 'Feedback is {"response_id": "…", "value": 0 to 1, "name": "…"}'
            client.refuse(bad_request(f"{expected}: {str(error)[:200]}", "invalid_feedback"))
            return
        outcome = Outcome(
            response_id=feedback.response_id,
            name=feedback.name,
            value=feedback.value,
            at=self._context.wall(),
            key=principal.id,
            team=principal.team,
        )
        _BrokerAnswer(client, head).feedback(self._context.broker, outcome)

    def _models(self, principal: Principal) -> bytes:
        """Return the models that the caller may use, in OpenAI's shape. Anthropic's clients read it too."""
        context, rows = self._context, []
        for name in context.routes.names():
            route = context.routes.find(None, name)
            if route is not None and context.may_use(principal, route):
                is_direct = route in context.routes.direct
                owner = route.incumbent.target.provider if is_direct else "crossgrade"
                rows.append({"id": name, "object": "model", "created": 0, "owned_by": owner})
        return msgspec.json.encode({"object": "list", "data": rows})


class _BrokerAnswer:
    """An answer that the broker is asked for. Meanwhile it is the connection's exchange."""

    __slots__ = ("_client", "_gone", "_head")

    begun = False

    def __init__(self, client: ClientConnection, head: bytes) -> None:
        self._client = client
        self._head = head
        self._gone = False
        client.exchange = self

    def metrics(self, broker: BrokerLink) -> None:
        broker.metrics_text(self._on_text)

    def feedback(self, broker: BrokerLink, outcome: Outcome) -> None:
        broker.feedback(outcome, self._on_done)

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
        elif problem in _REFUSED:
            self._client.refuse(_REFUSED[problem])
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
    message="Metrics are of all callers: they are for keys of the scope `metrics`.",
    code="metrics_denied",
)
_METRICS_ONLY = Problem(status=403, message="This key is for metrics only.", code="scope_denied")
_REFUSED = {
    DENIED: Problem(
        status=403,
        message="The response is another caller's: only its key, or one of its team, may report on it.",
        code="feedback_denied",
    ),
    UNKNOWN_RESPONSE: Problem(
        status=404,
        message="No response of this gateway has this id: send the `id` of an answer, or its `x-request-id`.",
        code="response_not_found",
    ),
}


def _away(what: str) -> Problem:
    message = f"{what}: the broker does not answer at the moment."
    return Problem(status=503, message=message, code="keeper_away", retry_after_s=1.0)


def _send(client: ClientConnection, status: int, body: bytes, head: bytes) -> None:
    send_whole(client, status, JSON_TYPE, body, head)
