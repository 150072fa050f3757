"""The hypotheses of one decision, and how alpha is spent over them before scores are seen.

For each candidate the whole workload is one hypothesis and each of its segments another. Every
candidate gets the same part of alpha; half of that is for the whole and half is spread over the
segments, all of it for the whole where there are none. Weighted Holm over all of them (S. Holm,
Scand. J. Statist. 6 (1979) 65-70) passes on what a certified hypothesis no longer needs.
"""

from collections.abc import Sequence

Hypothesis = tuple[str, str | None]
"""A candidate, and the segment it would answer (None: everything)."""


def alpha_shares(candidates: Sequence[str], segments: Sequence[str]) -> dict[Hypothesis, float]:
    """Return each hypothesis's initial share of alpha; the shares sum to 1."""
    each = 1.0 / len(candidates)
    shares: dict[Hypothesis, float] = {}
    for candidate in candidates:
        shares[candidate, None] = each / 2 if segments else each
        for segment in segments:
            shares[candidate, segment] = each / 2 / len(segments)
    return shares
