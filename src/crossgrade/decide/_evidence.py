"""The columns a verdict is computed from, and the safety rates beside them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossgrade.decide._observations import Design
from crossgrade.decide._thresholds import TEXT_KEPT
from crossgrade.decide._words import count, percent
from crossgrade.domain import AgentRuns, Origin, SafetyMeasure
from crossgrade.routing import Router
from crossgrade.stats import CalibratedDifference, CalibratedRate

FloatColumn: TypeAlias = NDArray[np.float64]
BoolColumn: TypeAlias = NDArray[np.bool_]
TextColumn: TypeAlias = NDArray[np.object_]
IntColumn: TypeAlias = NDArray[np.int64]

RouterKind: TypeAlias = Literal["table", "topics", "text"]
"""A table of segments, a table of discovered ones, or a score of the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelColumns:
    """One model's columns, aligned with the samples of the evidence (length n).

    `score` is NaN if the model has no score on that sample. `error` marks calls that
    failed, `unparsed` answers in which nothing could be found to score, `truncated` answers that
    ended at a token limit (None: not known of any). `cost_usd`, `latency_ms` and `ttft_ms` are NaN if
    unknown. `output` holds texts or None.
    `cache_saved_usd` is what reading input from the provider's cache took off the cost (NaN: unknown).
    `settings_digests` are the distinct decoding settings and prompt templates seen. `human`
    holds a person's score of the same answer (NaN if nobody looked), drawn at random: it
    corrects a judge's scores. `out_of_range` counts scores outside [0, 1], which are NaN here.
    Where a sample was asked in several epochs, `error` marks those that failed every time, and
    `calls` and `failed_calls` count what was asked; None: each sample is one call. `runs` is given where an
    agent worked on the samples, each of which is a task.
    """

    model: str
    score: FloatColumn
    error: BoolColumn
    unparsed: BoolColumn
    cost_usd: FloatColumn
    latency_ms: FloatColumn
    ttft_ms: FloatColumn
    output: TextColumn | None = None
    origin: Origin = Origin.OWN
    settings_digests: tuple[str, ...] = ()
    prompt_digests: TextColumn | None = None
    stated_mean: float | None = None
    out_of_range: int = 0
    epochs: int = 1
    human: FloatColumn | None = None
    calls: FloatColumn | None = None
    failed_calls: FloatColumn | None = None
    truncated: BoolColumn | None = None
    cache_saved_usd: FloatColumn | None = None
    runs: AgentRuns | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterGain:
    """What a router gains over a simpler one on the training half.

    `mean` is the mean gain in score over all shares that could be moved, with its standard error.
    """

    kind: RouterKind
    against: Literal["random"] | RouterKind
    mean: float
    standard_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveredSegment:
    """A segment that was found in the training samples' texts, named by the words that set it apart.

    `n` counts the training samples in it. `examples` are the ids of up to ten that are nearest to its middle.
    """

    name: str
    n: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterReport:
    """What the training half of the samples said about routers.

    `kind` is "table" (a score for each segment), "topics" (one for each `discovered` segment), "text" (a
    score of the request's text, too) or "none": no router beat a simpler one by more than noise. `gains` are
    the comparisons. `trained_on` counts samples, which have no part in the certificates.
    """

    kind: RouterKind | Literal["none"]
    trained_on: int
    gains: tuple[RouterGain, ...]
    discovered: tuple[DiscoveredSegment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterScores:
    """A router (None: none is worth it) and its scores.

    `trained` marks the samples that were put aside to train it, which have no part in the tests. `score` is
    each sample's score by the router, `table_score` by the table of segments (NaN: the sample has none).
    """

    report: RouterReport
    trained: BoolColumn
    router: Router | None = None
    score: FloatColumn | None = None
    table_score: FloatColumn | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingAudit:
    """What pairing found and left out; each count is of samples, each example a sample id.

    `unmatched_by_candidate` counts the samples that only one of the incumbent and that candidate has;
    without an entry `unmatched` holds for the candidate.
    """

    unmatched: int = 0
    duplicates: int = 0
    key_conflicts: int = 0
    examples: tuple[str, ...] = ()
    unmatched_by_candidate: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Scores of the incumbent and its candidates on the same samples, in file order.

    All columns have length n. `segment`, `cluster` hold labels (None: the column is absent);
    `weight` sums to anything positive. `planned` is how many samples were planned where a
    sequential run stopped early; `order` is the order in which samples were asked (indices
    into the columns), given when the run shuffled them. `chance` is the score of guessing;
    `chance_by_segment` overrides it. `source` says in words where the scores come from.

    A `segment` is known when a request arrives, so a policy may split by it. A `group` is a
    label for looking only (a subject, a file): guards search it for a broken part where there
    is no segment, and no policy splits by it. `planned_by_segment` divides `planned`, and
    `heaviest` is the largest weight among the planned samples (None: among these). `judge`
    names the model that scored, None if no model did.

    `unbroken` is how many entries of `order` come before the first planned sample that nobody was asked about
    (None: there is none), `unbroken_by_segment` the same for the samples of a segment. `body_bytes` is the
    length of each request, which a policy may be limited by (NaN: unknown). `uncarried` names the field that
    keeps a request from models of other APIs than the clients' (None: nothing).

    `design` says how the run turned samples into observations (None: results that were imported, or an older
    run, which paired every sample and shuffled them one by one). `position` is then each sample's place
    in the shuffled order, from 0, and `cluster_size`, `cluster_size_in_segment` are the numbers of planned
    samples in its cluster.

    With `routing` the segments are not tested: what is tested are the requests with the highest scores.

    `unit` is given where samples of a table that ask the same stand together in `order`, as one observation
    (None: as `units` says).

    `label_probability` is that with which each sample was drawn to be scored by people, in (0, 1] (None: all
    had the same; NaN: the sample was in no draw). `label_skipped` is the share of the sample's labels that
    people skipped, in [0, 1] (None: of none). A skipped label stands in `human` at 1 for the incumbent and at
    0 for every candidate.
    """

    workload: str
    sample_ids: TextColumn
    incumbent: ModelColumns
    candidates: tuple[ModelColumns, ...]
    segment: TextColumn | None = None
    cluster: TextColumn | None = None
    weight: FloatColumn | None = None
    input: TextColumn | None = None
    target: TextColumn | None = None
    audit: PairingAudit = field(default_factory=PairingAudit)
    planned: int | None = None
    order: NDArray[np.int64] | None = None
    chance: float = 0.0
    chance_by_segment: dict[str, float] = field(default_factory=dict)
    zero: str = "worthless"
    source: str = ""
    group: TextColumn | None = None
    planned_by_segment: dict[str, int] = field(default_factory=dict)
    judge: str | None = None
    heaviest: float | None = None
    unbroken: int | None = None
    unbroken_by_segment: dict[str, int] = field(default_factory=dict)
    body_bytes: FloatColumn | None = None
    uncarried: TextColumn | None = None
    design: Design | None = None
    position: NDArray[np.int64] | None = None
    cluster_size: NDArray[np.int64] | None = None
    cluster_size_in_segment: NDArray[np.int64] | None = None
    routing: RouterScores | None = None
    unit: TextColumn | None = None
    label_probability: FloatColumn | None = None
    label_skipped: FloatColumn | None = None

    @property
    def n(self) -> int:
        """The number of samples."""
        return len(self.sample_ids)

    @property
    def units(self) -> list[str]:
        """The name of each sample's cluster, or its own without one: what is never divided between halves.

        Without clusters, imported samples that ask the same have the name of one of them: they are one
        sample, with their number as weight. A run merges these before it asks.
        """
        if self.unit is not None:
            return [str(name) for name in self.unit.tolist()]
        names = [str(name) for name in self.sample_ids.tolist()]
        if self.cluster is None:
            return names if self.input is None or self.order is not None else self._asked_once(names)
        return [str(cluster or name) for name, cluster in zip(names, self.cluster.tolist(), strict=True)]

    def _asked_once(self, names: list[str]) -> list[str]:
        """Return the least name among the samples that ask what each sample asks, its own if that is unknown.

        Long inputs are cut when they are read, and may differ after it.
        """
        assert self.input is not None
        targets = [None] * self.n if self.target is None else self.target.tolist()
        asked: dict[str, tuple[str, object]] = {}
        for name, text, target in zip(names, self.input.tolist(), targets, strict=True):
            if text and len(str(text)) < TEXT_KEPT:
                asked.setdefault(name, (str(text), target))
        least: dict[tuple[str, object], str] = {}
        for name, question in asked.items():
            least[question] = min(name, least.get(question, name))
        return [least[asked[name]] if name in asked else name for name in names]


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyRate:
    """A model's rate of an event on one suite of prompts, with the run and the day that it comes from.

    `grader` names what graded the answers, and `rate` corrects it by people's labels. `difference` is the
    model's rate less the incumbent's, None for the incumbent itself and where it was not asked. `failed`
    counts the prompts without an answer, which have no part in the rate. `others` counts other runs with
    labels of the same model on the same prompts: each was another chance of a low rate. `corrected`
    counts the drawn answers that a rater labelled again, which may have been after the rate was seen.
    """

    suite: str
    measures: SafetyMeasure
    grader: str
    rate: CalibratedRate
    difference: CalibratedDifference | None = None
    failed: int = 0
    others: int = 0
    corrected: int = 0
    run_id: str | None = None
    measured_on: date | None = None

    @property
    def missing(self) -> str:
        """How many more labels a rate takes, in words."""
        return count(self.rate.labels_missing, "more label")

    @property
    def words(self) -> str:
        """The rate with its interval and bound and its numbers of labels and answers, or what is missing."""
        rate = self.rate
        failed = f", {count(self.failed, 'prompt')} without an answer" if self.failed else ""
        failed += f", {count(self.corrected, 'label')} corrected" if self.corrected else ""
        failed += f", beside {count(self.others, 'other labelled run')}" if self.others else ""
        if rate.value is None or rate.low is None or rate.high is None or rate.upper is None:
            return f"no rate: {self.missing} needed{failed}"
        sure = percent(rate.level)
        return (
            f"{percent(rate.value)} [{percent(rate.low)}, {percent(rate.high)}], at most "
            f"{percent(rate.upper)} with {sure} confidence, from {count(rate.labels, 'label')} of "
            f"{count(rate.n, 'answer')}{failed}"
        )
