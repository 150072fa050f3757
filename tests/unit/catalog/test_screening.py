"""Which offers cannot take a workload's traffic: each reason once, and a saving that is no reason for a test."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from crossgrade.catalog import Catalog, Rate
from crossgrade.catalog.bills import bill_offers
from crossgrade.catalog.screening import misfit, unpaid
from crossgrade.domain import (
    Estimate,
    Offer,
    Price,
    PromptTemplate,
    Requirements,
    ScorerSpec,
    Team,
    Variant,
    Workload,
)
from crossgrade.pricing.usage import Traffic, UsageColumns
from tests.codes import listed_on

DAY = date(2026, 11, 28)
PRICE = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(2))
OLD = Offer(name="old", provider="openai", model="old-model", prices=(PRICE,))
NEW = Offer(name="new", provider="groq", model="new-model", prices=(PRICE,), open_weights=False, region="eu")
WORKLOAD = Workload(
    name="support",
    dataset=Path("x.jsonl"),
    incumbent=Variant(offer=OLD),
    candidates=(),
    scorer=ScorerSpec(kind="exact"),
)
SCHEMA = {"type": "object", "required": ["city"]}
TRAFFIC = Traffic(
    usage=UsageColumns.from_tokens(np.array([500, 3000]), np.array([10, 20])),
    calls_per_month=Decimal(1000),
    measured=True,
    source="run",
)
CATALOG = Catalog(
    [Rate(seen_on=date(2026, 1, 1), provider="groq", model="left", input=Decimal(1), output=Decimal(2)),
     Rate(seen_on=date(2026, 10, 1), provider="groq", model="left", event="delisted")]
)  # fmt: skip


def reason_of(offer: Offer = NEW, workload: Workload = WORKLOAD, catalog: Catalog = CATALOG) -> str | None:
    bills = bill_offers([OLD, offer], TRAFFIC, catalog, DAY, incumbent="old")
    (row,) = (each for each in bills.offers if each.offer == offer.name)
    found = misfit(workload, offer, row, DAY)
    assert found is None or found.code in listed_on("reasons.md")
    return None if found is None else found.code


def asking(**fields: object) -> Workload:
    return replace(WORKLOAD, requirements=Requirements(**fields))  # type: ignore[arg-type]  # one by one


def prompting(**fields: object) -> Workload:
    prompt = PromptTemplate(**fields)  # type: ignore[arg-type]  # one by one
    return replace(WORKLOAD, incumbent=Variant(offer=OLD, prompt=prompt))


def test_an_offer_that_fits() -> None:
    assert reason_of() is None
    wanted = asking(regions=("eu", "us"), licences=("mit",), context_tokens=4000)
    assert reason_of(replace(NEW, licence="mit", context_tokens=4000), wanted) is None
    assert reason_of(workload=prompting(response_schema=SCHEMA)) is None
    assert reason_of(workload=prompting(text=True)) is None


@pytest.mark.parametrize(
    ("offer", "workload", "code"),
    [
        (replace(NEW, retires_on=DAY), WORKLOAD, "offer-gone"),
        (replace(NEW, model="left", prices=()), WORKLOAD, "offer-gone"),
        (replace(NEW, retires_on=date(2027, 2, 26)), WORKLOAD, "offer-ends-soon"),
        (replace(NEW, retires_on=date(2027, 2, 27)), WORKLOAD, None),
        (replace(NEW, provider="nobody"), WORKLOAD, "offer-uncallable"),
        (replace(NEW, provider="nobody", base_url="https://x.example/v1"), WORKLOAD, None),
        (NEW, asking(licences=("mit",)), "offer-licence"),
        (NEW, asking(regions=("us",)), "offer-region"),
        (replace(NEW, region=None), asking(regions=("eu",)), "offer-region"),
        (NEW, asking(context_tokens=1000), "offer-context"),
        (replace(NEW, context_tokens=999), asking(context_tokens=1000), "offer-context"),
        (replace(NEW, context_tokens=3019), WORKLOAD, "offer-context"),
        (replace(NEW, context_tokens=3020), WORKLOAD, None),
        (replace(NEW, provider="deepseek"), prompting(response_schema=SCHEMA), "offer-schema"),
        (replace(NEW, provider="deepseek"), prompting(response_schema={"type": "object"}), None),
        (replace(NEW, provider="anthropic"), prompting(text=True), "offer-completion"),
        (replace(NEW, prices=()), WORKLOAD, "offer-price-unknown"),
        (
            replace(NEW, prices=(replace(PRICE, input_per_mtok=Decimal(3)),)),
            WORKLOAD,
            "offer-price-doubtful",
        ),
    ],
)
def test_each_reason(offer: Offer, workload: Workload, code: str | None) -> None:
    assert reason_of(offer, workload) == code


def test_what_the_team_may_not_use_or_does_not_know() -> None:
    scout = replace(NEW, model="llama-4-scout", open_weights=True)
    assert reason_of(scout, catalog=Catalog(team=Team(country="DE"))) == "offer-forbidden"
    strict = Team(max_retention_days=0)
    assert reason_of(replace(NEW, provider="cerebras"), catalog=Catalog(team=strict)) == "offer-terms-unknown"


@pytest.mark.parametrize(
    ("usd", "code"),
    [
        (10.0, None),
        (9.99, "offer-saves-too-little"),
        (-5.0, "offer-saves-too-little"),
        (None, "offer-saving-unknown"),
    ],
)
def test_what_saves_too_little_or_nobody_knows(usd: float | None, code: str | None) -> None:
    found = unpaid(Estimate(value=usd, unit="USD/month", reason="no volume"), 10.0)
    assert (None if found is None else found.code) == code


def test_when_an_offer_was_listed_and_changed() -> None:
    rates = [
        Rate(seen_on=date(2026, month, 1), provider="groq", model="m", event=event, input=price, output=price)
        for month, event, price in (
            (3, "first-seen", Decimal(2)), (6, "change", Decimal(1)), (7, "facts", None), (12, "change", Decimal(9))
        )
    ]  # fmt: skip
    catalog, offer = Catalog(rates), Offer(name="m", provider="groq", model="m")
    assert (catalog.listed_on(offer, DAY), catalog.changed_on(offer, DAY)) == (
        date(2026, 3, 1),
        date(2026, 6, 1),
    )
    own = replace(offer, prices=(replace(PRICE, valid_from=date(2026, 9, 1)),))
    assert catalog.listed_on(own, DAY) == catalog.changed_on(own, DAY) == date(2026, 9, 1)
    unknown = replace(offer, model="nobody-knows")
    assert catalog.listed_on(unknown, DAY) is None
