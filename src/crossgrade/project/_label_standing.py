"""How far a labelling is, for its owner: bounds, agreement, and each rater's pace and drift."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from crossgrade.project._label_pilots import still_to_draw
from crossgrade.project._label_rules import (
    Assigner,
    Assignment,
    LabelsGiven,
    pace_of,
    pace_warning,
    thirds_of,
)
from crossgrade.store import LabelAction, LabelDraw, LabelScale, Rater

_DISAGREED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelBound:
    """What the labels so far make of a candidate's retention (None: unknown), for the owner only.

    `value`, `low` and `high` are the corrected retention and its bounds, `judged` what the judge alone says,
    `outcome` is `pass`, `fail` or `undecided`. `needed` is the number of labels that would probably certify
    a candidate as good as the incumbent, whatever the bound is (None: no number of labels, or unknown). The
    bound counts only when all drawn items are labelled or skipped: until then it is for information.
    """

    candidate: str
    floor: float
    judged: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    outcome: str = "undecided"
    labels: int = 0
    needed: int | None = None
    reason: str | None = None

    @property
    def words(self) -> str:
        """The bound in a sentence without its end."""
        more = ""
        if self.needed is not None:
            more = f"; about {self.needed:,} labels in all would certify a candidate as good as the incumbent"
        if self.value is None or self.low is None or self.high is None:
            judged = "" if self.judged is None else f", the judge alone says {self.judged:.3f}"
            return f"{self.reason or 'not known yet'}{judged}{more}"
        return (
            f"retention {self.value:.3f} ({self.low:.3f} to {self.high:.3f}) at a floor of {self.floor:g} "
            f"so far, {self.outcome}{more}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterDrift:
    """How a rater's mean score moved from the first third of the labels to the last, with a 95 % interval.

    `first_agreement` and `last_agreement` are the mean of 1 minus the distance from the other raters' mean
    score of the same items, in [0, 1], None if nobody else labelled them.
    """

    first_mean: float
    last_mean: float
    low: float
    high: float
    first_agreement: float | None = None
    last_agreement: float | None = None

    @property
    def has_moved(self) -> bool:
        """Return whether the interval leaves out 0."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterStanding:
    """How far a rater is, for the owner: counts, hours at work, median seconds an item, drift, warning."""

    rater: Rater
    has_entered: bool
    labelled: int
    skipped: int
    left: int
    hours: float
    median_s: float | None = None
    drift: RaterDrift | None = None
    warning: str | None = None

    @property
    def state(self) -> str:
        """Whether the rater is suspended, has not come yet, has more to do or is done."""
        if self.rater.is_suspended:
            return "suspended"
        if not self.has_entered:
            return "not entered"
        return "labelling" if self.left else "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelAgreement:
    """Krippendorff's alpha of items that several raters scored, with its interval (None: undefined)."""

    alpha: float | None
    low: float | None
    high: float | None
    items: int

    @property
    def words(self) -> str:
        """The agreement in a sentence without its end."""
        if self.alpha is None or self.low is None or self.high is None:
            return f"not defined for {self.items:,} items of several raters"
        return (
            f"Krippendorff's alpha {self.alpha:.2f} ({self.low:.2f} to {self.high:.2f}) on "
            f"{self.items:,} items of several raters"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelProgress:
    """How far the labelling is, for the owner.

    `labelled`, `skipped` and `left` add up to `drawn`. `undrawn` is about how many more items are drawn once
    these are done. `disagreements` are the items whose raters' scores
    differ by half of the scale or more, largest first, to be discussed. `doubled` is the number of items
    that more raters scored than the design asks. `hours` are those of all raters.
    """

    subject: str
    draw: LabelDraw
    drawn: int
    labelled: int
    skipped: int
    left: int
    hours: float
    undrawn: int = 0
    bounds: tuple[LabelBound, ...] = ()
    agreement: LabelAgreement | None = None
    disagreements: tuple[str, ...] = ()
    doubled: int = 0
    raters: tuple[RaterStanding, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Return whether every item that shall be labelled is drawn, and is labelled or skipped."""
        return not self.left and not self.undrawn


def labelled_so_far(
    draw: LabelDraw,
    raters: Sequence[Rater],
    given: LabelsGiven,
    assigner: Assigner,
    assignment: Assignment,
    *,
    items: Sequence[str],
    chars: Mapping[str, int],
    entered: Mapping[str, datetime],
    bounds: tuple[LabelBound, ...],
) -> LabelProgress:
    """Return how far the labelling of `items` is: the drawn ones that are still there."""
    waiting = set(assignment.waiting)
    finished = [each for each in items if each not in waiting]
    skipped = sum(map(given.is_skipped, finished))
    standings = tuple(_standing(each, given, assignment, chars, entered) for each in raters)
    return LabelProgress(
        subject=draw.subject,
        draw=draw,
        drawn=len(items),
        labelled=len(finished) - skipped,
        skipped=skipped,
        left=len(items) - len(finished),
        hours=math.fsum(each.hours for each in standings),
        undrawn=still_to_draw(draw),
        bounds=bounds,
        agreement=_agreement(items, given, draw.scale, draw.seed),
        disagreements=_disagreements(items, given),
        doubled=sum(len(given.of_item(each)) > assigner.wanted(each) for each in items),
        raters=standings,
    )


def _standing(
    rater: Rater,
    given: LabelsGiven,
    assignment: Assignment,
    chars: Mapping[str, int],
    entered: Mapping[str, datetime],
) -> RaterStanding:
    done = given.of_rater(rater.id)
    pace = pace_of(done, chars)
    return RaterStanding(
        rater=rater,
        has_entered=rater.id in entered,
        labelled=sum(each.scores is not None for each in done),
        skipped=sum(each.scores is None for each in done),
        left=len(assignment.of(rater.id)),
        hours=pace.hours,
        median_s=median(pace.seconds) if pace.seconds else None,
        drift=_drift(rater.id, [each for each in done if each.scores is not None], given),
        warning=pace_warning(done, chars),
    )


def _drift(rater_id: str, scored: Sequence[LabelAction], given: LabelsGiven) -> RaterDrift | None:
    thirds = thirds_of([_mean(each.scores or ()) for each in scored])
    if thirds is None:
        return None
    third = len(scored) // 3
    return RaterDrift(
        first_mean=thirds.first,
        last_mean=thirds.last,
        low=thirds.low,
        high=thirds.high,
        first_agreement=_with_others(rater_id, scored[:third], given),
        last_agreement=_with_others(rater_id, scored[-third:], given),
    )


def _with_others(rater_id: str, scored: Sequence[LabelAction], given: LabelsGiven) -> float | None:
    """Return how near a rater's scores are to the other raters' means of the same answers, in [0, 1]."""
    near = []
    for each in scored:
        others = [
            other.scores
            for rater, other in given.of_item(each.item).items()
            if rater != rater_id and other.scores is not None
        ]
        if others and each.scores is not None:
            means = map(_mean, zip(*others, strict=True))
            near += [1 - abs(own - mean) for own, mean in zip(each.scores, means, strict=True)]
    return _mean(near) if near else None


def _agreement(
    items: Sequence[str], given: LabelsGiven, scale: LabelScale, seed: int
) -> LabelAgreement | None:
    """Return the agreement over all answers of items that several raters scored, None if there are none.

    An answer is what raters rate, and an item has several. The interval resamples answers.
    """
    import numpy as np

    from crossgrade.stats import krippendorff_alpha

    scored = {
        item: {rater: each.scores for rater, each in given.of_item(item).items() if each.scores is not None}
        for item in items
    }
    several = {item: found for item, found in scored.items() if len(found) > 1}
    if not several:
        return None
    raters = sorted({rater for found in several.values() for rater in found})
    missing = {item: (math.nan,) * len(next(iter(found.values()))) for item, found in several.items()}
    ratings = [
        [score for item, found in several.items() for score in found.get(rater, missing[item])]
        for rater in raters
    ]
    found = krippendorff_alpha(
        ratings,
        level="nominal" if scale == "right-wrong" else "interval",
        rng=np.random.default_rng(abs(seed)),
    )
    return LabelAgreement(alpha=found.value, low=found.low, high=found.high, items=len(several))


def _disagreements(items: Sequence[str], given: LabelsGiven) -> tuple[str, ...]:
    spreads = {}
    for item in items:
        scored = [each.scores for each in given.of_item(item).values() if each.scores is not None]
        if len(scored) > 1:
            spread = max(max(column) - min(column) for column in zip(*scored, strict=True))
            if spread >= _DISAGREED:
                spreads[item] = spread
    return tuple(sorted(spreads, key=lambda item: -spreads[item]))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
