"""What a context probe found out: evidence, and certificates of a length."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from crossgrade.stats import Proportion, Retention

DEPTH_BINS = 5

ProbeEnding = Literal["determined", "not determined", "budget", "truncated", "no base"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveLength:
    """The first length at which quality is under the floor, with an interval; None is not determined.

    `low` and `high` hold it with `level` credibility, where a `high` of the longest tested length stands
    for that and more; `at_least` and `at_most` say that it lies beyond the lengths that were to be
    tested. `floor` is the share of right answers that must hold, as the reference is estimated; where the
    reference is another model's score at the same length it is the share of that which must. `reason` says
    why there is no value.
    """

    tokens: int | None
    low: int
    high: int
    level: float
    floor: float
    at_least: bool = False
    at_most: bool = False
    reason: str | None = None
    reason_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RungReport:
    """One length: the share of right answers with its interval, overall and by depth, and what it cost.

    `depths` are (right, n) in five bins from the start of the hay to its end. `failures` are calls
    without an answer; they count as wrong. Times are medians of calls that were answered. `canary` tells
    whether the fact in the prompt's second line was found (None: not asked). `against` is the share that
    the other model had of the same questions, where one was asked.
    """

    tokens: int
    share: Proportion
    haystacks: int
    depths: tuple[tuple[float, int], ...]
    failures: int
    refused: bool
    ttft_ms: float | None
    latency_ms: float | None
    memory_mib: float | None
    input_tokens: int
    cached_tokens: int
    canary: bool | None = None
    against: Proportion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthCertificate:
    """A sequential retention test on fresh haystacks at one length.

    It passed where the score at `tokens` retains the floor of the score on the gold passages alone or,
    with `against`, of that model's score on the same prompts, at error rate `retention.alpha`.
    `body_bytes` is the size of the smallest prompt it was tested with.
    """

    tokens: int
    retention: Retention
    body_bytes: int
    against: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the probe used; `cost_usd` None is unknown. Calls of an earlier start are counted too."""

    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """A finished or ended probe of one offer; `identity` is its provider, model and address.

    `effective` is for the score on the gold passages alone, `effective_against` for that of the model
    `against` at the same length.
    """

    probe_id: str
    offer: str
    identity: tuple[str, str, str | None]
    measured_at: datetime
    ending: ProbeEnding
    reason: str | None
    effective: EffectiveLength | None
    certificates: tuple[LengthCertificate, ...]
    rungs: tuple[RungReport, ...]
    base: Proportion
    no_documents: Proportion
    floor: float
    alpha: float
    kinds: tuple[str, ...]
    kind_shares: dict[str, tuple[float, int]]
    tokenizer: str
    exact: bool
    overhead_tokens: int | None
    documents: int
    pool_tokens: int
    unique_share: float
    model: str | None
    runtime: str | None
    spent: Spent
    notes: tuple[str, ...] = field(default_factory=tuple)
    against: str | None = None
    effective_against: EffectiveLength | None = None
    reason_code: str | None = None

    @property
    def certified(self) -> LengthCertificate | None:
        """The certificate at the first tested length where every test passed, if there is one."""
        missed = {each.tokens for each in self.certificates if each.retention.outcome != "pass"}
        return next((each for each in self.certificates if each.tokens not in missed), None)
