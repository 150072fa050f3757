"""A worker in a thread, between raw sockets and fake providers; records are kept in memory."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from crossgrade.domain import AccessRule, LedgerSpec, RouteSpec, Serving, StoredResponses
from crossgrade.gateway._messages import (
    TOO_LARGE,
    BeginRun,
    Done,
    Find,
    Inscribe,
    KnownRun,
    MixRun,
    Remember,
    RequestRecord,
)
from crossgrade.gateway._worker import Worker, _listen
from crossgrade.gateway.settings import GatewaySettings, Target
from crossgrade.identity import keyring_bytes
from crossgrade.serve._kept import KeptResponses
from crossgrade.testing import FakeProvider, Fault


class MemoryBroker:
    """Keeps what a worker hands to the broker."""

    def __init__(self) -> None:
        self.entries: list[Inscribe] = []
        self.ledger: Callable[[Inscribe], str | None] = lambda _: None
        self.held: list[Callable[[], None]] = []
        self.has_room = True
        self.records: list[RequestRecord] = []
        self.outcomes: list[Any] = []
        self.pairs: list[Any] = []
        self.fetches: list[str] = []
        self.connected = True
        self.is_away = False
        self.kept = KeptResponses(StoredResponses())
        self.runs: dict[str, KnownRun] = {}
        self.asked_runs = 0
        self.answers_runs: Callable[[Callable[[], None]], None] = lambda answer: answer()

    def remember(self, message: Callable[[int], Remember], on_kept: Callable[[], None]) -> None:
        self.kept.keep(msgspec.json.decode(msgspec.json.encode(message(1)), type=Remember))
        on_kept()

    def find(self, message: Callable[[int], Find], on_done: Any) -> None:
        found = self.kept.find(message(1), 10_000)
        error = TOO_LARGE if found is None else None
        on_done(Done(1, text=msgspec.json.encode(found).decode(), error=error))

    def tell_run(self, message: Callable[[int], BeginRun | MixRun], on_done: Any) -> None:
        """Remember runs; `answers_runs` may hold an answer back, or give none."""
        told = msgspec.json.decode(msgspec.json.encode(message(1)), type=BeginRun | MixRun)
        if isinstance(told, MixRun):
            run = self.runs[told.id]
            run.is_mixed, run.is_down = True, run.is_down or told.is_down
            return
        self.asked_runs += 1
        text = msgspec.json.encode(self.runs.setdefault(told.run.id, told.run)).decode()
        loop = asyncio.get_running_loop()
        self.answers_runs(lambda: loop.call_soon_threadsafe(on_done, Done(1, text=text)) and None)

    def inscribe(self, message: Callable[[int], Inscribe], on_done: Callable[[Done | None], None]) -> bool:
        """Answer with the error that `ledger` returns; an answer that is `held` comes when a test calls it."""
        entry = msgspec.json.decode(msgspec.json.encode(message(len(self.entries))), type=Inscribe)
        if not self.has_room:
            return False
        error = self.ledger(entry)
        self.entries.append(entry)
        if error == "held":
            self.held.append(lambda: on_done(Done(entry.number)))
        else:
            asyncio.get_running_loop().call_soon(on_done, Done(entry.number, error=error))
        return True

    def record(self, record: RequestRecord) -> None:
        self.records.append(record)

    def keep_pair(self, pair: Any, on_kept: Any = None, *, instead: Any = None) -> None:
        self.pairs.append(pair)
        if on_kept is not None:
            on_kept(True)

    def feedback(self, outcome: Any, on_done: Any) -> None:
        self.outcomes.append(outcome)
        on_done(None)

    def fetch_keys(self, issuer: str, on_done: Any) -> None:
        self.fetches.append(issuer)
        self.on_fetched = on_done

    def metrics_text(self, on_text: Any) -> None:
        on_text("# nothing\n")

    def start(self) -> None: ...

    async def close(self, patience_s: float = 1.0) -> None: ...


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    rest: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["error"]["code"]


class _Reader:
    def __init__(self, connection: socket.socket, data: bytes) -> None:
        self.connection = connection
        self.data = data

    def more(self) -> None:
        piece = self.connection.recv(65536)
        if not piece:
            raise EOFError
        self.data += piece

    def until(self, mark: bytes) -> bytes:
        while mark not in self.data:
            self.more()
        found, _, self.data = self.data.partition(mark)
        return found

    def exactly(self, size: int) -> bytes:
        while len(self.data) < size:
            self.more()
        found, self.data = self.data[:size], self.data[size:]
        return found

    def chunks(self) -> Iterator[bytes]:
        while size := int(self.until(b"\r\n"), 16):
            yield self.exactly(size)
            self.exactly(2)
        self.exactly(2)

    def rest(self) -> bytes:
        try:
            while True:
                self.more()
        except EOFError:
            return self.data


def read_answer(connection: socket.socket, buffered: bytes = b"") -> Answer:
    """Read one HTTP answer; chunked bodies are put together. An answer cut off has status 0."""
    reader = _Reader(connection, buffered)
    headers: dict[str, str] = {}
    body = b""
    try:
        first, *lines = reader.until(b"\r\n\r\n").decode().split("\r\n")
        status = int(first.split()[1])
        if status == 100:
            return read_answer(connection, reader.data)
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            for piece in reader.chunks():
                body += piece
        elif "content-length" in headers:
            body = reader.exactly(int(headers["content-length"]))
        else:
            body = reader.rest()
    except EOFError:
        return Answer(0, headers, body)
    return Answer(status, headers, body, reader.data)


def chat(model: str = "support", **fields: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}], **fields}).encode()


@dataclass
class World:
    """A running worker."""

    worker: Worker
    broker: MemoryBroker
    loop: asyncio.AbstractEventLoop
    port: int
    key: str | None = None
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def records(self) -> list[RequestRecord]:
        return self.broker.records

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        self._open.append(connection)
        return connection

    def raw(self, data: bytes) -> Answer:
        connection = self.connect()
        connection.sendall(data)
        return read_answer(connection)

    def head(self, path: str, length: int, method: str = "POST", **headers: str) -> bytes:
        given = {"host": "localhost", "content-length": str(length), **headers}
        if self.key is not None:
            given = {"authorization": f"Bearer {self.key}", **given}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
        return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()

    def post(self, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> Answer:
        return self.raw(self.head(path, len(body), **headers) + body)

    def get(self, path: str, **headers: str) -> Answer:
        return self.raw(self.head(path, 0, "GET", **headers))

    def on_loop(self, call: Callable[[], Any]) -> Any:
        """Call something in the worker's thread."""

        async def run() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def none_idle(self) -> bool:
        """Return whether no connection waits for another request."""
        edge = self.worker.edge
        return self.on_loop(lambda: all(each.idle_since is None for each in edge.connections))

    def settled(self, count: int = 1) -> list[RequestRecord]:
        """Wait until so many requests are recorded."""
        for _ in range(3_000):
            if len(self.records) >= count:
                return self.records
            time.sleep(0.01)
        raise AssertionError(f"{len(self.records)} records, not {count}")


