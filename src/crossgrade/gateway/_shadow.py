"""Shadow pairs: a sampled request also goes to the policy's other model, after its answer was sent."""

import asyncio
import random
import time
from collections import Counter as Tally
from hashlib import blake2b

from crossgrade.dialects import Counts
from crossgrade.domain import Shadow
from crossgrade.errors import ProviderError, UpstreamError
from crossgrade.gateway._answers import Pieces, Relay, StreamRelay, WholeRelay
from crossgrade.gateway._body import DEFAULT_OUTPUT_TOKENS, estimated_tokens
from crossgrade.gateway._broker import BrokerLink
from crossgrade.gateway._head import Request
from crossgrade.gateway._limits import Hold, LimitRefusal, Limits
from crossgrade.gateway._messages import RequestRecord, ShadowAnswer, ShadowPair
from crossgrade.gateway._metrics import Metrics
from crossgrade.gateway._payload import ParsedPayload
from crossgrade.gateway._routes import Choice, ServedRoute, conversation_of
from crossgrade.gateway._settle import UNKNOWN, Charge, bill, images_in
from crossgrade.gateway._targets import TargetState
from crossgrade.gateway._upstream import Taker, UpstreamConnection
from crossgrade.pricing import Tokens

ANSWER_BYTES = 1 << 20
_OPT_OUT = b"x-crossgrade-no-shadow"


class Copy:
    """What is kept of a sampled request: the answer's bytes as they arrive, up to a bound.

    `conversation` is the client's name for the conversation.
    """

    __slots__ = ("choice", "conversation", "parts", "payload", "route", "size")

    def __init__(
        self, route: ServedRoute, choice: Choice, payload: ParsedPayload, conversation: str | None = None
    ) -> None:
        self.route = route
        self.choice = choice
        self.payload = payload
        self.conversation = conversation
        self.parts: list[bytes] = []
        self.size = 0

    def restart(self) -> None:
        """Forget what has arrived: that attempt failed."""
        self.parts.clear()
        self.size = 0

    def take(self, data: bytes) -> None:
        """Take a piece of the answer."""
        self.size += len(data)
        if self.size <= ANSWER_BYTES:
            self.parts.append(data)


class Shadows:
    """Samples requests, and sends them to the other model.

    `share` is this worker's part of every limit on copies in flight.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        limits: Limits,
        broker: BrokerLink,
        metrics: Metrics,
        share: float = 1.0,
    ) -> None:
        self.loop = loop
        self.limits = limits
        self.broker = broker
        self._metrics = metrics
        self._share = share
        self._in_flight: Tally[str] = Tally()

    def pick(
        self, route: ServedRoute, choice: Choice, request: Request, payload: object, tier: str = ""
    ) -> Copy | None:
        """Return a copy to fill if this request is sampled, else None."""
        shadow = route.spec.shadow
        if shadow is None or random.random() >= shadow.rate:  # noqa: S311  # a sample, not a secret
            return None
        if not isinstance(payload, ParsedPayload):
            self.skip(route.name, "too_large")
        elif request.headers.get(_OPT_OUT, b"0").strip() not in (b"0", b"false"):
            self.skip(route.name, "opt_out")
        elif shadow.tiers and tier not in shadow.tiers:
            self.skip(route.name, "tier")
        elif choice.reason in {"too_long", "not_plain", "not_carried"}:
            self.skip(route.name, choice.reason)  # the certificate does not cover these
        elif route.other(choice) is not None:
            return Copy(route, choice, payload, conversation_of(request, payload))
        return None

    def skip(self, route: str, reason: str) -> None:
        """Count a sampled request that is left out."""
        self._metrics.add("crossgrade.gateway.shadow.skipped", route, reason)

    def answered(self, copy: Copy, record: RequestRecord) -> None:
        """Call the other model, after the answer's last byte was written."""
        if record.error is not None or record.status != 200 or record.reason == "fallback":
            self.skip(record.route, "failed")
        elif copy.size > ANSWER_BYTES:
            self.skip(record.route, "too_large")
        else:
            self.loop.call_soon(self._ask, copy, record)

    def _ask(self, copy: Copy, record: RequestRecord) -> None:
        target, shadow = copy.route.other(copy.choice), copy.route.spec.shadow
        assert target is not None
        assert shadow is not None
        route = copy.route.name
        is_candidate = copy.choice.side == "incumbent"
        if is_candidate and shadow.regions and target.target.region not in shadow.regions:
            self.skip(route, "region")  # the table may name a candidate that was configured later
            return
        if is_candidate and target.target.blocked is not None:
            self.skip(route, "terms")
            return
        most = max(1, int(shadow.max_parallel * self._share))
        if self._in_flight[route] >= most:
            self.skip(route, "parallel")
            return
        if target.breaker.is_open:
            self.skip(route, "unavailable")
            return
        if target.forbidden and copy.payload.forbidden(target) is not None:
            self.skip(route, "forbidden_field")
            return
        bound = copy.payload.fields.most_output_tokens(copy.payload.endpoint.name)
        tokens = DEFAULT_OUTPUT_TOKENS if bound is None else bound
        images = images_in(copy.payload, target.prices)
        usd = target.prices.cost_usd(Counts(estimated_tokens(copy.payload.size), tokens), images)
        if usd is None and shadow.max_usd_per_day is not None:
            self.skip(route, "unpriced")  # without a price, nothing would count against the cap
            return
        self._in_flight[route] += 1
        call = _ShadowCall(self, copy, record, target=target, shadow=shadow)
        counters = self.limits.shadow(route, shadow.max_usd_per_day)
        outcome = self.limits.reserve(counters, usd, 0, call.reserved)
        if outcome is not None:
            call.reserved(outcome)

    def over(self, route: str) -> None:
        """Note that a copy is no longer in flight."""
        self._in_flight[route] -= 1


