"""What an answer costs that another name of the same endpoint had first."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from crossgrade.domain import Offer, Price
from crossgrade.project._measured import run_answers
from crossgrade.store import Response, Store
from tests.unit.store.conftest import answered, make_run, path, scored, store

__all__ = ["path", "store"]  # fixtures

LIST = Price(input_per_mtok=Decimal(10), output_per_mtok=Decimal(30), batch_discount=Decimal("0.5"))
PAID_USD = Decimal("0.00012")


@pytest.mark.parametrize(
    ("paid_for", "batch", "price", "cost_usd"),
    [
        ("listed", False, LIST, PAID_USD),
        ("contract", False, LIST, Decimal("0.00021")),
        ("contract", True, LIST, Decimal("0.000105")),
        ("contract", False, None, None),
    ],
)
def test_it_costs_what_its_own_offer_says(
    store: Store,
    paid_for: str,
    batch: bool,
    price: Price | None,
    cost_usd: Decimal | None,
) -> None:
    run = make_run(settings={"scorer_digest": "scorer"})
    records = [
        replace(each, offer=paid_for) if isinstance(each, Response) else each
        for each in answered(run, model="listed", cost=PAID_USD)
    ]
    (response,) = [each for each in records if isinstance(each, Response)]
    store.runs.append(run)
    store.answers.append([*records, scored(run, model="listed")])
    offer = Offer(name="listed", provider="openai", model="gpt", batch=batch)
    days: list[date] = []

    def priced(_: Offer, day: date) -> Price | None:
        days.append(day)
        return price

    (found,) = run_answers(store, run, {"listed": offer}, priced)
    assert found.cost_usd == cost_usd
    assert days[:1] == ([] if paid_for == "listed" else [response.at.date()])
