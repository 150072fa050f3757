"""A client that has said all that it will say: it may wait for its answer, or be gone.

Both send the same: the end of their bytes. What tells them apart is what comes back on something
written, and every answer begins with the same nine bytes. So these go ahead; who is gone has them
reset, and who waits reads the same answer as ever.
"""

import asyncio
import socket

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
