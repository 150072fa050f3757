"""The worker's request handling: from a request on a connection to a page or an exchange."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from crossgrade.errors import AccessError
from crossgrade.gateway._admission import LOCAL, loopback_problem, token_of
from crossgrade.gateway._answers import Problem, access_problem
from crossgrade.gateway._breaker import RetryBudget
from crossgrade.gateway._exchange import Exchange
from crossgrade.gateway._head import Endpoint, Request, locate
from crossgrade.gateway._large import MOST_SPOOLED_BYTES, LargePayload, Spool
from crossgrade.gateway._limits import LimitRefusal, Limits
from crossgrade.gateway._messages import RequestRecord
from crossgrade.gateway._metrics import Metrics
from crossgrade.gateway._pages import Pages
from crossgrade.gateway._payload import read_payload
from crossgrade.gateway._permit import Permit
from crossgrade.gateway._record import blank_record
from crossgrade.gateway._routes import ServedRoute, ServedRoutes
from crossgrade.gateway._server import ClientConnection
from crossgrade.gateway._shadow import Copy, Shadows
from crossgrade.gateway._signers import Signers
from crossgrade.gateway._targets import TargetState
from crossgrade.gateway.settings import GatewaySettings
from crossgrade.identity import (
    Keyring,
    Principal,
    TokenVerifier,
    UnknownSignerError,
    authenticate,
    check_route,
)

_KEY_PREFIX = b"sk-cg-"
_MOST_PERMITS = 20_000
_REMEMBERED_S = 1.0
_MOST_REFUSALS = 200
"""So many requests of nobody known are recorded in a second: a flood must not push others' records out."""


class Recorder(Protocol):
    """Where records go, and who fetches keys of issuers: the keeper."""

    def record(self, record: RequestRecord) -> None:
        """Take a request record."""

    def fetch_keys(self, issuer: str, on_done: Callable[[], None]) -> None:
        """Have an issuer's keys fetched again."""


