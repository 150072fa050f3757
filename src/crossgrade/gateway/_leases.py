"""One limit as a worker knows it: what is leased of it, who waits for more, and why it refuses."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec

from crossgrade.domain import LimitScope, LimitUnit
from crossgrade.gateway._messages import NANO, LeaseId, Spend

_UNITS: Mapping[LimitUnit, int] = {"usd": 0, "tokens": 1, "requests": 2, "parallel": 3}
OF_OUTPUT: Final = frozenset[LimitUnit](("usd", "tokens"))
"""The units in which a request counts by the length of its answer."""

_FOREVER = float("inf")

RefusalKind = Literal["insufficient_quota", "rate_limit_exceeded", "limits_unavailable"]
Amounts: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class LimitRefusal:
    """Why a limit refuses a request, and when another attempt can help.

    `kind` is the error code. A spent budget is `insufficient_quota` and a rate is `rate_limit_exceeded` (both
    429). If the broker does not answer it is `limits_unavailable` (503).
    """

    scope: LimitScope
    match: str
    unit: LimitUnit
    window_s: int
    cap: float
    retry_after_s: float
    kind: RefusalKind

    @property
    def message(self) -> str:
        """One sentence for the client."""
        if self.kind == "limits_unavailable":
            return f"The limit of this {self.scope} cannot be checked at the moment."
        if self.unit == "parallel":
            return f"This {self.scope} has its {self.cap:g} requests in flight already."
        amount = f"${self.cap:g}" if self.unit == "usd" else f"{self.cap:g} {self.unit}"
        span = _span(self.window_s)
        return f"This {self.scope} has used its {amount} per {span}, or asks for more than is left."


class Lease:
    """What the broker has leased of one limit for one window; `left` can be reserved now.

    `lent` is the amount that the broker knows to be here. `spent` and `returned` are not reported to it yet:
    what was used, and what is handed back besides. `returned` is below 0 if more was used than was leased.
    """

    __slots__ = ("counter", "dirty", "ends", "id", "left", "lent", "returned", "spent", "unit", "used_at")

    def __init__(self, counter: "Counter", window: int) -> None:
        self.counter = counter
        self.id = LeaseId(counter.scope, counter.match, counter.unit, counter.window_s, window)
        self.ends: float = window + counter.window_s if counter.window_s else _FOREVER
        self.unit = counter.index
        self.left = self.lent = self.spent = self.returned = 0
        self.dirty = False
        self.used_at = 0.0

    @property
    def reserved(self) -> int:
        """The amount that requests in flight hold.

        It is derived, since to count it would cost each of them two additions.
        """
        return self.lent - self.left - self.spent - self.returned

    def grant(self, amount: int) -> None:
        """Take what the broker leases."""
        self.lent += amount
        self.left += amount

    def give_back(self, kept: int = 0) -> None:
        """Hand back what is not in flight, but for what is to be kept, with the next flush."""
        kept = min(kept, self.left)
        self.returned += self.left - kept
        self.left = kept

    def report(self) -> Spend:
        """Return what to report to the broker, and count it as reported."""
        shrunk = self.spent + self.returned
        spend = Spend(self.id, self.spent, shrunk, self.reserved)
        self.lent -= shrunk
        self.spent = self.returned = 0
        return spend


class Counter:
    """One limit of one key, team or route, as this worker knows it.

    `promised` is what requests will take of it that wait for a later limit of theirs.
    """

    __slots__ = (
        "asked", "cap", "denied_need", "denied_until", "index", "lease", "match", "promised", "retry_at",
        "scope", "unavailable", "unit", "waiting", "window_s",
    )  # fmt: skip

    def __init__(self, scope: LimitScope, match: str, unit: LimitUnit, window_s: int) -> None:
        self.scope = scope
        self.match = match
        self.unit = unit
        self.window_s = window_s
        self.index = _UNITS[unit]
        self.cap = self.promised = 0
        self.asked = False
        self.denied_need = 0
        self.denied_until = self.retry_at = 0.0
        self.unavailable = False
        self.waiting: deque[WaitingRequest] = deque()
        self.lease = Lease(self, 0)
        if window_s:
            self.lease.ends = 0.0

    def refusal(self, now: float) -> LimitRefusal:
        """Return why this limit refuses."""
        kind: RefusalKind = "insufficient_quota" if self.unit == "usd" else "rate_limit_exceeded"
        return LimitRefusal(
            scope=self.scope,
            match=self.match,
            unit=self.unit,
            window_s=self.window_s,
            cap=self.cap / NANO if self.unit == "usd" else self.cap,
            retry_after_s=max(0.05, self.retry_at - now),
            kind="limits_unavailable" if self.unavailable else kind,
        )


class Hold(msgspec.Struct, gc=False):
    """What one request reserved; `Limits.settle` ends it.

    `estimate` is what counts if it is never known what the request used. It is more than was reserved where
    less was left. `wasted` is what earlier attempts used, in nano-dollars and tokens; None if there was none.
    """

    leases: list[Lease]
    amounts: Amounts
    estimate: Amounts
    wasted: tuple[int, int] | None = None


Ready: TypeAlias = Callable[["Hold | LimitRefusal"], None]


class WaitingRequest:
    """A request that waits for a limit.

    `amounts` is what it asks for. `is_open` says that its dollars and tokens are a guess, the `estimate`.
    `scarce` are the units of which it asks for next to nothing instead. `alone` is what it holds of each
    limit in these units so that no other is in flight. `promised` is what it will take of the limits before
    the one for which it waits.
    """

    __slots__ = (
        "alone", "amounts", "counters", "estimate", "is_open", "promised", "ready", "scarce", "since",
    )  # fmt: skip

    def __init__(
        self,
        counters: tuple[Counter, ...],
        amounts: Amounts,
        ready: Ready,
        since: float,
        *,
        is_open: bool,
    ) -> None:
        self.counters = counters
        self.amounts = self.estimate = amounts
        self.is_open = is_open
        self.scarce: frozenset[LimitUnit] = frozenset()
        self.alone: dict[Counter, Lease] = {}
        self.promised: list[tuple[Counter, int]] = []
        self.ready = ready
        self.since = since

    def wait_for(self, counter: Counter) -> None:
        """Join those who wait for a limit."""
        counter.waiting.append(self)
        for earlier in self.counters[: self.counters.index(counter)]:
            amount = self.amounts[earlier.index]
            earlier.promised += amount
            self.promised.append((earlier, amount))

    def leave(self, counter: Counter) -> None:
        """Leave those who wait for a limit, as the first of them."""
        counter.waiting.popleft()
        while self.promised:
            earlier, amount = self.promised.pop()
            earlier.promised -= amount

    def take_little(self, unit: LimitUnit) -> bool:
        """Ask for next to nothing of a unit from now on; return False if that cannot be, or was so before."""
        if unit not in OF_OUTPUT or unit in self.scarce:
            return False
        self.scarce |= {unit}
        at = _UNITS[unit]
        self.amounts = (*self.amounts[:at], 1, *self.amounts[at + 1 :])  # type: ignore[assignment]  # as many as before
        return True


def _span(window_s: int) -> str:
    for name, seconds in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if window_s % seconds == 0:
            count = window_s // seconds
            return name if count == 1 else f"{count} {name}s"
    return f"{window_s} s"
