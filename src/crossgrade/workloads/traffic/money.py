"""What logged requests cost: as logged, else by the catalogue; and what the cheapest others would cost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from crossgrade.catalog import Catalog, Listing, OfferFacts, is_callable, offer_doubts, price_doubts
from crossgrade.dialects import HOSTS
from crossgrade.domain import Offer, Price
from crossgrade.pricing.columns import price_calls
from crossgrade.pricing.usage import UNKNOWN, UsageColumns
from crossgrade.workloads.traffic.request import ASKABLE, call_of

_CHUNK = 1 << 15
"""So many rows are priced at once: few enough to stay in the caches of a core."""

_GUESSED = ("openai", "anthropic", "gemini", "mistral", "deepseek", "xai", "cohere")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """An offer that may take a workload's traffic: its price and where that is from, and its kind of call."""

    listing: Listing
    facts: OfferFacts
    price: Price
    call: str


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


def alternatives(catalog: Catalog, on: date, today: date) -> list[Alternative]:
    """Return the listings that can be recommended for a kind of call, at the prices of a day.

    They are on sale, are not about to end, can be called, and have a known price that is not in doubt. Only
    chats and embeddings are compared: what other calls are billed for is not counted in tokens of text.
    """
    found, doubts, seen_on = [], price_doubts(catalog, on), max(on, today)
    for listing in catalog.listings(on):
        offer, call = listing.offer(), call_of(None, listing.identifier, batch=False)
        if call not in {"chat", "embedding"} or not is_callable(offer):
            continue
        price = catalog.price(offer, on)
        if price is None or not price.input_per_mtok or (call == "chat" and not price.output_per_mtok):
            continue
        facts = catalog.facts(offer, on)
        if facts.status(seen_on) == "on sale" and not offer_doubts(offer, facts, seen_on, doubts):
            found.append(Alternative(listing=listing, facts=facts, price=price, call=call))
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
    """Return what some rows cost at a price, NaN where that is not known; 32,768 at a time."""
    found = np.full(len(rows), np.nan)
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        usage, cost = usage_rows(columns, part), found[start : start + _CHUNK]
        in_batch = np.zeros(len(part), np.bool_) if batch is None else batch[part] == 1
        for which, is_batch in ((~in_batch, False), (in_batch, True)):
            if which.any():
                cost[which] = price_calls(usage, price, batch=is_batch).usd()[which]
    return found


def cheapest(
    offers: Sequence[Alternative],
    *,
    call: str = "chat",
    open_weights: bool | None,
    context: int,
    tokens: tuple[float, float, float],
    schema: bool = False,
    served_by: str | None = None,
) -> Alternative | None:
    """Return the cheapest offer for a mean call (fresh input, cached input, output tokens) that fits.

    Only offers of the same kind of call fit; a batch is one of chats at offers with a batch price.
    `open_weights` None asks for neither openness. `schema` leaves out hosts that are known not to bind
    answers to a JSON schema, `served_by` the model that answers today.
    """
    served = "chat" if call in ASKABLE else call

    def cost(offer: Alternative) -> float:
        fresh, cached, said = tokens
        price = offer.price
        paid, answered = float(price.input_per_mtok or 0), float(price.output_per_mtok or 0)
        read = paid if price.cache_read_per_mtok is None else float(price.cache_read_per_mtok)
        kept = 1 - float(price.batch_discount or 0) if call == "batch" else 1.0
        return (fresh * paid + cached * read + said * answered) * kept

    fitting = [
        each
        for each in offers
        if each.call == served
        and (open_weights is None or each.facts.open_weights is open_weights)
        and (each.facts.context_tokens or 0) >= context
        and each.listing.identifier != served_by
        and not (schema and _takes_objects_only(each.listing.provider))
        and not (call == "batch" and each.price.batch_discount is None)
    ]
    return min(fitting, key=lambda each: (cost(each), each.listing.name), default=None)


def _takes_objects_only(provider: str) -> bool:
    host = HOSTS.get(provider)
    return host is not None and host.schema == "object"
