"""Stores runs, their designs, events and batches, and derives their status."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Row, desc, func, insert, select

from crossgrade.decide import RunDesign
from crossgrade.domain import JSON, sum_usd
from crossgrade.errors import NotFoundError, StoreError
from crossgrade.store import _tables as t
from crossgrade.store._answers import money
from crossgrade.store._database import Database, process_lock
from crossgrade.store._records import LATEST, Batch, ProbeStart, Run, RunStatus, RunTotals, new_id, utc_now


class Runs:
    """The runs of a store."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder

    def append(self, run: Run, design: RunDesign | None = None) -> None:
        """Record a new run and its design."""
        row = {
            "id": run.id,
            "workload": run.workload,
            "dataset_digest": run.dataset_digest,
            "settings": msgspec.json.encode(run.settings, order="deterministic").decode(),
            "settings_digest": run.settings_digest,
            "seed": run.seed,
            "planned": run.planned,
            "created_at": run.created_at.isoformat(),
        }
        with self._database.writing() as connection:
            connection.execute(insert(t.runs), row)
            if design is not None:
                connection.execute(insert(t.designs), _design_row(run.id, design))

    def append_design(self, run_id: str, design: RunDesign) -> None:
        """Record a new design of the run. The newest one counts."""
        with self._database.writing() as connection:
            connection.execute(insert(t.designs), _design_row(run_id, design))

    def design(self, run_id: str) -> RunDesign | None:
        """Return the newest design of the run, or None for a run from before designs were recorded."""
        query = (
            select(t.designs.c.design)
            .where(t.designs.c.run_id == run_id)
            .order_by(desc(t.designs.c.id))
            .limit(1)
        )
        with self._database.reading() as connection:
            found = connection.execute(query).scalar()
        return None if found is None else msgspec.json.decode(found, type=RunDesign)

    def append_event(self, run_id: str, status: RunStatus, detail: Mapping[str, JSON] | None = None) -> None:
        """Record that the run has reached `status`, with details."""
        row = {
            "run_id": run_id,
            "kind": status.value,
            "detail": msgspec.json.encode(detail or {}).decode(),
            "at": utc_now().isoformat(),
        }
        with self._database.writing() as connection:
            connection.execute(insert(t.run_events), row)

    def get(self, run_id: str, workload: str | None = None) -> Run:
        """Return the run with an id, or the only run whose id begins with it.

        `latest` is the newest run (of one workload). Raises `NotFoundError` for an unknown or ambiguous id.
        """
        if run_id == LATEST and (newest := self.recent(workload)[:1]):
            return newest[0]
        query = select(t.runs).where(t.runs.c.id.startswith(run_id, autoescape=True)).limit(2)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        if not rows:
            raise NotFoundError(
                f"there is no run `{run_id}`", code="run-unknown", hint="`crossgrade runs` lists them"
            )
        if len(rows) > 1:
            raise NotFoundError(
                f"more than one run begins with `{run_id}`", code="run-ambiguous", hint="give more of the id"
            )
        return _run(rows[0])

    def recent(self, workload: str | None = None) -> list[Run]:
        """Return the runs (of one workload), newest first."""
        query = select(t.runs).order_by(desc(t.runs.c.created_at), desc(t.runs.c.id))
        if workload is not None:
            query = query.where(t.runs.c.workload == workload)
        with self._database.reading() as connection:
            return [_run(row) for row in connection.execute(query)]

    def append_probe(self, probe: ProbeStart) -> None:
        """Record the start of a context probe."""
        row = {
            "id": probe.id,
            "offer": probe.offer,
            "settings_digest": probe.settings_digest,
            "at": probe.at.isoformat(),
        }
        with self._database.writing() as connection:
            connection.execute(insert(t.probes), row)

    def probe(self, probe_id: str) -> ProbeStart | None:
        """Return the start of a context probe, or None for an unknown id."""
        with self._database.reading() as connection:
            row = connection.execute(select(t.probes).where(t.probes.c.id == probe_id)).one_or_none()
        if row is None:
            return None
        return ProbeStart(
            id=row.id,
            offer=row.offer,
            settings_digest=row.settings_digest,
            at=datetime.fromisoformat(row.at),
        )

    def append_batch(self, batch: Batch) -> None:
        """Record a batch that was submitted for a run or probe."""
        row = {
            "id": new_id(),
            "run_id": batch.run_id,
            "offer": batch.offer,
            "batch": batch.batch,
            "request_digests": msgspec.json.encode(batch.request_digests).decode(),
            "at": batch.at.isoformat(),
        }
        with self._database.writing() as connection:
            connection.execute(insert(t.batches), row)

    def batches(self, run_id: str) -> list[Batch]:
        """Return the batches that were submitted for a run or probe, oldest first."""
        query = select(t.batches).where(t.batches.c.run_id == run_id).order_by(t.batches.c.id)
        with self._database.reading() as connection:
            return [
                Batch(
                    run_id=row.run_id,
                    offer=row.offer,
                    batch=row.batch,
                    request_digests=msgspec.json.decode(row.request_digests, type=tuple[str, ...]),
                    at=datetime.fromisoformat(row.at),
                )
                for row in connection.execute(query)
            ]

    def endings(self, run_id: str) -> tuple[str, ...]:
        """Return the reason of each time that the run finished: "certain", "planned" or "futile"."""
        query = (
            select(t.run_events.c.detail)
            .where(t.run_events.c.run_id == run_id, t.run_events.c.kind == RunStatus.FINISHED.value)
            .order_by(t.run_events.c.id)
        )
        with self._database.reading() as connection:
            details = [msgspec.json.decode(each) for each in connection.execute(query).scalars()]
        return tuple(str(each["ending"]) for each in details if "ending" in each)

    def lost_usd(self, run_id: str) -> Decimal:
        """Return what all parts of the run spent on calls without an answer, but for one that was killed."""
        query = select(t.run_events.c.detail).where(t.run_events.c.run_id == run_id)
        with self._database.reading() as connection:
            details = [msgspec.json.decode(each) for each in connection.execute(query).scalars()]
        return sum((Decimal(str(each["lost_usd"])) for each in details if "lost_usd" in each), Decimal(0))

    def status(self, run_id: str) -> RunStatus:
        """Return the run's status, from its last event and, if it has not ended, from its lock."""
        query = (
            select(t.run_events.c.kind)
            .where(t.run_events.c.run_id == run_id)
            .order_by(desc(t.run_events.c.id))
            .limit(1)
        )
        with self._database.reading() as connection:
            kind = connection.execute(query).scalar()
        status = RunStatus.KILLED if kind is None else RunStatus(kind)
        if status is not RunStatus.RUNNING:
            return status
        path = self._folder / "locks" / f"{run_id}.lock"
        with process_lock(self._database, f"run {run_id}", path) as free:
            return RunStatus.KILLED if free else RunStatus.RUNNING

    def totals(self, run_id: str) -> RunTotals:
        """Return the counts of the run's answers and their total cost, including judges."""
        keys = (t.answers.c.run_id, t.answers.c.sample_id, t.answers.c.model, t.answers.c.epoch)
        last = (
            select(*keys, func.max(t.answers.c.attempt).label("attempt"))
            .where(t.answers.c.run_id == run_id)
            .group_by(*keys)
            .subquery()
        )
        query = (
            select(
                t.answers.c.reused, t.answers.c.error_kind, t.responses.c.cost_usd, t.answers.c.response_id
            )
            .join_from(last, t.answers, _same(last, t.answers))
            .join(t.responses, t.answers.c.response_id == t.responses.c.id, isouter=True)
        )
        judged = select(t.scores.c.cost_usd).where(t.scores.c.run_id == run_id)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
            judge_costs = [row.cost_usd for row in connection.execute(judged)]
        costs = [row.cost_usd for row in rows if row.response_id is not None and not row.reused] + judge_costs
        return RunTotals(
            answers=len(rows),
            errors=sum(row.error_kind is not None for row in rows),
            reused=sum(row.reused for row in rows),
            spent_usd=sum_usd(map(money, costs)),
        )

    def answered(self, run_id: str) -> tuple[frozenset[str], datetime | None]:
        """Return the ids of samples with answers, and the time of the last answer or score (None: none)."""
        with self._database.reading() as connection:
            rows = [
                row
                for table in (t.answers, t.scores)
                for row in connection.execute(
                    select(table.c.sample_id, func.max(table.c.at).label("at"))
                    .where(table.c.run_id == run_id)
                    .group_by(table.c.sample_id)
                )
            ]
        last = max((datetime.fromisoformat(row.at) for row in rows), default=None)
        return frozenset(row.sample_id for row in rows), last

    @contextmanager
    def lock(self, run_id: str) -> Iterator[None]:
        """Lock the run or probe during a `with` block. Raises `StoreError` if another process has it."""
        path = self._folder / "locks" / f"{run_id}.lock"
        with process_lock(self._database, f"run {run_id}", path) as free:
            if not free:
                raise StoreError(
                    f"another process is working on run {run_id}",
                    code="run-locked",
                    hint="wait for it to end, or stop it: then resume the run",
                )
            yield


def _design_row(run_id: str, design: RunDesign) -> dict[str, object]:
    return {
        "run_id": run_id,
        "design": msgspec.json.encode(design).decode(),
        "at": utc_now().isoformat(),
    }


def _same(left: Any, right: Any) -> Any:
    names = ("run_id", "sample_id", "model", "epoch", "attempt")
    condition = left.c[names[0]] == right.c[names[0]]
    for name in names[1:]:
        condition &= left.c[name] == right.c[name]
    return condition


def _run(row: Row[Any]) -> Run:
    fields = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a row as a mapping
    fields["settings"] = msgspec.json.decode(fields["settings"])
    fields["created_at"] = datetime.fromisoformat(fields["created_at"])
    return Run(**fields)
