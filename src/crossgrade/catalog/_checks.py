"""Checks prices and offers for errors before a decision uses them."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache

from crossgrade.catalog._catalog import Catalog, Listing, OfferFacts
from crossgrade.catalog._listed import base_price, model_name, provider_name
from crossgrade.catalog._rates import Rate
from crossgrade.catalog._terms import packaged_terms
from crossgrade.dialects import HOSTS
from crossgrade.domain import Offer, Price
from crossgrade.errors import UsageError
from crossgrade.pricing import blended_per_mtok

_MOST_PER_MTOK = Decimal(1000)
_STALE_AFTER_DAYS = 365
_OUTLIER = Decimal("2.5")
_LEAST_HOSTS = 4
_DISAGREE = Decimal("0.01")
_BLEND = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A row of the catalogue that is or may be wrong: `rule` names the check, `seen` gives the reason."""

    listing: str
    rule: str
    seen: str
    source: str
    seen_on: date | None = None


def validate_price(price: Price, *, today: date) -> tuple[str, ...]:
    """Return warnings about a price, in words; empty if it looks right.

    Real catalogues have had input and output exchanged, and prices wrong by a factor of 10. Raises
    `UsageError` for a price that is negative or not finite, and for a batch discount outside 0 to 1.
    """
    amounts = {
        "input": price.input_per_mtok,
        "output": price.output_per_mtok,
        "cache read": price.cache_read_per_mtok,
        "cache creation": price.cache_creation_per_mtok,
        "reasoning": price.reasoning_per_mtok,
        "image": price.image_usd,
        "request": price.request_usd,
    }
    known = {name: amount for name, amount in amounts.items() if amount is not None}
    for name, amount in known.items():
        if not amount.is_finite() or amount < 0:
            raise UsageError(
                f"the {name} price is {amount}", code="price-invalid", hint="give US dollars, 0 or more"
            )
    if price.batch_discount is not None and not 0 <= price.batch_discount <= 1:
        raise UsageError(
            f"batch_discount is {price.batch_discount}",
            code="batch-discount-invalid",
            hint="give a share: 0.5 is half price",
        )
    return tuple(words for _, words in _price_doubts(price, known, today))


def check_catalog(catalog: Catalog, on: date, *, history: bool = False) -> tuple[Doubt, ...]:
    """Return the doubtful prices of a day, sorted by name; with `history` also all doubtful dated rates.

    An outlier is a price (at 3 input tokens to 1 output token) above 2.5 times, or below 1 / 2.5 of,
    the median of at least four hosts of the model. A price is also doubtful if two sources disagree.
    """
    listings = catalog.listings(on)
    by_model: dict[str, list[tuple[Listing, Price]]] = {}
    for listing in listings:
        price = catalog.list_price(listing.offer(), on)
        if price is not None:
            by_model.setdefault(listing.model, []).append((listing, price))
    doubts = [
        Doubt(listing=listing.name, rule=rule, seen=seen, source=price.source, seen_on=price.valid_from)
        for hosts in by_model.values()
        for listing, price in hosts
        for rule, seen in (
            *_price_doubts(price, _amounts(price), on),
            *_outlier(price, [other for _, other in hosts]),
        )
        if rule != "unknown"  # embeddings have no output to price
        and not (rule == "stale" and _seen_since(catalog, listing, on))
    ]
    doubts += [doubt for listing in listings for doubt in _disagreements(catalog, listing, on)]
    doubts += _stale_terms(on)
    if history:
        sold = {model: [listing for listing, _ in hosts] for model, hosts in by_model.items()}
        doubts += _history_doubts(catalog, sold)
    unique: dict[tuple[object, ...], Doubt] = {}
    for each in doubts:
        unique.setdefault((each.listing, each.rule, each.seen_on, each.source), each)
    return tuple(sorted(unique.values(), key=lambda each: (each.listing, each.rule)))


@lru_cache(maxsize=8)
def price_doubts(catalog: Catalog, on: date) -> Mapping[str, tuple[str, ...]]:
    """Return what looks wrong with the prices of a day, in words by listing."""
    found: dict[str, tuple[str, ...]] = {}
    for each in check_catalog(catalog, on):
        found[each.listing] = (*found.get(each.listing, ()), each.seen)
    return found


def is_callable(offer: Offer) -> bool:
    """Return whether Crossgrade can call an offer: at its own address, or at a host that it knows."""
    return offer.base_url is not None or offer.provider in HOSTS


