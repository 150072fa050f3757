"""The records of the store: appended, dated in UTC, never changed; and how their ids are made.

Each record is one row of `_tables.py`; `docs/reference/store.md` describes the columns.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from crossgrade.domain import JSON, ModelAnswer, Score

LATEST = "latest"
"""Stands for the id of the newest record wherever an id is asked for."""


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


class RunStatus(StrEnum):
    """The status of a run, derived from its last event and its lock.

    `RUNNING` means that a process holds the run's lock; `KILLED` that none does although the
    run never ended. Every state but `FINISHED` can be resumed.
    """

    RUNNING = "running"
    KILLED = "killed"
    FINISHED = "finished"
    BUDGET = "budget"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run of a workload, with the settings it was started with.

    `settings` is everything the run depends on, as JSON; `settings_digest` its digest, which a
    resumed run must match. `planned` counts samples, `created_at` is UTC.
    """

    id: str
    workload: str
    dataset_digest: str
    settings: Mapping[str, JSON]
    settings_digest: str
    seed: int
    planned: int
    created_at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTotals:
    """Counts of a run's latest answers, and what was paid; `spent_usd` None if a cost is unknown."""

    answers: int
    errors: int
    reused: int
    spent_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSample:
    """A sample as a run asked it; `position` is its place in the shuffled order, from 0.

    `input` (what the sample puts into the prompt) and `target` are texts for reading losses
    side by side, bounded in length.
    """

    run_id: str
    sample_id: str
    position: int
    segment: str | None = None
    cluster: str | None = None
    weight: float = 1.0
    input: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a provider answered to a request: the unit that is paid for, once.

    `request_digest` names the request (endpoint, model, messages, settings, epoch). `cost_usd`
    is usage times the price of that day, None if either is unknown.
    """

    id: str
    request_digest: str
    offer: str
    answer: ModelAnswer
    cost_usd: Decimal | None
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one model got on one sample and epoch of a run: a response, or an error.

    `reused` marks a response that was already paid for. An error that may be transient is
    asked again when the run resumes, as the next `attempt` (from 1); the last one counts.
    `prompt_digest` is of the prompt as sent, `settings_digest` of the decoding settings: they
    show whether two models were asked alike.
    """

    run_id: str
    sample_id: str
    model: str
    epoch: int
    prompt_digest: str
    settings_digest: str
    attempt: int = 1
    response_id: str | None = None
    reused: bool = False
    error: str | None = None
    error_kind: str | None = None
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerScore:
    """The score of an answer by one scorer, named by its digest."""

    run_id: str
    sample_id: str
    model: str
    epoch: int
    attempt: int
    scorer_digest: str
    score: Score
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeStart:
    """A context probe as it began, with the digest of what its resumption must share."""

    id: str
    offer: str
    settings_digest: str
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch that a run or probe (`run_id`) submitted.

    `batch` is the provider's id for it, empty while it is about to be submitted.
    The record outlives the process that submitted it, so a resumed run collects it instead of paying again.
    """

    run_id: str
    offer: str
    batch: str
    request_digests: tuple[str, ...]
    at: datetime = field(default_factory=utc_now)


Record: TypeAlias = RunSample | Response | Answer | AnswerScore
"""What a run appends while it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAnswer:
    """The latest answer of a run to one sample, epoch and model, read back to resume from."""

    sample_id: str
    model: str
    epoch: int
    attempt: int
    response: Response | None
    reused: bool
    error: str | None
    error_kind: str | None
    score: Score | None


RunKey: TypeAlias = tuple[str, str, int]
"""Sample id, model, epoch: one answer of a run."""


def new_id() -> str:
    """Return a fresh UUID version 7 (RFC 9562, section 5.7) as text.

    48 bits of Unix milliseconds, then 74 random bits: identifiers sort by the millisecond
    they were made in, and need no database to be unique.
    """
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))
