"""The hypotheses of one decision, and how alpha is spent over them before scores are seen.

For each candidate the whole workload is one hypothesis and each of its segments another. Every
candidate gets the same part of alpha; half of that is for the whole and half is spread over the
segments, all of it for the whole where there are none. A team that would only ever split leaves the
whole out of the list, and all of alpha is spread over the segments. Workloads that share alpha each begin
with their own part of it. Weighted Holm over all hypotheses, those of the other workloads included (S. Holm,
Scand. J. Statist. 6 (1979) 65-70), passes on what a certified hypothesis no longer needs.
"""

from collections.abc import Sequence

Hypothesis = tuple[str, str | None]
"""A candidate, and the segment it would answer (None: everything)."""


def alpha_shares(
    candidates: Sequence[str], segments: Sequence[str], *, splits_only: bool = False, total: float = 1.0
) -> dict[Hypothesis, float]:
    """Return each hypothesis's initial share of alpha; the shares sum to `total`.

    With `splits_only` the whole is no hypothesis, unless there are no segments.
    """
    each = total / len(candidates)
    shares: dict[Hypothesis, float] = {}
    for candidate in candidates:
        whole = 1.0 if not segments else 0.0 if splits_only else 0.5
        if whole:
            shares[candidate, None] = each * whole
        for segment in segments:
            shares[candidate, segment] = each * (1.0 - whole) / len(segments)
    return shares
