"""Attacks on a ledger in SQLite, by somebody who may write the database file, and what verification says.

Each attack changes a copy of the file. The log's owner has the signing key; a witness keeps the newest checkpoint
that it cosigned. `caught` compares what a verifier sees who has the log's key only, and one who also asks the
witness. The two attacks on the witness itself are told by its own answers.
"""

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from crossgrade.errors import StoreError
from crossgrade.ledger import (
    Checkpoint,
    Cosigner,
    GrowingTree,
    LogVerification,
    NoteSigner,
    leaf_hash,
)
from crossgrade.store import LedgerEvent, Store

LOG_NAME = "example.com/ledger"
GROUPS, GROUP = 8, 16
SPOT = 40
"""The entry that attacks aim at."""


class Logged(NamedTuple):
    """A log of 128 entries with texts, an older copy of it, and what its witness keeps."""

    folder: Path
    signer: NoteSigner
    cosigner: Cosigner
    kept: str

    @property
    def path(self) -> Path:
        return self.folder / "log.db"

    @property
    def old(self) -> Path:
        return self.folder / "old.db"


class Attack(NamedTuple):
    """What is done to a copy of the database. `alone`: a verifier without a witness catches it too."""

    name: str
    run: Callable[[sqlite3.Connection, Logged], None]
    alone: bool = True
    is_lawful: bool = False


def logged(folder: Path) -> Logged:
    """Write the log that is attacked."""
    cosigner = Cosigner.generate("example.com/witness")
    note = ""
    with Store.open(folder / "log.db") as store:
        log = store.ledger
        signer = log.secrets.make(LOG_NAME)
        for group in range(GROUPS):
            log.append([_event(group * GROUP + number) for number in range(GROUP)])
            newest = log.newest_checkpoint()
            assert newest is not None
            text = newest.partition("\n\n")[0] + "\n"
            note = log.add_cosignature(
                (group + 1) * GROUP, newest + cosigner.cosign(text, 1_800_000_000 + group).line
            )
            if group == GROUPS // 2 - 1:
                _copy(folder / "log.db", folder / "old.db")
    return Logged(folder, signer, cosigner, note)


