"""The call to the policy's other model, with a copy of a request that was answered."""

import asyncio
import time
from functools import partial
from typing import Protocol

import msgspec

from crossgrade.dialects import Counts
from crossgrade.errors import ProviderError, UpstreamError
from crossgrade.gateway._answers import Pieces, Relay, StreamRelay, WholeRelay
from crossgrade.gateway._broker import BrokerLink
from crossgrade.gateway._leases import Hold, LimitRefusal
from crossgrade.gateway._limits import Limits
from crossgrade.gateway._messages import RequestRecord, ShadowAnswer, ShadowPair
from crossgrade.gateway._payload import ParsedPayload
from crossgrade.gateway._settle import NOTHING, UNKNOWN, Charge, bill, learn
from crossgrade.gateway._shadow_copy import ANSWER_BYTES, Copy, KeptAnswer, Missed, pair_of
from crossgrade.gateway._targets import TargetState
from crossgrade.gateway._upstream import Taker, UpstreamConnection
from crossgrade.pricing import Tokens


class ShadowSender(Protocol):
    """What sends copies: it is told when one has ended, and has what all of them share.

    It is `Shadows`, which cannot be imported here, since it makes the calls.
    """

    loop: asyncio.AbstractEventLoop
    limits: Limits
    broker: BrokerLink

    def skip(self, route: str, reason: str) -> None:
        """Count a sampled request that is left out."""

    def miss(self, copy: Copy, record: RequestRecord, reason: Missed, cost_usd: float | None = 0.0) -> None:
        """Count a sampled request without an answer of the other model."""

    def over(self, route: str, call: "ShadowCall") -> None:
        """Note that a copy is no longer in flight."""


class ShadowCall:
    """Sends one copied request to one target; it is an `UpstreamCall` and an `Outlet`."""

    def __init__(
        self,
        shadows: ShadowSender,
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
        self._answer = KeptAnswer()
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
        self._finish(bill(self._target.prices, self._payload, usage, output_tokens))

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
        self._finish(bill(self._target.prices, self._payload, usage, output_tokens, is_stream=True))

    def failed(self, error: ProviderError) -> None:
        """Note that there is no usable answer. The pair is kept too, since a failure is a result."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel()
        if not self._done:
            refused = self._status >= 300 or not self._sent
            self._finish(NOTHING if refused else UNKNOWN, error.default_code)

    def _finish(self, charge: Charge, error: str | None = None) -> None:
        self._end()
        shadows, copy = self._shadows, self._copy
        if self._hold is not None:
            shadows.limits.settle(self._hold, charge.usd, None, charge.is_part)
        learn(self._payload, copy.route, self._target, charge, is_whole=error is None)
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
        pair = pair_of(copy, self._record, other)
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
            **{name: getattr(usage, name) for name in Counts.__struct_fields__},
            cost_usd=charge.usd,
            cost_origin=charge.origin,
            latency_ms=latency_ms,
            ttft_ms=ttft_ms,
            attempts=1,
            body_bytes=self._payload.size,
            segment=record.segment,
            shadow=True,
        )


def _unread(data: bytes) -> None:
    """Ignore a piece of an answer."""
