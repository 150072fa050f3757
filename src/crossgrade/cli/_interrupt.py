"""Ctrl-C or SIGTERM during a run: once to wait for what was sent, twice to leave at once."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from crossgrade.cli._errors import Terminated
from crossgrade.cli._output import coded

_SHOW_CURSOR = b"\x1b[?25h"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Interrupts:
    """Passes the first signal on to the event loop, as Ctrl-C, and leaves the second to the system."""

    def __init__(self, wait_s: float) -> None:
        self._waiting = coded(
            f"\nwaiting up to {wait_s:g} s for calls in flight; Ctrl-C again to stop now",
            code="interrupt-waits",
        )
        self._defaults = {number: signal.getsignal(number) for number in _SIGNALS}
        self.is_terminated = False

    def arm(self) -> None:
        """Take the signals from the event loop, unless whoever started us ignores Ctrl-C."""
        self._first = signal.getsignal(signal.SIGINT)
        if not callable(self._first):
            return
        signal.signal(signal.SIGINT, self._interrupt)
        if self._defaults[signal.SIGTERM] is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.is_terminated = number == signal.SIGTERM
        self._replace({signal.SIGINT: signal.SIG_DFL, signal.SIGTERM: signal.SIG_DFL})
        shown = _SHOW_CURSOR * os.isatty(2) + f"{self._waiting}\n".encode()
        os.write(2, shown)  # `print` is not reentrant
        assert callable(self._first)
        self._first(signal.SIGINT, frame)

    def disarm(self) -> None:
        """Give the signals back; after one came nothing is left to do but to leave."""
        self._replace(self._defaults)

    def _replace(self, handlers: Mapping[signal.Signals, object]) -> None:
        for number, handler in handlers.items():
            if signal.getsignal(number) == self._interrupt:
                signal.signal(number, handler)  # type: ignore[arg-type]  # what getsignal returned, or SIG_DFL


@contextmanager
def ends_at_second_interrupt(wait_s: float) -> Iterator[Callable[[], None]]:
    """Return what a run calls once it is in motion: then a second signal ends the process like a kill.

    The first is left to the event loop, which cancels the run and waits up to `wait_s` seconds for
    calls in flight; SIGTERM does as Ctrl-C and raises `Terminated`. Raised as an exception, the
    second could strike anywhere in the cleaning up; a kill loses nothing that was committed.
    """
    interrupts = _Interrupts(wait_s)
    try:
        yield interrupts.arm
    except KeyboardInterrupt:
        if interrupts.is_terminated:
            raise Terminated from None
        raise
    finally:
        interrupts.disarm()
