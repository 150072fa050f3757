"""Sends HTTP requests to one account at one host, with the limits that an evaluation needs.

aiohttp does connections, the protocol and proxies. This module adds the limits: no redirects, no cookies,
one deadline for the whole call, and a largest size before and after decompression. It turns every failure
into a `ProviderError`, and records the times from which latencies are computed.
"""

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from crossgrade.dialects import excerpt
from crossgrade.errors import ProviderError, ProviderTimeoutError, UpstreamError, UsageError

_DRAIN_S = 0.1
_ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content encodings that are decoded although none is requested, with zlib's window bits."""

Sink = Callable[[bytes], bool]
"""Receives a piece of the body. Returns True when it needs no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """A response: its status, headers (in any case) and body, which is empty if a sink received it.

    `sent_at` and `ended_at` are seconds of the loop's clock. `sent_at` is when the request was sent on an
    open connection, and `ended_at` when the body was complete or the sink needed no more.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    sent_at: float
    ended_at: float

    @property
    def latency_ms(self) -> float:
        """The time from sending to the end, in milliseconds."""
        return (self.ended_at - self.sent_at) * 1000


class HttpClient:
    """Keep-alive connections to one base URL; made by `open_http`.

    It opens one connection for each concurrent call, so the caller must limit its concurrency.
    """

    def __init__(self, base_url: str, session: aiohttp.ClientSession, proxy: URL | None) -> None:
        self.base_url = base_url
        self._session = session
        self._proxy = proxy

    def __repr__(self) -> str:
        return f"HttpClient({self.base_url!r})"

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | aiohttp.FormData = b"",
        *,
        timeout_s: float,
        largest: int,
        sink: Sink | None = None,
    ) -> HttpResponse:
        """Send one request and return the response. A POST is never sent twice. A body of bytes is JSON.

        With `sink`, the body of a 200 response goes there, piece by piece. Raises `ProviderTimeoutError`
        after `timeout_s` seconds in total, including the time to connect, and `UpstreamError` if no complete
        response of up to `largest` bytes is received.
        """
        response: aiohttp.ClientResponse | None = None
        try:
            async with asyncio.timeout(timeout_s):
                await _see_closed_connections()
                response = await self._session.request(
                    method,
                    URL(self.base_url + path, encoded=True),
                    data=body or None,
                    headers={"content-type": "application/json"}
                    if isinstance(body, bytes) and body
                    else None,
                    allow_redirects=False,
                    proxy=self._proxy,
                )
                received = await _receive(response, largest, sink)
            if not response.content.at_eof():
                await _drain(response)
        except TimeoutError:
            raise ProviderTimeoutError(
                f"no whole answer within {timeout_s:g} s", code="answer-timeout"
            ) from None
        except aiohttp.ClientError as error:
            raise _translated(error) from None
        finally:
            if response is not None:
                response.release()
        return received


@asynccontextmanager
async def open_http(
    base_url: str,
    headers: Mapping[str, str],
    *,
    environ: Mapping[str, str],
    ssl_context: ssl.SSLContext | None = None,
    keeps_alive: bool = True,
) -> AsyncIterator[HttpClient]:
    """Open a client that sends `headers` with every call. It sends nothing yet.

    `environ` may set proxies. Without `keeps_alive`, every call has its own connection. Raises `UsageError`
    for an invalid address or proxy.
    """
    address = _plain_address(base_url)
    proxy = proxy_for(URL(address, encoded=True), environ)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=ssl_context or True, force_close=not keeps_alive),
        headers={"accept-encoding": "identity", "user-agent": "crossgrade", **headers},
        cookie_jar=aiohttp.DummyCookieJar(),
        response_class=_Response,
        timeout=aiohttp.ClientTimeout(),
        auto_decompress=False,
    ) as session:
        yield HttpClient(address, session, proxy)


def proxy_for(url: URL, environ: Mapping[str, str]) -> URL | None:
    """Return the proxy that `environ` sets for an address (`https_proxy`, `all_proxy`, `no_proxy`), or None.

    Names may be in lower or upper case, and lower case takes precedence. Loopback hosts never use a proxy.
    Raises `UsageError` for a proxy that is not `http://`.
    """
    # Upper case sorts before lower case, so that the lower-case value overrides it.
    proxies = {
        name.lower().removesuffix("_proxy"): value
        for name, value in sorted(environ.items())
        if value and name.lower().endswith("_proxy")
    }
    host = url.host or ""
    if host in {"localhost", "127.0.0.1", "::1"} or proxy_bypass_environment(host, proxies):
        return None
    named = proxies.get(url.scheme) or proxies.get("all")
    if named is None:
        return None
    try:
        proxy = URL(named if "://" in named else f"http://{named}")
        f"{proxy.user}{proxy.password}".encode("latin-1")  # as basic authentication will
    except ValueError:
        proxy = URL()
    if proxy.scheme != "http" or not proxy.host:
        raise UsageError(
            f"the proxy set by {url.scheme}_proxy is not an http:// address",
            code="proxy-invalid",
            hint="set it to http://HOST:PORT, or add the host to no_proxy",
        )
    return proxy


