"""The connections to one account at one host."""

import asyncio
import ssl
from collections.abc import Mapping
from functools import cache
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, urlsplit

from crossgrade.errors import ProviderTimeoutError, UpstreamError, UsageError
from crossgrade.providers._connection import Connection, HttpResponse, Sink
from crossgrade.providers._proxy import Proxy, Tunnel, proxy_for
from crossgrade.wire import excerpt

_LONGEST_IDLE_S = 45.0
_DRAIN_S = 2.0
_TURNS_TO_CLOSE = 10


class HttpPool:
    """Keep-alive connections to one base URL, with the headers that every call there needs.

    Nothing is retried and no redirect followed. There are as many connections as calls at
    once: the caller bounds its concurrency.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        environ: Mapping[str, str],
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        parts = split_base_url(base_url)
        assert parts.hostname is not None
        secure = parts.scheme == "https"
        self.base_url = base_url.rstrip("/")
        self._host = parts.hostname
        self._port = parts.port or (443 if secure else 80)
        self._ssl = (ssl_context or _default_ssl_context()) if secure else None
        self._proxy: Proxy | None = proxy_for(parts.scheme, self._host, environ)
        self._path = parts.path.rstrip("/")
        fixed = {"host": parts.netloc, "accept-encoding": "identity", "user-agent": "crossgrade", **headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in fixed.items()).encode("ascii")
        self._target = self._path.encode("ascii")
        self._plain_proxy = self._proxy if self._ssl is None else None
        if self._plain_proxy is not None:
            self._target = f"http://{parts.netloc}{self._path}".encode("ascii")
            if self._plain_proxy.authorization is not None:
                self._headers += f"proxy-authorization: {self._plain_proxy.authorization}\r\n".encode("ascii")
        self._idle: list[tuple[Connection, float]] = []
        self._open: set[Connection] = set()

    def __repr__(self) -> str:
        return f"HttpPool({self.base_url!r}, open={len(self._open)})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in tuple(self._open):
            connection.abort()
        self._idle.clear()
        for _ in range(_TURNS_TO_CLOSE):
            if self._open:
                await asyncio.sleep(0)  # lets the transports close their sockets

    async def request(
        self,
        method: bytes,
        path: str,
        body: bytes = b"",
        *,
        content_type: bytes = b"application/json",
        timeout_s: float,
        largest: int,
        sink: Sink | None = None,
    ) -> tuple[HttpResponse, float, float]:
        """Send one request; return the response and when, by the loop's clock, it was sent and complete.

        Raises `ProviderTimeoutError` after `timeout_s` in all, connecting included, and
        `UpstreamError` when no whole response of at most `largest` bytes comes.
        """
        loop = asyncio.get_running_loop()
        head = b"%b %b%b HTTP/1.1\r\n%b" % (method, self._target, path.encode("ascii"), self._headers)
        if body or method == b"POST":
            head += b"content-type: %b\r\ncontent-length: %d\r\n" % (content_type, len(body))
        connection: Connection | None = None
        finished = False
        try:
            async with asyncio.timeout(timeout_s):
                connection = self._idle_connection(loop.time()) or await self._connect()
                sent = loop.time()
                response = await connection.exchange(b"%b\r\n%b" % (head, body), largest=largest, sink=sink)
                ended = loop.time()
            finished = True
        except TimeoutError:
            raise ProviderTimeoutError(f"no whole answer within {timeout_s:g} s") from None
        except (OSError, ssl.SSLError) as error:
            raise UpstreamError(
                f"cannot connect to {self._host}:{self._port}: {error.strerror or type(error).__name__}",
                hint="check `base_url` and the network; `crossgrade doctor` tries every provider",
            ) from None
        finally:
            if connection is not None and not finished:
                connection.abort()
        if not connection.usable:
            connection.abort_later(_DRAIN_S)  # a stream was complete before its last bytes came
        return response, sent, ended

    def _idle_connection(self, now: float) -> Connection | None:
        while self._idle:
            connection, since = self._idle.pop()
            if connection.usable and now - since < _LONGEST_IDLE_S:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(self._release, self._forget)
        if self._ssl is not None and self._proxy is not None:
            await self._connect_through(self._proxy, self._ssl, connection)
        else:
            host, port = self._host, self._port
            if self._plain_proxy is not None:
                host, port = self._plain_proxy.host, self._plain_proxy.port
            await loop.create_connection(
                lambda: connection, host, port, ssl=self._ssl, happy_eyeballs_delay=0.25
            )
        if connection.usable:
            self._open.add(connection)
        return connection

    async def _connect_through(self, proxy: Proxy, context: ssl.SSLContext, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        transport, tunnel = await loop.create_connection(
            lambda: Tunnel(proxy, self._host, self._port), proxy.host, proxy.port
        )
        try:
            await tunnel.open
            secured = await loop.start_tls(transport, connection, context, server_hostname=self._host)
        except BaseException:
            transport.abort()
            raise
        if secured is None:
            raise UpstreamError("the connection was closed while it was being secured")
        connection.connection_made(secured)

    def _release(self, connection: Connection) -> None:
        self._idle.append((connection, asyncio.get_running_loop().time()))

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)


def split_base_url(url: str) -> SplitResult:
    """Split a base URL; raises `UsageError` unless it is http(s) with a plain host and path."""
    try:
        parts = urlsplit(url)
        sound = (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.username is None
            and not (parts.query or parts.fragment)
            and parts.port != 0
            and url.isascii()
            and url.isprintable()
            and " " not in url
        )
    except ValueError:
        sound = False
    if not sound:
        raise UsageError(
            f"`base_url` is not a plain http(s) address: {excerpt(url.rpartition('@')[2], longest=80)!r}",
            hint="write it like https://host.example/v1; the key belongs in the variable of `api_key_env`",
        )
    return parts


@cache
def _default_ssl_context() -> ssl.SSLContext:
    return ssl.create_default_context()
