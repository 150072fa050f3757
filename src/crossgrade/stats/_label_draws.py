"""Which samples people shall label: drawn at random, more often where their labels help the most.

Let h and j be people's and the judge's d = candidate - floor * incumbent. The corrected mean of d is
the judge's over all n samples plus that of h - k j over the labels, each counted 1 / p for the probability p
with which it was drawn. Its variance over the draw is the sum of (1 - p) / p * e^2 / n^2 with
e = h - k j - mean(h - k j). For an expected number of labels it is smallest where p is proportional to
the root of E[e^2 | the judge's scores] (T. Zrnic and E. J. Candes, "Active statistical inference", ICML 2024,
arXiv:2403.03208). That size is learned from a pilot. No p is below 0.85 of the uniform rate, so that
a label counts at most 1.18 times as much as in a uniform draw, whatever the size is mistaken for.

One probability of each sample serves the pilot and the main draw together. The samples are divided into
folds, whole clusters each, without a look at their labels. The pilot draws each sample with the probability
q, independently. For a sample i in fold f the wanted probability w is computed from the judge's scores and
from pilot labels outside f alone, and is at least q. If the pilot did not draw i, the main draw does with
the probability (w - q) / (1 - q). Given everything outside f, w is a number, i was in the pilot with
probability q, and the main draw adds (1 - q) (w - q) / (1 - q). So i is labelled with the probability
q + w - q = w, and its label times 1 / w has the mean of its label. The recorded probability is w, and
the estimate is unbiased although the same labels steer the draw. A pilot of a fixed number of samples,
such as the first of a shuffled order, differs from independent ones by terms of the order of 1 / n.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossgrade.errors import UsageError
from crossgrade.stats._pairs import FloatArray, IntArray, read_floor, read_numbers, read_pairs, read_rate

BoolArray: TypeAlias = NDArray[np.bool_]

LEAST_PILOT = 40
"""With fewer labels in the pilot outside a fold the draw is uniform: they say little of the judge."""

PILOT_SHARE = 0.85
"""The least probability of a sample, as a share of the uniform rate. A pilot of this share of all labels
costs nothing, since the main draw only adds to it."""

_FOLDS = 10
_STRATA = 16  # different outcomes of the judge, up to which each is a stratum
_PRIOR = 4.0  # labels with the mean square that each stratum has beside its own
_RIDGE = 10.0  # labels without any relation to the judge's scores
_RANGE = 0.1, 10.0  # of a predicted square, as a multiple of the mean
_HALVINGS = 60


def label_probabilities(
    judged_incumbent: ArrayLike,
    judged_candidates: ArrayLike,
    human_incumbent: ArrayLike,
    human_candidates: ArrayLike,
    *,
    floor: float,
    labels: int,
    pilot: float,
    rng: np.random.Generator,
    weights: ArrayLike | None = None,
    clusters: Iterable[Hashable] | None = None,
) -> FloatArray:
    """Return the probability with which each of n samples is labelled, by the pilot or by the main draw.

    `judged_incumbent` has length n. `judged_candidates` too, or it is a matrix with a row for each
    candidate, over which e^2 is averaged. The human columns have the same shapes, with NaN where the pilot
    has no label. `pilot` is the probability with which the pilot drew each sample: the number that it drew
    divided by n. `labels` is the expected number of labels of both draws together. `rng` divides the
    samples into folds. `weights` and `clusters` are as in `retention`.

    Each probability is proportional to the predicted size of e (see the module), at least 0.85 labels / n, at
    least `pilot`, and at most 1. With fewer than 40 labels in the pilot all are labels / n. A judge whose
    scores have at most 16 different outcomes gives as many strata. Other scores have a regression of e^2 on
    the mean of the models' scores, its square, and the mean distance of the candidates' scores from
    the incumbent's.

    Raises `UsageError` for `labels` that the pilot has already or that there are no samples for.
    """
    seen = read_pilot(
        judged_incumbent, judged_candidates, human_incumbent, human_candidates,
        floor=floor, pilot=pilot, rng=rng, weights=weights, clusters=clusters,
    )  # fmt: skip
    if not pilot * seen.n < labels <= seen.n:
        raise UsageError(
            f"{labels} labels of {seen.n} samples after a pilot of {pilot * seen.n:.0f}",
            code="label-count-invalid",
            hint="`labels` counts those of the pilot, and each sample is labelled once",
        )
    return seen.probabilities(labels)


def draw_labels(
    probabilities: ArrayLike,
    rng: np.random.Generator,
    *,
    pilot: float = 0.0,
    drawn: ArrayLike | None = None,
) -> BoolArray:
    """Draw each sample with its probability, independently, and return a mask of those drawn anew.

    After a pilot that drew each sample with the probability `pilot`, and drew those in the mask `drawn`,
    these are left out, and the others are drawn so that `probabilities` hold for both together.
    """
    wanted = read_numbers("probabilities", probabilities)
    again: BoolArray = rng.random(len(wanted)) * (1.0 - pilot) < wanted - pilot
    return again if drawn is None else again & ~np.asarray(drawn, dtype=np.bool_)


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """The judge's scores of n samples with the labels of a pilot, which was drawn at random.

    Rows of the matrices are candidates. `scored` marks the samples on which people scored every answer.
    `share` is the probability with which the pilot drew each sample. `fold` numbers the fold of each.
    """

    judged_incumbent: FloatArray
    judged_candidates: FloatArray
    human_incumbent: FloatArray
    human_candidates: FloatArray
    scored: BoolArray
    weight: FloatArray
    fold: IntArray
    floor: float
    share: float

    @property
    def n(self) -> int:
        """The number of samples."""
        return len(self.scored)

    @cached_property
    def sizes(self) -> FloatArray:
        """The predicted size of e of each sample, by the pilot's labels outside each fold: (folds, n)."""
        found = np.ones((_FOLDS, self.n))
        for number in range(_FOLDS):
            labelled = self.scored & (self.fold != number)
            if labelled.sum() >= LEAST_PILOT:
                found[number] = self.weight * np.sqrt(self.predicted(labelled))
        return found

    def probabilities(self, labels: float) -> FloatArray:
        """Return the probabilities of `label_probabilities` for an expected number of labels."""
        least, found = max(self.share, PILOT_SHARE * labels / self.n), np.empty(self.n)
        for number, size in enumerate(self.sizes):
            here = self.fold == number
            found[here] = _scaled(size, labels, least)[here]
        return found

    def errors(self, candidate: int, labelled: BoolArray) -> FloatArray:
        """Return e of the labelled samples for a candidate, with the k that makes its variance smallest."""
        human = self.human_candidates[candidate][labelled] - self.floor * self.human_incumbent[labelled]
        every = self.judged_candidates[candidate] - self.floor * self.judged_incumbent
        judged, spread = every[labelled], float(every.var())
        h, j = human - human.mean(), judged - judged.mean()
        k = min(max(float(h @ j) / len(h) / spread, 0.0), 1.0) if spread > 0 else 0.0
        error: FloatArray = h - k * j
        return error

    def predicted(self, labelled: BoolArray) -> FloatArray:
        """Return the predicted e^2 of every sample by the judge's scores, as a multiple of its mean."""
        squares = np.zeros(int(labelled.sum()))
        for candidate in range(len(self.judged_candidates)):
            each = self.errors(candidate, labelled) ** 2
            squares += each / (each.mean() or 1.0)
        squares /= squares.mean() or 1.0
        scores = np.vstack([self.judged_incumbent, self.judged_candidates])
        outcomes, which = np.unique(scores, axis=1, return_inverse=True)
        strata = outcomes.shape[1]
        if strata > _STRATA:
            return _regressed(scores, squares, labelled)
        which = which.reshape(-1)
        count, total = (np.bincount(which[labelled], each, strata) for each in (None, squares))
        return np.clip((total + _PRIOR) / (count + _PRIOR), *_RANGE)[which]


