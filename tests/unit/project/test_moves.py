"""What the cheapest move is worth: the interval of its saving and of its payback."""

from datetime import date
from decimal import Decimal

import numpy as np
import pytest

from crossgrade.catalog import Catalog
from crossgrade.catalog.bills import Bills, Measured, bill_offers
from crossgrade.domain import Offer, Price
from crossgrade.pricing.commitment import Commitment
from crossgrade.pricing.moving import MovingCosts
from crossgrade.pricing.usage import Traffic, UsageColumns, stated_traffic
from crossgrade.project import OfferMove, cheapest_move

COSTS = MovingCosts(migration_usd=Decimal(1000))
FREE = Commitment()


def _offer(name: str, provider: str, paid: str, answered: str) -> Offer:
    price = Price(input_per_mtok=Decimal(paid), output_per_mtok=Decimal(answered))
    return Offer(name=name, provider=provider, model=name, prices=(price,))


OFFERS = [_offer("old", "openai", "10", "30"), _offer("new", "groq", "8", "24")]


def _traffic(seed: int, calls: int = 400) -> Traffic:
    rng = np.random.default_rng(seed)
    usage = UsageColumns.from_tokens(rng.integers(100, 9000, calls), rng.integers(10, 900, calls))
    return Traffic(usage=usage, calls_per_month=Decimal(30_000), measured=True, source="a test")


def _move(traffic: Traffic, commitment: Commitment = FREE, *, own: Traffic | None = None) -> OfferMove:
    measured = None if own is None else {"new": Measured(traffic=own, scores=np.ones(len(own.usage)))}
    bills: Bills = bill_offers(
        OFFERS, traffic, Catalog(), date(2026, 11, 25), incumbent="old", measured=measured
    )
    found = cheapest_move(bills, commitment, COSTS)
    assert found is not None
    return found


def test_stated_tokens_have_no_interval() -> None:
    found = _move(stated_traffic(3000, 1000, calls_per_day=Decimal(1000)))
    assert found.saving.value == pytest.approx(float(found.saving_usd_per_month or 0))
    assert (found.saving.low, found.payback_months.low, found.payback_months.high) == (None, None, None)


def test_on_the_same_calls_the_interval_is_the_paired_one_and_the_payback_has_it() -> None:
    traffic = _traffic(1)
    found = _move(traffic)
    # New costs four fifths of old on every call, so the saving is a fifth of old's bill, interval and all.
    bills = bill_offers(OFFERS, traffic, Catalog(), date(2026, 11, 25), incumbent="old")
    assert bills.of_incumbent is not None
    month = bills.of_incumbent.bill.month
    assert month.low is not None
    assert month.high is not None
    assert found.saving.low == pytest.approx(month.low / 5)
    assert found.saving.high == pytest.approx(month.high / 5)
    assert found.payback_months.low == pytest.approx(1000 / (month.high / 5))
    assert found.payback_months.high == pytest.approx(1000 / (month.low / 5))
    assert found.payback_months.n == 400


def test_what_stays_owed_moves_the_interval_and_the_volume_that_pays_within_a_year() -> None:
    traffic = _traffic(2)
    free, bound = _move(traffic), _move(traffic, Commitment(minimum_usd_per_month=Decimal(50)))
    assert free.saving.low is not None
    assert free.saving.high is not None
    assert bound.saving.low == pytest.approx(free.saving.low - 50)
    assert bound.saving.high == pytest.approx(free.saving.high - 50)
    volume = bound.paid_back_in_a_year_from
    assert volume is not None
    again = _move(traffic.adjusted(calls_per_day=volume), Commitment(minimum_usd_per_month=Decimal(50)))
    assert again.payback_months.value == pytest.approx(12)


def test_a_rival_with_tokens_of_its_own_has_the_wider_interval() -> None:
    traffic = _traffic(3)
    paired, own = _move(traffic), _move(traffic, own=traffic)
    assert own.saving.value == pytest.approx(paired.saving.value)
    for end in ("low", "high"):
        assert getattr(own.saving, end) is not None
    assert own.saving.low < paired.saving.low  # type: ignore[operator]  # checked above
    assert own.saving.high > paired.saving.high  # type: ignore[operator]  # checked above


def test_a_saving_that_may_be_none_may_never_pay() -> None:
    found = _move(_traffic(4, calls=3), own=_traffic(5, calls=3))
    assert found.saving.low is not None
    assert found.saving.low < 0
    assert found.payback_months.high == float("inf")


def _bills(*, batch: str | None = None) -> Bills:
    """The bills of GPT-4o, which has a batch price and a newer sibling, and of an open model."""
    offers = [
        Offer(name="old", provider="openai", model="gpt-4o"),
        Offer(
            name="new",
            provider="local",
            model="new",
            prices=(
                Price(
                    input_per_mtok=Decimal("1.5"),
                    output_per_mtok=Decimal(6),
                    batch_discount=None if batch is None else Decimal(batch),
                ),
            ),
        ),
    ]
    traffic = stated_traffic(3000, 1000, calls_per_day=Decimal(1000))
    return bill_offers(offers, traffic, Catalog(), date(2026, 11, 25), incumbent="old")


def test_what_today_s_model_could_save_comes_before_a_move() -> None:
    bills = _bills()
    assert bills.of_incumbent is not None
    now = float(bills.of_incumbent.bill.usd_per_month or 0)
    ways = {each.way: each for each in bills.thrifts}
    assert ways["batch"].saves_usd_per_month == pytest.approx(now / 2)
    # Unknown is not zero: nobody said how much of the input repeats, and no catalogue has flex prices.
    assert ways["prompt caching"].saves_usd_per_month is None
    assert ways["flex tier"].saves_usd_per_month is None
    newer = ways["newer model of openai"]
    assert (newer.offer, newer.keeps_answers) == ("gpt-5.6-luna@openai", False)
    assert 0 < (newer.saves_usd_per_month or 0) < now


def test_a_move_is_compared_with_the_bill_that_needs_no_move() -> None:
    found = cheapest_move(_bills(), FREE, COSTS)
    assert found is not None
    assert (found.saving_usd_per_month or 0) > 0
    # GPT-4o by batch costs less than the open model does.
    assert found.beyond_thrift_usd_per_month == Decimal("262.5") - 315
    alike = cheapest_move(_bills(batch="0.5"), FREE, COSTS)
    assert alike is not None
    assert (alike.beyond_thrift_usd_per_month or 0) > 0
