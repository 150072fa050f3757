"""One request from its route to its record: limits, attempts, answer, cost."""

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec

from crossgrade.errors import AccessError, BadRequestError, ContextTooLongError, ProviderError, UpstreamError
from crossgrade.gateway._answers import (
    JSON_TYPE,
    STREAM_TYPE,
    ErrorRelay,
    InflatingRelay,
    Pieces,
    Relay,
    StreamRelay,
    WholeRelay,
    inflating,
    pass_whole,
    whole,
)
from crossgrade.gateway._context import WorkerContext
from crossgrade.gateway._delivery import Delivery, send_whole
from crossgrade.gateway._earlier import Turn
from crossgrade.gateway._head import Endpoint, Request, sent_on
from crossgrade.gateway._inscription import Inscription
from crossgrade.gateway._leases import LimitRefusal
from crossgrade.gateway._payload import Payload, may_be_by_body
from crossgrade.gateway._problems import (
    Problem,
    access_problem,
    limit_problem,
    problem_event,
    unknown_model,
)
from crossgrade.gateway._routes import Permit, ServedRoute
from crossgrade.gateway._runs import RunRoute
from crossgrade.gateway._server import ClientConnection
from crossgrade.gateway._settle import (
    NO_HEADERS,
    NOTHING,
    UNKNOWN,
    Charge,
    RequestState,
    Reservation,
    bill,
    record_of,
)
from crossgrade.gateway._shadow_copy import Copy
from crossgrade.gateway._targets import Attempts
from crossgrade.gateway._upstream import Taker, UpstreamConnection
from crossgrade.identity import Principal
from crossgrade.pricing import Tokens

_CLIENT_GONE = 499
_NOT_WHOLE = frozenset({"answer-compressed", "stream-broke-off"})


