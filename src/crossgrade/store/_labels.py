"""Stores what people label: the draws, and what raters did, in the order in which it was recorded."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import msgspec
import zstandard
from sqlalchemy import Connection, Row, Table, distinct, exists, func, insert, select
from sqlalchemy.exc import IntegrityError

from crossgrade.errors import StoreError, UsageError
from crossgrade.store import _tables as t
from crossgrade.store._database import Database
from crossgrade.store._label_records import LabelAction, LabelDraw

_LARGEST_DRAW = 500_000_000
_LOOKUP = 500


class _Items(msgspec.Struct):
    """The items of a draw as stored: the drawn ones in order, and the probability of every one."""

    drawn: tuple[str, ...]
    probabilities: dict[str, float]


class LabelRecords:
    """The draws and actions of a store's labelling."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append_draw(self, draw: LabelDraw) -> bool:
        """Record a draw, which is in force from then on, and return True.

        It is in force even if the clock was set back since the last. Return False if one with its id is
        recorded, because another process was faster.
        """
        items = _Items(draw.items, dict(draw.probabilities))
        row = {
            "id": draw.id,
            "subject": draw.subject,
            "kind": draw.kind,
            "scale": draw.scale,
            "seed": draw.seed,
            "settings": msgspec.json.encode(draw.settings).decode(),
            "items": zstandard.compress(msgspec.json.encode(items)),
            "at": draw.at.isoformat(),
        }
        newest = select(func.max(t.label_draws.c.at)).where(t.label_draws.c.subject == draw.subject)
        with self._database.reading() as connection:
            last = connection.execute(newest).scalar()
        if last is not None and row["at"] <= last:
            row["at"] = (datetime.fromisoformat(last) + timedelta(microseconds=1)).isoformat()
        return self._append_once(t.label_draws, row)

    def draws(self, subject: str) -> list[LabelDraw]:
        """Return the draws of a subject, oldest first. Raises `StoreError` for one that is damaged."""
        d = t.label_draws.c
        query = select(t.label_draws).where(d.subject == subject).order_by(d.at, d.id)
        with self._database.reading() as connection:
            return [_draw(row) for row in connection.execute(query)]

    def newest_draw(self, subject: str) -> LabelDraw | None:
        """Return the draw of a subject that is in force, None if there is none."""
        found = self.draws(subject)
        return found[-1] if found else None

    def append(self, action: LabelAction, *, quota: int | None = None) -> bool:
        """Record an action and return True, or return False if one with its id is recorded.

        When it returns, the action is on the disk. `quota` is how many items its rater may label or skip:
        UsageError `label-quota-reached` for one more, also where several processes record at the same moment.
        """
        row = {
            "id": action.id,
            "subject": action.subject,
            "item": action.item,
            "rater_id": action.rater_id,
            "kind": action.kind,
            "scores": None if action.scores is None else msgspec.json.encode(action.scores).decode(),
            "reason": action.reason,
            "note": action.note.replace("\0", "\ufffd"),
            "undoes": action.undoes,
            "shown_at": None if action.shown_at is None else action.shown_at.isoformat(),
            "at": action.at.isoformat(),
        }
        return self._append_once(t.label_actions, row) if quota is None else self._append_within(row, quota)

    def _append_within(self, row: dict[str, Any], quota: int) -> bool:
        """Insert an action unless it is there or its rater has as many items as the quota."""
        a, rater = t.label_actions.c, t.label_raters.c.id
        with self._database.writing() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(select(rater).where(rater == row["rater_id"]).with_for_update())
            if connection.execute(select(exists().where(a.id == row["id"]))).scalar():
                return False
            if self._items_of(connection, row, quota) >= quota:
                raise UsageError(
                    f"you have labelled {quota} items, which is the quota",
                    code="label-quota-reached",
                    hint="ask whoever sent the link to raise it",
                )
            connection.execute(insert(t.label_actions), row)
        return True

    @staticmethod
    def _items_of(connection: Connection, row: dict[str, Any], enough: int) -> int:
        """Count the items that the rater of an action has labelled or skipped, besides the action's own.

        Below `enough` the count may be too large by those that were taken back or labelled again.
        """
        a = t.label_actions.c
        own = (a.subject == row["subject"], a.rater_id == row["rater_id"])
        at_most = select(func.count()).where(*own, a.kind != "undo")
        found = int(connection.execute(at_most).scalar_one())
        if found < enough:
            return found
        undone = select(a.undoes).where(*own, a.kind == "undo", a.undoes.is_not(None))
        items = select(func.count(distinct(a.item))).where(
            *own, a.kind != "undo", a.item != row["item"], a.id.not_in(undone)
        )
        return int(connection.execute(items).scalar_one())

    def _append_once(self, table: Table, row: dict[str, Any]) -> bool:
        """Insert a row and return True, or return False if one with its id is there."""
        with self._database.plainly(), self._database.engine.connect() as connection:
            try:
                connection.execute(insert(table), row)
                connection.commit()
            except IntegrityError:
                connection.rollback()
                if connection.execute(select(exists().where(table.c.id == row["id"]))).scalar():
                    return False
                raise
        return True

    @property
    def are_in_order(self) -> bool:
        """Whether actions are committed in the order of their numbers, as on SQLite, which has one writer."""
        return self._database.engine.dialect.name == "sqlite"

    def actions(self, subject: str, *, after: int = 0) -> list[LabelAction]:
        """Return the actions on a subject with a number above `after`, in the order of their numbers.

        If not `are_in_order`, one may be committed after one with a higher number: compare with `count`.
        """
        a = t.label_actions.c
        query = select(t.label_actions).where(a.subject == subject, a.number > after).order_by(a.number)
        with self._database.reading() as connection:
            return [_action(row) for row in connection.execute(query)]

    def action(self, action_id: str) -> LabelAction | None:
        """Return an action by the id that the page gave it, None if it is not recorded."""
        query = select(t.label_actions).where(t.label_actions.c.id == action_id)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _action(row)

    def count(self, subject: str) -> int:
        """Return the number of actions on a subject."""
        query = select(func.count()).where(t.label_actions.c.subject == subject)
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def audited(self, items: Collection[str], scorer_digest: str) -> set[str]:
        """Return which of some live pairs a scorer has audited."""
        found: set[str] = set()
        a, wanted = t.audits.c, list(items)
        with self._database.reading() as connection:
            for start in range(0, len(wanted), _LOOKUP):
                part = wanted[start : start + _LOOKUP]
                query = select(a.source_id).where(a.source_id.in_(part), a.scorer_digest == scorer_digest)
                found.update(connection.execute(query).scalars())
        return found


def _draw(row: Row[Any]) -> LabelDraw:
    try:
        content = zstandard.decompress(row.items, max_output_size=_LARGEST_DRAW)
        items = msgspec.json.decode(content, type=_Items)
        settings = msgspec.json.decode(row.settings)
    except (zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise StoreError(
            f"the draw {row.id} of labels is damaged ({error})",
            code="label-draw-damaged",
            hint="restore the store from a copy",
        ) from error
    return LabelDraw(
        id=row.id,
        subject=row.subject,
        kind=row.kind,
        scale=row.scale,
        seed=row.seed,
        items=items.drawn,
        probabilities=items.probabilities,
        settings=settings,
        at=datetime.fromisoformat(row.at),
    )


def _action(row: Row[Any]) -> LabelAction:
    return LabelAction(
        id=row.id,
        subject=row.subject,
        item=row.item,
        rater_id=row.rater_id,
        kind=row.kind,
        scores=None if row.scores is None else msgspec.json.decode(row.scores, type=tuple[float, ...]),
        reason=row.reason,
        note=row.note,
        undoes=row.undoes,
        shown_at=None if row.shown_at is None else datetime.fromisoformat(row.shown_at),
        number=row.number,
        at=datetime.fromisoformat(row.at),
    )