def offer_doubts(
    offer: Offer, facts: OfferFacts, on: date, doubts: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Return what speaks against recommending an offer: terms, a doubtful price, its end, no way to call it.

    `doubts` are those of the catalogue's prices. Prices that the configuration states are the team's own.
    """
    listing = f"{model_name(offer.model)}@{provider_name(offer.provider)}"
    found = () if offer.prices else doubts.get(listing, ())
    ends = facts.ends_soon(on)
    return (
        *(each.text for each in facts.clauses if each.blocks),
        *found,
        *((ends,) if ends else ()),
        *(() if is_callable(offer) else (f"Crossgrade cannot call {offer.provider}",)),
    )


def _stale_terms(on: date) -> Iterator[Doubt]:
    """Yield a doubt for each licence or host whose terms were read more than a year ago."""
    for term in packaged_terms():
        if (on - term.read_on).days > _STALE_AFTER_DAYS:
            seen = f"{term.fact} was read on {term.read_on.isoformat()}: check that it still holds"
            yield Doubt(
                listing=f"terms of {term.names}",
                rule="stale",
                seen=seen,
                source=term.source,
                seen_on=term.read_on,
            )


def _history_doubts(catalog: Catalog, sold: dict[str, list[Listing]]) -> Iterator[Doubt]:
    """Yield the doubts of every dated rate, compared with the prices of the model's hosts on its day."""
    for rate in catalog.all_rates():
        if not rate.has_price:
            continue
        price, listings = rate.price(), sold.get(model_name(rate.model), [])
        then = (catalog.list_price(listing.offer(), rate.seen_on) for listing in listings)
        found = (
            *_price_doubts(price, _amounts(price), rate.seen_on),
            *_outlier(price, [each for each in then if each is not None]),
        )
        for rule, seen in found:
            yield Doubt(listing=_name(rate), rule=rule, seen=seen, source=rate.source, seen_on=rate.seen_on)


def _seen_since(catalog: Catalog, listing: Listing, on: date) -> bool:
    """Return whether the listing was seen within a year, which confirms an older price."""
    seen_on = catalog.facts(listing.offer(), on).seen_on
    return seen_on is not None and (on - seen_on).days <= _STALE_AFTER_DAYS


def _name(rate: Rate) -> str:
    return f"{model_name(rate.model)}@{provider_name(rate.provider)}"


def _amounts(price: Price) -> dict[str, Decimal]:
    named = {
        "input": price.input_per_mtok,
        "output": price.output_per_mtok,
        "cache read": price.cache_read_per_mtok,
    }
    return {name: amount for name, amount in named.items() if amount is not None}


def _price_doubts(price: Price, known: dict[str, Decimal], today: date) -> Iterable[tuple[str, str]]:
    of_input, of_output = known.get("input"), known.get("output")
    if of_input is None or of_output is None:
        yield "unknown", "input or output price is unknown, so no cost can be computed"
    elif of_input > of_output:
        yield "exchanged", f"input ({of_input}) is dearer than output ({of_output}): they may be exchanged"
    cached = known.get("cache read")
    if of_input is not None and cached is not None and cached > of_input:
        yield "cache", f"reading the cache ({cached}) is dearer than fresh input ({of_input})"
    for name in ("input", "output"):
        if known.get(name, Decimal(0)) > _MOST_PER_MTOK:
            yield "unit", f"{name} costs {known[name]} per million tokens: it may be given per thousand"
    if price.valid_from is not None and (today - price.valid_from).days > _STALE_AFTER_DAYS:
        yield "stale", f"the price is from {price.valid_from.isoformat()}: check that it still holds"


def _outlier(price: Price, hosts: Sequence[Price]) -> Iterator[tuple[str, str]]:
    """Yield a doubt if a price is far from the model's median over all hosts."""
    blends = [blend for each in hosts if (blend := blended_per_mtok(each, _BLEND)) is not None and blend > 0]
    mine = blended_per_mtok(price, _BLEND)
    if mine is None or mine <= 0 or len(blends) < _LEAST_HOSTS:
        return
    median = statistics.median(blends)
    if not 1 / _OUTLIER <= mine / median <= _OUTLIER:
        times = f"{mine / median:.2g} times the median of {len(blends)} hosts ({median:.4g})"
        yield "outlier", f"{mine:.4g} at 3:1 is {times}"


def _disagreements(catalog: Catalog, listing: Listing, on: date) -> Iterator[Doubt]:
    """Yield a doubt for each price on which genai-prices and the newest dated rate differ by over 1 %."""
    priced = [rate for rate in catalog.rates(listing.provider, listing.identifier) if rate.has_price]
    seen = [rate for rate in priced if rate.seen_on <= on]
    listed = base_price(listing.provider, listing.identifier, on)
    if not seen or listed is None:
        return
    for name, here, there in (
        ("input", seen[-1].input, listed.input_per_mtok),
        ("output", seen[-1].output, listed.output_per_mtok),
    ):
        if here is not None and there and abs(here - there) > _DISAGREE * there:
            yield Doubt(
                listing=listing.name,
                rule=f"sources ({name})",
                seen=f"{name} is {there} by {listed.source}, {here} by {seen[-1].source}",
                source=listed.source,
                seen_on=seen[-1].seen_on,
            )
