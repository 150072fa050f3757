"""The records of live traffic: pairs, feedback, audits, alarms; appended, dated in UTC.

Each is one row of `_tables.py` (a pair is three); `docs/reference/store.md` describes the columns.
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

AuditSource: TypeAlias = Literal["pair", "label", "feedback"]
"""What an audit's scores come from: a scorer, a human, delayed outcomes."""

AlarmKind: TypeAlias = Literal["claim", "change", "expired", "price", "retired", "version"]
"""What an alarm is about: the two monitors, then what a certificate rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAnswer:
    """What one model of a pair answered. If the call failed, `answer` is None and `error` says why.

    `response_id` is the `id` in the response's body, by which feedback refers to it. `cost_usd`
    is usage times the price of that day, None if either is unknown. `model` is the name the
    route's policy has for it, `answer.model` the version that the provider says it served.
    """

    model: str
    answer: ModelAnswer | None
    response_id: str | None = None
    cost_usd: Decimal | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A live request that both models of a route answered.

    `request` is its body after redaction, as sent to `endpoint` (`/v1/chat/completions`); None
    where texts are not kept. `served_by` says whose answer the client got. `probability`, in
    (0, 1], is that with which this request was picked for shadowing. `verdict_id` is the
    certificate that the route had: a pair says nothing about another one. `conversation` stands for
    the one that the client named, None if it named none.
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
    id: str = field(default_factory=new_id)
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A delayed outcome of one response: a `value` in [0, 1], 0 is worthless, under a `name` of your choice.

    The other fields hold what the gateway knows of the response, None if nothing: its route,
    certificate and segment, which model answered, and with what `probability` that model was
    picked (a canary's share, or one minus it).
    """

    response_id: str
    name: str
    value: float
    route: str | None = None
    verdict_id: str | None = None
    segment: str | None = None
    side: Side | None = None
    probability: float | None = None
    id: str = field(default_factory=new_id)
    at: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """One observation of a route's claim: the scores of both models on a live request.

    `source_id` names the pair or the response; it counts once for each scorer. A score of None
    is unscored. `weight` is one over the probability with which the request came to be audited.
    `conversation` and `asked_at` are the pair's: audits of one conversation are one observation.
    `id` counts up as audits are appended (0 before): monitors read them in that order.
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
    """Where the monitors of one claim stood after the audit `last_audit`; it can be computed again.

    `segment` None is the whole route.
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
    """Why a route had to step back; `detail` has the numbers, `segment` None is the whole route."""

    route: str
    kind: AlarmKind
    detail: Mapping[str, JSON]
    verdict_id: str | None = None
    segment: str | None = None
    id: str = field(default_factory=new_id)
    at: datetime = field(default_factory=utc_now)
