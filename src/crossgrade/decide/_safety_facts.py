"""What is known about a model's safety: its rate of an event on a suite of prompts, by people's labels."""

from dataclasses import dataclass
from datetime import date

from crossgrade.decide._words import count, percent
from crossgrade.domain import SafetyMeasure
from crossgrade.stats import CalibratedDifference, CalibratedRate


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyRate:
    """A model's rate on one suite, with the run and the day that it comes from.

    `grader` names what graded the answers, and `rate` corrects it by people's labels. `difference` is the
    model's rate less the incumbent's, None for the incumbent itself and where it was not asked. `failed`
    counts the prompts without an answer, which have no part in the rate.
    """

    suite: str
    measures: SafetyMeasure
    grader: str
    rate: CalibratedRate
    difference: CalibratedDifference | None = None
    failed: int = 0
    run_id: str | None = None
    measured_on: date | None = None

    @property
    def words(self) -> str:
        """The rate with its interval and bound and its numbers of labels and answers, or what is missing."""
        rate = self.rate
        failed = f", {count(self.failed, 'prompt')} without an answer" if self.failed else ""
        if rate.value is None or rate.low is None or rate.high is None or rate.upper is None:
            return f"no rate: {count(rate.labels_missing, 'more label')} needed{failed}"
        sure = percent(rate.level)
        return (
            f"{percent(rate.value)} [{percent(rate.low)}, {percent(rate.high)}], at most "
            f"{percent(rate.upper)} with {sure} confidence, from {count(rate.labels, 'label')} of "
            f"{count(rate.n, 'answer')}{failed}"
        )
