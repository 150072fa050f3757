"""What `decide` returns: guards, certificates, savings, the verdict.

All are frozen and made of JSON-able values, so that the store can keep them and
`decide --verify` can compute them again.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from crossgrade.decide._agent_records import AgentComparison, AgentTrials, TrialCost
from crossgrade.decide._evidence import RouterReport, SafetyRate
from crossgrade.decide._observations import Blocks
from crossgrade.decide._traffic import TrafficComparison
from crossgrade.domain import (
    BaselineTest,
    Clause,
    Contract,
    Estimate,
    Fingerprint,
    IncumbentEnd,
    LoggedTraffic,
    PluginUse,
    Requirements,
    TuningTest,
)
from crossgrade.pricing.thrift import ThriftShare
from crossgrade.routing import Policy
from crossgrade.stats import Retention

GuardStatus = Literal["pass", "warn", "fail"]
VerdictName = Literal["switch", "split", "keep", "undecided", "invalid"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is known of an offer besides its scores; None is unknown.

    `price_source` says where the price was read and of which day. `delisted_on` is the first day on
    which price catalogues no longer had the offer. `trained_until` is the last day of the model's training
    data. `safety` has its rates on safety suites, at most one for each, and `trials` what runs of the team's
    agent with it say beside those with the incumbent. `no_trials` says in words which runs there are instead,
    where the runs that the workload names have none that count. `trial_cost` is what one such run costs.
    `fingerprint` is what the offer was seen to be at its newest conformity check, None if there was none.
    """

    model: str
    context_tokens: int | None = None
    region: str | None = None
    licence: str | None = None
    retires_on: date | None = None
    open_weights: bool | None = None
    price_source: str | None = None
    delisted_on: date | None = None
    trained_until: date | None = None
    safety: tuple[SafetyRate, ...] = ()
    trials: AgentTrials | None = None
    no_trials: str | None = None
    trial_cost: TrialCost | None = None
    fingerprint: Fingerprint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sibling:
    """A hypothesis of another workload that shares alpha with this one, as it came out there.

    `share` is its initial share of alpha, `p` and `p_below` its p-values before any correction.
    A workload without fit evidence stands as one sibling without candidate and with p = 1: its
    share is kept for it.
    """

    workload: str
    share: float
    candidate: str | None = None
    segment: str | None = None
    p: float = 1.0
    p_below: float = 1.0
    run_id: str | None = None
    evidence_digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EveryModel:
    """No candidate was named, so that several were taken: every other model of the results.

    `set_aside` are the models that were not, because a request costs them more than `incumbent_usd`: what it
    costs by model, at list prices and at the tokens of the incumbent.
    """

    incumbent_usd: float | None = None
    set_aside: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCounts:
    """How far people's labels of the evidence's run are: all items that were drawn, in three parts.

    While some are `left`, labels do not count: a team that stops when it pleases can stop at a verdict.
    A `skipped` item counts against the candidates. `hasty` names the raters who labelled faster than anyone
    can read. Alpha is the workload's divided by the planned `rounds` of labels.
    """

    drawn: int
    labelled: int
    skipped: int = 0
    left: int = 0
    raters: int = 1
    hasty: tuple[str, ...] = ()
    rounds: int = 1

    @property
    def unfinished(self) -> str | None:
        """Why no label counts yet, in a sentence without its end; None once all drawn items are done."""
        if not self.left:
            return None
        return f"people scored {self.labelled:,} of {self.drawn:,} items, which count once all are done"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSettings:
    """Everything besides the evidence that a verdict depends on; kept in it, so that it can be checked.

    `mode` is as asked for; the verdict's own `mode` is what could be done with the evidence.
    `parity_declared` says that the team knows of differing prompts or settings and means them. `splits_only`
    tests segments alone: nothing may move the whole. `whole_floor` is what must hold besides of the whole
    workload under a policy: see `Certificate.whole`. `stated_cost_usd` are costs per request that someone
    stated, for models without measured ones. `provided` is what older verdicts took as evidence by its name;
    it no longer counts. `changed_since_run` says in words which settings the run was stopped under that are
    not these, `draws` how many different draws (seed and plan) of this dataset were run. `alpha` is shared by
    all workloads of a family: this one begins with `alpha_share` of it, and `siblings` are the hypotheses of
    the others. `max_bytes` are the longest requests that a candidate may answer, in bytes by its name: what
    is tested is the policy that leaves longer ones to the incumbent; `limit_sources` say in words where the
    limits come from. `across` are the candidates whose API is not `client_api`, the clients' own: requests
    that cannot be carried to them are not in their test and stay with the incumbent. `logged_traffic` is what
    the log behind the samples says of the traffic: where a part of it is known not to be represented, a
    policy moves plain requests only. `plugins` are the scorer and the guards that are no part of Crossgrade.
    `every_model` says how the candidates were found if none was named. `thrifts` are ways to pay less for the
    incumbent, without a move. `incumbent_end` has the incumbent's end and its provider's newer model, None if
    nothing was looked up.
    `clauses` are what licences and hosts say to the team about the candidates. `contracts` are those of the
    models' providers that have a minimum, by the model. `baseline` is the sealed baseline whose answers are
    the incumbent's, and what the candidates may spend of its error rate. `public_since` is the day on which
    the samples became public. With `grow` what a router moves is
    certified by bets alone, with the first start's part of alpha, so that audits in service can go on from
    there. `traffic` is the run's samples beside recent requests, None if there
    are none. `labels` says how far people's labels in the store are, None if a judge is corrected by none
    or by those of a file. `agents_declared_equal` are fields of `AgentSetup` that the team says are the
    same of both models' runs where they are not recorded. With `different_agents` it compares runs that were
    not made alike, on purpose: a certificate is then of model and agent together. `tuning` is given where a
    tuned candidate is tested: which items tuned it, and in which round it is.
    """

    floor: float = 0.85
    whole_floor: float | None = None
    alpha: float = 0.05
    mode: str = "fixed"
    requirements: Requirements = field(default_factory=Requirements)
    facts: tuple[ModelFacts, ...] = ()
    requests_per_month: int | None = None
    logged_traffic: LoggedTraffic | None = None
    valid_days: int = 90
    seed: int = 0
    errors_count_as_zero: bool = True
    parity_declared: bool = False
    splits_only: bool = False
    stated_cost_usd: Mapping[str, float] = field(default_factory=dict)
    provided: tuple[str, ...] = ()
    changed_since_run: tuple[str, ...] = ()
    draws: int = 1
    alpha_share: float = 1.0
    siblings: tuple[Sibling, ...] = ()
    max_bytes: Mapping[str, int] = field(default_factory=dict)
    limit_sources: tuple[str, ...] = ()
    client_api: str | None = None
    across: tuple[str, ...] = ()
    plugins: tuple[PluginUse, ...] = ()
    every_model: EveryModel | None = None
    thrifts: tuple[ThriftShare, ...] = ()
    incumbent_end: IncumbentEnd | None = None
    clauses: tuple[Clause, ...] = ()
    contracts: Mapping[str, Contract] = field(default_factory=dict)
    grow: bool = False
    baseline: BaselineTest | None = None
    public_since: date | None = None
    traffic: TrafficComparison | None = None
    labels: LabelCounts | None = None
    agents_declared_equal: tuple[str, ...] = ()
    different_agents: bool = False
    tuning: TuningTest | None = None

    @property
    def workloads(self) -> int:
        """How many workloads share alpha, this one included."""
        return 1 + len({each.workload for each in self.siblings})

    @property
    def plain_only(self) -> bool:
        """Whether a policy may move only requests like the samples, since others are in the traffic."""
        return self.logged_traffic is not None and self.logged_traffic.is_partial


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """One check on the evidence, on a segment or (segment None) on the whole.

    `seen` says in a sentence with numbers and n what was found, `advice` what to do about it
    (empty when it passed). `candidate` None: it holds for every candidate.
    """

    name: str
    status: GuardStatus
    seen: str
    advice: str = ""
    segment: str | None = None
    candidate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The test of one hypothesis: a candidate on the whole workload or (segment) on a part.

    `adjusted_p` is after the multiplicity correction over every hypothesis of the decision;
    `certified` is `adjusted_p <= alpha`; `excluded` names the guard that took the segment out.
    `share` is the segment's share of traffic, in [0, 1], and `moved_share` that of its requests that the
    candidate may answer: short enough, and carried to its API (None: recorded before it was kept, all of
    them). `shown_below` says that the data show
    the retention to be below the floor, by the same correction (`adjusted_p_below`).
    `tested` False: the figure is for reading only, no policy of this decision rests on it.
    `unfinished` says that a sequential run stopped before the hypothesis's planned end and before it was
    decided: `given_up` because it would hardly have passed at its end, `not_needed` because it could not
    change the verdict any more, since a cheaper policy is certified.
    `whole` is what the policy that moves this part keeps over the whole workload, where that has a floor too
    (`DecisionSettings.whole_floor`). The certificate then claims both: `adjusted_p` is the larger of the two.
    """

    candidate: str
    segment: str | None
    retention: Retention
    adjusted_p: float
    certified: bool
    share: float = 1.0
    excluded: str | None = None
    adjusted_p_below: float = 1.0
    shown_below: bool = False
    tested: bool = True
    unfinished: bool = False
    not_needed: bool = False
    given_up: bool = False
    whole: Retention | None = None
    moved_share: float | None = None

    @property
    def may_move(self) -> float:
        """The share of the traffic that moves where this is certified, in [0, 1]."""
        return self.share if self.moved_share is None else self.moved_share

    @property
    def claims(self) -> tuple[Retention, ...]:
        """What is claimed: of the part that moves, and of the whole where that has a floor too."""
        return (self.retention,) if self.whole is None else (self.retention, self.whole)

    @property
    def is_near_miss(self) -> bool:
        """Whether the hypothesis is open, and above the floor so far."""
        is_open = self.tested and not (self.certified or self.shown_below or self.not_needed or self.excluded)
        return is_open and all(each.value is not None and each.value >= each.floor for each in self.claims)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCost:
    """What a policy costs against the incumbent, per request and per month, in US dollars.

    `saving_share` is 1 - policy cost / incumbent cost; `per_solved_usd` is the cost per point
    of score. Unknown is an `Estimate` without value, never zero. `retention` is what the policy keeps of
    the incumbent's score, with its interval, for reading beside the cost: certificates are the claim.
    `beyond_thrift_per_request_usd` is what the policy saves against the least bill with the incumbent
    (`settings.thrifts`), by batch with the batch price of the candidate; None if no such way is known.
    `owed_usd_per_month` is what contracts take away from the saving, which is without it.
    `cold_cache_usd` is what conversations that the policy divides between the two models cost more per
    request, since neither finds in its cache what the other answered. It is in the cost. None: not known, or
    no conversation is divided.
    """

    policy: Policy
    per_request_usd: Estimate
    per_solved_usd: Estimate
    saving_per_request_usd: Estimate
    saving_per_month_usd: Estimate
    saving_share: Estimate
    retention: Estimate | None = None
    beyond_thrift_per_request_usd: Estimate | None = None
    beyond_thrift_per_month_usd: Estimate | None = None
    owed_usd_per_month: float = 0.0
    cold_cache_usd: float | None = None

    @property
    def costs_more(self) -> bool:
        """Whether it is shown that the policy saves nothing."""
        saving = self.saving_per_request_usd
        shown = saving.high if saving.high is not None else saving.value
        return shown is not None and shown <= 0


def certified_by(policy: Policy, certificates: Iterable[Certificate]) -> bool:
    """Return whether certificates allow a policy: keeping always, moving if all that moves is certified."""
    held = {(one.candidate, one.segment) for one in certificates if one.certified}
    parts = policy.segments if policy.kind == "split" else (None,)
    return policy.kind == "keep" or all((policy.candidate, part) in held for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementCheck:
    """Whether a candidate meets one requirement; `met` None is not known, and blocks a switch."""

    name: str
    candidate: str
    met: bool | None
    seen: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Remark:
    """One reason of a verdict, or one thing that would change it, under a `code` that outlasts its words.

    `text` is the sentence. The other fields are what it is about. No `segments`: the whole workload, or
    nothing in particular. `code` None: recorded before remarks had codes.
    """

    code: str | None
    text: str
    _: KW_ONLY
    candidate: str | None = None
    segments: tuple[str, ...] = ()
    guard: str | None = None
    requirement: str | None = None


def sentences(remarks: Iterable[Remark]) -> tuple[str, ...]:
    """Return the sentences of remarks, those that several of them share once."""
    return tuple(dict.fromkeys(each.text for each in remarks))


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A sample the incumbent won, to be read side by side."""

    sample_id: str
    candidate: str
    segment: str | None
    incumbent_score: float
    candidate_score: float
    input: str | None = None
    target: str | None = None
    incumbent_output: str | None = None
    candidate_output: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePoint:
    """The sequential test after `n` pairs of one hypothesis: its two e-values.

    The hypothesis is settled when either reaches `threshold`, 2 / (its share of alpha).
    """

    candidate: str
    segment: str | None
    n: int
    e_pass: float
    e_fail: float
    threshold: float = 40.0


