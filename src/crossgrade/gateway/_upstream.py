"""The provider's side: keep-alive HTTP/1.1 connections with callbacks only, and pools of them."""

import asyncio
import re
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast

import httptools

from crossgrade.errors import ConfigError, ProviderError, ProviderTimeoutError, UpstreamError
from crossgrade.gateway._head import MOST_BODY_BYTES, MOST_HEAD_BYTES, KnownHead, known_head, plain_body
from crossgrade.gateway._sweeper import NEVER, Sweeper

WRITE_HIGH = 1 << 18
_MOST_UNLIKE = 8
"""No head is kept after this many that differ from the one before, as from hosts that put an id in each."""

Taker: TypeAlias = Callable[[bytes], None]
"""Takes the pieces of an answer's body."""


class UpstreamCall(Protocol):
    """A call to a provider. It is told of its connection, then of the answer.

    `on_fail`, `on_whole` and `on_end` are the last callback.
    """

    def repeats(self) -> bool:
        """Return whether to send the request once more, since a kept connection turned out to be closed."""

    def on_ready(self, connection: "UpstreamConnection") -> None:
        """Write the request to the connection."""

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> Taker:
        """Take the answer's status and headers (names in lower case); return what takes its body."""

    def on_whole(self, body: bytes) -> None:
        """Take the body of a complete answer with status 200 and no headers that matter."""

    def on_end(self) -> None:
        """Note that the answer is complete."""

    def on_fail(self, error: ProviderError) -> None:
        """Note that there will be no answer, or no more of it."""

    def upstream_paused(self) -> None:
        """Write no more for now: the provider reads slowly."""

    def upstream_resumed(self) -> None:
        """Continue to write."""


def _nothing(data: bytes) -> None:
    """Ignore a piece that no call waits for."""


