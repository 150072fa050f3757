"""One sample of a run: the answers it waits for, and the scores it counts with."""

from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean

from crossgrade.domain import ModelAnswer, ModelRequest, Sample, Score
from crossgrade.evaluate.runner._contestant import Contestant
from crossgrade.store import RecordedAnswer


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One answer that a case waits for: a contestant's, in one epoch.

    `attempt` counts from 1 over the parts of a run; `reserved_usd` is set aside while the call
    is in flight. It ends with an `answer`, or `failed` for good. `score` follows. `recorded` is
    the answer that an earlier part of the run left.
    """

    contestant: Contestant
    epoch: int
    request: ModelRequest
    digest: str
    attempt: int = 1
    reserved_usd: Decimal = Decimal(0)
    answer: ModelAnswer | None = None
    failed: bool = False
    score: Score | None = None
    recorded: RecordedAnswer | None = None

    @property
    def is_scored_again(self) -> bool:
        """Whether the answer of this attempt has a score in the store, which is never changed."""
        recorded = self.recorded
        return recorded is not None and recorded.attempt == self.attempt and recorded.score is not None

    @property
    def is_open(self) -> bool:
        """Whether the call has no outcome yet."""
        return self.answer is None and not self.failed

    def value(self, *, errors_count_as_zero: bool) -> float | None:
        """Return the score as it counts: None when the answer is unscored or left out."""
        if self.failed:
            return 0.0 if errors_count_as_zero else None
        return None if self.score is None else self.score.value


@dataclass(slots=True, kw_only=True, eq=False)
class Case:
    """A sample as it is asked: `missing` calls have no outcome yet; `done` once all is committed.

    `reserved_usd` is set aside for its scores until they are there.
    """

    position: int
    sample: Sample
    calls: list[Call]
    missing: int = 0
    done: bool = False
    reserved_usd: Decimal = Decimal(0)

    @property
    def needs_scores(self) -> bool:
        """Whether an answer has no score yet, or may still come."""
        return any(call.score is None and not call.failed for call in self.calls)

    def mean(self, name: str, *, errors_count_as_zero: bool) -> float | None:
        """Return a contestant's mean score over the epochs that have one, None without any."""
        values = [
            call.value(errors_count_as_zero=errors_count_as_zero)
            for call in self.calls
            if call.contestant.name == name
        ]
        known = [value for value in values if value is not None]
        return fmean(known) if known else None
