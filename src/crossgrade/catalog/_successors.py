"""A closed provider's own newer models that cost less: the move that changes no contract."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from crossgrade.catalog._catalog import Catalog
from crossgrade.catalog._checks import offer_doubts, price_doubts
from crossgrade.catalog._listed import MAKERS
from crossgrade.domain import IncumbentEnd, Offer, Price
from crossgrade.pricing import blended_per_mtok
from crossgrade.pricing.thrift import Thrift

_BLEND = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Successor:
    """A closed model at its maker: its offer, its price, and since when it is known."""

    offer: Offer
    price: Price
    blend_per_mtok: float
    seen_on: date | None
    context_tokens: int | None

    @property
    def way(self) -> str:
        """The model as a way to pay its maker less, in words."""
        return f"newer model of {self.offer.provider}"

    def thrift(self, saves_usd_per_month: float) -> Thrift:
        """Return the model as a way to pay its maker less."""
        return Thrift(
            way=self.way,
            saves_usd_per_month=saves_usd_per_month,
            needs="after a test, as for any candidate",
            offer=self.offer.name,
        )


@lru_cache(maxsize=8)
def closed_models(catalog: Catalog, on: date) -> tuple[Successor, ...]:
    """Return the closed models of their makers that can be recommended on a day, the cheapest (3:1) first."""
    doubts, found = price_doubts(catalog, on), []
    for listing in catalog.listings(on):
        if listing.provider not in MAKERS:
            continue
        offer = listing.offer()
        facts, price = catalog.facts(offer, on), catalog.price(offer, on)
        blend = None if price is None else blended_per_mtok(price, _BLEND)
        if price is None or blend is None or facts.open_weights is not False:
            continue
        if facts.status(on) == "on sale" and not offer_doubts(offer, facts, on, doubts):
            rates = catalog.rates(listing.provider, listing.identifier)
            if rates and rates[0].seen_on > on:
                continue
            found.append(
                Successor(
                    offer=offer,
                    price=price,
                    blend_per_mtok=float(blend),
                    seen_on=rates[0].seen_on if rates else None,
                    context_tokens=facts.context_tokens,
                )
            )
    return tuple(sorted(found, key=lambda each: (each.blend_per_mtok, each.offer.name)))


def successor(catalog: Catalog, offer: Offer, on: date, *, context: int = 0) -> Successor | None:
    """Return the cheapest newer model of an offer's own provider that costs less and takes its requests."""
    price, rates = catalog.price(offer, on), catalog.rates(offer.provider, offer.model)
    now = None if price is None else blended_per_mtok(price, _BLEND)
    if now is None or not rates:
        return None
    return next(
        (
            each
            for each in closed_models(catalog, on)
            if each.offer.provider == offer.provider
            and each.offer.model != offer.model
            and each.seen_on is not None
            and each.seen_on > rates[0].seen_on
            and each.blend_per_mtok < now
            and (each.context_tokens or 0) >= context
        ),
        None,
    )


def incumbent_end(
    catalog: Catalog, offer: Offer, on: date, *, among: Iterable[Offer] = (), context: int = 0
) -> IncumbentEnd:
    """Return when an offer ends, and which newer model of its provider is or is not `among` other offers."""
    facts, newer = catalog.facts(offer, on), successor(catalog, offer, on, context=context)
    tried = None
    if newer is not None:
        wanted = newer.offer.provider, newer.offer.model
        tried = next((each.name for each in among if (each.provider, each.model) == wanted), None)
    return IncumbentEnd(
        model=offer.name,
        retires_on=facts.retires_on,
        source=facts.retires_source,
        seen_on=facts.retires_seen_on,
        successor=None if newer is None else newer.offer.name,
        tried=tried,
    )
