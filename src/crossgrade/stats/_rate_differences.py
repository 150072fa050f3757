"""The difference of two models' rates of an event, each calibrated by people's labels.

The interval combines those of the two rates: with d = candidate - incumbent, rates r, bounds l and u, and rho
the correlation of the two estimates, the lower end is

    d - sqrt((c - l_c)^2 + (u_i - i)^2 - 2 rho (c - l_c) (u_i - i))

and the upper end uses the other two bounds (R. G. Newcombe, Statist. Med. 17 (1998) 2635-2650, method 10;
G. Y. Zou and A. Donner, Statist. Med. 27 (2008) 1693-1702). The prompts of both models give rho: the
products of the residuals (label - rate of its verdict) on the m prompts labelled for both, and those of the
verdicts' rates on all prompts graded for both. A few residuals say little about a correlation, so a positive
one counts m / (m + 50) of its size. A negative one counts in full, because it makes the interval wider.
Without common prompts rho is 0.
"""

import math
from dataclasses import dataclass

import numpy as np

from crossgrade.stats._calibrated import CalibratedRate, calibrated_rate
from crossgrade.stats._graded import Graded, Grades, Labels, RateFit
from crossgrade.stats._pairs import FloatArray, IntArray

_SHY = 50.0
"""Prompts labelled for both that a positive correlation has against it, without any correlation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedDifference:
    """The candidate's rate less the incumbent's, in [-1, 1], with its two-sided interval at `level`.

    `paired` counts the prompts labelled for both models, and `correlation` is that of the two estimates.
    Where one of the models has no rate, there is no difference, and `reason` is that of its rate.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    paired: int
    correlation: float | None
    reason: str | None = None
    reason_code: str | None = None


def calibrated_difference(
    incumbent_grades: Grades,
    incumbent_labels: Labels,
    candidate_grades: Grades,
    candidate_labels: Labels,
    level: float = 0.95,
) -> CalibratedDifference:
    """Return the difference of two models' rates on prompts with the same ids or positions.

    Each model has grades and labels as in `calibrated_rate`, which says what is refused. The models may have
    different prompts, graders and labels. What they have in common makes the interval narrower.
    """
    incumbent = calibrated_rate(incumbent_grades, incumbent_labels, level)
    candidate = calibrated_rate(candidate_grades, candidate_labels, level)
    one, two = (
        Graded.read(incumbent_grades, incumbent_labels),
        Graded.read(candidate_grades, candidate_labels),
    )
    places = {key: at for at, key in enumerate(one.ids)}
    common = [(places[key], at) for at, key in enumerate(two.ids) if key in places]
    paired = sum(bool(one.labelled[i] and two.labelled[j]) for i, j in common)
    lacking = next((each for each in (candidate, incumbent) if each.value is None), None)
    if lacking is not None:
        return CalibratedDifference(
            value=None,
            low=None,
            high=None,
            level=level,
            paired=paired,
            correlation=None,
            reason=lacking.reason,
            reason_code=lacking.reason_code,
        )
    rho = _correlation(one, two, np.array(common, dtype=np.int64).reshape(-1, 2))
    return _difference(incumbent, candidate, rho, paired)


def _difference(
    incumbent: CalibratedRate, candidate: CalibratedRate, rho: float, paired: int
) -> CalibratedDifference:
    (i, i_low, i_high), (c, c_low, c_high) = _ends(incumbent), _ends(candidate)
    return CalibratedDifference(
        value=c - i,
        low=max(c - i - _distance(c - c_low, i_high - i, rho), -1.0),
        high=min(c - i + _distance(c_high - c, i - i_low, rho), 1.0),
        level=candidate.level,
        paired=paired,
        correlation=rho,
    )


def _ends(rate: CalibratedRate) -> tuple[float, float, float]:
    assert rate.value is not None
    assert rate.low is not None
    assert rate.high is not None
    return rate.value, rate.low, rate.high


def _distance(one: float, other: float, rho: float) -> float:
    return math.sqrt(max(one * one + other * other - 2 * rho * one * other, 0.0))


def _correlation(one: Graded, two: Graded, common: IntArray) -> float:
    """Return the correlation of the two estimates, in [-1, 1]; `common` has the rows of common prompts."""
    first, second = RateFit.of(one), RateFit.of(two)
    scale = math.sqrt(first.variance * second.variance)
    if not len(common) or scale <= 0:
        return 0.0
    left, right = common.T
    both = one.labelled[left] & two.labelled[right]
    m = int(both.sum())
    rest = [
        (graded.label - fit.steady[graded.verdict])[rows][both]
        for graded, fit, rows in ((one, first, left), (two, second, right))
    ]
    within = float(rest[0] @ rest[1]) / (first.labels * second.labels)
    between = _between(first, one, left) @ _between(second, two, right) / (first.answers * second.answers)
    rho = (within * (m / (m + _SHY) if within > 0 else 1.0) + float(between)) / scale
    return min(max(rho, -1.0), 1.0)


def _between(fit: RateFit, graded: Graded, rows: IntArray) -> FloatArray:
    """Return how far the rate of each prompt's verdict is from the mean."""
    gaps: FloatArray = fit.steady[graded.verdict[rows]] - float(fit.shares @ fit.steady)
    return gaps
