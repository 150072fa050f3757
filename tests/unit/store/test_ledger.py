"""The ledger's tables: groups are appended whole, by several writers, and everything in them is provable."""

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from crossgrade.errors import CrossgradeError, DataError, NotFoundError, StoreError, UsageError
from crossgrade.ledger import (
    EMPTY_ROOT,
    Checkpoint,
    Cosigner,
    GrowingTree,
    NoteVerifier,
    check_consistency,
    check_inclusion,
    leaf_hash,
    read_entry,
)
from crossgrade.store import LedgerEvent, Store


def events(count: int, **more: Any) -> list[LedgerEvent]:
    return [LedgerEvent("request", {"n": number}, **more) for number in range(count)]


def grown(store: Store, size: int) -> GrowingTree:
    tree = GrowingTree()
    for row in store.ledger.entries(0, size):
        tree.append(leaf_hash(row.body))
    return tree


@pytest.fixture
def signed(store: Store) -> Store:
    store.ledger.secrets.make("example.com/ledger")
    return store


def test_an_empty_log(any_store: Store) -> None:
    log = any_store.ledger
    assert (log.size(), list(log.entries()), log.newest_checkpoint()) == (0, [], None)
    assert log.root(0) == EMPTY_ROOT
    assert list(log.append([])) == []


def test_groups_are_numbered_on_and_every_proof_holds(any_store: Store) -> None:
    log = any_store.ledger
    roots = {0: EMPTY_ROOT}
    for count in (1, 2, 5, 1, 20, 3):
        first = log.size()
        assert log.append(events(count)) == range(first, first + count)
        roots[first + count] = log.root(first + count)
    size = log.size()
    assert [read_entry(row.body).seq for row in log.entries()] == list(range(size))
    assert [row.seq for row in log.entries(3, 6)] == [3, 4, 5]
    for old, root in roots.items():
        assert root == grown(any_store, old).root()
        assert check_consistency(old, size, root, roots[size], log.consistency(old, size))
    for seq, row in enumerate(log.entries()):
        assert check_inclusion(leaf_hash(row.body), seq, size, log.inclusion(seq, size), roots[size])


def test_entries_are_written_with_the_rows_of_another_transaction_or_not_at_all(any_store: Store) -> None:
    log = any_store.ledger
    log.append(events(3))
    with log._database.writing() as connection:
        assert log.record(connection, events(2)) == range(3, 5)
        connection.rollback()
    assert log.size() == 3
    assert log.append(events(1)) == range(3, 4)
    assert log.root(4) == grown(any_store, 4).root()


def _append_in_processes(url: str, folder: Path) -> list[int]:
    script = (
        "import sys\nfrom pathlib import Path\nfrom crossgrade.store import LedgerEvent, Store\n"
        "with Store.open(sys.argv[1], folder=Path(sys.argv[2])) as store:\n"
        "    for n in range(20):\n"
        "        print(*store.ledger.append([LedgerEvent('request', {'n': k}) for k in range(1 + n % 3)]))\n"
    )
    command = [sys.executable, "-c", script, url, str(folder)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [writer.communicate()[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    return sorted(int(number) for each in said for number in each.split())


def test_several_writers_leave_no_gap(any_store: Store, tmp_path: Path) -> None:
    any_store.ledger.secrets.make("example.com/ledger")
    url = any_store.ledger._database.engine.url.render_as_string(hide_password=False)
    assert _append_in_processes(url.replace("+psycopg", ""), tmp_path) == list(range(117))
    assert any_store.ledger.root(117) == grown(any_store, 117).root()
    verifier = any_store.ledger.secrets.signer().verifier  # type: ignore[union-attr]
    for size, note in any_store.ledger.checkpoints():
        assert Checkpoint.read(note, [verifier])[0].root == any_store.ledger.root(size)


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "party", "detail": {}},
        {"kind": "request", "detail": {"cost": 0.5}},
        {"kind": "request", "detail": {"text": "x" * 70_000}},
        {"kind": "request", "detail": {}, "payload": b"text"},
        {"kind": "request", "detail": {}, "payload": b"text", "subject": ""},
        {"kind": "request", "detail": {}, "payload": b"text", "subject": "a\x00b"},
        {"kind": "request", "detail": {}, "payload": b"x" * (64 * 1024 * 1024 + 1), "subject": "a"},
    ],
)
def test_an_event_that_could_not_be_written_is_refused_when_it_is_made(given: Any) -> None:
    with pytest.raises(DataError):
        LedgerEvent(**given)


