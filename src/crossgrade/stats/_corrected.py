"""The retention test on a judge's scores, corrected by people's scores of some of the samples."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossgrade.domain import Reason
from crossgrade.errors import UsageError
from crossgrade.stats._linear_test import LinearTest, PairedMeans, Skewness
from crossgrade.stats._pairs import FloatArray, IntArray, Pairs, read_numbers, read_pairs, read_scores
from crossgrade.stats._retention import LEAST_LABELS, FixedRetention, Retention

BoolArray: TypeAlias = NDArray[np.bool_]


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
    probabilities: ArrayLike | None = None,
) -> Retention:
    """Test retention by people's scores, using a judge's scores of all n samples to need fewer.

    All four columns have length n; the human ones are NaN if nobody looked. The samples
    people scored must be drawn at random, both models' answers to each scored, blind to the
    model. `probabilities` are those with which each of the n samples was drawn, in (0, 1]
    (`label_probabilities`); None means that all had the same. With h and j people's and the judge's scores
    and J the mean of j over the samples that nobody scored, the mean of h - k (j - J) over the n_h scored
    samples is unbiased for both models' means, however biased the judge is. k is tuned to the smallest
    variance of c - floor b, in [0, 1], so a useless judge does little harm (A. N. Angelopoulos, J. C. Duchi
    and T. Zrnic, "PPI++: Efficient prediction-powered inference", arXiv:2311.01453 (2023)), and for each
    label on the others (`_tuning`). `clusters` and `weights` are as in `retention`: scores count times
    their weight, contributions are summed over a cluster.

    Where the probabilities p differ, a label counts 1 / p, divided by the mean of that over the labels, and
    k is 1 - p times a tuned number. That is T. Zrnic and E. J. Candes, "Active statistical inference",
    ICML 2024 (arXiv:2403.03208), with a sum of weights in place of n (J. Hajek, 1971).

    The test is a t with one degree of freedom fewer than there are labels (effective ones of unequal weight
    or probability, by Kish; clusters with a label), made stricter as `retention` is for graded scores: by
    the skewness of the contributions, by failures too rare for so many labels to show (for so many as there
    would be, were all drawn with the least probability), and by one more label as bad as the worst. With
    fewer than 100 labels (effective ones of unequal probability) nothing is tested: the result is
    undecided, and its value is the judge's own.
    """
    pairs = read_pairs(judged_incumbent, judged_candidate, clusters, weights)
    if weights is not None:  # pairs without weight were left out
        kept = np.asarray(weights, dtype=np.float64) > 0
        human_incumbent, human_candidate = _kept(human_incumbent, kept), _kept(human_candidate, kept)
        probabilities = None if probabilities is None else _kept(probabilities, kept)
    return corrected_test(
        pairs, human_incumbent, human_candidate, floor=floor, alpha=alpha, probabilities=probabilities
    ).result()


def _kept(column: ArrayLike, kept: BoolArray) -> ArrayLike:
    """Return the kept samples of a column; one of another length is left for its own check."""
    values = np.asarray(column)
    return values[kept] if values.shape == kept.shape else values


def corrected_test(
    judged: Pairs,
    human_incumbent: ArrayLike,
    human_candidate: ArrayLike,
    *,
    floor: float,
    alpha: float,
    probabilities: ArrayLike | None = None,
) -> FixedRetention:
    """Return the test of `corrected_retention`, whose bounds can be asked at any level."""
    human, scored = _read_human(human_incumbent, human_candidate, judged.n)
    drawn = read_probabilities(probabilities, judged.n)
    labels, effective = int(scored.sum()), effective_labels(scored, drawn)
    enough = effective >= LEAST_LABELS - 1e-9
    test = _corrected(judged, human, scored, floor, drawn) if enough else None
    return FixedRetention.by(
        test,
        judged,
        floor=floor,
        alpha=alpha,
        method=f"PPI++, {labels} human scores" if test else f"the judge alone, {labels} human scores",
        reason=_too_few(labels, effective),
        labels=labels,
        effective_labels=None if drawn is None else effective,
    )


def read_probabilities(probabilities: ArrayLike | None, n: int) -> FloatArray | None:
    """Return the probabilities with which n samples were drawn to be labelled; None if all are the same.

    Raises `UsageError` for numbers outside (0, 1] and for another length.
    """
    if probabilities is None:
        return None
    column = read_numbers("probabilities", probabilities)
    if len(column) != n:
        raise UsageError(
            f"{len(column)} probabilities for {n} judged samples",
            code="label-probabilities-length",
            hint="give each sample the probability with which it was drawn, also those that were not",
        )
    if n and not (column.min() > 0.0 and column.max() <= 1.0):
        at = int(np.argmax((column <= 0.0) | (column > 1.0)))
        raise UsageError(
            f"probabilities[{at}] is {column[at]:g}; a sample that could be drawn has one in (0, 1]",
            code="label-probability-invalid",
            hint="record the probabilities of the draw, as `label_probabilities` returns them",
        )
    return column if n and column.min() < column.max() else None


def effective_labels(scored: BoolArray, probabilities: FloatArray | None) -> float:
    """Return how many labels of equal probability are worth as much, by Kish: (sum 1/p)^2 / sum 1/p^2."""
    if probabilities is None:
        return float(scored.sum())
    lift = 1.0 / probabilities[scored]
    return float(lift.sum() ** 2 / (lift @ lift)) if len(lift) else 0.0


def _too_few(labels: int, effective: float) -> Reason:
    worth = f", which count as {effective:.3g}" if labels - effective > 1e-6 else ""
    return Reason(
        "too-few-labels",
        f"people scored {labels} of these pairs{worth}; correcting a judge takes {LEAST_LABELS}",
    )


def _corrected(
    pairs: Pairs, human: FloatArray, scored: BoolArray, floor: float, drawn: FloatArray | None
) -> LinearTest:
    """Return both means by people's scores with their tails; rows are incumbent and candidate.

    `drawn` are the probabilities of the draw, None if all are the same.
    """
    n = pairs.n
    weight = np.ones(n) if pairs.weight is None else pairs.weight * n
    judged = weight * np.stack([pairs.incumbent, pairs.candidate])
    human = weight[scored] * human[:, scored]
    labelled, rest = judged[:, scored], judged[:, ~scored]
    group = np.arange(n) if pairs.group is None else pairs.group
    h = human[1] - floor * human[0]
    lift = _Lift.of(drawn, scored)
    k = _tuning(h, judged[1] - floor * judged[0], scored, group[scored], lift) * lift.judge
    shares = np.bincount(group[scored], weights=weight[scored] * lift.label)
    units = float(shares.sum() ** 2 / (shares @ shares))
    corrected, groups = human, [group[scored]]
    if k.any():
        corrected = human - k * (labelled - rest.mean(axis=1, keepdims=True))
        groups.append(group[~scored])
    means = (lift.label * corrected).mean(axis=1)
    # From the mean of the others, as k is.
    each = [lift.label * _centred(corrected, means) * units / max(units - 1, 1.0)]
    if k.any():
        each.append((lift.label * k).mean() * _centred(rest, rest.mean(axis=1)))
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
        rarest=None if drawn is None else min(units, (shares > 0).sum() * float(drawn.min() / drawn.mean())),
        settled=0.0 if drawn is None else _settled(found, h, lift.label, floor, n),
    )


def _settled(means: PairedMeans, human: FloatArray, lift: FloatArray, floor: float, n: int) -> float:
    """Return the share of the variance of the mean of d that it would have if people scored all n samples."""
    whole = float(lift @ (human - (lift * human).mean()) ** 2) / len(lift) / n
    now = means.var_candidate - 2 * floor * means.covariance + floor * floor * means.var_incumbent
    return min(whole / now, 1.0) if now > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lift:
    """What unequal probabilities p of the draw change; all are 1 if they are equal.

    `label` is what each label counts, in proportion to 1 / p with the mean 1. `judge` is the share of k
    that it has, in proportion to 1 - p: with the probability p a label takes the place of the judge's score
    k j, so the unscored samples have the share 1 - p of that. `noise` is what the square of each of the n
    judge's scores adds to n_h times the variance of the judge's part, by the labels and by the others (None:
    (1 + n_h / (n - n_h)) / n).
    """

    label: FloatArray
    judge: FloatArray
    noise: FloatArray | None = None

    @classmethod
    def of(cls, drawn: FloatArray | None, scored: BoolArray) -> "_Lift":
        alike = np.ones(int(scored.sum()))
        if drawn is None:
            return cls(label=alike, judge=alike)
        lift, left = 1.0 / drawn, 1.0 - drawn
        lift /= lift[scored].mean()
        share = float((lift * left)[scored].mean())
        if share <= 0 or scored.all():  # no other sample could be in the place of a label
            return cls(label=lift[scored], judge=0.0 * alike)
        judge = left / share
        others = len(alike) / float((~scored).sum()) * left / left.sum()
        noise = drawn / drawn.sum() * (lift * judge) ** 2 + others
        return cls(label=lift[scored], judge=judge[scored], noise=noise)


def _centred(columns: FloatArray, means: FloatArray) -> FloatArray:
    """Return what each sample contributes to the means of the columns."""
    parts: FloatArray = (columns - means[:, None]) / columns.shape[1]
    return parts


def _summed(parts: FloatArray, number: IntArray) -> FloatArray:
    """Return contributions summed over clusters, shape (2, clusters)."""
    sums = [np.bincount(number, weights=row) for row in parts]
    return np.stack(sums).astype(np.float64)


def _tuning(
    human: FloatArray, judged: FloatArray, scored: BoolArray, group: IntArray, lift: _Lift
) -> FloatArray:
    """Return for each label the weight of the judge, in [0, 1], that minimises the variance of the mean of d.

    It is fitted to the labels of all other clusters. If it fitted the label that it is used on, labels that
    happen to show few of the judge's errors would raise it where the judge flatters the candidate, and the
    mean of d would be too large by up to 0.3 of its standard error. (M. R. Mickey, J. Amer. Statist. Assoc.
    54 (1959) 594-612, takes the bias from the regression estimator in this way.)
    """
    rest, judged_here = judged[~scored], judged[scored]
    everything = np.concatenate([judged_here, rest])
    spread = float(np.var(everything, ddof=1)) if len(rest) > 1 else 0.0
    if spread <= 0 or not lift.judge.any():
        return np.zeros(len(human))
    noise = spread * (1 + len(human) / len(rest))
    if lift.noise is not None:
        noise = float(lift.noise @ (judged - judged.mean()) ** 2) * len(judged) / (len(judged) - 1)
    h = lift.label * (human - (lift.label * human).mean())
    both = lift.label * lift.judge
    j = both * (judged_here - (both * judged_here).mean())
    number = np.unique(group, return_inverse=True)[1]
    size, of_h, of_j, of_both = (np.bincount(number, x) for x in (np.ones(len(h)), h, j, h * j))
    others = len(h) - size  # whose sums of h and j are those of the cluster, with the other sign
    shared = (h @ j - of_both - of_h * of_j / np.maximum(others, 1)) / np.maximum(others - 1, 1)
    k: FloatArray = np.clip(shared / noise, 0.0, 1.0)[number]
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
