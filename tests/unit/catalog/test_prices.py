"""Which price holds on a day: the user's, else the packaged list; never a guess."""

import subprocess
import sys
from datetime import date
from decimal import Decimal

import pytest
from genai_prices.data_snapshot import get_snapshot

from crossgrade.catalog import packaged_catalog, validate_price
from crossgrade.catalog._listed import _model, base_listings
from crossgrade.domain import Offer, Price
from crossgrade.errors import UsageError

DAY = date(2026, 11, 25)


def offer(provider: str, model: str, **fields: object) -> Offer:
    return Offer(name="x", provider=provider, model=model, **fields)  # type: ignore[arg-type]  # tests give any


def price(input_: str, output: str, **fields: object) -> Price:
    return Price(input_per_mtok=Decimal(input_), output_per_mtok=Decimal(output), **fields)  # type: ignore[arg-type]  # tests give any


@pytest.mark.parametrize(
    ("provider", "model", "paid", "answered"),
    [
        ("openai", "gpt-4o", "2.5", "10"),
        ("openai-responses", "gpt-4o", "2.5", "10"),
        ("groq", "meta-llama/llama-4-scout-17b-16e-instruct", "0.11", "0.34"),
        ("together", "meta-llama/Llama-4-Scout-17B-16E-Instruct", "0.18", "0.59"),
        ("bedrock", "meta.llama4-scout-17b-instruct-v1:0", "0.17", "0.66"),
        ("cloudflare", "@cf/meta/llama-4-scout-17b-16e-instruct", "0.27", "0.85"),
    ],
)
def test_list_prices(provider: str, model: str, paid: str, answered: str) -> None:
    found = packaged_catalog().price(offer(provider, model), DAY)
    assert found is not None
    assert (found.input_per_mtok, found.output_per_mtok) == (Decimal(paid), Decimal(answered))
    assert found.source.startswith("genai-prices ")


def test_cache_prices_batches_and_tiers() -> None:
    found = packaged_catalog().price(offer("anthropic", "claude-sonnet-4-5"), DAY)
    assert found is not None
    assert found.cache_read_per_mtok == Decimal("0.3")
    assert found.cache_creation_per_mtok == Decimal("3.75")
    assert found.batch_discount == Decimal("0.5")
    start, above = found.tiers[0]
    assert (start, above.input_per_mtok, above.output_per_mtok) == (200_000, 6, Decimal("22.5"))


def test_embeddings_have_no_output_to_price() -> None:
    found = packaged_catalog().price(offer("openai", "text-embedding-3-small"), DAY)
    assert found is not None
    assert (found.input_per_mtok, found.output_per_mtok) == (Decimal("0.02"), None)


@pytest.mark.parametrize(
    "unknown",
    [
        offer("local", "gemma"),
        offer("openai-compatible", "gpt-4o", base_url="http://localhost:1/v1"),
        offer("openai", "gpt-4o", base_url="https://proxy.example.com/v1"),
        offer("vllm", "meta-llama/Llama-4-Scout-17B-16E-Instruct"),
        offer("groq", "a-model-nobody-made"),
        offer("nowhere", "gpt-4o"),
    ],
)
def test_what_is_not_listed_is_unknown(unknown: Offer) -> None:
    assert packaged_catalog().price(unknown, DAY) is None


def test_own_prices_come_first_and_are_dated() -> None:
    always, later = price("9", "9"), price("1", "2", valid_from=date(2026, 6, 1))
    mine = offer("openai", "gpt-4o", prices=(always, later))
    assert packaged_catalog().price(mine, date(2026, 5, 31)) is always
    assert packaged_catalog().price(mine, date(2026, 6, 1)) is later
    assert packaged_catalog().price(offer("local", "gemma", prices=(later,)), date(2026, 5, 31)) is None


def test_prices_are_read_offline_and_only_when_wanted() -> None:
    code = (
        "import socket, sys\n"
        "def no(*_): raise AssertionError('network')\n"
        "socket.socket.connect = socket.getaddrinfo = no\n"
        "from datetime import date\n"
        "from crossgrade.catalog import packaged_catalog\n"
        "from crossgrade.domain import Offer\n"
        "assert 'genai_prices' not in sys.modules\n"
        "assert packaged_catalog().price(Offer(name='x', provider='openai', model='gpt-4o'), date(2026, 11, 25))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("doubtful", "words"),
    [
        (price("1.41", "0.35"), "exchanged"),
        (price("1", "2", cache_read_per_mtok=Decimal(3)), "reading the cache"),
        (price("1", "5000"), "per thousand"),
        (price("1", "2", valid_from=date(2024, 1, 1)), "check that it still holds"),
        (Price(input_per_mtok=None, output_per_mtok=Decimal(1)), "unknown"),
    ],
)
def test_doubts(doubtful: Price, words: str) -> None:
    assert any(words in warning for warning in validate_price(doubtful, today=DAY))


def test_a_sound_price_raises_no_doubt() -> None:
    assert validate_price(price("1", "2", valid_from=date(2026, 11, 1)), today=DAY) == ()


@pytest.mark.parametrize(
    "impossible", [price("-1", "2"), price("NaN", "2"), price("1", "2", batch_discount=Decimal(2))]
)
def test_impossible_prices(impossible: Price) -> None:
    with pytest.raises(UsageError):
        validate_price(impossible, today=DAY)


def test_a_model_is_found_as_genai_prices_finds_it() -> None:
    identifiers = [identifier for _, identifier in base_listings()][::5]
    dated = ["gpt-5.2-20251211", "GPT-4o-2024-08-06", "claude-sonnet-4-5", "nothing-of-this-name"]
    for provider, theirs in (
        ("openai", "openai"),
        ("anthropic", "anthropic"),
        ("bedrock", "aws"),
        ("azure", "azure"),
    ):
        for identifier in [*identifiers, *dated]:
            try:
                wanted = get_snapshot().find_provider_model(identifier, None, theirs, None)[1]
            except LookupError:
                wanted = None
            assert _model(provider, identifier) is wanted, (provider, identifier)
