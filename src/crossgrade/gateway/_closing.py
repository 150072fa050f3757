"""A client that has stopped sending, or has been answered before it did."""

import asyncio
import socket
from collections.abc import Callable

_START = b"HTTP/1.1 "
_FIRST_LOOK_S = 0.05
_LONGEST_PAUSE_S = 1.0


class HalfClosed:
    """Stands for the transport of such a connection; it is aborted once the client turns out to be gone.

    The loop hears of no reset while nothing is read or written, so the socket is asked, now and again.
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
        """Send bytes: of the first answer, what has not gone ahead."""
        if self._ahead:
            self._ahead = False
            data = data.removeprefix(_START)
        self._transport.write(data)

    def pause_reading(self) -> None:
        """Do nothing: there is nothing more to read."""

    def resume_reading(self) -> None:
        """Do nothing: there is nothing more to read."""

    def is_closing(self) -> bool:
        """Tell whether the connection is closed or about to be."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close once everything written is sent."""
        self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()


_MOST_DISCARDED_BYTES = 1 << 20


class Discard:
    """Takes the rest of a body, up to a bound, so that the client gets to read its answer."""

    def __init__(self, close: Callable[[], None], abort: Callable[[], None]) -> None:
        self._close = close
        self._abort = abort
        self._left = _MOST_DISCARDED_BYTES

    def body(self, data: bytes) -> None:
        """Drop a piece."""
        self._left -= len(data)
        if self._left < 0:
            self._abort()

    def body_end(self) -> None:
        """Close: nothing more comes."""
        self._close()
