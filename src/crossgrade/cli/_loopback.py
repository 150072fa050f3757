"""A page on this machine alone: the socket that it is served on, and the browser that shows it."""

import socket
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager

from crossgrade.cli._output import note
from crossgrade.errors import UsageError

_HOST = "127.0.0.1"


@contextmanager
def listen(port: int) -> Iterator[socket.socket]:
    """Yield a socket that listens on this machine only; port 0 is any that is free.

    Raises UsageError if another program has the port.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((_HOST, port))
            listening.listen(128)
        except OSError as error:
            raise UsageError(
                f"port {port} of {_HOST} cannot be used ({error.strerror})",
                code="port-not-free",
                hint="give another one: `--port 0` takes any that is free",
            ) from error
        yield listening


def show_in_browser(address: str) -> None:
    """Open an address in the browser, if there is one. A browser in the terminal would block, so not here."""

    def show() -> None:
        try:
            webbrowser.open(address)
        except webbrowser.Error as error:
            note(f"no browser could be opened ({error}): open the link yourself", code="no-browser")

    threading.Thread(target=show, daemon=True).start()
