"""Defines the records of live traffic: pairs, feedback, audits and alarms. Times are in UTC.

Each record is one row of `_tables.py` (a pair is three). `docs/reference/store.md` describes the columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

from crossgrade.domain import JSON, ModelAnswer
from crossgrade.store._records import new_id, utc_now

Side: TypeAlias = Literal["incumbent", "candidate"]
"""One of the two models of a route."""

AuditSource: TypeAlias = Literal["pair", "label", "feedback", "sealed"]
"""The source of an audit's scores: a scorer, a person, a delayed outcome, or a scorer on a sealed sample."""

AlarmKind: TypeAlias = Literal[
    "claim", "change", "sealed", "expired", "price", "retired", "version", "fingerprint"
]
"""The reason of an alarm: the monitors of live and of sealed samples, then a certificate's conditions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAnswer:
    """The answer of one model of a pair. If the call failed, `answer` is None and `error` has the reason.

    `model` is its name in the route's policy, and `answer.model` the version that the provider reports.
    `response_id` is the `id` in the response's body, which feedback refers to. `cost_usd` is the usage
    times the price of that day, None if either is unknown.
    """

    model: str
    answer: ModelAnswer | None
    response_id: str | None = None
    cost_usd: Decimal | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A live request that both models of a route answered.

    `request` is its redacted body, as sent to `endpoint` (such as `/v1/chat/completions`), or None if texts
    are not kept. `served_by` is the side whose answer the client got. `probability`, in (0, 1], is the
    probability with which the request was picked for shadowing. `verdict_id` is the route's certificate at
    the time, the only one that the pair is evidence about. `conversation` identifies the conversation that
    the client named, None if it named none; on a growing route it identifies what was drawn together, and is
    always there. `run` identifies the run of an agent, on a route that keeps runs together. `score` is the
    router's. `missed` is the code of the reason why a request that was drawn has no two answers
    (`request` and both answers are None then); otherwise it is None.
    """

    route: str
    request_id: str
    endpoint: str
    request: bytes | None
    served_by: Side
    incumbent: PairAnswer
    candidate: PairAnswer
    segment: str | None = None
    verdict_id: str | None = None
    probability: float = 1.0
    conversation: str | None = None
    score: float | None = None
    missed: str | None = None
    run: str | None = None
    id: str = field(default_factory=new_id)
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """A request that was drawn for an audit of a growing route, and what one scorer found, without any text.

    `at` is when it was asked. `score`, `probability`, `conversation` and `missed` are the pair's. `incumbent`
    and `candidate` are the scores of the two answers, None if they are unscored or not audited yet.
    """

    pair_id: str
    at: datetime
    score: float | None
    probability: float
    conversation: str | None
    missed: str | None
    is_audited: bool
    incumbent: float | None
    candidate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A delayed outcome of one response: a `value` from 0 (worthless) to 1, under the user's own `name`.

    The other fields are the gateway's facts of the response, None if unknown: its route, certificate and
    segment, the side that answered, the `probability` with which that side was picked (a canary's share, or
    1 minus it), and the `run` of an agent, as a pair has it.
    """

    response_id: str
    name: str
    value: float
    route: str | None = None
    verdict_id: str | None = None
    segment: str | None = None
    side: Side | None = None
    probability: float | None = None
    run: str | None = None
    id: str = field(default_factory=new_id)
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingPair:
    """What a pair that a scorer has not audited is about, without its texts, which may be erased."""

    id: str
    segment: str | None
    at: datetime
    has_text: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """One observation of a route's claim: the scores of both models on a live request or a sealed sample.

    `source_id` is the id of the pair or the response, or those of the round and the sealed sample. It counts
    once for each scorer. A score of None is unscored. `weight` is 1 divided by the probability that the
    request is audited, and of a sealed sample its weight. `conversation` and `asked_at` are the pair's, or
    the id of the round and when it was drawn. Audits of one conversation are one observation. `id` numbers
    audits in the order of their recording, in which monitors read them (0 before that).
    """

    route: str
    source: AuditSource
    source_id: str
    scorer_digest: str
    incumbent: float | None
    candidate: float | None
    verdict_id: str | None = None
    segment: str | None = None
    weight: float = 1.0
    explanation: str | None = None
    cost_usd: Decimal | None = Decimal(0)
    conversation: str | None = None
    asked_at: datetime | None = None
    id: int = 0
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchState:
    """The state of one claim's monitors after the audit `last_audit`, which can be computed again.

    The segment None is the whole route. A state of a monitor of sealed samples also has the samples that were
    drawn next, which cannot be computed again.
    """

    route: str
    verdict_id: str | None
    segment: str | None
    scorer_digest: str
    last_audit: int
    state: Mapping[str, JSON]
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm, on which a route steps back. `detail` has the numbers; segment None is the whole route."""

    route: str
    kind: AlarmKind
    detail: Mapping[str, JSON]
    verdict_id: str | None = None
    segment: str | None = None
    id: str = field(default_factory=new_id)
    at: datetime = field(default_factory=utc_now)