class Exchange(RequestState):
    """Answers one request. It is an `UpstreamCall`, an `Outlet` and an `Answering`."""

    copy: Copy | None = None
    turn: Turn | None = None
    inscription: Inscription | None = None
    _delivery: Delivery | None = None
    _connection: UpstreamConnection | None = None
    _relay: Relay | None = None
    _retry: asyncio.Handle | None = None
    _reservation: Reservation | None = None
    _status = 0

    def __init__(
        self,
        context: WorkerContext,
        client: ClientConnection,
        request: Request,
        *,
        endpoint: Endpoint,
        principal: Principal,
        request_id: str,
        at: float,
    ) -> None:
        self._context = context
        self.client = client
        self.request = request
        self.endpoint = endpoint
        self.principal = principal
        self.id = request_id
        self.at = at
        self.began = context.now()
        client.exchange = self

    # Route and limits.

    def begin(self, payload: Payload, path_route: str | None) -> None:
        """Find the route, reserve from the limits, and send the request."""
        self.payload = payload
        context = self._context
        route = context.routes.find_plain(path_route, payload.fields.model)
        if route is None:
            route = self._find_run(path_route, payload)
            if route is None:
                return
        self.route = route
        permit = route.permits.get(self.principal.id)
        if permit is None or permit.principal is not self.principal:
            permit = self._new_permit(route)
            if permit is None:
                return
        self.permit = permit
        payload.drops = route.spec.unsupported == "drop"
        targets = self.choose(route, payload, context.wall)
        if permit.gate is not None:
            admitted = self.admit(permit.gate, targets, context.wall())
            if isinstance(admitted, Problem):
                self._deny(admitted)
                return
            targets = admitted
        self.target = targets[0]
        self.attempts = Attempts(route.spec, targets, payload.size)
        route.retries.earn()
        if route.spec.shadow is not None:
            self.copy = context.shadows.pick(self)
        if permit.is_free:
            self._attempt()
        else:
            self._enter(permit, route)

    def _new_permit(self, route: ServedRoute) -> Permit | None:
        """Return a permit for the caller on the route; None if the request is refused."""
        try:
            return self._context.permit(self.principal, route)
        except AccessError as error:
            self._deny(access_problem(error))
            return None

    def _find_run(self, path_route: str | None, payload: Payload) -> RunRoute | None:
        """Return the route that keeps runs together which is asked for; None if refused or waiting."""
        routes, runs, model = self._context.routes, self._context.runs, payload.fields.model
        route = routes.find(path_route, model)
        if not isinstance(route, RunRoute):
            self.refuse(unknown_model(path_route, model))
            return None
        self.route = route
        if runs.knows(self, route, routes.version):
            return route
        if self._new_permit(route) is not None:
            runs.ask(self, route, routes.version, payload, partial(self.begin, payload, path_route))
        return None

    def _deny(self, problem: Problem) -> None:
        """Refuse a caller who may not use the route or any of its models, and enter that."""
        self._context.inscriber.refused(self, problem)
        self.refuse(problem)

    def _enter(self, permit: Permit, route: ServedRoute) -> None:
        """Reserve from the limits and enter the request into the ledger, as they apply, then send it."""
        go_on = self._attempt
        if route.ledger != "off":
            self.inscription = Inscription(self._context.inscriber, self)
            go_on = partial(self.inscription.begin, self._attempt, self._held_back)
        if permit.counters:
            self._reservation = Reservation(self._context.limits, permit, self, self._held_back)
            self._reservation.begin(go_on)
        else:
            go_on()

    def reserve_rest(self, go_on: Callable[[], None]) -> None:
        """Reserve what the end of a body asks for beyond what its beginning did, then go on."""
        if self._reservation is None:
            go_on()
        else:
            self._reservation.extend(go_on)

    def _held_back(self, reason: LimitRefusal | Problem) -> None:
        """Refuse the request because of a limit."""
        if isinstance(reason, LimitRefusal):
            self._context.count_refusal(reason)
            reason = limit_problem(reason)
            if self.inscription is not None and not self.inscription.is_begun:
                self._context.inscriber.refused(self, reason)
        if not self.done:
            self._let_go()
            self.refuse(reason)

    def fail_body(self, problem: Problem) -> None:
        """Refuse the request because of its body."""
        if not self.done:
            self._let_go()
            self.refuse(problem, UNKNOWN if self.sent_at else NOTHING)

    # Attempts.

    def _attempt(self) -> None:
        """Send the request to the next target that accepts it."""
        context, attempts, payload = self._context, self.attempts, self.payload
        assert attempts is not None
        assert payload is not None
        assert self.route is not None
        self._retry = None
        now = context.now()
        target = attempts.next(now)
        if target is None:
            self.refuse(attempts.unavailable(now))
            return
        if target is not self.target:
            if self.target is None or target.offer != self.target.offer:
                self.reason = "fallback"
            self.target = target
        if attempts.count > 1 and self.copy is not None:
            self.copy.restart()
        if target.forbidden and (problem := payload.forbidden(target)) is not None:
            self.refuse(problem)
            return
        pool = target.pool
        pool.start(self, fresh=payload.one_shot or (self.route.is_single and pool.is_stale))

    def _try_on(self, error: ProviderError, charge: Charge, *, answered: bool, by_body: bool) -> bool:
        """Arrange another attempt after a failure, if one is allowed and can help; return whether it is.

        What the failed one cost counts if the head of an answer had come.
        """
        if self.attempts is None or self.route is None or not self._is_repeatable:
            return False
        pause_s = self.attempts.pause_s(error, self._context.now())
        if pause_s is None:
            return False
        # The request's own failure is no sign of an outage, which retries could make worse. Nor may it spend
        # what other callers need in one. Whether the body was the reason is a guess. If it is wrong, to ask
        # others once is harmless, but to ask the same target again (after a pause) is not.
        is_own = answered or isinstance(error, ContextTooLongError) or (by_body and not pause_s)
        if not is_own and not self.route.retries.spend():
            return False
        if self._status and charge is not NOTHING:
            self.wasted = self.whole_charge(charge)
            if self._reservation is not None:
                self._reservation.waste(charge)
        self._relay, self._status, self.sent_at = None, 0, 0.0  # nothing is known of the next one
        self._retry = self._context.loop.call_later(pause_s, self._attempt)
        return True

    # The provider's side: `UpstreamCall`.

    @property
    def _is_repeatable(self) -> bool:
        """Whether the request can be sent again."""
        return self.payload is not None and self.payload.repeatable and self._delivery is None

    def repeats(self) -> bool:
        """Return whether the request is sent once more, and count that call."""
        if self.attempts is None or not self._is_repeatable or not self.attempts.are_left:
            return False
        self._let_go()
        self.attempts.count += 1
        return True

    def on_ready(self, connection: UpstreamConnection) -> None:
        """Write the request."""
        assert self.target is not None
        assert self.payload is not None
        self._connection = connection
        self.sent_at = connection.used_at
        self.added_s = self.sent_at - self.began
        try:
            same = self.target.target.dialect == self.endpoint.dialect
            self.payload.send(self.target, connection, sent_on(self.request.headers) if same else b"")
        except ProviderError as error:
            self._not_carried(error)
        except Exception as error:  # noqa: BLE001  # not the target's failure; the request has to end
            context = {"message": "a request could not be written", "exception": error}
            self._context.loop.call_exception_handler(context)
            self._not_carried(
                BadRequestError(
                    f"the request cannot be carried to {self.target.name}", code="request-not-carried"
                )
            )

    def _not_carried(self, error: ProviderError) -> None:
        """Ask another target, since this one cannot carry the request. No call has failed."""
        assert self.target is not None
        assert self.attempts is not None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.give_back()
        self.attempts.abandoned()
        self.sent_at = 0.0
        if self.attempts.not_called(self._context.now()):
            self._retry = self._context.loop.call_soon(self._attempt)
        else:
            self.refuse(self.told(error))

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> Taker:
        """Choose how the answer is passed on."""
        assert self.target is not None
        assert self.payload is not None
        self._status = status
        self.headers = headers
        key = self.target.key
        encoding = headers.get(b"content-encoding", b"identity")
        if not 200 <= status < 300:
            self._relay = ErrorRelay(self._error_answered)
        elif headers.get(b"content-type", b"").startswith(b"text/event-stream"):
            self._relay = StreamRelay(self, self.payload.follower(self.target), key)
        else:
            length = headers.get(b"content-length") if encoding == b"identity" else None
            known = int(length) if length is not None and length.isdigit() else None
            self._relay = WholeRelay(self, self.target.dialect, key, known)
        if encoding != b"identity":
            also = None if self.copy is None else self.copy.take
            inflater = inflating(self, self._relay, encoding, self.target.name, also)
            self._relay = inflater
            if inflater is not None:
                return inflater.data
            self.failed(
                UpstreamError(
                    f"{self.target.name} compressed its answer in a way that is not known here",
                    code="answer-compressed",
                )
            )
        return self._take if self.copy is not None or self._relay is None else self._relay.data

    def on_whole(self, body: bytes) -> None:
        """Take a plain answer, which needs no relay: it is complete."""
        assert self.target is not None
        connection, self._connection = self._connection, None
        self._status = 200
        self.headers = NO_HEADERS
        if self.copy is not None:
            self.copy.take(body)
        if connection is not None:
            self.added_s += self._context.now() - connection.used_at
        try:
            pass_whole(self, self.target.dialect, self.target.key, body)
        except Exception as error:  # noqa: BLE001  # as in `on_end`
            self._unreadable(error)

    def _take(self, data: bytes) -> None:
        """Take a piece of the answer, and keep it for the shadow."""
        if self.copy is not None:
            self.copy.take(data)
        if self._relay is not None:
            self._relay.data(data)

    def on_end(self) -> None:
        """Note the end of the answer. An internal error must not leave the client without an answer."""
        connection, self._connection = self._connection, None
        relay = self._relay
        if relay is None:
            return
        if connection is not None:
            self.added_s += self._context.now() - connection.used_at
        try:
            relay.end()
        except Exception as error:  # noqa: BLE001  # whatever it is, this request has to end
            self._unreadable(error)

    def _unreadable(self, error: Exception) -> None:
        context = {"message": "an answer could not be passed on", "exception": error}
        self._context.loop.call_exception_handler(context)
        self.failed(UpstreamError("the provider's answer could not be read", code="answer-unreadable"))

    def on_fail(self, error: ProviderError) -> None:
        """Note that the connection failed."""
        self._connection = None
        self._failed(error, answered=False)

    def _error_answered(self, body: bytes) -> None:
        """Take the body of an answer with an error status."""
        self._failed(self.failure(self._status, body, self._context.wall()), answered=False)

    def failed(self, error: ProviderError, charge: Charge = UNKNOWN) -> None:
        """Note that this attempt failed after the head of its answer, and what it cost.

        The model has answered, and the target did not fail, unless there is an error in the place of the
        answer (it has a status), the answer broke off, is compressed in a way that cannot be read, or is
        HTML, which comes from something before the model. Such an error or HTML costs nothing.
        """
        is_error = error.status is not None or b"html" in self.headers.get(b"content-type", b"")
        is_whole = not is_error and error.code not in _NOT_WHOLE
        self._failed(error, answered=is_whole, charge=NOTHING if is_error else charge)

    def _failed(self, error: ProviderError, *, answered: bool, charge: Charge = UNKNOWN) -> None:
        """Start another attempt after a failure, or tell the client."""
        assert self.attempts is not None
        assert self.payload is not None
        by_body = may_be_by_body(error, self.payload, begun=self._relay is not None)
        self._let_go()
        self.attempts.failed(error, self._context.now(), answered=answered, by_body=by_body)
        if self.done:
            return
        if self._status >= 300 or not self.sent_at:
            charge = NOTHING
        if self._delivery is not None:
            self._break_off(error, self._delivery)
        elif not self._try_on(error, charge, answered=answered, by_body=by_body):
            self.refuse(self.told(error), charge)

    def _let_go(self) -> None:
        """Release the provider's connection, whether it is open yet or not."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel()
        elif self.target is not None and self.attempts is not None and self.attempts.count:
            self.target.pool.withdraw(self)
        if self.payload is not None:
            self.payload.let_go()

    def upstream_paused(self) -> None:
        """Let the payload wait."""
        if self.payload is not None:
            self.payload.paused()

    def upstream_resumed(self) -> None:
        """Let the payload continue."""
        if self.payload is not None:
            self.payload.resumed()

    # The relay's side: `Outlet`.

    def send_whole(
        self, body: bytes, usage: Tokens, response_id: str | None, output_tokens: int | None
    ) -> None:
        """Send a whole answer, with its cost in the head."""
        assert self.target is not None
        assert self.payload is not None
        charge = self.billed(usage, output_tokens)
        try:
            body = self.payload.whole(self.target, body)
        except ProviderError as error:
            self.failed(error, charge)
            return
        self.response_id = self.payload.answer_id or response_id
        self.target.breaker.succeeded()
        client = self.client
        lines = self.lines(self.whole_charge(charge).usd)
        if self.turn is not None and not self.payload.passes(self.target):
            send = partial(send_whole, client, self._status, JSON_TYPE, body, lines)
            self._send_kept(self.turn, body, send)
            self._close(self._status, charge, None, body)
            return
        client.write(whole(self._status, JSON_TYPE, body, lines + client.closing))
        self._close(self._status, charge, None, body)  # after the write: the client does not wait for it
        client.finish()

    def begin_long(self, length: int | None) -> Pieces | None:
        """Begin an answer that is too large to be kept, if it needs no translation."""
        assert self.target is not None
        assert self.payload is not None
        if not self.payload.passes(self.target):
            self.failed(
                UpstreamError(
                    f"{self.target.name}'s answer is too large to be translated", code="answer-too-large"
                )
            )
            return None
        return self._begin(self._status, JSON_TYPE, length)

    def begin_stream(self) -> Pieces:
        """Begin a stream."""
        self.first_at = self._context.now()
        return self._begin(200, STREAM_TYPE, None)

    def _begin(self, status: int, content_type: bytes, length: int | None) -> Pieces:
        delivery = self._delivery = Delivery(
            self.client,
            self.request,
            status=status,
            content_type=content_type,
            length=length,
            lines=self.lines(None),
        )
        return delivery.send if self.inscription is None else self.inscription.passing(delivery.send)

    def end_stream(
        self, usage: Tokens, response_id: str | None, output_tokens: int, last: bytes = b""
    ) -> None:
        """Send the end of a long answer or stream, with a last piece."""
        assert self.target is not None
        assert self.payload is not None
        assert self._delivery is not None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.detach()
        self.response_id = response_id or self._answer_id()
        self.target.breaker.succeeded()
        charge = bill(self.target.prices, self.payload, usage, output_tokens, is_stream=True)
        if self.turn is not None and not self.payload.passes(self.target):
            self._send_kept(self.turn, last, partial(self._delivery.end, last))
            self._close(self._status, charge, None, last)
            return
        self._close(self._status, charge, None, last)
        self._delivery.end(last)

    def _send_kept(self, turn: Turn, answer: bytes, send: Callable[[], None]) -> None:
        """Send a translated answer, or the end of its stream, once it is kept: the client may refer to it."""

        def kept() -> None:
            if self.client.exchange is self:  # the client has not gone in the meantime
                send()

        assert self._context.earlier is not None
        self._context.earlier.keep(turn, answer, kept)

    def _answer_id(self) -> str | None:
        """Return the id of the answer that the client got or gets a part of, None if it has none."""
        stream = self._stream
        follower_id = None if stream is None else stream.response_id
        return follower_id if self.payload is None else self.payload.answer_id or follower_id

    @property
    def _stream(self) -> StreamRelay | None:
        """What passes on a stream, inflated or not; None if the answer is no stream."""
        relay = self._relay.inner if isinstance(self._relay, InflatingRelay) else self._relay
        return relay if isinstance(relay, StreamRelay) else None

    def _break_off(self, error: ProviderError, delivery: Delivery) -> None:
        """Tell the client, inside the stream that has begun, that no more will follow."""
        stream = self._stream
        self.response_id = self._answer_id()
        self._close(self._status, self._spent(), "broken_off")
        if stream is None:
            self.client.abort()  # the client cannot take that for the answer's end
            return
        assert self.endpoint.client is not None
        delivery.end(problem_event(self.told(error), self.endpoint.client))

    # The client's side: `Answering`.

    @property
    def begun(self) -> bool:
        """Whether a part of the answer was sent and more is to come."""
        return self._delivery is not None

    def client_gone(self) -> None:
        """Cancel the call to the provider: the client has disconnected."""
        if self.done:
            return
        self._let_go()
        self.response_id = self._answer_id()
        self._close(_CLIENT_GONE, self._spent() if self.sent_at else NOTHING, "client_gone")

    def client_paused(self) -> None:
        """Read no more from the provider for now."""
        if self._connection is not None:
            self._connection.pause()

    def client_resumed(self) -> None:
        """Continue to read from the provider."""
        if self._connection is not None:
            self._connection.resume()

    # The end.

    def refuse(self, problem: Problem, charge: Charge = NOTHING) -> None:
        """Answer with an error."""
        lines = b"" if self.route is None or self.attempts is None else self.route.headers
        self._close(problem.status, charge, problem.code)
        self.client.answer_problem(problem, self.id, lines)

    def _spent(self) -> Charge:
        """Return the charge of an answer that did not reach its end.

        Unless the provider has said how much output it generated, there may be more than was seen, such as
        reasoning. Limits count what was reserved then. Otherwise a client that disconnects from every answer
        would pay less than any other.
        """
        relay, stream = self._relay, self._stream
        if relay is None:
            return UNKNOWN
        charge = self.billed(*relay.spent())
        is_known = isinstance(relay, ErrorRelay) or (stream is not None and stream.is_counted)
        return charge if is_known else msgspec.structs.replace(charge, is_part=True)

    def _close(self, status: int, charge: Charge, error: str | None = None, last: bytes = b"") -> None:
        """Settle and record. What remains to be written follows. `last` is the last piece of the answer."""
        self.done = True
        self._relay = None
        if self._retry is not None:
            self._retry.cancel()
        if self.attempts is not None and self.attempts.is_probe:
            self.attempts.abandoned()
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            reservation.settle(charge, error)
        if self.payload is not None:
            self.payload.close()
        self._record(status, self.whole_charge(charge), error, last)

    def _record(self, status: int, charge: Charge, error: str | None, last: bytes) -> None:
        context, permit = self._context, self.permit
        if permit is None:
            permit = Permit(self.principal, (), context.blank_record(self.principal, self.route))
        record = record_of(self, permit, charge, status=status, error=error, now=context.now())
        if context.log_prompts and self.payload is not None:
            record.prompt = self.payload.text()
        context.broker.record(record)
        shadow = None if self.copy is None else context.shadows.answered(self.copy, record)
        if self.inscription is not None:
            self.inscription.complete(record, last, shadow)
