"""A small server of a command: the socket that it is served on, its stop, the browser that shows its page."""

import signal
import socket
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from crossgrade.cli._output import note
from crossgrade.errors import UsageError

if TYPE_CHECKING:
    from types import FrameType

    import uvicorn

LOOPBACK = "127.0.0.1"


@contextmanager
def listen(port: int, host: str = LOOPBACK) -> Iterator[socket.socket]:
    """Yield a socket that listens, by default on this machine only; port 0 is any that is free.

    `host` is an IPv4 or IPv6 address. Raises UsageError if the address is not this machine's, or another
    program has the port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(128)
        except OSError as error:
            raise UsageError(
                f"port {port} of {host} cannot be used ({error.strerror or error})",
                code="port-not-free",
                hint="give another one: `--port 0` takes any that is free",
            ) from error
        yield listening


@contextmanager
def stopped_by_interrupt(server: "uvicorn.Server") -> Iterator[None]:
    """Let Ctrl-C stop a server before it runs, too.

    A shell lets a command that it starts in the background ignore Ctrl-C. The server takes it all the same,
    but only while it runs, so that one between the first output and the first request was lost.
    """

    def stop(_number: int, _frame: "FrameType | None") -> None:
        server.should_exit = True

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def show_in_browser(address: str) -> None:
    """Open an address in the browser, if there is one. A browser in the terminal would block, so not here."""

    def show() -> None:
        try:
            webbrowser.open(address)
        except webbrowser.Error as error:
            note(f"no browser could be opened ({error}): open the link yourself", code="no-browser")

    threading.Thread(target=show, daemon=True).start()
