"""What a run's costs would have been with nothing read from the cache."""

from datetime import date
from decimal import Decimal

import numpy as np
import pytest

from crossgrade.domain import Offer, Price, ScoredAnswer, Usage
from crossgrade.project._measured import with_cache_savings
from crossgrade.testing import evidence

RATES = Price(
    input_per_mtok=Decimal(10), output_per_mtok=Decimal(30), cache_read_per_mtok=Decimal(1), source="a list"
)
OFFERS = {name: Offer(name=name, provider="openai", model=name) for name in ("incumbent", "candidate")}
ON = date(2026, 11, 1)


def answer(model: str, sample: str, read: int | None, epoch: int = 1) -> ScoredAnswer:
    usage = Usage(input_tokens=1_000, output_tokens=10, cache_read_input_tokens=read)
    return ScoredAnswer(sample_id=sample, model=model, score=1.0, epoch=epoch, usage=usage, on=ON)


def test_it_is_the_read_tokens_times_what_the_cache_takes_off() -> None:
    found = evidence([1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    first, second, third = map(str, found.sample_ids)
    answers = [
        answer("incumbent", first, 800),
        answer("incumbent", second, 0),
        answer("incumbent", third, None),
        answer("candidate", first, 1_000),
        answer("candidate", first, 500, epoch=2),
    ]

    def price(offer: Offer, on: date) -> Price | None:
        assert (OFFERS[offer.name], on) == (offer, ON)
        return RATES

    priced = with_cache_savings(found, answers, OFFERS, price)
    # 800 tokens at 10 instead of 1 dollar a million; none; not said.
    assert priced.incumbent.cache_saved_usd == pytest.approx([0.0072, 0.0, np.nan], nan_ok=True)
    # The mean of 1,000 and 500 tokens; never asked.
    assert priced.candidates[0].cache_saved_usd == pytest.approx([0.00675, np.nan, np.nan], nan_ok=True)


def test_without_a_price_it_is_unknown() -> None:
    found = evidence([1.0], [1.0])
    answers = [answer("incumbent", str(found.sample_ids[0]), 800)]
    priced = with_cache_savings(found, answers, OFFERS, lambda *_: None)
    assert priced.incumbent.cache_saved_usd == pytest.approx([np.nan], nan_ok=True)
