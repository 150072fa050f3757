"""Values in a hostile database that are too long are named, and not read into memory."""

import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest

from crossgrade.store import LedgerEvent, Store
from tests.codes import raises_code

LONG = 100_000_000
NULS = f"CAST(zeroblob({LONG}) AS TEXT)"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (f"UPDATE ledger_entries SET body = zeroblob({LONG}) WHERE seq = 2", "entry-too-large"),
        (f"UPDATE ledger_entries SET payload = zeroblob({LONG}) WHERE seq = 2", "payload-changed"),
        (f"UPDATE ledger_checkpoints SET note = zeroblob({LONG})", "checkpoint-invalid"),
        (f"UPDATE ledger_nodes SET hash = zeroblob({LONG}) WHERE level = 1 AND number = 1", "node-differs"),
        # SQLite takes the length of a text to end at its first NUL.
        (f"UPDATE ledger_entries SET body = {NULS} WHERE seq = 2", "entry-not-bytes"),
        (f"UPDATE ledger_entries SET payload = {NULS} WHERE seq = 2", "payload-changed"),
        (f"UPDATE ledger_entries SET subject = {NULS} WHERE seq = 2", ""),
        (f"UPDATE ledger_checkpoints SET note = {NULS}", "checkpoint-invalid"),
        (f"UPDATE ledger_head SET frontier = {NULS}", "head-differs"),
    ],
)
def test_a_value_of_hundreds_of_megabytes_is_a_finding(tmp_path: Path, change: str, expected: str) -> None:
    with Store.open(tmp_path / "log.db") as store:
        key = store.ledger.secrets.make("example.com/ledger").verifier
        store.ledger.append([LedgerEvent("access", {"n": number}, b"hello", "p1") for number in range(5)])
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as connection:
        connection.execute(change)
    with Store.open(tmp_path / "log.db") as store:
        tracemalloc.start()
        try:
            found = store.ledger.verify(log=key)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert expected in {"", *(each.code for each in found.findings)}
        assert peak < LONG / 4
        for seq in {"entry-too-large": [3], "node-differs": [0]}.get(expected, []):
            with raises_code("ledger-damaged"):
                store.ledger.inclusion(seq, 5)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (f"UPDATE ledger_checkpoints SET note = {NULS}", "ledger-head-unsigned"),
        (f"UPDATE ledger_checkpoints SET note = zeroblob({LONG})", "ledger-head-unsigned"),
        (f"UPDATE ledger_head SET frontier = zeroblob({LONG})", "ledger-damaged"),
    ],
)
def test_a_value_of_hundreds_of_megabytes_is_not_read_to_append(
    tmp_path: Path, change: str, code: str
) -> None:
    with Store.open(tmp_path / "log.db") as store:
        store.ledger.secrets.make("example.com/ledger")
        store.ledger.append([LedgerEvent("access", {})])
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as connection:
        connection.execute(change)
    with Store.open(tmp_path / "log.db") as store:
        tracemalloc.start()
        try:
            with raises_code(code):
                store.ledger.append([LedgerEvent("access", {})])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < LONG / 4


@pytest.mark.parametrize(
    "change",
    [
        f"UPDATE ledger_entries SET subject = {NULS} WHERE seq = 2",
        f"UPDATE ledger_keys SET subject = {NULS} WHERE subject = 'p1'",
    ],
)
def test_a_subject_of_hundreds_of_megabytes_is_not_read(tmp_path: Path, change: str) -> None:
    with Store.open(tmp_path / "log.db") as store:
        store.ledger.secrets.make("example.com/ledger")
        store.ledger.append([LedgerEvent("access", {"n": number}, b"hello", "p1") for number in range(5)])
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as connection:
        connection.execute(change)
    with Store.open(tmp_path / "log.db") as store:
        tracemalloc.start()
        try:
            assert len(list(store.ledger.texts.rows())) == 5
            store.ledger.texts.keyed_subjects()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < LONG / 4
