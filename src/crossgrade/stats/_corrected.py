"""The retention test on a judge's scores, corrected by people's scores of some of the samples."""

from collections.abc import Hashable, Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossgrade.domain import Reason
from crossgrade.errors import UsageError
from crossgrade.stats._linear_test import LinearTest, PairedMeans, Skewness
from crossgrade.stats._pairs import FloatArray, IntArray, Pairs, read_pairs, read_scores
from crossgrade.stats._retention import FixedRetention, Retention

BoolArray: TypeAlias = NDArray[np.bool_]


LEAST_LABELS = 100
"""Fewer labels than this correct no judge: nothing is tested, whatever the judge says."""


def corrected_retention(
    judged_incumbent: ArrayLike,
    judged_candidate: ArrayLike,
    human_incumbent: ArrayLike,
    human_candidate: ArrayLike,
    *,
    floor: float = 0.85,
    alpha: float = 0.05,
    clusters: Iterable[Hashable] | None = None,
    weights: ArrayLike | None = None,
) -> Retention:
    """Test retention by people's scores, using a judge's scores of all n samples to need fewer.

    All four columns have length n; the human ones are NaN if nobody looked. The samples
    people scored must be drawn at random, both models' answers to each scored, blind to the
    model. With h and j people's and the judge's scores and J the mean of j over the samples that nobody
    scored, the mean of h - k (j - J) over the n_h scored samples is unbiased for both models' means,
    however biased the judge is. k is tuned to the smallest variance of c - floor b, in [0, 1], so a
    useless judge does little harm (A. N. Angelopoulos, J. C. Duchi and T. Zrnic, "PPI++: Efficient
    prediction-powered inference", arXiv:2311.01453 (2023)), and for each label on the others
    (`_tuning`). `clusters` and `weights` are as in `retention`: scores count times their weight,
    contributions are summed over a cluster.

    The test is a t with one degree of freedom fewer than there are labels (effective ones of unequal
    weight, clusters with a label), made stricter as `retention` is for graded scores: by the skewness
    of the contributions, by failures too rare for so many labels to show, and by one more label as bad
    as the worst. With fewer than 100 labels nothing is tested: the result is undecided, and its value is
    the judge's own.
    """
    pairs = read_pairs(judged_incumbent, judged_candidate, clusters, weights)
    if weights is not None:  # pairs without weight were left out
        kept = np.asarray(weights, dtype=np.float64) > 0
        human_incumbent, human_candidate = (
            column[kept] if column.shape == kept.shape else column
            for column in map(np.asarray, (human_incumbent, human_candidate))
        )
    return corrected_test(pairs, human_incumbent, human_candidate, floor=floor, alpha=alpha).result()


def corrected_test(
    judged: Pairs, human_incumbent: ArrayLike, human_candidate: ArrayLike, *, floor: float, alpha: float
) -> FixedRetention:
    """Return the test of `corrected_retention`, whose bounds can be asked at any level."""
    human, scored = _read_human(human_incumbent, human_candidate, judged.n)
    labels = int(scored.sum())
    test = _corrected(judged, human, scored, floor) if labels >= LEAST_LABELS else None
    return FixedRetention.by(
        test,
        judged,
        floor=floor,
        alpha=alpha,
        method=f"PPI++, {labels} human scores" if test else f"the judge alone, {labels} human scores",
        reason=Reason(
            "too-few-labels",
            f"people scored {labels} of these pairs; correcting a judge takes {LEAST_LABELS}",
        ),
        labels=labels,
    )


