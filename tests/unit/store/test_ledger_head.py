"""A log goes on only from what its key signed, and its head is what its entries give."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crossgrade.errors import StoreError
from crossgrade.ledger import Checkpoint, GrowingTree, NoteSigner, NoteVerifier, leaf_hash
from crossgrade.store import LedgerEvent, Store
from tests.codes import raises_code

NAME = "example.com/ledger"


@pytest.fixture
def key(store: Store) -> NoteVerifier:
    """Ten entries are signed one after the other."""
    verifier = store.ledger.make_key(NAME).verifier
    for number in range(10):
        store.ledger.append([LedgerEvent("request", {"request": f"r{number}", "tier": "standard"})])
    return verifier


def change(path: Path, *statements: str | tuple[str, tuple[Any, ...]]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for each in statements:
            connection.execute(*((each,) if isinstance(each, str) else each))


def forge(path: Path, signer: NoteSigner | None = None) -> None:
    """Change an entry, and compute all that follows from it; replace the checkpoints by one of another key."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        tree = GrowingTree()
        nodes = []
        for seq, body in connection.execute("SELECT seq, body FROM ledger_entries ORDER BY seq").fetchall():
            changed = body.replace(b"standard", b"verified") if seq == 3 else body
            connection.execute("UPDATE ledger_entries SET body = ? WHERE seq = ?", (changed, seq))
            nodes += [(at.level, at.number, found) for at, found in tree.append(leaf_hash(changed))]
        connection.execute("DELETE FROM ledger_nodes")
        connection.executemany("INSERT INTO ledger_nodes VALUES (?, ?, ?)", nodes)
        connection.execute("UPDATE ledger_head SET frontier = ?", (tree.frontier,))
        connection.execute("DELETE FROM ledger_checkpoints")
        if signer is not None:
            note = signer.sign(Checkpoint(NAME, tree.size, tree.root()).text)
            connection.execute("INSERT INTO ledger_checkpoints VALUES (?, ?, 0)", (tree.size, note))


