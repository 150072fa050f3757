"""Budgets and rates on the worker's side: reservations from leases, without waiting.

The broker leases an amount of each limit to a worker. A request reserves from the lease at once, and settles
with what it really used. It waits for the broker only if too little is left. The broker leases no more than
the cap allows. So workers together cannot overspend, except by what a provider bills beyond a reservation.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from crossgrade.domain import Limit, LimitScope, LimitUnit
from crossgrade.gateway._leases import OF_OUTPUT, Counter, Hold, Lease, LimitRefusal, Ready, WaitingRequest
from crossgrade.gateway._messages import NANO, Ask, Deny, Grant, Held, LeaseId, Spend
from crossgrade.identity import Principal

WAIT_S = 2.0
"""How long a request waits for the broker before it is refused."""

_DENIED_S = 0.2
_MOST_COUNTERS = 20_000
_MOST = 1 << 61
"""A higher cap counts as this one: no database has a larger integer."""

_Key: TypeAlias = tuple[LimitScope, str, LimitUnit, int]


class Limits:
    """The limits of one worker; `BrokerLink` carries its requests and reports.

    `configured` are those of the configuration. A caller's own limits come with its `Principal`.
    """

    def __init__(self, configured: Sequence[Limit], *, clock: Callable[[], float] = time.time) -> None:
        self._configured = tuple(configured)
        self._clock = clock
        self._counters: dict[_Key, Counter] = {}
        self._resolved: dict[tuple[str, str], tuple[Principal, tuple[Counter, ...]]] = {}
        self._dirty: list[Lease] = []
        self._old: set[Lease] = set()
        self._live: set[Counter] = set()
        self.send: Callable[[Ask], bool] = lambda _ask: False
        self.on_change: Callable[[], None] = lambda: None
        self.idle_s = 60.0

    def resolve(self, principal: Principal, route: str) -> tuple[Counter, ...]:
        """Return the limits that a caller's request on a route counts against; all of them must hold."""
        found = self._resolved.get((principal.id, route))
        if found is not None and (found[0] is principal or found[0] == principal):
            return found[1]
        if len(self._resolved) >= _MOST_COUNTERS:
            self._resolved.clear()
        names: Mapping[LimitScope, str] = {"key": principal.id, "team": principal.team, "route": route}
        caps: dict[_Key, float] = {}
        for limit in (*self._configured, *principal.limits):
            name = names[limit.scope]
            if name and limit.match in ("*", name):
                key = (limit.scope, name, limit.unit, limit.window_s)
                caps[key] = min(limit.cap, caps.get(key, limit.cap))
        counters = tuple(self._counter(key, cap) for key, cap in caps.items())
        self._resolved[(principal.id, route)] = (principal, counters)
        return counters

    def shadow(self, route: str, max_usd_per_day: float | None) -> tuple[Counter, ...]:
        """Return the limit on the cost of shadowing a route, empty if it has none."""
        if max_usd_per_day is None:
            return ()
        return (self._counter(("route", f"shadow:{route}", "usd", 86_400), max_usd_per_day),)

    def _counter(self, key: _Key, cap: float) -> Counter:
        found = self._counters.get(key)
        if found is None:
            found = self._counters[key] = Counter(*key)
        found.cap = int(min(cap * NANO if found.unit == "usd" else cap, _MOST))
        return found

    def reserve(
        self,
        counters: tuple[Counter, ...],
        usd: float | None,
        tokens: int,
        ready: Ready,
        is_open: bool = False,  # noqa: FBT001, FBT002  # a keyword costs every request a step more
    ) -> Hold | LimitRefusal | None:
        """Reserve dollars, tokens and one request; None means that `ready` will receive the outcome.

        The broker is asked in that case. With `usd` None (the price is unknown) nothing counts against
        budgets. `is_open` says that `usd` and `tokens` are guesses: the request is then not refused while no
        other is in flight, in any worker, and something is left. `ready` is called once, at most `WAIT_S`
        seconds later. A caller that is gone by then settles the hold with 0.
        """
        amounts = (int(usd * NANO + 0.5) if usd else 0, tokens, 1, 1)
        now = self._clock()
        taken: list[Lease] = []
        for counter in counters:
            lease = counter.lease
            left = lease.left - amounts[lease.unit]
            if left < 0 or lease.ends <= now:
                for each in taken:
                    each.left += amounts[each.unit]
                return self._reserve_slowly(
                    WaitingRequest(counters, amounts, ready, now, is_open=is_open), now
                )
            lease.left = left
            taken.append(lease)
            if not lease.dirty:
                self._mark(lease)
        return Hold(taken, amounts, amounts)

    def settle(
        self,
        hold: Hold,
        usd: float | None,
        tokens: int | None,
        is_part: bool = False,  # noqa: FBT001, FBT002  # as in `reserve`
    ) -> None:
        """End a hold with the dollars and tokens that the last attempt used; None (unknown) is the estimate.

        `is_part` says that more may have been used: at least the estimate counts. What earlier attempts
        used, see `waste`, counts besides.
        """
        reserved = hold.amounts
        used = (
            hold.estimate[0] if usd is None else int(usd * NANO + 0.5),
            hold.estimate[1] if tokens is None else tokens,
            1,
            0,
        )
        if is_part:
            used = (max(used[0], hold.estimate[0]), max(used[1], hold.estimate[1]), 1, 0)
        wasted = hold.wasted
        if wasted is not None:
            used = (used[0] + wasted[0], used[1] + wasted[1], 1, 0)
        for lease in hold.leases:
            unit = lease.unit
            amount = used[unit]
            lease.spent += amount
            unused = reserved[unit] - amount
            if unused:
                self._put_back(lease, unused)
            if not lease.dirty:
                self._mark(lease)
            if lease.counter.waiting:
                self._serve(lease.counter)

    def waste(self, hold: Hold, usd: float | None, tokens: int | None) -> None:
        """Note what an attempt used that another one follows; None (unknown) is the estimate.

        It counts when the hold ends, beside what the last attempt used.
        """
        earlier_usd, earlier_tokens = hold.wasted or (0, 0)
        hold.wasted = (
            earlier_usd + (hold.estimate[0] if usd is None else int(usd * NANO + 0.5)),
            earlier_tokens + (hold.estimate[1] if tokens is None else tokens),
        )

    def join(self, hold: Hold, more: Hold) -> bool:
        """Add what a second hold has to the first; return False if a window has ended between them.

        The first keeps its estimate.
        """
        leases = {lease.counter: lease for lease in hold.leases}
        if any(leases.get(lease.counter, lease) is not lease for lease in more.leases):
            return False
        hold.leases = list(dict.fromkeys((*hold.leases, *more.leases)))
        usd, tokens, request, parallel = hold.amounts
        hold.amounts = (usd + more.amounts[0], tokens + more.amounts[1], request, parallel)
        return True

    def put_down(self, hold: Hold) -> None:
        """Put back the dollars and tokens of a hold, so that others can be joined to it."""
        reserved, kept = hold.amounts, []
        for lease in hold.leases:
            if lease.counter.unit not in OF_OUTPUT:
                kept.append(lease)
                continue
            self._put_back(lease, reserved[lease.unit])
            if not lease.dirty:
                self._mark(lease)
            if lease.counter.waiting:
                self._serve(lease.counter)
        hold.leases = kept
        hold.amounts = hold.estimate = (0, 0, *reserved[2:])

    def _put_back(self, lease: Lease, unused: int) -> None:
        """Put back what was reserved and not used; a negative amount takes what was used beyond it."""
        left = lease.left = lease.left + unused
        if left < 0:  # more was used than was leased: the lease shrinks to 0
            lease.returned += left
            lease.left = 0
        elif unused > 0:
            lease.counter.denied_until = 0.0

    def _take(self, entry: WaitingRequest) -> Hold:
        amounts = entry.amounts
        leases = [counter.lease for counter in entry.counters]
        for lease in leases:
            lease.left -= amounts[lease.unit]
            if not lease.dirty:
                self._mark(lease)
        return Hold(leases, amounts, entry.estimate)

    def _mark(self, lease: Lease) -> None:
        lease.dirty = True
        if not self._dirty:
            self.on_change()
        self._dirty.append(lease)

    def _reserve_slowly(self, entry: WaitingRequest, now: float) -> Hold | LimitRefusal | None:
        outcome = self._attempt(entry, now)
        if not isinstance(outcome, Counter):
            return outcome
        self._wait(entry, outcome)
        return None

    def _wait(self, entry: WaitingRequest, counter: Counter) -> None:
        entry.wait_for(counter)
        self._live.add(counter)
        self._ask(counter, entry)

    def _attempt(self, entry: WaitingRequest, now: float) -> Hold | LimitRefusal | Counter:
        """Reserve what a request may cost.

        Of a unit that refuses a guess it reserves next to nothing, while no other request holds any of it.
        """
        while True:
            for counter in entry.counters if entry.scarce else ():
                lease = self._current(counter, now)
                if counter.unit not in entry.scarce or entry.alone.get(counter) is lease:
                    continue
                is_denied = now < counter.denied_until and counter.denied_need <= 1
                if lease.reserved == 0 and not is_denied:
                    return counter
                self._let_go(entry)
                return counter.refusal(now)
            self._let_go(entry)
            outcome = self._try(entry, now)
            if not (isinstance(outcome, LimitRefusal) and entry.is_open and entry.take_little(outcome.unit)):
                return outcome

    def _let_go(self, entry: WaitingRequest) -> None:
        """Put back what a request holds so that no other is in flight."""
        while entry.alone:
            lease = entry.alone.popitem()[1]
            lease.left += 1
            if not lease.dirty:
                self._mark(lease)

    def _try(self, entry: WaitingRequest, now: float) -> Hold | LimitRefusal | Counter:
        """Reserve, or return the first limit that refuses or must be requested from the broker."""
        for counter in entry.counters:
            lease = self._current(counter, now)
            need = entry.amounts[counter.index]
            if lease.left >= need:
                continue
            if need > counter.cap:
                counter.retry_at, counter.unavailable = min(lease.ends, now + 86_400), False
                return counter.refusal(now)
            if now < counter.denied_until and need >= counter.denied_need:
                return counter.refusal(now)
            return counter
        return self._take(entry)

    def _current(self, counter: Counter, now: float) -> Lease:
        """Return the lease of the present window; what is left of the previous one is handed back."""
        lease = counter.lease
        if lease.ends <= now:
            if lease.left or lease.reserved:
                self._old.add(lease)
                if not lease.dirty:
                    self._mark(lease)
            window = int(now) // counter.window_s * counter.window_s
            lease = counter.lease = Lease(counter, window)
            counter.denied_until = 0.0
            counter.asked = False
        return lease

    def _ask(self, counter: Counter, entry: WaitingRequest) -> None:
        if not counter.asked:
            alone = counter.unit in entry.scarce
            counter.asked = self.send(
                Ask(counter.lease.id, counter.cap, entry.amounts[counter.index], alone=alone)
            )

    def granted(self, grant: Grant) -> None:
        """Take a grant of the broker; one for a window that is over is handed back."""
        counter = self._counters.get(_key(grant.lease))
        if counter is None or counter.lease.id != grant.lease:
            late = Lease(counter or Counter(*_key(grant.lease)), grant.lease.window)
            late.grant(grant.amount)
            late.give_back()
            late.ends = 0.0
            self._mark(late)
            return
        self._live.add(counter)
        counter.lease.grant(grant.amount)
        counter.lease.used_at = self._clock()
        counter.asked = False
        counter.denied_until = 0.0
        if grant.alone and counter.waiting and counter.unit in counter.waiting[0].scarce:
            counter.lease.left -= 1
            counter.waiting[0].alone[counter] = counter.lease
        self._serve(counter)

    def denied(self, deny: Deny) -> None:
        """Take a refusal of the broker: it holds for a moment, for the same amount or more."""
        counter = self._counters.get(_key(deny.lease))
        if counter is None or counter.lease.id != deny.lease:
            return
        now = self._clock()
        counter.asked = False
        counter.denied_need = deny.need
        counter.denied_until = now + _DENIED_S
        counter.retry_at = now + deny.retry_after_s
        counter.unavailable = deny.unavailable
        self._serve(counter)

    def recalled(self, lease_id: LeaseId) -> None:
        """Hand back what is left of a lease, with the next flush.

        What requests will take that wait for a later limit is kept. Otherwise two of them in two workers
        could take from each other what the other one needs, again and again.
        """
        counter = self._counters.get(_key(lease_id))
        if counter is not None and counter.lease.id == lease_id and counter.lease.left > counter.promised:
            counter.lease.give_back(counter.promised)
            if not counter.lease.dirty:
                self._mark(counter.lease)

    def _serve(self, counter: Counter) -> None:
        """Let waiting requests continue, in their order, as far as possible."""
        now = self._clock()
        waiting = counter.waiting
        while waiting:
            entry = waiting[0]
            outcome = self._attempt(entry, now)
            if outcome is counter:
                self._ask(counter, entry)
                return
            entry.leave(counter)
            if isinstance(outcome, Counter):
                self._wait(entry, outcome)
            else:
                entry.ready(outcome)

    def take_spends(self) -> list[Spend]:
        """Return what happened to leases since the last call."""
        now = self._clock()
        spends = []
        dirty, self._dirty = self._dirty, []
        for lease in dirty:
            if lease.ends <= now:
                lease.give_back()
                if not lease.reserved:
                    self._old.discard(lease)
            lease.dirty = False
            lease.used_at = now
            spends.append(lease.report())
        return spends

    def held(self, unwritten: Iterable[Spend]) -> list[Held]:
        """Return the leases for a broker that has seen neither `unwritten` nor what is not reported yet."""
        pending: dict[LeaseId, int] = {}
        for spend in unwritten:
            pending[spend.lease] = pending.get(spend.lease, 0) + spend.shrunk
        leases = {lease.id: lease for lease in (*self._old, *(c.lease for c in self._counters.values()))}
        leases.update({lease.id: lease for lease in self._dirty})
        held = [
            Held(
                key,
                lease.counter.cap,
                lease.lent + pending.get(key, 0),
                lease.reserved,
            )
            for key, lease in leases.items()
        ]
        return [each for each in held if each.amount or each.reserved]

    def ask_again(self) -> None:
        """Ask a new broker for what requests wait for."""
        for counter in self._counters.values():
            counter.asked = False
            if counter.waiting:
                self._serve(counter)

    def tick(self) -> None:
        """Once a second: refuse requests that waited too long, hand back idle leases, forget counters."""
        now = self._clock()
        for counter in list(self._live):
            self._expire(counter, now)
            lease = counter.lease
            if lease.left and not lease.dirty and (now - lease.used_at > self.idle_s or lease.ends <= now):
                lease.give_back()
                self._mark(lease)
            if not (lease.left or lease.reserved or counter.waiting):
                self._live.discard(counter)
        if len(self._counters) > _MOST_COUNTERS:
            self._forget_idle()

    def _forget_idle(self) -> None:
        for key, counter in list(self._counters.items()):
            lease = counter.lease
            if not (lease.left or lease.reserved or lease.dirty or counter.waiting or counter.asked):
                del self._counters[key]
        self._resolved.clear()

    def _expire(self, counter: Counter, now: float) -> None:
        while counter.waiting and now - counter.waiting[0].since > WAIT_S:
            counter.retry_at, counter.unavailable = now + 1.0, True
            refusal = counter.refusal(now)
            counter.asked = False
            entry = counter.waiting[0]
            entry.leave(counter)
            self._let_go(entry)
            entry.ready(refusal)


def _key(lease: LeaseId) -> _Key:
    return (lease.scope, lease.match, lease.unit, lease.window_s)
