"""Laws of boxes of one's own and of the market: more volume or dearer rent never costs less."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from crossgrade.hosting import (
    Deployment,
    Load,
    known_gpu,
    known_model,
    prompt_costs,
    serve,
    shipped_fit,
)
from crossgrade.hosting.boxes import BoxBill, box_bill
from crossgrade.outlook import market_revenue
from crossgrade.pricing.usage import stated_traffic

SCOUT = known_model("llama-4-scout")
BOX = Deployment(gpu=known_gpu("h100"), tensor_parallel=4)
CENTS = st.integers(1, 10_000).map(lambda cents: Decimal(cents) / 100)
SHARES = st.floats(0, 1)


def box(calls: int, rent: Decimal) -> BoxBill:
    traffic = stated_traffic(3000, 500, calls_per_day=Decimal(calls))
    return box_bill(
        "b", SCOUT, BOX, traffic, shipped_fit(), usd_per_gpu_hour=rent, against={"host": Decimal("0.2")}
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10**8), st.integers(0, 10**8), CENTS, CENTS)
def test_more_calls_or_rent_never_cost_less(calls: int, more: int, rent: Decimal, dearer: Decimal) -> None:
    one = box(calls, rent)
    for other in (box(calls + more, rent), box(calls, rent + dearer)):
        assert (other.month.value or 0) >= (one.month.value or 0)
        assert (other.month.low or 0) <= (other.month.value or 0) <= (other.month.high or 0)
    assert box(calls, rent + dearer).break_even[0].tokens_per_day > one.break_even[0].tokens_per_day


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9_000_000), st.integers(1, 1_000_000), CENTS)
def test_a_longer_prompt_never_takes_less_time(tokens: int, more: int, rent: Decimal) -> None:
    short, long = prompt_costs(SCOUT, BOX, shipped_fit(), [tokens, tokens + more], usd_per_gpu_hour=rent)
    assert (long.seconds.value or 0) >= (short.seconds.value or 0) > 0
    assert long.missing_bytes >= short.missing_bytes


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200_000), st.integers(1, 5_000), SHARES, SHARES)
def test_more_input_in_the_cache_never_serves_less(
    paid: int, answered: int, one: float, other: float
) -> None:
    few, many = sorted((one, other))
    loads = [Load(input_tokens=paid, output_tokens=answered, cached_share=share) for share in (0, few, many)]
    served = [float(serve(SCOUT, BOX, load, shipped_fit().constants).output_tokens_s[0]) for load in loads]
    assert served[0] <= served[1] * (1 + 1e-9)
    assert served[1] <= served[2] * (1 + 1e-9)


@given(SHARES, SHARES, SHARES.map(lambda share: share * 0.99), st.floats(0, 1))
def test_more_that_leaves_never_leaves_more_revenue(
    one: float, other: float, cut: float, growth: float
) -> None:
    few, many = sorted((one, other))
    left = [market_revenue(share, price_cut=cut, growth=growth) for share in (few, many)]
    assert left[0] >= left[1] >= 0
