"""The catalogue of prices and facts: the team's dated rates, the packaged ones, and genai-prices."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Literal, TypeVar

from crossgrade.catalog._clauses import clauses
from crossgrade.catalog._listed import base_context, base_listings, base_price, model_name, provider_name
from crossgrade.catalog._rates import Rate, packaged_rates
from crossgrade.catalog._terms import TeachingTerms, teaching_terms, terms_of
from crossgrade.dialects import HOSTS
from crossgrade.domain import Clause, Contract, Offer, Price, Team
from crossgrade.pricing.commitment import Commitment, discounted

ValueT = TypeVar("ValueT")
SOON_DAYS = 90
"""An offer that retires within so many days ends soon: it is not recommended, and watching warns of it."""
WARN_DAYS = (SOON_DAYS, 30, 7)
"""Days before a model's end at which its users are warned, the longest first."""

CONFIGURED = "crossgrade.yaml"
"""The source of what a team says of an offer itself."""

Status = Literal["on sale", "retired", "delisted", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferFacts:
    """The facts of an offer besides its price. None is unknown.

    `retires_on` is the day on which its provider stops selling it, as `retires_source` said on the day
    `retires_seen_on` (None if the configuration says so). `delisted_on` is the first day on
    which it was gone from the price catalogues, though it may still be sold. `seen_on` and `source` are
    those of the newest observation. `clauses` are what licence and host say to the team, empty if it has
    stated nothing that they could be compared with.
    """

    context_tokens: int | None = None
    precision: str | None = None
    open_weights: bool | None = None
    retires_on: date | None = None
    retires_source: str | None = None
    retires_seen_on: date | None = None
    delisted_on: date | None = None
    seen_on: date | None = None
    source: str | None = None
    licence: str | None = None
    clauses: tuple[Clause, ...] = ()

    def status(self, on: date) -> Status:
        """Return whether the offer can be bought on a day; "unknown" if no source has it."""
        if self.retires_on is not None and self.retires_on <= on:
            return "retired"
        if self.delisted_on is not None and self.delisted_on <= on:
            return "delisted"
        return "unknown" if self.source is None else "on sale"

    def ends_soon(self, on: date) -> str | None:
        """Say that the offer retires before a verdict of that day would expire; None if it does not."""
        soon = self.retires_on is not None and 0 < (self.retires_on - on).days <= SOON_DAYS
        return f"retires on {self.retires_on}" if soon else None

    def gone(self, on: date) -> str | None:
        """Return, in words, since when the offer can no longer be bought, or None if it may still be."""
        status = self.status(on)
        if status == "retired":
            return f"retired since {self.retires_on}"
        return f"gone from the price catalogues since {self.delisted_on}" if status == "delisted" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A model at a provider: `model` is the name that all hosts share, `identifier` the provider's own."""

    provider: str
    model: str
    identifier: str

    @property
    def name(self) -> str:
        """The name `model@provider` that tables and patterns use for the listing."""
        return f"{self.model}@{self.provider}"

    def offer(self) -> Offer:
        """Return the listing as an offer, for functions that take offers."""
        return Offer(name=self.name, provider=self.provider, model=self.identifier)


_DAYS_KEPT = 8
"""Days of which the listings are kept: finding them takes half a second."""


class Catalog:
    """Prices and facts of offers as of a day.

    `extra` are the rates of the team's own files. They take precedence over the packaged rates (the
    history) and over genai-prices (the base). `team` has the contracts, whose discounts are taken off list
    prices, and the facts that the clauses of licences and hosts are compared with.
    """

    def __init__(self, extra: Sequence[Rate] = (), team: Team | None = None) -> None:
        self.team = team or Team()
        self._own = _Series(extra)
        self._history = _packaged_series()
        self._listings: dict[date, tuple[Listing, ...]] = {}

    def price(self, offer: Offer, on: date) -> Price | None:
        """Return what the team pays at an offer on a day, or None if it is unknown.

        That is the list price, less the discount of a contract with the provider. Prices that the team states
        itself, in the configuration or in its own rates, are what it pays already.
        """
        listed = self.list_price(offer, on)
        contract = self.contract(offer.provider, on)
        if listed is None or contract is None or not contract.discount or self._is_own_price(offer, on):
            return listed
        off = f"less {float(contract.discount):.4g} by contract"
        return replace(discounted(listed, contract.discount), source=f"{listed.source}, {off}")

    def commitment(self, provider: str, on: date) -> Commitment | None:
        """Return the minimum that the team owes a provider on a day, or None if it owes none."""
        return Commitment.of(self.contract(provider, on))

    def contract(self, provider: str, on: date) -> Contract | None:
        """Return the team's contract with a provider that is in force on a day, or None if there is none."""
        name = provider_name(provider)
        mine = (each for each in self.team.contracts if provider_name(each.provider) == name)
        return next((each for each in mine if each.holds(on)), None)

    def _is_own_price(self, offer: Offer, on: date) -> bool:
        if any(price.valid_from is None or price.valid_from <= on for price in offer.prices):
            return True
        return self._own.price(provider_name(offer.provider), offer.model, on) is not None

    def list_price(self, offer: Offer, on: date) -> Price | None:
        """Return the price of an offer on a day without the team's discount, or None if it is unknown.

        The first of these sources that has a price is used:

        1. The newest of the offer's own `prices` that is valid on the day. A price without
           `valid_from` has always been valid.
        2. The team's rates.
        3. The packaged history, if the price has changed since the day.
        4. genai-prices.
        5. The newest rate of the packaged history.

        The price is unknown before the first day on which the listing was seen. A local model, a
        generic host and an offer with its own address have no list price.
        """
        own = [price for price in offer.prices if price.valid_from is None or price.valid_from <= on]
        if own:
            return max(own, key=lambda price: price.valid_from or date.min)
        if not _is_listed(offer):
            return None
        provider = provider_name(offer.provider)
        theirs = self._own.price(provider, offer.model, on)
        if theirs is not None:
            return theirs
        events = self._history.of(provider, offer.model)
        priced = [rate for rate in events if rate.has_price]
        if priced and on < priced[0].seen_on and priced[0].event == "first-seen":
            return None
        then, listed = _newest(priced, on), base_price(provider, offer.model, on)
        if then is None or listed is None:
            return listed if then is None else then.price()
        was = then.price()
        changed_since = any(rate.seen_on > on for rate in priced)
        return was if changed_since and not _agree(was, listed) else listed

    def facts(self, offer: Offer, on: date) -> OfferFacts:
        """Return the facts of an offer on a day; those in its configuration take precedence."""
        facts = self._facts(offer, on)
        terms = terms_of(offer, open_weights=facts.open_weights)
        found = clauses(offer.name, terms, self.team, region=offer.region) if self.team.is_stated else ()
        return replace(facts, licence=terms.licence if terms.has_licence else None, clauses=found)

    def clauses(self, offer: Offer, on: date) -> tuple[Clause, ...]:
        """Return what licence and host say to the team, even if it has stated nothing of itself."""
        terms = terms_of(offer, open_weights=self._facts(offer, on).open_weights)
        return clauses(offer.name, terms, self.team, region=offer.region)

    def teaching(self, offer: Offer, on: date) -> TeachingTerms:
        """Return why an offer's answers may be trained on. Raises as `teaching_terms` does."""
        terms = terms_of(offer, open_weights=self._facts(offer, on).open_weights)
        return teaching_terms(offer.name, terms, self.team.teachers)

    def _facts(self, offer: Offer, on: date) -> OfferFacts:
        if not _is_listed(offer):
            return OfferFacts(
                context_tokens=offer.context_tokens,
                open_weights=offer.open_weights,
                retires_on=offer.retires_on,
                retires_source=None if offer.retires_on is None else CONFIGURED,
            )
        provider = provider_name(offer.provider)
        events = [*self._history.of(provider, offer.model), *self._own.of(provider, offer.model)]
        events.sort(key=lambda rate: rate.seen_on)
        seen = [rate for rate in events if rate.seen_on <= on]
        base = base_price(provider, offer.model, on)
        newest = seen[-1] if seen else None
        ends = next((rate for rate in reversed(events) if rate.retires_on is not None), None)
        own = offer.retires_on is not None
        return OfferFacts(
            context_tokens=offer.context_tokens
            or _last(rate.context_tokens for rate in events)
            or base_context(provider, offer.model),
            precision=_last(rate.precision for rate in events),
            open_weights=_open_weights(offer, events),
            retires_on=offer.retires_on or (None if ends is None else ends.retires_on),
            retires_source=CONFIGURED if own else None if ends is None else ends.source,
            retires_seen_on=None if own or ends is None else ends.seen_on,
            delisted_on=None if offer.prices or offer.retires_on else _delisted_on(seen),
            seen_on=newest.seen_on if newest else None,
            source=newest.source if newest else (base.source if base else None),
        )

    def listings(self, on: date) -> tuple[Listing, ...]:
        """Return all listings that have a price on a day, sorted by model and provider."""
        found = self._listings.get(on)
        if found is None:
            if len(self._listings) >= _DAYS_KEPT:
                self._listings.clear()
            found = self._listings[on] = self._listed(on)
        return found

    def _listed(self, on: date) -> tuple[Listing, ...]:
        found: dict[tuple[str, str], Listing] = {}
        for provider, identifier in base_listings():
            listing = Listing(provider=provider, model=model_name(identifier), identifier=identifier)
            found.setdefault((provider, listing.model), listing)
        for rate in (*self._history, *self._own):
            if rate.seen_on <= on:
                model = model_name(rate.model)
                listing = Listing(provider=provider_name(rate.provider), model=model, identifier=rate.model)
                found.setdefault((listing.provider, model), listing)
        priced = (each for each in found.values() if self.list_price(each.offer(), on) is not None)
        return tuple(sorted(priced, key=lambda listing: (listing.model, listing.provider)))

    def listed_on(self, offer: Offer, on: date) -> date | None:
        """Return the first day, up to a day, on which an offer is known to have been sold, else None."""
        return min(self._days(offer, on), default=None)

    def changed_on(self, offer: Offer, on: date) -> date | None:
        """Return the last day, up to a day, on which an offer was listed or its price changed.

        None if that is unknown.
        """
        return max(self._days(offer, on), default=None)

    def _days(self, offer: Offer, on: date) -> Iterator[date]:
        """Yield the days of an offer's own prices and listings, else of those in the dated rates."""
        own = [price.valid_from for price in offer.prices]
        rates = self.rates(offer.provider, offer.model) if not own and _is_listed(offer) else ()
        dated = (rate.seen_on for rate in rates if rate.event not in {"facts", "delisted"})
        yield from (day for day in (*own, *dated) if day is not None and day <= on)

    def rates(self, provider: str, identifier: str) -> list[Rate]:
        """Return the packaged and the team's dated rates of a listing, oldest first."""
        provider = provider_name(provider)
        events = [*self._history.of(provider, identifier), *self._own.of(provider, identifier)]
        return sorted(events, key=lambda rate: rate.seen_on)

    def all_rates(self) -> Iterator[Rate]:
        """Yield all packaged dated rates, then the team's."""
        yield from self._history
        yield from self._own


class _Series:
    """Rates by provider and model, each oldest first."""

    def __init__(self, rates: Iterable[Rate]) -> None:
        self._rates = sorted(rates, key=lambda rate: (rate.seen_on, rate.event == "facts"))
        self._by_identifier: dict[tuple[str, str], list[Rate]] = {}
        self._by_name: dict[tuple[str, str], list[Rate]] = {}
        for rate in self._rates:
            provider = provider_name(rate.provider)
            self._by_identifier.setdefault((provider, rate.model.lower()), []).append(rate)
            self._by_name.setdefault((provider, model_name(rate.model)), []).append(rate)

    def __iter__(self) -> Iterator[Rate]:
        return iter(self._rates)

    def of(self, provider: str, identifier: str) -> list[Rate]:
        """Return a model's rates by its identifier, or by its shared name if only one identifier has it."""
        exact = self._by_identifier.get((provider, identifier.lower()))
        if exact is not None:
            return exact
        named = self._by_name.get((provider, model_name(identifier)), [])
        return named if len({rate.model.lower() for rate in named}) == 1 else []

    def price(self, provider: str, identifier: str, on: date) -> Price | None:
        """Return the newest price seen on or before a day, or None if there is none."""
        found = _newest([rate for rate in self.of(provider, identifier) if rate.has_price], on)
        return None if found is None else found.price()


@lru_cache(maxsize=1)
def _packaged_series() -> _Series:
    return _Series(packaged_rates())


@lru_cache(maxsize=1)
def packaged_catalog() -> Catalog:
    """Return the packaged catalogue, without a team's own rates."""
    return Catalog()


def _is_listed(offer: Offer) -> bool:
    """Return whether the offer can have a list price: it is not local and has no address of its own."""
    host = HOSTS.get(offer.provider)
    if host is None:
        return offer.base_url is None
    return host.base_url is not None and not host.key_optional and offer.base_url in {None, host.base_url}


def _newest(priced: Sequence[Rate], on: date) -> Rate | None:
    return next((rate for rate in reversed(priced) if rate.seen_on <= on), None)


def _agree(one: Price, other: Price) -> bool:
    return (one.input_per_mtok, one.output_per_mtok) == (other.input_per_mtok, other.output_per_mtok)


def _last(values: Iterable[ValueT | None]) -> ValueT | None:
    known = [value for value in values if value is not None]
    return known[-1] if known else None


def _delisted_on(seen: Sequence[Rate]) -> date | None:
    """Return the day from which the listing is gone, or None if it is listed (again)."""
    gone: date | None = None
    for rate in seen:
        if rate.event == "delisted":
            gone = gone or rate.seen_on
        elif rate.event != "facts":
            gone = None
    return gone


def _open_weights(offer: Offer, events: Sequence[Rate]) -> bool | None:
    if offer.open_weights is not None:
        return offer.open_weights
    kind = _last(rate.kind for rate in events)
    return None if kind is None else kind == "open-weight"
