"""What the runner asks of the rule that stops it: `decide.Stopping` is one."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from crossgrade.decide import RunDesign
from crossgrade.domain import Sample
from crossgrade.stats import Retention


class StoppingRule(Protocol):
    """Follows the hypotheses of a run, and says which answers can still change a verdict."""

    @property
    def gave_up(self) -> bool:
        """Whether the run ended undecided because it would hardly end otherwise."""

    def wants(self, candidate: str, segment: str | None) -> bool:
        """Whether another answer of this candidate in this segment is still needed."""

    def update(
        self,
        sample: Sample,
        position: int,
        incumbent_score: float | None,
        scores: Mapping[str, float | None],
        *,
        too_long: Collection[str] = (),
    ) -> None:
        """Take the next sample with its scores, in the order in which samples were shuffled."""

    def replan(self, plan: Sequence[Sample], design: RunDesign, *, idle: Collection[str] = ()) -> None:
        """Go on under another design: the blocks were chosen."""

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
        too_long: Collection[str] = (),
    ) -> None:
        """Nothing is followed."""

    def replan(self, plan: Sequence[Sample], design: RunDesign, *, idle: Collection[str] = ()) -> None:
        """Nothing is followed."""

    def live(self) -> Mapping[str, Retention]:
        """Nothing is known."""
        return {}
