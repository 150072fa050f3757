"""A thousand gateways that share both stores, simulated from what one costs here.

Workers' limits, brokers' accounts, counting and Redis are the product's own, on a clock of the simulation. So
every operation is a real one, and only its time is not.
"""

import random
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import redis

from benchmarks._scale_reach import KEYS, SERVER_CORES, measured_costs, reached_s
from benchmarks._table import Row
from benchmarks.gateway._stores import postgresql_store, redis_store
from crossgrade.domain import Limit
from crossgrade.gateway import NANO, Ask, Deny, Grant, LeaseId, Recall
from crossgrade.gateway._broker import FLUSH_S
from crossgrade.gateway._leases import Hold, LimitRefusal
from crossgrade.gateway._limits import Limits
from crossgrade.gateway._sweeper import EVERY_S
from crossgrade.identity import Principal
from crossgrade.serve._accounts import Accounts
from crossgrade.serve._counting import TIDY_TICKS, Counting
from crossgrade.serve._following import TOLD_POLL_S
from crossgrade.serve._records import RecordFiles
from crossgrade.serve._redis import RedisCounters
from crossgrade.serve.broker import IDLE_SHARED_S

GATEWAYS = 1_000
SECONDS = 60
REQUESTS_A_SECOND = 1.0

_MOST_USD, _LEAST_USD = 0.01, 0.002
_WHO = Principal(id="key-1", team="blue")


class _Counted(redis.Redis):
    """A client that counts what it asks."""

    asked = 0

    def execute_command(self, *words: Any, **options: Any) -> Any:
        self.asked += 1
        return super().execute_command(*words, **options)


class _Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class _Gateway:
    """A gateway of one worker: its limits, its broker's accounts, and their counting in the store."""

    def __init__(self, name: str, limit: Limit, counters: RedisCounters, clock: _Clock, tick: int) -> None:
        self.limits = Limits((limit,), clock=clock)
        self.limits.send = self._ask
        self.limits.idle_s = IDLE_SHARED_S
        self.counting = Counting(lambda: counters, name, shared=True)  # one connection for all of them
        self.accounts = Accounts(
            self._send, self._fund, shared=True, brokers=lambda: self.counting.brokers, clock=clock
        )
        self.held: list[tuple[float, Hold]] = []
        self.seen: Counter[str] = Counter()
        self.spent = 0.0
        self._clock = clock
        self._mail: deque[Grant | Deny | Recall] = deque()
        self._ticks = tick

    def begin(self, files: RecordFiles) -> None:
        """Join the others."""
        self.counting.begin(files, ("", 0))
        self.accounts.join(0, [])
        self.accounts.open()

    def request(self) -> None:
        """Take a request, whose answer comes a second later."""
        counters = self.limits.resolve(_WHO, "a")
        outcome = self.limits.reserve(counters, _MOST_USD, 0, self._ready)
        if outcome is not None:
            self._ready(outcome)
        self._deliver()

    def _ready(self, outcome: Hold | LimitRefusal) -> None:
        if isinstance(outcome, LimitRefusal):
            self.seen[outcome.kind] += 1
        else:
            self.seen["answered"] += 1
            self.held.append((self._clock.now + 1.0, outcome))

    def settle(self, chance: random.Random) -> None:
        """Settle what has been answered by now, and flush."""
        due = [hold for at, hold in self.held if at <= self._clock.now]
        self.held = [each for each in self.held if each[0] > self._clock.now]
        for hold in due:
            usd = chance.uniform(_LEAST_USD, _MOST_USD)
            self.spent += usd
            self.limits.settle(hold, usd, 0)
        self._flush()
        self._deliver()

    def second(self, files: RecordFiles) -> None:
        """Do what worker and broker do once a second."""
        self.limits.tick()
        self._flush()
        self._ticks += 1
        if self.counting.is_due(self._ticks):
            settlement = self.counting.settlement(self.accounts.changes(), ("", self._ticks), self._ticks)
            if settlement is not None:
                self.counting.commit(settlement, files)
        if self._ticks % TIDY_TICKS == 0:
            self.counting.tidy()
        self._deliver()

    def _flush(self, recalled: tuple[LeaseId, ...] = ()) -> None:
        spends = self.limits.take_spends()
        if spends or recalled:
            self.accounts.flushed(0, spends, recalled)

    def _ask(self, ask: Ask) -> bool:
        self._flush()
        self.accounts.ask(0, ask)
        return True

    def _send(self, _worker: int, message: Grant | Deny | Recall) -> None:
        self._mail.append(message)

    def _deliver(self) -> None:
        """Give the worker what its broker has sent, as if it had come over the socket."""
        while self._mail:
            message = self._mail.popleft()
            if isinstance(message, Grant):
                self.limits.granted(message)
            elif isinstance(message, Deny):
                self.limits.denied(message)
            else:
                self.limits.recalled(message.lease)
                self._flush((message.lease,))

    def _fund(self, lease: LeaseId, cap: int, need: int) -> None:
        loan = self.counting.lend(lease, cap, need)
        self.accounts.funded(lease, loan.amount, loan.spent)


