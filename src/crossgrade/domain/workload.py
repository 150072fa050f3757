"""A named class of the team's traffic, and what it demands of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Literal

from crossgrade.domain.agents import AgentSpec, AgentTrialsSpec
from crossgrade.domain.evidence import BaselineTest, ScorerSpec
from crossgrade.domain.offers import Variant
from crossgrade.domain.safety import SafetyLimit, SafetySuite
from crossgrade.domain.tuning import TuningTest

EvidenceClass = Literal["plain", "agentic", "regulated", "gated"]
"""`agentic` needs trials of the team's agent. The last two stay with the incumbent: importing the evidence
that they need is not supported yet."""

Mode = Literal["sequential", "fixed", "anytime"]

GrowthBar = Literal["judge", "cluster", "whole_floor"]
"""What is tested once, at the end, so that a route cannot grow from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What a candidate must meet besides quality; None asks nothing.

    Latencies are milliseconds at the 95th percentile over the run; `error_rate` is a share of
    calls; `documents` names what a `regulated` workload waits for; `licences` the licence
    terms that are allowed; `safety` the suites on which the rates of both models must be known.
    """

    evidence: EvidenceClass = "plain"
    context_tokens: int | None = None
    regions: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    latency_p95_ms: float | None = None
    ttft_p95_ms: float | None = None
    error_rate: float | None = None
    documents: tuple[str, ...] = ()
    safety: tuple[SafetyLimit, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedTraffic:
    """What the log behind a workload's samples says of its traffic; None is unknown.

    `represented_share` is the share of the workload's requests that the samples stand for, in [0, 1], and
    `left_out` the shares of all others by cause. `requests_per_month` counts the represented requests. It
    has the 95 % interval `low` to `high`, or none where the log is too short. `hours` is the log's length.
    `peak_tokens_per_minute` counts the tokens in its busiest minute, of all requests of the workload.
    `cache_saving_share` is the share of the represented requests' cost that reading repeated system prompts
    from the provider's cache would have saved. The `_per_run` figures are means over the runs of an agent
    that the log shows: a run is a session in which the model read what tools gave.
    """

    represented_share: float | None = None
    left_out: Mapping[str, float] = field(default_factory=dict)
    hours: float | None = None
    requests_per_month: int | None = None
    low: float | None = None
    high: float | None = None
    peak_tokens_per_minute: int | None = None
    cache_saving_share: float | None = None
    calls_per_run: float | None = None
    input_tokens_per_run: float | None = None
    cached_tokens_per_run: float | None = None
    output_tokens_per_run: float | None = None

    @property
    def is_partial(self) -> bool:
        """Whether a part of the traffic is known not to be represented."""
        return self.represented_share is not None and self.represented_share < 1

    @property
    def shown_share(self) -> float | None:
        """The represented share as words show it: a part is never shown as the whole."""
        return min(self.represented_share or 0.0, 0.999) if self.is_partial else self.represented_share


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A workload as configured: variants, dataset, scorer, and the test's settings.

    `floor` is the retention that must hold, in (0, 2); `whole_floor` what must hold besides of the whole
    workload where a router moves a part; `alpha` the error rate a side, which is this
    workload's part of `family_alpha` where all workloads of a project share one; `planned` the largest number
    of samples that every model answers (None: the whole dataset); `requests_per_month` counts the requests
    that the samples stand for and prices the decision (None: unknown); `logged_traffic` is what the log said
    of them.
    `segment` and `cluster` name dataset fields. With `splits_only` each segment is tested for itself and
    nothing moves the whole. With `blocks` the incumbent may answer fewer samples than the candidates. With
    `every_hypothesis` a run goes on when the verdict is certain and hypotheses are open. With `router` half
    of the samples train a router, and the others certify what it moves. `client_api` is the API that the
    workload's clients speak, and `across` the candidates whose API is another. A sample may name, in the
    field `uncarried_field`, the field of its request that no other API can express: then it is not put to
    these, unless it is one of the parameters in `dropped`, which the gateway leaves out. `probes` are ids of
    context probes whose certified lengths limit what candidates may answer. `baseline` is the sealed baseline
    whose answers are the incumbent's, which is then not asked (None: it is asked). `public_since` is the day
    on which the samples became public, and `texts_until` the last day on which their texts may be kept.
    `suite` is the safety suite whose prompts are the samples, for a workload that was derived from another.
    `trials` are runs of the agent behind the requests, which `requirements.evidence: agentic` asks for.
    With an `agent` the dataset is a folder of tasks, and an answer is a trial: one run of the agent on one
    task, with its calls answered by the variant's model.
    `rounds` is how many tests were planned: the decision on the workload as it is configured, whose error
    rate is `alpha`, and those of tuned candidates after it, which have as much again together. `tuning` is
    given where a tuned candidate is tested.
    """

    name: str
    dataset: Path
    incumbent: Variant
    candidates: tuple[Variant, ...]
    scorer: ScorerSpec
    floor: float = 0.85
    whole_floor: float | None = None
    alpha: float = 0.05
    rounds: int = 1
    family_alpha: float | None = None
    mode: Mode = "sequential"
    planned: int | None = None
    epochs: int = 1
    seed: int = 1
    segment: str | None = None
    cluster: str | None = None
    weight: str | None = None
    id_field: str | None = None
    target_field: str = "target"
    requests_per_month: int | None = None
    logged_traffic: LoggedTraffic | None = None
    max_cost_usd: Decimal | None = None
    errors_count_as_zero: bool = True
    splits_only: bool = False
    every_hypothesis: bool = False
    blocks: bool = True
    router: bool = False
    client_api: str | None = None
    uncarried_field: str = "uncarried"
    across: tuple[str, ...] = ()
    dropped: frozenset[str] = frozenset()
    probes: tuple[str, ...] = ()
    baseline: BaselineTest | None = None
    public_since: date | None = None
    texts_until: date | None = None
    requirements: Requirements = field(default_factory=Requirements)
    suite: SafetySuite | None = None
    trials: AgentTrialsSpec | None = None
    agent: AgentSpec | None = None
    tuning: TuningTest | None = None

    @property
    def alpha_of_rounds(self) -> float:
        """The error rate of all planned rounds together, of which the first has a half if there are more."""
        return self.alpha if self.rounds == 1 else 2 * self.alpha


def growth_bars(*, judge: object, cluster: object, whole_floor: object) -> tuple[GrowthBar, ...]:
    """Return what bars growth: those of these that are there (not None).

    They are tested once, at the end, and no audit can go on from such a test. `judge` is the
    model that scored, `cluster` what groups samples, and `whole_floor` the floor of the whole.
    """
    given: dict[GrowthBar, object] = {"judge": judge, "cluster": cluster, "whole_floor": whole_floor}
    return tuple(name for name, value in given.items() if value is not None)