def _event(number: int) -> LedgerEvent:
    kind, request = ("request", number) if number % 2 == 0 else ("completion", number - 1)
    facts = {"request": f"r{request}", "principal": "ada", "tier": "verified", "status": 200}
    return LedgerEvent(kind, facts, f"text {number}".encode(), f"p{number % 3}")


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def attacked(base: Logged, attack: Attack) -> tuple[LogVerification, LogVerification]:
    """Return what a verifier with the log's key finds after an attack, and one who also asks the witness."""
    path = base.folder / "attacked.db"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shutil.copy(base.old if attack.run is _roll_back else base.path, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        attack.run(connection, base)
    with Store.open(path) as store:
        return (
            store.ledger.verify(log=base.signer.verifier),
            store.ledger.verify(
                log=base.signer.verifier, witnesses=[base.cosigner.verifier], kept=[base.kept]
            ),
        )


def rebuild(
    connection: sqlite3.Connection, bodies: Sequence[bytes], signer: NoteSigner | None, notes: Sequence[int]
) -> None:
    """Put other entries in place of all, with all hashes, keeping `notes` and signing if one has a key."""
    payloads = dict(connection.execute("SELECT seq, payload FROM ledger_entries"))
    old = dict(connection.execute("SELECT size, note FROM ledger_checkpoints"))
    for table in ("ledger_entries", "ledger_nodes", "ledger_checkpoints"):
        connection.execute(f"DELETE FROM {table}")
    tree = GrowingTree()
    for seq, body in enumerate(bodies):
        connection.execute(
            "INSERT INTO ledger_entries VALUES (?, ?, ?, ?)", (seq, body, payloads.get(seq), f"p{seq % 3}")
        )
        made = [(each.level, each.number, found) for each, found in tree.append(leaf_hash(body))]
        connection.executemany("INSERT INTO ledger_nodes VALUES (?, ?, ?)", made)
    head = (tree.size, tree.frontier)
    connection.execute("UPDATE ledger_head SET size = ?, frontier = ?", head)
    kept = [(size, old[size]) for size in notes]
    if signer is not None:
        kept.append((tree.size, signer.sign(Checkpoint(LOG_NAME, tree.size, tree.root()).text)))
    for size, note in kept:
        connection.execute("INSERT OR REPLACE INTO ledger_checkpoints VALUES (?, ?, 1)", (size, note))


def bodies_of(connection: sqlite3.Connection) -> list[bytes]:
    return [row[0] for row in connection.execute("SELECT body FROM ledger_entries ORDER BY seq")]


def _changed(body: bytes, **changes: object) -> bytes:
    entry = json.loads(body)
    for name, value in changes.items():
        if name in entry:
            entry[name] = value
        else:
            entry["detail"][name] = value
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _sizes(stop: int = GROUPS) -> list[int]:
    return [GROUP * (group + 1) for group in range(stop)]


def _set_body(connection: sqlite3.Connection, body: bytes | str, seq: int = SPOT) -> None:
    connection.execute("UPDATE ledger_entries SET body = ? WHERE seq = ?", (body, seq))


def _edit(connection: sqlite3.Connection, _: Logged) -> None:
    _set_body(connection, _changed(bodies_of(connection)[SPOT], status=403))


def _delete(connection: sqlite3.Connection, _: Logged) -> None:
    connection.execute("DELETE FROM ledger_entries WHERE seq = ?", (SPOT,))


def _insert(connection: sqlite3.Connection, _: Logged) -> None:
    bodies = bodies_of(connection)
    bodies.insert(SPOT, _changed(bodies[SPOT], status=403))
    rebuild(connection, [_changed(body, seq=seq) for seq, body in enumerate(bodies)], None, _sizes())


def _swap(connection: sqlite3.Connection, _: Logged) -> None:
    bodies = bodies_of(connection)
    bodies[SPOT], bodies[SPOT + 2] = (
        _changed(bodies[SPOT + 2], seq=SPOT),
        _changed(bodies[SPOT], seq=SPOT + 2),
    )
    rebuild(connection, bodies, None, _sizes())


def _rewrite(connection: sqlite3.Connection, _: Logged) -> None:
    bodies = bodies_of(connection)
    rebuild(connection, [_changed(bodies[0], tier="standard"), *bodies[1:]], None, [_sizes()[-1]])


def _cut(connection: sqlite3.Connection, _: Logged) -> None:
    rebuild(connection, bodies_of(connection)[:64], None, _sizes(4))


def _roll_back(_connection: sqlite3.Connection, _: Logged) -> None:
    """The copy is made from the older file."""


def _rewrite_signed(connection: sqlite3.Connection, base: Logged) -> None:
    bodies = bodies_of(connection)
    rebuild(connection, [_changed(bodies[0], tier="standard"), *bodies[1:]], base.signer, [])


def _swap_texts(connection: sqlite3.Connection, _: Logged) -> None:
    texts = dict(connection.execute("SELECT seq, payload FROM ledger_entries"))
    for seq, other in ((SPOT, SPOT + 3), (SPOT + 3, SPOT)):
        connection.execute("UPDATE ledger_entries SET payload = ? WHERE seq = ?", (texts[other], seq))


def _erase_silently(connection: sqlite3.Connection, _: Logged) -> None:
    connection.execute("UPDATE ledger_entries SET payload = NULL WHERE seq = ?", (SPOT,))


def _erase_lawfully(_connection: sqlite3.Connection, base: Logged) -> None:
    # The keys are those of the folder.
    with Store.open(base.folder / "attacked.db") as store:
        store.ledger.erase("p1", because="asked for it", by="the officer")


def _erase_in_words_only(connection: sqlite3.Connection, base: Logged) -> None:
    texts = dict(connection.execute("SELECT seq, payload FROM ledger_entries WHERE subject = 'p1'"))
    _erase_lawfully(connection, base)
    connection.executemany(
        "UPDATE ledger_entries SET payload = ? WHERE seq = ?", [(text, seq) for seq, text in texts.items()]
    )


def _sign_with_another_key(connection: sqlite3.Connection, _: Logged) -> None:
    rebuild(connection, bodies_of(connection), NoteSigner.generate(LOG_NAME), [])


def _delete_checkpoints(connection: sqlite3.Connection, _: Logged) -> None:
    connection.execute("DELETE FROM ledger_checkpoints")


def _rewrite_and_wait(connection: sqlite3.Connection, base: Logged) -> None:
    """Forge the history and wait for the owner's next append, which would sign it."""
    bodies = bodies_of(connection)
    rebuild(connection, [_changed(bodies[0], tier="standard"), *bodies[1:]], None, [])
    with Store.open(base.folder / "attacked.db") as store, suppress(StoreError):
        store.ledger.append([_event(GROUPS * GROUP)])


def _repeat_key(connection: sqlite3.Connection, base: Logged) -> None:
    bodies = bodies_of(connection)
    bodies[SPOT] = bodies[SPOT].replace(b'"status":200', b'"status":403,"status":200')
    rebuild(connection, bodies, base.signer, [])


def _store_as_text(connection: sqlite3.Connection, _: Logged) -> None:
    _set_body(connection, bodies_of(connection)[SPOT].decode())


def _pad_size(connection: sqlite3.Connection, base: Logged) -> None:
    (note,) = connection.execute("SELECT note FROM ledger_checkpoints WHERE size = 128").fetchone()
    text = note.partition("\n\n")[0].replace("\n128\n", "\n0128\n") + "\n"
    connection.execute("UPDATE ledger_checkpoints SET note = ? WHERE size = 128", (base.signer.sign(text),))


def _sign_twice(connection: sqlite3.Connection, base: Logged) -> None:
    note = base.signer.sign(Checkpoint(LOG_NAME, 128, leaf_hash(b"another history")).text)
    connection.execute("INSERT INTO ledger_checkpoints VALUES (129, ?, 1)", (note,))


def _unknown_version(connection: sqlite3.Connection, base: Logged) -> None:
    bodies = bodies_of(connection)
    bodies[SPOT] = _changed(bodies[SPOT], v=2)
    rebuild(connection, bodies, base.signer, [])


def _lose_node(connection: sqlite3.Connection, _: Logged) -> None:
    connection.execute("UPDATE ledger_nodes SET hash = zeroblob(32) WHERE level = 3 AND number = 5")


def _append_unsigned(connection: sqlite3.Connection, _: Logged) -> None:
    bodies = bodies_of(connection)
    rebuild(connection, [*bodies, _changed(bodies[SPOT], seq=128)], None, _sizes())


def clock_back(connection: sqlite3.Connection, base: Logged) -> None:
    """Sign a log in which a clock was set back: no attack, but worth a remark."""
    bodies = bodies_of(connection)
    bodies[SPOT] = _changed(bodies[SPOT], at="2020-01-01T00:00:00.000000Z")
    rebuild(connection, bodies, base.signer, [])


ATTACKS = (
    Attack("edit an entry in place", _edit),
    Attack("delete a middle entry", _delete),
    Attack("insert a forged entry and renumber", _insert),
    Attack("swap two entries", _swap),
    Attack("rewrite and recompute all hashes without the key", _rewrite),
    Attack("cut the tail and its checkpoints", _cut, alone=False),
    Attack("restore an older backup", _roll_back, alone=False),
    Attack("rewrite and sign with the log's own key", _rewrite_signed, alone=False),
    Attack("swap two encrypted texts", _swap_texts),
    Attack("delete a text without a word", _erase_silently),
    Attack("erase a subject's texts lawfully", _erase_lawfully, is_lawful=True),
    Attack("sign with another key", _sign_with_another_key),
    Attack("delete all checkpoints", _delete_checkpoints),
    Attack("rewrite, delete all checkpoints and wait for the next append", _rewrite_and_wait),
    Attack("a key twice in an entry's JSON", _repeat_key),
    Attack("an entry stored as text", _store_as_text),
    Attack("a checkpoint's size with a leading zero", _pad_size),
    Attack("two checkpoints of one size", _sign_twice),
    Attack("an unknown version of an entry", _unknown_version),
    Attack("a changed hash inside the tree", _lose_node),
    Attack("an entry appended without the key", _append_unsigned),
    Attack("say that texts were erased, and keep them", _erase_in_words_only),
)