ATTACKS: dict[str, Callable[[Path], None]] = {
    "forged": forge,
    "signed with another key": lambda path: forge(path, NoteSigner.generate(NAME)),
    "no checkpoint of the size": lambda path: change(path, "DELETE FROM ledger_checkpoints"),
    "another frontier": lambda path: change(path, "UPDATE ledger_head SET frontier = zeroblob(64)"),
    "no note": lambda path: change(path, "UPDATE ledger_checkpoints SET note = x'00'"),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize("knows", [True, False], ids=["the process that signed", "another process"])
def test_the_key_does_not_sign_what_it_did_not_sign_before(
    store: Store, path: Path, key: NoteVerifier, attack: Callable[[Path], None], knows: bool
) -> None:
    attack(path)
    with Store.open(path) as other:
        log = store.ledger if knows else other.ledger
        with raises_code("ledger-head-unsigned"):
            log.append([LedgerEvent("request", {"request": "innocent"})])
        with raises_code("ledger-head-unsigned"):
            log.sign()
        with raises_code("ledger-head-unsigned"):
            log.make_key(NAME)
    assert store.ledger.size() == 10
    assert store.ledger.verify(log=key).found


def test_another_process_goes_on_and_cosignatures_do_not_stop_it(
    store: Store, path: Path, key: NoteVerifier
) -> None:
    with Store.open(path) as other:
        for log in (other.ledger, store.ledger, other.ledger, other.ledger):
            log.append([LedgerEvent("request", {"request": "x"})])
    assert store.ledger.verify(log=key).signed == 14


def test_a_signed_log_does_not_go_on_without_the_key(store: Store, key: NoteVerifier) -> None:
    store.ledger.secrets.signing_path.rename(store.ledger.secrets.signing_path.with_suffix(".away"))
    with raises_code("ledger-key-missing"):
        store.ledger.append([LedgerEvent("request", {"request": "x"})])
    with raises_code("ledger-key-missing"):
        store.ledger.make_key(NAME)
    assert store.ledger.size() == 10
    assert not store.ledger.secrets.signing_path.exists()


def test_an_unsigned_log_is_signed_for_the_first_time_only_if_it_verifies(store: Store, path: Path) -> None:
    log = store.ledger
    log.append([LedgerEvent("request", {"request": f"r{number}"}) for number in range(10)])
    change(path, "UPDATE ledger_nodes SET hash = zeroblob(32) WHERE level = 1 AND number = 2")
    with pytest.raises(StoreError) as caught:
        log.make_key(NAME)
    assert caught.value.code == "ledger-damaged"
    assert log.secrets.signer() is None


def test_an_unsigned_log_is_signed_only_by_a_key_that_is_made_for_it(store: Store) -> None:
    store.ledger.append([LedgerEvent("request", {"request": "x"})])
    store.ledger.secrets.make(NAME)
    with raises_code("ledger-head-unsigned"):
        store.ledger.make_key(NAME)


DAMAGES = {
    "no head": ("DELETE FROM ledger_head", {"head-differs"}),
    "two heads": ("INSERT INTO ledger_head VALUES (2, 10, x'00')", {"head-differs"}),
    "a head of another id": ("UPDATE ledger_head SET id = 2", {"head-differs"}),
    "a size of another type": ("UPDATE ledger_head SET size = 'x'", {"head-differs"}),
    "a size below 0": ("UPDATE ledger_head SET size = -1", {"head-differs"}),
    "a size too large": ("UPDATE ledger_head SET size = 11", {"head-differs"}),
    "a size too small": (
        "UPDATE ledger_head SET size = 9",
        {"head-differs", "entry-surplus", "entries-missing"},
    ),
    "other hashes": ("UPDATE ledger_head SET frontier = zeroblob(64)", {"head-differs"}),
    "no hashes": ("UPDATE ledger_head SET frontier = x''", {"head-differs"}),
    "hashes of another type": ("UPDATE ledger_head SET frontier = 'x'", {"head-differs"}),
    "a number in place of hashes": (
        "UPDATE ledger_head SET frontier = 9223372036854775807",
        {"head-differs"},
    ),
    "hashes of a gigabyte": ("UPDATE ledger_head SET frontier = zeroblob(900000000)", {"head-differs"}),
    "an entry behind the last": (
        "INSERT INTO ledger_entries VALUES (10, x'00', NULL, NULL)",
        {"entry-surplus"},
    ),
    "an entry before the first": (
        "INSERT INTO ledger_entries VALUES (-1, x'00', NULL, NULL)",
        {"entry-surplus"},
    ),
    "an entry without a number": (
        "INSERT INTO ledger_entries VALUES ('x', x'00', NULL, NULL)",
        {"entry-surplus"},
    ),
}


@pytest.mark.parametrize(("statement", "codes"), DAMAGES.values(), ids=DAMAGES)
def test_a_head_that_is_not_what_the_entries_give_is_found(
    store: Store, path: Path, key: NoteVerifier, statement: str, codes: set[str]
) -> None:
    change(path, statement)
    assert {each.code for each in store.ledger.verify(log=key).findings} == codes


KEYS_TABLE = "CREATE TABLE ledger_keys (subject VARCHAR PRIMARY KEY {}, wrapped BLOB NOT NULL {})"


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER quiet AFTER INSERT ON alarms BEGIN DELETE FROM alarms; END",
        "CREATE VIEW more AS SELECT * FROM ledger_entries",
        "ALTER TABLE key_events ADD COLUMN shown TEXT AS (replace(detail, 'gold', 'iron'))",
        KEYS_TABLE.format("", "UNIQUE ON CONFLICT REPLACE"),
        KEYS_TABLE.format("REFERENCES notes (id) ON DELETE CASCADE", ""),
    ],
)
def test_what_changes_rows_unseen_is_found(
    store: Store, path: Path, key: NoteVerifier, statement: str
) -> None:
    change(path, "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")  # changes nothing of ours
    assert store.ledger.verify(log=key).findings == ()
    if "TABLE ledger_keys" in statement:
        change(path, "DROP TABLE ledger_keys")
    change(path, statement)
    assert [each.code for each in store.ledger.verify(log=key).findings] == ["database-altered"]


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(
    "statements",
    [
        [
            "CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "CREATE TRIGGER quiet BEFORE INSERT ON alarms FOR EACH ROW EXECUTE FUNCTION quiet()",
        ],
        ["CREATE RULE quiet AS ON INSERT TO alarms DO INSTEAD NOTHING"],
        ["CREATE POLICY quiet ON alarms USING (route <> 'chat')"],
        ["ALTER TABLE alarms RENAME TO other", "CREATE VIEW alarms AS SELECT * FROM other"],
    ],
)
def test_what_changes_rows_unseen_on_postgresql_is_found(
    shared_url: str, tmp_path: Path, statements: list[str]
) -> None:
    with Store.open(shared_url, folder=tmp_path) as store:
        store.ledger.append([LedgerEvent("request", {"request": "x"})])
        with store.ledger._database.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE notes (id INTEGER)")
            connection.exec_driver_sql("CREATE VIEW shown AS SELECT * FROM ledger_entries")
        assert store.ledger.verify().findings == ()
        with store.ledger._database.writing() as connection:
            for each in statements:
                connection.exec_driver_sql(each)
        assert [each.code for each in store.ledger.verify().findings] == ["database-altered"]


@pytest.mark.parametrize("statement", ["DELETE FROM ledger_head", "UPDATE ledger_head SET size = 'x'"])
def test_nothing_is_appended_to_a_damaged_head(
    store: Store, path: Path, key: NoteVerifier, statement: str
) -> None:
    change(path, statement)
    with raises_code("ledger-damaged"):
        store.ledger.append([LedgerEvent("request", {"request": "x"})])
    with raises_code("ledger-damaged"):
        store.ledger.size()


def test_an_entry_that_is_not_counted_is_not_shown(store: Store, path: Path, key: NoteVerifier) -> None:
    change(path, "INSERT INTO ledger_entries SELECT 10, body, NULL, NULL FROM ledger_entries WHERE seq = 9")
    with raises_code("ledger-entry-unknown"):
        store.ledger.entry(10)