def _plain_address(url: str) -> str:
    """Return a base URL without a slash at its end.

    Raises `UsageError` unless it is an http(s) URL with a host and a path only, in printable ASCII.
    """
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
            f"`base_url` is not a plain http(s) address: {excerpt(_without_secrets(url), longest=80)!r}",
            code="base-url-malformed",
            hint="write it like https://host.example/v1; the key belongs in the variable of `api_key_env`",
        )
    return parts.geturl().rstrip("/")


def _without_secrets(url: str) -> str:
    """Return an address without what may hold a key: the user, the query and the fragment."""
    plain = url.rpartition("@")[2]
    shown = plain.partition("?")[0].partition("#")[0]
    return shown if shown == plain else f"{shown}?\u2026"


class _Response(aiohttp.ClientResponse):
    """A response that records when its request was sent, and refuses data from before the request."""

    sent_at = 0.0

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Start reading. aiohttp calls this when the connection is open and the request is sent."""
        self.sent_at = asyncio.get_running_loop().time()
        # aiohttp would take data from before the request as its answer.
        if connection.protocol is None or connection.protocol.should_close:
            raise UpstreamError("the server answered more than it was asked", code="answer-too-long")
        return await super().start(connection)


async def _see_closed_connections() -> None:
    """Let the loop notice which idle connections the server has closed, so that none of them is used.

    The first turn of the loop polls the sockets, and the second runs after their callbacks. Otherwise a
    POST could be written to a closed connection, and it would be unknown whether it arrived.
    """
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def _receive(response: aiohttp.ClientResponse, largest: int, sink: Sink | None) -> HttpResponse:
    assert isinstance(response, _Response)
    unpack = _unpacker(response.headers.get("content-encoding", "identity").strip().lower())
    if response.status != 200:
        sink = None
    body = bytearray()
    packed = unpacked = 0
    while piece := await response.content.readany():
        packed += len(piece)
        if unpack is not None:
            piece = unpack(piece, largest - unpacked + 1)
        unpacked += len(piece)
        if max(packed, unpacked) > largest:
            raise UpstreamError(f"the answer is larger than {largest} bytes", code="answer-too-large")
        if sink is None:
            body += piece
        elif sink(piece):
            break
    return HttpResponse(
        status=response.status,
        headers=response.headers,
        body=bytes(body),
        sent_at=response.sent_at,
        ended_at=asyncio.get_running_loop().time(),
    )


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes] | None:
    """Return a function that decompresses a piece to a bounded size, or None for an uncompressed body."""
    if encoding in {"", "identity"}:
        return None
    if encoding not in _ENCODINGS:
        raise UpstreamError(
            f"the answer has an unknown content-encoding: '{excerpt(encoding, longest=40)}'",
            code="answer-encoding-unknown",
        )
    decompress = zlib.decompressobj(_ENCODINGS[encoding]).decompress

    def unpack(piece: bytes, most: int) -> bytes:
        try:
            return decompress(piece, most)
        except zlib.error as error:
            raise UpstreamError(f"the compressed answer is damaged: {error}", code="answer-damaged") from None

    return unpack


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read the rest of a stream after its end, so that the connection can be used again."""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_DRAIN_S):
            while await response.content.readany():
                pass


def _translated(error: aiohttp.ClientError) -> ProviderError:
    """Return the `ProviderError` for a failure. It repeats no message that may contain a request header."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        said = excerpt(f"{error.status} {error.message}", longest=80)
        return UpstreamError(f"the proxy refused to connect: {said!r}", code="proxy-refused")
    if isinstance(error, aiohttp.ClientConnectorError):
        why = error.os_error.strerror or type(error.os_error).__name__
        return UpstreamError(
            f"cannot connect to {error.host}:{error.port}: {why}",
            code="connect-failed",
            hint="check `base_url` and the network",
        )
    if isinstance(error, aiohttp.ClientResponseError):
        return UpstreamError(
            f"the answer is not valid HTTP: {excerpt(error.message)}", code="answer-not-http"
        )
    if isinstance(error, aiohttp.ClientPayloadError):
        return UpstreamError(
            "the connection was closed in the middle of the answer", code="connection-broke-off"
        )
    return UpstreamError("the connection was closed without an answer", code="connection-closed")
