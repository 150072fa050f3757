"""Reads LiteLLM's price file without importing LiteLLM, and keeps the rates that are new."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from crossgrade.catalog._catalog import Catalog
from crossgrade.catalog._listed import provider_name
from crossgrade.catalog._rates import LARGEST_FILE, Rate
from crossgrade.domain import Offer
from crossgrade.errors import DataError, unreadable

_MODES = frozenset({"chat", "responses", "completion", "embedding"})
_TIER = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")
_MTOK = 6
_MOST_PER_TOKEN = Decimal(1)


def litellm_rates(
    entries: Mapping[str, Any], path: Path, seen_on: date, on_wrong: Callable[[DataError], None] | None
) -> tuple[Rate, ...]:
    """Return the rates of LiteLLM's `model_prices_and_context_window.json` (at `path`), seen on a day.

    Entries without a price per token (images, audio, documentation) are left out. An entry that is wrong is
    passed to `on_wrong` and left out. Raises `DataError` if no entry has a price, and for a wrong entry if
    there is no `on_wrong` or no other entry.
    """
    found: list[Rate] = []
    wrong: DataError | None = None
    for name, entry in entries.items():
        if isinstance(entry, dict) and name != "sample_spec" and entry.get("mode", "chat") in _MODES:
            try:
                rate = _rate(path, name, entry, seen_on)
            except DataError as error:
                if on_wrong is None:
                    raise
                on_wrong(error)
                wrong = wrong or error
                continue
            if rate is not None:
                found.append(rate)
    if not found:
        raise wrong or DataError(
            "no model in it has a price per token",
            code="price-file-empty",
            file=path,
            hint="is it LiteLLM's price file?",
        )
    return tuple(found)


def read_json_object(path: Path) -> dict[str, Any]:
    """Return a JSON object, its numbers with a fraction as decimals. Raises `DataError` for anything else."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(
                f"larger than {LARGEST_FILE >> 20} MiB",
                code="file-too-large",
                file=path,
                hint="is it LiteLLM's file, or a list of models?",
            )
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error, hint="name an existing file") from error
    try:
        return msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(
            f"neither LiteLLM's price file nor a list of models: {error}",
            code="price-file-invalid",
            file=path,
            hint="both are a JSON object: `model_prices_and_context_window.json`, or what a provider answers",
        ) from error


def new_rates(rates: tuple[Rate, ...], catalog: Catalog, on: date) -> Iterator[Rate]:
    """Yield the rates that differ from the catalogue on a day, or add a price or a retirement to it."""
    for rate in rates:
        offer = Offer(name=rate.model, provider=rate.provider, model=rate.model)
        price, facts = catalog.list_price(offer, on), catalog.facts(offer, on)
        is_new = rate.has_price and (
            price is None
            or (rate.input, rate.output) != (price.input_per_mtok, price.output_per_mtok)
            or (rate.cached_input is not None and rate.cached_input != price.cache_read_per_mtok)
        )
        if is_new:
            yield replace(rate, event="first-seen" if price is None else "change")
        elif rate.retires_on is not None and rate.retires_on != facts.retires_on:
            yield replace(rate, event="facts", input=None, output=None, cached_input=None, tiers=())


def _rate(path: Path, name: str, entry: dict[str, Any], seen_on: date) -> Rate | None:
    def usd(key: str) -> Decimal | None:
        value = entry.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise DataError(
                f"{key} is {value!r}, a number is expected", code="price-not-a-number", file=path, where=name
            )
        amount = Decimal(value)
        if not amount.is_finite() or not 0 <= amount <= _MOST_PER_TOKEN:
            raise DataError(
                f"{key} is {value}, dollars a token are expected",
                code="price-out-of-range",
                file=path,
                where=name,
            )
        return amount

    def per_mtok(key: str) -> Decimal | None:
        amount = usd(key)
        return None if amount is None else amount.scaleb(_MTOK).normalize()

    input_price = per_mtok("input_cost_per_token")
    provider = entry.get("litellm_provider")
    if input_price is None or not isinstance(provider, str) or not provider:
        return None
    context = entry.get("max_input_tokens")
    return Rate(
        seen_on=seen_on,
        provider=provider_name(provider),
        model=_without_provider(name, provider),
        input=input_price,
        output=per_mtok("output_cost_per_token"),
        cached_input=per_mtok("cache_read_input_token_cost"),
        cache_write=per_mtok("cache_creation_input_token_cost"),
        reasoning=per_mtok("output_cost_per_reasoning_token"),
        batch_input=per_mtok("input_cost_per_token_batches"),
        batch_output=per_mtok("output_cost_per_token_batches"),
        request_usd=usd("input_cost_per_request"),
        image_usd=usd("input_cost_per_image"),
        tiers=tuple(_tiers(entry, per_mtok)),
        context_tokens=context if isinstance(context, int) and context > 0 else None,
        retires_on=_day(path, name, entry.get("deprecation_date")),
        source=f"litellm {str(entry.get('source') or '')[:300]}".strip(),
    )


def _tiers(entry: dict[str, Any], per_mtok: Any) -> Iterator[tuple[int, Decimal, Decimal, Decimal | None]]:
    starts = sorted(int(found[1]) for key in entry if (found := _TIER.fullmatch(key)))
    for thousand in starts:
        input_price = per_mtok(f"input_cost_per_token_above_{thousand}k_tokens")
        output_price = per_mtok(f"output_cost_per_token_above_{thousand}k_tokens")
        if input_price is not None and output_price is not None:
            read = per_mtok(f"cache_read_input_token_cost_above_{thousand}k_tokens")
            yield thousand * 1000, input_price, output_price, read


def _without_provider(name: str, provider: str) -> str:
    """Return the provider's own identifier, without LiteLLM's `provider/` prefix."""
    first, slash, rest = name.partition("/")
    return rest if slash and provider_name(first) == provider_name(provider) else name


def _day(path: Path, name: str, text: Any) -> date | None:
    if text is None or text == "":
        return None
    try:
        return date.fromisoformat(text)
    except (TypeError, ValueError) as error:
        message = f"deprecation_date is {str(text)[:40]!r}, YYYY-MM-DD is expected"
        raise DataError(message, code="date-invalid", file=path, where=name) from error
