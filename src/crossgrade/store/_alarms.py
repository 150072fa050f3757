"""Stores delayed outcomes, alarms with their events, and the states of monitors."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, and_, desc, func, insert, select

from crossgrade.domain import JSON
from crossgrade.store import _tables as t
from crossgrade.store._answers import storable
from crossgrade.store._database import Database
from crossgrade.store._ledger import LedgerLog
from crossgrade.store._ledger_events import decision, document_digest
from crossgrade.store._live import Alarm, Feedback, WatchState
from crossgrade.store._records import utc_now
from crossgrade.store._served_runs import unmixed


class FeedbackLog:
    """Delayed outcomes reported by clients."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, feedback: Feedback | Sequence[Feedback]) -> None:
        """Commit outcomes in one transaction."""
        given = [feedback] if isinstance(feedback, Feedback) else feedback
        names = [column.name for column in t.feedback.c if column.name != "at"]
        rows = [
            {**{name: getattr(each, name) for name in names}, "at": each.at.isoformat()} for each in given
        ]
        if rows:
            with self._database.writing() as connection:
                connection.execute(insert(t.feedback), [storable(row) for row in rows])

    def unknown(self, name: str, *, after: datetime) -> int:
        """Return how many outcomes of a name were reported on responses that the gateway did not know."""
        f = t.feedback.c
        query = select(func.count()).where(f.name == name, f.route.is_(None), f.at > after.isoformat())
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def unaudited(
        self, route: str, name: str, scorer_digest: str, *, verdict_id: str | None, limit: int = 500
    ) -> list[Feedback]:
        """Return outcomes of a route under a certificate that are not audited yet, oldest first.

        Only the first outcome of each response is returned. Outcomes without a known model and probability
        are left out, and those of mixed runs.
        """
        f = t.feedback.c
        audited = and_(t.audits.c.source_id == f.response_id, t.audits.c.scorer_digest == scorer_digest)
        query = (
            select(t.feedback)
            .join(t.audits, audited, isouter=True)
            .where(f.route == route, f.name == name, f.verdict_id == verdict_id)
            .where(f.side.is_not(None), f.probability.is_not(None), t.audits.c.id.is_(None), unmixed(f.run))
            .order_by(f.at, f.id)
            .limit(limit)
        )
        first: dict[str, Feedback] = {}
        with self._database.reading() as connection:
            for row in connection.execute(query):
                first.setdefault(row.response_id, _feedback(row))
        return list(first.values())


class Alarms:
    """The alarms, their events, and the states of monitors between checks."""

    def __init__(self, database: Database, ledger: LedgerLog) -> None:
        self._database = database
        self._ledger = ledger

    def append(self, alarm: Alarm) -> None:
        """Record an alarm, in the ledger too."""
        document = msgspec.json.encode(alarm.detail).decode()
        row = {
            "id": alarm.id,
            "route": alarm.route,
            "verdict_id": alarm.verdict_id,
            "segment": alarm.segment,
            "kind": alarm.kind,
            "detail": document,
            "at": alarm.at.isoformat(),
        }
        with self._database.writing() as connection:
            connection.execute(insert(t.alarms), row)
            facts = {name: row[name] for name in ("id", "route", "verdict_id", "segment", "at")}
            detail = {"alarm": alarm.kind, "detail": alarm.detail, "digest": document_digest(document)}
            self._ledger.record(connection, [decision("alarm", **facts, **detail)])

    def append_event(self, alarm_id: str, kind: str, detail: Mapping[str, JSON] | None = None) -> None:
        """Record an event of an alarm: `stepped_down`, `delivered` or `undelivered`."""
        row = {
            "alarm_id": alarm_id,
            "kind": kind,
            "detail": msgspec.json.encode(detail or {}).decode(),
            "at": utc_now().isoformat(),
        }
        with self._database.writing() as connection:
            connection.execute(insert(t.alarm_events), row)
            if kind == "stepped_down":
                self._ledger.record(connection, [decision("step", alarm=alarm_id, **(detail or {}))])

    def recent(self, route: str | None = None, *, limit: int = 100) -> list[Alarm]:
        """Return alarms (of one route), newest first."""
        query = select(t.alarms).order_by(desc(t.alarms.c.at), desc(t.alarms.c.id)).limit(limit)
        if route is not None:
            query = query.where(t.alarms.c.route == route)
        with self._database.reading() as connection:
            return [_alarm(row) for row in connection.execute(query)]

    def count(self, route: str) -> int:
        """Return how many alarms a route has had."""
        query = select(func.count()).select_from(t.alarms).where(t.alarms.c.route == route)
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def without_event(self, kind: str, *, limit: int = 100) -> list[Alarm]:
        """Return alarms without an event of a kind, oldest first."""
        happened = and_(t.alarm_events.c.alarm_id == t.alarms.c.id, t.alarm_events.c.kind == kind)
        query = (
            select(t.alarms)
            .join(t.alarm_events, happened, isouter=True)
            .where(t.alarm_events.c.id.is_(None))
            .order_by(t.alarms.c.at, t.alarms.c.id)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [_alarm(row) for row in connection.execute(query)]

    def append_state(self, state: WatchState) -> None:
        """Record the state of a claim's monitors."""
        row = {
            "route": state.route,
            "verdict_id": state.verdict_id,
            "segment": state.segment,
            "scorer_digest": state.scorer_digest,
            "last_audit": state.last_audit,
            "state": msgspec.json.encode(state.state).decode(),
            "at": state.at.isoformat(),
        }
        with self._database.writing() as connection:
            connection.execute(insert(t.watch_states), row)

    def state(
        self, route: str, *, verdict_id: str | None, segment: str | None, scorer_digest: str
    ) -> WatchState | None:
        """Return the newest state of a claim's monitors, or None."""
        s = t.watch_states.c
        query = (
            select(t.watch_states)
            .where(s.route == route, s.verdict_id == verdict_id)
            .where(s.segment == segment, s.scorer_digest == scorer_digest)
            .order_by(desc(s.id))
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else _state(row)

    def states_under(self, prefix: str) -> list[WatchState]:
        """Return all states whose scorer digest begins with a prefix, of any route, oldest first."""
        s = t.watch_states.c
        query = select(t.watch_states).where(s.scorer_digest.startswith(prefix, autoescape=True))
        with self._database.reading() as connection:
            return [_state(row) for row in connection.execute(query.order_by(s.id))]

    def states(self, route: str, *, verdict_id: str, segment: str) -> dict[str, WatchState]:
        """Return the newest state of a claim's monitors for each scorer, by its digest."""
        s = t.watch_states.c
        newest = (
            select(func.max(s.id))
            .where(s.route == route, s.verdict_id == verdict_id, s.segment == segment)
            .group_by(s.scorer_digest)
        )
        with self._database.reading() as connection:
            rows = connection.execute(select(t.watch_states).where(s.id.in_(newest)))
            return {row.scorer_digest: _state(row) for row in rows}


def _feedback(row: Row[Any]) -> Feedback:
    return Feedback(**{**_fields(row), "at": datetime.fromisoformat(row.at)})


def _alarm(row: Row[Any]) -> Alarm:
    detail = msgspec.json.decode(row.detail)
    return Alarm(**{**_fields(row), "detail": detail, "at": datetime.fromisoformat(row.at)})


def _state(row: Row[Any]) -> WatchState:
    fields = _fields(row)
    del fields["id"]
    state = msgspec.json.decode(row.state)
    return WatchState(**{**fields, "state": state, "at": datetime.fromisoformat(row.at)})


def _fields(row: Row[Any]) -> dict[str, Any]:
    return dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a row as a mapping
