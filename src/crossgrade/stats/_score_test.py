"""The constrained score test for the ratio of two paired proportions, in closed form.

On pairs of right (1) and wrong (0) answers only the paired table counts: `n11` both right,
`n10` only the incumbent, `n01` only the candidate, `n00` both wrong. Under R = r the
log-likelihood's maximum has one free cell probability that solves a quadratic equation, and
the variance of sum(c - r b) at it is n r (p10 + p01).

J. Nam and W. C. Blackwelder, "Analysis of the ratio of marginal probabilities in a matched-pair
setting", Statistics in Medicine 21 (2002) 689-699; N.-S. Tang, M.-L. Tang and I. S. F. Chan,
"On tests of equivalence via non-unity relative risk for matched-pair design", Statistics in
Medicine 22 (2003) 1217-1233.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from crossgrade.stats._distributions import normal_quantile
from crossgrade.stats._pairs import FloatArray

_HALVINGS = 60


class PairedTable(NamedTuple):
    """Counts of pairs: both right, only the incumbent, only the candidate, both wrong."""

    n11: int
    n10: int
    n01: int
    n00: int

    @property
    def n(self) -> int:
        """The number of pairs."""
        return self.n11 + self.n10 + self.n01 + self.n00

    @classmethod
    def of(cls, incumbent: FloatArray, candidate: FloatArray) -> "PairedTable":
        """Count the pairs of two columns of zeros and ones."""
        n11 = int(incumbent @ candidate)
        n10, n01 = int(incumbent.sum()) - n11, int(candidate.sum()) - n11
        return cls(n11, n10, n01, len(incumbent) - n11 - n10 - n01)


def score_z(n11: ArrayLike, n10: ArrayLike, n01: ArrayLike, floor: ArrayLike) -> FloatArray:
    """The score statistic of H0: R = floor, standard normal under it; large means R is above.

    All arguments broadcast; pairs that both get wrong change nothing. 0 where no pair has a
    right answer.
    """
    a, b, c = (np.asarray(x, dtype=np.float64) for x in (n11, n10, n01))
    r = np.asarray(floor, dtype=np.float64)
    some = a + b + c
    quadratic = r * (1 + r) * some
    linear = a * (1 - r * r) - b * r * r - c * (2 * r * r - 1)
    constant = -c * r * (1 - r)
    root = np.sqrt(np.maximum(linear * linear - 4 * quadratic * constant, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        # Of the two forms of the larger root, the one that does not cancel.
        share = np.where(linear > 0, -2 * constant / (linear + root), (root - linear) / (2 * quadratic))
        discordant = some * (1 - r + (1 + r) * share)  # n (p10 + p01) at the constrained maximum
        z = (a * (1 - r) - b * r + c) / np.sqrt(r * discordant)
    return np.where(some > 0, z, 0.0)


def score_interval(table: PairedTable, level: float) -> tuple[float, float]:
    """The ratios that the score test does not reject at (1 - level) / 2 a side.

    Needs at least one right answer of the incumbent.
    """
    critical = normal_quantile(0.5 + level / 2)
    value = (table.n11 + table.n01) / (table.n11 + table.n10)
    top = max(2.0, 2 * value)
    while float(score_z(*table[:3], top)) > -critical:
        top *= 2
    # Column 0 closes in on the lower end, column 1 on the upper; `inner` is never rejected.
    outer, inner = np.array([0.0, top]), np.array([value, value])
    for _ in range(_HALVINGS):
        middle = (outer + inner) / 2
        rejected = np.abs(score_z(*table[:3], np.maximum(middle, 1e-300))) > critical
        outer, inner = np.where(rejected, middle, outer), np.where(rejected, inner, middle)
    low, high = inner
    return (0.0 if low < 1e-12 else float(low)), float(high)
