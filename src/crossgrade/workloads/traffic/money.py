"""What logged requests cost: as logged, else by the catalogue; and what the cheapest others would cost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from crossgrade.catalog import Catalog, Listing, OfferFacts
from crossgrade.dialects import HOSTS
from crossgrade.domain import Offer, Price
from crossgrade.pricing.columns import price_calls
from crossgrade.pricing.usage import UNKNOWN, UsageColumns

_CHUNK = 1 << 17
_GUESSED = ("openai", "anthropic", "gemini", "mistral", "deepseek", "xai", "cohere")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """An offer that may take a workload's traffic: its price and where that is from."""

    listing: Listing
    facts: OfferFacts
    price: Price


def list_price(catalog: Catalog, model: str, provider: str | None, on: date) -> tuple[str, Price] | None:
    """Return who sells a model that a log names, and its price on a day, or None if that is not known.

    A log that names no provider leaves the maker: the first of the well-known ones that lists it.
    """
    name = model.rpartition("/")[2] if provider is None and "/" in model else model
    hosts: Iterable[str] = _GUESSED if provider is None else (provider,)
    if provider is None and "/" in model:
        hosts = (model.partition("/")[0], *_GUESSED)
    for host in hosts:
        price = catalog.price(Offer(name=name, provider=host, model=name), on)
        if price is not None and price.input_per_mtok is not None:
            return host, price
    return None


def alternatives(catalog: Catalog, on: date) -> list[Alternative]:
    """Return the listings on sale whose price, context window and openness are known."""
    found = []
    for listing in catalog.listings(on):
        offer = listing.offer()
        facts = catalog.facts(offer, on)
        if facts.open_weights is None or facts.context_tokens is None or facts.status(on) != "on sale":
            continue
        price = catalog.price(offer, on)
        if price is not None and price.input_per_mtok and price.output_per_mtok:
            found.append(Alternative(listing=listing, facts=facts, price=price))
    return found


def usage_rows(columns: Mapping[str, NDArray[np.int64]], rows: NDArray[np.int32]) -> UsageColumns:
    """Return the usage of some rows; how many images a request with media holds is unknown."""
    return UsageColumns(
        input_tokens=columns["input"][rows].astype(np.int64),
        output_tokens=columns["output"][rows].astype(np.int64),
        cache_read_input_tokens=columns["cached"][rows].astype(np.int64),
        cache_creation_input_tokens=columns["written"][rows].astype(np.int64),
        reasoning_output_tokens=columns["reasoning"][rows].astype(np.int64),
        images=np.where(columns["media"][rows], UNKNOWN, 0),
    )


def costs(
    columns: Mapping[str, NDArray[np.int64]],
    rows: NDArray[np.int32],
    price: Price,
    batch: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Return what some rows cost at a price, NaN where that is not known; 131,072 at a time."""
    found = np.full(len(rows), np.nan)
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        usage = usage_rows(columns, part)
        found[start : start + _CHUNK] = price_calls(usage, price).usd()
        if batch is not None and (batched := batch[part] == 1).any():
            halved = price_calls(usage, price, batch=True).usd()
            found[start : start + _CHUNK][batched] = halved[batched]
    return found


def cheapest(
    offers: Sequence[Alternative],
    *,
    open_weights: bool,
    context: int,
    tokens: tuple[float, float, float],
    schema: bool = False,
    served_by: str | None = None,
) -> Alternative | None:
    """Return the cheapest offer for a mean call (fresh input, cached input, output tokens) that fits.

    `schema` leaves out hosts that are known not to bind answers to a JSON schema, `served_by` the
    model that answers today.
    """

    def cost(offer: Alternative) -> float:
        fresh, cached, said = tokens
        price = offer.price
        paid, answered = float(price.input_per_mtok or 0), float(price.output_per_mtok or 0)
        read = paid if price.cache_read_per_mtok is None else float(price.cache_read_per_mtok)
        return fresh * paid + cached * read + said * answered

    fitting = [
        each
        for each in offers
        if each.facts.open_weights is open_weights
        and (each.facts.context_tokens or 0) >= context
        and each.listing.identifier != served_by
        and not (schema and _takes_objects_only(each.listing.provider))
    ]
    return min(fitting, key=lambda each: (cost(each), each.listing.name), default=None)


def _takes_objects_only(provider: str) -> bool:
    host = HOSTS.get(provider)
    return host is not None and host.schema == "object"
