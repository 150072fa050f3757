"""The day on which a model ends: from providers' lists, with where and when it was read."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.catalog import (
    Catalog,
    incumbent_end,
    new_rates,
    packaged_catalog,
    rates_to_csv,
    read_listed,
    read_rates,
    successor,
)
from crossgrade.domain import Offer
from crossgrade.errors import DataError
from tests.codes import raises_code

DAY = date(2026, 11, 28)
OPENROUTER = {
    "data": [
        {"id": "z-ai/glm-4.7", "expiration_date": "2026-12-31", "pricing": {"prompt": "0.0000006"}},
        {"id": "openai/gpt-4o", "expiration_date": None, "pricing": {"prompt": "0.0000025"}},
    ]
}
AZURE = {
    "object": "list",
    "data": [
        {
            "id": "gpt-4o-2024-08-06",
            "lifecycle_status": "generally-available",
            "deprecation": {"fine_tune": 1677662127, "inference": 1799884800},
        },
        {"id": "ada", "deprecation": {"fine_tune": 1677662127}},
    ],
}
BEDROCK = {
    "modelSummaries": [
        {
            "modelId": "anthropic.claude-3-5-haiku-20241022-v1:0",
            "modelLifecycle": {"status": "LEGACY", "endOfLifeTime": "2027-01-31T23:30:00-05:00"},
        },
        {"modelId": "meta.llama4-scout-17b-instruct-v1:0", "modelLifecycle": {"status": "ACTIVE"}},
    ]
}
MISTRAL = {"data": [{"id": "mistral-small", "deprecation": "2026-08-31T12:00:00Z", "capabilities": {}}]}
OPENAI = {"object": "list", "data": [{"id": "gpt-4o", "object": "model", "owned_by": "openai"}]}


def written(folder: Path, tree: Any) -> Path:
    path = folder / "models.json"
    path.write_text(json.dumps(tree))
    return path


@pytest.mark.parametrize(
    ("tree", "provider", "model", "day"),
    [
        (OPENROUTER, "openrouter", "z-ai/glm-4.7", date(2026, 12, 31)),
        (AZURE, "azure", "gpt-4o-2024-08-06", date(2027, 1, 14)),
        (BEDROCK, "bedrock", "anthropic.claude-3-5-haiku-20241022-v1:0", date(2027, 2, 1)),
    ],
)
def test_lists_that_state_an_end(tmp_path: Path, tree: Any, provider: str, model: str, day: date) -> None:
    (rate,) = read_listed(written(tmp_path, tree), seen_on=DAY)
    assert (rate.provider, rate.model, rate.retires_on, rate.event) == (provider, model, day, "facts")
    assert not rate.has_price
    (added,) = new_rates((rate,), packaged_catalog(), DAY)
    path = tmp_path / "prices.csv"
    path.write_text(rates_to_csv([added]))
    catalog = Catalog(read_rates(path))
    facts = catalog.facts(Offer(name="x", provider=provider, model=model), DAY)
    assert (facts.retires_on, facts.retires_seen_on, facts.retires_source) == (day, DAY, rate.source)
    assert not list(new_rates((rate,), catalog, DAY))


@pytest.mark.parametrize("tree", [MISTRAL, OPENAI, {"data": []}])
def test_lists_that_state_none_are_refused(tmp_path: Path, tree: Any) -> None:
    with raises_code("models-list-without-ends"):
        read_listed(written(tmp_path, tree), seen_on=DAY)


@pytest.mark.parametrize("value", ["soon", "31.12.2026", -5, True, [], {}, "1066-10-14", 1e300])
def test_an_end_that_is_no_day(tmp_path: Path, value: Any) -> None:
    entries = [*OPENROUTER["data"], {"id": "bad", "expiration_date": value}]
    path = written(tmp_path, {"data": entries})
    with raises_code("date-invalid"):
        read_listed(path, seen_on=DAY)
    wrong: list[DataError] = []
    assert len(read_listed(path, seen_on=DAY, on_wrong=wrong.append)) == 1
    assert [each.where for each in wrong] == ["bad"]


@given(
    entry=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=6),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    ["id", "modelId", "deprecation", "inference", "expiration_date", "modelLifecycle"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    )
)
def test_any_entry_is_read_or_refused(entry: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = written(tmp_path_factory.mktemp("list"), {"data": [*OPENROUTER["data"], entry]})
    wrong: list[DataError] = []
    found = read_listed(path, seen_on=DAY, on_wrong=wrong.append)
    assert found[0].model == "z-ai/glm-4.7"


def test_every_packaged_end_has_a_source_and_a_day() -> None:
    ends = [rate for rate in packaged_catalog().all_rates() if rate.retires_on is not None]
    assert ends
    assert all(rate.source for rate in ends)


def test_what_the_configuration_says_is_its_source() -> None:
    offer = Offer(name="x", provider="openai", model="gpt-4o", retires_on=date(2027, 3, 1))
    facts = packaged_catalog().facts(offer, DAY)
    assert (facts.retires_source, facts.retires_seen_on) == ("crossgrade.yaml", None)


def test_a_successor_is_tried_or_not() -> None:
    catalog, old = packaged_catalog(), Offer(name="old", provider="openai", model="gpt-4o")
    newer = successor(catalog, old, DAY)
    assert newer is not None
    found = incumbent_end(catalog, old, DAY)
    assert (found.retires_on, found.successor, found.tried) == (date(2027, 1, 14), newer.offer.name, None)
    assert found.seen_on == date(2026, 11, 25)
    assert "litellm" in found.origin
    mine = Offer(name="mine", provider="openai", model=newer.offer.model)
    assert incumbent_end(catalog, old, DAY, among=[old, mine]).tried == "mine"
