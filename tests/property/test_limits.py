"""Budgets hold: whatever workers do, and in whatever order messages arrive, no cap is exceeded."""

from collections import deque

from hypothesis import example, given
from hypothesis import strategies as st

from crossgrade.domain import Limit
from crossgrade.gateway import NANO, Ack, Ask, Deny, Grant, Recall, Spend
from crossgrade.gateway._leases import Hold, LimitRefusal
from crossgrade.gateway._limits import Limits
from crossgrade.identity import Principal
from crossgrade.serve._accounts import Accounts

WHO = Principal(id="key-1", team="blue")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Table:
    """What the database does, for several brokers."""

    def __init__(self) -> None:
        self.spent: dict[object, int] = {}
        self.leased: dict[object, int] = {}

    def lend(self, lease: object, cap: int, need: int, share: float) -> tuple[int, int]:
        spent, leased = self.spent.get(lease, 0), self.leased.get(lease, 0)
        free = cap - spent - leased
        if free < need:
            return 0, spent
        amount = max(need, int(free * share))
        self.leased[lease] = leased + amount
        return amount, spent

    def settle(self, changes: dict[object, tuple[int, int]]) -> None:
        for lease, (spent, grown) in changes.items():
            self.spent[lease] = self.spent.get(lease, 0) + spent
            self.leased[lease] = self.leased.get(lease, 0) + grown


class Worker:
    def __init__(self, number: int, limits: list[Limit], clock: Clock) -> None:
        self.number = number
        self.limits = Limits(limits, clock=clock)
        self.limits.send = self._ask
        self.up: deque[object] = deque()
        self.down: deque[object] = deque()
        self.holds: list[Hold] = []
        self.refused: list[LimitRefusal] = []

    def _ask(self, ask: Ask) -> bool:
        self.up.append(ask)
        return True

    def ready(self, outcome: Hold | LimitRefusal) -> None:
        (self.holds if isinstance(outcome, Hold) else self.refused).append(outcome)  # type: ignore[arg-type]  # sorted by its type

    def reserve(self, usd: float, *, is_open: bool = False, who: Principal = WHO) -> None:
        counters = self.limits.resolve(who, "route")
        outcome = self.limits.reserve(counters, usd, 10, self.ready, is_open)
        if outcome is not None:
            self.ready(outcome)

    def flush(self, recalled: tuple[object, ...] = ()) -> None:
        self.up.append((self.limits.take_spends(), recalled))

    def hear(self) -> None:
        match self.down.popleft():
            case Grant() as grant:
                self.limits.granted(grant)
            case Deny() as deny:
                self.limits.denied(deny)
            case Recall() as recall:
                self.limits.recalled(recall.lease)
                self.flush((recall.lease,))


class Machine:
    def __init__(
        self, workers: int, limits: list[Limit], clock: Clock, table: Table, *, shared: bool
    ) -> None:
        self.table = table
        self.share = 0.125 if shared else 1.0
        self.accounts = Accounts(self.send, self.fund, shared=shared, clock=clock)
        self.workers = [Worker(number, limits, clock) for number in range(workers)]
        for worker in self.workers:
            self.accounts.join(worker.number, [])
        self.accounts.open()
        self.funding: deque[tuple[object, int, int]] = deque()

    def send(self, worker: int, message: Grant | Deny | Recall) -> None:
        self.workers[worker].down.append(message)

    def fund(self, lease: object, cap: int, need: int) -> None:
        self.funding.append((lease, cap, need))

    def hear(self, worker: Worker) -> None:
        message = worker.up.popleft()
        if isinstance(message, Ask):
            self.accounts.ask(worker.number, message)
        else:
            spends, recalled = message  # type: ignore[misc]  # the other kind of message
            self.accounts.flushed(worker.number, spends, recalled)

    def run_fund(self) -> None:
        lease, cap, need = self.funding.popleft()
        self.accounts.funded(lease, *self.table.lend(lease, cap, need, self.share))  # type: ignore[arg-type]  # as the worker sends it

    def settle(self) -> None:
        # A lease that is being granted comes after: one thread does both, in order.
        while self.funding:
            self.run_fund()
        self.table.settle(self.accounts.changes())  # type: ignore[arg-type]  # as the worker sends it

    def quiesce(self) -> None:
        for _ in range(200):
            busy = False
            while self.funding:
                busy = True
                self.run_fund()
            for worker in self.workers:
                while worker.up:
                    busy = True
                    self.hear(worker)
                while worker.down:
                    busy = True
                    worker.hear()
            if not busy:
                return
        raise AssertionError("messages go on for ever")


