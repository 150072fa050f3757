"""Shadow pairs: a sampled request also goes to the policy's other model, after its answer was sent.

On a growing route the sample is drawn by a hash of the conversation and the day, and every drawn request is
recorded: as a pair, or as a missed pair with the reason why the other model has no answer.
"""

import asyncio
import random
import time
from collections import Counter as Tally
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from typing import Literal

import msgspec

from crossgrade.dialects import Counts
from crossgrade.domain import Shadow
from crossgrade.errors import ProviderError, UpstreamError
from crossgrade.gateway._answers import Pieces, Relay, StreamRelay, WholeRelay
from crossgrade.gateway._body import DEFAULT_OUTPUT_TOKENS, estimated_tokens
from crossgrade.gateway._broker import BrokerLink
from crossgrade.gateway._limits import Hold, LimitRefusal, Limits
from crossgrade.gateway._messages import RequestRecord, ShadowAnswer, ShadowPair
from crossgrade.gateway._metrics import Metrics
from crossgrade.gateway._payload import ParsedPayload, Payload
from crossgrade.gateway._routes import Choice, ServedRoute, conversation_of
from crossgrade.gateway._settle import NOTHING, UNKNOWN, Charge, RequestState, bill, images_in
from crossgrade.gateway._targets import TargetState
from crossgrade.gateway._upstream import Taker, UpstreamConnection
from crossgrade.pricing import Tokens
from crossgrade.routing import position

ANSWER_BYTES = 1 << 20
_OPT_OUT = b"x-crossgrade-no-shadow"
_DAY_S = 86_400

Missed = Literal[
    "too_large", "opt_out", "tier", "failed", "region", "terms", "parallel", "unavailable",
    "forbidden_field", "unpriced", "budget", "not_kept", "stopped",
]  # fmt: skip
"""Why a sampled request has no two answers; on a growing route it is recorded with this reason."""


class _Kept:
    """An answer's bytes as they arrive, up to a bound."""

    __slots__ = ("parts", "size")

    def __init__(self) -> None:
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


