"""What a policy costs against the incumbent, from measured costs per sample.

Every figure here is a ratio of weighted means, sum(w (cost - less)) / sum(w per): cost per request
(per = 1), cost per point of score, saving per request (cost = incumbent, less = policy), and share
saved (per = incumbent). Its interval is that of `_skewed`; for a saving it is the paired one. Samples
that share a cluster (a document, a conversation) cost alike, so that each cluster is one unit.
"""

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import cast

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import Estimate, Reason
from crossgrade.pricing._skewed import Column, skewed_interval, units_of
from crossgrade.pricing.commitment import Commitment, owed_anyway

MAX_UNKNOWN_SHARE = 0.05
"""Above this share of samples with an unknown cost the mean is unknown: what is missing is not random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """A policy's costs and what it saves, in US dollars; an unknown `Estimate` has no value.

    `per_solved_usd` is the cost per point of score, `saving_share` 1 - policy / incumbent. The savings are
    without `owed_usd_per_month`, which is what contracts take away from them (below 0 they add to them).
    """

    per_request_usd: Estimate
    per_solved_usd: Estimate
    saving_per_request_usd: Estimate
    saving_per_month_usd: Estimate
    saving_share: Estimate
    owed_usd_per_month: float = 0.0


def policy_savings(
    incumbent_usd: Column,
    policy_usd: Column,
    policy_score: Column,
    *,
    weight: Column | None = None,
    cluster: NDArray[np.int64] | None = None,
    requests_per_month: Estimate | None = None,
    level: float = 0.95,
    stated: bool = False,
) -> Savings:
    """Return what a policy costs and saves.

    The columns have length n: US dollars of the incumbent and of the model that the policy
    picks on the same sample (NaN unknown), the score of the latter (NaN unscored), the sample's
    share of traffic, and the number of its cluster (None: each for itself). `stated` says that
    the costs are someone's figures rather than measured ones: they get no interval.
    """

    def estimate(cost: Column, less: Column | None, per: Column | None, unit: str) -> Estimate:
        found = mean_cost(cost, less=less, per=per, weight=weight, cluster=cluster, level=level, unit=unit)
        return without_interval(found) if stated else found

    saving = estimate(incumbent_usd, policy_usd, None, "USD/request")
    return Savings(
        per_request_usd=estimate(policy_usd, None, None, "USD/request"),
        per_solved_usd=estimate(policy_usd, None, policy_score, "USD/point"),
        saving_per_request_usd=saving,
        saving_per_month_usd=per_month(saving, requests_per_month),
        saving_share=estimate(incumbent_usd, policy_usd, incumbent_usd, "share"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Contracts:
    """The minimums of the two providers of a policy, and the rows that it moves (None: it moves none)."""

    leaving: Commitment | None
    joining: Commitment | None
    same_provider: bool
    moved: NDArray[np.bool_]

    @property
    def matter(self) -> bool:
        """Whether there is a minimum that the policy could touch."""
        touched = self.leaving is not None or (self.joining is not None and not self.same_provider)
        return touched and bool(self.moved.any())


def contracted_savings(
    found: Savings,
    incumbent_usd: Column,
    policy_usd: Column,
    *,
    contracts: Contracts,
    requests_per_month: Estimate | None,
    weight: Column | None = None,
    cluster: NDArray[np.int64] | None = None,
    stated: bool = False,
) -> Savings:
    """Return savings less what contracts leave owed; unknown without the requests a month.

    The columns are those of `policy_savings`. A minimum is dollars a month, so what is left of a saving
    depends on the volume. Its interval is that of the columns which the saving still depends on.
    """
    saving, cost = found.saving_per_request_usd, found.per_request_usd
    volume = None if requests_per_month is None else requests_per_month.value
    if not contracts.matter or saving.value is None or cost.value is None:
        return found
    if not volume:
        text = "what a contract's minimum leaves of it depends on the requests a month"
        why = Reason("commitment-volume", text)
        return replace(
            found,
            saving_per_request_usd=unknown_estimate(why, level=saving.level, n=saving.n, unit=saving.unit),
            saving_per_month_usd=unknown_estimate(why, unit="USD/month"),
            saving_share=unknown_estimate(why, unit="share"),
        )
    rest_usd = np.where(contracts.moved, 0.0, incumbent_usd)
    left_usd, taken_usd = incumbent_usd - rest_usd, np.where(contracts.moved, policy_usd, 0.0)
    known = np.isfinite(incumbent_usd) & np.isfinite(policy_usd)
    share = np.ones(len(known)) if weight is None else weight
    rest = float(np.average(rest_usd[known], weights=share[known]))
    bill = saving.value + cost.value
    left, taken = (Decimal(repr((each - rest) * volume)) for each in (bill, cost.value))
    owed = owed_anyway(
        left,
        taken,
        bill=Decimal(repr(bill * volume)),
        leaving=contracts.leaving,
        joining=contracts.joining,
        same_provider=contracts.same_provider,
    )
    # Exact where nothing is saved, so that no rounding error reads as a saving.
    value = float(left - taken - owed.usd) / volume
    depends = mean_cost(
        owed.by_bill * incumbent_usd + owed.by_left * left_usd,
        less=owed.by_rest * rest_usd + owed.by_taken * taken_usd,
        weight=weight,
        cluster=cluster,
        level=saving.level or 0.95,
    )
    moved_by = value - (depends.value or 0.0)
    per_request = replace(
        saving,
        value=value,
        low=None if depends.low is None or stated else depends.low + moved_by,
        high=None if depends.high is None or stated else depends.high + moved_by,
        method=saving.method if stated else f"{saving.method}, less what contracts leave owed",
    )
    ratio = 1 / bill if bill else None
    return replace(
        found,
        owed_usd_per_month=float(owed.usd),
        saving_per_request_usd=per_request,
        saving_per_month_usd=per_month(per_request, requests_per_month),
        saving_share=replace(
            per_request,
            value=None if ratio is None else value * ratio,
            low=None if ratio is None or per_request.low is None else per_request.low * ratio,
            high=None if ratio is None or per_request.high is None else per_request.high * ratio,
            unit="share",
        ),
    )


def mean_cost(
    cost_usd: Column,
    *,
    less: Column | None = None,
    per: Column | None = None,
    weight: Column | None = None,
    cluster: NDArray[np.int64] | None = None,
    level: float = 0.95,
    unit: str = "USD/request",
) -> Estimate:
    """Return sum(w (cost - less)) / sum(w per) over the rows where all are known, with its interval.

    Without `less` and `per` it is the mean cost of a call. `less` is what the same call costs elsewhere,
    `per` its score or whatever else the cost is to be shared by. Columns have length n, NaN is unknown;
    above 5 % unknown the figure is: what is missing is not random.
    """
    known = np.all([np.isfinite(each) for each in (cost_usd, less, per) if each is not None], axis=0)
    n, total = int(known.sum()), len(cost_usd)
    if n == 0:
        why = Reason("cost-unknown", f"unknown on all {total:,} samples")
        return unknown_estimate(why, level=level, n=0, unit=unit)
    if total - n > MAX_UNKNOWN_SHARE * total:
        why = Reason("cost-unknown", f"unknown on {total - n:,} of {total:,} samples")
        return unknown_estimate(why, level=level, n=n, unit=unit)
    units = units_of(
        cost_usd[known],
        None if less is None else less[known],
        None if per is None else per[known],
        weight=np.ones(n) if weight is None else weight[known],
        cluster=None if cluster is None else cluster[known],
    )
    if units is None:
        why = Reason("sum-is-zero", "nothing to divide by: the sum is zero")
        return unknown_estimate(why, level=level, n=n, unit=unit)
    low, high = skewed_interval(units, level) or (None, None)
    method = "measured, interval for skewed costs" + ("" if cluster is None else " by cluster")
    return Estimate(value=units.value, low=low, high=high, level=level, n=n, unit=unit, method=method)


def per_month(per_request: Estimate, volume: Estimate | float | None) -> Estimate:
    """Return a figure per request times the monthly volume; unknown if either is unknown.

    A volume that is a number is exact, as someone stated it. Where it is an estimate with an interval, that
    widens the figure's: each end is as far from the value as the root of the sum of squares of both factors'
    distances on that side (MOVER, G. Y. Zou and A. Donner, Statistics in Medicine 27 (2008) 1693-1702). Where
    it has none, for a `reason`, neither has the figure.
    """
    if per_request.value is None:
        return unknown_like(per_request, unit="USD/month")
    requests = volume.value if isinstance(volume, Estimate) else volume
    if requests is None:
        why = Reason("volume-unknown", "the number of requests a month is not stated")
        return unknown_estimate(why, unit="USD/month")
    found = Estimate(
        value=per_request.value * requests,
        low=None if per_request.low is None else per_request.low * requests,
        high=None if per_request.high is None else per_request.high * requests,
        level=per_request.level,
        n=per_request.n,
        unit="USD/month",
        method=f"{per_request.method}, times {requests:.10g} requests a month",
    )
    return _widened(found, per_request.value, volume) if isinstance(volume, Estimate) else found


def _widened(found: Estimate, per_request: float, volume: Estimate) -> Estimate:
    """Return a monthly figure with the doubt of its volume."""
    if volume.reason is not None:
        return replace(found, low=None, high=None, reason=volume.reason, reason_code=volume.reason_code)
    if None in {found.value, found.low, found.high, volume.low, volume.high}:
        return found
    value, low, high = (cast(float, each) for each in (found.value, found.low, found.high))
    ends = [per_request * cast(float, each) for each in (volume.low, volume.high)]
    return replace(
        found,
        low=value - math.hypot(value - low, value - min(ends)),
        high=value + math.hypot(high - value, max(ends) - value),
        method=f"{found.method}, volume with its interval",
    )


WHOLE_DAYS = 7
"""Whole days of log from which a month's volume has an interval: fewer do not show a week's shape."""


def logged_volume(per_month: float, low: float | None, high: float | None, hours: float | None) -> Estimate:
    """Return a month's requests as a log gave them: with an interval, or with why there is none."""
    unit = "requests/month"
    if low is not None and high is not None:
        return Estimate(value=per_month, low=low, high=high, unit=unit, method="t over days of the log")
    length = "a log of unknown length" if hours is None else f"{_length(hours)} of log"
    why = Reason("log-too-short", f"the volume is from {length}; an interval needs {WHOLE_DAYS} whole days")
    return Estimate(value=per_month, unit=unit, method="log", reason=why.text, reason_code=why.code)


def _length(hours: float) -> str:
    """Return how long a log is, in the unit that reads best."""
    for unit, size in (("days", 24.0), ("hours", 1.0)):
        if hours >= 2 * size:
            return f"{hours / size:,.3g} {unit}"
    return f"{hours * 60:,.0f} minutes"


def without_interval(found: Estimate) -> Estimate:
    """Return the estimate as a stated figure: no interval, since nothing was measured."""
    return replace(found, low=None, high=None, method="stated")


def unknown_estimate(why: Reason, *, unit: str, level: float = 0.95, n: int | None = None) -> Estimate:
    """Return an estimate without a value, and why it has none."""
    return Estimate(value=None, level=level, n=n, unit=unit, reason=why.text, reason_code=why.code)


def unknown_like(found: Estimate, *, unit: str) -> Estimate:
    """Return an estimate without a value, for the reason that another one has none."""
    return Estimate(value=None, unit=unit, reason=found.reason, reason_code=found.reason_code)
