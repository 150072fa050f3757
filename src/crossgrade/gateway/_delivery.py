"""Writing one answer to a client, whole or piece by piece."""

from crossgrade.gateway._answers import head
from crossgrade.gateway._head import Request
from crossgrade.gateway._server import ClientConnection


class Delivery:
    """The answer to one request on its connection. `begun` says that its head was sent."""

    __slots__ = ("_chunked", "_client", "_request", "begun")

    def __init__(self, client: ClientConnection, request: Request) -> None:
        self._client = client
        self._request = request
        self._chunked = False
        self.begun = False

    def whole(self, status: int, content_type: bytes, body: bytes, lines: bytes) -> None:
        """Send head and body; `lines` are further header lines."""
        self.begun = True
        client = self._client
        client.write(head(status, content_type, length=len(body), extra=lines + client.closing) + body)
        client.finish()

    def begin(self, status: int, content_type: bytes, length: int | None, lines: bytes) -> None:
        """Send the head of an answer that comes in pieces, of a `length` that may be unknown."""
        self.begun = True
        client, request = self._client, self._request
        self._chunked = length is None and request.version == "1.1"
        if length is None and not self._chunked:
            request.keep_alive = False  # HTTP/1.0: the end of the connection ends the answer
            lines += b"cache-control: no-cache\r\nconnection: close\r\n"
            client.write(b"HTTP/1.1 %d OK\r\ncontent-type: %b\r\n%b\r\n" % (status, content_type, lines))
            return
        if length is None:
            lines += b"cache-control: no-cache\r\n"
        client.write(head(status, content_type, length=length, extra=lines + client.closing))

    def send(self, data: bytes) -> None:
        """Send a piece."""
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._client.write(data)

    def end(self) -> None:
        """Send the end."""
        if self._chunked:
            self._client.write(b"0\r\n\r\n")
        self._client.finish()

    def cut(self) -> None:
        """Break the answer off in a way that the client cannot take for its end."""
        self._client.abort()
