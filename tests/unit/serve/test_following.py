"""The files of keys and routes follow the database, also where another machine changed it."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy

from crossgrade.identity import read_dossiers, read_keyring
from crossgrade.routing import Policy, Route, RouteTable, read_route_table
from crossgrade.serve import _following
from crossgrade.serve._following import follow_store
from crossgrade.store import Changes, Store
from tests.unit.serve.driving import until
from tests.unit.store.test_dossiers import DOSSIER

SERVERS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgresql"))]


@pytest.fixture(params=SERVERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "crossgrade.db")
        return
    server, schema = os.environ["CROSSGRADE_TEST_POSTGRES_URL"], f"test_{uuid4().hex}"
    engine = sqlalchemy.create_engine(server)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.schema.CreateSchema(schema))
    yield f"{server}?options=-csearch_path%3D{schema}"
    with engine.begin() as connection:
        connection.execute(sqlalchemy.schema.DropSchema(schema, cascade=True))
    engine.dispose()


@pytest.fixture
def other(url: str, tmp_path: Path) -> Iterator[Store]:
    """Another machine's store of the same database."""
    changes = Changes.open(url, tmp_path / "there")
    with Store.open(url, folder=tmp_path / "there") as store:
        store.routes = changes.routes  # which SQLite does not share
        yield store
    changes.close()


def following(url: str, folder: Path, look: Callable[[list[tuple[str, Exception]]], object]) -> None:
    """Follow the database while `look`, a coroutine function, looks at the folder and at what was said."""
    said: list[tuple[str, Exception]] = []

    async def both() -> None:
        task = asyncio.create_task(follow_store(url, folder, lambda *event: said.append(event)))
        try:
            async with asyncio.timeout(20):
                await look(said)  # type: ignore[misc]  # it is a coroutine function
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(both())


def let_in(folder: Path, text: str) -> bool:
    path = folder / "keys.json"
    return path.exists() and read_keyring(path.read_bytes()).principal(text.encode(), time.time()) is not None


def dossiers(folder: Path) -> list[str]:
    path = folder / "dossiers.json"
    return [each.id for each in read_dossiers(path.read_bytes())] if path.exists() else []


def version(folder: Path) -> int:
    path = folder / "routes.json"
    return read_route_table(path.read_bytes()).version if path.exists() else 0


def table(number: int) -> RouteTable:
    policy = Policy(kind="keep", incumbent="old")
    return RouteTable(version=number, routes=(Route(name="a", policy=policy, targets={"old": "old"}),))


def test_what_another_machine_changes_counts_here(
    url: str, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_following, "POLL_S", 0.01)  # for SQLite; PostgreSQL tells, long before TOLD_POLL_S
    here = tmp_path / "here"

    async def look(_said: object) -> None:
        key = other.keys.create("ci")
        await until(lambda: let_in(here, key.text))
        other.keys.revoke("ci")
        await until(lambda: not let_in(here, key.text))
        other.routes.publish(table(1), None)
        await until(lambda: version(here) == 1)
        (here / "routes.json").unlink()
        other.keys.create("next")
        await until(lambda: version(here) == 1)
        made = other.dossiers.append(DOSSIER)
        await until(lambda: dossiers(here) == [made.id])
        (here / "dossiers.json").unlink()
        await until(lambda: dossiers(here) == [made.id])

    following(url, here, look)


def test_where_tokens_are_accepted_there_is_a_file_without_keys(url: str, tmp_path: Path) -> None:
    here = tmp_path / "here"

    async def look() -> None:
        task = asyncio.create_task(follow_store(url, here, lambda *_: None, for_tokens=True))
        await until((here / "keys.json").exists)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(look())
    assert read_keyring((here / "keys.json").read_bytes()).suspended == frozenset()


def test_a_table_of_a_newer_format_is_refused_and_keys_are_followed(
    url: str, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_following, "POLL_S", 0.01)
    here = tmp_path / "here"

    async def look(said: list[tuple[str, Exception]]) -> None:
        other.routes.publish(table(1), None)
        await until(lambda: version(here) == 1)
        newer = b'{"schema_version":99,"version":2,"previous":null,"routes":[]}\n'
        with other._database.writing() as connection:
            row = {"version": 2, "digest": "sha256:newer", "content": newer, "at": "2026-11-25T00:00:00Z"}
            columns = "(version, digest, content, at)"
            connection.execute(
                sqlalchemy.text(
                    f"INSERT INTO route_tables {columns} VALUES (:version, :digest, :content, :at)"
                ),
                row,
            )
        key = other.keys.create("ci")
        await until(lambda: let_in(here, key.text))
        await until(lambda: bool(said))
        assert [(event, error.code) for event, error in said] == [("routes", "route-table-newer")]  # type: ignore[attr-defined]  # one of ours
        assert version(here) == 1

    following(url, here, look)


def test_events_that_are_committed_in_another_order_are_seen(url: str, tmp_path: Path) -> None:
    changes = Changes.open(url, tmp_path)
    row = "INSERT INTO key_events (id, key_id, kind, detail, at) VALUES (:id, 'k', 'revoked', '{}', 'now')"
    seen = []
    for number in (7, 6):
        with changes.writing() as connection:
            connection.execute(sqlalchemy.text(row), {"id": number})
        seen.append(changes.look()[0])
    changes.close()
    assert seen[0] != seen[1]


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_lost_connection_is_made_again_and_told_again(
    url: str, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_following, "_RETRY_S", 0.01)
    here, name = tmp_path / "here", f"follower-{uuid4().hex}"

    async def look(said: list[tuple[str, Exception]]) -> None:
        key = other.keys.create("ci")
        await until(lambda: let_in(here, key.text))
        with other._database.writing() as connection:
            connection.execute(
                sqlalchemy.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name"
                ),
                {"name": name},
            )
        await until(lambda: bool(said))
        assert said[0][0] == "following"
        other.keys.revoke("ci")
        await until(lambda: not let_in(here, key.text))

    following(f"{url}&application_name={name}", here, look)


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_machine_that_is_told_keeps_one_connection(url: str, tmp_path: Path) -> None:
    changes = Changes.open(url, tmp_path)
    changes.look()
    changes.keys.publish()
    assert changes.is_told
    assert changes.engine.pool.checkedin() == 0  # type: ignore[attr-defined]  # QueuePool
    changes.close()
    assert not changes.is_told


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_where_nothing_is_told_it_looks_often(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crossgrade.store import _changes

    monkeypatch.setattr(_changes, "announce", lambda *_: None)  # as behind a pooler by the transaction
    monkeypatch.setattr(_changes, "_PROOF_S", 0.01)
    changes = Changes.open(url, tmp_path)
    changes.look()
    assert changes.fileno() is None
    changes.close()


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_no_statement_is_prepared_whose_name_a_pooler_would_share(url: str, tmp_path: Path) -> None:
    changes = Changes.open(url, tmp_path)
    for _ in range(10):
        changes.look()
    with changes.reading() as connection:
        prepared = connection.execute(sqlalchemy.text("SELECT count(*) FROM pg_prepared_statements"))
        assert prepared.scalar_one() == 0
    changes.close()
