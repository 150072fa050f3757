"""The cost of a call: exact, and unknown rather than wrong."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.domain import Price, Usage
from crossgrade.pricing import cost_usd

GPT_4O = Price(
    input_per_mtok=Decimal("2.5"),
    output_per_mtok=Decimal(10),
    cache_read_per_mtok=Decimal("1.25"),
    batch_discount=Decimal("0.5"),
)
TOKENS = st.integers(0, 10_000_000)


def test_a_known_call() -> None:
    usage = Usage(input_tokens=1000, output_tokens=100, cache_read_input_tokens=600)
    # 400 fresh at 2.50, 600 cached at 1.25, 100 answered at 10.00, each per million.
    assert cost_usd(usage, GPT_4O) == Decimal("0.00275")
    assert cost_usd(usage, GPT_4O, batch=True) == Decimal("0.001375")


def test_writing_the_cache_has_its_price_and_reasoning_is_output() -> None:
    price = Price(
        input_per_mtok=Decimal(3),
        output_per_mtok=Decimal(15),
        cache_read_per_mtok=Decimal("0.3"),
        cache_creation_per_mtok=Decimal("3.75"),
        request_usd=Decimal("0.01"),
    )
    usage = Usage(
        input_tokens=1_000_000,
        output_tokens=1_000_000,
        cache_read_input_tokens=500_000,
        cache_creation_input_tokens=400_000,
        reasoning_output_tokens=900_000,
    )
    assert cost_usd(usage, price) == Decimal("0.3") + Decimal("0.15") + Decimal("1.5") + 15 + Decimal("0.01")


def test_without_a_cache_price_cached_tokens_cost_what_fresh_ones_do() -> None:
    price = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(1))
    usage = Usage(input_tokens=1_000_000, output_tokens=0, cache_read_input_tokens=999_999)
    assert cost_usd(usage, price) == 1


@pytest.mark.parametrize(("tokens", "wanted"), [(200_000, "0.2"), (200_001, "0.400002")])
def test_a_tier_holds_for_the_whole_call_above_its_start(tokens: int, wanted: str) -> None:
    above = Price(input_per_mtok=Decimal(2), output_per_mtok=Decimal(2))
    price = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(1), tiers=((200_000, above),))
    assert cost_usd(Usage(input_tokens=tokens, output_tokens=0), price) == Decimal(wanted)


@pytest.mark.parametrize(
    "usage", [Usage(), Usage(input_tokens=1), Usage(output_tokens=1), Usage(cache_read_input_tokens=1)]
)
def test_unknown_usage_is_an_unknown_cost(usage: Usage) -> None:
    assert cost_usd(usage, GPT_4O) is None


def test_an_unknown_price_is_an_unknown_cost() -> None:
    usage = Usage(input_tokens=1, output_tokens=1)
    assert cost_usd(usage, Price(input_per_mtok=None, output_per_mtok=Decimal(1))) is None
    assert cost_usd(usage, Price(input_per_mtok=Decimal(1), output_per_mtok=None)) is None
    embedding = Usage(input_tokens=1_000_000, output_tokens=0)
    assert cost_usd(embedding, Price(input_per_mtok=Decimal(1), output_per_mtok=None)) == 1
    without = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(1))
    assert cost_usd(usage, without, batch=True) is None


def test_images_cost_what_they_cost_or_nobody_knows() -> None:
    price = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(1), image_usd=Decimal("0.01"))
    costs = [
        cost_usd(Usage(input_tokens=1, output_tokens=0, images=images), price) for images in (None, 0, 2)
    ]
    assert costs == [None, Decimal("0.000001"), Decimal("0.020001")]


@given(TOKENS, TOKENS, TOKENS, TOKENS)
def test_costs_add_up_exactly(input_: int, output: int, more_input: int, more_output: int) -> None:
    one = cost_usd(Usage(input_tokens=input_, output_tokens=output), GPT_4O)
    other = cost_usd(Usage(input_tokens=more_input, output_tokens=more_output), GPT_4O)
    both = cost_usd(Usage(input_tokens=input_ + more_input, output_tokens=output + more_output), GPT_4O)
    assert one is not None
    assert other is not None
    assert both == one + other


@given(TOKENS, TOKENS)
def test_caching_never_costs_more(cached: int, fresh: int) -> None:
    total = Usage(input_tokens=cached + fresh, output_tokens=1)
    with_cache = Usage(input_tokens=cached + fresh, output_tokens=1, cache_read_input_tokens=cached)
    cheap, full = cost_usd(with_cache, GPT_4O), cost_usd(total, GPT_4O)
    assert cheap is not None
    assert full is not None
    assert 0 < cheap <= full
