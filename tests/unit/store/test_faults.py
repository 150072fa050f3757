"""What the disk, another process or a vandal can do to a store, and what is said about it."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import event

from crossgrade.errors import StoreError
from crossgrade.store import Store
from crossgrade.store import _database as database_module
from tests.codes import raises_code
from tests.unit.store.conftest import answered, make_run, scored


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_bytes(b"hello, " * 1000)
    with raises_code("not-a-database", path):
        Store.open(path)


def test_a_new_database_is_not_for_everybody_on_the_machine(path: Path) -> None:
    before = os.umask(0o022)
    try:
        with Store.open(path) as store:
            store.runs.append(make_run())
            files = list(path.parent.glob(f"{path.name}*"))
            assert path in files
            assert [file.stat().st_mode & 0o007 for file in files] == [0] * len(files)
    finally:
        os.umask(before)


def test_a_damaged_database(path: Path) -> None:
    with Store.open(path) as store:
        run = make_run()
        store.runs.append(run)
        for number in range(200):
            store.answers.append(answered(run, str(number), text="x" * 500, digest=str(number)))
    content = bytearray(path.read_bytes())
    content[4096:-4096] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    with (
        raises_code("database-damaged", path),
        Store.open(path) as store,
    ):
        store.answers.scored(run.id, "scorer")


def test_a_database_of_a_newer_crossgrade(path: Path) -> None:
    Store.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with raises_code("database-too-new"):
        Store.open(path)


def test_a_locked_database(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.05)
    with Store.open(path) as store:
        other = sqlite3.connect(path)
        other.execute("BEGIN IMMEDIATE")
        with raises_code("database-locked"):
            store.runs.append(make_run())
        other.rollback()
        other.close()
        store.runs.append(make_run())


def test_a_full_disk_keeps_what_was_committed(path: Path) -> None:
    with Store.open(path) as store:
        run = make_run()
        store.runs.append(run)
        store.answers.append(answered(run, "kept"))

        @event.listens_for(store.runs._database.engine, "connect")
        def limit(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute("PRAGMA max_page_count=60")

        store.runs._database.engine.dispose()
        with raises_code("disk-full"):
            store.answers.append(answered(run, "lost", text="x" * 500_000, digest="big"))
        assert store.answers.samples_of_run(run.id) == {"kept"}


def test_a_file_size_limit_reads_as_a_full_disk(path: Path) -> None:
    Store.open(path).close()
    script = (
        "import resource, sys\nfrom crossgrade.store import Store\n"
        "from crossgrade.errors import StoreError\n"
        "from tests.unit.store.conftest import answered, make_run\n"
        "store = Store.open(sys.argv[1]); run = make_run(); store.runs.append(run)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "try:\n    store.answers.append(answered(run, text='x' * 1_000_000))\n"
        "except StoreError as error:\n    print(error.message, '|', error.hint)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert "full" in ran.stdout
    assert "free some disk space" in ran.stdout


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with raises_code("folder-not-made"):
        Store.open(tmp_path / "file" / "crossgrade.db")


def test_a_path_that_is_a_folder(tmp_path: Path) -> None:
    with raises_code("database-not-opened"):
        Store.open(tmp_path)


def test_a_read_only_database(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Store.open(path).close()
    with (
        Store.open(f"sqlite:///file:{path}?mode=ro&uri=true") as store,
        raises_code("database-read-only"),
    ):
        store.runs.append(make_run())
    assert not Path("file:").exists()


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("mysql://me:hunter2@host/db", ("database-unsupported", "mysql")),
        ("sqlite://", ("database-in-memory",)),
        ("://hunter2", ("database-url-invalid",)),
    ],
)
def test_a_url_that_is_not_understood(url: str, seen: str) -> None:
    with raises_code(*seen) as caught:
        Store.open(url)
    assert "hunter2" not in caught.value.message


@pytest.mark.needs("module:psycopg")
def test_a_password_stays_out_of_messages() -> None:
    with pytest.raises(StoreError) as caught:
        Store.open("postgresql://me:hunter2@127.0.0.1:1/db?connect_timeout=1")
    assert "hunter2" not in caught.value.message
    assert "127.0.0.1:1/db" in caught.value.message


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("tool_calls", "zz"),
        ("tool_calls", "[5]"),
        ("at", "yesterday"),
        ("vector", "text"),
        ("vector", b"12345"),
        ("cost_usd", "much"),
        ("input_tokens", "many"),
        ("latency_ms", "long"),
        ("text", b"\xff"),
    ],
)
def test_a_response_that_is_not_as_it_was_written(path: Path, column: str, value: object) -> None:
    with Store.open(path) as store:
        run = make_run()
        store.runs.append(run)
        records = answered(run)
        store.answers.append(records)
        response = records[1]
        with sqlite3.connect(path) as connection:
            connection.execute(f"UPDATE responses SET {column} = ?", (value,))
        connection.close()
        for read in (
            lambda: store.answers.paid(["request"]),
            lambda: store.answers.responses([response.id]),
            lambda: store.answers.of_run(run.id, "scorer"),
        ):
            with raises_code("database-damaged"):
                read()


@pytest.mark.parametrize(("column", "value"), [("cost_usd", "much"), ("at", "soon"), ("output_tokens", "x")])
def test_a_scored_answer_that_is_not_as_it_was_written(path: Path, column: str, value: object) -> None:
    with Store.open(path) as store:
        run = make_run()
        store.runs.append(run)
        store.answers.append([*answered(run), scored(run)])
        with sqlite3.connect(path) as connection:
            connection.execute(f"UPDATE responses SET {column} = ?", (value,))
        connection.close()
        with raises_code("database-damaged"):
            store.answers.scored(run.id, "scorer")
