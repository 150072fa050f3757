"""Four real gateways of one PostgreSQL and one Redis: overspend of a budget, keys revoked, routes stepped back."""

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks._table import Row
from benchmarks.gateway._promises import Caller
from benchmarks.gateway._served import Served, serving
from benchmarks.gateway._stores import Database, postgresql_store, redis_store
from crossgrade.project import Project
from crossgrade.routing import Policy, Route, RouteTable, route_table_digest
from crossgrade.testing import FakeProvider, Reply

GATEWAYS = 4
CALLERS = 64
ROUNDS = 10
RUNS = 3

_REFUSALS = 10
_LONGEST_TOKENS = 4_000
_PRICE = {"input_per_mtok": 1, "output_per_mtok": 10}
_LONGEST_USD = _LONGEST_TOKENS * _PRICE["output_per_mtok"] / 1e6
_CAP_USD = 4.0
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Fleet:
    """Running gateways, the two stores that they share, and their provider."""

    gateways: list[Served]
    postgresql: Database
    redis: Database
    environ: Mapping[str, str]

    def project(self) -> Project:
        """Open the first gateway's project, as a command on its machine does."""
        return Project.open(
            self.gateways[0].folder / "crossgrade.yaml", environ={**os.environ, **self.environ}
        )


@contextlib.contextmanager
def fleet(
    folder: Path, count: int, provider: FakeProvider, routes: Mapping[str, Any], serve: Mapping[str, Any]
) -> Iterator[Fleet]:
    """Run so many gateways with one configuration, each in a folder of its own, and both stores.

    The models are `old` and `new`, which the provider answers for. A route `moved` has a workload of both.
    """
    model = {"provider": "openai-compatible", "base_url": provider.base_url, "prices": [_PRICE]}
    workload = {
        "dataset": "none.jsonl",
        "scorer": {"kind": "exact"},
        "incumbent": "old",
        "candidates": ["new"],
    }
    config = {
        "models": {name: {**model, "model": name} for name in ("old", "new")},
        "workloads": {"moved": workload},
        "routes": {"moved": {"workload": "moved"}, **routes},
        "serve": serve,
    }
    with contextlib.ExitStack() as stack:
        places = [folder / name for name in ("redis", "postgresql")]
        for place in places:
            place.mkdir()
        folder.chmod(0o755)  # PostgreSQL runs as another user
        redis = stack.enter_context(redis_store(places[0]))
        postgresql = stack.enter_context(postgresql_store(places[1]))
        environ = {**redis.environ, **postgresql.environ}
        gateways = []
        for number in range(count):
            place = folder / f"gateway-{number}"
            place.mkdir()
            name = f"gateway-{number}"
            gateways.append(stack.enter_context(serving(place, config, environ=environ, key_name=name)))
        yield Fleet(gateways, postgresql, redis, environ)


def certified(project: Project, candidate: str | None) -> None:
    """Publish a table in which the route `moved` is switched to a candidate, or kept (None)."""
    policy = Policy(kind="switch" if candidate else "keep", incumbent="old", candidate=candidate)
    targets = {name: name for name in ("old", candidate) if name}
    until = datetime.now(UTC) + timedelta(days=1)
    route = Route(name="moved", policy=policy, targets=targets, valid_until=until, verdict_id="v")
    current = project.store.routes.current()
    digest = None if current is None else route_table_digest(current)
    project.store.publish_route(RouteTable(version=1, routes=(route,)), digest)


def fleet_rows() -> list[Row]:
    """Return overspend against its documented bound, and how soon every gateway knows of a change."""
    names = [f"{kind}-{run}" for kind in ("open", "bounded") for run in range(RUNS)]
    limits = [
        {"scope": "route", "match": name, "unit": "usd", "cap": _CAP_USD, "per": "month"} for name in names
    ]
    routes = {name: {"incumbent": "old"} for name in names}
    chance = random.Random(7)
    with (
        TemporaryDirectory(prefix="bench-fleet-") as folder,
        FakeProvider(lambda _: _answer(chance), models=("old", "new"), keep=1) as provider,
        fleet(Path(folder), GATEWAYS, provider, routes, {"limits": limits}) as running,
    ):
        _known(running, running.gateways[0].key)
        load = f"a load of {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        overspends = {
            kind: [_overspend(running, f"{kind}-{run}", bounded=kind == "bounded") for run in range(RUNS)]
            for kind in ("open", "bounded")
        }
        revoked = [_revoked(running, number) for number in range(ROUNDS)]
        stepped = [_stepped_back(running) for _ in range(ROUNDS)]
    return [*_overspend_rows(overspends, load), *_change_rows(revoked, stepped, load)]


