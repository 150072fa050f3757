"""How soon a thousand gateways know of a revoked key, from what its parts cost here."""

import heapq
import random
import select
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psycopg
import sqlalchemy

from benchmarks.gateway._stores import Database
from crossgrade.gateway._sweeper import EVERY_S
from crossgrade.serve._following import _RETRY_S
from crossgrade.store import Changes
from crossgrade.store._database import announce

KEYS = 1_000
SERVER_CORES = 2

_LISTENERS = 60
_TIMES = 50
_BROKEN = 0.01
"""The share of gateways whose connection had just broken."""


@dataclass(frozen=True)
class Costs:
    """Seconds that a change of keys takes: to tell one more listener, and of server and gateway for each."""

    tell: float
    server: float
    gateway: float


def measured_costs(database: Database, folder: Path) -> Costs:
    """Measure them here, with as many keys as a large team has: the quickest of some, as others use the cores."""
    url = database.environ["CROSSGRADE_DATABASE_URL"]
    changes, writer = Changes.open(url, folder / "here"), Changes.open(url, folder / "there")
    writer.keys.create("first")
    with writer.writing() as connection:
        copies = (
            "INSERT INTO key_events (key_id, kind, detail, at) SELECT 'key-' || n, kind, detail, at "
            f"FROM key_events, generate_series(2, {KEYS}) AS n"
        )
        connection.execute(sqlalchemy.text(copies))  # constants above
    changes.look()
    changes.keys.publish()
    server, gateway = [], []
    for _ in range(_TIMES):
        key = writer.keys.create(f"{time.time_ns()}")
        writer.keys.revoke(key.id)
        moments = [time.perf_counter()]
        for do in (changes.look, changes.look, changes.keys.publish):
            do()
            moments.append(time.perf_counter())
        _, look, publish = (after - before for before, after in pairwise(moments))
        server.append(3 * look)  # `look` is one question, `publish` two more
        gateway.append(publish)
    tell = _telling(url, writer)
    changes.close()
    writer.close()
    return Costs(tell, min(server), min(gateway))


def _telling(url: str, writer: Changes) -> float:
    """Return the seconds that one more listener takes to be told: the quickest of some tries, fewer and more."""
    listeners = [psycopg.connect(url, autocommit=True) for _ in range(_LISTENERS)]
    quickest = []
    for count in (_LISTENERS // 6, _LISTENERS):
        for each in listeners[:count]:
            each.execute("LISTEN crossgrade")
        quickest.append(min(_told(listeners[:count], writer) for _ in range(_TIMES)))
    for each in listeners:
        each.close()
    return max(0.0, quickest[1] - quickest[0]) / (_LISTENERS - _LISTENERS // 6)


def _told(listeners: list[psycopg.Connection], writer: Changes) -> float:
    """Return the seconds from a change until all of these have heard of it."""
    began = time.perf_counter()
    with writer.writing() as connection:
        announce(connection)
    waiting = set(listeners)
    while waiting:
        waiting -= set(select.select(waiting, [], [], 10)[0])
    seconds = time.perf_counter() - began
    for each in listeners:
        each.execute("SELECT 1")  # which takes what was told
    return seconds


def reached_s(costs: Costs, seed: int, gateways: int) -> float:
    """Return the seconds from a revocation until the last worker of all gateways refuses the key."""
    chance = random.Random(seed)
    cores = [0.0] * SERVER_CORES
    last = 0.0
    for number in range(gateways):
        told = costs.tell * (number + 1)
        if chance.random() < _BROKEN:  # its connection had broken: it comes back after a while
            told += _RETRY_S * chance.uniform(0.5, 1.5)
        answered = max(heapq.heappop(cores), told) + costs.server
        heapq.heappush(cores, answered)
        pace = 2 if chance.random() < 1 / 8 else 1
        last = max(last, answered + costs.gateway * pace + chance.uniform(0.0, EVERY_S))
    return last
