"""What a move is worth, and what would win the incumbent back."""

import math
from decimal import Decimal

import pytest

from crossgrade.domain import Estimate, Price
from crossgrade.errors import UsageError
from crossgrade.pricing import blended_per_mtok
from crossgrade.pricing.bill import bill, per_solved
from crossgrade.pricing.commitment import Commitment
from crossgrade.pricing.moving import (
    MovingCosts,
    break_even_calls_per_day,
    payback_months,
    saving_per_month,
    win_back,
)
from crossgrade.pricing.usage import Traffic, UsageColumns, stated_traffic
from tests.codes import check_reason, raises_code

GPT_4O = Price(
    input_per_mtok=Decimal("2.5"),
    output_per_mtok=Decimal(10),
    cache_read_per_mtok=Decimal("1.25"),
    batch_discount=Decimal("0.5"),
)
SCOUT = Price(input_per_mtok=Decimal("0.11"), output_per_mtok=Decimal("0.34"))
DAILY = stated_traffic(3000, 1000, calls_per_day=Decimal(2500))  # 10 million tokens a day at 3:1


def test_the_headline_blends_and_daily_bills() -> None:
    assert blended_per_mtok(GPT_4O, 3) == Decimal("4.375")
    assert blended_per_mtok(SCOUT, 3) == Decimal("0.1675")
    dear, cheap = bill("gpt", DAILY, GPT_4O), bill("scout", DAILY, SCOUT)
    assert dear.usd_per_month == 30 * Decimal("43.75")
    assert cheap.usd_per_month == 30 * Decimal("1.675")
    assert dear.per_mtok_usd == Decimal("4.375")
    assert bill("gpt", DAILY, GPT_4O, batch=True).usd_per_month == 15 * Decimal("43.75")


def test_with_cache_hits_the_blend_falls() -> None:
    cached = DAILY.adjusted(cache_hit=0.8)
    assert bill("gpt", cached, GPT_4O).per_mtok_usd == Decimal("3.625")


@pytest.mark.parametrize(
    ("paid", "answered", "words"), [(3000, 10, "cache misses"), (10, 3000, "output"), (0, 5, "output")]
)
def test_what_dominates(paid: int, answered: int, words: str) -> None:
    found = bill("gpt", stated_traffic(paid, answered, calls_per_day=Decimal(1)), GPT_4O)
    assert found.dominated_by == words
    assert found.dominant_share is not None
    assert 0.5 < found.dominant_share <= 1


def test_input_without_a_cache_price_is_input_and_not_a_cache_miss() -> None:
    assert bill("scout", DAILY.adjusted(calls_per_day=Decimal(1)), SCOUT).dominated_by == "output"
    assert bill("x", stated_traffic(9, 1, calls_per_day=None), SCOUT).dominated_by == "input"


def test_cached_input_without_a_price_of_its_own_is_paid_and_named_as_input() -> None:
    found = bill("scout", stated_traffic(9000, 10, calls_per_day=Decimal(1), cache_hit=0.9), SCOUT)
    assert found.dominated_by == "input"
    assert found.dominant_share is not None
    assert found.dominant_share > 0.95


def test_no_interval_of_a_cost_goes_below_zero() -> None:
    import numpy as np

    usage = UsageColumns.from_tokens(np.array([100, 100, 9000]), np.array([1, 1, 900]))
    skewed = Traffic(usage=usage, calls_per_month=Decimal(10), measured=True, source="a test")
    found = bill("gpt", skewed, GPT_4O)
    assert (found.per_call_usd.low, found.month.low) == (0.0, 0.0)
    assert found.month.high is not None
    assert per_solved(np.array([0.001, 0.001, 0.9]), np.ones(3)).low == 0.0


def test_unknown_is_a_reason_and_never_zero() -> None:
    unpriced = {"price-unknown": bill("x", DAILY, None)}
    unpriced["batch-price-unknown"] = bill("x", DAILY, SCOUT, batch=True)
    for code, found in unpriced.items():
        assert (found.usd_per_month, found.month.value, found.per_mtok_usd) == (None, None, None)
        check_reason(found, code)
        check_reason(found.month, code)
    free = bill("free", DAILY, Price(input_per_mtok=Decimal(0), output_per_mtok=Decimal(0)))
    assert free.usd_per_month == 0
    volume = bill("x", stated_traffic(1, 1, calls_per_day=None), SCOUT)
    assert volume.usd_per_month is None
    assert volume.per_call_usd.value is not None


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ((-1, 1), "tokens-invalid"),
        ((1, -1), "tokens-invalid"),
        ((10**12, 1), "tokens-invalid"),
        ((0, 0), "call-without-tokens"),
    ],
)
def test_token_counts_that_cannot_be(wrong: tuple[int, int], code: str) -> None:
    with raises_code(code):
        stated_traffic(*wrong, calls_per_day=None)


