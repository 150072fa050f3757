"""Discounts and minimums in contracts, with numbers worked out by hand."""

from decimal import Decimal

import numpy as np
import pytest

from crossgrade.domain import Contract, Estimate, Price
from crossgrade.pricing.commitment import Commitment, discounted, owed_anyway
from crossgrade.pricing.saving import Contracts, Savings, contracted_savings, policy_savings
from tests.codes import check_reason


def least(usd: int, spend: int | None = None) -> Commitment:
    return Commitment(
        minimum_usd_per_month=Decimal(usd), spend_usd_per_month=None if spend is None else Decimal(spend)
    )


@pytest.mark.parametrize(
    ("left", "taken", "bill", "leaving", "joining", "saves"),
    [
        (1000, 100, 1000, None, None, 900),
        # 1,000 are paid today. After the move the minimum of 800 is owed, and 100 to the other provider.
        (1000, 100, 1000, least(800), None, 100),
        # The minimum of 1,200 is paid today, and after the move as well: nothing is saved, 100 more are paid.
        (1000, 100, 1000, least(1200), None, -100),
        # 5,000 are paid for everything, of which 1,000 leave: 4,000 are still above the minimum of 800.
        (1000, 100, 1000, least(800, 5000), None, 900),
        # 5,000 are paid, 4,500 are owed: of the 1,000 that leave, 500 are saved.
        (1000, 100, 1000, least(4500, 5000), None, 400),
        # Only 300 of a bill of 1,000 leave; 700 stay, and 800 are owed: 200 are saved, 50 are paid elsewhere.
        (300, 50, 1000, least(800), None, 150),
        # At the other provider 1,000 are owed and 950 used: of 100 more, 50 cost nothing.
        (1000, 100, 1000, None, least(1000, 950), 950),
        # There all of the minimum is free: the move costs nothing more.
        (1000, 100, 1000, None, least(1000, 0), 1000),
        # A minimum without a known spend is taken to be used up.
        (1000, 100, 1000, None, least(1000), 900),
        (1000, 100, 1000, least(800), least(1000, 0), 200),
    ],
)  # fmt: skip
def test_what_a_move_saves(
    left: int, taken: int, bill: int, leaving: Commitment | None, joining: Commitment | None, saves: int
) -> None:
    owed = owed_anyway(Decimal(left), Decimal(taken), bill=Decimal(bill), leaving=leaving, joining=joining)
    assert left - taken - owed.usd == saves


@pytest.mark.parametrize(
    ("minimum", "spend", "saves"), [(0, None, 900), (800, None, 200), (800, 2000, 900), (1200, None, 0)]
)
def test_a_move_within_one_provider_counts_towards_its_minimum(
    minimum: int, spend: int | None, saves: int
) -> None:
    owed = owed_anyway(
        Decimal(1000), Decimal(100), bill=Decimal(1000), leaving=least(minimum, spend), same_provider=True
    )
    assert 900 - owed.usd == saves


def test_a_discount_lowers_every_rate_and_leaves_the_share_of_a_batch() -> None:
    above = Price(input_per_mtok=Decimal(4), output_per_mtok=Decimal(20))
    price = Price(
        input_per_mtok=Decimal(2), output_per_mtok=Decimal(10), cache_read_per_mtok=Decimal(1),
        request_usd=Decimal("0.01"), batch_discount=Decimal("0.5"), tiers=((1000, above),), source="a list",
    )  # fmt: skip
    found = discounted(price, Decimal("0.2"))
    assert (found.input_per_mtok, found.output_per_mtok, found.cache_read_per_mtok) == (
        Decimal("1.6"), Decimal(8), Decimal("0.8"),
    )  # fmt: skip
    assert (found.request_usd, found.batch_discount) == (Decimal("0.008"), Decimal("0.5"))
    assert found.tiers[0][1].output_per_mtok == Decimal(16)
    assert found.cache_creation_per_mtok is None


def test_a_contract_without_a_minimum_owes_nothing() -> None:
    assert Commitment.of(None) is None
    assert Commitment.of(Contract(provider="openai", discount=Decimal("0.2"))) is None


COSTS = np.array([0.008, 0.010, 0.012, 0.010] * 25)
"""A mean of a cent on 100 samples."""


def saved(
    leaving: Commitment | None, volume: float | None, *, moved: bool = True, stated: bool = False
) -> Savings:
    """What moving all of a cent a request to a tenth of it saves."""
    month = None if volume is None else Estimate(value=volume)
    policy = COSTS / 10
    found = policy_savings(COSTS, policy, np.ones(100), requests_per_month=month, stated=stated)
    contracts = Contracts(leaving=leaving, joining=None, same_provider=False, moved=np.full(100, moved))
    return contracted_savings(
        found, COSTS, policy, contracts=contracts, requests_per_month=month, stated=stated
    )


def test_a_policy_saves_what_the_minimum_leaves() -> None:
    found = saved(least(800), 100_000)  # $1,000 a month today, $800 owed and $100 paid after the move
    assert found.saving_per_month_usd.value == pytest.approx(100)
    assert found.saving_per_request_usd.value == pytest.approx(0.001)
    assert found.saving_share.value == pytest.approx(0.1)
    assert found.owed_usd_per_month == pytest.approx(800)
    plain = saved(None, 100_000)
    assert plain.saving_per_month_usd.value == pytest.approx(900)
    assert plain.owed_usd_per_month == 0
    # The bill today and the candidate's vary as before, and what is owed does not.
    assert plain.saving_per_month_usd.low is not None
    assert found.saving_per_month_usd.low == pytest.approx(plain.saving_per_month_usd.low - 800)


def test_a_saving_below_the_minimum_is_a_loss_that_varies_with_the_candidates_cost_alone() -> None:
    found = saved(least(2000), 100_000).saving_per_month_usd
    assert found.value == pytest.approx(-100)
    assert found.low is not None
    assert found.high is not None
    assert found.low < -100 < found.high < 0
    other = saved(least(4500, 5000), 100_000).saving_per_month_usd  # 500 of the 1,000 are saved, 100 paid
    assert other.value == pytest.approx(400)
    assert other.high is not None
    assert other.high - 400 == pytest.approx(found.high + 100)


def test_without_a_volume_the_saving_under_a_minimum_is_unknown() -> None:
    found = saved(least(800), None)
    check_reason(found.saving_per_request_usd, "commitment-volume")
    assert found.saving_per_month_usd.value is found.saving_share.value is None
    assert saved(None, None).saving_per_request_usd.value == pytest.approx(0.009)
    assert saved(least(800), None, moved=False).saving_per_request_usd.value is not None


def test_stated_costs_have_no_interval_under_a_contract_either() -> None:
    found = saved(least(800), 100_000, stated=True).saving_per_request_usd
    assert (found.value, found.low, found.method) == (pytest.approx(0.001), None, "stated")


@pytest.mark.parametrize("volume", [3.0, 7_777.7, 100_000, 123_456_789])
def test_a_saving_that_the_minimum_takes_away_is_exactly_zero(volume: float) -> None:
    month, policy = Estimate(value=volume), COSTS / 3
    found = policy_savings(COSTS, policy, np.ones(100), requests_per_month=month)
    contracts = Contracts(
        leaving=least(10**9), joining=None, same_provider=True, moved=np.full(100, fill_value=True)
    )
    saving = contracted_savings(found, COSTS, policy, contracts=contracts, requests_per_month=month)
    assert saving.saving_per_request_usd.value == saving.saving_per_month_usd.value == 0
    assert (saving.saving_per_request_usd.high or 0) <= 0
