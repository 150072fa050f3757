"""Stores who labels: raters, their one-time links and sessions, of which only digests are kept."""

from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Row, insert, select
from sqlalchemy.exc import IntegrityError

from crossgrade.store import _tables as t
from crossgrade.store._database import Database
from crossgrade.store._label_records import Rater, RaterEventKind
from crossgrade.store._records import utc_now


class RaterLink(NamedTuple):
    """A link's rater, until when it holds, and whether it was used."""

    rater: Rater
    is_used: bool


class Raters:
    """The raters of a store. A secret is given to the person it is for, and never stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, rater: Rater, link: str) -> None:
        """Record a rater with a first link, which holds until the rater's `ends_at`."""
        row = {
            "id": rater.id,
            "subject": rater.subject,
            "name": rater.name,
            "is_owner": rater.is_owner,
            "quota": rater.quota,
            "at": rater.at.isoformat(),
        }
        with self._database.writing() as connection:
            connection.execute(insert(t.label_raters), row)
            connection.execute(insert(t.label_links), _link_row(rater.id, link, rater.ends_at))

    def append_link(self, rater_id: str, link: str, ends_at: datetime) -> None:
        """Give a rater another link, for instance for another browser."""
        with self._database.writing() as connection:
            connection.execute(insert(t.label_links), _link_row(rater_id, link, ends_at))

    def append_event(self, rater_id: str, kind: RaterEventKind) -> None:
        """Record that a rater was suspended or resumed."""
        row = {"rater_id": rater_id, "kind": kind, "at": utc_now().isoformat()}
        with self._database.writing() as connection:
            connection.execute(insert(t.label_rater_events), row)

    def of_subject(self, subject: str) -> list[Rater]:
        """Return the raters of a subject, oldest first, each with the end of the link that ends last."""
        r, links = t.label_raters.c, t.label_links.c
        query = (
            select(t.label_raters, links.ends_at)
            .join(t.label_links, links.rater_id == r.id)
            .where(r.subject == subject)
            .order_by(r.at, r.id, links.ends_at)
        )
        with self._database.reading() as connection:
            found = {row.id: _rater(row) for row in connection.execute(query)}  # the last end comes last
            suspended = self._suspended(connection, list(found))
        return [replace(each, is_suspended=each.id in suspended) for each in found.values()]

    def entered(self, subject: str) -> dict[str, datetime]:
        """Return when the raters of a subject first entered, by the rater's id."""
        r, links, s = t.label_raters.c, t.label_links.c, t.label_sessions.c
        query = (
            select(r.id, s.at)
            .join(t.label_links, links.rater_id == r.id)
            .join(t.label_sessions, s.link_digest == links.digest)
            .where(r.subject == subject)
            .order_by(s.at.desc())
        )
        with self._database.reading() as connection:
            return {row.id: datetime.fromisoformat(row.at) for row in connection.execute(query)}

    def of_link(self, link: str) -> RaterLink | None:
        """Return whose link this is, None if it is not known."""
        r, links, s = t.label_raters.c, t.label_links.c, t.label_sessions.c
        query = (
            select(t.label_raters, links.ends_at, s.digest.label("session"))
            .join(t.label_links, links.rater_id == r.id)
            .join(t.label_sessions, s.link_digest == links.digest, isouter=True)
            .where(links.digest == secret_digest(link))
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            rater = replace(_rater(row), is_suspended=bool(self._suspended(connection, [row.id])))
        return RaterLink(rater=rater, is_used=row.session is not None)

    def use_link(self, link: str, session: str) -> bool:
        """Use up a link for a session. Return False if it was used before, even at the same moment."""
        row = {
            "link_digest": secret_digest(link),
            "digest": secret_digest(session),
            "at": utc_now().isoformat(),
        }
        with self._database.plainly(), self._database.engine.connect() as connection:
            try:
                connection.execute(insert(t.label_sessions), row)
                connection.commit()
            except IntegrityError:
                return False
        return True

    def of_session(self, session: str) -> Rater | None:
        """Return the rater of a session, None if it is not known. It ends with the link that it came from."""
        r, links, s = t.label_raters.c, t.label_links.c, t.label_sessions.c
        query = (
            select(t.label_raters, links.ends_at)
            .join(t.label_links, links.rater_id == r.id)
            .join(t.label_sessions, s.link_digest == links.digest)
            .where(s.digest == secret_digest(session))
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            return replace(_rater(row), is_suspended=bool(self._suspended(connection, [row.id])))

    @staticmethod
    def _suspended(connection: Any, rater_ids: list[str]) -> set[str]:
        e = t.label_rater_events.c
        query = select(e.rater_id, e.kind).where(e.rater_id.in_(rater_ids)).order_by(e.id)
        newest = {row.rater_id: row.kind for row in connection.execute(query)}
        return {rater for rater, kind in newest.items() if kind == "suspended"}


def secret_digest(secret: str) -> str:
    """Return the SHA-256 of a secret, which is long and random enough to need no salt."""
    return sha256(secret.encode()).hexdigest()


def _link_row(rater_id: str, link: str, ends_at: datetime) -> dict[str, str]:
    return {
        "digest": secret_digest(link),
        "rater_id": rater_id,
        "ends_at": ends_at.isoformat(),
        "at": utc_now().isoformat(),
    }


def _rater(row: Row[Any]) -> Rater:
    return Rater(
        id=row.id,
        subject=row.subject,
        name=row.name,
        is_owner=row.is_owner,
        quota=row.quota,
        ends_at=datetime.fromisoformat(row.ends_at),
        at=datetime.fromisoformat(row.at),
    )
