"""Stores conformity checks of offers, and the daily looks that continue them."""

from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar

import msgspec
from sqlalchemy import Select, desc, insert, select

from crossgrade.domain import ConformDay, ConformLook, ConformRecord, Offer
from crossgrade.store import _tables as t
from crossgrade.store._answers import as_written
from crossgrade.store._database import Database

LookT = TypeVar("LookT", ConformDay, ConformLook)


class ConformRecords:
    """The conformity checks of a store and their daily looks. Rows are added and never changed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, record: ConformRecord) -> None:
        """Keep a check."""
        row = {"id": record.id, "offer": record.offer, "record": _text(record), "at": record.at.isoformat()}
        with self._database.writing() as connection:
            connection.execute(insert(t.conform_checks), row)

    def append_day(self, day: ConformDay) -> None:
        """Keep a daily look."""
        row = {"check_id": day.check_id, "offer": day.offer, "record": _text(day), "at": day.at.isoformat()}
        with self._database.writing() as connection:
            connection.execute(insert(t.conform_days), row)

    def has(self, check_id: str) -> bool:
        """Return whether a check has ended and is kept."""
        query = select(t.conform_checks.c.id).where(t.conform_checks.c.id == check_id)
        with self._database.reading() as connection:
            return connection.execute(query).first() is not None

    def recent(self, offer: str | None = None, *, limit: int = 100) -> list[ConformRecord]:
        """Return checks (of one offer), newest first."""
        c = t.conform_checks.c
        query = select(c.id, c.record).order_by(desc(c.at), desc(c.id)).limit(limit)
        if offer is not None:
            query = query.where(c.offer == offer)
        with self._database.reading() as connection:
            rows = list(connection.execute(query))
        return [_record(row.id, row.record) for row in rows]

    def newest(self, offers: Iterable[Offer]) -> dict[str, ConformRecord]:
        """Return the newest check of each offer by name; those of another model or address do not count."""
        found: dict[str, ConformRecord] = {}
        for offer in offers:
            own = (each for each in self.recent(offer.name) if each.fingerprint.is_of(offer))
            if (record := next(own, None)) is not None:
                found[offer.name] = record
        return found

    def days(self, check_id: str) -> list[ConformDay]:
        """Return the daily looks that continue a check, with their answers, oldest first."""
        return self._of_check(check_id, ConformDay)

    def looks(self, check_id: str) -> list[ConformLook]:
        """Return the daily looks that continue a check, oldest first, without reading their answers."""
        return self._of_check(check_id, ConformLook)

    def looks_since(self, at: datetime) -> list[ConformLook]:
        """Return the daily looks at all models after a time."""
        d = t.conform_days.c
        # The text of a time without a fraction of a second sorts before the others of its second.
        query = select(d.record).where(d.at >= at.replace(microsecond=0).isoformat()[:19])
        return [each for each in self._decoded(query, ConformLook) if each.at > at]

    def _of_check(self, check_id: str, kind: type[LookT]) -> list[LookT]:
        d = t.conform_days.c
        return self._decoded(select(d.record).where(d.check_id == check_id).order_by(d.id), kind)

    def _decoded(self, query: Select[tuple[str]], kind: type[LookT]) -> list[LookT]:
        with self._database.reading() as connection:
            rows = list(connection.execute(query))
        decode = msgspec.json.Decoder(kind).decode
        with as_written(f"a daily look in {self._database.place}"):
            return [decode(row.record) for row in rows]


def _text(record: ConformRecord | ConformDay) -> str:
    return msgspec.json.encode(record).decode()


def _record(check_id: str, text: str) -> ConformRecord:
    with as_written(f"conformity check {check_id}"):
        return msgspec.json.decode(text, type=ConformRecord)
