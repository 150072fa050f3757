"""Two gateways behind a TCP balancer, with PostgreSQL and Redis: each is killed in turn, and upgraded, under load."""

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sqlalchemy

from benchmarks._scale_fleet import Fleet, certified, fleet
from benchmarks.gateway._served import Served, descendants, running
from crossgrade.errors import StoreError
from crossgrade.routing import RouteTable, route_table_bytes, route_table_digest
from crossgrade.testing import FakeProvider, Reply
from tests.e2e.balancing import Load, balanced, code_of, loaded
from tests.e2e.certified import ask
from tests.waiting import until

CLIENTS = 4
CAP = 4_000

pytestmark = pytest.mark.needs("postgresql", "command:redis-server", "module:redis")


@pytest.fixture
def two() -> Iterator[Fleet]:
    serve = {
        "limits": [{"scope": "route", "match": "counted", "unit": "requests", "cap": CAP, "per": "month"}]
    }
    routes = {name: {"incumbent": "old"} for name in ("free", "counted")}
    reply = Reply("word", input_tokens=5, output_tokens=5, delay_s=0.02)
    with (
        TemporaryDirectory(prefix="fleet-") as folder,  # not pytest's: PostgreSQL runs as another user
        FakeProvider(lambda _: reply, models=("old", "new"), keep=1) as provider,
        fleet(Path(folder), 2, provider, routes, serve) as running_fleet,
    ):
        key = running_fleet.gateways[0].key
        until(lambda: ask(running_fleet.gateways[1], "free", key=key).status == 200)
        yield running_fleet


@contextlib.contextmanager
def again(two: Fleet, served: Served) -> Iterator[Served]:
    """Start a gateway that has ended, at its port."""
    with running(served.folder, served.address[1], served.key, environ=two.environ) as fresh:
        yield fresh


def kill(served: Served) -> None:
    """Kill a gateway with all its processes, as a machine that loses its power does."""
    for pid in [served.process.pid, *descendants(served.process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    served.process.wait()


def enough(load: Load, start: int, count: int = 60) -> None:
    """Wait until so many requests more have come back."""
    until(lambda: len(load.seen) >= start + count)


def use_up(served: Served, key: str) -> None:
    """Ask until a gateway has used what it was lent, and says so."""
    with ThreadPoolExecutor(8) as pool:
        until(
            lambda: (
                "limits_unavailable"
                in pool.map(lambda _: code_of(ask(served, "counted", key=key)), range(16))
            )
        )


GOOD = {("free", 200, None), ("counted", 200, None)}


def test_each_is_killed_in_turn_under_load(two: Fleet) -> None:
    first, second = two.gateways
    with balanced(two.gateways) as front, loaded(front, ("free", "counted"), CLIENTS) as load:
        enough(load, 0)
        assert load.since(0) == GOOD

        # A gateway: what it had in flight breaks, the balancer's next connection goes to the other.
        start = len(load.seen)
        kill(second)
        enough(load, start)
        broken = Counter(status for _, status, _ in load.seen[start:])[0]
        assert broken <= CLIENTS
        assert {each for each in load.since(start) if each[1]} <= GOOD
        with again(two, second) as second:
            start = len(load.seen)
            until(lambda: ask(second, "counted", key=first.key).status == 200)
            enough(load, start)
            assert load.since(start) == GOOD

            # Redis: gateways use what they were lent, then refuse what is limited, and nothing else.
            start = len(load.seen)
            two.redis.kill()
            for each in (first, second):
                use_up(each, first.key)
            assert load.since(start) <= GOOD | {("counted", 503, "limits_unavailable")}
            two.redis.start()
            for each in (first, second):
                until(lambda each=each: ask(each, "counted", key=first.key).status == 200)  # type: ignore[misc]  # a lambda's default

            # PostgreSQL: keys and routes stay as they are, and no request notices.
            start = len(load.seen)
            two.postgresql.kill()
            enough(load, start)
            with pytest.raises(StoreError), two.project() as project:
                project.store.keys.revoke("gateway-1")
            assert load.since(start) == GOOD
            two.postgresql.start()
            with two.project() as project:
                project.store.keys.revoke("gateway-1")
            for each in (first, second):
                until(lambda each=each: code_of(ask(each, "free", key=second.key)) == "key_revoked")  # type: ignore[misc]  # as above
            assert load.since(start) == GOOD
    answered = sum(each[:2] == ("counted", 200) for each in load.seen)
    until(lambda: two.redis.spent(["counted"]).get("counted", 0) >= answered - CLIENTS)


def test_a_rolling_upgrade_loses_no_request_and_a_newer_table_is_refused(two: Fleet) -> None:
    with contextlib.ExitStack() as stack, two.project() as project:
        certified(project, "new")
        key = two.gateways[0].key
        gateways = list(two.gateways)
        for each in gateways:
            until(lambda each=each: ask(each, "moved", key=key).target == "new")  # type: ignore[misc]  # a lambda's default
        with balanced(gateways) as front, loaded(front, ("free", "counted", "moved"), CLIENTS) as load:
            for number, each in enumerate(gateways):
                start = len(load.seen)
                enough(load, start, 10)
                each.process.send_signal(signal.SIGTERM)
                assert each.process.wait(timeout=60) == 0
                enough(load, len(load.seen), 10)
                gateways[number] = stack.enter_context(again(two, each))
                enough(load, len(load.seen), 10)
            assert load.since(0) == GOOD | {("moved", 200, None)}

            # A newer Crossgrade publishes what these cannot read: the table before it stays in force.
            newest = publish_newer(two)
            for each in gateways:
                until(
                    lambda each=each: '"code":"route-table-newer"' in (each.folder / "serve.log").read_text()
                )  # type: ignore[misc]  # as above
                assert ask(each, "moved", key=key).target == "new"
            fresh = project.store.keys.create("fresh")
            for each in gateways:
                until(lambda each=each: ask(each, "moved", key=fresh.text).status == 200)  # type: ignore[misc]  # as above
            append(two, RouteTable(version=newest + 1, routes=()))
            for each in gateways:
                until(lambda each=each: ask(each, "moved", key=key).target == "old")  # type: ignore[misc]  # as above
        assert load.since(0) == GOOD | {("moved", 200, None)}


def publish_newer(two: Fleet) -> int:
    """Publish a table of a format that does not exist yet; return its version."""
    with two.project() as project:
        current = project.store.routes.current()
    assert current is not None
    version = current.version + 1
    content = b'{"schema_version":99,"version":%d,"what":"a later release knows"}\n' % version
    _insert(two, version, "sha256:newer", content)
    return version


def append(two: Fleet, table: RouteTable) -> None:
    """Publish a table whatever there is."""
    _insert(two, table.version, route_table_digest(table), route_table_bytes(table))


def _insert(two: Fleet, version: int, digest: str, content: bytes) -> None:
    url = two.postgresql.environ["CROSSGRADE_DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")
    engine = sqlalchemy.create_engine(url)
    row = {"version": version, "digest": digest, "content": content, "at": "2026-11-25T00:00:00+00:00"}
    with engine.begin() as connection:
        columns = "(version, digest, content, at)"
        values = "(:version, :digest, :content, :at)"
        connection.execute(sqlalchemy.text(f"INSERT INTO route_tables {columns} VALUES {values}"), row)
        connection.execute(sqlalchemy.text("SELECT pg_notify('crossgrade', '')"))
    engine.dispose()
