"""The worker's connection to the broker: request records, leases, shadow pairs, feedback, metrics.

What the broker has not acknowledged is kept, within bounds, and sent again to the next one. A broker that
dies loses nothing. One that stays away loses records, which are counted.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import msgspec

from crossgrade.gateway._limits import WAIT_S, Limits
from crossgrade.gateway._messages import (
    Ack,
    Ask,
    BeginRun,
    Collect,
    Collected,
    Deny,
    Done,
    Fetch,
    Find,
    Flush,
    FromBroker,
    Grant,
    Hello,
    Inscribe,
    Keep,
    LeaseId,
    MixRun,
    Outcome,
    Recall,
    Remember,
    Report,
    RequestRecord,
    Resume,
    Scrape,
    ShadowPair,
    Spend,
    Welcome,
    socket_address,
)
from crossgrade.gateway._metrics import Metrics

FLUSH_S = 0.5
METRICS_S = 1.0
_FLUSHED_RECORDS = 1_500
"""Flush early at this many records: they would only displace what serves requests from the caches."""

MOST_RECORDS = 20_000
MOST_UNWRITTEN_BYTES = 8 << 20
MOST_PAIRS_BYTES = 32 << 20
_MISSED_BYTES = 4 << 20
"""Room for missed pairs when there is none for answers: no draw is lost for the size of its answers."""

_RETRY_S = (0.02, 0.05, 0.1, 0.2, 0.5)

MOST_ENTRIES_BYTES = 32 << 20
"""Room for entries of the ledger that are not appended yet, apart from that of other messages."""

_AWAITED_BYTES = 8 << 20
"""Room for entries that requests wait for, when others have taken all: a queue must not keep them out."""

OnKept: TypeAlias = Callable[[bool], None]
OnDone: TypeAlias = Callable[[Done | None], None]
OnText: TypeAlias = Callable[[str | None], None]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(FromBroker)


class _Unwritten:
    """A flush that was sent and is not acknowledged."""

    __slots__ = ("data", "seq", "spends")

    def __init__(self, seq: int, data: bytes, spends: list[Spend]) -> None:
        self.seq = seq
        self.data = data
        self.spends = spends


class _Waiting:
    """Numbered messages that are not answered, in the order in which they were sent."""

    __slots__ = ("_asked", "size")

    def __init__(self) -> None:
        self._asked: dict[int, tuple[bytes, OnDone]] = {}
        self.size = 0

    def __len__(self) -> int:
        return len(self._asked)

    def add(self, number: int, line: bytes, on_done: OnDone) -> None:
        self._asked[number] = (line, on_done)
        self.size += len(line)

    def answer(self, number: int, done: Done | None) -> None:
        line, on_done = self._asked.pop(number, (b"", None))
        self.size -= len(line)
        if on_done is not None:
            on_done(done)

    def lines(self) -> list[bytes]:
        return [line for line, _ in self._asked.values()]


class BrokerLink(asyncio.Protocol):
    """The connection of one worker to the broker at a Unix socket; it reconnects by itself."""

    def __init__(self, path: str, *, worker: int, limits: Limits, metrics: Metrics) -> None:
        self._path = path
        self._worker = worker
        self._limits = limits
        self._metrics = metrics
        self._life = os.urandom(8).hex()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._transport: asyncio.Transport | None = None
        self._ready = False
        self._lost_at = time.monotonic()
        self._closing = False
        self._connecting: asyncio.Task[None] | None = None
        self._failures = 0
        self._input = b""
        self._records: list[RequestRecord] = []
        self._recalled: list[LeaseId] = []
        self._timer: asyncio.TimerHandle | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._metrics_at = 0.0
        self._seq = 0
        self._number = 0
        self._unwritten: deque[_Unwritten] = deque()
        self._unwritten_bytes = 0
        self._asked = _Waiting()
        self._entries = _Waiting()
        self._written = asyncio.Event()
        self.on_mixed: Callable[[MixRun], None] = lambda _: None
        self._handlers: dict[type, Callable[[Any], None]] = {
            Welcome: self._welcome,
            Ack: self._wrote,
            Grant: limits.granted,
            Deny: limits.denied,
            Recall: self._recall,
            Collect: self._collect,
            Done: self._done,
            MixRun: self._mixed,
        }

    def start(self) -> None:
        """Connect, from within the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._limits.send = self._send_ask
        self._limits.on_change = self._arm
        self._connecting = self._loop.create_task(self._connect())
        self._tick()

    @property
    def connected(self) -> bool:
        """Whether the broker is connected."""
        return self._ready

    @property
    def is_away(self) -> bool:
        """Whether the broker has not been connected for so long that it is not worth waiting for."""
        return not self._ready and time.monotonic() - self._lost_at > WAIT_S

    def record(self, record: RequestRecord) -> None:
        """Take a request record; it is written within a fraction of a second."""
        records = self._records
        if len(records) < MOST_RECORDS:
            records.append(record)
            if self._timer is None:
                self._arm()
            elif len(records) == _FLUSHED_RECORDS:
                self._flush()
        else:
            self._metrics.add("crossgrade.gateway.dropped", "record")

    def keep_pair(
        self,
        pair: ShadowPair,
        on_kept: OnKept | None = None,
        *,
        instead: Callable[[], ShadowPair] | None = None,
        identifier: str = "",
    ) -> None:
        """Hand over a shadow pair; `on_kept` receives whether it is in the store.

        `instead` makes the missed pair that takes its place, under the same id, if it cannot be kept.
        """
        identifier = identifier or _new_id()

        def done(answer: Done | None) -> None:
            kept = answer is not None and answer.error is None
            if not kept and instead is not None:
                self.keep_pair(instead(), on_kept, identifier=identifier)
                return
            if not kept:
                self._metrics.add("crossgrade.gateway.dropped", "pair")
            if on_kept is not None:
                on_kept(kept)

        number = self._next()
        most = MOST_PAIRS_BYTES if pair.missed is None else MOST_PAIRS_BYTES + _MISSED_BYTES
        self._request(number, Keep(number, identifier, pair), done, most)

    def feedback(self, outcome: Outcome, on_done: Callable[[str | None], None]) -> None:
        """Hand over feedback; `on_done` receives what was wrong, None if it is in the store."""
        number = self._next()
        self._request(number, Report(number, outcome), lambda answer: on_done(_problem(answer)))

    def metrics_text(self, on_text: OnText) -> None:
        """Ask for the metrics of all workers as Prometheus text; `on_text` receives None without a broker."""
        if not self._ready:
            on_text(None)
            return
        self._metrics_at = 0.0
        self._flush()
        number = self._next()
        self._request(
            number, Scrape(number), lambda done: on_text(None if done is None or done.error else done.text)
        )

    def fetch_keys(self, issuer: str, on_done: Callable[[], None]) -> None:
        """Have an issuer's keys fetched again; `on_done` is called when that is over, whatever the result."""
        number = self._next()
        self._request(number, Fetch(number, issuer), lambda _: on_done())

    def remember(self, message: Callable[[int], Remember], on_kept: Callable[[], None]) -> None:
        """Hand over a response to be kept; `message` makes it with its number.

        `on_kept` is called once, when the broker has it. Without an answer within `WAIT_S` seconds it is
        called then, and a broker that comes back still gets the response. If there is no room for it here,
        it is dropped and `on_kept` is called at once.
        """
        assert self._loop is not None
        number = self._next()
        waiting = [on_kept]

        def go_on() -> None:
            while waiting:
                waiting.pop()()

        def done(answer: Done | None) -> None:
            if answer is None:
                self._metrics.add("crossgrade.gateway.dropped", "response")
            go_on()

        self._request(number, message(number), done)
        if waiting:
            self._loop.call_later(WAIT_S, go_on)

    def find(self, message: Callable[[int], Find], on_done: OnDone) -> None:
        """Look for kept responses; `on_done` receives None without an answer within `WAIT_S` seconds."""
        assert self._loop is not None
        number = self._next()
        self._request(number, message(number), on_done)
        self._loop.call_later(WAIT_S, self._asked.answer, number, None)

    def tell_run(self, message: Callable[[int], BeginRun | MixRun], on_done: OnDone) -> None:
        """Hand over what is asked or told of a run; `message` makes it with its number.

        `on_done` receives the answer, however late it comes, or None if there is no room for the message.
        """
        number = self._next()
        self._request(number, message(number), on_done)

    def inscribe(self, message: Callable[[int], Inscribe], on_done: OnDone) -> bool:
        """Hand over an entry for the ledger; `message` makes it with its number.

        `on_done` receives the answer, however late it comes. Returns False, and drops the entry, if there is
        no room for it.
        """
        number = self._next()
        entry = message(number)
        line = _encoder.encode(entry) + b"\n"
        most = MOST_ENTRIES_BYTES + (_AWAITED_BYTES if entry.is_awaited else 0)
        if self._closing or self._entries.size + len(line) > most:
            return False
        self._entries.add(number, line, on_done)
        if self._ready and self._transport is not None:
            self._transport.write(line)
        return True

    async def close(self, patience_s: float = 1.0) -> None:
        """Send what is left, wait for the broker's acknowledgement, and disconnect."""
        self._closing = True
        self._metrics_at = 0.0
        self._flush()
        try:
            async with asyncio.timeout(patience_s):
                while self._ready and (self._unwritten or self._asked or self._entries):
                    self._written.clear()
                    await self._written.wait()
        except TimeoutError:
            pass
        for timer in (self._timer, self._ticker):
            if timer is not None:
                timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.close()

    # Connection.

    async def _connect(self) -> None:
        assert self._loop is not None
        while not self._closing:
            try:
                with socket_address(self._path) as address:
                    await self._loop.create_unix_connection(lambda: self, address)
            except OSError:
                await asyncio.sleep(_RETRY_S[min(self._failures, len(_RETRY_S) - 1)])
                self._failures += 1
            else:
                return

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce the worker."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are not a subclass
        self._input = b""
        self._send(Hello(self._worker, self._life, os.getpid()))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Start to look for a new broker."""
        self._transport = None
        self._ready = False
        self._lost_at = time.monotonic()
        self._written.set()
        if not self._closing and self._loop is not None:
            self._connecting = self._loop.create_task(self._connect())

    def data_received(self, data: bytes) -> None:
        """Take the broker's messages."""
        *lines, self._input = (self._input + data).split(b"\n")
        for line in lines:
            message = _decoder.decode(line)
            self._handlers[type(message)](message)

    def _welcome(self, message: Welcome) -> None:
        self._failures = 0
        self._limits.idle_s = message.idle_s
        self._wrote(Ack(message.seq))
        spends = [spend for flush in self._unwritten for spend in flush.spends]
        self._send(Resume(self._limits.held(spends)))
        assert self._transport is not None
        self._transport.writelines([flush.data for flush in self._unwritten])
        self._transport.writelines(self._asked.lines() + self._entries.lines())
        self._ready = True
        self._limits.ask_again()
        self._flush()

    def _wrote(self, message: Ack) -> None:
        unwritten = self._unwritten
        while unwritten and unwritten[0].seq <= message.seq:
            self._unwritten_bytes -= len(unwritten.popleft().data)
        self._written.set()

    def _recall(self, message: Recall) -> None:
        self._limits.recalled(message.lease)
        self._recalled.append(message.lease)
        self._flush()

    def _collect(self, message: Collect) -> None:
        self._flush()
        self._send(Collected(message.number))

    def _done(self, message: Done) -> None:
        self._asked.answer(message.number, message)
        self._entries.answer(message.number, message)
        self._written.set()

    def _mixed(self, message: MixRun) -> None:
        self.on_mixed(message)

    # Sending.

    def _send(self, message: object) -> None:
        if self._transport is not None:
            self._transport.write(_encoder.encode(message) + b"\n")

    def _send_ask(self, ask: Ask) -> bool:
        if self._ready:
            self._flush()  # the broker should know what was spent before it lends more
            self._send(ask)
        return self._ready

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _request(
        self,
        number: int,
        message: object,
        on_done: OnDone,
        most: int = MOST_PAIRS_BYTES,
    ) -> None:
        line = _encoder.encode(message) + b"\n"
        if self._closing or self._asked.size + len(line) > most:
            on_done(None)
            return
        self._asked.add(number, line, on_done)
        if self._ready and self._transport is not None:
            self._transport.write(line)

    def _arm(self) -> None:
        if self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(FLUSH_S, self._flush)

    def _tick(self) -> None:
        assert self._loop is not None
        self._ticker = self._loop.call_later(METRICS_S, self._tick)
        self._limits.tick()
        self._flush()

    def _flush(self) -> None:
        """Send records, spends and (once a second) metrics in one piece."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._ready or self._transport is None or self._unwritten_bytes > MOST_UNWRITTEN_BYTES:
            if self._records:
                self._arm()
            return
        records, self._records = self._records, []
        recalled, self._recalled = self._recalled, []
        spends = self._limits.take_spends()
        self._metrics.count(records)
        now = time.monotonic()
        is_due = now - self._metrics_at >= METRICS_S
        deltas = self._metrics.take() if is_due else []
        if not (records or spends or recalled or deltas):
            return
        self._seq += 1
        lines = _encoder.encode_lines(records)
        head = Flush(
            self._seq,
            size=len(lines),
            records=len(records),
            spends=spends,
            recalled=recalled,
            metrics=deltas,
        )
        data = b"%b\n%b" % (_encoder.encode(head), lines)
        self._unwritten.append(_Unwritten(self._seq, data, spends))
        self._unwritten_bytes += len(data)
        self._transport.write(data)
        if is_due:
            self._metrics_at = now


def _new_id() -> str:
    """Return a UUID version 7, as the store's records have it."""
    text = f"{time.time_ns() // 1_000_000:012x}7{os.urandom(10).hex()}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-8{text[17:20]}-{text[20:32]}"


def _problem(done: Done | None) -> str | None:
    return "the broker is not there" if done is None else done.error
