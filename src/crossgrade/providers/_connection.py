"""One HTTP/1.1 connection and the exchanges on it: bounded in size, parsed by llhttp.

The parser is strict and in C. What is left here is what an evaluation needs and general HTTP
clients do not give: no redirects, no cookies, bounded decompression, a callback for each piece
of the body as it comes, and about a twentieth of their CPU time per call.
"""

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import httptools

from crossgrade.errors import ProviderError, UpstreamError

_LARGEST_HEAD = 64 * 2**10
_ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content encodings that are understood although none is asked for, with zlib's window bits."""

Sink = Callable[[bytes], bool]
"""Takes a piece of the body; True says that it needs no more."""


@dataclass(slots=True)
class HttpResponse:
    """A response as received: status, lower-case header names, and the body unless a sink took it."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class _Exchange:
    """One request's response while it comes in; the `on_…` methods are called by the parser."""

    def __init__(self, largest: int, sink: Sink | None) -> None:
        self.response = HttpResponse()
        self.waiter: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
        self.parser = httptools.HttpResponseParser(self)
        self.in_body = False
        self.complete = False
        self.reusable = False
        self.received = 0
        self._largest = largest
        self._sink = sink
        self._body: list[bytes] = []
        self._size = 0
        self._unpack: Callable[[bytes, int], bytes] | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes; raises a `ProviderError` when they are no HTTP, or too many."""
        too_long = not self.in_body and self.received > _LARGEST_HEAD
        self.received += len(data)
        if too_long or self.received > 2 * self._largest + _LARGEST_HEAD:
            raise self._too_large()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, ProviderError):
                raise error.__context__ from None
            raise UpstreamError(f"the answer cannot be read: {error.__context__}") from None
        except httptools.HttpParserError as error:
            raise UpstreamError(f"the answer is not valid HTTP: {error}") from None

    def on_message_begin(self) -> None:
        if self.complete:
            raise UpstreamError("the server answered more than it was asked")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_body:  # what comes later is a trailer
            self.response.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.response.status = self.parser.get_status_code()
        self.in_body = self.response.status >= 200
        if self.response.status != 200:
            self._sink = None
        encoding = self.response.headers.get("content-encoding", "identity").strip().lower()
        if encoding in _ENCODINGS:
            self._unpack = zlib.decompressobj(_ENCODINGS[encoding]).decompress
        elif encoding not in {"", "identity"}:
            raise UpstreamError(f"the answer has an unknown content-encoding: {encoding[:40]!r}")

    def on_body(self, piece: bytes) -> None:
        if self._unpack is not None:
            try:
                piece = self._unpack(piece, self._largest - self._size + 1)
            except zlib.error as error:
                raise UpstreamError(f"the compressed answer is damaged: {error}") from None
        self._size += len(piece)
        if self._size > self._largest:
            raise self._too_large()
        if self._sink is None:
            self._body.append(piece)
        elif not self.waiter.done() and self._sink(piece):
            self.waiter.set_result(self.response)

    def on_message_complete(self) -> None:
        if self.in_body:
            self.reusable = self.framed and self.parser.should_keep_alive()
            self.finish()
        else:  # only a 100 Continue
            self.response.headers.clear()

    def finish(self) -> None:
        """Hand the response over, unless its sink had enough before."""
        self.complete = True
        if not self.waiter.done():
            self.response.body = b"".join(self._body)
            self.waiter.set_result(self.response)

    @property
    def framed(self) -> bool:
        """Whether the body has an end of its own; otherwise it ends with the connection."""
        headers = self.response.headers
        bodiless = self.response.status in {204, 304}
        return bodiless or "content-length" in headers or "transfer-encoding" in headers

    def _too_large(self) -> UpstreamError:
        return UpstreamError(f"the answer is larger than {self._largest} bytes")


class Connection(asyncio.Protocol):
    """A connection that carries one exchange at a time.

    `on_idle` is called when it can carry another one, `on_lost` when it is closed.
    """

    def __init__(
        self, on_idle: "Callable[[Connection], None]", on_lost: "Callable[[Connection], None]"
    ) -> None:
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._exchange: _Exchange | None = None

    @property
    def usable(self) -> bool:
        """Whether the connection is open and carries nothing."""
        return self._transport is not None and self._exchange is None and not self._transport.is_closing()

    def exchange(
        self, request: bytes, *, largest: int, sink: Sink | None = None
    ) -> "asyncio.Future[HttpResponse]":
        """Send a request and return a future of its response, of at most `largest` bytes.

        With `sink` the body of a 200 response goes there, piece by piece. When it returns True
        the future is done, and the rest is read only so that the connection can be used again.
        """
        if self._transport is None:
            raise UpstreamError("the connection was closed before the request was sent")
        self._exchange = _Exchange(largest, sink)
        self._transport.write(request)
        return self._exchange.waiter

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def abort_later(self, delay_s: float) -> None:
        """Close after `delay_s` if what is under way now still is."""
        current = self._exchange

        def check() -> None:
            if current is not None and self._exchange is current:
                self.abort()

        asyncio.get_running_loop().call_later(delay_s, check)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Feed the exchange; whatever goes wrong, or was not asked for, ends the connection."""
        exchange = self._exchange
        if exchange is None:
            self.abort()
            return
        try:
            exchange.feed(data)
        except ProviderError as error:
            if not exchange.waiter.done():
                exchange.waiter.set_exception(error)
            self.abort()
            return
        if exchange.complete:
            self._exchange = None
            if exchange.reusable:
                self._on_idle(self)
            else:
                self.abort()

    def eof_received(self) -> None:
        """Finish a body that ends with the connection."""
        if self._exchange is not None and self._exchange.in_body and not self._exchange.framed:
            self._exchange.finish()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Fail the exchange that was under way."""
        self._transport = None
        if self._exchange is not None and not self._exchange.waiter.done():
            at = "in the middle of the answer" if self._exchange.received else "without an answer"
            self._exchange.waiter.set_exception(UpstreamError(f"the connection was closed {at}"))
        self._on_lost(self)
