"""The broker: `python -m crossgrade.serve.broker SETTINGS`, one process beside the workers.

It lends limits to workers and writes the request log. Every few seconds it commits spends, together with how
far the log is counted. It brings shadow pairs, feedback and entries of the ledger into the store, and
remembers there how runs of agents began. Workers can do without it for a while. Restarted after a `kill -9`,
it counts what it had written.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from crossgrade.dialects import DIALECTS
from crossgrade.domain import REDIS_URL_ENV, LimitUnit
from crossgrade.errors import CrossgradeError, StoreError
from crossgrade.gateway import (
    DENIED,
    NANO,
    TOO_LARGE,
    UNKNOWN_RESPONSE,
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
    FromWorker,
    GatewaySettings,
    Grant,
    Hello,
    Inscribe,
    Keep,
    LeaseId,
    MixRun,
    Recall,
    Remember,
    Report,
    Resume,
    Scrape,
    Survey,
    Welcome,
    read_settings,
    socket_address,
)
from crossgrade.identity import is_subject
from crossgrade.serve._accounts import Accounts
from crossgrade.serve._archive import Archive
from crossgrade.serve._counting import TICK_S, TIDY_TICKS, Counting, Settlement, broker_name, open_counters
from crossgrade.serve._following import follow_store
from crossgrade.serve._kept import KeptResponses
from crossgrade.serve._ledger import LedgerWriter, StoredLedger
from crossgrade.serve._records import RecordFiles, Settled
from crossgrade.serve._run_memory import RunMemory
from crossgrade.serve._state_files import KeySetFetcher, restore_keys
from crossgrade.telemetry import Meter, log_line

if TYPE_CHECKING:
    from crossgrade.store import ServedRuns

GRACE_S = 1.0
"""How long a new broker waits for workers to report what they hold before it lends anything."""

IDLE_SHARED_S = 1.0
"""How long a worker keeps what it does not use, if other machines draw on the same limits."""

_IDLE_ALONE_S = 60.0
_COLLECT_S = 0.6
_LONGEST_LINE = 64 << 20
_WARN_EVERY_S = 60.0

_SOCKET_HINT = "move the project to a shorter path: a socket's path has 107 characters at most"

_T = TypeVar("_T")
_Writer: TypeAlias = asyncio.StreamWriter
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(FromWorker)


class Broker:
    """The broker's state; `run` serves until SIGTERM, or until its parent is gone."""

    def __init__(self, settings: GatewaySettings, environ: Mapping[str, str]) -> None:
        serve = Path(settings.state) / "serve"
        url = environ.get("CROSSGRADE_DATABASE_URL") or str(Path(settings.state) / "crossgrade.db")
        redis_url = environ.get(REDIS_URL_ENV) or None
        shared = redis_url is not None or url.startswith("postgres")
        self._settings = settings
        self._url = url
        self._shared = url.startswith("postgres")
        self._idle_s = IDLE_SHARED_S if shared else _IDLE_ALONE_S
        self._files = RecordFiles(serve / "requests")  # which makes the folder
        self._counting = Counting(partial(open_counters, url, redis_url), broker_name(serve), shared=shared)
        self._accounts = Accounts(
            self._send_to, self._fund, shared=shared, brokers=lambda: self._counting.brokers
        )
        self._flushes = self._files.last_flushes()
        self._archive = Archive(url, Path(settings.state), self._files.find)
        self._start = (self._files.segment, self._files.position)
        stored = settings.serving.stored_responses
        self._kept_responses = None if stored is None else KeptResponses(stored)
        self._meter = Meter()
        self._ledger = LedgerWriter(
            StoredLedger(url, Path(settings.state)), meter=self._meter, warn=partial(self._warn, "ledger")
        )
        self._runs = RunMemory(
            self._open_runs, meter=self._meter, warn=partial(self._warn, "runs"), tell=self._send_to_all
        )
        self._writers: dict[int, _Writer] = {}
        self._pids: dict[int, int] = {}
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="counting")
        self._began: asyncio.Task[None] | None = None
        self._sent: Settlement | None = None
        self._unsure = False
        self._background: set[asyncio.Task[None]] = set()
        self._warned: dict[str, float] = {}
        self._all_resumed = asyncio.Event()
        self._collects: dict[int, tuple[set[int], asyncio.Event]] = {}
        self._rounds = 0
        self._scrapes: list[tuple[Scrape, _Writer]] = []
        self._jwks = KeySetFetcher(settings, partial(self._warn, "issuer"))
        self._ticks = 0

    async def run(self) -> None:
        """Serve workers until SIGTERM or until the parent is gone, then commit what is left."""
        loop = asyncio.get_running_loop()
        ending = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ending.set)
        server = await asyncio.start_unix_server(
            self._connected, sock=_listening(self._settings.broker), limit=_LONGEST_LINE
        )
        parent = os.getppid()
        if self._start[0] or self._settings.serving.limits:
            self._begin()
        state = Path(self._settings.state)
        for_tokens = bool(self._settings.serving.issuers)
        if self._shared:
            self._spawn(follow_store(self._url, state, self._warn, for_tokens=for_tokens))
        else:
            warn = partial(self._warn, "keys")
            self._spawn(restore_keys(self._url, state, warn, for_tokens=for_tokens))
        if for_tokens:
            self._spawn(self._jwks.keep())
        if any(route.ledger != "off" for route in self._settings.routes):
            self._ledger.open()
        if self._settings.ledger.witnesses:
            self._spawn(self._cosigned(state))
        while not ending.is_set() and os.getppid() == parent:
            try:
                async with asyncio.timeout(TICK_S):
                    await ending.wait()
            except TimeoutError:
                self._ticks += 1
                await self._commit(is_due=self._counting.is_due(self._ticks))
        server.close()
        for writer in list(self._writers.values()):
            writer.close()
        await self._ledger.close()
        await self._runs.close()
        if self._sent is not None:
            await self._commit(is_due=True)
        await self._commit(is_due=True)
        self._files.close()
        await self._in_thread(self._counting.close)
        self._archive.close()

    def _open_runs(self) -> "ServedRuns":
        from crossgrade.store import ServedRuns

        return ServedRuns.open(self._url)

    async def _cosigned(self, state: Path) -> None:
        """Ask witnesses for cosignatures of the ledger from time to time."""
        from crossgrade.serve._cosigning import keep_cosigned

        spec = self._settings.ledger
        witnesses = [(each.url, each.key) for each in spec.witnesses]
        log = StoredLedger(self._url, state).log
        await keep_cosigned(log, witnesses, spec.cosign_every_s, partial(self._warn, "witness"))

    # Callbacks of the accounts.

    def _send_to(self, worker: int, message: Grant | Deny | Recall) -> None:
        """Send a message to a worker."""
        writer = self._writers.get(worker)
        if writer is not None:
            _send(writer, message)

    def _send_to_all(self, message: MixRun) -> None:
        for writer in self._writers.values():
            _send(writer, message)

    def _fund(self, lease: LeaseId, cap: int, need: int) -> None:
        """Lease from the database, and pass the result to the accounts."""
        self._spawn(self._lend(lease, cap, need))

    async def _lend(self, lease: LeaseId, cap: int, need: int) -> None:
        try:
            loan = await self._in_thread(self._counting.lend, lease, cap, need)
        except StoreError as error:
            self._warn("limits_unavailable", error)
            self._unsure = True
            self._accounts.funded(lease, None)
        else:
            self._accounts.funded(lease, loan.amount, loan.spent)

    # Workers.

    async def _connected(self, reader: asyncio.StreamReader, writer: _Writer) -> None:
        worker: int | None = None
        try:
            while line := await reader.readline():
                message = _decoder.decode(line)
                if isinstance(message, Hello):
                    worker = await self._welcome(message, writer)
                    life = message.life
                elif isinstance(message, Flush):
                    assert worker is not None
                    lines = await reader.readexactly(message.size) if message.size else b""
                    self._flushed(worker, life, message, lines)
                    _send(writer, Ack(message.seq))
                elif isinstance(message, Collected):
                    self._collected(worker, message.number)
                elif isinstance(message, Inscribe):
                    self._ledger.add(message, partial(_send, writer))
                elif isinstance(message, BeginRun | MixRun):
                    self._runs.take(message, partial(_send, writer))
                else:
                    self._handle(worker, message, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the worker is gone, in the middle of a message
        except (ValueError, AssertionError) as error:  # a line that is too long or not a message
            self._warn(
                "message",
                StoreError(f"a worker's message cannot be read: {error}", code="worker-message-invalid"),
            )
        finally:
            if worker is not None and self._writers.get(worker) is writer:
                self._gone(worker)
            writer.close()

    async def _welcome(self, hello: Hello, writer: _Writer) -> int:
        if hello.worker in self._writers:
            self._writers[hello.worker].close()
            self._gone(hello.worker)
        self._writers[hello.worker] = writer
        self._pids[hello.worker] = hello.pid
        _send(writer, Welcome(self._flushes.get(hello.life, 0), self._idle_s))
        return hello.worker

    def _gone(self, worker: int) -> None:
        del self._writers[worker], self._pids[worker]
        lost = self._accounts.leave(worker)
        if lost:
            self._append(b"", 0, Settled("", 0, lost))
        for name in ("connections", "loop_lag", "breaker", "table_version"):
            self._meter.forget(f"crossgrade.gateway.{name}", "crossgrade.worker", str(worker))

    def _handle(self, worker: int | None, message: FromWorker, writer: _Writer) -> None:
        match message:
            case Ask():
                assert worker is not None
                self._begin()
                self._accounts.ask(worker, message)
            case Resume():
                assert worker is not None
                if message.held:
                    self._begin()
                self._accounts.join(worker, message.held)
                if self._accounts.workers >= self._settings.serving.workers:
                    self._all_resumed.set()
            case Scrape():
                self._scrape(message, writer)
            case Survey():
                text = _encoder.encode(self._survey()).decode()
                _send(writer, Done(message.number, text=text))
            case Fetch():
                self._spawn(self._fetched(message, writer))
            case Keep() | Report():
                self._spawn(self._kept(message, writer))
            case Remember() | Find():
                self._earlier(message, writer)

    def _flushed(self, worker: int, life: str, flush: Flush, lines: bytes) -> None:
        if flush.seq > self._flushes.get(life, 0):
            self._flushes[life] = flush.seq
            self._append(lines, flush.records, Settled(life, flush.seq, flush.spends))
            self._accounts.flushed(worker, flush.spends, flush.recalled)
            self._meter.merge(flush.metrics)

    def _append(self, lines: bytes, records: int, settled: Settled) -> None:
        error = self._files.append(lines, records, settled)
        if error is not None:
            self._meter.add("crossgrade.gateway.dropped", "record", value=float(records))
            why = (
                f"the request log takes no more ({error.strerror}): {self._files.dropped:,} records are lost"
            )
            self._warn("request_log", StoreError(f"{why}; traffic goes on", code="records-unwritable"))

    async def _kept(self, message: Keep | Report, writer: _Writer) -> None:
        if isinstance(message, Report):
            await self._collect()
        error = await self._archive.keep(message)
        if error is None and isinstance(message, Keep):
            if message.pair.missed is None:
                self._meter.add("crossgrade.gateway.pairs", message.pair.route)
        elif error not in (None, DENIED, UNKNOWN_RESPONSE):
            self._warn("archive", StoreError(error, code="archive-failed"))
        _send(writer, Done(message.number, error=error))

    def _earlier(self, message: Remember | Find, writer: _Writer) -> None:
        kept = self._kept_responses
        assert kept is not None
        if isinstance(message, Remember):
            kept.keep(message)
            _send(writer, Done(message.number))
        else:
            found = kept.find(message, self._settings.serving.body_parse_bytes)
            if found is None:
                _send(writer, Done(message.number, error=TOO_LARGE))
            else:
                _send(writer, Done(message.number, text=_encoder.encode(found).decode()))

    async def _collect(self) -> None:
        """Have the workers send their records: one of them may have that of the response still."""
        self._rounds += 1
        number, event = self._rounds, asyncio.Event()
        self._collects[number] = (set(self._writers), event)
        for writer in self._writers.values():
            _send(writer, Collect(number))
        if self._writers:
            with suppress(TimeoutError):
                async with asyncio.timeout(_COLLECT_S):
                    await event.wait()
        del self._collects[number]

    def _collected(self, worker: int | None, number: int) -> None:
        if number in self._collects:
            missing, event = self._collects[number]
            missing -= {worker}
            if not missing:
                event.set()

    async def _fetched(self, message: Fetch, writer: _Writer) -> None:
        await self._jwks.fetch_now(message.issuer)
        _send(writer, Done(message.number))

    # Metrics and state.

    def _scrape(self, message: Scrape, writer: _Writer) -> None:
        self._scrapes.append((message, writer))
        if len(self._scrapes) == 1:  # later ones get the same text
            self._spawn(self._scraped())

    async def _scraped(self) -> None:
        alarms: Mapping[tuple[str, str], int] = {}
        try:
            alarms = await self._archive.alarms()
        except Exception as error:  # noqa: BLE001  # this and all later requests would wait forever
            self._warn("alarms", error)
        scrapes, self._scrapes = self._scrapes, []
        self._meter.set("crossgrade.workers", value=float(len(self._writers)))
        self._meter.set("crossgrade.ledger.waiting", value=float(self._ledger.waiting))
        for name in ("crossgrade.limit.cap", "crossgrade.limit.spent"):
            self._meter.clear(name)
        for lease, cap, spent in self._accounts.known():
            if is_subject(lease.match):
                continue  # subjects of tokens are people, who get no series
            labels = (lease.scope, lease.match, lease.unit, str(lease.window_s))
            self._meter.set("crossgrade.limit.cap", *labels, value=_in_units(lease.unit, cap))
            self._meter.set("crossgrade.limit.spent", *labels, value=_in_units(lease.unit, spent))
        for (route, kind), count in alarms.items():
            self._meter.set("crossgrade.watch.alarms", route, kind, value=float(count))
        text = self._meter.text()
        for message, writer in scrapes:
            _send(writer, Done(message.number, text=text))

    def _survey(self) -> dict[str, Any]:
        limits = [
            {
                "scope": lease.scope,
                "match": lease.match,
                "unit": lease.unit,
                "window_s": lease.window_s,
                "window": lease.window,
                "cap": _in_units(lease.unit, cap),
                "spent": _in_units(lease.unit, spent),
                "left": _in_units(lease.unit, max(0, cap - spent)),
            }
            for lease, cap, spent in self._accounts.known()
        ]
        workers = [{"worker": worker, "pid": pid} for worker, pid in sorted(self._pids.items())]
        breakers = self._meter.values("crossgrade.gateway.breaker")
        return {
            "workers": workers,
            "limits": limits,
            "breakers_open": sorted({target for (_, target), is_open in breakers.items() if is_open}),
            "records_dropped": self._files.dropped,
            "ledger": {
                "waiting": self._ledger.waiting,
                "dropped": int(self._meter.values("crossgrade.gateway.dropped").get(("entry",), 0)),
                "error": self._ledger.error_code,
            },
        }

    # The database.

    def _begin(self) -> None:
        if self._began is None or (self._began.done() and self._began.exception() is not None):
            self._began = asyncio.create_task(self._begin_counting())

    async def _begin_counting(self) -> None:
        """Count what an earlier life had written, give workers time to report what they hold, then lend."""
        leases: dict[LeaseId, tuple[int, int]] = {}
        while True:
            try:
                leases = await self._in_thread(self._counting.begin, self._files, self._start)
                break
            except CrossgradeError as error:
                self._warn("limits_unavailable", error)
                await asyncio.sleep(TICK_S)
        if self._start[0]:
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE_S):
                    await self._all_resumed.wait()
        self._accounts.open(leases)

    async def _commit(self, *, is_due: bool) -> None:
        """Sync the log; if due, write in one transaction what was spent and how far the log is counted.

        A settlement whose answer was lost is sent again as it was, before the next one.
        """
        sync = self._files.syncing()
        begun = self._began is not None and self._began.done() and self._began.exception() is None
        if begun and is_due and self._sent is None:
            position = (self._files.segment, self._files.position)
            self._sent = self._counting.settlement(self._accounts.changes(), position, self._ticks)
        try:
            if sync is not None:
                await asyncio.to_thread(sync)
            if self._sent is not None:
                await self._settle(self._sent)
            if self._kept_responses is not None and self._ticks % TIDY_TICKS == 0:
                self._kept_responses.forget()
            if self._ticks % TIDY_TICKS == 0:
                self._spawn(self._runs.tidy())
            if begun and self._ticks % TIDY_TICKS == 0:
                self._unsure = True  # a call whose answer was lost can have come late
                await self._in_thread(self._counting.tidy)
        except (CrossgradeError, OSError) as error:
            self._warn("not_committed", error)

    async def _settle(self, sent: Settlement) -> None:
        lost = await self._in_thread(self._counting.commit, sent, self._files)
        self._sent = None
        if lost is not None:
            self._accounts.undo(sent.changes)
            self._accounts.undo({lease: (spent, 0) for lease, spent in lost.items()})
        if self._unsure or lost is not None:
            self._unsure = False
            try:
                leases = await self._in_thread(self._counting.leases)
            except CrossgradeError:
                self._unsure = True
                raise
            self._accounts.reconcile(leases)

    async def _in_thread(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Run a database call. All of them run in one thread, in the order in which they are made."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *arguments))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _warn(self, event: str, error: Exception) -> None:
        """Log what is wrong, once a minute for each kind."""
        now = time.monotonic()
        if now - self._warned.get(event, -_WARN_EVERY_S) >= _WARN_EVERY_S:
            self._warned[event] = now
            known = error if isinstance(error, CrossgradeError) else None
            code, hint = (known.code, known.hint) if known is not None else (None, None)
            line = log_line(event, at=time.time(), level="warning", code=code, error=str(error), hint=hint)
            print(line, file=sys.stderr, flush=True)


def _listening(path: str) -> socket.socket:
    """Listen on a Unix socket that only its owner can reach; it replaces one that was left there."""
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with socket_address(path) as address:
            listener.bind(address)
    except OSError as error:
        raise StoreError(
            f"the socket {path} cannot be made ({error})", code="socket-unusable", hint=_SOCKET_HINT
        ) from error
    finally:
        os.umask(before)
    return listener


def _send(writer: _Writer, message: object) -> None:
    if not writer.is_closing():
        writer.write(_encoder.encode(message) + b"\n")


def _in_units(unit: LimitUnit, amount: int) -> float:
    return amount / NANO if unit == "usd" else float(amount)


def main() -> None:
    """Run the broker with the settings file named on the command line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor, which ends the others
    try:
        settings = read_settings(Path(sys.argv[1]))
        DIALECTS.register(settings.dialects)  # shadow pairs hold answers in the words of their providers
        asyncio.run(Broker(settings, os.environ).run())
    except CrossgradeError as error:
        line = log_line("broker", at=time.time(), level="error", error=error.message, hint=error.hint)
        print(line, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
