"""Who may spend how much: the keeper's account of every limit, lent on to its workers.

Pure: it is told what happens and says what to send. Of each limit's window the keeper has an
amount (`funds`) that the database granted to it; it lends workers no more than that, takes back
what they report as spent, and recalls from idle workers before it refuses one in need.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from crossgrade.gateway import Ask, Deny, Grant, Held, LeaseId, Recall, Spend

_DRY_S = 0.25
_PARALLEL_RETRY_S = 1.0


class Outbox(Protocol):
    """What the account asks others to do."""

    def send(self, worker: int, message: Grant | Deny | Recall) -> None:
        """Send a message to a worker."""

    def fund(self, lease: LeaseId, cap: int, need: int) -> None:
        """Get funds for a window, at least `need`; the answer is `Accounts.funded`."""


class _Pool:
    """One window of one limit: what the keeper has of it, and which worker how much."""

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
        self.pending: deque[tuple[int, int]] = deque()
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
    """The accounts of one keeper.

    With `shared` other machines draw on the same limits, so little is taken at once and what is
    not used goes back; else everything is taken at once. Nothing is lent before `open`.
    """

    def __init__(
        self, outbox: Outbox, *, shared: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self._outbox = outbox
        self._shared = shared
        self._clock = clock
        self._pools: dict[LeaseId, _Pool] = {}
        self._workers: set[int] = set()
        self._is_open = False

    @property
    def workers(self) -> int:
        """How many workers have said what they hold."""
        return len(self._workers)

    def open(self, leases: Mapping[LeaseId, tuple[int, int]] | None = None) -> None:
        """Begin to lend; `leases` are what an earlier life of this keeper had, and what was spent."""
        for lease, (amount, spent) in (leases or {}).items():
            pool = self._pool(lease)
            pool.funds += amount
            pool.tabled += amount
            pool.spent_before += spent
        self._is_open = True
        for pool in self._pools.values():
            pool.funds = max(pool.funds, pool.total)
        for pool in list(self._pools.values()):
            self._serve(pool)

    def join(self, worker: int, held: Iterable[Held]) -> None:
        """Take a worker in, with the leases that it has from an earlier keeper."""
        self._workers.add(worker)
        for each in held:
            pool = self._pool(each.lease)
            pool.cap = pool.cap or each.cap
            pool.lend(worker, each.amount)
            pool.reserved[worker] = each.reserved

    def leave(self, worker: int) -> list[Spend]:
        """Free what a worker that is gone had; returns what it had in flight, which counts as spent."""
        self._workers.discard(worker)
        lost = []
        for pool in list(self._pools.values()):
            amount = pool.lent.get(worker, 0)
            reserved = pool.reserved.get(worker, 0)
            if reserved and pool.lease.unit != "parallel":
                lost.append(Spend(pool.lease, reserved, reserved, 0))
                pool.lend(worker, reserved - amount)
            else:
                pool.lend(worker, -amount)
        self.flushed(worker, lost)
        for pool in list(self._pools.values()):
            pool.lent.pop(worker, None)
            pool.reserved.pop(worker, None)
            pool.recalling.discard(worker)
            pool.pending = deque(entry for entry in pool.pending if entry[0] != worker)
            self._serve(pool)
        return lost

    def ask(self, worker: int, ask: Ask) -> None:
        """Hear a worker that needs some of a limit."""
        pool = self._pool(ask.lease)
        if pool.cap != ask.cap:
            pool.cap = ask.cap
            pool.dry_until = 0.0
            excess = pool.spent_before + pool.funds - pool.cap
            if excess > 0:  # the cap was lowered
                self._fund(pool, -min(excess, max(0, pool.free)))
        pool.pending.append((worker, ask.need))
        self._serve(pool)

    def flushed(self, worker: int, spends: Iterable[Spend], recalled: Iterable[LeaseId] = ()) -> None:
        """Hear what a worker spent and gave back."""
        waiting = []
        for spend in spends:
            pool = self._pool(spend.lease)
            pool.lend(worker, -spend.shrunk)
            pool.reserved[worker] = spend.reserved
            if spend.spent:
                pool.spent += spend.spent
                pool.spent_before += spend.spent
                self._fund(pool, -spend.spent)
                if self._is_open:  # more was used than had been lent: what others have stays theirs
                    pool.funds = max(pool.funds, pool.total)
            if pool.pending:
                waiting.append(pool)
        for lease in recalled:
            pool = self._pool(lease)
            pool.recalling.discard(worker)
            waiting.append(pool)
        for pool in waiting:
            self._serve(pool)

    def funded(self, lease: LeaseId, amount: int | None, spent: int = 0) -> None:
        """Hear what the database granted: 0 is not enough; None, that it could not be asked."""
        pool = self._pool(lease)
        pool.funding = False
        if amount is None:
            for worker, need in pool.pending:
                self._outbox.send(worker, Deny(lease, need, 1.0, unavailable=True))
            pool.pending.clear()
            return
        if amount:
            pool.funds += amount
            pool.tabled += amount
        else:
            # Alone, nothing but a higher cap can change it.
            pool.dry_until = self._clock() + _DRY_S if self._shared else float("inf")
        pool.spent_before = spent + pool.spent
        self._serve(pool)

    def changes(self) -> dict[LeaseId, tuple[int, int]]:
        """Return per window what was spent since the last call and how the lease grew; forget what ended."""
        now = self._clock()
        found: dict[LeaseId, tuple[int, int]] = {}
        for lease, pool in list(self._pools.items()):
            over = pool.ended(now)
            if (self._shared or over) and not pool.pending and not pool.funding and pool.free > 0:
                self._fund(pool, -pool.free)
            if pool.dirty and self._is_tabled(lease):
                leased = pool.funds
                found[lease] = (pool.spent, leased - pool.tabled)
                pool.spent, pool.tabled = 0, leased
            pool.dirty = False
            is_idle = over or (not lease.window_s and not pool.tabled)
            if is_idle and not (pool.total or pool.pending or pool.funding):
                del self._pools[lease]
        return found

    def undo(self, changes: Mapping[LeaseId, tuple[int, int]]) -> None:
        """Take back `changes` that could not be committed."""
        for lease, (spent, grown) in changes.items():
            pool = self._pool(lease)
            pool.spent += spent
            pool.tabled -= grown
            pool.dirty = True

    def disown(self) -> None:
        """Hear that the database freed every lease of this keeper: what workers have is leased anew."""
        for pool in self._pools.values():
            pool.tabled = 0
            pool.dirty = True

    def known(self) -> list[tuple[LeaseId, int, int]]:
        """Return the windows in use, each with its cap and what is spent of it, parallel ones in flight."""
        now = self._clock()
        return [
            (lease, pool.cap, sum(pool.reserved.values()) if lease.unit == "parallel" else pool.spent_before)
            for lease, pool in self._pools.items()
            if not pool.ended(now) and pool.cap
        ]

    def _pool(self, lease: LeaseId) -> _Pool:
        found = self._pools.get(lease)
        if found is None:
            found = self._pools[lease] = _Pool(lease)
        return found

    def _fund(self, pool: _Pool, amount: int) -> None:
        pool.funds += amount
        pool.dirty = True

    def _is_tabled(self, lease: LeaseId) -> bool:
        return self._shared or lease.unit != "parallel"

    def _serve(self, pool: _Pool) -> None:
        """Answer those who wait for a window, in their order, as far as that is possible now."""
        now = self._clock()
        while pool.pending and self._is_open:
            worker, need = pool.pending[0]
            if not self._is_tabled(pool.lease):
                pool.funds = pool.cap
            free = pool.free
            if free < need and self._more(pool, need - max(0, free), now):
                return
            pool.pending.popleft()
            pool.recalled = False
            if free >= need:
                amount = self._slice(free, need)
                pool.lend(worker, amount)
                self._outbox.send(worker, Grant(pool.lease, amount))
            else:
                self._outbox.send(worker, Deny(pool.lease, need, self._retry_s(pool, now)))

    def _more(self, pool: _Pool, need: int, now: float) -> bool:
        """Try to get more, from the database and then from other workers; False when that was tried."""
        if pool.funding or pool.recalling:
            return True
        if self._is_tabled(pool.lease) and now >= pool.dry_until and not pool.ended(now):
            pool.funding = True
            self._outbox.fund(pool.lease, pool.cap, need)
            return True
        if pool.recalled:
            return False
        pool.recalled = True
        idle = [w for w, lent in pool.lent.items() if lent > pool.reserved.get(w, 0) and w in self._workers]
        pool.recalling = set(idle)
        for each in idle:
            self._outbox.send(each, Recall(pool.lease))
        return bool(idle)

    def _slice(self, free: int, need: int) -> int:
        alone = len(self._workers) <= 1 and not self._shared
        return free if alone else max(need, free // (2 * max(1, len(self._workers))))

    def _retry_s(self, pool: _Pool, now: float) -> float:
        if not pool.lease.window_s:
            return _PARALLEL_RETRY_S
        return max(0.05, pool.lease.window + pool.lease.window_s - now)