def test_the_largest_event_can_be_written_at_any_number(store: Store) -> None:
    with pytest.raises(DataError):
        LedgerEvent("request", {"text": "x" * 65_460})
    store.ledger.append([LedgerEvent("request", {"text": "x" * 65_400})])


def test_a_log_with_long_texts_is_read_and_verified(any_store: Store) -> None:
    log = any_store.ledger
    verifier = log.secrets.make("example.com/ledger").verifier
    texts = [b"x" * 200_000, b"short", None, b"y" * 65_536]
    log.append([LedgerEvent("access", {}, text, None if text is None else "ada") for text in texts])
    log.append(events(1_200))
    found = log.verify(log=verifier)
    assert (found.findings, found.signed, found.size) == ((), 1_204, 1_204)
    assert [None if row.payload is None else len(row.payload) for row in log.entries(0, 4)] == [
        200_044,
        49,
        None,
        65_580,
    ]


def test_without_a_key_nothing_is_signed_and_the_first_signature_covers_all(store: Store) -> None:
    log = store.ledger
    log.append(events(4))
    with pytest.raises(StoreError) as caught:
        log.sign()
    assert caught.value.code == "ledger-key-missing"
    verifier = log.make_key("example.com/ledger").verifier
    seen, _ = Checkpoint.read(log.sign(), [verifier])
    assert (seen.origin, seen.size, seen.root) == ("example.com/ledger", 4, log.root(4))
    assert log.newest_checkpoint() == log.sign()


def test_keys_are_private_files_and_a_name_stays(signed: Store, tmp_path: Path) -> None:
    secrets = signed.ledger.secrets
    assert {stat.S_IMODE(path.stat().st_mode) for path in (secrets.signing_path, secrets.texts_path)} == {
        0o600
    }
    vkey = secrets.make("example.com/ledger").vkey
    assert NoteVerifier.from_text(vkey).name == "example.com/ledger"
    with pytest.raises(UsageError) as caught:
        secrets.make("example.com/other")
    assert caught.value.code == "ledger-key-exists"


