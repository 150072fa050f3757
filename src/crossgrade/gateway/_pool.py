"""Connections to one provider: kept, bounded, queued for."""

import asyncio
import re
import ssl
import time
from collections import deque
from dataclasses import dataclass

from crossgrade.errors import ConfigError, ProviderTimeoutError, UpstreamError
from crossgrade.gateway._sweeper import NEVER, Sweeper
from crossgrade.gateway._upstream import UpstreamCall, UpstreamConnection

CONNECT_S = 10.0
IDLE_S = 50.0
QUEUE_S = 30.0
_QUEUE_TIMES = 4
"""As many times as there may be connections, calls may wait for one."""

_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[^/@:\s]+)(?::(\d{1,5}))?(/[^?#\s]*)?")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a provider listens: `path` is what goes before every endpoint's own."""

    host: str
    port: int
    is_tls: bool
    path: str

    @property
    def authority(self) -> str:
        """What the `host` header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


def read_url(url: str) -> Address:
    """Read a base URL; raises ConfigError for anything but plain http(s) without user and query."""
    found = _URL.fullmatch(url)
    if found is None:
        raise ConfigError(
            f"`{url[:200]}` is not a base URL", code="base-url-invalid", hint="write it as https://host/path"
        )
    scheme, host, port, path = found.groups()
    is_tls = scheme == "https"
    return Address(host.strip("[]"), int(port or (443 if is_tls else 80)), is_tls, (path or "").rstrip("/"))


class Pool:
    """The connections to one address, under one name for its errors."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sweeper: Sweeper,
        address: Address,
        *,
        name: str,
        timeout_s: float,
        max_connections: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._loop = loop
        self._sweeper = sweeper
        self._address = address
        self._tls = (tls or ssl.create_default_context()) if address.is_tls else None
        self._most = max_connections
        self._idle: list[UpstreamConnection] = []
        self._connections: set[UpstreamConnection] = set()
        self._waiting: deque[tuple[float, UpstreamCall]] = deque()
        self._dialing: set[asyncio.Task[None]] = set()
        self._dialed_for: dict[UpstreamCall, asyncio.Task[None]] = {}
        self.name = name
        self.timeout_s = timeout_s
        self.deadline = NEVER
        self.now = time.monotonic
        sweeper.watched.add(self)

    @property
    def open(self) -> int:
        """How many connections are open or being opened."""
        return len(self._connections) + len(self._dialing)

    def start(self, call: UpstreamCall, *, fresh: bool = False) -> None:
        """Send a call over a kept connection, else a new one, else when one comes free."""
        idle = self._idle
        while idle and not fresh:
            connection = idle.pop()
            if connection.usable:
                connection.start(call)
                return
        if self.open < self._most:
            self._dial(call)
        elif len(self._waiting) < self._most * _QUEUE_TIMES:
            self._waiting.append((self.now() + QUEUE_S, call))
            self.deadline = self._waiting[0][0]
        else:
            call.on_fail(UpstreamError(f"too many requests wait for {self.name}", code="connections-busy"))

    def again(self, call: UpstreamCall) -> None:
        """Send a call over a new connection."""
        self.start(call, fresh=True)

    def withdraw(self, call: UpstreamCall) -> None:
        """Forget a call that has no connection yet."""
        task = self._dialed_for.pop(call, None)
        if task is not None:
            task.cancel()
        elif self._waiting:
            self._waiting = deque(entry for entry in self._waiting if entry[1] is not call)

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection, and give it to whoever waits longest."""
        if self._waiting:
            connection.deadline = NEVER  # that of the answer before may have passed
            self._loop.call_soon(self._serve, connection)
            return
        connection.deadline = connection.used_at + IDLE_S
        self._idle.append(connection)

    def closed(self, connection: UpstreamConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        self._sweeper.watched.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._refill()

    def expire(self, now: float) -> None:
        """Fail the calls that waited too long for a connection."""
        while self._waiting and self._waiting[0][0] <= now:
            _, call = self._waiting.popleft()
            call.on_fail(
                ProviderTimeoutError(
                    f"no connection to {self.name} came free in {QUEUE_S:g} s",
                    code="connections-busy-timeout",
                )
            )
        self.deadline = self._waiting[0][0] if self._waiting else NEVER

    def close(self) -> None:
        """Close every connection and stop opening any."""
        self._sweeper.watched.discard(self)
        for task in tuple(self._dialing):
            task.cancel()
        for connection in tuple(self._connections):
            connection.cancel()

    def _serve(self, connection: UpstreamConnection) -> None:
        if self._waiting and connection.usable:
            connection.start(self._waiting.popleft()[1])
        elif connection.usable:
            self.release(connection)
        else:
            self._refill()

    def _refill(self) -> None:
        if self._waiting and self.open < self._most:
            self._dial(self._waiting.popleft()[1])

    def _dial(self, call: UpstreamCall) -> None:
        task = self._loop.create_task(self._connect(call))
        self._dialing.add(task)
        self._dialed_for[call] = task
        task.add_done_callback(self._dialed)

    def _dialed(self, task: asyncio.Task[None]) -> None:
        self._dialing.discard(task)
        self._refill()

    async def _connect(self, call: UpstreamCall) -> None:
        address = self._address
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await self._loop.create_connection(
                    lambda: UpstreamConnection(self),
                    address.host,
                    address.port,
                    ssl=self._tls,
                    server_hostname=address.host if address.is_tls else None,
                )
        except TimeoutError:
            self._failed(
                call,
                ProviderTimeoutError(
                    f"{self.name} took no connection in {CONNECT_S:g} s", code="connect-timeout"
                ),
            )
        except ssl.SSLError as error:
            self._failed(
                call, UpstreamError(f"no TLS connection to {self.name}: {error.reason}", code="tls-failed")
            )
        except OSError:
            self._failed(call, UpstreamError(f"{self.name} cannot be reached", code="connect-failed"))
        else:
            self._connections.add(connection)
            self._sweeper.watched.add(connection)
            self._dialed_for.pop(call, None)
            connection.start(call)

    def _failed(self, call: UpstreamCall, error: ProviderTimeoutError | UpstreamError) -> None:
        self._dialed_for.pop(call, None)
        call.on_fail(error)