class _Rest:
    """Takes what follows an answer's last event: usually the end of its framing."""

    def repeats(self) -> bool:
        return False

    def on_ready(self, connection: "UpstreamConnection") -> None: ...

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> Taker:  # noqa: ARG002  # the signature of UpstreamCall
        return _nothing

    def on_whole(self, body: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_fail(self, error: ProviderError) -> None: ...

    def upstream_paused(self) -> None: ...

    def upstream_resumed(self) -> None: ...


class _Unasked(Exception):  # noqa: N818  # it only stops the parser
    """A second answer followed the first without a request."""


_REST = _Rest()
_REST_S = 1.0


class UpstreamConnection(asyncio.Protocol):
    """Carries one call after another; `used_at` is when it last began one or received bytes."""

    __slots__ = (
        "_began", "_call", "_count", "_ended", "_headers", "_kept", "_known", "_parser", "_paused",
        "_pieces", "_pool", "_take", "_transport", "_unlike", "_until_close", "busy_body", "deadline",
        "on_body", "reused", "used_at",
    )  # fmt: skip

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # the parser's callback: kept until the whole read is parsed
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._call: UpstreamCall | None = None
        self._take: Taker = _nothing
        self._headers: dict[bytes, bytes] = {}
        self._known: KnownHead | None = None
        self._count = self._unlike = 0
        self._began = self._ended = self._kept = self._until_close = False
        self._paused = False
        self.busy_body = False
        self.reused = False
        self.used_at = 0.0
        self.deadline = NEVER

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        transport = cast("asyncio.Transport", transport)  # uvloop's transport is not a subclass
        self._transport = transport
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=WRITE_HIGH)

    @property
    def usable(self) -> bool:
        """Whether a call can be sent."""
        return self._transport is not None and not self._transport.is_closing() and self._call is None

    def start(self, call: UpstreamCall) -> None:
        """Let a call write its request, and wait for its answer."""
        self._call = call
        self._began = self._ended = False
        self._kept = True  # unless the answer closes the connection
        pool = self._pool
        self.used_at = pool.now()
        self.deadline = self.used_at + pool.timeout_s
        call.on_ready(self)

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes of the request."""
        if self._transport is not None:
            self._transport.write(data)

    def write_body(self, data: bytes | memoryview) -> None:
        """Send a piece of a body that comes in pieces; the wait for the answer starts again."""
        self.deadline = self._pool.now() + self._pool.timeout_s
        self.write(data)

    def detach(self) -> None:
        """Release the call, whose answer is complete, and wait a moment for the end of its framing."""
        self._call = _REST
        self._take = _nothing
        self.deadline = self._pool.now() + _REST_S

    def give_back(self) -> None:
        """Release the call, which has written nothing."""
        self._call = None
        self._pool.release(self)

    def cancel(self) -> None:
        """Give the call up, and close."""
        self._call = None
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Read no more of the answer for now."""
        if self._transport is not None and self._call is not None:
            self._transport.pause_reading()
            self._paused = True
            self.deadline = NEVER

    def resume(self) -> None:
        """Read on."""
        if self._paused and self._transport is not None:
            self._transport.resume_reading()
            self._paused = False
            self.deadline = self._pool.now() + self._pool.timeout_s

    def expire(self, now: float) -> None:
        """Fail an answer that is late, or close an idle connection."""
        call = self._call
        later = self.used_at + self._pool.timeout_s
        if call is not None and call is not _REST and now < later:  # more has arrived meanwhile
            self.deadline = later
            return
        self.deadline = NEVER
        if call is None:
            if self._transport is not None:
                self._transport.close()
            return
        what = "sent nothing more" if self._began else "did not answer"
        self._fail(
            ProviderTimeoutError(
                f"{self._pool.name} {what} within {self._pool.timeout_s:g} s", code="answer-timeout"
            )
        )

    def _fail(self, error: ProviderError) -> None:
        call, self._call = self._call, None
        if self._transport is not None:
            self._transport.abort()
        if call is not None:
            call.on_fail(error)

    # What the provider sends.

    def data_received(self, data: bytes) -> None:
        """Parse a piece of the answer, and hand on its body in one piece."""
        call = self._call
        now = self._pool.now  # a function kept as an attribute is called faster in two steps
        self.used_at = now()
        if call is None:
            self.cancel()  # no request was sent
            return
        if not self._began and self._plain(call, data):
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError) as error:
            if not self._ended:
                self._broken(error)
                return
            self._kept = False  # the answer is complete; what follows has no request
        pieces = self._pieces
        if pieces:
            piece = b"".join(pieces)  # for one piece this returns the piece itself
            pieces.clear()
            if self._call is not None:
                take = self._take
                take(piece)
        if self._ended:
            self._finish()
        elif not self._began and self._count > MOST_HEAD_BYTES:
            self._fail(
                UpstreamError(
                    f"{self._pool.name} sent a head of more than {MOST_HEAD_BYTES} bytes",
                    code="answer-head-too-large",
                )
            )

    def _plain(self, call: UpstreamCall, data: bytes) -> bool:
        """Hand on a plain answer; return False for any other.

        The parser then reads its head, which is bounded.
        """
        body, known = None, self._known
        if not self._count:
            body = None if known is None else known.body(data)
            if body is None:
                body = self._plain_body(data)
            else:
                self._unlike = 0
        if body is None:
            self._count += len(data)
            return False
        self._call = None
        self._rest()
        call.on_whole(body)
        return True

    def _plain_body(self, data: bytes) -> bytes | None:
        """Return the body of a plain answer, and keep its head, which may come again; None for any other."""
        body = plain_body(data)
        if body is not None and self._unlike < _MOST_UNLIKE:
            self._unlike += 1
            is_last = self._unlike == _MOST_UNLIKE
            self._known = None if is_last else known_head(data, len(body), MOST_BODY_BYTES)
        return body

    def _broken(self, error: Exception) -> None:
        """Fail the call whose answer cannot be read."""
        if isinstance(error, httptools.HttpParserCallbackError):  # an internal error
            context = {"message": "an answer could not be read", "exception": error.__context__ or error}
            asyncio.get_running_loop().call_exception_handler(context)
        self._fail(
            UpstreamError(f"{self._pool.name} sent something that is not HTTP/1.1", code="answer-not-http")
        )

    def _finish(self) -> None:
        call, self._call = self._call, None
        if call is None:
            return
        self._headers = {}
        self._count = 0
        self._rest()
        call.on_end()

    def _rest(self) -> None:
        """Wait for another call, or close: everything that was sent is answered."""
        if self._kept and not self.busy_body:
            if self._paused:
                self.resume()
            self.reused = True
            self._pool.release(self)
        elif self._transport is not None:
            self.busy_body = False
            self._transport.close()

    def on_message_begin(self) -> None:
        """Refuse an answer without a request: it must not become another request's."""
        if self._ended:
            raise _Unasked

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers and repeated names are dropped."""
        if not self._began:
            self._headers.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        """Hand the head on; interim answers (1xx) are left out."""
        status = self._parser.get_status_code()
        headers = self._headers
        if status < 200:
            return
        self._began = True
        self._until_close = b"content-length" not in headers and b"transfer-encoding" not in headers
        if self._call is not None:
            self._take = self._call.on_head(status, headers)

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        if self._began:
            self._ended = True
            self._kept = self._parser.should_keep_alive()
        else:
            self._headers = {}

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """End an answer that lasts until the connection closes; fail any other."""
        self._transport = None
        self._pool.closed(self)
        call, self._call = self._call, None
        if call is None:
            return
        if self._began and self._until_close:
            call.on_end()
        elif self.reused and not self._count and call.repeats():
            self._pool.again(call)
        else:
            what = "broke its answer off" if self._began else "closed the connection without an answer"
            call.on_fail(UpstreamError(f"{self._pool.name} {what}", code="connection-broke-off"))

    def pause_writing(self) -> None:
        """Tell the call to wait."""
        if self._call is not None:
            self._call.upstream_paused()

    def resume_writing(self) -> None:
        """Tell the call to continue."""
        if self._call is not None:
            self._call.upstream_resumed()


CONNECT_S = 10.0
IDLE_S = 50.0
QUEUE_S = 30.0
_SURE_S = 1.0
"""No provider closes a connection that was used this short a time ago."""

_QUEUE_TIMES = 4
"""The calls that may wait for a connection, as a multiple of the connections allowed."""

_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[^/@:\s]+)(?::(\d{1,5}))?(/[^?#\s]*)?")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a provider listens; `path` precedes the path of every endpoint."""

    host: str
    port: int
    is_tls: bool
    path: str

    @property
    def authority(self) -> str:
        """The value of the `host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


def read_url(url: str) -> Address:
    """Parse a base URL; raises ConfigError unless it is http(s) without user and query."""
    match = _URL.fullmatch(url)
    if match is None:
        raise ConfigError(
            f"`{url[:200]}` is not a base URL", code="base-url-invalid", hint="write it as https://host/path"
        )
    scheme, host, port, path = match.groups()
    is_tls = scheme == "https"
    return Address(host.strip("[]"), int(port or (443 if is_tls else 80)), is_tls, (path or "").rstrip("/"))


class Pool:
    """The connections to one address, at most `max_connections`; `name` is for error messages."""

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
        """The number of connections that are open or being opened."""
        return len(self._connections) + len(self._dialing)

    def start(self, call: UpstreamCall, *, fresh: bool = False) -> None:
        """Send a call over a kept connection, else over a new one, else when one becomes free."""
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

    @property
    def is_stale(self) -> bool:
        """Whether the provider may be about to close every kept connection."""
        return not self._idle or self.now() - self._idle[-1].used_at > _SURE_S

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
        """Take back a connection, and give it to the call that has waited longest."""
        if self._waiting:
            connection.deadline = NEVER  # the previous answer's deadline may have passed
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
