"""The ledger's tables: entries are appended in groups, each group in one transaction, and never change.

Several processes may append. Each first updates the one row of `ledger_head`, which holds a lock until the
transaction ends: on SQLite the file's write lock, on PostgreSQL the row's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, text, update

from crossgrade.errors import DataError, NotFoundError, StoreError
from crossgrade.ledger import (
    HASH_BYTES,
    MAX_ENTRY_BYTES,
    MOST_NOTE_BYTES,
    Checkpoint,
    GrowingTree,
    Handover,
    LogEntry,
    LogVerification,
    NoteSigner,
    NoteVerifier,
    Position,
    SignedNote,
    consistency_proof,
    entry_body,
    inclusion_proof,
    leaf_hash,
    tree_root,
    verify_log,
)
from crossgrade.store import _tables as t
from crossgrade.store._database import Database
from crossgrade.store._ledger_events import MAX_SEALED_BYTES, LedgerEvent, check_because, decision
from crossgrade.store._ledger_head import MOST_FRONTIER_BYTES, LedgerHead
from crossgrade.store._ledger_keys import LedgerSecrets
from crossgrade.store._ledger_rows import opening
from crossgrade.store._ledger_schema import altered
from crossgrade.store._ledger_texts import LedgerTexts
from crossgrade.store._records import utc_now

CHECKPOINT_SPAN = 256
"""At most one checkpoint in as many entries is kept, beside the newest and those that a witness cosigned."""

_PAGE = 500
_SMALL_BYTES = 65_536
"""A longer payload is read by itself, so that a page of them fits into memory."""


class LedgerRow(NamedTuple):
    """An entry as stored. A verifier must not trust the types of what a database returns."""

    seq: int
    body: bytes
    payload: bytes | None
    subject: str | None


class LedgerLog:
    """The log of a project: append to it, read it, and prove what is in it."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self.secrets = LedgerSecrets(folder)
        self.texts = LedgerTexts(database, self.secrets)
        self._folder = folder
        self._known: tuple[str, str, Checkpoint] | None = None

    def begin(self, connection: Connection) -> None:
        """Hold the log's lock until a transaction of the caller ends, and enter what is older than the log.

        What the caller reads after this is what its entries follow, whoever else appends.
        """
        if not _grown(connection, 0).size:
            self.record(connection, ())

    def append(self, events: Sequence[LedgerEvent]) -> range:
        """Write entries in one transaction, durable when this returns, and return their numbers.

        Raises `StoreError` if they cannot be written, and then none is. A signed log is continued only by
        who has its key, and only from a checkpoint that this key signed.
        """
        if not events:
            return range(0)
        with self._database.writing() as connection:
            return self.record(connection, events)

    def record(self, connection: Connection, events: Sequence[LedgerEvent]) -> range:
        """Write entries within a transaction of the caller, which commits them together with its own rows.

        Those rows are written after this, so that they have the order of their entries and are not taken for
        rows that are older than the log.
        """
        tree = _grown(connection, len(events))
        signer = self._checked_signer(connection, tree)
        older = () if tree.size else opening(connection, self._folder)
        if older:
            connection.execute(_GROW, {"count": len(older)})
            self._write(connection, tree, older)
        first = tree.size
        self._write(connection, tree, events)
        if signer is not None and tree.size:
            self._sign(connection, signer, tree)
        return range(first, tree.size)

    def _write(self, connection: Connection, tree: GrowingTree, events: Sequence[LedgerEvent]) -> None:
        """Write entries behind those of a tree, which grows by them."""
        now = utc_now()
        entries: list[tuple[Any, ...]] = []
        nodes: list[tuple[Any, ...]] = []
        payloads = self.texts.sealed(connection, events)
        for seq, (event, (sealed, mark)) in enumerate(zip(events, payloads, strict=True), tree.size):
            body = entry_body(event.kind, event.encoded, seq=seq, at=now, subject=event.subject, payload=mark)
            entries.append((seq, body, sealed, event.subject))
            nodes += [(*position, found) for position, found in tree.append(leaf_hash(body))]
        _insert(connection, "ledger_entries (seq, body, payload, subject)", entries)
        _insert(connection, "ledger_nodes (level, number, hash)", nodes)
        connection.execute(_SET_FRONTIER, {"frontier": tree.frontier})

    def _checked_signer(self, connection: Connection, tree: GrowingTree) -> NoteSigner | None:
        """Return the key to sign with, which may only go on from what it signed before.

        Otherwise whoever can write the database could have a forged history signed by waiting. Reads one row.
        """
        signer = self.secrets.signer()
        if signer is None:
            if connection.execute(_ANY_CHECKPOINT).first() is not None:
                raise StoreError(
                    "the ledger is signed, and this process has no key to go on signing",
                    code="ledger-key-missing",
                    hint="put `ledger.key` back, or give the key as `CROSSGRADE_LEDGER_KEY`",
                )
        elif tree.size:
            note = connection.execute(_CHECKPOINT, {"size": tree.size}).scalar()
            handover = Handover.read(note)
            if handover is not None and handover.before == signer.verifier:
                signer = self.secrets.successor(handover.after)
            if not isinstance(note, str) or not self._is_signed(note, signer, tree):
                self._check_in_force(connection, signer)
                raise StoreError(
                    f"the {tree.size} entries of the ledger are not those that its key signed",
                    code="ledger-head-unsigned",
                    hint="`crossgrade audit verify` says what is wrong",
                )
        return signer

    def _is_signed(self, note: str, signer: NoteSigner, tree: GrowingTree) -> bool:
        if self._known is None or self._known[:2] != (note, signer.vkey):
            try:
                seen, _ = Checkpoint.read(note, [signer.verifier])
            except DataError:
                return False
            self._known = (note, signer.vkey, seen)
        seen = self._known[2]
        return (seen.origin, seen.size, seen.root) == (signer.name, tree.size, tree.root())

    def _check_in_force(self, connection: Connection, signer: NoteSigner) -> None:
        """Raise `StoreError` if a key handed over to another, and should have been replaced here."""
        for row in connection.execute(_CHECKPOINTS):
            handover = Handover.read(row.note)
            if handover is not None and handover.before == signer.verifier:
                self.secrets.successor(handover.after)

    def _sign(self, connection: Connection, signer: NoteSigner, tree: GrowingTree) -> str:
        checkpoint = Checkpoint(signer.name, tree.size, tree.root())
        note = signer.sign(checkpoint.text)
        _keep_checkpoint(connection, tree.size, note)
        self._known = (note, signer.vkey, checkpoint)
        return note

    def size(self) -> int:
        """Return how many entries there are."""
        with self._database.reading() as connection:
            return _size(connection)

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[LedgerRow]:
        """Yield entries `start` to `stop` (excluded) in their order, a page at a time.

        The values are as the database has them, whatever their types are. One that is longer than any is
        not read: zeros that are too long for an entry stand for a body, and no bytes for a payload.
        """
        after = start - 1
        while True:
            with self._database.reading() as connection:
                bounds = {
                    "after": after,
                    "stop": 2**62 if stop is None else stop,
                    "page": _PAGE,
                    "small": _SMALL_BYTES,
                }
                rows = connection.execute(_ENTRIES, bounds).all()
            for *row, body_length, length in rows:
                whole = self._whole(LedgerRow(*row), length)
                is_long = body_length is not None and body_length > MAX_ENTRY_BYTES
                yield whole._replace(body=bytes(MAX_ENTRY_BYTES + 1)) if is_long else whole
            if len(rows) < _PAGE:
                return
            after = rows[-1].seq

    def _whole(self, row: LedgerRow, length: int | None) -> LedgerRow:
        if length is None or length <= _SMALL_BYTES:
            return row
        if length > MAX_SEALED_BYTES:
            return row._replace(payload=b"")
        with self._database.reading() as connection:
            return row._replace(payload=connection.execute(_PAYLOAD, {"seq": row.seq}).scalar())

    def entry(self, seq: int) -> LedgerRow:
        """Return one entry. Raises `NotFoundError` without one, `StoreError` for one that is lost."""
        size = self.size()
        if not 0 <= seq < size:
            raise _no_entry(seq, size)
        return next(self.whole(seq, seq + 1))

    def whole(self, start: int, stop: int) -> Iterator[LedgerRow]:
        """Yield entries as `entries` does. Raises `StoreError` at the first one that is missing."""
        seq = start
        for row in self.entries(start, stop):
            if row.seq != seq:
                break
            yield row
            seq += 1
        if seq < stop:
            raise ledger_damaged(f"entry {seq} is missing")

    def nodes(self, level: int) -> Iterator[tuple[int, bytes]]:
        """Yield the stored hashes of the complete subtrees of a level above 0, with their numbers."""
        after = -1
        while True:
            with self._database.reading() as connection:
                bounds = {"level": level, "after": after, "page": _PAGE}
                rows = connection.execute(_LEVEL, bounds).all()
            for row in rows:
                yield row.number, row.hash
            if len(rows) < _PAGE:
                return
            after = rows[-1].number

    def root(self, size: int) -> bytes:
        """Return the root hash over the first `size` entries."""
        with self._database.reading() as connection:
            _check_size(size, _size(connection))
            return tree_root(size, _Reader(connection))

    def inclusion(self, seq: int, size: int) -> list[bytes]:
        """Return the proof that entry `seq` is among the first `size`. Raises `NotFoundError` if not."""
        with self._database.reading() as connection:
            _check_size(size, _size(connection))
            if not 0 <= seq < size:
                raise _no_entry(seq, size)
            return inclusion_proof(seq, size, _Reader(connection))

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the first `new` entries begin with the first `old`."""
        with self._database.reading() as connection:
            _check_size(new, _size(connection))
            _check_size(old, new)
            return consistency_proof(old, new, _Reader(connection))

    def newest_checkpoint(self) -> str | None:
        """Return the note of the newest signed checkpoint, None before there is a key.

        Raises `StoreError` if it is no text.
        """
        with self._database.reading() as connection:
            row = connection.execute(_NEWEST).first()
        return None if row is None else _checkpoint(row.size, row.note)[1]

    def is_signed(self) -> bool:
        """Return whether there is any signed checkpoint, whatever is in it."""
        with self._database.reading() as connection:
            return connection.execute(_ANY_CHECKPOINT).first() is not None

    def checkpoints(self) -> list[tuple[int, str]]:
        """Return the kept checkpoints as (size, note), the smallest first.

        Raises `StoreError` if a size is no number or a note no text: sizes become names of files.
        """
        with self._database.reading() as connection:
            return [_checkpoint(row.size, row.note) for row in connection.execute(_CHECKPOINTS)]

    def verify(
        self,
        *,
        log: NoteVerifier | None = None,
        witnesses: Sequence[NoteVerifier] = (),
        kept: Sequence[str] = (),
        seen: Callable[[LogEntry], None] | None = None,
    ) -> LogVerification:
        """Check everything in the database, apart from what is appended meanwhile; see `verify_log`."""
        with self._database.reading() as connection:
            rows = connection.execute(_HEAD_AND_CHECKPOINTS, {"most": MOST_FRONTIER_BYTES}).all()
        head = LedgerHead.read([(row.id, row.log_size, row.frontier, row.first, row.last) for row in rows])
        size = head.size

        def nodes(level: int) -> Iterator[tuple[int, bytes]]:
            if size is None:
                return self.nodes(level)
            return takewhile(lambda each: each[0] < size >> level, self.nodes(level))

        found = verify_log(
            self.entries(0, size),
            [(row.size, row.note) for row in rows if row.size is not None and row.id == rows[0].id],
            log=log,
            witnesses=witnesses,
            kept=kept,
            nodes=nodes,
            seen=seen,
        )
        with self._database.reading() as connection:
            return found.and_findings([*head.compared(found), *altered(connection)])

    def make_key(self, name: str) -> NoteSigner:
        """Make the keys that are missing, and sign the log as it is.

        Raises `UsageError` if the log signs by another name already, and `StoreError` if the log does not
        verify. An unsigned log is signed for the first time here and nowhere else, and only by a key that
        is made for it: with a key, or with a checkpoint, this goes on only as `append` does.
        """
        verified = self.verify() if self.secrets.signer() is None else None
        with self._database.writing() as connection:  # nobody appends between the key and its first signature
            tree = _grown(connection, 0)
            if self._checked_signer(connection, tree) is None:
                _check_verified(connection, tree, verified)
            signer = self.secrets.make(name)
            self.begin(connection)
            self._sign(connection, signer, _grown(connection, 0))
        return signer

    def rotate(self, *, because: str, by: str) -> Handover:
        """Replace the key that signs by a new one, on record; return what the new checkpoint says of it.

        The old key signs the entry that says so, together with the new one, and nothing after it. If this is
        cut off, whoever appends next puts the new key in force. Raises `StoreError` without a key, and
        `UsageError` if it is in the environment or for a reason that `erase` would refuse.
        """
        check_because(because)
        check_because(by)
        with self._database.writing() as connection:
            self.begin(connection)
            tree = _grown(connection, 1)
            signer = self._checked_signer(connection, tree)
            if signer is None:
                raise _no_key()
            fresh = self.secrets.make_next(signer.name)
            facts = {"from": signer.vkey, "to": fresh.vkey, "because": because, "by": by}
            self._write(connection, tree, [LedgerEvent("handover", facts)])
            note = Handover.signed(Checkpoint(signer.name, tree.size, tree.root()), signer, fresh)
            row = {"size": tree.size, "note": note, "is_cosigned": True}  # so that it is never forgotten
            connection.execute(_KEEP_CHECKPOINT, row)
        self.secrets.successor(fresh.verifier)
        return Handover(tree.size, signer.verifier, fresh.verifier)

    def sign(self) -> str:
        """Sign the log as it is now, and return the checkpoint's note. Raises `StoreError` without a key.

        Entries that the key has not signed yet are not signed, as `append` does not go on from them.
        """
        with self._database.writing() as connection:
            tree = _grown(connection, 0)
            signer = self._checked_signer(connection, tree)
            if signer is None:
                raise _no_key()
            if tree.size:
                return str(connection.execute(_CHECKPOINT, {"size": tree.size}).scalar())
            return self._sign(connection, signer, tree)

    def add_cosignature(self, size: int, note: str) -> str:
        """Keep a checkpoint with the cosignatures of a note, and return it with all that it has now.

        The caller has verified the signatures. Raises `StoreError` for a note about another log than this.
        """
        given = SignedNote.read(note)
        with self._database.writing() as connection:
            root = tree_root(size, _Reader(connection)) if size <= _grown(connection, 0).size else None
            seen = Checkpoint.from_text(given.text)
            if (seen.size, seen.root) != (size, root):
                raise StoreError(
                    f"the note is about another log than this, which has not this root at {size} entries",
                    code="ledger-note-of-another",
                    hint="ask the witness about this log's newest checkpoint",
                )
            kept = connection.execute(_CHECKPOINT, {"size": size}).scalar()
            before = SignedNote.read(kept) if kept else given
            if before.text == given.text:
                given = before.with_signatures(given.signatures)
            connection.execute(delete(t.ledger_checkpoints).where(t.ledger_checkpoints.c.size == size))
            row = {"size": size, "note": str(given), "is_cosigned": True}
            connection.execute(insert(t.ledger_checkpoints), row)
        return str(given)

    def erase(self, subject: str, *, because: str, by: str) -> int:
        """Destroy the key and the texts of a subject, and record it. Returns how many texts there were.

        The log stays verifiable: the entry of the erasure covers the payloads of the subject before it.
        Raises `NotFoundError` for a subject without texts, and `UsageError` for a reason or a name that is
        empty, over 500 characters, or not printable on one line.
        """
        check_because(because)
        check_because(by)
        with self._database.erasing() as connection:
            before = _grown(connection, 0).size
            count = self.texts.destroy(connection, subject)
            facts = {"because": because, "by": by, "subject": subject, "before": before, "texts": count}
            self.record(connection, [decision("erasure", **facts)])
        return count


class _Reader:
    """Reads nodes from the database; the hash of a single entry is that of its body."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __call__(self, positions: Sequence[Position]) -> Mapping[Position, bytes]:
        found: dict[Position, bytes] = {}
        for level in {each.level for each in positions}:
            wanted = [each.number for each in positions if each.level == level]
            query = _BODIES if level == 0 else _NODES
            for number, value in self._connection.execute(query, {"level": level, "numbers": wanted}):
                if isinstance(value, bytes):
                    found[Position(level, number)] = leaf_hash(value) if level == 0 else value
        if missing := set(positions) - set(found):
            raise ledger_damaged(f"it lacks {len(missing)} of its nodes, such as {tuple(min(missing))}")
        return found


