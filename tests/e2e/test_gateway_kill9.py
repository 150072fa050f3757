"""`kill -9` of a worker or of the broker under load: the service goes on, and what was counted stays counted."""

import http.client
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.gateway._served import Served, children, metric, records, serving
from crossgrade.project import Project
from crossgrade.routing import Policy, Route, RouteTable
from crossgrade.testing import FakeProvider, Reply

COST_USD = (5 * 10 + 5 * 20) / 1e6
CLIENTS = 4


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Served]:
    with FakeProvider(Reply("hello", input_tokens=5, output_tokens=5, delay_s=0.01), models=("m",)) as fake:
        model = {
            "provider": "openai-compatible", "model": "m", "base_url": fake.base_url,
            "prices": [{"input_per_mtok": 10, "output_per_mtok": 20}],
        }  # fmt: skip
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


def project_of(served: Served) -> Project:
    return Project.open(served.folder / "crossgrade.yaml")


@dataclass
class Traffic:
    """Clients that ask until they are stopped; `answered` has when each answer came, by request id."""

    served: Served
    answered: dict[str, float] = field(default_factory=dict)
    failed: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Traffic":
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        body = json.dumps(
            {"model": "support", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
        ).encode()
        request = urllib.request.Request(
            f"{self.served.url}/v1/chat/completions", body, {"authorization": f"Bearer {self.served.key}"}
        )
        while not self._over.is_set():
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    answer.read()
                    self.answered[answer.headers["x-request-id"]] = time.time()
            except urllib.error.HTTPError as error:
                error.close()
                self.refused.append(error.code)
            except (OSError, http.client.HTTPException):
                self.failed.append(time.time())

    def wait_for(self, count: int) -> None:
        """Wait until there are so many answers more."""
        wanted = len(self.answered) + count
        give_up = time.monotonic() + 30
        while len(self.answered) < wanted:
            assert time.monotonic() < give_up
            time.sleep(0.01)


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
