"""What a request costs at the cheapest provider that sells a model."""

from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.resources import files

import pytest

from crossgrade.catalog import check_catalog, packaged_catalog
from crossgrade.catalog.bills import list_costs
from crossgrade.domain import Offer, Usage
from crossgrade.errors import UsageError
from crossgrade.project import ResultOptions, decide_results
from tests.codes import said

TODAY = date(2026, 11, 27)
CALL = Usage(input_tokens=500, output_tokens=50)
BFCL = str(files("crossgrade") / "data" / "demo" / "bfcl.csv.gz")
GPT4O, SCOUT = "gpt-4o-2024-11-20", "llama-4-scout"


def test_the_cheapest_offer_that_is_on_sale_and_not_in_doubt():
    catalog = packaged_catalog()
    found = list_costs([SCOUT, GPT4O, "no-such-model"], CALL, catalog, TODAY)
    assert found["no-such-model"] is None
    scout, gpt = found[SCOUT], found[GPT4O]
    assert scout is not None
    assert gpt is not None
    assert gpt.provider == "openai"  # Azure lists the same price and is named last
    assert gpt.usd == Decimal("0.00175")
    doubtful = {each.listing for each in check_catalog(catalog, TODAY)}
    assert f"{SCOUT}@{scout.provider}" not in doubtful
    for provider in ("bedrock", "deepinfra", "fireworks"):
        price = catalog.price(Offer(name="x", provider=provider, model=SCOUT), TODAY)
        assert price is None or scout.usd <= (500 * price.input_per_mtok + 50 * price.output_per_mtok) / 10**6


def test_a_name_as_a_provider_writes_it_is_the_same_model():
    written = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
    found = list_costs([SCOUT, written], CALL, packaged_catalog(), TODAY)
    assert found[written].usd == found[SCOUT].usd


def test_typical_tokens_price_a_verdict_and_say_so():
    now = datetime(2026, 11, 27, tzinfo=UTC)
    verdict = decide_results(
        BFCL,
        incumbent=GPT4O,
        candidates=[SCOUT],
        options=ResultOptions(typical=CALL, requests_per_month=1_000_000),
        now=now,
    )
    assert verdict.name == "switch"
    costs = verdict.settings.stated_cost_usd
    assert verdict.saving_per_month_usd.value == pytest.approx(1e6 * (costs[GPT4O] - costs[SCOUT]))
    assert verdict.saving_per_month_usd.method.startswith("stated")
    assert [source.split(":")[0] for source in verdict.price_sources] == [GPT4O, SCOUT]


def test_a_switch_that_compared_open_models_alone_says_so():
    def reasons(*candidates):
        found = decide_results(
            BFCL, incumbent=GPT4O, candidates=candidates, options=ResultOptions(typical=CALL)
        )
        return said(found.reasons, "no-closed-model")

    assert len(reasons(SCOUT, "llama-4-maverick")) == 1
    stated = decide_results(
        BFCL,
        incumbent=GPT4O,
        candidates=[SCOUT],
        options=ResultOptions(stated_cost_usd={GPT4O: 0.01, SCOUT: 0.001}),
    )
    assert stated.name == "switch"
    assert not said(stated.reasons, "no-closed-model")  # whether it is open is unknown


def test_a_stated_cost_stands_over_a_list_price():
    verdict = decide_results(
        BFCL,
        incumbent=GPT4O,
        candidates=[SCOUT],
        options=ResultOptions(typical=CALL, stated_cost_usd={SCOUT: 0.01}),
    )
    assert verdict.settings.stated_cost_usd[SCOUT] == 0.01
    assert verdict.name == "keep"


def test_a_model_without_a_list_price_needs_a_cost(tmp_path):
    results = tmp_path / "results.csv"
    results.write_text("item_id,model,score\n1,mine,1\n1,llama-4-scout,1\n", encoding="utf-8")
    with pytest.raises(UsageError) as raised:
        decide_results(results, incumbent="mine", candidates=[SCOUT], options=ResultOptions(typical=CALL))
    assert "--cost mine=USD" in raised.value.hint
