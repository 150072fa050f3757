"""The broker's side of the database: leases of limits, what was spent, how far the log is counted."""

import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from crossgrade.errors import StoreError
from crossgrade.gateway import LeaseId
from crossgrade.serve._accounts import pace_s, share_of
from crossgrade.serve._records import RecordFiles

if TYPE_CHECKING:
    from crossgrade.store import CountedPosition, LimitWindow, Loan

TICK_S = 1.0
"""The seconds of a tick, by which brokers count their time."""

TIDY_TICKS = 60
"""After how many ticks a broker tidies up again."""

_ALONE_TICKS = 5
"""Commit spends once in so many ticks if no other machine draws on the limits: the log has them by then."""

_HEARTBEAT_TICKS = 10
_SILENT_S = 60.0
_KEPT_WINDOWS_S = 40 * 86_400


class Counters(Protocol):
    """Where limits are counted for all brokers: `store.Budgets` or `RedisCounters`.

    Every method raises StoreError if the database does not answer.
    """

    def checkpoint(self, broker: str) -> "CountedPosition | None":
        """Return how far a broker has counted, None if the broker is unknown."""

    def leases(self, broker: str) -> "dict[LimitWindow, int]":
        """Return what a broker has of each window."""

    def spent(self, windows: "Iterable[LimitWindow]") -> "dict[LimitWindow, int]":
        """Return what is spent of windows."""

    def lend(self, broker: str, window: "LimitWindow", *, cap: int, need: int, share: float = 1.0) -> "Loan":
        """Lease at least `need` of a window; 0 if that would exceed the cap."""

    def settle(
        self,
        broker: str,
        changes: "Mapping[LimitWindow, tuple[int, int]]",
        since: "CountedPosition",
        until: "CountedPosition",
    ) -> bool:
        """Commit spends and growths of leases at `since`; return whether the broker is at `until`."""

    def join(self, broker: str, checkpoint: "CountedPosition") -> "CountedPosition":
        """Register a broker; return its checkpoint."""

    def reclaim(self, *, silent_since: datetime) -> list[str]:
        """Free the leases of silent brokers."""

    def brokers(self) -> int:
        """Return how many brokers are active: they have settled, and their leases were not freed since."""

    def forget(self, broker: str, *, before: float) -> None:
        """Erase windows that ended before a time, and a broker's leases of them."""

    def close(self) -> None:
        """Disconnect."""


class Settlement(NamedTuple):
    """Spends and growths of leases, and how far the log is counted with them."""

    changes: Mapping[LeaseId, tuple[int, int]]
    until: "CountedPosition"

    @classmethod
    def now(cls, changes: Mapping[LeaseId, tuple[int, int]], position: tuple[str, int]) -> Self:
        """Return a settlement of the present moment, which no other one shares."""
        return cls(changes, _checkpoint(position))


