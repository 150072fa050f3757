"""One sample of a run: the variants that answer it, their calls, and the scores it counts with."""

from dataclasses import dataclass, field
from decimal import Decimal
from statistics import fmean

from crossgrade.calls import Call, OpenModel, digest
from crossgrade.domain import ModelRequest, Sample, Score, Variant
from crossgrade.evaluate._prompt import Prompt
from crossgrade.store import RecordedAnswer


@dataclass(slots=True, kw_only=True, eq=False)
class OpenVariant:
    """A variant of a run and the model that answers for it."""

    variant: Variant
    model: OpenModel
    settings_digest: str = field(init=False)
    _prompt: Prompt = field(init=False)

    def __post_init__(self) -> None:
        """Parse the prompt once."""
        self._prompt = Prompt(self.variant)
        self.settings_digest = digest(self.variant.settings)

    @property
    def name(self) -> str:
        """The variant's name."""
        return self.variant.name

    def input(self, sample: Sample) -> str:
        """Return what the sample puts into the prompt, for people to read."""
        return self._prompt.input(sample)

    def request(self, sample: Sample) -> ModelRequest:
        """Return what this variant asks about a sample. Raises `DataError` for a field it lacks."""
        return self._prompt.request(sample)

    def call(self, sample: Sample, epoch: int) -> "SampleCall":
        """Return the call that asks about a sample in one epoch."""
        request = self.request(sample)
        return SampleCall(
            model=self.model,
            request=request,
            digest=self.model.digest(request, epoch),
            variant=self,
            epoch=epoch,
        )


@dataclass(slots=True, kw_only=True, eq=False)
class SampleCall(Call):
    """One answer that a case waits for: that of one variant in one epoch.

    `attempt` counts from 1 over the parts of a run. `score` follows the answer. `recorded` is the answer
    that an earlier part of the run left.
    """

    variant: OpenVariant
    epoch: int
    attempt: int = 1
    score: Score | None = None
    recorded: RecordedAnswer | None = None

    @property
    def is_scored_again(self) -> bool:
        """Return whether the answer of this attempt has a score in the store, which is never changed."""
        recorded = self.recorded
        return recorded is not None and recorded.attempt == self.attempt and recorded.score is not None

    def value(self, *, errors_count_as_zero: bool) -> float | None:
        """Return the score that counts, or None if the answer is unscored or left out."""
        if self.failed:
            return 0.0 if errors_count_as_zero else None
        return None if self.score is None else self.score.value


@dataclass(slots=True, kw_only=True, eq=False)
class Case:
    """A sample that is asked. `missing` calls have no outcome yet; `done` is set once all is committed.

    `reserved_usd` is set aside for its scores until they arrive.
    """

    position: int
    sample: Sample
    calls: list[SampleCall]
    missing: int = 0
    done: bool = False
    reserved_usd: Decimal = Decimal(0)

    @property
    def needs_scores(self) -> bool:
        """Return whether an answer has no score yet, or may still come."""
        return any(call.score is None and not call.failed for call in self.calls)

    def mean(self, name: str, *, errors_count_as_zero: bool) -> float | None:
        """Return a variant's mean score over the epochs that have one, or None if none has."""
        values = [
            call.value(errors_count_as_zero=errors_count_as_zero)
            for call in self.calls
            if call.variant.name == name
        ]
        known = [value for value in values if value is not None]
        return fmean(known) if known else None
