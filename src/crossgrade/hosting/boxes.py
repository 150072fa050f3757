"""A month's bill of GPUs of one's own for the same traffic as the offers', and where the two meet.

A box costs the same whether it is used or not, so its price a token is a matter of how busy it is.
Boxes are added until the traffic's mean fits in the share of their throughput that one plans to use;
the rest is for peaks, nights and failures.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from crossgrade.domain import Architecture, Estimate
from crossgrade.errors import UsageError
from crossgrade.hosting import (
    Deployment,
    Load,
    ServingFit,
    box_usd_per_day,
    break_even_tokens_per_day,
    hosting_ladder,
)
from crossgrade.pricing.bill import NO_VOLUME
from crossgrade.pricing.saving import unknown_estimate
from crossgrade.pricing.usage import DAYS_PER_MONTH, Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """Tokens a day at which one box costs what an offer bills for them, at the traffic's mix.

    `utilisation` is the share of the box's throughput which that takes; above 1 it cannot be reached.
    """

    against: str
    hosted_per_mtok: Decimal
    tokens_per_day: Decimal
    utilisation: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxBill:
    """What serving the traffic on boxes of one's own costs a month; None is unknown.

    `boxes` are needed at `planned_utilisation` or less; `month` has the band of the serving model:
    its low end is the bill at the fast end of the band. `busy` is the share of all boxes' throughput
    that the traffic uses. `per_mtok_usd` is the bill over the tokens it serves; `planned_per_mtok_usd`
    what they would cost if the boxes were as busy as planned. `cached_share` of the input is taken as
    found in their own prefix cache. `rent_from` says when and by whom the rent was asked.
    """

    name: str
    gpus: int
    usd_per_gpu_hour: Decimal
    boxes: int | None
    month: Estimate
    per_mtok_usd: Decimal | None
    busy: Estimate
    tokens_per_day: Decimal | None
    box_tokens_per_day: Estimate
    planned_utilisation: float
    planned_per_mtok_usd: Estimate
    cached_share: float = 0.0
    rent_from: str = ""
    break_even: tuple[BreakEven, ...] = ()


def box_bill(
    name: str,
    model: Architecture,
    deployment: Deployment,
    traffic: Traffic,
    fit: ServingFit,
    *,
    usd_per_gpu_hour: Decimal,
    planned_utilisation: float = 0.7,
    rent_from: str = "",
    against: "Mapping[str, Decimal | None] | None" = None,
) -> BoxBill:
    """Return the monthly bill of enough boxes for the traffic, and its break-even with offers.

    What the traffic reads from a provider's cache is taken to be found in the boxes' own as often.
    `against` are offers' dollars per million tokens at this mix. Raises `UsageError` for a model that
    does not fit, and for calls without tokens in or out, which the serving model is not made for.
    """
    if not 0 < planned_utilisation <= 1:
        raise UsageError(
            f"a planned utilisation of {planned_utilisation:g}",
            code="utilisation-invalid",
            hint="a share above 0, up to 1",
        )
    mix = traffic.mix()
    if not mix.input_tokens or not mix.output_tokens:
        raise UsageError(
            "a box needs calls with tokens in and out",
            code="box-calls-empty",
            hint="leave out `--deploy`, or give both counts",
        )
    load = Load(
        input_tokens=max(1.0, mix.input_tokens),
        output_tokens=max(1.0, mix.output_tokens),
        cached_share=mix.cache_hit_share or 0.0,
    )
    (full,) = hosting_ladder(model, deployment, load, fit, usd_per_gpu_hour=usd_per_gpu_hour)
    a_day = box_usd_per_day(deployment, usd_per_gpu_hour)
    tokens = _tokens_per_day(traffic, mix.input_tokens + mix.output_tokens)
    capacity = full.tokens_per_day
    boxes, month, busy = _boxes(tokens, capacity, a_day, planned_utilisation)
    return BoxBill(
        name=name,
        gpus=deployment.gpus,
        usd_per_gpu_hour=usd_per_gpu_hour,
        boxes=boxes,
        month=month,
        per_mtok_usd=None if boxes is None or not tokens else boxes * a_day / tokens * 1_000_000,
        busy=busy,
        tokens_per_day=tokens,
        box_tokens_per_day=capacity,
        planned_utilisation=planned_utilisation,
        planned_per_mtok_usd=_times(full.per_mtok, 1 / planned_utilisation),
        cached_share=load.cached_share,
        rent_from=rent_from,
        break_even=tuple(
            _break_even(offer, hosted, a_day, capacity)
            for offer, hosted in (against or {}).items()
            if hosted is not None and hosted > 0
        ),
    )


def _times(found: Estimate, factor: float) -> Estimate:
    assert found.value is not None, "the serving model gives a number"
    low, high = found.low or found.value, found.high or found.value
    return replace(found, value=found.value * factor, low=low * factor, high=high * factor)


def _tokens_per_day(traffic: Traffic, tokens_per_call: float) -> Decimal | None:
    if traffic.calls_per_month is None:
        return None
    return traffic.calls_per_month / DAYS_PER_MONTH * Decimal(repr(tokens_per_call))


def _boxes(
    tokens: Decimal | None, capacity: Estimate, usd_per_day: Decimal, planned: float
) -> tuple[int | None, Estimate, Estimate]:
    """Return how many boxes are needed, what they cost a month, and how busy they are."""
    assert capacity.value is not None, "the serving model gives a number"
    if tokens is None:
        return (
            None,
            unknown_estimate(NO_VOLUME, unit="USD/month"),
            unknown_estimate(NO_VOLUME, unit="share"),
        )

    def needed(box_tokens: float) -> int:
        return max(1, math.ceil(float(tokens) / (box_tokens * planned)))

    def cost(boxes: int) -> float:
        return float(boxes * usd_per_day * DAYS_PER_MONTH)

    boxes = needed(capacity.value)
    fewest, most = needed(capacity.high or capacity.value), needed(capacity.low or capacity.value)
    month = Estimate(
        value=cost(boxes),
        low=cost(fewest),
        high=cost(most),
        level=capacity.level,
        n=capacity.n,
        unit="USD/month",
        method="serving model, boxes rented around the clock",
    )
    return boxes, month, _share(float(tokens) / boxes, capacity)


def _break_even(offer: str, hosted: Decimal, usd_per_day: Decimal, capacity: Estimate) -> BreakEven:
    tokens = break_even_tokens_per_day(usd_per_day, hosted)
    return BreakEven(
        against=offer,
        hosted_per_mtok=hosted,
        tokens_per_day=tokens,
        utilisation=_share(float(tokens), capacity),
    )


def _share(tokens_per_day: float, capacity: Estimate) -> Estimate:
    """Return a volume as a share of one box's throughput, with its band."""
    assert capacity.value is not None, "the serving model gives a number"
    return Estimate(
        value=tokens_per_day / capacity.value,
        low=tokens_per_day / (capacity.high or capacity.value),
        high=tokens_per_day / (capacity.low or capacity.value),
        level=capacity.level,
        n=capacity.n,
        unit="share",
        method=capacity.method,
    )
