"""The end of a connection: a client that stopped sending, or that was answered before it did."""

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol

_START = b"HTTP/1.1 "
_FIRST_LOOK_S = 0.05
_LONGEST_PAUSE_S = 1.0


class HalfClosed:
    """Takes the place of the transport after the client has closed its sending side.

    A client that waits for its answer and one that has gone look the same: both send the end of their bytes.
    They differ in the reply to something that is written, and every answer begins with the same nine bytes.
    So these are sent ahead. A client that has gone resets the connection, and one that waits reads the
    unchanged answer.

    The event loop does not report a reset while nothing is read or written. So the socket is asked from time
    to time, and the connection is aborted if the client has gone.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._ahead = True
        transport.write(_START)
        self._look(_FIRST_LOOK_S)

    def _look(self, pause_s: float) -> None:
        if self._transport.is_closing():
            return
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
            return
        then = min(2 * pause_s, _LONGEST_PAUSE_S)
        asyncio.get_running_loop().call_later(pause_s, self._look, then)

    def write(self, data: bytes) -> None:
        """Send bytes. Of the first answer, the part that was sent ahead is left out."""
        if self._ahead:
            self._ahead = False
            data = data.removeprefix(_START)
        self._transport.write(data)

    def pause_reading(self) -> None:
        """Do nothing: the client sends no more."""

    def resume_reading(self) -> None:
        """Do nothing: the client sends no more."""

    def is_closing(self) -> bool:
        """Return whether the connection is closed or about to be."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close after everything written is sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()


MOST_DISCARDED_BYTES = 64 << 20
LONGEST_DISCARD_S = 10.0
SILENT_DISCARD_S = 2.0


class _Closable(Protocol):
    deadline: float

    def close(self) -> None:
        """Close after everything written is sent."""

    def abort(self) -> None:
        """Close at once."""


class Discard:
    """Drops the rest of a body, so that the client can read the answer that came before its end.

    Most clients read nothing before they have sent all. The connection is aborted once nothing has arrived
    for 2 seconds, and after 64 MiB or 10 seconds in any case. Its `deadline` says when.
    """

    def __init__(self, connection: _Closable, now: Callable[[], float]) -> None:
        self._connection = connection
        self._now = now
        self._left = MOST_DISCARDED_BYTES
        self._until = now() + LONGEST_DISCARD_S
        self.wait()

    def wait(self) -> None:
        """Wait for the next piece."""
        self._connection.deadline = min(self._now() + SILENT_DISCARD_S, self._until)

    def body(self, data: bytes) -> None:
        """Drop a piece of the body."""
        self._left -= len(data)
        if self._left < 0:
            self._connection.abort()
        self.wait()

    def body_end(self) -> None:
        """Close the connection: nothing more follows."""
        self._connection.close()
