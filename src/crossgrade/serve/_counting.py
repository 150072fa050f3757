"""The broker's side of the database: leases of limits, what was spent, how far the log is counted."""

import os
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from crossgrade.errors import StoreError
from crossgrade.gateway import LeaseId
from crossgrade.serve._accounts import share_of
from crossgrade.serve._records import RecordFiles

if TYPE_CHECKING:
    from crossgrade.store import Checkpoint, LimitWindow, Loan


class Counters(Protocol):
    """Where limits are counted for all brokers: `store.Budgets` or `RedisCounters`.

    Every method raises StoreError if the database does not answer.
    """

    def checkpoint(self, broker: str) -> "Checkpoint | None":
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
        since: "Checkpoint",
        until: "Checkpoint",
    ) -> bool:
        """Commit spends and growths of leases at `since`; return whether the broker is at `until`."""

    def join(self, broker: str, checkpoint: "Checkpoint") -> "Checkpoint":
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
    until: "Checkpoint"

    @classmethod
    def now(cls, changes: Mapping[LeaseId, tuple[int, int]], position: tuple[str, int]) -> Self:
        """Return a settlement of the present moment, which no other one shares."""
        return cls(changes, _checkpoint(position))


class Counting:
    """The database calls of one broker. They block and run in one thread; the first one connects.

    `brokers` is how many share the store, as it was when this one last tidied up.
    """

    def __init__(self, url: str, redis_url: str | None, broker: str, *, shared: bool) -> None:
        self._url = url
        self._redis_url = redis_url
        self._broker = broker
        self._shared = shared
        self.brokers = 1
        self._counters: Counters | None = None
        self._since: Checkpoint

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

    def tidy(self, silent_since: datetime, ended_before: float) -> list[str]:
        """Free the leases of brokers that are gone, and forget windows that ended long ago."""
        counters = self._open()
        counters.forget(self._broker, before=ended_before)
        freed = counters.reclaim(silent_since=silent_since)
        self.brokers = max(1, counters.brokers())
        return freed

    def close(self) -> None:
        """Disconnect."""
        if self._counters is not None:
            self._counters.close()

    def _open(self) -> Counters:
        if self._counters is None:
            if self._redis_url is not None:
                from crossgrade.serve._redis import RedisCounters

                self._counters = RedisCounters.open(self._redis_url)
            else:
                from crossgrade.store import Budgets

                self._counters = Budgets.open(self._url)
        return self._counters


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


def _checkpoint(position: tuple[str, int]) -> "Checkpoint":
    from crossgrade.store import Checkpoint, utc_now

    return Checkpoint(segment=position[0], position=position[1], at=utc_now().isoformat())


def _window(lease: LeaseId) -> "LimitWindow":
    from crossgrade.store import LimitWindow

    return LimitWindow(lease.scope, lease.match, lease.unit, lease.window_s, lease.window)


def _lease(window: "LimitWindow") -> LeaseId:
    return LeaseId(window.scope, window.name, window.unit, window.window_s, window.begins)  # type: ignore[arg-type]  # scopes and units as this code wrote them