def test_a_key_may_come_from_the_environment(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Store.open(tmp_path / "other" / "crossgrade.db") as other:
        signer = other.ledger.secrets.make("example.com/ledger")
    monkeypatch.setenv("CROSSGRADE_LEDGER_KEY", signer.text)
    store.ledger.append(events(1))
    note = store.ledger.newest_checkpoint()
    assert note is not None
    assert Checkpoint.read(note, [signer.verifier])[0].size == 1
    assert not store.ledger.secrets.signing_path.exists()


@pytest.mark.parametrize("text", ["", "PRIVATE+KEY+x", "nothing", "\x00" * 5000])
def test_a_damaged_key_stops_writing_and_is_not_shown(signed: Store, text: str) -> None:
    signed.ledger.secrets.signing_path.write_text(text)
    with pytest.raises(CrossgradeError) as caught:
        signed.ledger.append(events(1))
    assert signed.ledger.size() == 0
    assert not text or text not in str(caught.value)


def test_few_checkpoints_are_kept(signed: Store) -> None:
    log = signed.ledger
    for count in (100, 100, 100, 212, 1, 1):
        log.append(events(count))
    assert [size for size, _ in log.checkpoints()] == [200, 512, 514]


def test_cosigned_checkpoints_are_kept(signed: Store) -> None:
    log, witness = signed.ledger, Cosigner.generate("example.com/witness")
    verifiers = [log.secrets.make("example.com/ledger").verifier, witness.verifier]
    log.append(events(3))
    note = log.newest_checkpoint()
    assert note is not None
    text = note.partition("\n\n")[0] + "\n"
    log.append(events(3))
    assert [size for size, _ in log.checkpoints()] == [6]
    both = log.add_cosignature(3, note + witness.cosign(text, 1_800_000_000).line)
    log.append(events(3))
    assert [size for size, _ in log.checkpoints()] == [3, 9]
    assert log.checkpoints()[0][1] == both
    assert len(Checkpoint.read(both, verifiers)[1]) == 2
    later = Cosigner.generate("example.com/later")
    log.add_cosignature(3, note + later.cosign(text, 1_800_000_000).line)
    assert len(Checkpoint.read(log.checkpoints()[0][1], [*verifiers, later.verifier])[1]) == 3


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_note_about_another_log_is_not_kept(signed: Store, size: int) -> None:
    log = signed.ledger
    log.append(events(3))
    signer = log.secrets.signer()
    assert signer is not None
    note = signer.sign(Checkpoint("example.com/ledger", size, leaf_hash(b"another")).text)
    with pytest.raises(StoreError) as caught:
        log.add_cosignature(size, note)
    assert caught.value.code == "ledger-note-of-another"


def test_texts_are_encrypted_and_read_back(signed: Store, path: Path) -> None:
    log = signed.ledger
    log.append(
        [
            LedgerEvent("completion", {}, b"my text", "ada"),
            *events(1),
            LedgerEvent("completion", {}, b"", "bob"),
        ]
    )
    assert (log.texts.read(0), log.texts.read(2)) == (b"my text", b"")
    assert b"my text" not in path.read_bytes() + path.with_name("crossgrade.db-wal").read_bytes()
    for seq in (1, 3):
        with pytest.raises(NotFoundError):
            log.texts.read(seq)


def test_texts_without_a_key_are_refused_before_anything_is_written(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        store.ledger.append([*events(2), LedgerEvent("completion", {}, b"text", "ada")])
    assert caught.value.code == "ledger-texts-key-missing"
    assert store.ledger.size() == 0


def test_a_changed_text_is_noticed(signed: Store, path: Path) -> None:
    log = signed.ledger
    log.append([LedgerEvent("completion", {}, text, "ada") for text in (b"one", b"two")])
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE ledger_entries SET payload = (SELECT payload FROM ledger_entries WHERE seq = 1) WHERE seq = 0"
        )
    connection.close()
    with pytest.raises(DataError) as caught:
        log.texts.read(0)
    assert caught.value.code == "ledger-payload-changed"


def test_erasing_a_subject_destroys_key_and_texts_and_is_recorded(any_store: Store) -> None:
    log = any_store.ledger
    log.secrets.make("example.com/ledger")
    log.append([LedgerEvent("completion", {"n": n}, b"text", "ada" if n % 2 else "bob") for n in range(4)])
    root = log.root(4)
    assert log.erase("ada", because="asked for it", by="the officer") == 2
    assert (log.texts.read(0), log.texts.read(2)) == (b"text", b"text")
    with pytest.raises(NotFoundError):
        log.texts.read(1)
    erasure = read_entry(log.entry(4).body)
    assert (erasure.kind, erasure.detail) == (
        "erasure",
        {"because": "asked for it", "before": 4, "by": "the officer", "subject": "ada", "texts": 2},
    )
    assert log.root(4) == root == grown(any_store, 4).root()
    with log._database.reading() as connection:
        subjects = connection.execute(sqlalchemy.text("SELECT subject FROM ledger_keys")).scalars()
        assert list(subjects) == ["bob"]
    with pytest.raises(NotFoundError):
        log.erase("ada", because="again", by="the officer")
    log.append([LedgerEvent("completion", {}, b"later", "ada")])
    assert log.texts.read(5) == b"later"


def test_a_full_disk_leaves_what_was_acknowledged(signed: Store, path: Path) -> None:
    log = signed.ledger
    log.append(events(10))
    with log._database.reading() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # no page more than there are
        with pytest.raises(StoreError) as caught, log._database.plainly():
            log.record(connection, [LedgerEvent("request", {"text": "x" * 60_000})] * 3)
        connection.rollback()
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        connection.rollback()
    assert caught.value.code == "disk-full"
    assert (log.size(), log.append(events(1))) == (10, range(10, 11))
    assert log.root(11) == grown(signed, 11).root()


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM ledger_head",
        "UPDATE ledger_head SET frontier = x'00'",
        "UPDATE ledger_head SET size = size + 1",
    ],
)
def test_a_damaged_head_stops_writing(signed: Store, path: Path, change: str) -> None:
    signed.ledger.append(events(2))
    with sqlite3.connect(path) as connection:
        connection.execute(change)
    connection.close()
    with pytest.raises(StoreError) as caught:
        signed.ledger.append(events(1))
    assert caught.value.code == "ledger-damaged"


def test_missing_nodes_are_named(signed: Store, path: Path) -> None:
    signed.ledger.append(events(8))
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM ledger_nodes WHERE level = 2")
        connection.execute("UPDATE ledger_entries SET body = 'text' WHERE seq = 7")
    connection.close()
    for seq in (0, 6):
        with pytest.raises(StoreError) as caught:
            signed.ledger.inclusion(seq, 8)
        assert caught.value.code == "ledger-damaged"


@pytest.mark.parametrize(("seq", "size"), [(3, 3), (-1, 3), (0, 4), (0, -1)])
def test_what_is_not_in_the_log(store: Store, seq: int, size: int) -> None:
    store.ledger.append(events(3))
    with pytest.raises(NotFoundError):
        store.ledger.inclusion(seq, size)
    with pytest.raises(NotFoundError):
        store.ledger.entry(3)
