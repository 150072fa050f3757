"""A configuration that is read again under load: no request is lost, and the new one is served."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gateway._served import Served, command, records, serving
from crossgrade.project import Project
from crossgrade.routing import Policy, Route, RouteTable
from crossgrade.testing import FakeProvider
from tests.codes import raises_code
from tests.e2e.certified import ask, reload
from tests.e2e.traffic import Traffic, priced_model
from tests.waiting import until


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Served]:
    with priced_model() as model:
        config = {
            "models": {"old": model, "new": model},
            "routes": {"support": {"incumbent": "old"}},
            "serve": {
                "workers": 2,
                "limits": [{"scope": "key", "unit": "requests", "cap": 1_000_000, "per": "day"}],
            },
        }
        with serving(tmp_path, config) as served:
            yield served


def test_regions_made_narrower_send_certified_traffic_home(tmp_path: Path) -> None:
    """What a verdict moved steps back when its target's region is allowed no more, with a reason; and at start."""
    with FakeProvider(lambda request: request.model, models=("old", "new")) as fake:
        model = {"provider": "openai-compatible", "base_url": fake.base_url}
        work = {
            "dataset": "none.jsonl",
            "scorer": {"kind": "exact"},
            "incumbent": "old",
            "candidates": ["new"],
        }
        config: dict[str, Any] = {
            "models": {"old": {**model, "model": "old"}, "new": {**model, "model": "new", "region": "us"}},
            "workloads": {"work": {**work, "requirements": {"regions": ["eu", "us"]}}},
        }
        until_then = datetime.now(UTC) + timedelta(days=9)
        policy = Policy(kind="switch", incumbent="old", candidate="new")
        offers = {"old": "old", "new": "new"}
        route = Route(name="work", policy=policy, targets=offers, valid_until=until_then, verdict_id="v")

        def narrow(config: Any) -> None:
            config["workloads"]["work"]["requirements"]["regions"] = ["eu"]

        said = "warning: route work: new is in no region that workload work allows (eu)"
        with serving(tmp_path, config) as served:
            with Project.open(tmp_path / "crossgrade.yaml") as project:
                project.store.publish_route(RouteTable(version=1, routes=(route,)), None)
            until(lambda: ask(served, "work").target == "new")
            reload(served, narrow)
            until(lambda: ask(served, "work").target == "old")
            log = (tmp_path / "serve.log").read_text()
            assert said in log
            assert '"event":"outside_regions"' in log
            until(lambda: [each for each in records(served) if each["reason"] == "region"])
        narrow(config)
        with serving(tmp_path, config, key_name="again") as served:
            assert ask(served, "work").target == "old"
            assert said in (tmp_path / "serve.log").read_text()
        shown = command(tmp_path, "route", "show", "work")
        assert "kept: new is outside the regions" in shown
        exported = command(tmp_path, "route", "export", "work", "--to", "litellm")
        assert "openai/new" not in exported
        with Project.open(tmp_path / "crossgrade.yaml") as project:
            project.routing.abort("work")
            with raises_code("region-not-allowed", "new", "us", "work", "eu"):
                project.routing.promote("work")


def test_terms_that_came_to_forbid_a_candidate_send_its_traffic_home(tmp_path: Path) -> None:
    """So does what is not known of a host, and the team's own permission brings the traffic back."""
    with FakeProvider(lambda request: request.model, models=("old", "new")) as fake:
        model = {"provider": "openai-compatible", "base_url": fake.base_url}
        config: dict[str, Any] = {
            "models": {name: {**model, "model": name} for name in ("old", "new", "spare")},
            "routes": {"work": {"incumbent": "old", "fallbacks": ["spare"]}},
        }
        offers = {"old": "old", "new": "new"}
        policy = Policy(kind="switch", incumbent="old", candidate="new")
        until_then = datetime.now(UTC) + timedelta(days=9)
        route = Route(name="work", policy=policy, targets=offers, valid_until=until_then, verdict_id="v")

        def asks_more(config: Any) -> None:
            config["team"] = {"max_retention_days": 0}

        def permits(config: Any) -> None:
            config["team"]["permitted"] = [
                {"model": "new", "clause": clause, "because": "our own server"}
                for clause in ("retention-unknown", "licence-unknown")
            ]

        with serving(tmp_path, config) as served:
            with Project.open(tmp_path / "crossgrade.yaml") as project:
                project.store.publish_route(RouteTable(version=1, routes=(route,)), None)
            until(lambda: ask(served, "work").target == "new")
            reload(served, asks_more)
            until(lambda: ask(served, "work").target == "old")
            log = (tmp_path / "serve.log").read_text()
            assert "warning: route work: new is unknown (" in log
            assert "warning: route work: spare is unknown (" in log
            assert '"event":"not_allowed"' in log
            until(lambda: [each for each in records(served) if each["reason"] == "terms"])
            reload(served, permits)
            until(lambda: ask(served, "work").target == "new")


def test_new_workers_take_over_without_losing_a_request(gateway: Served) -> None:
    def log() -> str:
        return (gateway.folder / "serve.log").read_text()

    with Traffic(gateway) as traffic:
        for number in range(1, 4):
            traffic.wait_for(60)
            before = gateway.workers
            incumbent = "new" if number % 2 else "old"
            reload(gateway, lambda config, name=incumbent: config["routes"]["support"].update(incumbent=name))
            until(lambda number=number: log().count("reloaded: 2 new workers") == number)
            until(lambda before=before: not set(before) & set(gateway.workers))
            traffic.wait_for(60)
        reload(gateway, lambda config: config["routes"]["support"].update(incumbent="nobody"))
        until(lambda: "not reloaded: " in log())
        traffic.wait_for(60)
    assert not traffic.refused
    assert not traffic.failed
    assert ask(gateway, "support").target == "new"
    assert "Traceback" not in log()
