"""Settlements that count twice or are lost while processes stall and are killed under load.

Two workers, one broker and a database, Redis or PostgreSQL. Each event has a route of its own with a limit in
requests, so that what one event loses cannot hide what another counts twice.
"""

import os
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks._table import Row
from benchmarks.gateway._promises import WORKERS, Caller
from benchmarks.gateway._served import Served, children, serving
from benchmarks.gateway._server import NotMeasured
from benchmarks.gateway._stores import Database, postgresql_store, redis_store
from crossgrade.testing import FakeProvider, Reply

ROUNDS = 10
EVENTS = ("broker killed", "database stalled", "worker killed", "database killed", "database stalled")
CLIENTS = 4
UNSETTLED_S = 0.5
"""What a killed worker may lose, as docs/reference/limits.md states."""

_LAG_S = 0.1
"""How late a timer or a client of a busy machine may be when it takes that half second."""

_AFTER_S = 0.6
_PAUSE_S = 0.004


@dataclass
class Traffic:
    """Clients that ask the route of the moment until they are stopped."""

    served: Served
    route: str = ""
    answered: dict[str, list[float]] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Be one client."""
        caller = Caller(self.served)
        while not self._over.is_set():
            route = self.route
            status, _ = caller.ask(route, max_tokens=5)
            if status == 200:
                self.answered.setdefault(route, []).append(time.time())
            else:
                (self.refused if status else self.failed)[route] += 1
                time.sleep(0.05)
            time.sleep(_PAUSE_S)
        caller.close()

    def stop(self) -> None:
        """Tell the clients to stop."""
        self._over.set()


@dataclass(frozen=True)
class Outcome:
    """What one database's events led to."""

    events: Counter[str]
    answered: int
    refused: int
    twice: int
    lost: int
    stated: int
    text: str


def stall_rows() -> list[Row]:
    """Measure with each database that can run here."""
    outcomes, missing = [], []
    for name, database in (("Redis", redis_store), ("PostgreSQL", postgresql_store)):
        print(f"    {name}", file=sys.stderr, flush=True)
        with TemporaryDirectory(prefix="bench-stalls-") as folder:
            try:
                with database(Path(folder)) as running:
                    outcomes.append(_measured(running, Path(folder)))
            except NotMeasured as error:
                missing.append(str(error))
    events: Counter[str] = sum((each.events for each in outcomes), Counter())
    counted = ", ".join(f"{count} × {event}" for event, count in events.items())
    load = f"{CLIENTS} clients, {WORKERS} workers, a limit in requests; beyond what limits.md states for a killed worker"
    wrong = sum(each.twice + each.lost for each in outcomes)
    return [
        {
            "figure": "settlements counted twice or lost in 100 stalls and kills",
            "value": wrong if outcomes else None,
            "unit": f"of {sum(each.answered for each in outcomes):,}",
            "must": "0",
            "aim": "0",
            "holds": wrong == 0 and not missing,
            "conditions": "; ".join([counted, load, *(each.text for each in outcomes), *missing]),
        }
    ]


def _measured(database: Database, folder: Path) -> Outcome:
    script = Reply("ok", input_tokens=5, output_tokens=5, delay_s=0.01)
    routes = [f"event-{number}" for number in range(ROUNDS * len(EVENTS))]
    with FakeProvider(lambda _: script, models=("m",), keep=1) as fake:
        price = {"input_per_mtok": 1, "output_per_mtok": 2}
        model = {
            "provider": "openai-compatible",
            "model": "m",
            "base_url": fake.base_url,
            "prices": [price],
        }
        limit = {"scope": "route", "unit": "requests", "cap": 1_000_000, "per": "month"}
        config = {
            "models": {"m": model},
            "routes": {route: {"incumbent": "m"} for route in routes},
            "serve": {"workers": WORKERS, "limits": [limit]},
        }
        with serving(folder, config, environ=database.environ) as served:
            traffic = Traffic(served, routes[0])
            clients = [threading.Thread(target=traffic.run) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            kills = [_event(number, database, served, traffic) for number in range(len(routes))]
            time.sleep(2.0)
            traffic.stop()
            for client in clients:
                client.join()
            time.sleep(2.0)  # more than a commit, whatever the last event was
    return _judged(database, traffic, routes, [at for at in kills if at])


def _event(number: int, database: Database, served: Served, traffic: Traffic) -> float | None:
    """Let one event happen; return when a worker was killed."""
    traffic.route = f"event-{number}"
    time.sleep(0.3)
    event = EVENTS[number % len(EVENTS)]
    killed_at = None
    if event == "database stalled":
        database.stall()
    elif event == "database killed":
        database.restart()
    else:
        module = b"serve.broker" if event == "broker killed" else b"crossgrade.gateway"
        pids = sorted(children(served, module))
        killed = pids[number // len(EVENTS) % len(pids)]
        killed_at = time.time() if event == "worker killed" else None
        os.kill(killed, signal.SIGKILL)
        while killed in (again := children(served, module)) or len(again) < len(pids):
            time.sleep(0.05)
    time.sleep(_AFTER_S)
    return killed_at


def _judged(database: Database, traffic: Traffic, routes: list[str], kills: list[float]) -> Outcome:
    spent = database.spent(routes)
    twice = lost = stated = 0
    for route in routes:
        times = traffic.answered.get(route, [])
        fresh = sum(any(at - UNSETTLED_S - _LAG_S <= each <= at + _LAG_S for at in kills) for each in times)
        missing = max(0, len(times) - spent.get(route, 0))
        lost += max(0, missing - fresh)
        stated += min(missing, fresh)
        twice += max(0, spent.get(route, 0) - len(times) - traffic.failed[route])
    answered = sum(map(len, traffic.answered.values()))
    refused = traffic.refused.total()
    text = (
        f"{database.name}: {answered:,} answers, {refused} refused, {traffic.failed.total()} connections broken, {twice} "
        f"counted twice, {lost} lost, {stated} of the last half second of a killed worker lost"
    )
    events = Counter(EVENTS * ROUNDS)
    return Outcome(events, answered, refused, twice, lost, stated, text)
