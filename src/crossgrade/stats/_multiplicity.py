"""Several hypotheses, one error rate."""

import numpy as np
from numpy.typing import ArrayLike

from crossgrade.errors import UsageError
from crossgrade.stats._pairs import read_numbers


def holm(p_values: ArrayLike, weights: ArrayLike | None = None) -> list[float]:
    """Adjusted p-values by weighted Holm: rejecting those <= alpha errs at all with at most alpha.

    It holds under any dependence between the hypotheses. Larger `weights` make a hypothesis
    easier to reject; they are relative, equal where None, and a hypothesis of weight 0 is never
    rejected (S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70). Raises
    `UsageError` for p-values outside [0, 1] or negative weights.
    """
    p = read_numbers("p_values", p_values)
    w = np.ones(len(p)) if weights is None else read_numbers("weights", weights)
    if len(w) != len(p):
        raise UsageError(f"{len(w)} weights for {len(p)} p-values", hint="pass one weight for each")
    if p.size and not (p.min() >= 0.0 and p.max() <= 1.0 and w.min() >= 0.0):
        raise UsageError(
            f"p-values run from {p.min():g} to {p.max():g}, weights from {w.min():g}",
            hint="p-values lie in [0, 1] and weights are not negative",
        )
    w = w / w.max() if w.size and w.max() > 0 else w
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(w > 0, p / w, np.inf)
        order = np.argsort(ratio, kind="stable")
        open_weight = np.cumsum(w[order][::-1])[::-1]
        stepped = np.where(w[order] > 0, ratio[order] * open_weight, 1.0)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(x) for x in adjusted]