def _corrected(pairs: Pairs, human: FloatArray, scored: BoolArray, floor: float) -> LinearTest:
    """Return both means by people's scores with their tails; rows are incumbent and candidate."""
    n = pairs.n
    weight = np.ones(n) if pairs.weight is None else pairs.weight * n
    judged = weight * np.stack([pairs.incumbent, pairs.candidate])
    human = weight[scored] * human[:, scored]
    labelled, rest = judged[:, scored], judged[:, ~scored]
    group = np.arange(n) if pairs.group is None else pairs.group
    h, j, others = (x[1] - floor * x[0] for x in (human, labelled, rest))
    k = _tuning(h, j, others, group[scored])
    shares = np.bincount(group[scored], weights=weight[scored])
    units = float(shares.sum() ** 2 / (shares @ shares))
    corrected, groups = human, [group[scored]]
    if k.any():
        corrected = human - k * (labelled - rest.mean(axis=1, keepdims=True))
        groups.append(group[~scored])
    means = corrected.mean(axis=1)
    each = [_centred(corrected) * units / max(units - 1, 1.0)]  # from the mean of the others, as k is
    if k.any():
        each.append(k.mean() * _centred(rest))
    number = np.unique(np.concatenate(groups), return_inverse=True)[1]
    parts = _summed(np.concatenate(each, axis=1), number)
    matrix = parts @ parts.T
    found = PairedMeans(
        incumbent=float(means[0]),
        candidate=float(means[1]),
        var_incumbent=float(matrix[0, 0]),
        var_candidate=float(matrix[1, 1]),
        covariance=float(matrix[0, 1]),
        df=units - 1,
    )
    return LinearTest(
        means=found,
        skewness=Skewness(parts, found.value, parts.shape[1]),
        units=units,
        parts=_summed(each[0], number[: int(scored.sum())]),
        labelled=True,
    )


def _centred(columns: FloatArray) -> FloatArray:
    """Return what each sample contributes to the means of the columns."""
    parts: FloatArray = (columns - columns.mean(axis=1, keepdims=True)) / columns.shape[1]
    return parts


def _summed(parts: FloatArray, number: IntArray) -> FloatArray:
    """Return contributions summed over clusters, shape (2, clusters)."""
    sums = [np.bincount(number, weights=row) for row in parts]
    return np.stack(sums).astype(np.float64)


def _tuning(human: FloatArray, judged: FloatArray, rest: FloatArray, group: IntArray) -> FloatArray:
    """Return for each label the weight of the judge, in [0, 1], that minimises the variance of the mean of d.

    It is fitted to the labels of all other clusters. If it fitted the label that it is used on, labels that
    happen to show few of the judge's errors would raise it where the judge flatters the candidate, and the
    mean of d would be too large by up to 0.3 of its standard error. (M. R. Mickey, J. Amer. Statist. Assoc.
    54 (1959) 594-612, takes the bias from the regression estimator in this way.)
    """
    spread = float(np.var(np.concatenate([judged, rest]), ddof=1)) if len(rest) > 1 else 0.0
    if spread <= 0:
        return np.zeros(len(human))
    h, j = human - human.mean(), judged - judged.mean()
    number = np.unique(group, return_inverse=True)[1]
    size, of_h, of_j, of_both = (np.bincount(number, x) for x in (np.ones(len(h)), h, j, h * j))
    others = len(h) - size  # whose sums of h and j are those of the cluster, with the other sign
    shared = (h @ j - of_both - of_h * of_j / np.maximum(others, 1)) / np.maximum(others - 1, 1)
    k: FloatArray = np.clip(shared / (spread * (1 + len(human) / len(rest))), 0.0, 1.0)[number]
    return k


def _read_human(incumbent: ArrayLike, candidate: ArrayLike, n: int) -> tuple[FloatArray, BoolArray]:
    """Both human columns, and which samples have both scores."""
    try:
        columns = np.stack([np.asarray(x, dtype=np.float64) for x in (incumbent, candidate)])
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"human scores are not two equal columns of numbers: {error}", code="human-scores-invalid"
        ) from error
    if columns.shape != (2, n):
        raise UsageError(
            f"{columns.shape[-1]} human scores for {n} judged samples",
            code="human-scores-length",
            hint="use NaN where nobody scored",
        )
    scored: BoolArray = np.logical_not(np.isnan(columns[0]) | np.isnan(columns[1]))
    read_scores("human scores", columns[:, scored].ravel())
    return columns, scored
