"""What a scan says: a log's totals, its workloads, and what moving each may save."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Self

import msgspec

from crossgrade.domain import EvidenceClass
from crossgrade.pricing.thrift import Thrift
from crossgrade.stats import Interval, Proportion
from crossgrade.workloads.traffic.kinds import Kind
from crossgrade.workloads.traffic.loops import LoggedRuns


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
    both costs are known. `beyond_thrift_usd` is the saving a month over the best way to pay less with
    today's model (None: none is known). `conformity` says in words whether the host was shown to serve the
    model that it names.
    """

    offer: str
    provider: str
    model: str
    open_weights: bool | None
    context_tokens: int
    price_source: str
    price_on: date
    mean_cost_usd: float
    share_saved: float | None
    saving_per_month_usd: Interval
    n: int
    test_cost_usd: float | None
    beyond_thrift_usd: float | None = None
    conformity: str = "not checked"

    @property
    def counted_usd(self) -> float | None:
        """The saving a month that counts: beyond what today's model could save by itself."""
        return self.saving_per_month_usd.value if self.beyond_thrift_usd is None else self.beyond_thrift_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A workload found in a log. None is unknown, with the reason in `unknown` under the field's name.

    `sessions_n` counts the requests that are of a session, `sessions_inferred_n` those of them whose session
    the log does not name. `volume` is `requests_per_month` with its interval. `left_out` counts the requests
    that no sample can stand for, by cause: `moves` are of the others. `thrifts` are ways to pay less without
    a move. `features` are what an offer must be able to do. `net_value_usd` is what finding out may bring in
    the first year, by the better move: twelve times the saving a month, times the likelihood, less the test
    and its labels (`labels_cost_usd`). `score` is the saving a month times the likelihood, over the cost of
    the test: dollars a dollar. `ends` has the last day of each model that served it, where one is announced.
    `agentic` is the share of requests in which the model called tools or read what they gave, and `loops` of
    those in which it read this; a session counts as one in their intervals.
    `needs_evidence` is "agentic" where they are so many that an agent sends them
    (`LOOP_SHARE`), and `runs` are its runs.
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
    volume: Interval
    left_out: Mapping[str, int]
    growth: Interval
    sessions: int
    sessions_n: int
    sessions_inferred_n: int
    calls_per_session: Interval
    cost_per_session_usd: Interval
    features: tuple[str, ...]
    agentic: Proportion
    loops: Proportion
    needs_evidence: EvidenceClass | None
    runs: LoggedRuns | None
    texts: int
    likelihood: Likelihood
    moves: tuple[Move, ...]
    samples: int
    score: float | None
    labels_cost_usd: float
    net_value_usd: float | None
    thrifts: tuple[Thrift, ...] = ()
    ends: Mapping[str, date] = field(default_factory=dict)
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

    @property
    def shares(self) -> tuple[float | None, ...]:
        """Each finding's share of the known spend, None if its cost or all of it is unknown."""
        total = self.spend_usd or 0.0
        return tuple(
            None if not total or each.spend_usd is None else each.spend_usd / total for each in self.findings
        )

    def by_end(self) -> Self:
        """Return the scan with the workload first whose model ends first; among equals, what costs most."""
        ends = {one.name: min(one.ends.values(), default=date.max) for one in self.findings}
        order = sorted(self.findings, key=lambda one: (ends[one.name], -(one.spend_usd or 0)))
        return replace(self, findings=tuple(order))

    def knowing(self, conformity: Mapping[tuple[str, str], str]) -> Self:
        """Return the scan with what is known of hosts, in words by provider and the provider's own id."""

        def known(move: Move) -> Move:
            return replace(move, conformity=conformity.get((move.provider, move.model), move.conformity))

        findings = (replace(each, moves=tuple(known(move) for move in each.moves)) for each in self.findings)
        return replace(self, findings=tuple(findings))

    def most_of_spend(self, share: float = 0.8) -> frozenset[int]:
        """Return the places of the fewest findings that hold this share of the spend; none if unknown."""
        places = sorted(range(len(self.findings)), key=lambda at: -(self.shares[at] or 0.0))
        held, found = 0.0, set()
        for at in places:
            if held >= share or not self.shares[at]:
                break
            held += self.shares[at] or 0.0
            found.add(at)
        return frozenset(found)


def scan_record(scan: Scan) -> dict[str, Any]:
    """Return a scan as plain JSON values, NaN and what is unknown as null."""
    record: dict[str, Any] = msgspec.to_builtins(scan)
    for finding, plain, share in zip(scan.findings, record["findings"], scan.shares, strict=True):
        plain["spend_share"] = share
        plain["kind"] = {**finding.kind._asdict(), "tools": list(finding.kind.tools)}
    return record
