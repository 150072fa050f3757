"""How much each limit allows: the broker's account of every limit, lent on to its workers.

Pure: methods receive what happened, and callbacks send what follows. The broker has an amount (`funds`) of
each limit's window, which the database granted. It lends workers no more than that and takes back what they
report as spent. It recalls unused amounts from workers before it refuses a request.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from crossgrade.gateway import Ask, Deny, Grant, Held, LeaseId, Recall, Spend

_DRY_S = 0.25
_PARALLEL_RETRY_S = 1.0
_VISITS_A_SECOND = 100.0
_SHORTEST_PACE_S, _LONGEST_PACE_S = 1.0, 20.0
_FEW_BROKERS = 4


def pace_s(brokers: int) -> float:
    """Return the seconds between two settlements of one of so many brokers that share a store.

    A hundred brokers settle every second. More of them take turns, so that the store has as much to do.
    """
    return min(max(_SHORTEST_PACE_S, brokers / _VISITS_A_SECOND), _LONGEST_PACE_S)


def share_of(brokers: int) -> float:
    """Return the part of what is left of a limit that a broker leases at once: half for all of them.

    A broker of up to four leases an eighth, since others may come.
    """
    return 1 / (2 * max(_FEW_BROKERS, brokers))


class _Window:
    """One window of one limit: the broker's amount, and each worker's."""

    __slots__ = (
        "cap", "dirty", "dry_until", "funding", "funds", "lease", "lent", "pending", "recalled", "recalling",
        "reserved", "spent", "spent_before", "tabled", "total",
    )  # fmt: skip

    def __init__(self, lease: LeaseId) -> None:
        self.lease = lease
        self.cap = 0
        self.funds = 0
        self.tabled = 0
        self.spent = 0
        self.spent_before = 0
        self.lent: dict[int, int] = {}
        self.reserved: dict[int, int] = {}
        self.total = 0
        self.pending: deque[tuple[int, Ask]] = deque()
        self.funding = False
        self.recalling: set[int] = set()
        self.recalled = False
        self.dry_until = 0.0
        self.dirty = False

    @property
    def free(self) -> int:
        return self.funds - self.total

    def lend(self, worker: int, amount: int) -> None:
        self.lent[worker] = self.lent.get(worker, 0) + amount
        self.total += amount

    def ended(self, now: float) -> bool:
        return self.lease.window_s > 0 and self.lease.window + self.lease.window_s <= now


class Accounts:
    """The accounts of one broker.

    `send` sends a message to a worker. `fund` gets funds for a window with a cap, at least the needed amount;
    `funded` receives the result. With `shared`, other machines draw on the same limits. So little is taken at
    once, and what is not used goes back. Otherwise everything is taken at once. Nothing is lent before
    `open`. `brokers` returns how many share the store, as far as is known.
    """

    def __init__(
        self,
        send: Callable[[int, Grant | Deny | Recall], None],
        fund: Callable[[LeaseId, int, int], None],
        *,
        shared: bool = False,
        brokers: Callable[[], int] = lambda: 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._send = send
        self._request_funds = fund
        self._shared = shared
        self._brokers = brokers
        self._clock = clock
        self._windows: dict[LeaseId, _Window] = {}
        self._workers: set[int] = set()
        self._is_open = False

    @property
    def workers(self) -> int:
        """The number of workers that have reported what they hold."""
        return len(self._workers)

    def open(self, leases: Mapping[LeaseId, tuple[int, int]] | None = None) -> None:
        """Start to lend; `leases` are what an earlier life of this broker had, and what was spent."""
        for lease, (amount, spent) in (leases or {}).items():
            window = self._window(lease)
            window.funds += amount
            window.tabled += amount
            window.spent_before += spent
        self._is_open = True
        for window in self._windows.values():
            window.funds = max(window.funds, window.total)
        for window in list(self._windows.values()):
            self._serve(window)

    def join(self, worker: int, held: Iterable[Held]) -> None:
        """Add a worker, with the leases that it has from an earlier broker."""
        self._workers.add(worker)
        for each in held:
            window = self._window(each.lease)
            window.cap = window.cap or each.cap
            window.lend(worker, each.amount)
            window.reserved[worker] = each.reserved

    def leave(self, worker: int) -> list[Spend]:
        """Free a departed worker's leases; return what it had in flight, which counts as spent."""
        self._workers.discard(worker)
        lost = []
        for window in list(self._windows.values()):
            amount = window.lent.get(worker, 0)
            reserved = window.reserved.get(worker, 0)
            if reserved and window.lease.unit != "parallel":
                lost.append(Spend(window.lease, reserved, reserved, 0))
                window.lend(worker, reserved - amount)
            else:
                window.lend(worker, -amount)
        self.flushed(worker, lost)
        for window in list(self._windows.values()):
            window.lent.pop(worker, None)
            window.reserved.pop(worker, None)
            window.recalling.discard(worker)
            window.pending = deque(entry for entry in window.pending if entry[0] != worker)
            self._serve(window)
        return lost

    def ask(self, worker: int, ask: Ask) -> None:
        """Take a worker's request for a part of a limit."""
        window = self._window(ask.lease)
        if window.cap != ask.cap:
            window.cap = ask.cap
            window.dry_until = 0.0
            excess = window.spent_before + window.funds - window.cap
            if excess > 0:  # the cap was lowered
                self._fund(window, -min(excess, max(0, window.free)))
        window.pending.append((worker, ask))
        self._serve(window)

    def flushed(self, worker: int, spends: Iterable[Spend], recalled: Iterable[LeaseId] = ()) -> None:
        """Take a worker's report of what it spent and gave back."""
        waiting = []
        for spend in spends:
            window = self._window(spend.lease)
            window.lend(worker, -spend.shrunk)
            window.reserved[worker] = spend.reserved
            if spend.spent:
                window.spent += spend.spent
                window.spent_before += spend.spent
                self._fund(window, -spend.spent)
                if self._is_open:  # more was used than was lent; other workers keep theirs
                    window.funds = max(window.funds, window.total)
            if window.pending:
                waiting.append(window)
        for lease in recalled:
            window = self._window(lease)
            window.recalling.discard(worker)
            waiting.append(window)
        for window in waiting:
            self._serve(window)

    def funded(self, lease: LeaseId, amount: int | None, spent: int = 0) -> None:
        """Take the amount that the database granted: 0 is not enough, None means that it did not answer."""
        window = self._window(lease)
        window.funding = False
        if amount is None:
            for worker, ask in window.pending:
                self._send(worker, Deny(lease, ask.need, 1.0, unavailable=True))
            window.pending.clear()
            return
        if amount:
            window.funds += amount
            window.tabled += amount
        else:
            # Without other machines, only a higher cap can change that.
            turn_s = (pace_s(self._brokers()) - _SHORTEST_PACE_S) / 2  # nobody gives back much sooner
            window.dry_until = self._clock() + (_DRY_S + turn_s if self._shared else float("inf"))
        window.spent_before = spent + window.spent
        self._serve(window)

    def changes(self) -> dict[LeaseId, tuple[int, int]]:
        """Return each window's spent amount and its lease's growth since the last call; forget ended ones."""
        now = self._clock()
        found: dict[LeaseId, tuple[int, int]] = {}
        for lease, window in list(self._windows.items()):
            over = window.ended(now)
            if (self._shared or over) and not window.pending and not window.funding and window.free > 0:
                self._fund(window, -window.free)
            if window.dirty and self._is_tabled(lease):
                leased = window.funds
                found[lease] = (window.spent, leased - window.tabled)
                window.spent, window.tabled = 0, leased
            window.dirty = False
            is_idle = over or (not lease.window_s and not window.tabled)
            if is_idle and not (window.total or window.pending or window.funding):
                del self._windows[lease]
        return found

    def undo(self, changes: Mapping[LeaseId, tuple[int, int]]) -> None:
        """Take back `changes` that could not be committed."""
        for lease, (spent, grown) in changes.items():
            window = self._window(lease)
            window.spent += spent
            window.tabled -= grown
            window.dirty = True

    def reconcile(self, leases: Mapping[LeaseId, int]) -> None:
        """Take what the database has lent to this broker: what differs goes back, or is leased again.

        They differ after the database has freed the leases of this broker, and after a loan whose answer was
        lost.
        """
        for lease in {*self._windows, *leases}:
            window, leased = self._window(lease), leases.get(lease, 0)
            if window.tabled != leased and self._is_tabled(lease):
                window.tabled = leased
                window.dirty = True

    def known(self) -> list[tuple[LeaseId, int, int]]:
        """Return the windows in use, each with its cap and its spent amount (of `parallel`: in flight)."""
        now = self._clock()
        return [
            (
                lease,
                window.cap,
                sum(window.reserved.values()) if lease.unit == "parallel" else window.spent_before,
            )
            for lease, window in self._windows.items()
            if not window.ended(now) and window.cap
        ]

    def _window(self, lease: LeaseId) -> _Window:
        found = self._windows.get(lease)
        if found is None:
            found = self._windows[lease] = _Window(lease)
        return found

    def _fund(self, window: _Window, amount: int) -> None:
        window.funds += amount
        window.dirty = True

    def _is_tabled(self, lease: LeaseId) -> bool:
        return self._shared or lease.unit != "parallel"

    def _serve(self, window: _Window) -> None:
        """Answer those who wait for a window, in their order, as far as possible now."""
        now = self._clock()
        while window.pending and self._is_open:
            worker, ask = window.pending[0]
            if not self._is_tabled(window.lease):
                window.funds = window.cap
            free, need = window.free, ask.need
            if (free < need or ask.alone) and self._more(window, max(1, need - max(0, free)), now):
                return
            window.pending.popleft()
            window.recalled = False
            if free < need or (ask.alone and window.total > window.lent.get(worker, 0)):
                self._send(worker, Deny(window.lease, need, self._retry_s(window, now)))
            else:
                amount = self._slice(free, need)
                window.lend(worker, amount)
                self._send(worker, Grant(window.lease, amount, ask.alone))

    def _more(self, window: _Window, need: int, now: float) -> bool:
        """Try to get more, from the database and then from other workers; return False if both were tried."""
        if window.funding or window.recalling:
            return True
        if self._is_tabled(window.lease) and now >= window.dry_until and not window.ended(now):
            window.funding = True
            self._request_funds(window.lease, window.cap, need)
            return True
        if window.recalled:
            return False
        window.recalled = True
        idle = [
            worker
            for worker, lent in window.lent.items()
            if lent > window.reserved.get(worker, 0) and worker in self._workers
        ]
        window.recalling = set(idle)
        for each in idle:
            self._send(each, Recall(window.lease))
        return bool(idle)

    def _slice(self, free: int, need: int) -> int:
        alone = len(self._workers) <= 1 and not self._shared
        return free if alone else max(need, free // (2 * max(1, len(self._workers))))

    def _retry_s(self, window: _Window, now: float) -> float:
        if not window.lease.window_s:
            return _PARALLEL_RETRY_S
        return max(0.05, window.lease.window + window.lease.window_s - now)