ACTIONS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, 2),
        st.sampled_from(
            ("reserve", "reserve", "settle", "up", "down", "fund", "flush", "commit", "wait", "tick")
        ),
        st.integers(1, 40),
    ),
    max_size=120,
)


BOTH_WAIT = [(0, 0, "reserve", 1), (0, 0, "reserve", 40), (0, 1, "reserve", 1), (0, 1, "reserve", 8)]
"""Two workers wait, each for what the other one has."""


@given(ACTIONS, st.booleans(), st.booleans())
@example(BOTH_WAIT, True, False)
def test_no_interleaving_overspends(actions: list[tuple[int, int, str, int]], two: bool, roomy: bool) -> None:
    clock, table = Clock(), Table()
    cap = 2.0 if roomy else 0.5
    limits = [
        Limit(scope="key", unit="usd", cap=cap, window_s=3_600),
        Limit(scope="team", unit="requests", cap=12, window_s=60),
        Limit(scope="route", unit="parallel", cap=3, window_s=0),
    ]
    machines = [Machine(3, limits, clock, table, shared=two) for _ in range(1 + two)]
    spent: dict[int, int] = {}
    requests: dict[int, int] = {}
    for machine_at, worker_at, action, amount in actions:
        machine = machines[machine_at % len(machines)]
        worker = machine.workers[worker_at]
        if action == "settle" and worker.holds:
            _settle(worker, amount, spent, requests)
        elif action == "wait":
            clock.now += amount
        else:
            _act(machine, worker, action, amount)
        holds = [hold for each in machines for worker in each.workers for hold in worker.holds]
        assert len(holds) <= 3
        held: dict[int, int] = {}
        for hold in holds:
            window = _windows(hold)["usd"]
            held[window] = held.get(window, 0) + hold.amounts[0]
        for window in {*spent, *held}:
            assert spent.get(window, 0) + held.get(window, 0) <= int(cap * NANO)
        assert all(count <= 12 for count in requests.values())
    _nothing_is_lost(machines, table, spent, clock)


def _windows(hold: Hold) -> dict[str, int]:
    return {lease.id.unit: lease.id.window for lease in hold.leases}


def _settle(worker: Worker, amount: int, spent: dict[int, int], requests: dict[int, int]) -> None:
    hold = worker.holds.pop()
    usd = hold.amounts[0] / NANO * (0.5 if amount % 2 else 1.0)
    windows = _windows(hold)
    spent[windows["usd"]] = spent.get(windows["usd"], 0) + int(usd * NANO + 0.5)
    requests[windows["requests"]] = requests.get(windows["requests"], 0) + 1
    worker.limits.settle(hold, usd, 10)


def _act(machine: Machine, worker: Worker, action: str, amount: int) -> None:
    if action == "reserve":
        worker.reserve(amount / 100)
    elif action == "up" and worker.up:
        machine.hear(worker)
    elif action == "down" and worker.down:
        worker.hear()
    elif action == "fund" and machine.funding:
        machine.run_fund()
    elif action == "flush":
        worker.flush()
    elif action == "commit":
        machine.settle()
    elif action == "tick":
        worker.limits.tick()


def _nothing_is_lost(machines: list[Machine], table: Table, spent: dict[int, int], clock: Clock) -> None:
    """When everybody has finished, the table knows exactly what was spent, and nothing is leased for ever."""
    for machine in machines:
        machine.quiesce()
        for worker in machine.workers:
            while worker.holds:
                worker.limits.settle(worker.holds.pop(), 0.0, 0)
                machine.quiesce()
            worker.flush()
        machine.quiesce()
    clock.now += 7_200
    for machine in machines:
        for worker in machine.workers:
            worker.limits.tick()
            while worker.holds:
                worker.limits.settle(worker.holds.pop(), 0.0, 0)
            worker.flush()
        machine.quiesce()
        machine.settle()
        machine.settle()
    by_window = {
        lease.window: amount for lease, amount in table.spent.items() if lease.unit == "usd" and amount
    }  # type: ignore[attr-defined]  # its keys are leases
    assert by_window == {window: amount for window, amount in spent.items() if amount}
    leased = {lease: amount for lease, amount in table.leased.items() if lease.unit != "parallel"}  # type: ignore[attr-defined]  # its keys are leases
    assert not any(leased.values())


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30)), max_size=60))
def test_what_is_left_can_be_used_from_any_worker(asks: list[tuple[int, int]]) -> None:
    clock, table = Clock(), Table()
    machine = Machine(
        3, [Limit(scope="key", unit="usd", cap=1.0, window_s=86_400)], clock, table, shared=False
    )
    left = 1_000_000_000
    for worker_at, cents in asks:
        worker = machine.workers[worker_at]
        clock.now += 1
        before = len(worker.holds)
        worker.reserve(cents / 100)
        machine.quiesce()
        need = int(cents / 100 * NANO + 0.5)
        assert (len(worker.holds) > before) == (need <= left)
        if len(worker.holds) > before:
            worker.limits.settle(worker.holds.pop(), cents / 100, 0)
            left -= need


