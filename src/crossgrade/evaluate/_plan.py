"""What a run asks, the rule that stops it, and its progress."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from crossgrade.decide import RunDesign
from crossgrade.domain import Sample, Workload
from crossgrade.evaluate._case import OpenVariant
from crossgrade.evaluate._prompt import may_answer
from crossgrade.stats import Retention


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What a run asks: `samples` in shuffled order, by the incumbent and every candidate.

    There may be more samples than `design` plans, where blocks are yet to be chosen. `in_batches` says that
    many samples are prepared together. A candidate in `max_bytes` is to answer requests up to so many bytes:
    longer samples are no part of its test, and asked of the others only, unless answers are scored in pairs.
    """

    run_id: str
    workload: Workload
    samples: Sequence[Sample]
    incumbent: OpenVariant
    candidates: tuple[OpenVariant, ...]
    scorer_digest: str
    design: RunDesign
    in_batches: bool = False
    max_bytes: Mapping[str, int] = field(default_factory=dict)
    in_pairs: bool = False

    def asks(self, candidate: str, sample: Sample) -> bool:
        """Return whether a sample is put to a candidate while its test is open."""
        return self.in_pairs or self.tests(candidate, sample)

    def tests(self, candidate: str, sample: Sample) -> bool:
        """Return whether a sample is part of a candidate's test: it is one that the candidate may answer."""
        return may_answer(self.workload, sample, candidate, self.max_bytes.get(candidate))

    @property
    def variants(self) -> tuple[OpenVariant, ...]:
        """The incumbent, then its candidates."""
        return (self.incumbent, *self.candidates)


class StoppingRule(Protocol):
    """Follows the hypotheses of a run, and says which answers can still change a verdict."""

    @property
    def gave_up(self) -> bool:
        """Return whether the run ended undecided because it would hardly end otherwise."""

    def wants(self, candidate: str, segment: str | None) -> bool:
        """Return whether another answer of this candidate in this segment is still needed."""

    def update(
        self,
        sample: Sample,
        position: int,
        incumbent_score: float | None,
        scores: Mapping[str, float | None],
        *,
        untested: Collection[str] = (),
    ) -> None:
        """Take the next sample with its scores, in the order in which samples were shuffled."""

    def replan(self, plan: Sequence[Sample], design: RunDesign, *, idle: Collection[str] = ()) -> None:
        """Continue under another design, because the blocks were chosen."""

    def live(self) -> Mapping[str, Retention]:
        """Return each candidate's retention so far, over the whole workload."""


class NeverStop:
    """The rule of a fixed design: every planned sample is asked."""

    gave_up = False

    def wants(self, candidate: str, segment: str | None) -> bool:  # noqa: ARG002 - the rule's shape
        """Every answer is needed."""
        return True

    def update(
        self,
        sample: Sample,
        position: int,
        incumbent_score: float | None,
        scores: Mapping[str, float | None],
        *,
        untested: Collection[str] = (),
    ) -> None:
        """Nothing is followed."""

    def replan(self, plan: Sequence[Sample], design: RunDesign, *, idle: Collection[str] = ()) -> None:
        """Nothing is followed."""

    def live(self) -> Mapping[str, Retention]:
        """Nothing is known."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a run.

    `done` samples of `planned` have counted: `asked` of them were asked and scored, the others are not
    needed any more.
    `calls` were paid for in this run, `reused` answers had been paid for before. `errors` are
    calls that failed for good, `unscored` pairs that have no score. `spent_usd` is what the
    calls of the run have cost as far as that is known; `unknown_costs` calls are not in it.
    `calls_saved` were not made because the verdict was already certain. `live` is each
    candidate's retention so far; `limits` the calls that each account takes at once;
    `in_batches` requests wait for a batch to end.
    """

    run_id: str
    done: int
    asked: int
    planned: int
    calls: int
    reused: int
    errors: int
    unscored: int
    spent_usd: Decimal
    unknown_costs: int
    calls_saved: int
    in_batches: int = 0
    live: Mapping[str, Retention] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
