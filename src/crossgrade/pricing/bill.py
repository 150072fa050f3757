"""A month's bill of an offer, what dominates it, and what a call and a solved sample cost."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import Estimate, Price, Reason
from crossgrade.pricing.columns import PARTS, PricedCalls, price_calls
from crossgrade.pricing.saving import MAX_UNKNOWN_SHARE, mean_cost, per_month, unknown_estimate
from crossgrade.pricing.usage import Traffic

_PRECISION = 60

NO_VOLUME = Reason("volume-unknown", "the number of calls a month is not stated")
"""Why there is no figure a month."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What an offer bills for a month of traffic, in US dollars; None is unknown, and `reason` says why.

    `parts_usd` are the exact sums of `columns.PARTS` for the month, in the same currency as
    `usd_per_month`. `dominated_by` is the largest part in words, `dominant_share` its share of the
    bill. `per_mtok_usd` is the bill over all tokens in and out, per million. `per_call_usd` has the
    interval of the mean where the calls were measured, and so has `month`.
    """

    name: str
    usd_per_month: Decimal | None
    month: Estimate
    per_call_usd: Estimate
    per_mtok_usd: Decimal | None
    parts_usd: Mapping[str, Decimal]
    dominated_by: str | None
    dominant_share: float | None
    batch: bool = False
    reason: str | None = None
    reason_code: str | None = None


def bill(name: str, traffic: Traffic, price: Price | None, *, batch: bool = False) -> Bill:
    """Return the bill of a month of traffic at a price.

    Where up to 5 % of the calls have no known cost the rest stands for them; above that the bill
    is unknown, as it is without a price.
    """
    if price is None:
        return _unknown(name, batch, Reason("price-unknown", "no price is known"))
    if batch and price.batch_discount is None:
        return _unknown(name, batch, Reason("batch-price-unknown", "no batch price is known"))
    priced = price_calls(traffic.usage, price, batch=batch)
    n, missing = priced.n_known, len(traffic.usage) - priced.n_known
    if not n or missing > MAX_UNKNOWN_SHARE * len(traffic.usage):
        why = Reason("cost-unknown", f"the cost of {missing:,} of {len(traffic.usage):,} calls is unknown")
        return _unknown(name, batch, why)
    per_call = _per_call(priced, measured=traffic.measured)
    calls = traffic.calls_per_month
    month = per_month(per_call, None if calls is None else float(calls))
    with localcontext(prec=_PRECISION):
        total = priced.total_usd()
        scale = None if calls is None else calls / n
        parts = {} if scale is None else {each: priced.part_usd(each) * scale for each in PARTS}
        tokens = _tokens(traffic, priced.known)
        per_mtok = total * 1_000_000 / tokens if tokens else None
    dominated_by, share = _dominant(priced, total, price)
    return Bill(
        name=name,
        usd_per_month=None if scale is None else total * scale,
        month=month if scale is None else replace(month, value=float(total * scale)),
        per_call_usd=per_call,
        per_mtok_usd=per_mtok,
        parts_usd=parts,
        dominated_by=dominated_by,
        dominant_share=share,
        batch=batch,
        reason=None if calls is not None else NO_VOLUME.text,
        reason_code=None if calls is not None else NO_VOLUME.code,
    )


def per_solved(
    costs_usd: NDArray[np.float64], scores: NDArray[np.float64], *, level: float = 0.95
) -> Estimate:
    """Return the cost per point of score over samples of which both are known (NaN: unknown).

    A talkative model with a low list price is seen here for what it is.
    """
    return mean_cost(costs_usd, per=scores, level=level, unit="USD/point")


def _per_call(priced: PricedCalls, *, measured: bool) -> Estimate:
    costs = priced.usd()
    if not measured:
        return Estimate(
            value=float(costs[priced.known].mean()), unit="USD/request", method="stated tokens, list price"
        )
    return mean_cost(costs)


def _tokens(traffic: Traffic, known: NDArray[np.bool_]) -> int:
    usage = traffic.usage
    return int(usage.input_tokens[known].sum()) + int(usage.output_tokens[known].sum())


_WORDS = {
    "fresh_input": "input",
    "cache_read": "cache reads",
    "cache_creation": "cache writes",
    "output": "output",
    "reasoning": "reasoning",
    "requests": "request fees",
    "images": "images",
}


def _dominant(priced: PricedCalls, total: Decimal, price: Price) -> tuple[str | None, float | None]:
    """Return the largest part in words; input that the cache could have had is a cache miss.

    Where reading the cache has no price of its own it is paid as input, and counts as that.
    """
    if total <= 0:
        return None, None
    sums = {name: priced.part_usd(name) for name in PARTS}
    if price.cache_read_per_mtok is None:
        sums["fresh_input"] += sums.pop("cache_read")
    name = max(sums, key=lambda each: sums[each])
    words = _WORDS[name]
    if name == "fresh_input" and _cache_is_cheaper(price):
        words = "cache misses"
    return words, float(sums[name] / total)


def _cache_is_cheaper(price: Price) -> bool:
    read, fresh = price.cache_read_per_mtok, price.input_per_mtok
    return read is not None and fresh is not None and read < fresh


def _unknown(name: str, batch: bool, why: Reason) -> Bill:  # noqa: FBT001 -- passed on as it came
    return Bill(
        name=name,
        usd_per_month=None,
        month=unknown_estimate(why, unit="USD/month"),
        per_call_usd=unknown_estimate(why, unit="USD/request"),
        per_mtok_usd=None,
        parts_usd={},
        dominated_by=None,
        dominant_share=None,
        batch=batch,
        reason=why.text,
        reason_code=why.code,
    )
