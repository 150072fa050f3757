"""Stores what the gateway remembers of agents' runs: what the first request of each got, and which are mixed.

All brokers of a database share it, so a run may go on at another machine.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, or_, select, text, update

from crossgrade.store import _tables as t
from crossgrade.store._database import Database, open_database
from crossgrade.store._records import utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRun:
    """A run of an agent on a route that keeps runs together.

    `id` is a digest of route, caller and the caller's name for the run. `start` has, as JSON, what the
    gateway picked for its first request. `is_mixed` says that more than one model may have answered it,
    `is_down` that it began with the candidate and is the incumbent's since.
    """

    id: str
    route: str
    start: str
    is_mixed: bool = False
    is_down: bool = False


class ServedRuns:
    """The runs that the gateways of a database have served."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url_or_path: str | Path) -> Self:
        """Open the database like `Store.open`, without the imports that only other records need."""
        return cls(open_database(url_or_path)[0])

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def begin(self, runs: Sequence[ServedRun], *, since: datetime) -> dict[str, ServedRun]:
        """Return each run as it is remembered, by its id; one that is not known is remembered as given.

        One that began before `since` is forgotten, and begins again.
        """
        ids = [run.id for run in runs]
        with self._database.reading() as connection:
            found = _read(connection, ids, since)
        new = [run for run in runs if run.id not in found]
        if not new:
            return found
        now = utc_now().isoformat()
        s = t.served_runs.c
        with self._database.writing() as connection:
            connection.execute(delete(t.served_runs).where(s.id.in_(ids), s.at < since.isoformat()))
            connection.execute(_REMEMBER, [{**asdict(run), "at": now} for run in new])
            # Another broker may have been first.
            return _read(connection, ids, since)

    def mix(self, ids: Sequence[str]) -> Mapping[str, int]:
        """Note that more than one model may have answered these runs; return by route how many are new."""
        s = t.served_runs.c
        new = and_(s.id.in_(ids), s.is_mixed.is_(False))
        with self._database.writing() as connection:
            routes = Counter(connection.execute(select(s.route).where(new)).scalars())
            connection.execute(update(t.served_runs).where(new).values(is_mixed=True))
        return routes

    def step_down(self, ids: Sequence[str]) -> None:
        """Note that the incumbent answers these runs from now on."""
        with self._database.writing() as connection:
            connection.execute(update(t.served_runs).where(t.served_runs.c.id.in_(ids)).values(is_down=True))

    def get(self, id_: str) -> ServedRun | None:
        """Return a run as it is remembered, None if it is not."""
        with self._database.reading() as connection:
            return _read(connection, [id_], None).get(id_)

    def forget(self, *, before: datetime, most: int) -> None:
        """Forget runs that began before a time, and the oldest of more than `most`.

        Mixed runs that live pairs or outcomes belong to are kept, so that these stay out of the evidence.
        """
        s = t.served_runs.c
        last = select(s.at).order_by(s.at.desc()).offset(most).limit(1).scalar_subquery()
        is_needed = and_(
            s.is_mixed, or_(*(exists().where(each.c.run == s.id) for each in (t.pairs, t.feedback)))
        )
        with self._database.writing() as connection:
            connection.execute(
                delete(t.served_runs).where(or_(s.at < before.isoformat(), s.at <= last), ~is_needed)
            )


def unmixed(run: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a row's column `run` names no mixed run."""
    s = t.served_runs.c
    return or_(run.is_(None), run.not_in(select(s.id).where(s.is_mixed)))


def _read(connection: Connection, ids: Sequence[str], since: datetime | None) -> dict[str, ServedRun]:
    s = t.served_runs.c
    query = select(s.id, s.route, s.start, s.is_mixed, s.is_down).where(s.id.in_(ids))
    if since is not None:
        query = query.where(s.at >= since.isoformat())
    return {row.id: ServedRun(**row._mapping) for row in connection.execute(query)}  # noqa: SLF001 - SQLAlchemy's public way to a row as a mapping


# Plain SQL, the same on SQLite and PostgreSQL.
_REMEMBER = text(
    "INSERT INTO served_runs (id, route, start, is_mixed, is_down, at) "
    "VALUES (:id, :route, :start, :is_mixed, :is_down, :at) ON CONFLICT DO NOTHING"
)