class Counting:
    """The database calls of one broker, and when it makes them.

    The calls block and run in one thread; the first one connects, by `open_counters`. With `shared`, other
    brokers draw on the same limits, and `brokers` is how many there are, as it was when this one last tidied
    up.
    """

    def __init__(self, open_counters: Callable[[], Counters], broker: str, *, shared: bool) -> None:
        self._open_counters = open_counters
        self._broker = broker
        self._shared = shared
        self.brokers = 1
        self._visited = 0
        self._counters: Counters | None = None
        self._since: CountedPosition

    def is_due(self, tick: int) -> bool:
        """Return whether it is this broker's turn to settle at a tick, which many that share a store take."""
        pace = round(pace_s(self.brokers) / TICK_S) if self._shared else _ALONE_TICKS
        return tick - self._visited >= pace

    def settlement(
        self, changes: Mapping[LeaseId, tuple[int, int]], position: tuple[str, int], tick: int
    ) -> Settlement | None:
        """Return what to commit at a tick, None if nothing changed and the store has heard of this broker."""
        if not changes and tick - self._visited < _HEARTBEAT_TICKS:
            return None
        self._visited = tick
        return Settlement.now(changes, position)

    def begin(self, files: RecordFiles, until: tuple[str, int]) -> dict[LeaseId, tuple[int, int]]:
        """Count what an earlier life had written but not committed.

        Returns the broker's leases, each with what is spent of its window.
        """
        counters = self._open()
        is_known = counters.checkpoint(self._broker) is not None
        since = self._since = counters.join(self._broker, _checkpoint(until))
        self.brokers = max(1, counters.brokers())
        if not is_known:
            return {}  # its leases are unknown too, so the log before now is counted already, or void
        spent = files.spent((since.segment, since.position), until)
        leases = self.leases()
        changes = {
            lease: (amount, max(0, leases.get(lease, 0) - amount) - leases.get(lease, 0))
            for lease, amount in spent.items()
            if amount
        }
        if self.commit(Settlement.now(changes, until), files) is not None:
            return self.begin(files, until)
        all_spent = counters.spent(map(_window, leases))
        return {
            lease: (amount + changes.get(lease, (0, 0))[1], all_spent.get(_window(lease), 0))
            for lease, amount in leases.items()
        }

    def lend(self, lease: LeaseId, cap: int, need: int) -> "Loan":
        """Lease some of a window to this broker."""
        share = share_of(self.brokers) if self._shared else 1.0
        return self._open().lend(self._broker, _window(lease), cap=cap, need=need, share=share)

    def leases(self) -> dict[LeaseId, int]:
        """Return what the database has lent to this broker."""
        return {_lease(window): amount for window, amount in self._open().leases(self._broker).items()}

    def commit(self, settlement: Settlement, files: RecordFiles) -> dict[LeaseId, int] | None:
        """Commit what was spent and how leases changed, together with how far the log is counted.

        After a StoreError the database may have the settlement or not. The same one is then committed again,
        before any other, and counts once. Returns None if it is committed. Otherwise nothing of it counts,
        since the database has this broker elsewhere or has freed its leases. The broker is then registered
        again. What it had committed and the database has lost, as Redis may at a restart, is returned.
        """
        counters = self._open()
        windows = {_window(lease): change for lease, change in settlement.changes.items()}
        if counters.settle(self._broker, windows, self._since, settlement.until):
            self._since = settlement.until
            return None
        before, known = self._since, counters.checkpoint(self._broker)
        self._since = counters.join(self._broker, settlement.until)
        if known is None or known.at >= before.at:
            return {}
        return files.spent((known.segment, known.position), (before.segment, before.position))

    def tidy(self) -> None:
        """Free the leases of brokers that are gone, and forget windows that ended long ago."""
        from crossgrade.store import utc_now

        counters, now = self._open(), utc_now()
        counters.forget(self._broker, before=now.timestamp() - _KEPT_WINDOWS_S)
        counters.reclaim(silent_since=now - timedelta(seconds=_SILENT_S))
        self.brokers = max(1, counters.brokers())

    def close(self) -> None:
        """Disconnect."""
        if self._counters is not None:
            self._counters.close()

    def _open(self) -> Counters:
        if self._counters is None:
            self._counters = self._open_counters()
        return self._counters


def open_counters(url: str, redis_url: str | None) -> Counters:
    """Connect to where limits are counted: to Redis if there is one, otherwise to the database."""
    if redis_url is not None:
        from crossgrade.serve._redis import RedisCounters

        return RedisCounters.open(redis_url)
    from crossgrade.store import Budgets

    return Budgets.open(url)


def broker_name(folder: Path) -> str:
    """Return this installation's name among brokers, which is created at the first call.

    Its file keeps the name that it had when the broker was called keeper: the name's leases depend on it.
    """
    path = folder / "keeper.id"
    try:
        if not path.exists():
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_text(str(uuid.uuid4()), encoding="ascii")
            fresh.replace(path)
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror})", code="file-unwritable") from error


def _checkpoint(position: tuple[str, int]) -> "CountedPosition":
    from crossgrade.store import CountedPosition, utc_now

    return CountedPosition(segment=position[0], position=position[1], at=utc_now().isoformat())


def _window(lease: LeaseId) -> "LimitWindow":
    from crossgrade.store import LimitWindow

    return LimitWindow(lease.scope, lease.match, lease.unit, lease.window_s, lease.window)


def _lease(window: "LimitWindow") -> LeaseId:
    return LeaseId(window.scope, window.name, window.unit, window.window_s, window.begins)  # type: ignore[arg-type]  # scopes and units as this code wrote them