def _grown(connection: Connection, count: int) -> GrowingTree:
    """Make room for entries, and return the tree before them. Holds the lock of the log from here on."""
    row = connection.execute(_GROW, {"count": count}).first()
    if row is None:
        raise ledger_damaged("its head is missing")
    if type(row.size) is not int or row.size < count or not isinstance(row.frontier, bytes):
        raise ledger_damaged("its head has values of other types")
    try:
        return GrowingTree(row.frontier, row.size - count)
    except ValueError as error:
        raise ledger_damaged(str(error)) from None


def _check_verified(connection: Connection, tree: GrowingTree, verified: LogVerification | None) -> None:
    """Raise `StoreError` unless a log was verified without a finding and has only grown since."""
    if verified is not None and verified.found:
        raise ledger_damaged(verified.findings[0].message)
    reader = _Reader(connection)
    roots = None if verified is None else (tree_root(verified.size, reader), tree_root(tree.size, reader))
    if verified is None or roots != (verified.root, tree.root()):
        raise ledger_damaged("it changed while it was verified")


def _insert(connection: Connection, into: str, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows by the driver itself: SQLAlchemy would take as long to prepare them as all else."""
    if rows:
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        marks = ", ".join([mark] * len(rows[0]))
        connection.exec_driver_sql(f"INSERT INTO {into} VALUES ({marks})", rows)  # noqa: S608 -- names of ours


def _keep_checkpoint(connection: Connection, size: int, note: str) -> None:
    floor = (size - 1) // CHECKPOINT_SPAN * CHECKPOINT_SPAN
    connection.execute(_FORGET_CHECKPOINTS, {"floor": floor, "size": size})
    row = {"size": size, "note": note, "is_cosigned": False}
    connection.execute(_KEEP_CHECKPOINT, row)


def _checkpoint(size: object, note: object) -> tuple[int, str]:
    if type(size) is not int or size < 0 or not isinstance(note, str):
        raise ledger_damaged("a checkpoint has values of other types")
    return size, note


def _size(connection: Connection) -> int:
    size = connection.execute(_SIZE).scalar()
    if type(size) is not int:
        raise ledger_damaged("its head is missing" if size is None else "its head has values of other types")
    return size


def _check_size(size: int, largest: int) -> None:
    if not 0 <= size <= largest:
        raise NotFoundError(
            f"the log has {largest} entries, not {size}",
            code="ledger-size-unknown",
            hint="`crossgrade audit list` shows its entries",
        )


def _no_entry(seq: int, size: int) -> NotFoundError:
    return NotFoundError(
        f"there is no entry {seq} among {size}",
        code="ledger-entry-unknown",
        hint="entries are numbered from 0; `crossgrade audit list` shows them",
    )


def _no_key() -> StoreError:
    return StoreError(
        "the ledger has no key to sign with",
        code="ledger-key-missing",
        hint="make one with `crossgrade audit init NAME`",
    )


def ledger_damaged(why: str) -> StoreError:
    """Return the error of a ledger whose rows do not fit each other."""
    return StoreError(
        f"the ledger is damaged: {why}",
        code="ledger-damaged",
        hint="`crossgrade audit verify` says what is wrong",
    )


_GROW = text(
    "UPDATE ledger_head SET size = size + :count WHERE id = 1 "
    "RETURNING size, coalesce(substr(frontier, 1, :most), frontier) AS frontier"
).bindparams(most=MOST_FRONTIER_BYTES + 1)
_SET_FRONTIER = update(t.ledger_head).where(t.ledger_head.c.id == 1).values(frontier=bindparam("frontier"))
# The length of a text ends at a NUL in SQLite, so it bounds nothing without `substr`, which is NULL for b"".
_ENTRIES = text(
    "SELECT seq, "
    "CASE WHEN length(body) <= :longest THEN coalesce(substr(body, 1, :longest), body) END AS body, "
    "CASE WHEN length(payload) <= :small THEN coalesce(substr(payload, 1, :small), payload) END "
    "AS payload, "
    "CASE WHEN length(subject) <= :longest THEN substr(subject, 1, :longest) END AS subject, "
    "length(body) AS body_length, length(payload) AS length "
    "FROM ledger_entries WHERE seq > :after AND seq < :stop ORDER BY seq LIMIT :page"
).bindparams(longest=MAX_ENTRY_BYTES)
_PAYLOAD = text("SELECT payload FROM ledger_entries WHERE seq = :seq")
_LEVEL = text(
    "SELECT number, CASE WHEN length(hash) = :width THEN substr(hash, 1, :width) END AS hash "
    "FROM ledger_nodes WHERE level = :level AND number > :after ORDER BY number LIMIT :page"
).bindparams(width=HASH_BYTES)
_BODIES = text(
    "SELECT seq, substr(body, 1, :longest) AS body FROM ledger_entries "
    "WHERE seq IN :numbers AND length(body) <= :longest"
).bindparams(bindparam("numbers", expanding=True), longest=MAX_ENTRY_BYTES)
_NODES = text(
    "SELECT number, substr(hash, 1, :width) AS hash FROM ledger_nodes "
    "WHERE level = :level AND number IN :numbers AND length(hash) = :width"
).bindparams(bindparam("numbers", expanding=True), width=HASH_BYTES)
_NOTE = (
    f"CASE WHEN length(note) <= {MOST_NOTE_BYTES} THEN substr(note, 1, {MOST_NOTE_BYTES}) ELSE '' END AS note"
)
"""A note that is too long is read as one that is empty."""
_NEWEST = text(f"SELECT size, {_NOTE} FROM ledger_checkpoints ORDER BY size DESC LIMIT 1")  # noqa: S608 -- as above
_CHECKPOINTS = text(f"SELECT size, {_NOTE} FROM ledger_checkpoints ORDER BY size")  # noqa: S608 -- as above
_CHECKPOINT = text(f"SELECT {_NOTE} FROM ledger_checkpoints WHERE size = :size")  # noqa: S608 -- as above
_ANY_CHECKPOINT = text("SELECT 1 FROM ledger_checkpoints LIMIT 1")
_SIZE = text("SELECT size FROM ledger_head WHERE id = 1")
_HEAD_AND_CHECKPOINTS = text(
    f"SELECT h.id, h.log_size, h.frontier, h.first, h.last, c.size, {_NOTE} FROM "  # noqa: S608 -- as above
    "(SELECT 1 AS one) o LEFT JOIN (SELECT id, size AS log_size, "
    "CASE WHEN length(frontier) <= :most THEN coalesce(substr(frontier, 1, :most), frontier) END "
    "AS frontier, "
    "(SELECT min(seq) FROM ledger_entries) AS first, (SELECT max(seq) FROM ledger_entries) AS last "
    "FROM ledger_head ORDER BY id LIMIT 2) h ON 1 = 1 "
    "LEFT JOIN ledger_checkpoints c ON 1 = 1 ORDER BY h.id, c.size"
)
"""All in one statement, so that they fit while others append. A second head is one too many."""
_FORGET_CHECKPOINTS = text(
    "DELETE FROM ledger_checkpoints WHERE size > :floor AND size < :size AND NOT is_cosigned"
)
_KEEP_CHECKPOINT = text(
    "INSERT INTO ledger_checkpoints (size, note, is_cosigned) VALUES (:size, :note, :is_cosigned) "
    "ON CONFLICT DO NOTHING"
)
