"""LiteLLM's price JSON as data: only what is new becomes a dated rate."""

import json
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from crossgrade.catalog import Catalog, new_rates, packaged_catalog, read_listed
from tests.codes import raises_code

DAY = date(2026, 11, 25)
ENTRIES = {
    "sample_spec": {"litellm_provider": "one of …", "mode": "one of …", "input_cost_per_token": "0"},
    "gpt-4o": {
        "litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.5e-06,
        "output_cost_per_token": 1e-05, "deprecation_date": "2027-01-14",
    },
    "together_ai/acme/Big-70B": {
        "litellm_provider": "together_ai", "mode": "chat", "input_cost_per_token": 1e-07,
        "output_cost_per_token": 3e-07, "input_cost_per_token_above_128k_tokens": 2e-07,
        "output_cost_per_token_above_128k_tokens": 6e-07, "max_input_tokens": 131072,
        "output_cost_per_reasoning_token": 4e-07, "input_cost_per_image": 0.001, "source": "https://example.com",
    },
    "dall-e": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_pixel": 1e-08},
    "no-price": {"litellm_provider": "openai", "mode": "chat"},
}  # fmt: skip


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "model_prices.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_prices_are_exact_and_only_the_new_ones_are_added(tmp_path: Path) -> None:
    rates = read_listed(written(tmp_path, ENTRIES), seen_on=DAY)
    assert [rate.model for rate in rates] == ["gpt-4o", "acme/Big-70B"]
    (added,) = new_rates(rates, packaged_catalog(), DAY)
    assert (added.provider, added.input, added.output) == ("together", Decimal("0.1"), Decimal("0.3"))
    assert (added.reasoning, added.image_usd, added.context_tokens) == (
        Decimal("0.4"),
        Decimal("0.001"),
        131072,
    )
    assert added.tiers == ((128_000, Decimal("0.2"), Decimal("0.6"), None),)
    assert list(new_rates(rates, Catalog([added]), DAY)) == []
    assert "litellm" not in sys.modules


def test_a_change_is_a_new_row(tmp_path: Path) -> None:
    dearer = {"gpt-4o": {**ENTRIES["gpt-4o"], "input_cost_per_token": 3e-06}}
    (added,) = new_rates(read_listed(written(tmp_path, dearer), seen_on=DAY), packaged_catalog(), DAY)
    assert (added.event, added.input, added.seen_on) == ("change", 3, DAY)
    later = {"gpt-4o": {**ENTRIES["gpt-4o"], "deprecation_date": "2027-03-01"}}
    (fact,) = new_rates(read_listed(written(tmp_path, later), seen_on=DAY), packaged_catalog(), DAY)
    assert (fact.event, fact.input, fact.retires_on) == ("facts", None, date(2027, 3, 1))


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ("[]", ("price-file-invalid",)),
        ("{", ("price-file-invalid",)),
        ("{}", ("price-file-empty",)),
        ({"x": {"litellm_provider": "openai", "input_cost_per_token": "free"}}, ("price-not-a-number",)),
        ({"x": {"litellm_provider": "openai", "input_cost_per_token": -1}}, ("price-out-of-range",)),
        ({"x": {"litellm_provider": "openai", "input_cost_per_token": 5}}, ("price-out-of-range",)),
        (
            {"x": {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "deprecation_date": "soon"}},
            ("date-invalid", "soon"),
        ),
    ],
)
def test_files_that_are_not_it(tmp_path: Path, content: object, seen: str) -> None:
    with raises_code(*seen):
        read_listed(written(tmp_path, content), seen_on=DAY)
    with raises_code("file-missing"):
        read_listed(tmp_path / "missing.json", seen_on=DAY)