class Copy(_Kept):
    """What is kept of a sampled request, with the bytes of its answer.

    `path` is where the client sent it, `conversation` a digest of the conversation, `score` the router's. If
    `missed` is not None, the other model will not be asked.
    """

    __slots__ = ("choice", "conversation", "missed", "path", "payload", "route", "score")

    def __init__(
        self,
        asked: RequestState,
        route: ServedRoute,
        choice: Choice,
        payload: Payload,
        *,
        conversation: str | None,
        missed: Missed | None = None,
    ) -> None:
        super().__init__()
        self.route = route
        self.choice = choice
        self.payload = payload
        self.path = f"/v1{asked.endpoint.path}"
        self.score = asked.score
        self.conversation = conversation
        self.missed: Missed | None = missed


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
        self._calls: set[_ShadowCall] = set()
        self._stopped = False

    def pick(self, asked: RequestState) -> Copy | None:
        """Return a copy to fill if this request is sampled, else None."""
        route, choice, payload = asked.route, asked.choice, asked.payload
        assert route is not None
        assert choice is not None
        assert payload is not None
        shadow = route.spec.shadow
        if shadow is None:
            return None
        if route.grows:
            return self._draw(asked, route, choice, payload)
        if random.random() >= shadow.rate:  # noqa: S311  # a sample, not a secret
            return None
        unwanted = _unwanted(asked, shadow)
        if unwanted is not None:
            self.skip(route.name, unwanted)
        elif choice.reason in {"too_long", "not_plain", "not_carried"}:
            self.skip(route.name, choice.reason)  # the certificate does not cover these
        elif route.other(choice) is not None:
            named = conversation_of(asked.request, payload)
            conversation = None if named is None else _digest(route.name, asked.principal.id, named)
            return Copy(asked, route, choice, payload, conversation=conversation)
        return None

    def _draw(self, asked: RequestState, route: ServedRoute, choice: Choice, payload: Payload) -> Copy | None:
        """Return the copy of a request of a growing route if its conversation is drawn today, else None."""
        shadow, score = route.spec.shadow, asked.score
        assert shadow is not None
        if score is None:
            return None
        day = str(int(asked.at // _DAY_S))
        unit = route.audited_unit(asked.request, payload, asked.id)
        if position(unit, f"{route.verdict_id} {day}") >= shadow.rate:
            return None
        if not route.may_move(choice, score, payload, datetime.fromtimestamp(asked.at, UTC)):
            return None
        conversation = _digest(route.name, asked.principal.id, unit, day)
        missed = _unwanted(asked, shadow)
        return Copy(asked, route, choice, payload, conversation=conversation, missed=missed)

    def skip(self, route: str, reason: str) -> None:
        """Count a sampled request that is left out."""
        self._metrics.add("crossgrade.gateway.shadow.skipped", route, reason)

    def miss(self, copy: Copy, record: RequestRecord, reason: Missed, cost_usd: float | None = 0.0) -> None:
        """Count a sampled request without an answer of the other model; on a growing route record it too.

        `cost_usd` is what that answer cost: nothing, since the model was not asked.
        """
        self.skip(copy.route.name, reason)
        if copy.route.grows:
            other = copy.route.other(copy.choice)
            assert other is not None
            side = ShadowAnswer(
                model=other.target.model, target=other.name, dialect=other.target.dialect,
                cost_usd=cost_usd, error=reason,
            )  # fmt: skip
            self.broker.keep_pair(_pair(copy, record, side, reason))

    def answered(self, copy: Copy, record: RequestRecord) -> None:
        """Call the other model, after the answer's last byte was written."""
        if copy.missed is not None:
            self.miss(copy, record, copy.missed)
        elif record.error is not None or record.status != 200 or record.reason == "fallback":
            self.miss(copy, record, "failed")
        elif copy.size > ANSWER_BYTES:
            self.miss(copy, record, "too_large")
        else:
            self.loop.call_soon(self._ask, copy, record)

    def stop(self) -> None:
        """Ask no more, and give up the copies in flight: they would end after this worker."""
        self._stopped = True
        for call in tuple(self._calls):
            call.stop()

    def _ask(self, copy: Copy, record: RequestRecord) -> None:
        target, shadow, payload = copy.route.other(copy.choice), copy.route.spec.shadow, copy.payload
        assert target is not None
        assert shadow is not None
        assert isinstance(payload, ParsedPayload)
        route = copy.route.name
        bound = payload.fields.most_output_tokens(payload.endpoint.name)
        tokens = DEFAULT_OUTPUT_TOKENS if bound is None else bound
        images = images_in(payload, target.prices)
        usd = target.prices.cost_usd(Counts(estimated_tokens(payload.size), tokens), images)
        why = self._obstacle(copy, payload, target, shadow)
        if why is None and usd is None and shadow.max_usd_per_day is not None:
            why = "unpriced"  # without a price, nothing would count against the cap
        if why is not None:
            self.miss(copy, record, why)
            return
        self._in_flight[route] += 1
        call = _ShadowCall(self, copy, record, payload=payload, target=target)
        self._calls.add(call)
        counters = self.limits.shadow(route, shadow.max_usd_per_day)
        outcome = self.limits.reserve(counters, usd, 0, call.reserved)
        if outcome is not None:
            call.reserved(outcome)

    def _obstacle(
        self, copy: Copy, payload: ParsedPayload, target: TargetState, shadow: Shadow
    ) -> Missed | None:
        """Return why the other model cannot be asked now, or None."""
        if self._stopped:
            return "stopped"
        is_candidate = copy.choice.side == "incumbent"
        if is_candidate and target.target.blocked is not None:
            return "terms"
        if is_candidate and shadow.regions and target.target.region not in shadow.regions:
            return "region"  # the table may name a candidate that was configured later
        return self._busy(copy, payload, target, shadow)

    def _busy(self, copy: Copy, payload: ParsedPayload, target: TargetState, shadow: Shadow) -> Missed | None:
        """Return why a model that may be asked cannot be asked now, or None."""
        if self._in_flight[copy.route.name] >= max(1, int(shadow.max_parallel * self._share)):
            return "parallel"
        if target.breaker.is_open:
            return "unavailable"
        if target.forbidden and payload.forbidden(target) is not None:
            return "forbidden_field"
        return None

    def over(self, route: str, call: "_ShadowCall") -> None:
        """Note that a copy is no longer in flight."""
        self._in_flight[route] -= 1
        self._calls.discard(call)


class _ShadowCall:
    """Sends one copied request to one target; it is an `UpstreamCall` and an `Outlet`."""

    def __init__(
        self,
        shadows: Shadows,
        copy: Copy,
        record: RequestRecord,
        *,
        payload: ParsedPayload,
        target: TargetState,
    ) -> None:
        self._shadows = shadows
        self._copy = copy
        self._record = record
        self._payload = payload
        self._target = target
        self._hold: Hold | None = None
        self._connection: UpstreamConnection | None = None
        self._relay: Relay | None = None
        self._answer = _Kept()
        self._stream = self._done = self._started = self._sent = False
        self._status = 0
        self._began = time.monotonic()
        self._first_at = 0.0

    def repeats(self) -> bool:
        """Return True: a copy is sent again."""
        return True

    def reserved(self, outcome: Hold | LimitRefusal) -> None:
        """Send the request if the day's budget allows it."""
        if self._done:
            if not isinstance(outcome, LimitRefusal):
                self._shadows.limits.settle(outcome, 0.0, None)
        elif isinstance(outcome, LimitRefusal):
            self._end()
            self._shadows.miss(self._copy, self._record, "budget")
        else:
            self._hold = outcome
            self._began = time.monotonic()
            self._started = True
            self._target.shadow_pool.start(self)

    def stop(self) -> None:
        """Give the copy up: this worker ends."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel()
        elif self._started:
            self._target.shadow_pool.withdraw(self)
        self._end()
        cost_usd = None if self._sent else 0.0
        if self._hold is not None:
            self._shadows.limits.settle(self._hold, cost_usd, None)
        self._shadows.miss(self._copy, self._record, "stopped", cost_usd)

    def on_ready(self, connection: UpstreamConnection) -> None:
        """Write the request."""
        self._connection = connection
        try:
            self._payload.send(self._target, connection, b"")
            self._sent = True
        except ProviderError as error:
            self.failed(error)
        except Exception as error:  # noqa: BLE001  # the copy has to end
            told = UpstreamError(
                "the request cannot be carried to the other model", code="shadow-not-carried"
            )
            self._unexpected(error, told)

    def _unexpected(self, error: Exception, told: UpstreamError) -> None:
        """Note an internal error: the copy has to end, whatever the answer holds."""
        context = {"message": f"a copy failed: {told.message}", "exception": error}
        self._shadows.loop.call_exception_handler(context)
        self.failed(told)

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> Taker:
        """Choose how the answer is read."""
        self._status = status
        if status != 200:
            self.failed(UpstreamError(f"status {status}", code="shadow-status"))
        elif headers.get(b"content-type", b"").startswith(b"text/event-stream"):
            self._stream = True
            self._relay = StreamRelay(self, self._payload.follower(self._target), None)
        else:
            self._relay = WholeRelay(self, self._target.dialect, None, None)
        return self._take

    def on_whole(self, body: bytes) -> None:
        """Take an answer that came in one piece."""
        self._connection = None
        try:
            self.on_head(200, {})
            self._take(body)
        except Exception as error:  # noqa: BLE001  # as in `on_end`
            self._unreadable(error)
        else:
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
        if self._relay is None or self._done:
            return
        try:
            self._relay.end()
        except Exception as error:  # noqa: BLE001  # a provider's answer may hold anything
            self._unreadable(error)

    def _unreadable(self, error: Exception) -> None:
        if not self._done:
            told = UpstreamError("the provider's answer could not be read", code="answer-unreadable")
            self._unexpected(error, told)

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
            refused = self._status >= 300 or not self._sent
            self._finish(NOTHING if refused else UNKNOWN, error.default_code)

    def _bill(self, usage: Tokens, output_tokens: int | None) -> Charge:
        return bill(self._target.prices, self._payload, usage, output_tokens)

    def _finish(self, charge: Charge, error: str | None = None) -> None:
        self._end()
        shadows, copy = self._shadows, self._copy
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
        pair = _pair(copy, self._record, other)
        shadows.broker.keep_pair(pair, instead=partial(self._not_kept, pair) if copy.route.grows else None)

    def _end(self) -> None:
        self._done = True
        self._shadows.over(self._copy.route.name, self)

    def _not_kept(self, pair: ShadowPair) -> ShadowPair:
        """Return what is recorded instead of a pair that could not be stored."""
        self._shadows.skip(pair.route, "not_kept")
        sides = {
            side: ShadowAnswer(
                model=answer.model, target=answer.target, dialect=answer.dialect, cost_usd=answer.cost_usd
            )
            for side, answer in (("incumbent", pair.incumbent), ("candidate", pair.candidate))
        }
        return msgspec.structs.replace(pair, request=b"", missed="not_kept", **sides)

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
            body_bytes=self._payload.size,
            segment=record.segment,
            shadow=True,
        )


def _pair(copy: Copy, record: RequestRecord, other: ShadowAnswer, missed: Missed | None = None) -> ShadowPair:
    """Return the pair of a request that was answered, and of the other model's answer."""
    shadow, picked = copy.route.spec.shadow, copy.choice.targets[0]
    assert shadow is not None
    is_picked = record.reason != "fallback"
    served = ShadowAnswer(
        model=picked.target.model,
        target=picked.name,
        dialect=picked.target.dialect,
        body=b"" if missed else b"".join(copy.parts),
        stream=record.stream,
        cost_usd=record.cost_usd if is_picked else None,
        latency_ms=record.latency_ms,
        ttft_ms=record.ttft_ms,
    )
    by_incumbent = copy.choice.side == "incumbent"
    return ShadowPair(
        route=copy.route.name,
        request_id=record.id,
        at=record.at,
        endpoint=copy.path,
        request=copy.payload.body if missed is None and isinstance(copy.payload, ParsedPayload) else b"",
        served_by="incumbent" if by_incumbent else "candidate",
        incumbent=served if by_incumbent else other,
        candidate=other if by_incumbent else served,
        segment=record.segment,
        verdict_id=record.verdict_id,
        probability=shadow.rate,
        conversation=copy.conversation,
        score=copy.score,
        missed=missed,
        store_text=shadow.store_text,
    )


def _unwanted(asked: RequestState, shadow: Shadow) -> Missed | None:
    """Return why a sampled request must not be copied, or None."""
    if not isinstance(asked.payload, ParsedPayload):
        return "too_large"
    if asked.request.headers.get(_OPT_OUT, b"0").strip() not in (b"0", b"false"):
        return "opt_out"
    return "tier" if shadow.tiers and asked.principal.tier not in shadow.tiers else None


def _digest(*names: str) -> str:
    """Return a digest of a conversation's names, which may identify a person: route, key, name and more."""
    return blake2b("\0".join(names).encode(errors="replace"), digest_size=16).hexdigest()


def _unread(data: bytes) -> None:
    """Ignore a piece of an answer."""
