"""What the runner asks of the rule that stops it: `decide.Stopping` is one."""

from collections.abc import Mapping
from typing import Protocol

from crossgrade.stats import Retention


class StoppingRule(Protocol):
    """Follows the hypotheses of a run, and says which answers can still change a verdict."""

    def wants(self, candidate: str, segment: str | None) -> bool:
        """Whether another pair of this candidate in this segment is still needed."""

    def update(
        self, candidate: str, segment: str | None, incumbent_score: float, score: float, weight: float = 1.0
    ) -> None:
        """Take the next pair of scores, in the order in which samples were shuffled."""

    def live(self) -> Mapping[str, Retention]:
        """Return each candidate's retention so far, over the whole workload."""


class NeverStop:
    """The rule of a fixed design: every planned sample is asked."""

    def wants(self, candidate: str, segment: str | None) -> bool:  # noqa: ARG002 - the rule's shape
        """Every pair is needed."""
        return True

    def update(
        self, candidate: str, segment: str | None, incumbent_score: float, score: float, weight: float = 1.0
    ) -> None:
        """Nothing is followed."""

    def live(self) -> Mapping[str, Retention]:
        """Nothing is known."""
        return {}
