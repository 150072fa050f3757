"""Stores dossiers as they were made, and writes the gateway's `dossiers.json`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, desc, func, insert, select

from crossgrade.domain import JSON, Dossier
from crossgrade.errors import DataError, StoreError
from crossgrade.identity import DossierMark, dossiers_bytes
from crossgrade.store import _tables as t
from crossgrade.store._database import Database, announce
from crossgrade.store._ledger import LedgerLog
from crossgrade.store._ledger_events import LedgerEvent, decision, document_digest
from crossgrade.store._published import PublishedFile
from crossgrade.store._records import new_id, utc_now

_ENTERED = ("id", "workload", "made_at", "valid_until")
"""The columns that the ledger has too."""

_AT_ONCE = 10
"""So many rows are fetched at once where few are likely to be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDossier:
    """A recorded dossier with its id, and `digest`, the SHA-256 of its JSON (`text`)."""

    id: str
    digest: str
    dossier: Dossier
    text: str

    @property
    def mark(self) -> DossierMark:
        """The dossier as the gateway knows it."""
        return DossierMark(
            id=self.id,
            digest=self.digest,
            workload=self.dossier.workload,
            valid_until=self.dossier.valid_until,
            made_at=self.dossier.made_at,
            verdict_id=self.dossier.verdict_id,
            lacks=self.dossier.lacks,
            models={name: dict(parts) for name, parts in self.dossier.basis.items()},
        )


class DossierRecords:
    """The dossiers of a store. Rows are added and never changed.

    Each is entered into the ledger. Then `dossiers.json` is replaced as a whole, and the gateway asks for the
    dossiers in the new file.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._file = PublishedFile(database, folder, "dossiers")
        self._ledger = LedgerLog(database, folder)

    @property
    def path(self) -> Path:
        """The file that the gateway loads."""
        return self._file.path

    def append(self, dossier: Dossier) -> StoredDossier:
        """Record a dossier, and publish it."""
        text = encode_dossier(dossier)
        stored = StoredDossier(id=new_id(), digest=document_digest(text), dossier=dossier, text=text)
        row = {
            "id": stored.id,
            "workload": dossier.workload,
            "made_at": dossier.made_at.isoformat(),
            "valid_until": dossier.valid_until.isoformat(),
            "dossier": text,
            "at": utc_now().isoformat(),
        }
        with self._file.locked():
            with self._database.writing() as connection:
                self._ledger.record(connection, [_decided(row, dossier)])
                connection.execute(insert(t.dossiers), row)
                announce(connection)
            self._write()
        return stored

    def recent(self, workload: str | None = None, *, limit: int = 100) -> list[StoredDossier]:
        """Return dossiers (of one workload), newest first."""
        query = select(t.dossiers) if workload is None else _of(workload)
        query = query.order_by(desc(t.dossiers.c.number)).limit(limit)
        with self._database.reading() as connection:
            return [_stored(row) for row in connection.execute(query)]

    def newest_first(self, workload: str) -> Iterator[Dossier]:
        """Yield the dossiers of a workload, read as they are asked for."""
        return self._each(_of(workload).order_by(desc(t.dossiers.c.number)))

    def naming_file(self, workload: str, path: str) -> Iterator[Dossier]:
        """Yield the dossiers of a workload that name a file, oldest first, read as they are asked for."""
        quoted = msgspec.json.encode(path).decode()
        query = _of(workload).where(t.dossiers.c.dossier.contains(quoted, autoescape=True))
        return self._each(query.order_by(t.dossiers.c.number))

    def _each(self, query: Select[Any]) -> Iterator[Dossier]:
        with self._database.reading() as connection:
            for row in connection.execute(query.execution_options(yield_per=_AT_ONCE)):
                yield _stored(row).dossier

    def newest(self) -> list[StoredDossier]:
        """Return the newest dossier of each workload."""
        with self._database.reading() as connection:
            return [_stored(row) for row in _newest(connection)]

    def documents(self) -> Iterator[tuple[str, Mapping[str, JSON]]]:
        """Yield the id of every dossier, and its facts as in the ledger's entry."""
        query = select(t.dossiers).order_by(t.dossiers.c.number)
        with self._database.reading() as connection:
            for row in connection.execute(query.execution_options(yield_per=100)):
                try:
                    yield row.id, _decided(row._asdict(), _stored(row).dossier).detail
                except (StoreError, DataError):
                    yield row.id, {}  # nobody wrote it here

    def publish(self) -> None:
        """Write `dossiers.json` from the database, at a start and after changes on other machines."""
        with self._file.locked():
            self._write()

    def is_published(self) -> bool:
        """Return whether `dossiers.json` is what the database has, or what no gateway reads here: not there.

        On machines that share a database the file may be behind, and is not compared.
        """
        if self._file.may_be_behind:
            return True
        with self._file.locked():
            try:
                expected = dossiers_bytes(each.mark for each in self.newest())
            except StoreError:
                return False  # rows that nobody wrote here
            return self._file.has(expected)

    def _write(self) -> None:
        self._file.write(dossiers_bytes(each.mark for each in self.newest()))


def _of(workload: str) -> Select[Any]:
    return select(t.dossiers).where(t.dossiers.c.workload == workload)


def _newest(connection: Connection) -> list[Row[Any]]:
    """Return the newest dossier of each workload."""
    d = t.dossiers.c
    numbers = select(func.max(d.number)).group_by(d.workload)
    return list(connection.execute(select(t.dossiers).where(d.number.in_(numbers))).all())


def _decided(row: Mapping[str, Any], dossier: Dossier) -> LedgerEvent:
    """Return the event of a dossier's row."""
    return decision(
        "dossier",
        **{name: row[name] for name in _ENTERED},
        models=[each.name for each in dossier.models],
        missing=[each.number for each in dossier.with_status("missing")],
        verdict=dossier.verdict_id,
        digest=document_digest(row["dossier"]),
    )


def encode_dossier(dossier: Dossier) -> str:
    """Return a dossier as JSON with sorted keys: equal dossiers give equal texts."""
    return msgspec.json.encode(dossier, order="deterministic").decode()


def _stored(row: Row[Any]) -> StoredDossier:
    try:
        found = msgspec.json.decode(row.dossier, type=Dossier)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise StoreError(
            f"dossier {row.id} cannot be read ({error})",
            code="dossier-unreadable",
            hint="restore the database from a copy, or make the dossier again",
        ) from error
    return StoredDossier(id=row.id, digest=document_digest(row.dossier), dossier=found, text=row.dossier)
