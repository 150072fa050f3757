"""`kill -9` of a worker or of the broker under load: the service goes on, and what was counted stays counted."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.gateway._served import Served, children, metric, records, serving
from crossgrade.routing import Policy, Route, RouteTable
from tests.e2e.certified import project_of
from tests.e2e.traffic import CLIENTS, COST_USD, Traffic, priced_model


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Served]:
    with priced_model() as model:
        work = {
            "dataset": "none.jsonl",
            "scorer": {"kind": "exact"},
            "incumbent": "old",
            "candidates": ["new"],
        }
        config = {
            "models": {"old": model, "new": model},
            "workloads": {"work": work},
            "routes": {"support": {"workload": "work", "shadow": {"rate": 0.2, "max_parallel": 64}}},
            "serve": {
                "workers": 2,
                "limits": [{"scope": "key", "unit": "usd", "cap": 1_000, "per": "month"}],
            },
        }
        with serving(tmp_path, config) as served:
            policy = Policy(kind="switch", incumbent="old", candidate="new")
            until = datetime.now(UTC) + timedelta(days=1)
            route = Route(
                name="support",
                policy=policy,
                targets={"old": "old", "new": "new"},
                valid_until=until,
                verdict_id="v",
            )
            with project_of(served) as project:
                project.store.publish_route(RouteTable(version=1, routes=(route,)), None)
            while metric(served, "crossgrade_gateway_table_version") < 2:
                time.sleep(0.05)
            yield served


def settled(served: Served, at_least: float) -> float:
    """Wait until so many dollars are counted; return how many are."""
    give_up = time.monotonic() + 20
    while (spent := metric(served, "crossgrade_limit_spent", unit="usd")) < at_least - 1e-9:
        assert time.monotonic() < give_up, (spent, at_least)
        time.sleep(0.05)
    return spent


def stored_pairs(served: Served) -> int:
    with project_of(served) as project:
        return len(project.store.pairs.recent("support", limit=100_000))


def test_a_killed_worker_is_replaced_and_loses_at_most_a_second(gateway: Served) -> None:
    with Traffic(gateway) as traffic:
        traffic.wait_for(150)
        time.sleep(1.0)  # the second that may be lost
        acknowledged = metric(gateway, "crossgrade_gateway_pairs_total")
        killed = gateway.workers[0]
        at = time.time()
        os.kill(killed, signal.SIGKILL)
        traffic.wait_for(100)
        while len(gateway.workers) < 2 or killed in gateway.workers:
            time.sleep(0.02)
        recovered = time.time()
        traffic.wait_for(100)
    assert acknowledged > 0
    assert stored_pairs(gateway) >= acknowledged
    assert not traffic.refused
    # Of each client the one in flight, and one more that the dying worker's socket took.
    assert len(traffic.failed) <= 2 * CLIENTS
    assert all(at - 1 < failure < recovered + 1 for failure in traffic.failed)
    before = {each for each, when in traffic.answered.items() if when < at - 1}
    known = {
        record["id"] for record in records(gateway) if record.get("cost_usd") and not record.get("shadow")
    }
    assert before <= known
    assert settled(gateway, len(known) * COST_USD) <= (len(traffic.answered) + 2 * CLIENTS) * COST_USD + 1e-9


def test_a_killed_broker_loses_nothing_and_nobody_notices(gateway: Served) -> None:
    with Traffic(gateway) as traffic:
        traffic.wait_for(100)
        acknowledged = metric(gateway, "crossgrade_gateway_pairs_total")
        (broker,) = children(gateway, b"serve.broker")
        os.kill(broker, signal.SIGKILL)
        traffic.wait_for(200)
        while children(gateway, b"serve.broker") in ([], [broker]):
            time.sleep(0.02)
        traffic.wait_for(100)
    assert not traffic.refused
    assert not traffic.failed
    wanted = set(traffic.answered)
    give_up = time.monotonic() + 20
    while not wanted <= {record["id"] for record in records(gateway)}:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert settled(gateway, len(wanted) * COST_USD) <= len(wanted) * COST_USD + 1e-9
    assert stored_pairs(gateway) >= acknowledged
    ids = [record["id"] for record in records(gateway)]
    assert len(ids) == len(set(ids)), "a record was written twice"