def read_pilot(
    judged_incumbent: ArrayLike,
    judged_candidates: ArrayLike,
    human_incumbent: ArrayLike,
    human_candidates: ArrayLike,
    *,
    floor: float,
    pilot: float,
    rng: np.random.Generator,
    weights: ArrayLike | None = None,
    clusters: Iterable[Hashable] | None = None,
) -> Pilot:
    """Check and convert the columns of `label_probabilities`, and divide the samples into folds."""
    columns = np.atleast_2d(np.asarray(judged_candidates, dtype=np.float64))
    labels = None if clusters is None else list(clusters)
    judged = [read_pairs(judged_incumbent, column, labels) for column in columns]
    n = judged[0].n
    human_b = np.asarray(human_incumbent, dtype=np.float64)
    human_c = np.atleast_2d(np.asarray(human_candidates, dtype=np.float64))
    if human_b.shape != (n,) or human_c.shape != columns.shape:
        raise UsageError(
            f"human scores of the shapes {human_b.shape} and {human_c.shape} for {n} judged samples of "
            f"{len(columns)} candidates",
            code="human-scores-length",
            hint="use NaN where nobody scored",
        )
    weight = np.ones(n) if weights is None else read_numbers("weights", weights)
    return Pilot(
        judged_incumbent=judged[0].incumbent,
        judged_candidates=np.stack([each.candidate for each in judged]),
        human_incumbent=human_b,
        human_candidates=human_c,
        scored=np.isfinite(human_b) & np.isfinite(human_c).all(axis=0),
        weight=weight / weight.mean(),
        fold=_folds(judged[0].group, n, rng),
        floor=read_floor(floor),
        share=read_rate("pilot", pilot),
    )


def _folds(group: IntArray | None, n: int, rng: np.random.Generator) -> IntArray:
    """Return the number of each sample's fold; a cluster is in one fold."""
    clusters = n if group is None else int(group.max()) + 1
    fold: IntArray = rng.permutation(clusters) % _FOLDS
    return fold if group is None else fold[group]


def _regressed(scores: FloatArray, squares: FloatArray, labelled: BoolArray) -> FloatArray:
    """Return the predicted e^2 of every sample by a ridge regression on three features of its scores."""
    level = scores.mean(axis=0)
    features = np.stack([level, level**2, np.abs(scores[1:] - scores[0]).mean(axis=0)])
    spread = features.std(axis=1, keepdims=True)
    features = (features - features[:, labelled].mean(axis=1, keepdims=True)) / np.where(
        spread > 0, spread, 1
    )
    seen = features[:, labelled]
    slope = np.linalg.solve(seen @ seen.T + _RIDGE * np.eye(len(seen)), seen @ (squares - 1.0))
    squares = 1.0 + slope @ features
    return squares.clip(*_RANGE)


def _scaled(size: FloatArray, total: float, least: float) -> FloatArray:
    """Return probabilities in proportion to `size`, from `least` to 1, that sum to `total`."""
    low, high = 0.0, 1.0 / max(float(size[size > 0].min(initial=np.inf)), 1e-300)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(middle * size, least, 1.0).sum() < total else (low, middle)
    return np.clip(high * size, least, 1.0)
