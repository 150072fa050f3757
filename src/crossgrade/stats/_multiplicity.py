"""Several hypotheses, one error rate."""

import math

import numpy as np
from numpy.typing import ArrayLike

from crossgrade.errors import UsageError
from crossgrade.stats._pairs import FloatArray, IntArray, read_numbers, read_rate


def holm(p_values: ArrayLike, weights: ArrayLike | None = None) -> list[float]:
    """Adjusted p-values by weighted Holm: rejecting those <= alpha errs at all with at most alpha.

    It holds under any dependence between the hypotheses. Larger `weights` make a hypothesis
    easier to reject; they are relative, equal where None, and a hypothesis of weight 0 is never
    rejected (S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70). Raises
    `UsageError` for p-values outside [0, 1] or negative weights.
    """
    p, w = _read(p_values, weights)
    order, stepped, _ = _steps(p, w)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(x) for x in adjusted]


def holm_levels(p_values: ArrayLike, weights: ArrayLike | None = None, *, alpha: float) -> list[float]:
    """Return the level at which weighted Holm compares each p-value, given the others.

    A hypothesis is rejected exactly when its p-value is at most its level: a rejected one was compared
    with alpha times its share of the weight that was open at its step, the others with alpha times their
    share of the weight that stays open. A bound at that level agrees with the rejection. Raises
    `UsageError` as `holm` does.
    """
    p, w = _read(p_values, weights)
    order, stepped, open_weight = _steps(p, w)
    rejected = np.maximum.accumulate(stepped) <= alpha
    if not rejected.all():
        stays = int(np.argmin(rejected))
        open_weight[stays:] = open_weight[stays]
    levels = np.empty(len(p))
    with np.errstate(divide="ignore", invalid="ignore"):
        levels[order] = np.where(open_weight > 0, alpha * w[order] / open_weight, 0.0)
    return [float(x) for x in levels]


def _read(p_values: ArrayLike, weights: ArrayLike | None) -> tuple[FloatArray, FloatArray]:
    p = read_numbers("p_values", p_values)
    w = np.ones(len(p)) if weights is None else read_numbers("weights", weights)
    if len(w) != len(p):
        raise UsageError(
            f"{len(w)} weights for {len(p)} p-values", code="weights-length", hint="pass one weight for each"
        )
    if p.size and not (p.min() >= 0.0 and p.max() <= 1.0 and w.min() >= 0.0):
        raise UsageError(
            f"p-values run from {p.min():g} to {p.max():g}, weights from {w.min():g}",
            code="p-values-invalid",
            hint="p-values lie in [0, 1] and weights are not negative",
        )
    return p, w / w.max() if w.size and w.max() > 0 else w


def _steps(p: FloatArray, w: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return the order of testing, and in it each step's p-value times open weight, and the open weight."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(w > 0, p / w, np.inf)
        order = np.argsort(ratio, kind="stable")
        open_weight = np.cumsum(w[order][::-1])[::-1].copy()
        stepped = np.where(w[order] > 0, ratio[order] * open_weight, 1.0)
    return order, stepped, open_weight


PLANNED_SHARE = 0.8
"""The part of a shared error rate that planned candidates get; later ones share the rest."""

BETS_BELOW = 0.005
"""Below this error rate the test at the end is not used: its approximation is measured down to here."""


def shared_alpha(number: int, *, planned: int, alpha: float) -> float:
    """Return the error rate of a candidate, the `number`th (from 1) that is compared on the same samples.

    The first `planned` candidates get 0.8 alpha / planned each. The jth after them gets
    0.2 alpha 6 / (pi^2 j^2), so that all of them, however many there will be, spend at most alpha together
    (Boole's inequality; the series of 1 / j^2 sums to pi^2 / 6). The rate depends on the number alone, never
    on how earlier comparisons came out. Raises `UsageError` for a number or plan below 1, or a rate outside
    (0, 1).
    """
    read_rate("alpha", alpha)
    for name, value in (("number", number), ("planned", planned)):
        if value < 1:
            raise UsageError(
                f"{name} is {value}; it must be at least 1",
                code="count-invalid",
                hint="count candidates from 1",
            )
    later = number - planned
    rate = PLANNED_SHARE * alpha / planned
    if later > 0:
        rate = (1 - PLANNED_SHARE) * alpha * 6 / (math.pi * later) ** 2
    return float(f"{rate:.10g}")  # as it is printed
