"""Reads list prices from the data in the genai-prices package, and unifies names of models and providers.

It makes no network request. Hosts and catalogues spell names differently. `model_name` and `provider_name`
map them to one name.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from crossgrade.domain import Price

if TYPE_CHECKING:
    from genai_prices.types import MatchLogic, ModelInfo, ModelPrice, Provider
import re

from crossgrade.dialects import host_known_as

MAKERS = ("openai", "anthropic", "gemini")
"""Providers that sell the closed models they make."""

_FREE = ":free"


def base_listings() -> Iterator[tuple[str, str]]:
    """Yield the provider and model identifier of each listing of genai-prices, except free tiers."""
    for provider in _providers().values():
        for model in provider.models:
            if not model.id.endswith(_FREE):
                yield provider_name(provider.id), model.id


def base_context(provider: str, model: str) -> int | None:
    """Return a model's context window in tokens at a provider, or None if genai-prices does not have it."""
    found = _model(provider, model)
    return None if found is None else found.context_window


@lru_cache(maxsize=16_384)
def base_price(provider: str, model: str, on: date) -> Price | None:
    """Return the list price at noon UTC, when hosts with peak prices charge them; None if unknown."""
    found = _model(provider, model)
    if found is None:
        return None
    at = datetime.combine(on, time(12), tzinfo=UTC)
    try:
        standard = found.get_prices(at)
        batch = found.get_prices(at, {"processing": "batch"})
    except LookupError:
        return None
    base = _flat(standard, 0)
    if base["input_per_mtok"] is None:
        return None
    starts = sorted({tier.start for value in _values(standard) for tier in getattr(value, "tiers", ())})
    return Price(
        **base,
        request_usd=_per_request(standard),
        batch_discount=_discount(base, _flat(batch, 0)),
        source=f"genai-prices {base_version()}: {_providers()[provider].id}/{found.id}",
        tiers=tuple((start, Price(**_flat(standard, start))) for start in starts),
    )


@lru_cache(maxsize=1)
def base_version() -> str:
    """Return the version of genai-prices, which dates its prices."""
    from importlib.metadata import version

    return version("genai-prices")


@lru_cache(maxsize=1)
def _providers() -> "dict[str, Provider]":
    """Return the providers of genai-prices by Crossgrade's names."""
    from genai_prices import data_snapshot  # takes 150 ms, so it is imported only when a price is needed

    return {provider_name(each.id): each for each in data_snapshot.get_snapshot().providers}


@lru_cache(maxsize=16_384)
def _model(provider: str, model: str) -> "ModelInfo | None":
    from genai_prices import data_snapshot

    host, wanted = _providers().get(provider), model.lower()
    if host is None:
        return None
    for known, names in _names(provider):
        if wanted in names if names is not None else known.is_match(wanted):
            return known
    try:
        found: ModelInfo = data_snapshot.get_snapshot().find_provider_model(model, None, host.id, None)[1]
    except LookupError:
        return None
    return found


@lru_cache(maxsize=256)
def _names(provider: str) -> "tuple[tuple[ModelInfo, frozenset[str] | None], ...]":
    """Return a provider's models in the order in which genai-prices looks through them, each with its names.

    The names are None where a pattern says them. Few have one, and to ask each model takes ten times as long.
    """
    return tuple((each, _stated_names(each.match)) for each in _providers()[provider].models)


def _stated_names(clause: "MatchLogic") -> frozenset[str] | None:
    from genai_prices.types import ClauseEquals, ClauseOr

    if isinstance(clause, ClauseEquals):
        return frozenset({clause.equals.lower()})
    parts = [_stated_names(each) for each in clause.or_] if isinstance(clause, ClauseOr) else [None]
    stated = [each for each in parts if each is not None]
    return frozenset().union(*stated) if len(stated) == len(parts) else None


def _flat(prices: "ModelPrice", tokens: int) -> dict[str, Any]:
    """Return the fields of a `Price` for the tier that starts at `tokens` input tokens."""
    return {
        "input_per_mtok": _at(prices.input_mtok, tokens),
        "output_per_mtok": _at(prices.output_mtok, tokens),
        "cache_read_per_mtok": _at(prices.cache_read_mtok, tokens),
        "cache_creation_per_mtok": _at(prices.cache_write_mtok, tokens),
    }