def test_more_than_was_reserved_counts() -> None:
    clock, table = Clock(), Table()
    machine = Machine(
        1, [Limit(scope="key", unit="usd", cap=1.0, window_s=86_400)], clock, table, shared=False
    )
    (worker,) = machine.workers
    worker.reserve(0.1)
    machine.quiesce()
    worker.limits.settle(worker.holds.pop(), 1.25, 0)
    worker.reserve(0.1)
    worker.flush()
    machine.quiesce()
    assert worker.refused[-1].kind == "insufficient_quota"
    assert 0 < worker.refused[-1].retry_after_s <= 86_400
    machine.settle()
    assert list(table.spent.values()) == [1_250_000_000]


def test_what_is_less_than_a_guess_is_spent_by_one_request_of_all_workers() -> None:
    clock, table = Clock(), Table()
    limits = [Limit(scope=scope, unit="usd", cap=1.0, window_s=86_400) for scope in ("key", "route")]
    machine = Machine(3, limits, clock, table, shared=False)
    for worker in machine.workers:
        worker.reserve(0.3, is_open=True)
        machine.quiesce()
        worker.limits.settle(worker.holds.pop(), 0.3, 0)
    for _ in range(2):
        for worker in machine.workers:
            worker.reserve(0.3, is_open=True)
        machine.quiesce()
        assert [len(worker.holds) for worker in machine.workers].count(1) == 1
        clock.now += 1
    (last,) = [worker for worker in machine.workers if worker.holds]
    last.limits.settle(last.holds.pop(), 0.3, 0)
    last.flush()
    machine.quiesce()
    for worker in machine.workers:
        worker.reserve(0.3, is_open=True)
        machine.quiesce()
    assert not any(worker.holds for worker in machine.workers)


def test_a_request_is_alone_in_the_unit_that_refused_it_and_in_no_other() -> None:
    clock, table = Clock(), Table()
    limits = [
        Limit(scope="key", unit="usd", cap=0.2, window_s=86_400),
        Limit(scope="team", unit="tokens", cap=1_000, window_s=86_400),
    ]
    machine = Machine(1, limits, clock, table, shared=False)
    (worker,) = machine.workers
    worker.reserve(0.1, who=Principal(id="key-2", team="blue"))
    worker.reserve(0.3, is_open=True)
    machine.quiesce()
    assert not worker.refused, "tokens are left, though another request counts them"
    assert [hold.amounts[:2] for hold in worker.holds] == [(100_000_000, 10), (1, 10)]
    worker.reserve(0.3, is_open=True)
    machine.quiesce()
    assert [refusal.unit for refusal in worker.refused] == ["usd"]


def test_a_worker_that_is_gone_leaves_what_it_had_in_flight_as_spent() -> None:
    clock, table = Clock(), Table()
    machine = Machine(
        2, [Limit(scope="key", unit="usd", cap=1.0, window_s=86_400)], clock, table, shared=False
    )
    first, second = machine.workers
    first.reserve(0.4)
    machine.quiesce()
    first.flush()
    machine.quiesce()
    lost = machine.accounts.leave(0)
    assert [(each.spent, each.reserved) for each in lost] == [(400_000_000, 0)]
    second.reserve(0.7)
    machine.quiesce()
    assert second.refused
    clock.now += 1
    second.reserve(0.6)
    machine.quiesce()
    assert second.holds


def test_messages_survive_the_wire() -> None:
    import msgspec

    from crossgrade.gateway import FromBroker, FromWorker, LeaseId

    lease = LeaseId("key", "k", "usd", 60, 120)
    ask = Ask(lease, 10, 3)
    assert msgspec.json.decode(msgspec.json.encode(ask), type=FromWorker) == ask
    assert msgspec.json.decode(msgspec.json.encode(Ack(3)), type=FromBroker) == Ack(3)
    assert msgspec.json.decode(msgspec.json.encode(Spend(lease, 1, 2, 3)), type=Spend) == Spend(
        lease, 1, 2, 3
    )
