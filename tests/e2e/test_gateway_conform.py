"""A served route whose host is swapped for another model: the watch notices, and the route steps back by itself."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gateway._served import Served, serving
from crossgrade.domain import ConformCheck, ConformRecord
from crossgrade.evidence import ConformSettings
from crossgrade.store import new_id
from crossgrade.testing import FakeModel, FakeProvider
from tests.e2e.certified import ask, certify, project_of
from tests.waiting import until

SMALL = ConformSettings(lengths=(256,), stages=(2, 2, 2))


@pytest.fixture
def hosts() -> dict[str, FakeModel]:
    return {"old": FakeModel("closed"), "new": FakeModel("scout"), "twin": FakeModel("scout")}


@pytest.fixture
def gateway(hosts: dict[str, FakeModel], tmp_path: Path) -> Iterator[Served]:
    with (
        FakeProvider(lambda request: hosts[request.model](request)) as fake,
        FakeProvider(hosts["twin"]) as other,
    ):

        def model(name: str, host: FakeProvider = fake, **more: Any) -> dict[str, Any]:
            return {"provider": "openai-compatible", "base_url": host.base_url, "model": name, **more}

        config = {
            "models": {
                "old": model("old"),
                "new": model("new", replicas=["twin"]),
                "twin": model("new", other),
            },
            "workloads": {
                "support": {
                    "dataset": "none.jsonl",
                    "scorer": {"kind": "exact"},
                    "incumbent": "old",
                    "candidates": ["new"],
                }
            },
            "routes": {"support": {"workload": "support"}},
            "watch": {"interval_s": 1, "conform": {"every_hours": 0.001}},
        }
        with serving(tmp_path, config) as served:
            yield served


def targets(served: Served, n: int = 40) -> set[str]:
    return {ask(served, "support", f"hello {at}", max_tokens=4).target for at in range(n)}


def test_a_swapped_host_loses_its_route_by_itself(gateway: Served, hosts: dict[str, FakeModel]) -> None:
    with project_of(gateway) as project:
        for name in ("old", "new"):
            project.conformity.run(project.conformity.plan(name, None, SMALL))
    certify(gateway, {"support": {}})
    assert targets(gateway) <= {"new", "twin"}
    watch = subprocess.Popen(
        [sys.executable, "-m", "crossgrade", "watch"], cwd=gateway.folder, stderr=subprocess.PIPE, text=True
    )
    try:
        with project_of(gateway) as project:

            def days() -> int:
                (record,) = project.store.conformity.recent("new")
                return sum(each.outcome == "accepted" for each in project.store.conformity.days(record.id))

            until(lambda: days() >= 1)
        hosts["new"].weights = "cheaper"
        until(lambda: targets(gateway, 1) == {"old"})
    finally:
        watch.send_signal(signal.SIGINT)
        _, said = watch.communicate(timeout=60)
    alarms = [json.loads(line) for line in said.splitlines() if '"alarm"' in line and line.startswith("{")]
    assert [(each["kind"], each["route"], each["detail"]["model"]) for each in alarms] == [
        ("fingerprint", "support", "new")
    ]


def test_a_replica_that_differs_gets_no_request(gateway: Served) -> None:
    certify(gateway, {"support": {}})
    assert targets(gateway) == {"new", "twin"}, "they are declared equal"
    with project_of(gateway) as project:
        new, twin = (
            project.conformity.run(project.conformity.plan(name, None, SMALL)).fingerprint
            for name in ("new", "twin")
        )
        record = ConformRecord(
            id=new_id(),
            checks=(ConformCheck(name="answers", outcome="differs", seen="0.4", p_value=0.0001),),
            fingerprint=twin,
            against=new,
            alpha=0.01,
        )
        project.store.conformity.append(record)
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: targets(gateway) == {"new"})
