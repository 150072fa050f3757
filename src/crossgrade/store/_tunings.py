"""Stores tunings of candidates: what each began with, and its dated steps up to the one test."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
from sqlalchemy import Row, desc, insert, select

from crossgrade.domain import JSON, TuningKind
from crossgrade.errors import NotFoundError, StoreError
from crossgrade.store import _tables as t
from crossgrade.store._database import Database, process_lock
from crossgrade.store._records import new_id, utc_now

TuningStepKind: TypeAlias = Literal["asked", "trial", "proposed", "ended"]
"""Requests about samples were sent, a variant was tried on development items, a variant was proposed, and the
tuning ended: with the verdict on its test, or without a gain to test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The tuning of a candidate of a workload, with the settings that it began with.

    `settings` is everything that it depends on, as JSON: the division of the samples, what is tried, the
    variants as they were. It goes on only under the same `settings_digest`.
    """

    workload: str
    candidate: str
    kind: TuningKind
    settings: Mapping[str, JSON]
    settings_digest: str
    id: str = field(default_factory=new_id)
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningStep:
    """One step of a tuning; `number` counts the steps of its kind from 1."""

    tuning_id: str
    kind: TuningStepKind
    number: int = 1
    detail: Mapping[str, JSON] = field(default_factory=dict)
    at: datetime = field(default_factory=utc_now)


class Tunings:
    """The tunings of a store. Rows are added and never changed."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder

    def append(self, tuning: Tuning) -> None:
        """Record the begin of a tuning."""
        row = {
            "id": tuning.id,
            "workload": tuning.workload,
            "candidate": tuning.candidate,
            "kind": tuning.kind,
            "settings": _text(tuning.settings),
            "settings_digest": tuning.settings_digest,
            "at": tuning.at.isoformat(),
        }
        with self._database.writing() as connection:
            connection.execute(insert(t.tunings), row)

    def append_step(self, step: TuningStep) -> None:
        """Record a step."""
        row = {
            "tuning_id": step.tuning_id,
            "kind": step.kind,
            "number": step.number,
            "detail": _text(step.detail),
            "at": step.at.isoformat(),
        }
        with self._database.writing() as connection:
            connection.execute(insert(t.tuning_steps), row)

    def get(self, tuning_id: str) -> Tuning:
        """Return a tuning by its id. Raises `NotFoundError` for an unknown one."""
        with self._database.reading() as connection:
            row = connection.execute(select(t.tunings).where(t.tunings.c.id == tuning_id)).one_or_none()
        if row is None:
            raise NotFoundError(
                f"there is no tuning `{tuning_id}`",
                code="tuning-unknown",
                hint="restore the store from a copy that has it",
            )
        return _tuning(row)

    def recent(self, workload: str | None = None) -> list[Tuning]:
        """Return the tunings of candidates (of one workload), newest first."""
        query = select(t.tunings).order_by(desc(t.tunings.c.at), desc(t.tunings.c.id))
        if workload is not None:
            query = query.where(t.tunings.c.workload == workload)
        with self._database.reading() as connection:
            return [_tuning(row) for row in connection.execute(query)]

    def steps(self, tuning_id: str, *kinds: TuningStepKind) -> list[TuningStep]:
        """Return the steps of a tuning, of some kinds or of all, in the order of their recording."""
        s = t.tuning_steps.c
        query = select(t.tuning_steps).where(s.tuning_id == tuning_id).order_by(s.id)
        query = query.where(s.kind.in_(kinds)) if kinds else query
        with self._database.reading() as connection:
            return [_step(row) for row in connection.execute(query)]

    @contextmanager
    def tuning(self, workload: str) -> Iterator[None]:
        """Lock the tunings of a workload during a `with` block. Raises `StoreError` if they are locked."""
        path = self._folder / "locks" / f"tuning-{workload}.lock"
        with process_lock(self._database, f"tuning of {workload}", path) as free:
            if not free:
                raise StoreError(
                    f"another process is tuning a candidate of {workload}",
                    code="tuning-locked",
                    hint="wait for it to end, or stop it: then it goes on where it was",
                )
            yield


def _text(tree: Mapping[str, JSON]) -> str:
    return msgspec.json.encode(tree, order="deterministic").decode()


def _tuning(row: Row[Any]) -> Tuning:
    return Tuning(
        id=row.id,
        workload=row.workload,
        candidate=row.candidate,
        kind=row.kind,
        settings=msgspec.json.decode(row.settings),
        settings_digest=row.settings_digest,
        at=datetime.fromisoformat(row.at),
    )


def _step(row: Row[Any]) -> TuningStep:
    return TuningStep(
        tuning_id=row.tuning_id,
        kind=row.kind,
        number=row.number,
        detail=msgspec.json.decode(row.detail),
        at=datetime.fromisoformat(row.at),
    )
