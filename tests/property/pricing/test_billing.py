"""Bills: exact in every digit, monotone in tokens and prices, and the sum of their parts."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.domain import MOST_TOKENS, Price, Usage
from crossgrade.pricing import cost_usd
from crossgrade.pricing.bill import bill
from crossgrade.pricing.columns import PARTS, price_calls
from crossgrade.pricing.usage import Traffic, UsageColumns

RATES = st.decimals(0, 1000, places=6)
COUNTS = st.integers(0, 3_000_000)
MAYBE = st.none() | COUNTS
ANY_COUNT = st.none() | st.integers(-3, MOST_TOKENS + 3)


@st.composite
def prices(draw: st.DrawFn, *, tiers: bool = True) -> Price:
    """Any price: some rates unknown, a tier or two, fees, a batch discount."""
    levels = draw(st.lists(st.integers(1, 400_000), max_size=2, unique=True)) if tiers else []
    return Price(
        input_per_mtok=draw(st.none() | RATES),
        output_per_mtok=draw(st.none() | RATES),
        cache_read_per_mtok=draw(st.none() | RATES),
        cache_creation_per_mtok=draw(st.none() | RATES),
        reasoning_per_mtok=draw(st.none() | RATES),
        request_usd=draw(st.just(Decimal(0)) | st.decimals(0, 1, places=5)),
        image_usd=draw(st.none() | st.decimals(0, 1, places=5)),
        batch_discount=draw(st.none() | st.decimals(0, 1, places=3)),
        tiers=tuple((start, draw(prices(tiers=False))) for start in sorted(levels)),
    )


@st.composite
def usages(draw: st.DrawFn, counts: st.SearchStrategy[int | None] = MAYBE) -> Usage:
    """Any usage, possible or not."""
    return Usage(
        input_tokens=draw(counts),
        output_tokens=draw(counts),
        cache_read_input_tokens=draw(counts),
        cache_creation_input_tokens=draw(counts),
        reasoning_output_tokens=draw(counts),
        images=draw(counts),
    )


def sensible(calls: list[Usage]) -> UsageColumns:
    """Columns of calls with plausible counts and nothing cached."""
    return UsageColumns.from_tokens(
        np.array([call.input_tokens or 0 for call in calls], np.int64),
        np.array([call.output_tokens or 0 for call in calls], np.int64),
    )


@given(st.lists(usages(ANY_COUNT) | usages(), max_size=8), prices(), st.booleans())
def test_many_calls_cost_what_each_of_them_costs(calls: list[Usage], price: Price, batch: bool) -> None:
    priced = price_calls(UsageColumns.of(calls), price, batch=batch)
    each = [cost_usd(call, price, batch=batch) for call in calls]
    assert [priced.cost_usd(at) for at in range(len(calls))] == each
    assert priced.total_usd() == sum((cost for cost in each if cost is not None), Decimal(0))
    assert sum((priced.part_usd(name) for name in PARTS), Decimal(0)) == priced.total_usd()
    assert [bool(np.isnan(usd)) for usd in priced.usd()] == [cost is None for cost in each]


@given(
    usages(), prices(tiers=False), st.sampled_from(["input_tokens", "output_tokens"]), st.integers(1, 10**6)
)
def test_more_tokens_never_cost_less(call: Usage, price: Price, name: str, more: int) -> None:
    call = replace(call, cache_read_input_tokens=None, cache_creation_input_tokens=None)
    call = replace(call, reasoning_output_tokens=None)
    before = cost_usd(call, price)
    larger = replace(call, **{name: (getattr(call, name) or 0) + more})
    after = cost_usd(larger, price)
    if before is not None and after is not None:
        assert after >= before


@given(st.lists(usages(), min_size=1, max_size=5), RATES, RATES, st.decimals(0, 100, places=3))
def test_a_dearer_price_never_costs_less(
    calls: list[Usage], paid: Decimal, answered: Decimal, more: Decimal
) -> None:
    cheap = Price(input_per_mtok=paid, output_per_mtok=answered)
    for dear in (
        replace(cheap, input_per_mtok=paid + more),
        replace(cheap, output_per_mtok=answered + more),
        replace(cheap, request_usd=more),
    ):
        assert (
            price_calls(sensible(calls), dear).total_usd() >= price_calls(sensible(calls), cheap).total_usd()
        )


@given(st.lists(usages(), min_size=1, max_size=5), st.lists(usages(), min_size=1, max_size=5), prices())
def test_the_cost_of_a_mix_is_the_mix_of_costs(one: list[Usage], other: list[Usage], price: Price) -> None:
    both = price_calls(UsageColumns.of([*one, *other]), price).total_usd()
    apart = [price_calls(UsageColumns.of(calls), price).total_usd() for calls in (one, other)]
    assert both == sum(apart, Decimal(0))


@given(st.lists(usages(), min_size=1, max_size=5), st.floats(0, 1), st.floats(0, 1))
def test_more_cache_hits_never_cost_more(calls: list[Usage], one: float, other: float) -> None:
    price = Price(input_per_mtok=Decimal(2), output_per_mtok=Decimal(8), cache_read_per_mtok=Decimal("0.2"))
    low, high = sorted((one, other))
    few, many = (
        price_calls(sensible(calls).with_cache_hits(share), price).total_usd() for share in (low, high)
    )
    assert many <= few


@given(st.lists(usages(), min_size=1, max_size=6), prices(), st.decimals(1, 10**9, places=0))
def test_a_bill_grows_with_the_volume_and_is_the_sum_of_its_parts(
    calls: list[Usage], price: Price, volume: Decimal
) -> None:
    traffic = Traffic(usage=sensible(calls), calls_per_month=volume, measured=True, source="")
    found = bill("x", traffic, price)
    more = bill("x", traffic.adjusted(calls_per_day=volume), price)
    if found.usd_per_month is None:
        assert found.reason
        assert found.month.value is None
        return
    assert more.usd_per_month is not None
    assert more.usd_per_month >= found.usd_per_month
    assert abs(sum(found.parts_usd.values(), Decimal(0)) - found.usd_per_month) <= Decimal("1e-20") * volume


def test_numbers_too_large_for_a_column_of_integers_stay_exact() -> None:
    price = Price(input_per_mtok=Decimal("0.123456789012"), output_per_mtok=Decimal("999999.999999"))
    usage = Usage(input_tokens=MOST_TOKENS, output_tokens=MOST_TOKENS)
    priced = price_calls(UsageColumns.of([usage] * 3), price)
    assert priced.units.dtype == object
    exact = cost_usd(usage, price)
    assert exact is not None
    assert priced.total_usd() == 3 * exact
