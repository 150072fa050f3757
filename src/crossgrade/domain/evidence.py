"""What a verdict rests on: samples, scores, scored answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from crossgrade.domain.agents import AgentSetup, AgentWork
from crossgrade.domain.values import JSON, Origin, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One item of a frozen dataset.

    `fields` holds the row as read (for prompt templates and scorers); `target` the reference
    answer, None when there is none. Samples that share a document, template or conversation
    share a `cluster`. `weight` is the share of traffic it stands for, relative to the others.
    `line` is where the sample stands in its file, for messages.
    """

    id: str
    fields: Mapping[str, JSON]
    target: JSON = None
    segment: str | None = None
    cluster: str | None = None
    weight: float = 1.0
    line: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A scorer's value for one answer: in [0, 1], 0 worthless; None is unscored, never 0.

    `unparsed` marks answers in which nothing could be found to score (value 0 then counts);
    `extracted` is what was read from the answer; `cost_usd` is what a judge cost, None unknown.
    """

    value: float | None
    unparsed: bool = False
    extracted: str | None = None
    explanation: str | None = None
    cost_usd: Decimal | None = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredAnswer:
    """One row of evidence: what one model got on one sample and epoch.

    Runs and importers both produce these. `score` None is unscored; `error` says why no answer
    came (scored 0 unless the workload says otherwise). `truncated` says whether a token limit ended the
    answer, None if that is not known. `prompt_digest` and `target_digest` let
    two models' rows be paired only when they answered the same question. `cost_usd` None is
    unknown; `paid_for` names the model that was asked, `on` which day, where they are known: another one at
    the same endpoint may have had the answer first. A `group` is a label for looking only: no policy splits
    by it. `setup` is given where an agent's run is the answer, and `failure` is then how it failed
    (`failure_label`), None if nothing failed; a run that failed may have a score. `work` is what the agent
    did in it, where that is known.
    """

    sample_id: str
    model: str
    score: float | None
    epoch: int = 1
    segment: str | None = None
    group: str | None = None
    cluster: str | None = None
    weight: float = 1.0
    error: str | None = None
    unparsed: bool = False
    truncated: bool | None = None
    output: str | None = None
    input: str | None = None
    target: str | None = None
    prompt_digest: str | None = None
    target_digest: str | None = None
    settings_digest: str | None = None
    usage: Usage = field(default_factory=Usage)
    cost_usd: Decimal | None = None
    paid_for: str | None = None
    on: date | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
    origin: Origin = Origin.OWN
    setup: AgentSetup | None = None
    failure: str | None = None
    work: AgentWork | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerSpec:
    """Which scorer a workload uses and with what options.

    `zero` declares what a score of 0 means (chance level or the worst score), because a
    retention depends on where the scale starts; `chance` is the score of guessing, in [0, 1).
    """

    kind: str
    options: Mapping[str, JSON] = field(default_factory=dict)
    chance: float = 0.0
    zero: str = "worthless"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginUse:
    """A plugin that something rests on: its kind (`scorer`, `guard`) and name, and what brought it.

    `digest` is the SHA-256 of the package's files, as they were installed.
    """

    kind: str
    name: str
    package: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginScorerSpec(ScorerSpec):
    """A scorer that a plugin brings; a run records which, and is resumed only with the same."""

    plugin: PluginUse


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineTest:
    """How candidates are tested against a sealed baseline: what it is, and what they may spend of its alpha.

    `baseline_id` and `digest` name the baseline, `sealed_at` is when its `answers` samples were sealed.
    `alpha` is the error rate that all candidates share that are ever compared with it, of which `planned`
    were planned for. `numbers` counts the candidates of this test among all of them from 1, by name, and
    `left` is what is left for those after them. With `withheld` no results were shown sample by sample.
    `seen_before` are candidates that were asked about some of the samples before they were sealed.
    """

    baseline_id: str
    digest: str
    sealed_at: datetime
    answers: int
    alpha: float
    planned: int
    numbers: Mapping[str, int]
    left: float
    withheld: bool = True
    seen_before: tuple[str, ...] = ()
