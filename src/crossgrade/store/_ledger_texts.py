"""Texts beside the ledger's entries, each encrypted under a key of its subject, which erasure destroys."""

import os
from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select, text, update

from crossgrade.errors import NotFoundError, StoreError
from crossgrade.ledger import (
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
from crossgrade.store._ledger_events import LedgerEvent
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
            ).scalar_one()
        if type(row.payload) is not bytes:
            raise StoreError(f"the text of entry {seq} is no bytes", code="ledger-damaged")
        key = self._wrapping_key().unwrap(wrapped, row.subject)
        return open_payload(row.payload, key, row.subject, mark)[1]

    def destroy(self, connection: Connection, subject: str) -> int:
        """Destroy a subject's key and texts. Raises `NotFoundError` for a subject without a key."""
        gone = connection.execute(delete(t.ledger_keys).where(t.ledger_keys.c.subject == subject))
        if gone.rowcount == 0:
            raise NotFoundError(
                f"there are no texts of subject `{subject}`",
                code="ledger-subject-unknown",
                hint="subjects are the principals of `crossgrade audit list`",
            )
        e = t.ledger_entries
        of_subject = (e.c.subject == subject) & e.c.payload.is_not(None)
        return connection.execute(update(e).where(of_subject).values(payload=None)).rowcount

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


_ENTRY = text("SELECT body, payload, subject FROM ledger_entries WHERE seq = :seq")
