"""The retention test on a judge's scores, corrected by people's scores of some of the samples."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossgrade.errors import UsageError
from crossgrade.stats._linear_test import PairedMeans
from crossgrade.stats._pairs import FloatArray, read_floor, read_pairs, read_rate, read_scores
from crossgrade.stats._result import Retention
from crossgrade.stats._retention import Finding, by_t, conclude


def corrected_retention(
    judged_incumbent: ArrayLike,
    judged_candidate: ArrayLike,
    human_incumbent: ArrayLike,
    human_candidate: ArrayLike,
    *,
    floor: float = 0.85,
    alpha: float = 0.05,
    level: float = 0.95,
) -> Retention:
    """Test retention by people's scores, using a judge's scores of all n samples to need fewer.

    All four columns have length n; the human ones are NaN where nobody looked. The samples
    people scored must be drawn at random, both models' answers to each scored, blind to the
    model. With h and j people's and the judge's scores, theta = mean of h - k j over the n_h
    scored samples + k times the mean of j over the others is unbiased however biased the judge
    is, for both models' means; k is tuned to the smallest variance of c - floor b, in [0, 1], so
    a useless judge does little harm. The test is a t with n_h - 1 degrees of freedom, the
    interval Fieller's. (A. N. Angelopoulos, J. C. Duchi and T. Zrnic, "PPI++: Efficient
    prediction-powered inference", arXiv:2311.01453 (2023).)

    At the boundary it passes in 7.5, 6.5 and 6.1 % of cases at n_h = 50, 100 and 200 where 5 %
    is meant: ask for at least 100 labels.
    """
    read_floor(floor)
    for name, rate in (("alpha", alpha), ("level", level)):
        read_rate(name, rate)
    pairs = read_pairs(judged_incumbent, judged_candidate)
    judged = np.stack([pairs.incumbent, pairs.candidate])
    human, scored = _read_human(human_incumbent, human_candidate, pairs.n)
    labels = int(scored.sum())
    method = f"PPI++, {labels} human scores"
    finding, means = Finding(method=method, reason="fewer than two samples were scored by people"), None
    if labels >= 2:
        means = _corrected_means(human[:, scored], judged[:, scored], judged[:, ~scored], floor)
        finding = by_t(means, floor, level, method)
    return conclude(
        replace(finding, statistic=None),  # how many more pairs it takes depends on who scores them
        floor=floor,
        alpha=alpha,
        level=level,
        n=pairs.n,
        incumbent_mean=None if means is None else means.incumbent,
        candidate_mean=None if means is None else means.candidate,
    )


def _corrected_means(human: FloatArray, judged: FloatArray, rest: FloatArray, floor: float) -> PairedMeans:
    """Both means by people's scores; rows are incumbent and candidate."""
    labels = human.shape[1]
    k = _tuning(*(x[1] - floor * x[0] for x in (human, judged, rest)))
    means = (human - k * judged).mean(axis=1)
    matrix = np.cov(human - k * judged) / labels
    if k > 0:
        means = means + k * rest.mean(axis=1)
        matrix = matrix + k * k * np.cov(rest) / rest.shape[1]
    return PairedMeans(
        incumbent=float(means[0]),
        candidate=float(means[1]),
        var_incumbent=float(matrix[0, 0]),
        var_candidate=float(matrix[1, 1]),
        covariance=float(matrix[0, 1]),
        df=labels - 1,
    )


def _tuning(human: FloatArray, judged: FloatArray, rest: FloatArray) -> float:
    """The weight of the judge that minimises the variance of the mean of d, in [0, 1]."""
    if len(rest) < 2:
        return 0.0
    spread = float(np.var(np.concatenate([judged, rest]), ddof=1))
    if spread <= 0:
        return 0.0
    shared = float(np.cov(human, judged)[0, 1])
    return min(max(shared / (spread * (1 + len(human) / len(rest))), 0.0), 1.0)


def _read_human(incumbent: ArrayLike, candidate: ArrayLike, n: int) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Both human columns, and which samples have both scores."""
    try:
        columns = np.stack([np.asarray(x, dtype=np.float64) for x in (incumbent, candidate)])
    except (TypeError, ValueError) as error:
        raise UsageError(f"human scores are not two equal columns of numbers: {error}") from error
    if columns.shape != (2, n):
        raise UsageError(
            f"{columns.shape[-1]} human scores for {n} judged samples", hint="use NaN where nobody scored"
        )
    scored: NDArray[np.bool_] = np.logical_not(np.isnan(columns[0]) | np.isnan(columns[1]))
    read_scores("human scores", columns[:, scored].ravel())
    return columns, scored