@dataclass(frozen=True)
class _Load:
    """What a thousand gateways asked of Redis in a second, and what became of their requests."""

    operations_s: float
    seen: Counter[str]
    spent_usd: float


def _loaded(url: str, folder: Path, cap_usd: float) -> _Load:
    """Simulate all gateways on one budget, and count from when it has settled down."""
    client = _Counted.from_url(url.partition("?")[0], decode_responses=True)
    client.flushall()
    counters, clock, chance = RedisCounters(client), _Clock(), random.Random(3)
    files = RecordFiles(folder)
    limit = Limit(scope="route", match="a", unit="usd", cap=cap_usd, window_s=2_592_000)
    names = [f"{number:04}" for number in range(GATEWAYS)]
    gateways = [_Gateway(each, limit, counters, clock, -chance.randrange(TIDY_TICKS)) for each in names]
    for each in gateways:
        each.begin(files)
    for each in gateways:
        each.counting.tidy()
    steps = round(SECONDS / FLUSH_S)
    before: Counter[str] = Counter()
    for step in range(2 * steps):
        if step == steps:
            client.asked, before = 0, _seen(gateways)
        clock.now += FLUSH_S
        for each in gateways:
            while chance.random() < REQUESTS_A_SECOND * FLUSH_S / (1 + REQUESTS_A_SECOND * FLUSH_S):
                each.request()
            each.settle(chance)
            if step % round(1 / FLUSH_S) == 0:
                each.second(files)
    spent = sum(each.spent for each in gateways)
    asked = client.asked
    files.close()
    client.close()
    return _Load(asked / SECONDS, _seen(gateways) - before, spent)


def _seen(gateways: list[_Gateway]) -> Counter[str]:
    return sum((each.seen for each in gateways), Counter())


def thousand_rows() -> list[Row]:
    """Return what a thousand gateways ask of the stores, and how soon all of them know of a revocation."""
    with TemporaryDirectory(prefix="bench-thousand-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        places = [folder / each for each in ("redis", "postgresql", "log")]
        for place in places:
            place.mkdir()
        with redis_store(places[0]) as store:
            url = store.environ["CROSSGRADE_REDIS_URL"]
            _await(lambda: RedisCounters.open(url).close())
            loads = {
                "a budget that lasts": _loaded(url, places[2], 1e6),
                "a budget that is spent": _loaded(url, places[2], 20.0),
            }
        with postgresql_store(places[1]) as database:
            costs = measured_costs(database, folder)
    looks = GATEWAYS / TOLD_POLL_S
    most = max(load.operations_s for load in loads.values()) + looks
    reached = [reached_s(costs, seed, GATEWAYS) for seed in range(20)]
    assert loads["a budget that is spent"].spent_usd <= 20.0 + 1 / NANO
    told = "; ".join(
        f"{what}: {load.operations_s:,.0f} in Redis, of {load.seen.total():,} requests {load.seen['answered']:,} answered"
        for what, load in loads.items()
    )
    return [
        {
            "figure": f"{GATEWAYS:,} simulated gateways on one budget: store operations a second",
            "value": most,
            "unit": "/s",
            "must": "<= 2000",
            "aim": "<= 500",
            "holds": most <= 2_000,
            "conditions": f"{REQUESTS_A_SECOND:g} request a second and gateway, {SECONDS} s after as many; the product's own "
            f"limits, accounts and counting, with a real Redis; {told}; {looks:,.0f} looks in PostgreSQL",
        },
        {
            "figure": f"{GATEWAYS:,} simulated gateways: a revocation reaches all within",
            "value": max(reached),
            "unit": "s",
            "must": "<= 3",
            "aim": "<= 2",
            "holds": max(reached) <= 3,
            "conditions": f"measured here with {KEYS:,} keys: {costs.tell * 1e6:.0f} µs to tell one more, {costs.server * 1e3:.2f} "
            f"ms of PostgreSQL and {costs.gateway * 1e3:.1f} ms of the gateway for each; {SERVER_CORES} cores of PostgreSQL; "
            f"workers look every {EVERY_S:g} s; one gateway in eight half as fast, one in a hundred with a broken connection; "
            "the worst of 20 runs",
            "spread": f"median {median(reached):.2f} s",
        },
    ]


def _await(answers: Callable[[], object]) -> None:
    """Wait until a server that was just started answers."""
    give_up = time.monotonic() + 10
    while True:
        try:
            answers()
        except Exception:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
        else:
            return