def _at(value: Any, tokens: int) -> Decimal | None:
    """Return one price in the tier that starts at `tokens` input tokens, or None if unknown."""
    if value is None or isinstance(value, Decimal):
        return value
    reached = [tier.price for tier in value.tiers if tokens >= tier.start]
    chosen = reached[-1] if reached else value.base
    return chosen if isinstance(chosen, Decimal) else None


def _values(prices: "ModelPrice") -> tuple[Any, ...]:
    return (prices.input_mtok, prices.output_mtok, prices.cache_read_mtok, prices.cache_write_mtok)


def _per_request(prices: "ModelPrice") -> Decimal:
    per_thousand = prices.requests_kcount
    return per_thousand / 1000 if isinstance(per_thousand, Decimal) else Decimal(0)


def _discount(standard: dict[str, Any], batch: dict[str, Any]) -> Decimal | None:
    """Return the share (0 to 1) that a batch call saves, or None if it saves nothing or the shares differ."""
    if batch == standard:
        return None
    shares = {
        1 - batch[name] / standard[name]
        for name in ("input_per_mtok", "output_per_mtok")
        if standard[name] and batch[name] is not None
    }
    return shares.pop() if len(shares) == 1 else None


_NO_HOSTS = {
    "lambda_ai": "lambda",
    "vertex_ai-llama_models": "vertex",
    "vertex_ai-language-models": "vertex",
    "vertex_ai": "vertex",
}
"""Crossgrade's names by LiteLLM's names, for providers that have prices but no row in the table of hosts."""

_VENDOR = re.compile(
    r"^((us|eu|apac|global)\.)?(meta|openai|anthropic|deepseek|qwen|mistral|moonshot)\.|^databricks-"
)
_CLOSED = re.compile(r"gpt-[345]|o[134](-|$)|gemini|mistral-(small|medium|large)|grok")
_CLAUDE = re.compile(r"claude-(\d)-(\d)-(\w+)|claude-(\w+)-(\d)-(\d)")
_DROPPED = frozenset(
    {"instruct", "chat", "it", "hf", "preview", "latest"}  # the tuning, or a mark of the newest version
    | {"fp8", "bf16", "versatile", "basic", "maas", "17b", "16e", "128e", "v1:0", "v2:0"}
)


@lru_cache(maxsize=4096)
def provider_name(name: str) -> str:
    """Return Crossgrade's name for a provider of genai-prices or LiteLLM; an unknown name is kept."""
    name = name.lower()
    if name == "openai-responses":
        return "openai"
    host = host_known_as(name)
    return _NO_HOSTS.get(name, name) if host is None else host.name


@lru_cache(maxsize=16_384)
def model_name(identifier: str) -> str:
    """Return the shared name of the same weights at all hosts, without vendor, date and build.

    `meta-llama/Llama-4-Scout-17B-16E-Instruct`, `meta.llama4-scout-17b-instruct-v1:0` and
    `llama4-scout-instruct-basic` are all `llama-4-scout`. A word that may mark another product
    (`turbo`, `lite`, the date of a GPT) is kept, so that two prices are never mixed up.
    """
    name = _VENDOR.sub("", identifier.lower().rsplit("/", 1)[-1])
    if _CLOSED.match(name):
        return name.removesuffix("-preview") if name.startswith("gemini") else name
    name = re.sub(r"-\d{8}(-v\d:\d)?$", "", name)
    if name.startswith("claude"):
        return _CLAUDE.sub(_claude, name).removesuffix("-latest")
    name = re.sub(r"^llama-?v?(\d)[p._-](\d)(?=-)", r"llama-\1.\2", name)
    name = re.sub(r"^llama-?v?(\d)(?=-)", r"llama-\1", name)
    name = re.sub(r"(?<=[vk]\d)p(?=\d)", ".", name)
    return "-".join(part for part in name.split("-") if part not in _DROPPED)


def _claude(found: re.Match[str]) -> str:
    if found[1]:
        return f"claude-{found[1]}.{found[2]}-{found[3]}"
    return f"claude-{found[4]}-{found[5]}.{found[6]}"