class _ShadowCall:
    """Sends one copied request to one target; it is an `UpstreamCall` and an `Outlet`."""

    def __init__(
        self, shadows: Shadows, copy: Copy, record: RequestRecord, *, target: TargetState, shadow: Shadow
    ) -> None:
        self._shadows = shadows
        self._copy = copy
        self._record = record
        self._target = target
        self._shadow = shadow
        self._hold: Hold | None = None
        self._connection: UpstreamConnection | None = None
        self._relay: Relay | None = None
        self._answer = Copy(copy.route, copy.choice, copy.payload)
        self._stream = self._done = False
        self._began = time.monotonic()
        self._first_at = 0.0

    def repeats(self) -> bool:
        """Return True: a copy is sent again."""
        return True

    def reserved(self, outcome: Hold | LimitRefusal) -> None:
        """Send the request if the day's budget allows it."""
        if isinstance(outcome, LimitRefusal):
            self._shadows.skip(self._copy.route.name, "budget")
            self._shadows.over(self._copy.route.name)
            return
        self._hold = outcome
        self._began = time.monotonic()
        self._target.shadow_pool.start(self)

    def on_ready(self, connection: UpstreamConnection) -> None:
        """Write the request."""
        self._connection = connection
        try:
            self._copy.payload.send(self._target, connection, b"")
        except ProviderError as error:
            self.failed(error)
        except Exception as error:  # noqa: BLE001  # the copy has to end
            context = {"message": "a copy could not be written", "exception": error}
            self._shadows.loop.call_exception_handler(context)
            self.failed(
                UpstreamError("the request cannot be carried to the other model", code="shadow-not-carried")
            )

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> Taker:
        """Choose how the answer is read."""
        if status != 200:
            self.failed(UpstreamError(f"status {status}", code="shadow-status"))
        elif headers.get(b"content-type", b"").startswith(b"text/event-stream"):
            self._stream = True
            self._relay = StreamRelay(self, self._copy.payload.follower(self._target), None)
        else:
            self._relay = WholeRelay(self, self._target.dialect, None, None)
        return self._take

    def on_whole(self, body: bytes) -> None:
        """Take an answer that came in one piece."""
        self.on_head(200, {})
        self._take(body)
        self.on_end()

    def _take(self, data: bytes) -> None:
        """Take a piece of the answer."""
        self._answer.take(data)
        if self._answer.size > ANSWER_BYTES:
            self.failed(UpstreamError("the answer is too large to be kept", code="shadow-too-large"))
        elif self._relay is not None:
            self._relay.data(data)

    def on_end(self) -> None:
        """Note the end of the answer."""
        self._connection = None
        if self._relay is not None and not self._done:
            self._relay.end()

    def on_fail(self, error: ProviderError) -> None:
        """Note that there is no answer."""
        self._connection = None
        self.failed(error)

    def upstream_paused(self) -> None:
        """Do nothing: the request is small."""

    def upstream_resumed(self) -> None:
        """Do nothing: the request is small."""

    def send_whole(
        self, body: bytes, usage: Tokens, response_id: str | None, output_tokens: int | None
    ) -> None:
        """Take a whole answer."""
        del body, response_id
        self._finish(self._bill(usage, output_tokens))

    def begin_long(self, length: int | None) -> Pieces | None:  # noqa: ARG002  # the signature of Outlet
        """Return None: an answer that large was given up before."""
        return None

    def begin_stream(self) -> Pieces:
        """Note the first event."""
        self._first_at = time.monotonic()
        return _unread

    def end_stream(
        self, usage: Tokens, response_id: str | None, output_tokens: int, last: bytes = b""
    ) -> None:
        """Take the end of a stream."""
        del response_id, last
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.detach()
        self._finish(self._bill(usage, output_tokens))

    def failed(self, error: ProviderError) -> None:
        """Note that there is no usable answer. The pair is kept too, since a failure is a result."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel()
        if not self._done:
            self._finish(UNKNOWN, error.default_code)

    def _bill(self, usage: Tokens, output_tokens: int | None) -> Charge:
        return bill(self._target.prices, self._copy.payload, usage, output_tokens)

    def _finish(self, charge: Charge, error: str | None = None) -> None:
        self._done = True
        shadows, route = self._shadows, self._copy.route.name
        shadows.over(route)
        if self._hold is not None:
            shadows.limits.settle(self._hold, charge.usd, None)
        latency_ms = (time.monotonic() - self._began) * 1000
        ttft_ms = (self._first_at - self._began) * 1000 if self._first_at else None
        other = ShadowAnswer(
            model=self._target.target.model,
            target=self._target.name,
            dialect=self._target.target.dialect,
            body=b"" if error else b"".join(self._answer.parts),
            stream=self._stream,
            cost_usd=charge.usd,
            latency_ms=latency_ms,
            ttft_ms=ttft_ms,
            error=error,
        )
        shadows.broker.record(self._copied_record(charge, error, latency_ms, ttft_ms))
        shadows.broker.keep_pair(self._pair(other))

    def _pair(self, other: ShadowAnswer) -> ShadowPair:
        copy, record = self._copy, self._record
        served_target = copy.choice.targets[0]
        served = ShadowAnswer(
            model=served_target.target.model,
            target=served_target.name,
            dialect=served_target.target.dialect,
            body=b"".join(copy.parts),
            stream=record.stream,
            cost_usd=record.cost_usd,
            latency_ms=record.latency_ms,
            ttft_ms=record.ttft_ms,
        )
        by_incumbent = copy.choice.side == "incumbent"
        return ShadowPair(
            route=copy.route.name,
            request_id=record.id,
            at=record.at,
            endpoint=f"/v1{copy.payload.endpoint.path}",
            request=copy.payload.body,
            served_by="incumbent" if by_incumbent else "candidate",
            incumbent=served if by_incumbent else other,
            candidate=other if by_incumbent else served,
            segment=record.segment,
            verdict_id=record.verdict_id,
            probability=self._shadow.rate,
            conversation=_digest(copy.conversation, record),
            store_text=self._shadow.store_text,
        )

    def _copied_record(
        self, charge: Charge, error: str | None, latency_ms: float, ttft_ms: float | None
    ) -> RequestRecord:
        record, usage = self._record, charge.usage
        return RequestRecord(
            id=f"{record.id}-shadow",
            at=record.at,
            worker=record.worker,
            key=record.key,
            team=record.team,
            route=record.route,
            target=self._target.name,
            model=self._target.target.model,
            operation=record.operation,
            client_flavour=record.client_flavour,
            policy_version=record.policy_version,
            table_digest=record.table_digest,
            reason="shadow",
            status=502 if error else 200,
            error=error,
            stream=self._stream,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_input_tokens=usage.cache_read_input_tokens,
            cache_creation_input_tokens=usage.cache_creation_input_tokens,
            reasoning_output_tokens=usage.reasoning_output_tokens,
            cost_usd=charge.usd,
            cost_origin=charge.origin,
            latency_ms=latency_ms,
            ttft_ms=ttft_ms,
            attempts=1,
            body_bytes=self._copy.payload.size,
            segment=record.segment,
            shadow=True,
        )


def _digest(conversation: str | None, record: RequestRecord) -> str | None:
    """Return a digest of a conversation's name, which may identify a person; it is unique to the key."""
    if conversation is None:
        return None
    named = "\0".join((record.route, record.key, conversation))
    return blake2b(named.encode(errors="replace"), digest_size=16).hexdigest()


def _unread(data: bytes) -> None:
    """Ignore a piece of an answer."""
