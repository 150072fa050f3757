"""The retention test at a fixed number of pairs."""

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from numpy.typing import ArrayLike

from crossgrade.stats._distributions import normal_quantile, normal_tail
from crossgrade.stats._linear_test import PairedMeans, paired_means
from crossgrade.stats._pairs import Pairs, read_floor, read_pairs, read_rate
from crossgrade.stats._result import Outcome, Retention
from crossgrade.stats._score_test import PairedTable, score_interval, score_z

_SETTLING_POWER = 0.8
_MOST_NEEDED = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one of the tests found: statistic, tails, interval; `reason` where one is undefined."""

    method: str
    statistic: float | None = None
    p_value: float = 1.0
    p_value_below: float = 1.0
    low: float | None = None
    high: float | None = None
    reason: str | None = None


def retention(
    incumbent: ArrayLike,
    candidate: ArrayLike,
    floor: float = 0.85,
    alpha: float = 0.05,
    clusters: Iterable[Hashable] | None = None,
    *,
    weights: ArrayLike | None = None,
    level: float = 0.95,
) -> Retention:
    """Test whether the candidate retains at least `floor` of the incumbent's mean score.

    `incumbent` and `candidate` are scores in [0, 1] of the two models on the same n samples,
    in the same order; `clusters` labels samples that share a document, template or
    conversation; `weights` are shares of traffic, in any unit. The outcome is "pass" when
    R < floor is rejected at `alpha`, "fail" when R >= floor is rejected at `alpha`.

    - Right and wrong (0 and 1) alone: the constrained score test (`_score_test`), and its
      inversion as the interval.
    - Graded, clustered or weighted: the t test on c - floor b (`_linear_test`) with G - 1
      degrees of freedom for G clusters, n - 1 without, made stricter where the scores are
      skewed, and its inversion: Fieller's interval, or a wider one.

    The interval has `level` confidence, both sides together: the one that agrees with the
    outcome is at level 1 - 2 alpha (of fewer than 20 graded pairs it may exclude a floor that the
    test leaves undecided). Too little data, an incumbent that never scores, scores
    that never vary give an undecided result with its `reason`; what cannot be scores raises
    `UsageError`.
    """
    pairs = read_pairs(incumbent, candidate, clusters, weights)
    return fixed_retention(pairs, read_floor(floor), read_rate("alpha", alpha), read_rate("level", level))


def fixed_retention(pairs: Pairs, floor: float, alpha: float, level: float) -> Retention:
    """The same test on pairs and settings that are already checked."""
    weight = pairs.weight
    incumbent = candidate = None
    if pairs.n:
        incumbent = float(pairs.incumbent.mean() if weight is None else weight @ pairs.incumbent)
        candidate = float(pairs.candidate.mean() if weight is None else weight @ pairs.candidate)
    return conclude(
        find(pairs, floor, level),
        floor=floor,
        alpha=alpha,
        level=level,
        n=pairs.n,
        incumbent_mean=incumbent,
        candidate_mean=candidate,
        discordant=int((pairs.incumbent != pairs.candidate).sum()),
        clusters=None if pairs.group is None else int(pairs.group.max()) + 1,
    )


def conclude(
    finding: Finding,
    *,
    floor: float,
    alpha: float,
    level: float,
    n: int,
    incumbent_mean: float | None,
    candidate_mean: float | None,
    discordant: int | None = None,
    clusters: int | None = None,
) -> Retention:
    """Turn a finding into an outcome at `alpha` a side."""
    value = None
    if incumbent_mean is not None and candidate_mean is not None and incumbent_mean > 0:
        value = candidate_mean / incumbent_mean
    outcome: Outcome = "undecided"
    if finding.p_value <= alpha:
        outcome = "pass"
    elif finding.p_value_below <= alpha:
        outcome = "fail"
    return Retention(
        value=value,
        low=finding.low,
        high=finding.high,
        level=level,
        n=n,
        floor=floor,
        alpha=alpha,
        outcome=outcome,
        p_value=finding.p_value,
        p_value_below=finding.p_value_below,
        method=finding.method,
        incumbent_mean=incumbent_mean,
        candidate_mean=candidate_mean,
        discordant=discordant,
        clusters=clusters,
        needed=_needed(n, finding.statistic, alpha) if outcome == "undecided" else None,
        reason=finding.reason,
    )


def find(pairs: Pairs, floor: float, level: float | None) -> Finding:
    """Test the pairs; without a `level` no interval is computed, which is most of the work."""
    if pairs.group is None and pairs.weight is None and pairs.binary:
        return _by_score(pairs, floor, level)
    method = "t" if pairs.group is None else "cluster t"
    method = method if pairs.weight is None else f"weighted {method}"
    means = paired_means(pairs)
    if means is None:
        unit = "pairs" if pairs.group is None else "clusters"
        found = "fewer than two" if pairs.n else "no"
        return Finding(method=method, reason=f"{found} {unit} to see the variation between")
    return by_t(means, floor, level, method)


def _by_score(pairs: Pairs, floor: float, level: float | None) -> Finding:
    method = "score test"
    if not pairs.n:
        return Finding(method=method, reason="no pairs to compare")
    table = PairedTable.of(pairs.incumbent, pairs.candidate)
    if not table.n11 + table.n10:
        return Finding(method=method, reason=_no_denominator(pairs.n))
    z = float(score_z(*table[:3], floor))
    low, high = (None, None) if level is None else score_interval(table, level)
    return Finding(
        method=method,
        statistic=z,
        p_value=normal_tail(z),
        p_value_below=normal_tail(-z),
        low=low,
        high=high,
    )


def by_t(means: PairedMeans, floor: float, level: float | None, method: str) -> Finding:
    """Test two means with their covariance matrix by t."""
    if not means.incumbent > 0:
        return Finding(method=method, reason=_no_denominator(None))
    if means.varies_nowhere:
        return Finding(
            method=method, reason="every pair has the same scores, so nothing shows their variation"
        )
    low, high = (None, None) if level is None else means.interval(level)
    t = means.t(floor)
    if t is None:
        return Finding(
            method=method,
            low=low,
            high=high,
            reason=f"every pair has the same candidate - {floor:g} incumbent",
        )
    p_value, p_value_below = means.tails(t, floor)
    return Finding(
        method=method,
        statistic=t,
        p_value=p_value,
        p_value_below=p_value_below,
        low=low,
        high=high,
        reason="the incumbent's mean is not clearly above 0, so the interval has no upper end"
        if high is not None and math.isinf(high)
        else None,
    )


def _no_denominator(n: int | None) -> str:
    where = "every pair" if n is None else f"all {n} pairs"
    return f"the incumbent scored 0 on {where}, so the ratio has no denominator"


def _needed(n: int, statistic: float | None, alpha: float) -> int | None:
    """How many pairs in all would settle it with 80 % power if the data so far tell the truth.

    The statistic grows with the square root of n, so n ((z_alpha + z_power) / |z|)^2: a rough
    figure, and None where the difference is too small to be told apart with ten million pairs.
    """
    if not statistic:
        return None
    factor = ((normal_quantile(1 - alpha) + normal_quantile(_SETTLING_POWER)) / statistic) ** 2
    return math.ceil(n * factor) if n * factor <= _MOST_NEEDED else None
