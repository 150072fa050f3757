"""What a scan says: a log's totals, its workloads, and what moving each may save."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import msgspec

from crossgrade.stats import Interval, Proportion
from crossgrade.workloads.traffic.kinds import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """Public evidence on a kind of work: how often the best open model wins against the best closed one."""

    value: float
    category: str
    as_of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What it would cost to serve a workload by another offer; a saving below zero is a loss.

    `saving_per_month_usd` is of the mean request, whose interval is over the `n` requests of which
    both costs are known.
    """

    offer: str
    provider: str
    model: str
    open_weights: bool
    context_tokens: int
    price_source: str
    price_on: date
    mean_cost_usd: float
    share_saved: float | None
    saving_per_month_usd: Interval
    n: int
    test_cost_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A workload found in a log. None is unknown, with the reason in `unknown` under the field's name.

    `sessions_n` counts the requests that are of a session, `sessions_inferred_n` those of them whose
    session the log does not name. `features` are what an offer must be able to do.
    """

    name: str
    reason: str
    kind: Kind
    rest: bool
    requests: int
    models: Mapping[str, int]
    incumbent: str | None
    input_tokens: int
    output_tokens: int
    tokens_n: int
    cached_share: float | None
    input_quantiles: Mapping[str, float]
    output_quantiles: Mapping[str, float]
    longest: int | None
    latency_p50_s: Interval
    latency_p95_s: Interval
    errors: Proportion
    spend_usd: float | None
    spend_n: int
    spend_logged_n: int
    spend_per_month_usd: Interval
    requests_per_month: float | None
    growth: Interval
    sessions: int
    sessions_n: int
    sessions_inferred_n: int
    calls_per_session: Interval
    cost_per_session_usd: Interval
    features: tuple[str, ...]
    agentic: Proportion
    texts: int
    likelihood: Likelihood
    moves: tuple[Move, ...]
    samples: int
    score: float | None
    unknown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Hourly or daily sums of a usage export: compared with the log, never added to it."""

    requests: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What a log holds; findings come in the order in which to look at them.

    `query`, `file_format` and `model` are as they were asked for, so that the log can be read again.
    """

    sources: tuple[str, ...]
    query: str | None
    file_format: str | None
    model: str | None
    files: int
    rows: Mapping[str, int]
    requests: int
    same_id: int
    same_moment: int
    conflicts: int
    problems: Mapping[str, int]
    examples: Mapping[str, Sequence[str]]
    first: datetime | None
    last: datetime | None
    input_tokens: int
    output_tokens: int
    tokens_n: int
    spend_usd: float | None
    spend_n: int
    prices_on: date
    price_sources: Mapping[str, str]
    sums: Sums | None
    texts: bool
    findings: tuple[Finding, ...]


def scan_record(scan: Scan) -> dict[str, Any]:
    """Return a scan as plain JSON values, NaN and what is unknown as null."""
    record: dict[str, Any] = msgspec.to_builtins(scan)
    for finding, plain in zip(scan.findings, record["findings"], strict=True):
        plain["kind"] = {**finding.kind._asdict(), "tools": list(finding.kind.tools)}
    return record
