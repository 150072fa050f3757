"""Stores dossiers as they were made, and writes the gateway's `dossiers.json`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, desc, func, insert, select

from crossgrade.domain import JSON, Dossier
from crossgrade.errors import NotFoundError, StoreError
from crossgrade.identity import DossierMark, dossiers_bytes
from crossgrade.store import _tables as t
from crossgrade.store._database import Database, announce, file_lock
from crossgrade.store._keys import replace_private
from crossgrade.store._ledger import LedgerLog
from crossgrade.store._ledger_events import decision, document_digest
from crossgrade.store._records import LATEST, new_id, utc_now

_ENTERED = ("id", "workload", "made_at", "valid_until")
"""The columns that the ledger has too."""


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
            verdict_id=self.dossier.verdict_id,
            lacks=self.dossier.lacks,
            models={each.name: dict(each.basis) for each in self.dossier.models},
        )


class DossierRecords:
    """The dossiers of a store. Rows are added and never changed.

    Each is entered into the ledger. Then `dossiers.json` is replaced as a whole, and the gateway asks for the
    dossiers in the new file.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self._ledger = LedgerLog(database, folder)

    @property
    def path(self) -> Path:
        """The file that the gateway loads."""
        return self._folder / "dossiers.json"

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
        facts = {name: row[name] for name in _ENTERED}
        event = decision(
            "dossier",
            **facts,
            models=[each.name for each in dossier.models],
            missing=[each.number for each in dossier.with_status("missing")],
            verdict=dossier.verdict_id,
            digest=stored.digest,
        )
        with file_lock(self._lock, wait=True):
            with self._database.writing() as connection:
                connection.execute(insert(t.dossiers), row)
                announce(connection)
                self._ledger.record(connection, [event])
            self._write()
        return stored

    def get(self, dossier_id: str) -> StoredDossier:
        """Return the dossier with an id, or the only one whose id begins with it; `latest` is the newest.

        Raises `NotFoundError` for an unknown or ambiguous id.
        """
        if dossier_id == LATEST and (newest := self.recent(limit=1)):
            return newest[0]
        query = select(t.dossiers).where(t.dossiers.c.id.startswith(dossier_id, autoescape=True)).limit(2)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        if len(rows) != 1:
            seen = f"two dossiers begin `{dossier_id}`" if rows else f"there is no dossier `{dossier_id}`"
            code = "dossier-ambiguous" if rows else "dossier-unknown"
            raise NotFoundError(seen, code=code, hint="make one with `crossgrade dossier WORKLOAD`")
        return _stored(rows[0])

    def recent(self, workload: str | None = None, *, limit: int = 100) -> list[StoredDossier]:
        """Return dossiers (of one workload), newest first."""
        query = select(t.dossiers).order_by(desc(t.dossiers.c.number)).limit(limit)
        if workload is not None:
            query = query.where(t.dossiers.c.workload == workload)
        with self._database.reading() as connection:
            return [_stored(row) for row in connection.execute(query)]

    def newest(self) -> list[StoredDossier]:
        """Return the newest dossier of each workload."""
        with self._database.reading() as connection:
            return [_stored(row) for row in _newest(connection)]

    def documents(self) -> Iterator[tuple[str, dict[str, JSON]]]:
        """Yield the id of every dossier, and what its entry in the ledger must say."""
        query = select(t.dossiers).order_by(t.dossiers.c.number)
        with self._database.reading() as connection:
            for row in connection.execute(query.execution_options(yield_per=100)):
                facts: dict[str, JSON] = {name: getattr(row, name) for name in _ENTERED}
                yield row.id, {**facts, "digest": document_digest(row.dossier)}

    def publish(self) -> None:
        """Write `dossiers.json` from the database, at a start and after changes on other machines."""
        with file_lock(self._lock, wait=True):
            self._write()

    def is_published(self) -> bool:
        """Return whether `dossiers.json` is what the database has, or what no gateway reads here: not there.

        On machines that share a database the file may be behind, and is not compared.
        """
        if self._database.engine.dialect.name != "sqlite":
            return True
        with file_lock(self._lock, wait=True):
            try:
                expected = dossiers_bytes(each.mark for each in self.newest())
            except StoreError:
                return False  # rows that nobody wrote here
            try:
                with self.path.open("rb") as file:
                    return file.read(len(expected) + 1) == expected
            except FileNotFoundError:
                return True

    @property
    def _lock(self) -> Path:
        return self._folder / "locks" / "dossiers.lock"

    def _write(self) -> None:
        marks = [each.mark for each in self.newest()]
        try:
            replace_private(self.path, dossiers_bytes(marks))
        except OSError as error:
            raise StoreError(
                f"the dossiers cannot be written to {self.path} ({error.strerror})",
                code="dossiers-unwritable",
                hint="check the folder's owner, its permissions and the free space",
            ) from error


def _newest(connection: Connection) -> list[Row[Any]]:
    """Return the newest dossier of each workload."""
    d = t.dossiers.c
    numbers = select(func.max(d.number)).group_by(d.workload)
    return list(connection.execute(select(t.dossiers).where(d.number.in_(numbers))).all())


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
