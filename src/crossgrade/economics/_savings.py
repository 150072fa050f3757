"""What a policy costs against the incumbent, from measured costs per sample.

Every figure here is a ratio of weighted means, sum(w x) / sum(w y): cost per request (y = 1),
cost per point of score (y = score), share saved (x = incumbent - policy, y = incumbent). The
interval is the t interval of the linearised residuals w (x - ratio y) / mean(w y) with n - 1
degrees of freedom (Cochran, Sampling Techniques, 3rd ed., section 6.4); for y = w = 1 that is
the ordinary t interval, and for a saving the paired one. Samples that share a cluster (a document,
a conversation) cost alike: their residuals are summed, and G clusters count as G observations.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import Estimate

MAX_UNKNOWN_SHARE = 0.05
"""Above this share of samples with an unknown cost the mean is unknown: what is missing is not random."""

_Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """A policy's costs and what it saves, in US dollars; an unknown `Estimate` has no value.

    `per_solved_usd` is the cost per point of score, `saving_share` 1 - policy / incumbent.
    """

    per_request_usd: Estimate
    per_solved_usd: Estimate
    saving_per_request_usd: Estimate
    saving_per_month_usd: Estimate
    saving_share: Estimate


def policy_savings(
    incumbent_usd: _Column,
    policy_usd: _Column,
    policy_score: _Column,
    *,
    weight: _Column | None = None,
    cluster: NDArray[np.int64] | None = None,
    requests_per_month: int | None = None,
    level: float = 0.95,
    stated: bool = False,
) -> Savings:
    """Return what a policy costs and saves.

    The columns have length n: US dollars of the incumbent and of the model that the policy
    picks on the same sample (NaN unknown), the score of the latter (NaN unscored), the sample's
    share of traffic, and the number of its cluster (None: each for itself). `stated` says that
    the costs are someone's figures rather than measured ones: they get no interval.
    """
    ones = np.ones(len(incumbent_usd))
    w = ones if weight is None else weight

    def estimate(x: _Column, y: _Column, unit: str) -> Estimate:
        found = _ratio(x, y, w, cluster, level=level, unit=unit)
        return _without_interval(found) if stated else found

    saving = estimate(incumbent_usd - policy_usd, ones, "USD/request")
    return Savings(
        per_request_usd=estimate(policy_usd, ones, "USD/request"),
        per_solved_usd=estimate(policy_usd, policy_score, "USD/point"),
        saving_per_request_usd=saving,
        saving_per_month_usd=per_month(saving, requests_per_month),
        saving_share=estimate(incumbent_usd - policy_usd, incumbent_usd, "share"),
    )


def mean_cost(
    costs_usd: _Column, units: _Column, *, level: float = 0.95, unit: str = "USD/request"
) -> Estimate:
    """Return the cost per unit (a call: 1; a point of score) with its interval; columns of length n.

    NaN is unknown. Above 5 % unknown the figure is: what is missing is not random.
    """
    return _ratio(costs_usd, units, np.ones(len(costs_usd)), None, level=level, unit=unit)


def per_month(per_request: Estimate, requests_per_month: float | None) -> Estimate:
    """Return a figure per request times the monthly volume; unknown where either is unknown."""
    if per_request.value is None:
        return Estimate(value=None, unit="USD/month", reason=per_request.reason)
    if requests_per_month is None:
        return Estimate(value=None, unit="USD/month", reason="the number of requests a month is not stated")
    return Estimate(
        value=per_request.value * requests_per_month,
        low=None if per_request.low is None else per_request.low * requests_per_month,
        high=None if per_request.high is None else per_request.high * requests_per_month,
        level=per_request.level,
        n=per_request.n,
        unit="USD/month",
        method=f"{per_request.method}, times {requests_per_month:.10g} requests a month",
    )


def _ratio(
    x: _Column, y: _Column, w: _Column, cluster: NDArray[np.int64] | None, *, level: float, unit: str
) -> Estimate:
    """Return sum(w x) / sum(w y) over the rows where both are known, with its t interval."""
    known = np.isfinite(x) & np.isfinite(y)
    n, total = int(known.sum()), len(x)
    if n == 0:
        return Estimate(value=None, level=level, n=0, unit=unit, reason=f"unknown on all {total:,} samples")
    if total - n > MAX_UNKNOWN_SHARE * total:
        reason = f"unknown on {total - n:,} of {total:,} samples"
        return Estimate(value=None, level=level, n=n, unit=unit, reason=reason)
    wx, wy = w[known] * x[known], w[known] * y[known]
    if not wy.sum() > 0:
        return Estimate(
            value=None, level=level, n=n, unit=unit, reason="nothing to divide by: the sum is zero"
        )
    value = float(wx.sum() / wy.sum())
    residual = wx - value * wy
    if cluster is not None:
        _, groups = np.unique(cluster[known], return_inverse=True)
        residual = np.bincount(groups, weights=residual).astype(np.float64)
    low = high = None
    units = len(residual)
    if units > 1:
        from scipy.special import stdtrit

        error = math.sqrt(units / (units - 1) * float(residual @ residual)) / float(wy.sum())
        half = float(stdtrit(units - 1, (1 + level) / 2)) * error
        low, high = value - half, value + half
    method = "measured, t interval" if cluster is None else "measured, cluster t interval"
    return Estimate(value=value, low=low, high=high, level=level, n=n, unit=unit, method=method)


def _without_interval(found: Estimate) -> Estimate:
    """Return the estimate as a stated figure: no interval, since nothing was measured."""
    return Estimate(
        value=found.value, level=found.level, n=found.n, unit=found.unit, method="stated", reason=found.reason
    )
