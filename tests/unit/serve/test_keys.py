"""The file of keys follows the database, also where another machine changed it."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from crossgrade.identity import read_keyring
from crossgrade.serve import _state_files
from crossgrade.store import Keys


def let_in(path: Path, text: str) -> bool:
    return path.exists() and read_keyring(path.read_bytes()).principal(text.encode(), time.time()) is not None


def test_a_lost_file_is_written_at_the_start(tmp_path: Path) -> None:
    url = str(tmp_path / "crossgrade.db")
    with Keys.open(url, tmp_path) as keys:
        key = keys.create("ci")
        keys.path.unlink()
    asyncio.run(_state_files.keep_keys(url, tmp_path, shared=False, warn=raising))
    assert let_in(tmp_path / "keys.json", key.text)


def test_without_keys_there_is_no_file(tmp_path: Path) -> None:
    url = str(tmp_path / "crossgrade.db")
    asyncio.run(_state_files.keep_keys(url, tmp_path, shared=False, warn=raising))
    assert list(tmp_path.iterdir()) == []  # not even a database
    Keys.open(url, tmp_path).close()
    asyncio.run(_state_files.keep_keys(url, tmp_path, shared=False, warn=raising))
    assert not (tmp_path / "keys.json").exists()


def test_what_another_machine_changes_counts_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_state_files, "KEYS_POLL_S", 0.01)
    url, here, there = str(tmp_path / "crossgrade.db"), tmp_path / "here", tmp_path / "there"

    async def follow() -> None:
        following = asyncio.create_task(_state_files.keep_keys(url, here, shared=True, warn=raising))
        with Keys.open(url, there) as keys:
            key = keys.create("ci")
            await until(lambda: let_in(here / "keys.json", key.text))
            keys.revoke("ci")
            await until(lambda: not let_in(here / "keys.json", key.text))
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following

    asyncio.run(follow())


def test_a_database_that_refuses_is_said(tmp_path: Path) -> None:
    path = tmp_path / "crossgrade.db"
    path.write_bytes(b"this is no database, and long enough to be read as one" * 40)
    said: list[Exception] = []
    asyncio.run(_state_files.keep_keys(str(path), tmp_path, shared=False, warn=said.append))
    assert "is not a Crossgrade database" in str(said[0])


def raising(error: Exception) -> None:
    raise error


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 -- a file that another task writes
            await asyncio.sleep(0.01)
