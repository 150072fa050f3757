"""Ctrl-C during a run: once to wait for what was sent, twice to leave at once."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SHOW_CURSOR = b"\x1b[?25h"
_WAITING = b"\nwaiting for what was sent; Ctrl-C again ends at once\n"


@contextmanager
def ends_at_second_interrupt() -> Iterator[Callable[[], None]]:
    """Return what a run calls once it is in motion: then a second Ctrl-C ends the process like a kill.

    The first is left to the event loop, which cancels the run. Raised as an exception, the second
    could strike anywhere in the cleaning up; a kill loses nothing that was committed.
    """
    default = signal.getsignal(signal.SIGINT)
    first = default

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.write(2, _SHOW_CURSOR * os.isatty(2) + _WAITING)  # `print` is not reentrant
        assert callable(first)
        first(number, frame)

    def arm() -> None:
        nonlocal first
        first = signal.getsignal(signal.SIGINT)
        if callable(first):  # else whoever started us ignores Ctrl-C
            signal.signal(signal.SIGINT, interrupt)

    try:
        yield arm
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:  # else nothing is left to do but to leave
            signal.signal(signal.SIGINT, default)
