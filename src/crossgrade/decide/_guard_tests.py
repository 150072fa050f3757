"""What guards share: tests that return a p-value, the error rate of one test, and how a finding is stated."""

import numpy as np

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._evidence import BoolColumn, FloatColumn, IntColumn, ModelColumns
from crossgrade.decide._records import Guard, GuardStatus
from crossgrade.decide._view import View
from crossgrade.stats import mean_interval, proportion_interval


def share_above(found: int, n: int, share: float) -> float:
    """Return the chance of at least `found` of n cases where each happens with probability `share`."""
    if not found or share >= 1:
        return 1.0
    from scipy.special import bdtrc

    return float(bdtrc(found - 1, n, share))


def mean_bounds(scores: FloatColumn, alpha: float) -> tuple[float, float]:
    """Return bounds on a mean of scores in [0, 1], each wrong with probability alpha.

    Wilson's, or for at least 20 graded scores Student's t. Fewer graded scores get Wilson's too, which
    is then on the wide side.
    """
    graded = bool(((scores > 0) & (scores < 1)).any())
    if graded and len(scores) >= 20:
        mean = mean_interval(scores, 1 - 2 * alpha)
        assert mean.low is not None
        assert mean.high is not None
        return mean.low, mean.high
    found = proportion_interval(float(scores.sum()), len(scores), 1 - 2 * alpha)
    return found.low, found.high


def means_differ(one: FloatColumn, other: FloatColumn) -> float:
    """Return the two-sided p-value of equal means of two sets of rows drawn from one population.

    The variance is pooled over all rows, which is right if the null hypothesis holds: a small set of
    equal rows has no variance of its own. Columns of 0 and 1 are compared by the binomial
    distribution, because the count of a rare 1 is far from normal.
    """
    together = np.concatenate([one, other])
    if np.isin(together, (0.0, 1.0)).all():
        share, found = float(together.mean()), int(one.sum())
        tails = share_above(found, len(one), share), share_above(len(one) - found, len(one), 1 - share)
        return min(1.0, 2 * min(tails))
    from scipy.special import ndtr

    error = float(together.std(ddof=1)) * np.sqrt(1 / len(one) + 1 / len(other))
    if error <= 0:
        return 1.0
    return float(2 * ndtr(-abs(one.mean() - other.mean()) / error))


def drawn_otherwise(column: FloatColumn, drawn: BoolColumn, probability: FloatColumn) -> float:
    """Return the two-sided p-value of "each row was drawn with its probability, whatever its value".

    The sum of (drawn - p) (x - mean) has the mean 0, and each row adds p (1 - p) (x - mean)^2 to its
    variance. The mean is weighted by p, so that labels missing at random change nothing. Columns of 0 and 1
    get a correction of one half for continuity.
    """
    from scipy.special import ndtr

    gap = column - float(probability @ column) / float(probability.sum())
    error = float(np.sqrt((probability * (1 - probability)) @ gap**2))
    if error <= 1e-12:
        return 1.0
    moved = abs(float((drawn - probability) @ gap))
    half = 0.5 if np.isin(column, (0.0, 1.0)).all() else 0.0
    return float(2 * ndtr(-max(moved - half, 0.0) / error))


def higher_here(here: FloatColumn, rest: FloatColumn) -> float:
    """Return the p-value of "the mean is no higher here than in the rest" (Welch's z)."""
    if len(here) < 2 or len(rest) < 2:
        return 1.0
    from scipy.special import ndtr

    error = np.sqrt(here.var(ddof=1) / len(here) + rest.var(ddof=1) / len(rest))
    gap = float(here.mean() - rest.mean())
    if error <= 0:
        return 0.0 if gap > 0 else 1.0
    return float(ndtr(-gap / error))


def groups_differ(values: FloatColumn, group: IntColumn) -> float:
    """Return the p-value of "values of one group are no more alike" (one-way analysis of variance)."""
    n, size = len(values), np.bincount(group)
    size = size[size > 0]
    between, within = len(size) - 1, n - len(size)
    if between < 1 or within < 1:
        return 1.0
    from scipy.special import fdtrc

    total = np.bincount(group, values)
    count = np.bincount(group)
    mean = np.divide(total, count, out=np.zeros(len(total)), where=count > 0)
    inside = float(((values - mean[group]) ** 2).sum())
    outside = float((count * (mean - values.mean()) ** 2).sum())
    if inside <= 1e-12 * max(outside, 1e-12):
        return 0.0 if outside > 1e-12 else 1.0
    return float(fdtrc(between, within, (outside / between) / (inside / within)))


def finding(
    name: str,
    seen: str,
    advice: str,
    *,
    fail: bool = False,
    warn: bool = False,
    segment: str | None = None,
    candidate: str | None = None,
) -> Guard:
    """Return a guard that fails, warns or passes (neither is set). A passing guard has no advice."""
    status: GuardStatus = "fail" if fail else "warn" if warn else "pass"
    return Guard(
        name=name,
        status=status,
        seen=seen,
        advice="" if status == "pass" else advice,
        segment=segment,
        candidate=candidate,
    )


def look_alpha(view: View, *, parts: bool = False) -> float:
    """Return the error rate of one test of a guard: the guard's own, divided by the number of tests.

    A guard tests the whole for each candidate and, with `parts`, every segment or group too.
    """
    looks = len(view.evidence.candidates) * (1 + (len(view.parts) if parts else 0))
    return limits.GUARD_ALPHA / looks


def about(view: View, model: ModelColumns) -> str | None:
    """Return the candidate that a finding is about (None: every candidate, since it is the incumbent's)."""
    return None if model is view.evidence.incumbent else model.model
