"""Stores sealed baselines: an incumbent's answers for later comparisons, and what these spent.

A baseline is one document, kept as the text whose SHA-256 is its digest. The answers themselves are in the
table of responses; the document has a digest of each, so that a changed byte is noticed and named.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import msgspec
from sqlalchemy import Row, desc, insert, select

from crossgrade.decide import RunDesign
from crossgrade.errors import NotFoundError, StoreError
from crossgrade.store import _tables as t
from crossgrade.store._database import Database, process_lock
from crossgrade.store._records import Response, utc_now

BaselineUseKind: TypeAlias = Literal["candidate", "revealed", "forgotten"]
"""A candidate was compared with the baseline, its results were shown sample by sample, or samples were
forgotten."""

_encode = msgspec.json.Encoder(order="deterministic", enc_hook=str).encode


class SealedSample(NamedTuple):
    """A sample that later runs ask, and the digest of its row."""

    id: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedAnswer:
    """One sealed answer: its response in the store with a digest of it, or the kind of error it ended in.

    `score` is that of the scorer which the baseline names (None: not scored, or a comparison of two answers).
    """

    sample_id: str
    epoch: int
    response_id: str | None = None
    digest: str | None = None
    error_kind: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """An incumbent's answers to the samples of a workload, sealed for comparisons after it is gone.

    `run_id` is the run that collected them, and `dataset_digest` the dataset as it was. `samples` are those
    that later runs ask, in this order, and `design` says which of them the incumbent answered. `incumbent` is
    the variant as runs record it, with the `versions` that its provider reported. `alpha` is the error rate
    that all candidates share, and `planned_candidates` how many were planned for: see `stats.shared_alpha`.
    `price` says in words what the incumbent cost on that day (None: unknown). `seen_before` are candidates
    that were asked about some of the samples before they were sealed.
    """

    id: str
    workload: str
    run_id: str
    sealed_at: datetime
    dataset_digest: str
    design: RunDesign
    seed: int
    epochs: int
    incumbent: Mapping[str, Any]
    scorer: Mapping[str, Any]
    scorer_digest: str
    floor: float
    alpha: float
    planned_candidates: int
    expected_retention: float
    power: float
    samples: tuple[SealedSample, ...]
    answers: tuple[SealedAnswer, ...]
    versions: tuple[str, ...] = ()
    price: str | None = None
    seen_before: tuple[str, ...] = ()
    v: int = 1
    digest: str = ""

    @property
    def text(self) -> bytes:
        """The document that is sealed: canonical JSON without the digest."""
        return _encode(replace(self, digest=""))

    def sealed(self) -> Self:
        """Return the baseline with its digest: `sha256:` and the SHA-256, in hexadecimal, of its document."""
        return replace(self, digest=_digest(self.text))

    @property
    def answered(self) -> int:
        """How many samples the incumbent answered, or refused to."""
        return len({each.sample_id for each in self.answers})


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineUse:
    """What was done with a baseline.

    `number` counts the uses of a baseline from 1. Where a candidate was compared, `key` identifies it
    (another prompt or version is another candidate), `alpha` is the part of the error rate that it was given,
    and `purpose` what compared it. `samples` are the ids of samples that were forgotten.
    """

    baseline_id: str
    number: int
    kind: BaselineUseKind
    candidate: str = ""
    key: str = ""
    alpha: float = 0.0
    purpose: str = ""
    samples: tuple[str, ...] = ()
    at: datetime = field(default_factory=utc_now)

    def digest(self, before: str) -> str:
        """Return the digest that ties the use to the one `before` it."""
        return _digest(before.encode() + _encode(self))


class Baselines:
    """The sealed baselines of a store."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder

    def append(self, baseline: Baseline) -> None:
        """Record a sealed baseline, with its digest."""
        row = {
            "id": baseline.id,
            "workload": baseline.workload,
            "digest": baseline.digest,
            "content": baseline.text.decode(),
            "at": baseline.sealed_at.isoformat(),
        }
        with self._database.writing() as connection:
            connection.execute(insert(t.baselines), row)

    def recent(self, workload: str | None = None) -> list[Baseline]:
        """Return the baselines (of one workload), newest first.

        Raises `StoreError` for one whose document is not the one that was sealed.
        """
        query = select(t.baselines).order_by(desc(t.baselines.c.at), desc(t.baselines.c.id))
        if workload is not None:
            query = query.where(t.baselines.c.workload == workload)
        with self._database.reading() as connection:
            return [_baseline(row) for row in connection.execute(query)]

    def newest(self, workload: str) -> Baseline | None:
        """Return the newest baseline of a workload, the one that is in force (None: it has none)."""
        return next(iter(self.recent(workload)), None)

    def get(self, baseline_id: str) -> Baseline:
        """Return a baseline by its id. Raises `NotFoundError`, and `StoreError` as `recent` does."""
        with self._database.reading() as connection:
            query = select(t.baselines).where(t.baselines.c.id == baseline_id)
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFoundError(
                f"there is no baseline `{baseline_id}`",
                code="baseline-unknown",
                hint="`crossgrade freeze verify` lists them",
            )
        return _baseline(row)

    def uses(self, baseline_id: str) -> list[BaselineUse]:
        """Return what was done with a baseline, oldest first."""
        return [use for use, _ in self._chained(baseline_id)]

    def _chained(self, baseline_id: str) -> list[tuple[BaselineUse, str]]:
        """Return the uses of a baseline with their digests; raises `StoreError` if one was changed."""
        u = t.baseline_uses
        query = select(u).where(u.c.baseline_id == baseline_id).order_by(u.c.number)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        found: list[tuple[BaselineUse, str]] = []
        for number, row in enumerate(rows, 1):
            use = _use(row)
            before = found[-1][1] if found else baseline_id
            if use.number != number or row.digest != use.digest(before):
                raise StoreError(
                    f"the record of what was compared with baseline {baseline_id} was changed at number "
                    f"{use.number}",
                    code="baseline-changed",
                    hint="restore the store from a copy of before the change",
                )
            found.append((use, row.digest))
        return found

    def append_use(self, use: BaselineUse) -> None:
        """Record a use; its number must be the next one. Take it inside `using`."""
        chained = self._chained(use.baseline_id)
        row = {
            "digest": use.digest(chained[-1][1] if chained else use.baseline_id),
            "baseline_id": use.baseline_id,
            "number": use.number,
            "kind": use.kind,
            "candidate": use.candidate,
            "key": use.key,
            "alpha": use.alpha,
            "purpose": use.purpose,
            "samples": _encode(use.samples).decode(),
            "at": use.at.isoformat(),
        }
        with self._database.writing() as connection:
            connection.execute(insert(t.baseline_uses), row)

    @contextmanager
    def using(self, baseline_id: str) -> Iterator[None]:
        """Lock the uses of a baseline during a `with` block. Raises `StoreError` if they are locked."""
        path = self._folder / "locks" / f"baseline-{baseline_id}.lock"
        with process_lock(self._database, f"baseline {baseline_id}", path, wait=True) as free:
            if not free:
                raise StoreError(
                    f"another process is comparing a candidate with baseline {baseline_id}",
                    code="baseline-locked",
                    hint="try again in a moment",
                )
            yield


