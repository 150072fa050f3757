"""The file of keys is written again where it is lost."""

import asyncio
import time
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
    asyncio.run(_state_files.restore_keys(url, tmp_path, warn=raising))
    assert let_in(tmp_path / "keys.json", key.text)


def test_without_keys_there_is_no_file(tmp_path: Path) -> None:
    url = str(tmp_path / "crossgrade.db")
    asyncio.run(_state_files.restore_keys(url, tmp_path, warn=raising))
    assert list(tmp_path.iterdir()) == []  # not even a database
    Keys.open(url, tmp_path).close()
    asyncio.run(_state_files.restore_keys(url, tmp_path, warn=raising))
    assert not (tmp_path / "keys.json").exists()


def test_suspensions_alone_are_a_reason_to_write_it(tmp_path: Path) -> None:
    url = str(tmp_path / "crossgrade.db")
    with Keys.open(url, tmp_path) as keys:
        keys.suspend("user-0123456789abcdef", because="x")
        keys.path.unlink()
    asyncio.run(_state_files.restore_keys(url, tmp_path, warn=raising))
    assert read_keyring((tmp_path / "keys.json").read_bytes()).suspended == {"user-0123456789abcdef"}


def test_for_tokens_it_is_always_written_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_state_files, "PUBLISHED_AGAIN_S", 0.01)
    path = tmp_path / "crossgrade.db"
    path.write_bytes(b"this is no database, and long enough to be read as one" * 40)
    said: list[Exception] = []

    def warn(error: Exception) -> None:
        said.append(error)
        path.unlink(missing_ok=True)

    asyncio.run(_state_files.restore_keys(str(path), tmp_path, warn=warn, for_tokens=True))
    assert len(said) == 1
    assert read_keyring((tmp_path / "keys.json").read_bytes()).is_read


def test_a_database_that_refuses_is_said(tmp_path: Path) -> None:
    path = tmp_path / "crossgrade.db"
    path.write_bytes(b"this is no database, and long enough to be read as one" * 40)
    said: list[Exception] = []
    asyncio.run(_state_files.restore_keys(str(path), tmp_path, warn=said.append))
    assert "is not a Crossgrade database" in str(said[0])


def raising(error: Exception) -> None:
    raise error
