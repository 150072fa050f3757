"""What `decide` returns: guards, certificates, savings, the verdict.

All are frozen and made of JSON-able values, so that the store can keep them and
`decide --verify` can compute them again.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from crossgrade.domain import Estimate
from crossgrade.routing import Policy
from crossgrade.stats import Retention

GuardStatus = Literal["pass", "warn", "fail"]
VerdictName = Literal["switch", "split", "keep", "undecided", "invalid"]


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
    `share` is the segment's share of traffic, in [0, 1].
    """

    candidate: str
    segment: str | None
    retention: Retention
    adjusted_p: float
    certified: bool
    share: float = 1.0
    excluded: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCost:
    """What a policy costs against the incumbent, per request and per month, in US dollars.

    `saving_share` is 1 - policy cost / incumbent cost; `per_solved_usd` is the cost per point
    of score. Unknown is an `Estimate` without value, never zero.
    """

    policy: Policy
    per_request_usd: Estimate
    per_solved_usd: Estimate
    saving_per_request_usd: Estimate
    saving_per_month_usd: Estimate
    saving_share: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementCheck:
    """Whether a candidate meets one requirement; `met` None is not known, and blocks a switch."""

    name: str
    candidate: str
    met: bool | None
    seen: str
    wanted: str


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
    """The sequential test after `n` pairs of one hypothesis: its two e-values."""

    candidate: str
    segment: str | None
    n: int
    e_pass: float
    e_fail: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision on one workload, with everything it rests on.

    `policy` is the cheapest certified policy that meets the requirements (keep where none is).
    `needed` is the number of further samples that would probably settle an undecided verdict.
    `asked` / `planned` count samples used and planned, `calls_saved` model calls not made
    because the verdict was certain. `evidence_digest` is the digest of the score columns the
    verdict was computed from.
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
    reasons: tuple[str, ...]
    would_change: tuple[str, ...]
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