def _answer(chance: random.Random) -> Reply:
    return Reply(
        "word",
        input_tokens=10,
        output_tokens=chance.randint(_LONGEST_TOKENS // 4, _LONGEST_TOKENS),
        delay_s=chance.uniform(0.1, 0.4),
    )


def _overspend(running: Fleet, route: str, *, bounded: bool) -> tuple[float, float]:
    """Ask until a budget is spent; return what was spent, and the dearest answer, in dollars."""
    options = {"max_tokens": _LONGEST_TOKENS} if bounded else {}
    with ThreadPoolExecutor(CALLERS) as pool:
        found = list(pool.map(lambda n: _spend(running, n, route, options), range(CALLERS)))
    costs = [cost for each in found for cost in each]
    return sum(costs), max(costs)


def _spend(running: Fleet, number: int, route: str, options: Mapping[str, Any]) -> list[float]:
    """Ask one gateway until it refuses so many times in a row; return the costs of the answers."""
    served = running.gateways[number % GATEWAYS]
    caller, costs, refused = Caller(served), [], 0
    while refused < _REFUSALS:
        status, headers = caller.ask(route, **options)
        if status == 200:
            costs.append(float(headers["x-crossgrade-cost-usd"]))
            refused = 0
        else:
            refused += 1
            time.sleep(0.2)
    caller.close()
    return costs


def _overspend_rows(found: Mapping[str, list[tuple[float, float]]], load: str) -> list[Row]:
    worst = max((spent - _CAP_USD) / (GATEWAYS * dearest) for spent, dearest in found["open"])
    spends = {kind: [spent for spent, _ in runs] for kind, runs in found.items()}
    common = f"{CALLERS} callers over {GATEWAYS} gateways, a cap of ${_CAP_USD:g}, answers of up to ${_LONGEST_USD:g}"
    return [
        {
            "figure": f"{GATEWAYS} gateways, one budget, answers without a bound: overspend over the documented bound",
            "value": max(0.0, worst),
            "unit": "",
            "must": "<= 1",
            "aim": "<= 0.5",
            "holds": worst <= 1,
            "conditions": f"{common}; the bound is one answer a machine; the worst of {RUNS}; {load}",
            "spread": f"spent {', '.join(f'${each:.3f}' for each in spends['open'])}",
        },
        {
            "figure": f"{GATEWAYS} gateways, one budget, answers with `max_tokens`: overspend",
            "value": max(0.0, max(spends["bounded"]) - _CAP_USD),
            "unit": "$",
            "must": "0",
            "aim": "0",
            "holds": max(spends["bounded"]) <= _CAP_USD + 1e-9,
            "conditions": f"{common}; the worst of {RUNS}; {load}",
            "spread": f"spent {', '.join(f'${each:.3f}' for each in spends['bounded'])}",
        },
    ]


def _change_rows(revoked: list[float], stepped: list[float], load: str) -> list[Row]:
    kinds = (("a revoked key is refused", revoked), ("a route stepped back is served", stepped))
    return [
        {
            "figure": f"{GATEWAYS} gateways: {what} by all within",
            "value": max(seconds),
            "unit": "s",
            "must": "<= 2",
            "aim": "<= 1",
            "holds": max(seconds) <= 2,
            "conditions": f"from the call until the last gateway's first such answer; the worst of {ROUNDS}; {load}",
            "spread": f"median {median(seconds):.3f} s",
        }
        for what, seconds in kinds
    ]


def _known(running: Fleet, key: str) -> None:
    """Wait until every gateway takes a key."""
    _until_all(running, key, lambda status, _: status == 200)


def _revoked(running: Fleet, number: int) -> float:
    """Return the seconds until every gateway refuses a key that one machine revokes."""
    with running.project() as project:
        key = project.store.keys.create(f"revoked-{number}")
        _known(running, key.text)
        return _until_all(
            running, key.text, lambda status, _: status == 401, lambda: project.store.keys.revoke(key.id)
        )


def _stepped_back(running: Fleet) -> float:
    """Return the seconds until every gateway serves a route as it was before it was switched."""
    key = running.gateways[0].key
    with running.project() as project:
        certified(project, "new")
        _until_all(running, key, lambda _, target: target == "new")
        return _until_all(
            running, key, lambda _, target: target == "old", lambda: project.routing.abort("moved")
        )


def _until_all(
    running: Fleet,
    key: str,
    is_so: Callable[[int, str | None], bool],
    change: Callable[[], object] = lambda: None,
) -> float:
    """Ask every gateway all the time, make a change; return the seconds until each has answered by it."""
    began = [0.0]
    ready = threading.Barrier(len(running.gateways) + 1)

    def watch(served: Served) -> float:
        caller = Caller(Served(served.url, key, served.folder, served.process))
        caller.ask("moved", max_tokens=5)
        ready.wait(_PATIENCE_S)
        while not is_so(*_seen(caller)):
            if time.monotonic() - began[0] > _PATIENCE_S:
                raise RuntimeError("a gateway never heard of the change")
            time.sleep(0.01)
        caller.close()
        return time.monotonic()

    with ThreadPoolExecutor(len(running.gateways)) as pool:
        watching = [pool.submit(watch, served) for served in running.gateways]
        began[0] = time.monotonic()
        ready.wait(_PATIENCE_S)
        began[0] = time.monotonic()
        change()
        return max(each.result() for each in watching) - began[0]


def _seen(caller: Caller) -> tuple[int, str | None]:
    status, headers = caller.ask("moved", max_tokens=5)
    return status, headers.get("x-crossgrade-target")