def shown_first(
    certificates: Sequence[Certificate], candidate: str | None, costs: Sequence[PolicyCost] = ()
) -> Certificate | None:
    """Return the certificate that a verdict's words are about: the moved candidate's on the whole.

    Where nothing moves (`candidate` None) it is the first certified one that is not shown to cost more, else
    the cheapest near miss, else the most promising one. It is on the whole, and of segments where only these
    are tested. None if nothing was tested.
    """
    wholes = [one for one in certificates if one.segment is None]
    if candidate is not None:
        return next((one for one in wholes if one.candidate == candidate), None)
    tested = [one for one in wholes if one.tested] or [one for one in certificates if one.tested]
    switches = {cost.policy.candidate: cost for cost in costs if cost.policy.kind == "switch"}
    for one in tested:
        if one.certified and not (one.candidate in switches and switches[one.candidate].costs_more):
            return one
    near = [one for one in tested if one.is_near_miss]

    def order(one: Certificate) -> tuple[float, float, float]:
        usd = switches[one.candidate].per_request_usd.value if near and one.candidate in switches else None
        return (math.inf if usd is None else usd, one.adjusted_p, -(one.retention.value or 0.0))

    return min(near or tested, key=order, default=None)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Verdict:
    """The decision on one workload, with everything it rests on.

    `policy` is the cheapest certified policy that meets the requirements (keep where none is). `needed` is
    the number of further samples that would probably settle an undecided verdict. `needed_labels` is that of
    further samples scored by people, where these correct a judge, and `needed_audits` that of audits in
    service, where a route can grow from it. At most one of the three is known. `asked` / `planned` count
    samples used and planned, `calls_saved` model calls not made because the verdict was certain.
    `evidence_digest` is the digest of the score columns the verdict was computed from. `method_version` is
    that of the retention test that decided, `package_version` that of the release, whose words these are
    (None: recorded before it was kept). `losses` are drawn at random, by `seed`, from the `losses_drawn_from`
    samples that the incumbent won among those that the policy moves (all, where it moves none); None: an
    older verdict, which has the largest. `router` is the router whose bands were tested, as
    `routing.router_tree` writes it, and `routing` what its training said. `frontier` has the costs of its
    other thresholds, certified or not. `groups` has what the most promising candidate keeps on each declared
    group, for reading. `blocks` says how the incumbent was spared (None: it was not), and `paired` is then
    how many of the `asked` samples it answered. `agents` compares agents' runs, where the samples are
    tasks of agents.
    """

    workload: str
    name: VerdictName
    policy: Policy
    incumbent: str
    candidates: tuple[str, ...]
    floor: float
    alpha: float
    mode: str
    sentence: str
    reasons: tuple[Remark, ...]
    would_change: tuple[Remark, ...]
    certificates: tuple[Certificate, ...]
    guards: tuple[Guard, ...]
    requirements: tuple[RequirementCheck, ...]
    costs: tuple[PolicyCost, ...]
    losses: tuple[Loss, ...]
    path: tuple[EvidencePoint, ...]
    asked: int
    planned: int
    calls_saved: int
    needed: int | None
    decided_at: datetime
    valid_until: datetime
    evidence_digest: str
    seed: int
    price_sources: tuple[str, ...] = ()
    saving_per_month_usd: Estimate | None = None
    spent_usd: Decimal | None = None
    run_id: str | None = None
    settings: DecisionSettings = field(default_factory=DecisionSettings)
    method_version: int = 1
    needed_labels: int | None = None
    needed_audits: int | None = None
    losses_drawn_from: int | None = None
    groups: tuple[Certificate, ...] = ()
    package_version: str | None = None
    routing: RouterReport | None = None
    frontier: tuple[PolicyCost, ...] = ()
    blocks: Blocks | None = None
    paired: int | None = None
    agents: tuple[AgentComparison, ...] = ()

    def __repr__(self) -> str:
        """Return the verdict in a line; its fields say the rest."""
        return f"<Verdict {self.name}: {self.sentence}>"
