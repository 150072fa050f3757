"""Tools for testing what is built on Crossgrade: a fake provider, a fake clock, builders of records.

They are public, so that plugins and projects can test with them. They need no key and no network.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from crossgrade.testing._builders import evidence, samples
from crossgrade.testing._model import FakeModel
from crossgrade.testing._script import Fault, ReceivedRequest, Reply, Script

if TYPE_CHECKING:
    from crossgrade.testing.fake import FakeProvider

__all__ = [
    "FakeClock",
    "FakeModel",
    "FakeProvider",
    "Fault",
    "ReceivedRequest",
    "Reply",
    "Script",
    "evidence",
    "samples",
]


class FakeClock:
    """A clock that moves only when told to, for `now`, `monotonic` and `sleep`.

    Sleeping moves it on at once; `slept` lists the requested durations in seconds.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._elapsed = 0.0
        self.slept: list[float] = []

    def __call__(self) -> datetime:
        """Return the time, with its time zone."""
        return self._now

    def now(self) -> datetime:
        """Return the time, with its time zone."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds since the clock was made."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move the clock on."""
        self._now += timedelta(seconds=seconds)
        self._elapsed += seconds

    async def sleep(self, seconds: float) -> None:
        """Move the clock on by the requested time, without waiting."""
        self.slept.append(seconds)
        self.advance(seconds)


def __getattr__(name: str) -> Any:
    """Import the server only when it is used, so that `python -m crossgrade.testing.fake` runs it once."""
    if name == "FakeProvider":
        from crossgrade.testing.fake import FakeProvider

        return FakeProvider
    raise AttributeError(name)
