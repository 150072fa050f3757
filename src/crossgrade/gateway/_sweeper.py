"""Deadlines without a timer each: one coarse sweep over everything that may be late."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

EVERY_S = 0.25
NEVER = float("inf")


class Watched(Protocol):
    """Something with a deadline in monotonic time; `expire` is called at the first sweep after it."""

    deadline: float

    def expire(self, now: float) -> None:
        """Give up, or set another deadline."""


class Sweeper:
    """Looks at every watched object a few times a second, and measures how late it was itself.

    Deadlines are kept to within `every_s`; setting one is an assignment. `jobs` are called at
    every sweep with the monotonic time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, every_s: float = EVERY_S) -> None:
        self._loop = loop
        self._every_s = every_s
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.watched: set[Watched] = set()
        self.jobs: list[Callable[[float], None]] = []
        self.lag_s = 0.0

    def start(self) -> None:
        """Begin to sweep."""
        self._due = time.monotonic() + self._every_s
        self._timer = self._loop.call_later(self._every_s, self._sweep)

    def stop(self) -> None:
        """Sweep no more."""
        if self._timer is not None:
            self._timer.cancel()

    def take_lag(self) -> float:
        """Return the longest delay of a sweep, in seconds, since the last call."""
        lag, self.lag_s = self.lag_s, 0.0
        return lag

    def _sweep(self) -> None:
        now = time.monotonic()
        self.lag_s = max(self.lag_s, now - self._due)
        self._due = now + self._every_s
        self._timer = self._loop.call_later(self._every_s, self._sweep)
        for each in [each for each in self.watched if each.deadline <= now]:
            each.expire(now)
        for job in self.jobs:
            job(now)
