"""How many labels settle a planned retention, and which retention some labels settle, from variances alone.

The number may be asked after a pilot and before the main draw, because it does not look at the retention
that the pilot shows. With d, e and p as in `_label_draws`, the variance of the corrected mean of d is
var(d) / n, which no label changes, plus the mean of (1 - p) / p e^2 divided by n. Both are estimated by the
pilot's labels, and p is what a number of labels makes of it. The test is stricter than its variance by one
more label as bad as the worst, so that is taken into account.
"""

import math
from collections.abc import Hashable, Iterable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from crossgrade.stats._label_draws import LEAST_PILOT, Pilot, read_pilot
from crossgrade.stats._pairs import FloatArray, read_floor, read_pairs, read_rate
from crossgrade.stats._retention import LEAST_LABELS
from crossgrade.stats._tails import normal_quantile, t_quantile


def labels_needed(
    judged_incumbent: ArrayLike,
    judged_candidate: ArrayLike,
    human_incumbent: ArrayLike,
    human_candidate: ArrayLike,
    *,
    floor: float,
    planned_retention: float,
    pilot: float,
    rng: np.random.Generator,
    draw: Literal["random", "residual"] = "residual",
    alpha: float = 0.05,
    power: float = 0.8,
    weights: ArrayLike | None = None,
    clusters: Iterable[Hashable] | None = None,
) -> int | None:
    """Return how many labels in all, those of the pilot included, settle a planned retention.

    They do with probability `power` at the error rate `alpha` of one direction, if the retention is
    `planned_retention` and the residuals vary as the pilot shows. The columns, `pilot`, `rng`, `weights` and
    `clusters` are as in `label_probabilities`, of one candidate. `draw` says how the labels after the pilot
    are drawn. The pilot's estimate of the retention plays no part. Its mean score of the incumbent does, as
    the scale of d. At least 100 labels (effective ones) are asked for.

    None: the pilot has fewer than 40 labels, or all n samples labelled would not settle it.
    """
    seen = read_pilot(
        judged_incumbent, judged_candidate, human_incumbent, human_candidate,
        floor=floor, pilot=pilot, rng=rng, weights=weights, clusters=clusters,
    )  # fmt: skip
    read_rate("alpha", alpha), read_rate("power", power)
    if seen.scored.sum() < LEAST_PILOT:
        return None
    side = 1 if planned_retention >= floor else -1
    mean = abs(planned_retention - floor) * float(seen.human_incumbent[seen.scored].mean())

    def enough(labels: int) -> bool:
        p = seen.probabilities(labels) if draw == "residual" else np.full(seen.n, labels / seen.n)
        effective = seen.n**2 / float((1 / p).sum())
        spread = math.sqrt(float((p - pilot).sum())) if draw == "residual" else 0.0  # of their number
        if effective - normal_quantile(power) * spread < LEAST_LABELS - 1e-9:
            return False
        variance, parts = _expected(seen, p)
        worst, old = float((side * parts).min()), effective / (effective + 1)
        unlucky = mean - normal_quantile(power) * math.sqrt(variance)
        t = (unlucky + old * worst) / (old * math.sqrt(variance + worst**2)) if variance > 0 else math.inf
        return t >= t_quantile(1 - alpha, effective - 1)

    low, high = round(pilot * seen.n), seen.n
    if enough(low):
        return low
    if not enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def least_labelled(
    judged_incumbent: ArrayLike,
    judged_candidate: ArrayLike,
    *,
    labels: int,
    floor: float,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float | None:
    """Return the least retention that `labels` drawn at random certify with probability `power`.

    It can be asked before anybody has labelled. People's scores are taken to vary as the judge's do, and the
    judge to save no label: one that agrees with people lets labels certify less. The test is that of
    `labels_needed`, solved for the retention. The judge's mean score of the incumbent is the scale of d.

    None: there are fewer than 100 labels, which correct nothing, or not even the largest retention that
    scores can have would be certified.
    """
    read_rate("alpha", alpha), read_rate("power", power)
    pairs = read_pairs(judged_incumbent, judged_candidate, None, None)
    mean = float(pairs.incumbent.mean())
    if labels < LEAST_LABELS or mean <= 0:
        return None
    d = pairs.candidate - read_floor(floor) * pairs.incumbent
    spread = float(d.std()) / math.sqrt(labels)
    worst, old = float(d.min() - d.mean()) / labels, labels / (labels + 1)
    t = t_quantile(1 - alpha, labels - 1)
    unlucky = t * old * math.sqrt(spread**2 + worst**2) - old * worst
    least = floor + (unlucky + normal_quantile(power) * spread) / mean
    return least if least <= 1 / mean else None


def _expected(seen: Pilot, p: FloatArray) -> tuple[float, FloatArray]:
    """Return the variance of the corrected mean of d, and what each label of the pilot would contribute."""
    human = seen.human_candidates[0] - seen.floor * seen.human_incumbent
    weight, rate = seen.weight[seen.scored], p[seen.scored]
    d = weight * (human[seen.scored] - human[seen.scored].mean())
    error = seen.errors(0, seen.scored)
    squares = seen.weight**2 * seen.predicted(seen.scored)  # of all samples: smoother than those of the pilot
    draw = float((error**2).mean() * (squares * (1 - p) / p).mean())
    return (float((d**2).mean()) + draw) / seen.n, weight * error / (rate * seen.n)
