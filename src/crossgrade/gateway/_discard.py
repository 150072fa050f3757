"""Reading away what is left of a request that was answered before its end."""

from typing import Protocol

_MOST_BYTES = 1 << 20


class Closable(Protocol):
    """The connection that it comes on."""

    def close(self) -> None:
        """Close once everything written is sent."""

    def abort(self) -> None:
        """Cut the connection."""


class Discard:
    """Takes the rest of a body, up to a bound, so that the client gets to read its answer."""

    def __init__(self, connection: Closable) -> None:
        self._connection = connection
        self._left = _MOST_BYTES

    def body(self, data: bytes) -> None:
        """Drop a piece."""
        self._left -= len(data)
        if self._left < 0:
            self._connection.abort()

    def body_end(self) -> None:
        """Close: nothing more comes."""
        self._connection.close()
