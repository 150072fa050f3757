"""Two gateways of two machines: what they share over a real Redis or PostgreSQL holds for both of them."""

import contextlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from benchmarks.gateway._served import Served, command, serving
from crossgrade.project import Project
from crossgrade.routing import Policy, Route, RouteTable, route_table_digest
from crossgrade.testing import FakeProvider, Reply
from tests.e2e.certified import ask
from tests.unit.serve.running import redis as running_redis
from tests.waiting import until

CAP = 24
COST_USD = (5 * 10 + 5 * 20) / 1e6


@contextlib.contextmanager
def redis() -> Iterator[dict[str, str]]:
    with running_redis() as (_, url):
        yield {"CROSSGRADE_REDIS_URL": url}


@contextlib.contextmanager
def postgresql() -> Iterator[dict[str, str]]:
    import sqlalchemy

    server = os.environ["CROSSGRADE_TEST_POSTGRES_URL"]
    schema = f"test_{uuid4().hex}"
    engine = sqlalchemy.create_engine(server)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.schema.CreateSchema(schema))
    engine.dispose()
    url = f"{server}?options=-csearch_path%3D{schema}".replace("+psycopg", "")
    yield {"CROSSGRADE_DATABASE_URL": url}


_BOTH = [
    pytest.param(redis, marks=pytest.mark.needs("command:redis-server", "module:redis"), id="redis"),
    pytest.param(postgresql, marks=pytest.mark.needs("postgresql"), id="postgresql"),
]


@contextlib.contextmanager
def machines(folder: Path, shared: dict[str, str]) -> Iterator[list[Served]]:
    """Run two gateways with the same configuration, each in its own folder."""
    with FakeProvider(Reply("ok", input_tokens=5, output_tokens=5), models=("m",)) as fake:
        prices = [{"input_per_mtok": 10, "output_per_mtok": 20}]
        model = {"provider": "openai-compatible", "model": "m", "base_url": fake.base_url, "prices": prices}
        work = {
            "dataset": "none.jsonl",
            "scorer": {"kind": "exact"},
            "incumbent": "old",
            "candidates": ["new"],
        }
        limits: list[dict[str, Any]] = [
            {"scope": "route", "match": "counted", "unit": "requests", "cap": CAP, "per": "month"},
            {"scope": "route", "match": "dear", "unit": "usd", "cap": (CAP + 0.5) * COST_USD, "per": "month"},
        ]
        config = {
            "models": {"old": model, "new": model},
            "workloads": {"work": work},
            "routes": {"counted": {"incumbent": "old"}, "dear": {"incumbent": "old"}, "moved": {"workload": "work"},
                       "agent": {"workload": "work", "sticky": "run"}},
            "serve": {"limits": limits},
        }  # fmt: skip
        with contextlib.ExitStack() as stack:
            made = []
            for number in range(2):
                place = folder / f"machine-{number}"
                place.mkdir()
                environ = {"CROSSGRADE_DATABASE_URL": "", **shared}
                if not environ["CROSSGRADE_DATABASE_URL"]:
                    del environ["CROSSGRADE_DATABASE_URL"]
                stack.enter_context(_environment(environ))  # its commands share what it shares
                key = {} if number == 0 else {"key_name": "other"}
                made.append(stack.enter_context(serving(place, config, environ=environ, **key)))
            yield made


@contextlib.contextmanager
def _environment(environ: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        yield


@pytest.mark.parametrize("shared", _BOTH)
def test_limits_hold_over_both(tmp_path: Path, shared: Any) -> None:
    with shared() as environ, machines(tmp_path, environ) as both:
        for route in ("counted", "dear"):
            with ThreadPoolExecutor(8) as pool:
                seen = list(pool.map(lambda n, r=route: ask(both[n % 2], r, max_tokens=5).status, range(60)))
            assert set(seen) == {200, 429}
            assert seen.count(200) <= CAP
            # What a machine had leased and did not need comes back, and either can use it.
            give_up = time.monotonic() + 30
            while seen.count(200) < CAP - 1 and time.monotonic() < give_up:
                seen += [ask(each, route, max_tokens=5).status for each in both]
                time.sleep(0.2)
            assert CAP - 1 <= seen.count(200) <= CAP


@pytest.mark.needs("postgresql")
def test_keys_and_routes_are_common(tmp_path: Path) -> None:
    with postgresql() as environ, machines(tmp_path, environ) as (one, other):
        until(lambda: ask(other, "moved", key=one.key).status == 200)
        until(lambda: ask(one, "moved", key=other.key).status == 200)
        command(one.folder, "keys", "revoke", "other", environ=environ)
        until(lambda: ask(other, "moved", key=other.key).status == 401)
        assert ask(other, "moved", key=one.key).target == "old"
        route = Route(
            name="moved",
            policy=Policy(kind="switch", incumbent="old", candidate="new"),
            targets={"old": "old", "new": "new"},
            valid_until=datetime.now(UTC) + timedelta(days=1),
            verdict_id="v",
        )
        with _environment(environ), Project.open(one.folder / "crossgrade.yaml") as project:
            project.store.publish_route(RouteTable(version=1, routes=(route,)), None)
        until(lambda: ask(other, "moved", key=one.key).target == "new")
        command(other.folder, "route", "abort", "moved", environ=environ)
        until(lambda: ask(one, "moved", key=one.key).target == "old")


@pytest.mark.needs("postgresql")
def test_a_run_goes_on_at_another_machine(tmp_path: Path) -> None:
    with postgresql() as environ, machines(tmp_path, environ) as (one, other):
        until(lambda: ask(other, "moved", key=one.key).status == 200)
        route = Route(
            name="agent",
            policy=Policy(kind="switch", incumbent="old", candidate="new"),
            targets={"old": "old", "new": "new"},
            valid_until=datetime.now(UTC) + timedelta(days=1),
            verdict_id="v",
        )
        with _environment(environ), Project.open(one.folder / "crossgrade.yaml") as project:
            project.store.publish_route(RouteTable(version=1, routes=(route,)), None)
        later = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]

        def turn(machine: Served, run: str, **fields: Any) -> str:
            path = f"/run/{run}/v1/chat/completions"
            return ask(machine, "agent", key=one.key, path=path, **fields).target

        def new_runs_get(model: str) -> None:
            for machine in (one, other):
                until(lambda machine=machine: turn(machine, uuid4().hex) == model)

        new_runs_get("new")
        assert [turn(one, "r"), turn(other, "r", messages=later), turn(other, "s")] == ["new"] * 3
        command(other.folder, "route", "abort", "agent", environ=environ)
        new_runs_get("old")
        assert turn(other, "r", messages=later) == "old"
        with _environment(environ), Project.open(one.folder / "crossgrade.yaml") as project:
            table = project.store.routes.current()
            assert table is not None
            digest = route_table_digest(table)
            project.store.publish_route(table.replacing(route, previous=digest), digest)
        new_runs_get("new")
        assert [turn(each, "r", messages=later) for each in (one, other)] == ["old"] * 2
        assert turn(one, "s", messages=later) == "new"
