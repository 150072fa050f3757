"""The end of a connection: a client that stopped sending, or that was answered before it did."""

import asyncio
import socket
import time
from collections.abc import Callable

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
_LONGEST_S = 10.0


class Discard:
    """Drops the rest of a body, so that the client can read the answer that came before its end.

    Most clients read nothing before they have sent all. After 64 MiB or 10 seconds it is aborted.
    """

    def __init__(self, close: Callable[[], None], abort: Callable[[], None]) -> None:
        self._close = close
        self._abort = abort
        self._left = MOST_DISCARDED_BYTES
        self._until = time.monotonic() + _LONGEST_S

    def body(self, data: bytes) -> None:
        """Drop a piece of the body."""
        self._left -= len(data)
        if self._left < 0 or time.monotonic() > self._until:
            self._abort()

    def body_end(self) -> None:
        """Close the connection: nothing more follows."""
        self._close()
