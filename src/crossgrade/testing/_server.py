"""A small HTTP/1.1 server for loopback: one protocol object a connection, no tasks."""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from crossgrade.testing._answers import Sending
from crossgrade.testing._script import ReceivedRequest


class ServerConnection(asyncio.Protocol):
    """Reads requests from one client and sends what `answer` returns for each."""

    def __init__(
        self, answer: Callable[[ReceivedRequest], Sending], connections: "set[ServerConnection]"
    ) -> None:
        self._answer = answer
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Forget the connection."""
        self._transport = None
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_url(self, url: bytes) -> None:
        """Keep the target."""
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Answer `expect: 100-continue`."""
        if self._headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body."""
        self._body.append(piece)

    def on_message_complete(self) -> None:
        """Answer the request."""
        request = ReceivedRequest(
            self._parser.get_method().decode(),
            self._path.decode("latin-1"),
            self._headers,
            b"".join(self._body),
        )
        self._path, self._headers, self._body = b"", {}, []
        sending = self._answer(request)
        if sending.delay_s:
            asyncio.get_running_loop().call_later(sending.delay_s, self._send, sending)
        else:
            self._send(sending)

    def _send(self, sending: Sending) -> None:
        if self._transport is None:
            return
        if sending.piece_delay_s:
            self._transport.write(sending.head)
            self._send_piece(sending, 0)
            return
        self._transport.write(b"".join((sending.head, *sending.pieces)))
        self._end(sending)

    def _send_piece(self, sending: Sending, at: int) -> None:
        if self._transport is None:
            return
        if at == len(sending.pieces):
            self._end(sending)
            return
        self._transport.write(sending.pieces[at])
        asyncio.get_running_loop().call_later(sending.piece_delay_s, self._send_piece, sending, at + 1)

    def _end(self, sending: Sending) -> None:
        if sending.ending == "drop" and self._transport is not None:
            self._transport.close()