def target(fake: FakeProvider, name: str = "big", **fields: Any) -> Target:
    given: dict[str, Any] = {
        "provider": "openai-compatible",
        "dialect": "openai",
        "base_url": fake.base_url,
        "model": f"{name}-model",
        "timeout_s": 5.0,
    }
    return Target(name=name, **{**given, **fields})


@contextmanager
def running(
    tmp_path: Any,
    targets: list[Target],
    routes: list[RouteSpec] | None = None,
    *,
    environ: dict[str, str] | None = None,
    key: str | None = None,
    ends_at: dict[str, float] | None = None,
    access: tuple[AccessRule, ...] = (),
    dossier_basis: dict[str, Any] | None = None,
    ledger: LedgerSpec | None = None,
    **serving: Any,
) -> Iterator[World]:
    """Run a worker in a thread."""
    given = {"port": 0, "open_on_loopback": True, **serving}
    if given.get("issuers") and not (tmp_path / "keys.json").exists():
        (tmp_path / "keys.json").write_bytes(keyring_bytes([]))  # as the broker does
    settings = GatewaySettings(
        serving=Serving(**given),
        routes=tuple(routes or [RouteSpec(name="support", incumbent=targets[0].name)]),
        targets=tuple(targets),
        state=str(tmp_path),
        broker=str(tmp_path / "broker.sock"),
        ends_at=ends_at or {},
        access=access,
        dossier_basis=dossier_basis or {},
        ledger=ledger or LedgerSpec(),
    )
    loop = asyncio.new_event_loop()
    broker = MemoryBroker()
    made: list[Worker] = []

    async def start() -> None:
        worker = Worker(settings, environ=environ or {}, sweep_s=0.02)
        worker.broker = broker
        worker.context.broker = broker
        worker.context.shadows.broker = broker
        worker.context.inscriber.broker = broker
        worker.context.runs.broker = broker
        worker.gateway.callers.broker = broker
        if worker.context.earlier is not None:
            worker.context.earlier.broker = broker
        await worker.start(_listen("127.0.0.1", 0))
        made.append(worker)

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, name="gateway", daemon=True)
    thread.start()
    world = World(made[0], broker, loop, made[0].port, key)
    try:
        yield world
    finally:
        for connection in world._open:
            connection.close()
        asyncio.run_coroutine_threadsafe(made[0].stop(2.0), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider("hello from the model") as provider:
        yield provider


@pytest.fixture
def hanging() -> Iterator[FakeProvider]:
    """A provider that never answers."""
    with FakeProvider(Fault("hang")) as provider:
        yield provider


@pytest.fixture
def world(tmp_path: Any, fake: FakeProvider) -> Iterator[World]:
    with running(tmp_path, [target(fake)]) as running_world:
        yield running_world


@pytest.fixture
def run(tmp_path: Any) -> Any:
    """Return a function that runs a worker for the length of a `with`."""
    return lambda *args, **kwargs: running(tmp_path, *args, **kwargs)


@pytest.fixture
def make() -> Any:
    """Return the builders that tests share: `target`, `chat`, `read_answer`."""

    class Make:
        pass

    Make.target = staticmethod(target)
    Make.chat = staticmethod(chat)
    Make.read_answer = staticmethod(read_answer)
    return Make
