"""A clock that moves only when told to."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """Stands in for `now`, `monotonic` and `sleep`; sleeping moves it on at once.

    `slept` lists the durations asked for, in seconds.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._elapsed = 0.0
        self.slept: list[float] = []

    def __call__(self) -> datetime:
        return self._now

    def now(self) -> datetime:
        """Return the time, with its zone."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds since the clock was made."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move on."""
        self._now += timedelta(seconds=seconds)
        self._elapsed += seconds

    async def sleep(self, seconds: float) -> None:
        """Move on by the time that should be slept, without waiting."""
        self.slept.append(seconds)
        self.advance(seconds)