def response_digest(response: Response) -> str:
    """Return `sha256:` and the SHA-256 of a response as stored: texts, tool calls, usage, cost, times."""
    a = response.answer
    parts: list[Any] = [
        response.id,
        response.offer,
        a.text,
        a.tool_calls,
        a.finish_reason,
        a.model,
        a.runtime,
        a.usage,
        None if response.cost_usd is None else str(response.cost_usd),
        a.latency_ms,
        a.ttft_ms,
        response.at.isoformat(),
    ]
    return _digest(_encode(parts))


def _digest(document: bytes) -> str:
    return f"sha256:{sha256(document).hexdigest()}"


def _baseline(row: Row[Any]) -> Baseline:
    text = row.content.encode()
    sealed = msgspec.json.decode(text, type=Baseline) if _digest(text) == row.digest else None
    if sealed is None or (sealed.id, sealed.workload, sealed.sealed_at.isoformat()) != (
        row.id,
        row.workload,
        row.at,
    ):
        raise StoreError(
            f"baseline {row.id} of {row.workload!r} is not as it was sealed: its document, digest "
            f"{row.digest}, id, workload or date was changed",
            code="baseline-changed",
            hint="restore the store from a copy of before the change",
        )
    return replace(sealed, digest=row.digest)


def _use(row: Row[Any]) -> BaselineUse:
    fields = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a row as a mapping
    del fields["digest"]
    fields["samples"] = msgspec.json.decode(fields["samples"], type=tuple[str, ...])
    return BaselineUse(**{**fields, "at": datetime.fromisoformat(fields["at"])})
