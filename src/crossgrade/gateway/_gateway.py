"""The entrance of a worker: it passes each request to a page or to an exchange."""

import os
from functools import partial

from crossgrade.errors import AccessError
from crossgrade.gateway._context import WorkerContext
from crossgrade.gateway._earlier import Turn
from crossgrade.gateway._exchange import Exchange
from crossgrade.gateway._head import Endpoint, Request, locate
from crossgrade.gateway._large import MOST_SPOOLED_BYTES, LargePayload, Spool
from crossgrade.gateway._messages import RequestRecord
from crossgrade.gateway._pages import Pages
from crossgrade.gateway._payload import ParsedPayload, read_payload
from crossgrade.gateway._problems import INTERNAL_ERROR, Problem, access_problem
from crossgrade.gateway._server import ClientConnection
from crossgrade.gateway._who import LOCAL, Callers
from crossgrade.gateway.settings import GatewaySettings
from crossgrade.identity import Principal, UnknownSignerError

_MOST_REFUSALS = 200
"""The number of early refusals recorded per second. A flood of them must not displace other records."""


class Gateway:
    """Answers the requests of one worker."""

    def __init__(self, context: WorkerContext, settings: GatewaySettings) -> None:
        serving = settings.serving
        self.context = context
        self.callers = Callers(serving, context.broker, self.handle)
        self._pages = Pages(context)
        self._parsed_bytes = serving.body_parse_bytes
        self._spool = Spool(settings.state, max(MOST_SPOOLED_BYTES, 2 * serving.body_max_bytes))
        self._life = os.urandom(6).hex()
        self._count = 0
        self._refusals = (0, 0)

    def next_id(self) -> str:
        """Return a new request id."""
        self._count += 1
        return f"req-{self._life}{self._count:08x}"

    def handle(self, client: ClientConnection, request: Request) -> None:
        """Answer a request that is complete, or whose body is too large to wait for.

        An internal error ends this one request, with status 500, and no other.
        """
        try:
            self._handle(client, request)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next request must be served
            self._failed(client, error)

    def _failed(self, client: ClientConnection, error: Exception) -> None:
        context = {"message": "a request could not be handled", "exception": error}
        self.context.loop.call_exception_handler(context)
        client.refuse(INTERNAL_ERROR)

    def _handle(self, client: ClientConnection, request: Request) -> None:
        place = locate(request.target)
        if isinstance(place, Problem):
            client.refuse(place)
            return
        endpoint, path_route = place
        if request.method != endpoint.method:
            client.refuse(_wrong_method(endpoint))
            return
        context = self.context
        try:
            now: float = context.wall()
            principal = self._principal(client, request.headers, now) if endpoint.needs_key else LOCAL
        except AccessError as error:
            if (
                request.waited
                or not isinstance(error, UnknownSignerError)
                or not self.callers.hold(client, request, error.issuer)
            ):
                if client.caller is None:
                    request.keep_alive = False
                client.refuse(access_problem(error))
            return
        if endpoint.client is None:
            self._pages.answer(
                client, request, endpoint=endpoint, principal=principal, request_id=self.next_id()
            )
            return
        exchange = Exchange(
            context,
            client,
            request,
            endpoint=endpoint,
            principal=principal,
            request_id=self.next_id(),
            at=now,
        )
        parts = request.parts
        if not request.complete or request.size > self._parsed_bytes:
            large = LargePayload(
                exchange,
                client,
                request,
                endpoint=endpoint,
                path_route=path_route,
                spool=self._spool,
                is_inscribed=context.is_inscribed,
            )
            exchange.payload = large
            large.take()
            return
        payload = read_payload(endpoint, parts[0] if len(parts) == 1 else b"".join(parts))
        if isinstance(payload, Problem):
            exchange.refuse(payload)
        elif context.earlier is not None and endpoint.name == "responses":
            ready = partial(self._resolved, exchange, path_route)
            context.earlier.resolve(payload, principal, ready)
        else:
            exchange.begin(payload, path_route)

    def _resolved(
        self, exchange: Exchange, path_route: str | None, payload: ParsedPayload | Problem, turn: Turn | None
    ) -> None:
        """Begin a request whose references to earlier responses are resolved."""
        if exchange.done:
            return
        exchange.turn = turn
        try:
            if isinstance(payload, Problem):
                exchange.refuse(payload)
            else:
                exchange.begin(payload, path_route)
        except Exception as error:  # noqa: BLE001  # as in `handle`
            self._failed(exchange.client, error)

    def handle_health(self, client: ClientConnection, request: Request) -> None:
        """Answer a request on the port for health checks, which has no other path."""
        place = locate(request.target)
        if not isinstance(place, Problem) and place[0].needs_key:
            place = Problem(status=404, message="This port is for health checks.", code="unknown_path")
        if isinstance(place, Problem):
            client.refuse(place)
        else:
            self.handle(client, request)

    def vet(self, client: ClientConnection, request: Request) -> Problem | None:
        """Return why a request will be refused whatever its body contains, so that no more of it is kept.

        None if nothing in its head is a reason to refuse it.
        """
        place = locate(request.target)
        if isinstance(place, Problem):
            return place
        endpoint = place[0]
        if request.method != endpoint.method:
            return _wrong_method(endpoint)
        if not endpoint.needs_key:
            return Problem(status=413, message="This path takes no body.", code="request_too_large")
        try:
            self._principal(client, request.headers, self.context.wall())
        except AccessError as error:
            if isinstance(error, UnknownSignerError):
                self.callers.fetch(error.issuer)
            return access_problem(error)
        return None

    def _principal(self, client: ClientConnection, headers: dict[bytes, bytes], now: float) -> Principal:
        """Return the caller; raises AccessError.

        A kept connection that repeats its head has the very same `headers`. Its key is then looked up once a
        second.
        """
        caller = client.caller
        if caller is not None and caller[0] is headers and caller[2] is self.callers.keys and now < caller[3]:
            return caller[4]
        return self.callers.find(client, headers, now)

    def refused(self, request: Request | None, problem: Problem) -> str:
        """Record a refusal that came before there was an exchange, and return its request id."""
        request_id = self.next_id()
        context = self.context
        if request is not None and problem.status in {401, 403}:
            self._enter_stranger(request, request_id, problem)
        second, count = self._refusals
        now = int(context.now())
        self._refusals = (now, count + 1 if second == now else 1)
        if self._refusals[1] > _MOST_REFUSALS:
            context.metrics.add("crossgrade.gateway.dropped", "refusal")
            return request_id
        context.broker.record(
            RequestRecord(
                id=request_id,
                at=context.wall(),
                worker=context.worker,
                operation="none" if request is None else _operation_of(request.target),
                status=problem.status,
                error=problem.code,
                body_bytes=0 if request is None else request.size,
            )
        )
        return request_id

    def _enter_stranger(self, request: Request, request_id: str, problem: Problem) -> None:
        """Enter that an unknown caller was refused, if the request may have been for a gated route."""
        place = locate(request.target)
        if isinstance(place, Problem) or place[0].client is None:
            return
        endpoint, route = place
        context = self.context
        if context.routes.is_gate_inscribed(route):
            context.inscriber.refused_stranger(request_id, context.wall(), route, endpoint.name, problem)


def _wrong_method(endpoint: Endpoint) -> Problem:
    message = f"This path takes {endpoint.method.decode()} only."
    return Problem(status=405, message=message, code="method_not_allowed")


def _operation_of(target: bytes) -> str:
    """Return the name of the endpoint that a request asked for, `none` if there is no such path."""
    place = locate(target)
    return "none" if isinstance(place, Problem) else place[0].name
