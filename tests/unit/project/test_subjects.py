"""Encrypted texts cannot be made unreadable without a finding, and an honest erasure is none."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crossgrade.ledger import LogVerification
from crossgrade.project import ProjectLedger
from crossgrade.store import LedgerEvent, Store
from tests.codes import raises_code

BECAUSE = {"because": "asked", "by": "officer"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "log.db") as opened:
        opened.ledger.secrets.make("example.com/ledger")
        opened.ledger.append(
            [LedgerEvent("completion", {"n": n}, b"text", "ada" if n % 2 else "bob") for n in range(6)]
        )
        yield opened


def change(tmp_path: Path, statement: str) -> None:
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as connection:
        connection.execute(statement)


def verified(store: Store) -> LogVerification:
    ledger = ProjectLedger(store)
    return ledger.verify(log=ledger.verifier)


def found(store: Store) -> list[tuple[str, int | None]]:
    return [(each.code, each.seq) for each in verified(store).findings]


def test_an_honest_erasure_and_texts_after_it_hold(store: Store) -> None:
    assert found(store) == []
    assert store.ledger.erase("ada", **BECAUSE) == 3
    store.ledger.append([LedgerEvent("completion", {}, b"later", "ada"), LedgerEvent("access", {"n": 1})])
    assert (found(store), verified(store).erased) == ([], 3)
    assert store.ledger.erase("ada", **BECAUSE) == 1
    assert (found(store), verified(store).erased) == ([], 4)


@pytest.mark.parametrize(
    "statement", ["DELETE FROM ledger_keys WHERE subject = 'ada'", "UPDATE ledger_keys SET wrapped = x''"]
)
def test_a_key_that_is_gone_without_an_erasure_is_found(store: Store, tmp_path: Path, statement: str) -> None:
    change(tmp_path, statement)
    assert ("text-key-missing", 1) in found(store)


def test_texts_without_a_key_are_erased_on_record(store: Store, tmp_path: Path) -> None:
    change(tmp_path, "DELETE FROM ledger_keys WHERE subject = 'ada'")
    with raises_code("ledger-damaged"):
        store.ledger.texts.read(1)
    assert store.ledger.erase("ada", **BECAUSE) == 3
    assert found(store) == []
    with raises_code("ledger-subject-unknown"):
        store.ledger.erase("ada", **BECAUSE)


def test_a_row_under_another_subject_is_found(store: Store, tmp_path: Path) -> None:
    change(tmp_path, "UPDATE ledger_entries SET subject = 'bob' WHERE seq = 1")
    assert found(store) == [("subject-differs", 1)]
    store.ledger.erase("bob", **BECAUSE)  # takes the text of another with it, and says one more
    assert set(found(store)) == {("subject-differs", 1), ("payload-missing", 1), ("erasure-differs", 6)}


def test_a_later_erasure_does_not_cover_what_was_removed_before(store: Store, tmp_path: Path) -> None:
    change(tmp_path, "UPDATE ledger_entries SET payload = NULL WHERE seq = 3")
    assert found(store) == [("payload-missing", 3)]
    assert store.ledger.erase("ada", **BECAUSE) == 2
    assert found(store) == [("erasure-differs", 6)]
