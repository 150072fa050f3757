"""How many samples the candidate answers for one of the incumbent's, so that a verdict costs least.

A pair's d = c - r b has variance s = Var c + r^2 Var b - 2 r Cov(b, c). A block of K samples, blended by
w, has

    Var = u^2 Var c - 2 u r Cov(b, c) + r^2 Var b + (K - 1) (w / K)^2 Var c,   u = 1 - w (K - 1) / K,

which is least at w = 1 - r Cov(b, c) / Var c, whatever K (double sampling with the best coefficient:
W. G. Cochran, Sampling Techniques, 3rd ed., section 12.6). A test needs observations in proportion to
their variance, so K is where the number of blocks times the price of one is least.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossgrade.decide._evidence import FloatColumn
from crossgrade.decide._observations import LARGEST_BLOCK, PILOT_WEIGHT, Blocks

_PRIOR_CORRELATION, _PRIOR_PAIRS = 0.4, 30.0
"""Between strong models the correlation is usually 0.2 to 0.6: that counts as thirty pairs."""

_LIKE_PAIRS = 10.0
"""That both models' scores vary alike counts as ten pairs. Without it a pilot promises too much: K and N are
chosen where its errors make blocks look cheapest, and runs had 2 points less power than pairs."""

_USUAL_ACCURACY = 0.75

WORTHWHILE = 0.95
"""Blocks that would cost more than this share of pairs are not worth their trouble."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Variances of the incumbent's and a candidate's scores, and their covariance."""

    incumbent: float
    candidate: float
    covariance: float

    def best_blend(self, floor: float) -> float:
        """Return the weight of the block's mean under which a block varies least."""
        if not self.candidate > 0:
            return 0.0
        return float(np.clip(1.0 - floor * self.covariance / self.candidate, 0.0, 1.0))

    def variance(self, floor: float, size: int, blend: float) -> float:
        """Return the variance of a block's observation relative to a pair's."""
        pair = self.candidate + floor * floor * self.incumbent - 2 * floor * self.covariance
        if not pair > 0:
            return 1.0
        own = 1.0 - blend * (size - 1) / size
        block = own * own * self.candidate - 2 * own * floor * self.covariance
        block += floor * floor * self.incumbent + (size - 1) * (blend / size) ** 2 * self.candidate
        return max(block / pair, 1.0 / size)


USUAL = Moments(
    incumbent=_USUAL_ACCURACY * (1 - _USUAL_ACCURACY),
    candidate=_USUAL_ACCURACY * (1 - _USUAL_ACCURACY),
    covariance=_PRIOR_CORRELATION * _USUAL_ACCURACY * (1 - _USUAL_ACCURACY),
)
"""What is expected of two models before either was asked."""


def moments(incumbent: FloatColumn, candidate: FloatColumn) -> Moments:
    """Return what pairs of scores say (NaN: unscored), drawn towards what is usual of two models."""
    known = np.isfinite(incumbent) & np.isfinite(candidate)
    b, c = incumbent[known], candidate[known]
    n = len(b)
    if n < 2:
        return USUAL
    spread_b, spread_c = float(b.std(ddof=1)), float(c.std(ddof=1))
    found = float(np.cov(b, c)[0, 1]) / (spread_b * spread_c) if spread_b * spread_c > 0 else 0.0
    correlation = (n * found + _PRIOR_PAIRS * _PRIOR_CORRELATION) / (n + _PRIOR_PAIRS)
    # Scores that never varied in so few pairs are no constants: as if two more had come out differently.
    least = 1.0 / (n + 2)
    var_b, var_c = max(spread_b**2, least * (1 - least)), max(spread_c**2, least * (1 - least))
    middle, apart = math.sqrt(var_b * var_c), (var_c / var_b) ** (n / (n + _LIKE_PAIRS) / 2)
    return Moments(incumbent=middle / apart, candidate=middle * apart, covariance=correlation * middle)


def choose_blocks(
    found: Sequence[Moments],
    *,
    incumbent_usd: float,
    candidate_usd: Sequence[float],
    floor: float,
    planned: int,
    available: int,
    pilot: int,
    source: str = "pilot",
) -> Blocks:
    """Return the blocks that cost least for the power of `planned` pairs; of size 1 where pairs do.

    `found` has the moments of each candidate and `candidate_usd` what a sample costs with it, judges
    included; `available` is the number of samples in the dataset. The first `pilot` samples are pairs, and
    count `PILOT_WEIGHT` each.
    """
    weights = [1.0 / max(each.variance(floor, 1, 0.0), 1e-12) * each.candidate for each in found]
    blends = [each.best_blend(floor) for each in found]
    blend = float(np.average(blends, weights=weights)) if sum(weights) > 0 else 0.0
    pairs = Blocks(size=1, blend=0.0, pilot=pilot, pairs=planned, source=source)
    together = sum(candidate_usd)
    best, least = pairs, WORTHWHILE * planned * (incumbent_usd + together)
    for size in range(2, LARGEST_BLOCK + 1):
        variance = max(each.variance(floor, size, blend) for each in found)
        blocks = Blocks(
            size=size,
            blend=blend,
            pilot=pilot,
            pairs=pairs_for(planned, variance=variance, size=size, pilot=pilot),
            variance=variance,
            source=source,
        )
        spent = min(pilot, blocks.pairs) * (incumbent_usd + together)
        spent += max(0, blocks.pairs - pilot) * (incumbent_usd + size * together)
        if blocks.samples <= available and spent < least:
            best, least = blocks, spent
    return best


def pairs_for(planned: int, *, variance: float, size: int, pilot: int) -> int:
    """Return how many paired samples give the power of `planned` pairs.

    With m blocks of relative variance v after p pilot pairs of weight q, the weighted mean of d has the
    variance (q^2 p + v m) / (q p + m)^2 of a pair's: m is where that is 1 / planned.
    """
    q = PILOT_WEIGHT
    half = (planned * variance - 2 * q * pilot) / 2
    root = math.sqrt(max(half * half + q * q * pilot * (planned - pilot), 0.0))
    blocks = max(math.ceil(half + root), math.ceil((planned - pilot) / size), 0)
    return min(pilot, planned) + blocks
