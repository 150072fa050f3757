"""The catalogue as of a day: history, what came and went, a team's own rates, doubtful rows."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from crossgrade.catalog import (
    Catalog,
    check_catalog,
    model_name,
    packaged_catalog,
    provider_name,
    rates_to_csv,
    read_rates,
)
from crossgrade.domain import Contract, Offer, Price, Team
from tests.codes import raises_code

TODAY = date(2026, 11, 25)
HEAD = "seen_on,provider,model,input,output\n"


@pytest.fixture
def rates_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "prices.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def offer(provider: str, model: str, **fields: object) -> Offer:
    return Offer(name="x", provider=provider, model=model, **fields)  # type: ignore[arg-type]  # tests give any


@pytest.mark.parametrize(
    ("day", "paid", "answered"),
    [("2024-06-01", "5", "15"), ("2025-01-01", "2.5", "10"), ("2026-11-25", "2.5", "10")],
)
def test_a_price_is_the_one_of_its_day(day: str, paid: str, answered: str) -> None:
    found = packaged_catalog().price(offer("openai", "gpt-4o"), date.fromisoformat(day))
    assert found is not None
    assert (found.input_per_mtok, found.output_per_mtok) == (Decimal(paid), Decimal(answered))


@pytest.mark.parametrize(
    "unborn", [("openai", "gpt-4o", "2024-01-01"), ("groq", "llama-4-scout-17b-16e-instruct", "2025-01-01")]
)
def test_before_the_first_price_it_is_unknown(unborn: tuple[str, str, str]) -> None:
    provider, model, day = unborn
    assert packaged_catalog().price(offer(provider, model), date.fromisoformat(day)) is None


def test_hosts_that_the_base_lacks_and_ids_as_hosts_write_them() -> None:
    for model in ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama-4-scout"):
        found = packaged_catalog().price(offer("deepinfra", model), TODAY)
        assert found is not None
        assert (found.input_per_mtok, found.output_per_mtok) == (Decimal("0.1"), Decimal("0.3"))


@pytest.mark.parametrize(
    ("provider", "model", "status"),
    [
        ("groq", "meta-llama/llama-4-scout-17b-16e-instruct", "delisted"),
        ("together", "meta-llama/Llama-4-Scout-17B-16E-Instruct", "retired"),
        ("azure", "Llama-4-Maverick-17B-128E-Instruct-FP8", "retired"),
        ("bedrock", "meta.llama4-scout-17b-instruct-v1:0", "on sale"),
        ("openai", "gpt-4o", "on sale"),
        ("local", "gemma", "unknown"),
    ],
)
def test_what_can_be_bought_in_november_2026(provider: str, model: str, status: str) -> None:
    assert packaged_catalog().facts(offer(provider, model), TODAY).status(TODAY) == status


def test_facts_of_an_offer() -> None:
    found = packaged_catalog().facts(offer("openai", "gpt-4o"), TODAY)
    assert (found.retires_on, found.open_weights, found.context_tokens) == (date(2027, 1, 14), False, 128_000)
    scout = offer("groq", "meta-llama/llama-4-scout-17b-16e-instruct")
    assert packaged_catalog().facts(scout, date(2026, 9, 1)).status(date(2026, 9, 1)) == "on sale"
    assert packaged_catalog().facts(scout, TODAY).open_weights is True


def test_who_configures_a_price_says_that_the_offer_is_sold() -> None:
    price = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(1))
    mine = offer("groq", "meta-llama/llama-4-scout-17b-16e-instruct", prices=(price,))
    assert packaged_catalog().facts(mine, TODAY).status(TODAY) == "on sale"
    dated = offer("openai", "gpt-4o", retires_on=date(2030, 1, 1), context_tokens=7)
    facts = packaged_catalog().facts(dated, TODAY)
    assert (facts.retires_on, facts.context_tokens) == (date(2030, 1, 1), 7)


def test_own_rates_come_before_the_packaged_ones_from_their_day_on(rates_file: Callable[[str], Path]) -> None:
    rows = "2026-06-01,openai,gpt-4o,2,8\n2026-08-01,openai,gpt-4o,1,4\n2026-09-01,nowhere,mine,3,3\n"
    catalog = Catalog(read_rates(rates_file(HEAD + rows)))
    days = [date(2026, 5, 31), date(2026, 6, 1), date(2026, 7, 31), date(2026, 8, 1)]
    found = [catalog.price(offer("openai", "gpt-4o"), day) for day in days]
    assert [price and price.input_per_mtok for price in found] == [Decimal("2.5"), 2, 2, 1]
    assert catalog.price(offer("nowhere", "mine"), TODAY) is not None
    assert "mine@nowhere" in {each.name for each in catalog.listings(TODAY)}
    assert "mine@nowhere" not in {each.name for each in catalog.listings(date(2026, 8, 31))}
    assert packaged_catalog().price(offer("nowhere", "mine"), TODAY) is None


def test_a_delisting_in_own_rates_and_a_return(rates_file: Callable[[str], Path]) -> None:
    head = "seen_on,provider,model,event,input,output\n"
    rows = (
        "2026-01-01,acme,big,first-seen,1,2\n"
        "2026-02-01,acme,big,delisted,,\n"
        "2026-03-01,acme,big,relisted,1,3\n"
    )
    catalog = Catalog(read_rates(rates_file(head + rows)))
    found = {
        month: catalog.facts(offer("acme", "big"), date(2026, month, 15)).status(date(2026, month, 15))
        for month in (1, 2, 3)
    }
    assert found == {1: "on sale", 2: "delisted", 3: "on sale"}


def test_rates_survive_being_written_and_read(rates_file: Callable[[str], Path]) -> None:
    head = "seen_on,provider,model,input,output,cached_input,tiers,context_tokens,retires_on,batch_input,batch_output\n"
    row = "2026-01-01,acme,big,1.50,2,0.1,200000:3/4/0.2;400000:5/6,1000,2027-01-01,0.75,1\n"
    rates = read_rates(rates_file(head + row))
    assert read_rates(rates_file(rates_to_csv(rates))) == rates
    price = rates[0].price()
    assert (price.batch_discount, price.cache_read_per_mtok) == (Decimal("0.5"), Decimal("0.1"))
    assert [(start, above.input_per_mtok) for start, above in price.tiers] == [(200_000, 3), (400_000, 5)]


@pytest.mark.parametrize(
    ("text", "seen", "line"),
    [
        ("provider,model\nx,y\n", ("rate-columns", "seen_on"), 1),
        ("seen_on,provider,model,colour\n", ("rate-columns", "colour"), 1),
        (HEAD + "2026-13-01,a,b,1,1\n", ("rate-invalid", "seen_on", "2026-13-01"), 2),
        (HEAD + "2026-01-01,a,b,-1,1\n", ("rate-invalid", "input", "-1"), 2),
        (HEAD + "2026-01-01,a,b,NaN,1\n", ("rate-invalid", "input", "NaN"), 2),
        (HEAD + "2026-01-01,a,b,cheap,1\n", ("rate-invalid", "input", "cheap"), 2),
        (HEAD + "2026-01-01,a,,1,1\n", ("rate-missing", "model"), 2),
        ("seen_on,provider,model,currency,input\n2026-01-01,a,b,EUR,1\n", ("currency-unknown", "EUR"), 2),
        ("seen_on,provider,model,event\n2026-01-01,a,b,gone\n", ("rate-invalid", "event", "gone"), 2),
        ("seen_on,provider,model,tiers\n2026-01-01,a,b,5:1\n", ("rate-invalid", "tiers", "5:1"), 2),
        (
            "seen_on,provider,model,context_tokens\n2026-01-01,a,b,0\n",
            ("rate-invalid", "context_tokens", 0),
            2,
        ),
    ],
)
def test_rates_that_cannot_be_read(
    rates_file: Callable[[str], Path], text: str, seen: str, line: int
) -> None:
    with raises_code(*seen) as caught:
        read_rates(rates_file(text))
    assert caught.value.line == line


@pytest.mark.parametrize(
    "identifier",
    [
        "meta-llama/Llama-4-Scout-17B-16E-Instruct",
        "meta.llama4-scout-17b-instruct-v1:0",
        "us.meta.llama4-scout-17b-instruct-v1:0",
        "accounts/fireworks/models/llama4-scout-instruct-basic",
        "@cf/meta/llama-4-scout-17b-16e-instruct",
        "llama-4-scout",
    ],
)
def test_one_name_for_the_same_weights(identifier: str) -> None:
    assert model_name(identifier) == "llama-4-scout"


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("claude-3-5-sonnet-20241022", "claude-3.5-sonnet"),
        ("claude-sonnet-4-5", "claude-sonnet-4.5"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("gpt-3.5-turbo-instruct", "gpt-3.5-turbo-instruct"),
        ("Llama-3.3-70B-Instruct-Turbo", "llama-3.3-70b-turbo"),
        ("llama-v3p3-70b-instruct", "llama-3.3-70b"),
        ("kimi-k2p5", "kimi-k2.5"),
        ("gemini-3-flash-preview", "gemini-3-flash"),
    ],
)
def test_what_may_be_another_product_keeps_its_name(identifier: str, name: str) -> None:
    assert model_name(identifier) == name


def test_names_of_providers() -> None:
    names = [
        provider_name(name) for name in ("aws", "google", "x-ai", "together_ai", "openai-responses", "gmi")
    ]
    assert names == ["bedrock", "gemini", "xai", "together", "openai", "gmi"]


def test_the_three_rows_known_to_be_wrong_are_flagged_by_name() -> None:
    found = {(doubt.listing, doubt.rule) for doubt in check_catalog(packaged_catalog(), TODAY, history=True)}
    assert {
        ("llama-4-maverick@azure", "exchanged"),
        ("llama-4-maverick@databricks", "outlier"),
        ("llama-4-maverick@lambda", "outlier"),
        ("llama-4-scout@lambda", "outlier"),
    } <= found
    now = {(doubt.listing, doubt.rule) for doubt in check_catalog(packaged_catalog(), TODAY)}
    assert ("llama-4-maverick@azure", "exchanged") not in now  # it was set right since
    assert ("llama-4-scout@lambda", "outlier") in now


def test_sources_that_disagree_are_named(rates_file: Callable[[str], Path]) -> None:
    catalog = Catalog(read_rates(rates_file(HEAD + "2026-11-01,openai,gpt-4o,3,10\n")))
    found = [each for each in check_catalog(catalog, TODAY) if each.listing == "gpt-4o@openai"]
    assert [(each.rule, each.seen_on) for each in found] == [("sources (input)", date(2026, 11, 1))]


def test_the_discount_of_a_contract_is_taken_off_list_prices_alone(rates_file: Callable[[str], Path]) -> None:
    contract = Contract(provider="openai", discount=Decimal("0.2"), until=date(2026, 12, 31))
    catalog = Catalog(
        read_rates(rates_file(HEAD + "2026-11-01,openai,gpt-4o,3,10\n")), Team(contracts=(contract,))
    )
    day, after = date(2026, 11, 28), date(2027, 1, 1)
    mini = Offer(name="mini", provider="openai", model="gpt-4o-mini")
    listed, paid = catalog.list_price(mini, day), catalog.price(mini, day)
    assert listed is not None
    assert paid is not None
    assert (paid.input_per_mtok, paid.output_per_mtok) == (Decimal("0.12"), Decimal("0.48"))
    assert "contract" in paid.source
    assert catalog.price(mini, after) == catalog.list_price(mini, after)
    own = Offer(name="own", provider="openai", model="gpt-4o")  # the team's own rates are what it pays
    assert catalog.price(own, day) == catalog.list_price(own, day)
    stated = replace(mini, prices=(Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(2)),))
    assert catalog.price(stated, day) == stated.prices[0]
    other = Offer(name="other", provider="groq", model="openai/gpt-oss-120b")
    assert catalog.price(other, day) == catalog.list_price(other, day)


def test_a_discount_raises_no_doubt_about_a_price() -> None:
    contract = Contract(provider="groq", discount=Decimal("0.9"))
    assert check_catalog(Catalog(team=Team(contracts=(contract,))), TODAY) == check_catalog(
        packaged_catalog(), TODAY
    )


def test_a_minimum_is_owed_while_the_contract_holds() -> None:
    contract = Contract(provider="openai", minimum_usd_per_month=Decimal(800), until=date(2026, 12, 31))
    catalog = Catalog(team=Team(contracts=(contract,)))
    found = catalog.commitment("openai-responses", date(2026, 12, 31))
    assert found is not None
    assert found.minimum_usd_per_month == 800
    assert catalog.commitment("openai", date(2027, 1, 1)) is None
    assert catalog.commitment("groq", date(2026, 12, 31)) is None
