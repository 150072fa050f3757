"""Deadlines without a timer each: one periodic sweep over everything that has a deadline."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

EVERY_S = 0.25
NEVER = float("inf")


class Watched(Protocol):
    """An object with a deadline in monotonic seconds."""

    deadline: float

    def expire(self, now: float) -> None:
        """Act on the deadline, at the first sweep after it: give up, or set another one."""


class Sweeper:
    """Checks the deadlines of all watched objects every `every_s` seconds, and measures its own delay.

    To set a deadline is one assignment; it is kept to within `every_s`. `jobs` are called at every sweep with
    the monotonic time.
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
        """Start the sweeps."""
        self._due = time.monotonic() + self._every_s
        self._timer = self._loop.call_later(self._every_s, self._sweep)

    def stop(self) -> None:
        """Stop the sweeps."""
        if self._timer is not None:
            self._timer.cancel()

    def take_lag(self) -> float:
        """Return the longest delay of a sweep since the last call, in seconds."""
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