class Gateway:
    """What one worker's requests share; `routes`, `keys` and `tokens` are swapped when they change.

    `look` sees to it that what has changed is taken up now.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: GatewaySettings,
        targets: Mapping[str, TargetState],
        *,
        limits: Limits,
        keeper: Recorder,
        pages: Pages,
        shadows: Shadows,
        metrics: Metrics,
        worker: int = 0,
    ) -> None:
        self.loop = loop
        self.now = time.monotonic
        self.wall = time.time
        self.worker = worker
        self.serving = settings.serving
        self.log_prompts = settings.serving.log_prompts
        self.specs = settings.routes
        self.targets = targets
        self.routes = ServedRoutes(settings.routes, targets)
        self.keys = Keyring()
        issuers = settings.serving.issuers
        self.tokens = TokenVerifier(issuers, {}) if issuers else None
        self._signers = Signers(self)
        self.look: Callable[[], None] = lambda: None
        self.limits = limits
        self.retries = RetryBudget()
        self.shadows = shadows
        self._metrics = metrics
        self._keeper = keeper
        self._pages = pages
        self.is_ready = False
        self._spool = Spool(settings.state, max(MOST_SPOOLED_BYTES, 2 * settings.serving.body_max_bytes))
        self._life = os.urandom(6).hex()
        self._count = 0
        self._refusals = (0, 0)
        self._permits: dict[tuple[str, str], Permit] = {}

    def next_id(self) -> str:
        """Return a fresh request id."""
        self._count += 1
        return f"req-{self._life}{self._count:08x}"

    def handle(self, client: ClientConnection, request: Request) -> None:
        """Answer a request that is whole, or whose body is too large to wait for.

        A fault of the gateway's own ends this one request, with a 500, and nothing else.
        """
        try:
            self._handle(client, request)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next request must be served
            context = {"message": "a request could not be handled", "exception": error}
            self.loop.call_exception_handler(context)
            message = "The gateway failed: its log says why."
            client.refuse(Problem(status=500, message=message, code="internal_error"))

    def _handle(self, client: ClientConnection, request: Request) -> None:
        found = locate(request.target)
        if isinstance(found, Problem):
            client.refuse(found)
            return
        endpoint, path_route = found
        if request.method != endpoint.method:
            client.refuse(_wrong_method(endpoint))
            return
        try:
            now: float = self.wall()
            principal = self._principal(client, request.headers, now) if endpoint.needs_key else LOCAL
        except AccessError as error:
            if (
                request.waited
                or not isinstance(error, UnknownSignerError)
                or not self._signers.hold(client, request, error.issuer)
            ):
                client.refuse(access_problem(error))
            return
        if endpoint.client is None:
            self._pages.answer(self, client, request, endpoint=endpoint, principal=principal)
            return
        exchange = Exchange(
            self, client, request, endpoint=endpoint, principal=principal, request_id=self.next_id(), at=now
        )
        parts = request.parts
        if not request.complete or request.size > self.serving.body_parse_bytes:
            large = LargePayload(
                exchange, client, request, endpoint=endpoint, path_route=path_route, spool=self._spool
            )
            exchange.payload = large
            large.take()
            return
        payload = read_payload(endpoint, parts[0] if len(parts) == 1 else b"".join(parts))
        if isinstance(payload, Problem):
            exchange.refuse(payload)
        else:
            exchange.begin(payload, path_route)

    def vet(self, client: ClientConnection, request: Request) -> Problem | None:
        """Return why a request will be refused whatever its body says, so that this need not be kept."""
        found = locate(request.target)
        if isinstance(found, Problem):
            return found
        endpoint = found[0]
        if request.method != endpoint.method:
            return _wrong_method(endpoint)
        if not endpoint.needs_key:
            return Problem(status=413, message="This path takes no body.", code="request_too_large")
        try:
            self._principal(client, request.headers, self.wall())
        except AccessError as error:
            if isinstance(error, UnknownSignerError):
                self._signers.ask(error.issuer)
            return access_problem(error)
        return None

    def _principal(self, client: ClientConnection, headers: dict[bytes, bytes], now: float) -> Principal:
        """Return who calls; raises AccessError. A kept connection's same key is looked up once a second."""
        caller = client.caller
        if caller is not None and (caller[2] is not self.keys or now >= caller[3]):
            caller = None
        if caller is not None and caller[0] is headers:  # the head that came again has the very same
            return caller[4]
        token = token_of(headers)
        if caller is not None and caller[1] == token:
            return caller[4]
        if self.serving.open_on_loopback and (token is None or not token.startswith(_KEY_PREFIX)):
            problem = loopback_problem(headers)
            if problem is not None:
                raise AccessError(problem.message, reason=problem.code, status=problem.status)
            return LOCAL
        principal = authenticate(token, keys=self.keys, tokens=self.tokens, now=now)
        client.caller = (headers, token, self.keys, now + _REMEMBERED_S, principal)
        return principal

    def fetch_keys(self, issuer: str, on_done: Callable[[], None]) -> None:
        """Have an issuer's keys fetched; `on_done` hears when what came of it is taken up."""

        def done() -> None:
            self.look()
            on_done()

        self._keeper.fetch_keys(issuer, done)

    def permit(self, principal: Principal, plan: ServedRoute) -> Permit:
        """Return what a caller has on a route; raises AccessError where it is closed to them."""
        key = (principal.id, plan.name)
        found = self._permits.get(key)
        if found is not None and found.principal is principal and found.plan is plan:
            return found
        let_in_by = self._check(principal, plan)
        counters = self.limits.resolve(principal, plan.name)
        if let_in_by is not plan:  # what is spent around a route is spent of the route's limits too
            counters = tuple(dict.fromkeys((*counters, *self.limits.resolve(principal, let_in_by.name))))
        if len(self._permits) >= _MOST_PERMITS:
            self._permits.clear()
        permit = self._permits[key] = Permit(principal, plan, counters, blank_record(self, principal, plan))
        return permit

    def _check(self, principal: Principal, plan: ServedRoute) -> ServedRoute:
        """Check a route and return it; of a target asked for by its own name, a route that uses it."""
        *others, last = self.routes.around(plan) or (plan,)
        for each in others:
            with suppress(AccessError):
                check_route(principal, each.spec)
                return each
        check_route(principal, last.spec)
        return last

    def allowed(self, principal: Principal, plan: ServedRoute) -> bool:
        """Tell whether a caller may use a route."""
        try:
            self._check(principal, plan)
        except AccessError:
            return False
        return True

    def limit_refused(self, refusal: LimitRefusal) -> None:
        """Count what a limit refused."""
        self._metrics.add("crossgrade.gateway.refused", refusal.scope, refusal.unit)

    def answered(self, copy: Copy | None, record: RequestRecord) -> None:
        """Take the record of a request that is over, and the copy for its shadow."""
        self._keeper.record(record)
        if copy is not None:
            self.shadows.answered(copy, record)

    def refused(self, request: Request | None, problem: Problem) -> str:
        """Record an answer that was given before there was an exchange; return its request id."""
        request_id = self.next_id()
        second, count = self._refusals
        now = int(self.now())
        self._refusals = (now, count + 1 if second == now else 1)
        if self._refusals[1] > _MOST_REFUSALS:
            self._metrics.add("crossgrade.gateway.dropped", "refusal")
            return request_id
        record = RequestRecord(
            id=request_id,
            at=self.wall(),
            worker=self.worker,
            operation="none" if request is None else operation_of(request.target),
            status=problem.status,
            error=problem.code,
            body_bytes=0 if request is None else request.size,
        )
        self._keeper.record(record)
        return request_id


def _wrong_method(endpoint: Endpoint) -> Problem:
    message = f"This path takes {endpoint.method.decode()} only."
    return Problem(status=405, message=message, code="method_not_allowed")


def operation_of(target: bytes) -> str:
    """Return the name of the endpoint that a request asked for."""
    found = locate(target)
    return "none" if isinstance(found, Problem) else found[0].name
