"""The rate of an event among a model's answers, from a grader's verdicts and people's labels of some of them.

A grader says of every answer whether the event happened: 1, 0, or None where its own answer is unreadable.
People label a random subset, blind to the verdicts. With W_g the share of verdict g among all N answers,
w_g its share among the n labels, and q_g the rate of the event among the labels of that verdict, the rate is

    k / n  +  sum over g of (W_g - w_g) q_g,        k = the sum of the labels

which is post-stratification by the verdict (W. G. Cochran, Sampling Techniques, 3rd edition, 1977, section
5A.9) as a difference estimator. A grader that is wrong in either direction therefore cannot move it, and one
that says nothing leaves the labels' own rate k / n. Each q_g is drawn to k / n by 1 label, so that a
verdict with one or two labels does little harm. Without an event the rate is 0.

The labels say about the answers as much as `effective_labels` would without a grader:

    sum W_g q_g (1 - q_g) + B  divided by  sum W_g q_g (1 - q_g) / n + B / N,    B = sum W_g (q_g - q)^2

with q_g drawn to k / n by 2 labels and q their mean. That is between n and N. The bounds are those of
a binomial of that many labels at the estimated rate (E. L. Korn and B. I. Graubard, Survey Methodology 24
(1998) 193-201): for the one-sided upper bound Clopper and Pearson's, for the interval the Jeffreys interval
(L. D. Brown, T. T. Cai and A. DasGupta, Statist. Sci. 16 (2001) 101-133). No upper bound is below
1 - (1 - level)^(1 / n), what n labels without an event show: 5.8 % for 50, 2 % for 149, 1 % for 299, 0.5 %
for 598. So a grader that looks perfect on the labels cannot support a limit that these are too few for.

The interval is about the rate of the model over all prompts from which the graded ones are a random draw. It
therefore also covers the rate over the graded answers alone, with room to spare. It assumes that the labelled
answers are a random draw of the graded ones, that answers are independent, and that the labels are right.
"""

import math
from dataclasses import dataclass

from crossgrade.domain import Reason
from crossgrade.stats._graded import UNREAD, Graded, Grades, Labels, RateFit
from crossgrade.stats._intervals import Proportion, proportion_interval
from crossgrade.stats._pairs import read_rate

LEAST_RATE_LABELS = 50
"""A rate takes this many labels of the model's answers. With fewer its interval is too wide to be of use."""


METHOD = "post-stratified by the grader's verdict"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedRate:
    """A model's rate of an event by people's labels and a grader's verdicts, in [0, 1].

    `low` to `high` is the two-sided interval at `level`, `upper` the one-sided upper bound at `level`, which
    a limit is compared with. All four are None with fewer than 50 labels, and `reason` says how many more
    it takes. `n` counts the graded answers, of which `unread` have no readable verdict, and `grader_rate` is
    the share of all n that the grader flagged. `labels` counts the labelled answers, `events` is the sum of
    the labels, and `skipped` counts answers that were drawn and not labelled: for `low` none of them is an
    event, for `high` and `upper` all are. `sensitivity` is the share of the labelled events that the grader
    flagged, `specificity` the share of the labelled others that it did not flag. An unread verdict counts
    against both. A label of at least 0.5 counts as an event there.
    """

    value: float | None
    low: float | None
    high: float | None
    upper: float | None
    level: float
    n: int
    unread: int
    grader_rate: float | None
    labels: int
    events: float
    skipped: int
    effective_labels: float
    sensitivity: Proportion
    specificity: Proportion
    method: str
    reason: str | None = None
    reason_code: str | None = None

    @property
    def labels_missing(self) -> int:
        """How many more labels it takes for a rate."""
        return max(LEAST_RATE_LABELS - self.labels, 0)

    @property
    def has_too_few_answers(self) -> bool:
        """Whether labels of all answers that are left would be too few for a rate: it takes more prompts."""
        return self.labels_missing > self.n - self.labels - self.skipped


def calibrated_rate(grades: Grades, labels: Labels, level: float = 0.95) -> CalibratedRate:
    """Return a model's rate of an event with its interval, from verdicts on n answers and labels of some.

    See the module for the formulas and the assumptions. Raises `UsageError` for a verdict that is not 1, 0 or
    None, for a label outside [0, 1], and for a label of an answer that was not graded.
    """
    read_rate("level", level)
    graded = Graded.read(grades, labels)
    sensitivity, specificity = _grader_errors(graded, level)
    value = low = high = upper = None
    effective, why = float(graded.labels), _too_few(graded)
    if why is None:
        fit = RateFit.of(graded)
        value, effective = fit.value, fit.effective
        least = most = fit
        if graded.skipped.any():
            least, most = (RateFit.of(graded.with_skipped_as(label)) for label in (0.0, 1.0))
        low, upper = min(least.interval(level)[0], value), max(most.upper_bound(level), value)
        high = max(most.interval(level)[1], upper)
    return CalibratedRate(
        value=value,
        low=low,
        high=high,
        upper=upper,
        level=level,
        n=graded.n,
        unread=int((graded.verdict == UNREAD).sum()),
        grader_rate=float((graded.verdict == 1).mean()) if graded.n else None,
        labels=graded.labels,
        events=float(graded.label[graded.labelled].sum()),
        skipped=int(graded.skipped.sum()),
        effective_labels=effective,
        sensitivity=sensitivity,
        specificity=specificity,
        method=METHOD,
        reason=why.text if why else None,
        reason_code=why.code if why else None,
    )


def labels_for_limit(limit: float, level: float = 0.95) -> int:
    """Return the least number of labels, none of them an event, whose upper bound is at most `limit`.

    It is the least n with 1 - (1 - level)^(1 / n) <= limit, and at least 50: no rate has fewer.
    """
    read_rate("limit", limit), read_rate("level", level)
    return max(LEAST_RATE_LABELS, math.ceil(math.log1p(-level) / math.log1p(-limit) - 1e-9))


def _too_few(graded: Graded) -> Reason | None:
    missing = LEAST_RATE_LABELS - graded.labels
    if missing <= 0:
        return None
    return Reason(
        "too-few-labels",
        f"people labelled {graded.labels} of {graded.n} answers; a rate takes {missing} more",
    )


def _grader_errors(graded: Graded, level: float) -> tuple[Proportion, Proportion]:
    """Return the grader's sensitivity and specificity on the labelled answers."""
    verdict, event = graded.verdict[graded.labelled], graded.label[graded.labelled] >= 0.5
    found, cleared = int((event & (verdict == 1)).sum()), int((~event & (verdict == 0)).sum())
    return (
        proportion_interval(found, int(event.sum()), level),
        proportion_interval(cleared, int((~event).sum()), level),
    )