@pytest.mark.parametrize("wrong", ["0", "-5", "NaN", "Infinity"])
def test_volumes_that_cannot_be(wrong: str) -> None:
    with raises_code("volume-invalid"):
        stated_traffic(1, 1, calls_per_day=Decimal(wrong))


@pytest.mark.parametrize("wrong", [-0.1, 1.1])
def test_cache_hits_that_cannot_be(wrong: float) -> None:
    with raises_code("cache-share-invalid"):
        stated_traffic(1, 1, calls_per_day=None, cache_hit=wrong)


def test_what_would_win_the_incumbent_back() -> None:
    rival = bill("scout", DAILY, SCOUT).usd_per_month
    assert rival is not None
    found = win_back(DAILY, GPT_4O, rival)
    assert found is not None
    assert found.discount == 1 - Decimal("1.675") / Decimal("43.75")
    assert found.input_per_mtok == Decimal("2.5") * (1 - found.discount)
    assert (found.cache_hit_share, found.batch_wins) == (None, False)
    at_that_price = Price(input_per_mtok=found.input_per_mtok, output_per_mtok=found.output_per_mtok)
    again = bill("gpt", DAILY, at_that_price).usd_per_month
    assert again is not None
    assert abs(again - rival) < Decimal("1e-9")


def test_a_near_rival_is_beaten_by_batch_and_by_the_cache() -> None:
    full = bill("gpt", DAILY, GPT_4O).usd_per_month
    assert full is not None
    found = win_back(DAILY, GPT_4O, full * Decimal("0.9"))
    assert found is not None
    assert found.batch_wins
    assert found.cache_hit_share is not None
    # Saving a tenth of 4.375 takes 0.4375 of the 0.75 x 1.25 that caching everything would save.
    assert abs(found.cache_hit_share - 0.4375 / 0.9375) < 1e-3


def test_a_committed_minimum_counts_against_moving() -> None:
    incumbent, rival = bill("gpt", DAILY, GPT_4O), bill("scout", DAILY, SCOUT)
    free = saving_per_month(incumbent, rival)
    bound = saving_per_month(incumbent, rival, commitment=Commitment(minimum_usd_per_month=Decimal(1000)))
    assert free is not None
    assert bound == free - 1000
    wins = win_back(DAILY, GPT_4O, Decimal(2000), commitment=Commitment(minimum_usd_per_month=Decimal(1000)))
    assert wins is not None
    assert wins.discount == 0


@pytest.mark.parametrize("wrong", [{"discount": Decimal(1)}, {"minimum_usd_per_month": Decimal(-1)}])
def test_commitments_that_cannot_be(wrong: dict[str, Decimal]) -> None:
    with pytest.raises(UsageError):
        Commitment(**wrong)


def test_payback_has_the_interval_of_the_saving_and_names_what_is_not_counted() -> None:
    costs = MovingCosts(evaluation_usd=Decimal(100), judge_usd=Decimal(20), migration_usd=Decimal(880))
    found = payback_months(Estimate(value=500, low=-10, high=1000), costs)
    assert (found.value, found.low, found.high) == (2, 1, math.inf)
    check_reason(found, "may-never-pay", "shadow")
    assert payback_months(Estimate(value=0), costs).value == math.inf
    check_reason(payback_months(Estimate(value=500), MovingCosts()), "moving-costs-unknown")
    unknown = Estimate(value=None, reason="no price is known", reason_code="price-unknown")
    check_reason(payback_months(unknown, costs), "price-unknown")


def test_break_even_of_a_fixed_cost() -> None:
    assert break_even_calls_per_day(Decimal(3000), Decimal("0.01")) == 10_000
    assert break_even_calls_per_day(Decimal(3000), None) is None
    assert break_even_calls_per_day(Decimal(3000), Decimal(0)) is None


def test_a_talkative_model_costs_more_per_solved_sample() -> None:
    import numpy as np

    scores = np.array([1.0, 0.0, 1.0, 1.0])
    terse, talkative = np.full(4, 0.002), np.full(4, 0.003)
    one, other = per_solved(terse, scores), per_solved(talkative, scores)
    assert one.value == pytest.approx(0.008 / 3)
    assert other.value == pytest.approx(0.012 / 3)
    assert one.low is not None
    assert one.low < one.value
    assert per_solved(terse, np.zeros(4)).value is None
