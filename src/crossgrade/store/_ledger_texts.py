"""Texts beside the ledger's entries, each encrypted under a key of its subject, which erasure destroys."""

import os
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, delete, insert, select, text, update

from crossgrade.errors import NotFoundError, StoreError
from crossgrade.ledger import (
    MAX_ENTRY_BYTES,
    NONCE_BYTES,
    SALT_BYTES,
    SUBJECT_KEY_BYTES,
    PayloadMark,
    PayloadSealer,
    WrappingKey,
    open_payload,
    read_entry,
)
from crossgrade.store import _tables as t
from crossgrade.store._database import Database
from crossgrade.store._ledger_events import LedgerEvent, is_subject
from crossgrade.store._ledger_keys import LedgerSecrets


class LedgerTexts:
    """The encrypted texts of the ledger."""

    def __init__(self, database: Database, secrets: LedgerSecrets) -> None:
        self._database = database
        self._secrets = secrets

    def sealed(
        self, connection: Connection, events: Sequence[LedgerEvent]
    ) -> list[tuple[bytes | None, PayloadMark | None]]:
        """Return each event's payload as stored, and its mark, within the transaction that appends them."""
        subjects = {each.subject for each in events if each.payload is not None and each.subject}
        if not subjects:
            return [(None, None)] * len(events)
        keys = self._keys(connection, subjects)
        sealers = {subject: PayloadSealer(key, subject) for subject, key in keys.items()}
        random = os.urandom((SALT_BYTES + NONCE_BYTES) * len(events))
        found: list[tuple[bytes | None, PayloadMark | None]] = []
        for number, event in enumerate(events):
            if event.payload is None or event.subject is None:
                found.append((None, None))
                continue
            start = number * (SALT_BYTES + NONCE_BYTES)
            middle, stop = start + SALT_BYTES, start + SALT_BYTES + NONCE_BYTES
            sealer = sealers[event.subject]
            found.append(sealer.seal(event.payload, salt=random[start:middle], nonce=random[middle:stop]))
        return found

    def read(self, seq: int) -> bytes:
        """Return the text of an entry.

        Raises `NotFoundError` if it has none or it was erased, and `DataError` if it was changed.
        """
        with self._database.reading() as connection:
            row = connection.execute(_ENTRY, {"seq": seq}).first()
            mark = None if row is None else read_entry(row.body).payload
            if row is None or mark is None or row.payload is None:
                raise NotFoundError(
                    f"entry {seq} has no text, or it was erased",
                    code="ledger-text-missing",
                    hint="texts are kept only with `ledger: {keep_texts: true}`",
                )
            wrapped = connection.execute(
                select(t.ledger_keys.c.wrapped).where(t.ledger_keys.c.subject == row.subject)
            ).scalar()
        if type(row.payload) is not bytes:
            raise StoreError(f"the text of entry {seq} is no bytes", code="ledger-damaged")
        if wrapped is None:
            raise StoreError(
                f"the key to the text of entry {seq} is gone",
                code="ledger-damaged",
                hint="`crossgrade audit verify` says what is wrong",
            )
        key = self._wrapping_key().unwrap(wrapped, row.subject)
        return open_payload(row.payload, key, row.subject, mark)[1]

    def destroy(self, connection: Connection, subject: str) -> int:
        """Destroy a subject's key and texts. Raises `NotFoundError` for a subject that has neither."""
        if not is_subject(subject):
            raise _no_texts(subject)
        keys = connection.execute(delete(t.ledger_keys).where(t.ledger_keys.c.subject == subject)).rowcount
        e = t.ledger_entries
        of_subject = (e.c.subject == subject) & e.c.payload.is_not(None)
        texts = connection.execute(update(e).where(of_subject).values(payload=None)).rowcount
        if not keys and not texts:
            raise _no_texts(subject)
        return texts

    def rows(self) -> Iterator[tuple[int, str | None, bool]]:
        """Yield (number, subject, whether there is a text) of every entry in its order, a page at a time.

        A subject that is longer than an entry may be is None.
        """
        after = -1
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(_SUBJECTS, {"after": after, "page": _PAGE}).all()
            for row in rows:
                yield row.seq, row.subject, bool(row.has_text)
            if len(rows) < _PAGE:
                return
            after = rows[-1].seq

    def keyed_subjects(self) -> frozenset[str]:
        """Return the subjects that have a key, of the length that a wrapped key has."""
        with self._database.reading() as connection:
            return frozenset(connection.execute(_KEYED).scalars())

    def _keys(self, connection: Connection, subjects: set[str]) -> dict[str, bytes]:
        wrapping = self._wrapping_key()
        known = select(t.ledger_keys).where(t.ledger_keys.c.subject.in_(subjects))
        keys = {row.subject: wrapping.unwrap(row.wrapped, row.subject) for row in connection.execute(known)}
        fresh = {subject: os.urandom(SUBJECT_KEY_BYTES) for subject in sorted(subjects - set(keys))}
        if fresh:
            rows = [{"subject": each, "wrapped": wrapping.wrap(key, each)} for each, key in fresh.items()]
            connection.execute(insert(t.ledger_keys), rows)
        return {**keys, **fresh}

    def _wrapping_key(self) -> WrappingKey:
        key = self._secrets.wrapping_key()
        if key is None:
            raise StoreError(
                "the ledger has no key for texts",
                code="ledger-texts-key-missing",
                hint="make it with `crossgrade audit init NAME`, or set CROSSGRADE_LEDGER_TEXTS_KEY",
            )
        return key


def _no_texts(subject: str) -> NotFoundError:
    return NotFoundError(
        f"there are no texts of subject `{subject:.255}`",
        code="ledger-subject-unknown",
        hint="subjects are the principals of `crossgrade audit list`",
    )


_PAGE = 2_000
_WRAPPED_BYTES = SUBJECT_KEY_BYTES + 16
"""AES-SIV adds 16 bytes."""
_SUBJECTS = text(
    "SELECT seq, CASE WHEN length(subject) <= :longest THEN substr(subject, 1, :longest) END AS subject, "
    "payload IS NOT NULL AS has_text FROM ledger_entries WHERE seq > :after ORDER BY seq LIMIT :page"
).bindparams(longest=MAX_ENTRY_BYTES)
_KEYED = text(
    "SELECT substr(subject, 1, :longest) AS subject FROM ledger_keys "
    "WHERE length(wrapped) = :width AND length(subject) <= :longest"
).bindparams(width=_WRAPPED_BYTES, longest=MAX_ENTRY_BYTES)
_ENTRY = text("SELECT body, payload, subject FROM ledger_entries WHERE seq = :seq")
