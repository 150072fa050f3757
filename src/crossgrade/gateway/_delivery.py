"""Writing an answer to a client in as few writes as it has pieces.

A write takes 5 to 20 µs of the kernel's time, more than everything else about a piece. So the head goes with
the first piece, and the end with the last.
"""

from crossgrade.gateway._answers import head, whole
from crossgrade.gateway._head import Request
from crossgrade.gateway._server import ClientConnection


def send_whole(client: ClientConnection, status: int, content_type: bytes, body: bytes, lines: bytes) -> None:
    """Send head and body; `lines` are additional header lines."""
    client.write(whole(status, content_type, body, lines + client.closing))
    client.finish()


class Delivery:
    """An answer in pieces; `length` is None if unknown, and `lines` are additional header lines."""

    __slots__ = ("_chunked", "_client", "_head")

    def __init__(
        self,
        client: ClientConnection,
        request: Request,
        *,
        status: int,
        content_type: bytes,
        length: int | None,
        lines: bytes,
    ) -> None:
        self._client = client
        self._chunked = length is None and request.version == "1.1"
        if length is None and not self._chunked:
            request.keep_alive = False  # in HTTP/1.0 the end of the connection ends the answer
            lines += b"cache-control: no-cache\r\nconnection: close\r\n"
            self._head = b"HTTP/1.1 %d OK\r\ncontent-type: %b\r\n%b\r\n" % (status, content_type, lines)
            return
        if length is None:
            lines += b"cache-control: no-cache\r\n"
        self._head = head(status, content_type, length=length, extra=lines + client.closing)

    def send(self, data: bytes) -> None:
        """Send a piece."""
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head:
            data = self._head + data
            self._head = b""
        transport = self._client.transport  # one call fewer for each event than `write`
        if transport is not None:
            transport.write(data)

    def end(self, last: bytes = b"") -> None:
        """Send the end, with a last piece."""
        if self._chunked:
            last = b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last) if last else b"0\r\n\r\n"
        if self._head or last:
            self._client.write(self._head + last)
        self._client.finish()
