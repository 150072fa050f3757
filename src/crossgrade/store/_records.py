"""Defines the records of runs, which are appended and never changed, and makes their ids. Times are in UTC.

Each record is one row of `_tables.py`. `docs/reference/store.md` describes the columns.
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
"""The name of the newest record, for use in place of an id."""


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


class RunStatus(StrEnum):
    """The status of a run, derived from its last event and its lock.

    `RUNNING` means that a process holds the run's lock. `KILLED` means that no process holds it, although the
    run has not ended. A run with any status but `FINISHED` can be resumed.
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

    `settings` is everything that the run depends on, as JSON. `settings_digest` is its digest, which must be
    the same to resume the run. `planned` is the planned number of samples.
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
    """Counts of a run's latest answers, and its cost in dollars (`spent_usd`, None if a cost is unknown)."""

    answers: int
    errors: int
    reused: int
    spent_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSample:
    """A sample of a run; `position` is its place in the shuffled order, from 0.

    `input` (the sample's part of the prompt) and `target` are shortened texts, to compare answers side by
    side.
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
    """A provider's answer to a request, which is paid for once.

    `request_digest` is the digest of the request (endpoint, model, messages, settings, epoch). `cost_usd` is
    the usage times the price of that day, None if either is unknown.
    """

    id: str
    request_digest: str
    offer: str
    answer: ModelAnswer
    cost_usd: Decimal | None
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The outcome of one model on one sample and epoch of a run: a response or an error.

    `reused` marks a response that was paid for before. After an error that may be transient, the model is
    asked again when the run resumes, as the next `attempt` (from 1). The last attempt counts.
    `prompt_digest` is the digest of the prompt as sent, and `settings_digest` that of the decoding settings.
    They show whether two models got the same request.
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
    """The score of an answer by the scorer with the digest `scorer_digest`."""

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
    """The start of a context probe. `settings_digest` must be the same to resume it."""

    id: str
    offer: str
    settings_digest: str
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch that a run or probe (`run_id`) submitted.

    `batch` is the provider's id of it, empty before it is submitted. The record outlives the process that
    submitted it, so that a resumed run collects the batch instead of paying again.
    """

    run_id: str
    offer: str
    batch: str
    request_digests: tuple[str, ...]
    at: datetime = field(default_factory=utc_now)


Record: TypeAlias = RunSample | Response | Answer | AnswerScore
"""The records that a run appends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAnswer:
    """The latest answer of a run to one sample, epoch and model, as read to resume the run."""

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
"""The key of an answer in a run: sample id, model, epoch."""


def new_id() -> str:
    """Return a new UUID version 7 (RFC 9562, section 5.7) as text.

    It has 48 bits of Unix milliseconds, then 74 random bits. Ids sort by the millisecond of their creation,
    and are unique without a database.
    """
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))
