"""Computes a month's bill of the same traffic at every offer, with warnings about its price."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Self

import numpy as np

from crossgrade.catalog._catalog import Catalog, OfferFacts
from crossgrade.catalog._checks import check_catalog, offer_doubts, price_doubts, validate_price
from crossgrade.catalog._listed import model_name, provider_name
from crossgrade.catalog._successors import incumbent_end, successor
from crossgrade.domain import Estimate, IncumbentEnd, Offer, Price, Usage
from crossgrade.pricing import cost_usd
from crossgrade.pricing.bill import Bill, bill, per_solved
from crossgrade.pricing.columns import price_calls
from crossgrade.pricing.commitment import Commitment
from crossgrade.pricing.moving import MovingCosts
from crossgrade.pricing.thrift import WAITING, Thrift, thrifts
from crossgrade.pricing.usage import TokenMix, Traffic, UsageColumns

if TYPE_CHECKING:
    from crossgrade.hosting.boxes import BoxBill


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferBill:
    """An offer's bill for a month of traffic, with its facts and warnings.

    `batch` is the bill by the batch API, None if its cost is unknown. `tokens` says, in words, which
    tokens were billed: those measured for the offer, or the traffic's. `per_solved_usd` is the cost per
    point of score in dollars, None if it was not measured. `too_long` is the number of calls that do
    not fit the offer's context, None if its context is unknown. `doubts` are the warnings about its
    price, in words. `conformity` says whether the offer was shown to be the model that it is said to be
    (None: no project has it), and `differs` whether it was shown not to be.
    """

    offer: str
    provider: str
    bill: Bill
    batch: Bill | None
    price: Price | None
    facts: OfferFacts
    status: str
    tokens: str
    per_solved_usd: Estimate | None = None
    too_long: int | None = None
    doubts: tuple[str, ...] = ()
    conformity: str | None = None
    differs: bool = False

    @property
    def may_be_chosen(self) -> bool:
        """Return whether the offer can be recommended: on sale, beyond doubt, long enough, of known cost."""
        fits = self.can_be_bought and not self.doubts and not self.too_long and not self.differs
        return fits and self.bill.per_call_usd.value is not None

    @property
    def can_be_bought(self) -> bool:
        """Whether the offer is on sale, or may be because its status is unknown."""
        return self.status not in {"retired", "delisted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bills:
    """The bills of all offers for the same traffic.

    Offers with a known cost come first, cheapest first. Offers with an unknown cost follow, then those
    that are no longer sold. `moving` has the costs of a move. `boxes` has the bills of your own GPUs
    for the same work, empty if they were not asked for. `thrifts` are ways to pay the incumbent less.
    `commitments` are the minimums that the team owes providers, by provider. `incumbent_end` is the
    incumbent's end, and whether a run measured its provider's newer model.
    """

    on: date
    traffic: Traffic
    mix: TokenMix
    offers: tuple[OfferBill, ...]
    incumbent: str | None = None
    moving: MovingCosts = field(default_factory=MovingCosts)
    boxes: "tuple[BoxBill, ...]" = ()
    thrifts: tuple[Thrift, ...] = ()
    commitments: Mapping[str, Commitment] = field(default_factory=dict)
    incumbent_end: IncumbentEnd | None = None

    @property
    def of_incumbent(self) -> OfferBill | None:
        """The incumbent's bill, or None if it has none."""
        return next((each for each in self.offers if each.offer == self.incumbent), None)

    @property
    def agreed(self) -> Commitment:
        """What the team's contract with the incumbent's provider says; nothing if there is none."""
        now = self.of_incumbent
        return Commitment() if now is None else self.commitments.get(now.provider, Commitment())

    @property
    def rival(self) -> OfferBill | None:
        """The bill of the cheapest other offer that can be recommended."""
        return next(
            (each for each in self.offers if each.offer != self.incumbent and each.may_be_chosen), None
        )


def bill_offers(
    offers: Sequence[Offer],
    traffic: Traffic,
    catalog: Catalog,
    on: date,
    *,
    incumbent: str | None = None,
    measured: "Mapping[str, Measured] | None" = None,
) -> Bills:
    """Return every offer's bill for the traffic, with the prices of a day.

    An offer in `measured` is billed for its own tokens, because some models write longer answers. All
    others are billed for the traffic's tokens.
    """
    doubts = price_doubts(catalog, on)
    whose = "as stated" if not traffic.measured else f"as {incumbent}" if measured else "as recorded"
    found = []
    for offer in offers:
        own = (measured or {}).get(offer.name)
        row = _offer_bill(offer, own.traffic if own else traffic, catalog, on)
        found.append(
            replace(
                row,
                tokens="measured" if own else whose,
                per_solved_usd=own.per_solved(row.price) if own else None,
                doubts=(*row.doubts, *offer_doubts(offer, row.facts, on, doubts)),
            )
        )
    paid = next((offer for offer in offers if offer.name == incumbent), None)
    asked = [offer for offer in offers if offer.name in (measured or {})]
    return Bills(
        on=on,
        traffic=traffic,
        mix=traffic.mix(),
        offers=tuple(sorted(found, key=_order)),
        incumbent=incumbent,
        thrifts=() if paid is None else tuple(_thrifts(paid, traffic, catalog, on)),
        commitments=_commitments(offers, catalog, on),
        incumbent_end=None
        if paid is None
        else incumbent_end(catalog, paid, on, among=asked, context=_longest(traffic)),
    )


def _longest(traffic: Traffic) -> int:
    """Return the tokens of the longest call, in and out."""
    return int((traffic.usage.input_tokens + traffic.usage.output_tokens).max(initial=0))


def _commitments(offers: Iterable[Offer], catalog: Catalog, on: date) -> dict[str, Commitment]:
    providers = {provider_name(offer.provider) for offer in offers}
    found = {provider: catalog.commitment(provider, on) for provider in sorted(providers)}
    return {provider: each for provider, each in found.items() if each is not None}


def _thrifts(offer: Offer, traffic: Traffic, catalog: Catalog, on: date) -> Iterator[Thrift]:
    """Yield how the incumbent could cost less: by itself, or by a newer model of its provider."""
    price = catalog.price(offer, on)
    if price is None:
        return
    now = bill(offer.name, traffic, price, batch=offer.batch).usd_per_month
    ways = thrifts(price, offer.provider, None if now is None else float(now))
    yield from (each for each in ways if not (offer.batch and each.way in WAITING))
    newer = successor(catalog, offer, on, context=_longest(traffic))
    then = None if newer is None else bill(newer.offer.name, traffic, newer.price).usd_per_month
    if newer is not None and now is not None and then is not None and then < now:
        yield newer.thrift(float(now - then))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A run's measurements of a model: the tokens and the score of each call (NaN: unscored)."""

    traffic: Traffic
    scores: np.ndarray[tuple[int], np.dtype[np.float64]]

    def adjusted(self, *, calls_per_day: Decimal | None, cache_hit: float | None) -> Self:
        """Return it at another number of calls a day, with the share `cache_hit` of each call's input cached.

        None leaves the number of calls or the cached input unchanged.
        """
        return replace(self, traffic=self.traffic.adjusted(calls_per_day=calls_per_day, cache_hit=cache_hit))

    def per_solved(self, price: Price | None) -> Estimate | None:
        """Return the cost per point of score in dollars, or None without a price."""
        if price is None:
            return None
        return per_solved(price_calls(self.traffic.usage, price).usd(), self.scores)


def _offer_bill(offer: Offer, traffic: Traffic, catalog: Catalog, on: date) -> OfferBill:
    price, facts = catalog.price(offer, on), catalog.facts(offer, on)
    by_batch = bill(offer.name, traffic, price, batch=True)
    return OfferBill(
        offer=offer.name,
        provider=provider_name(offer.provider),
        bill=bill(offer.name, traffic, price, batch=offer.batch),
        batch=by_batch if by_batch.per_call_usd.value is not None else None,
        price=price,
        facts=facts,
        status=facts.status(on),
        tokens="",
        too_long=_too_long(traffic.usage, facts.context_tokens),
        doubts=() if price is None else validate_price(replace(price, valid_from=None), today=on),
    )


def _too_long(usage: UsageColumns, context_tokens: int | None) -> int | None:
    """Return the number of calls that do not fit a context window, or None if it is unknown."""
    if context_tokens is None:
        return None
    return int(((usage.input_tokens + usage.output_tokens) > context_tokens).sum())


def _order(row: OfferBill) -> tuple[bool, bool, float, str]:
    cost = row.bill.per_call_usd.value
    return not row.can_be_bought, cost is None, cost or 0.0, row.offer


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCost:
    """The cost of a request in dollars at the cheapest provider of a model."""

    model: str
    provider: str
    price: Price
    usage: Usage
    usd: Decimal
    open_weights: bool | None

    @property
    def words(self) -> str:
        """The cost in words, with its tokens, provider and source."""
        day = f", {self.price.valid_from}" if self.price.valid_from else ""
        return (
            f"${self.usd} a request of {self.usage.input_tokens:,} tokens in and "
            f"{self.usage.output_tokens:,} out at {self.provider}'s list price ({self.price.source}{day})"
        )


_THROUGH = "huggingface_"
"""The prefix of a host that is reached through Hugging Face, at the host's own price."""

_RESELLERS = frozenset({"azure", "bedrock", "openrouter", "vertex"})
"""Providers that come last among those with the same price, so that the maker of a closed model is named."""


def list_costs(
    models: Iterable[str], usage: Usage, catalog: Catalog, on: date
) -> "dict[str, ListCost | None]":
    """Return, for each model, the cost of a request with this usage at its cheapest provider on a day.

    A model is named by a provider's own identifier or by the name that all hosts share. Offers that are
    no longer sold and doubtful prices are left out. The value is None if no list price is known.
    """
    listings = catalog.listings(on)
    doubtful = {each.listing for each in check_catalog(catalog, on)}
    hosts: dict[str, dict[str, str]] = {}
    for each in listings:
        hosts.setdefault(each.provider, {})[each.model] = each.identifier

    def sold(model: str) -> Iterator[ListCost]:
        shared = model_name(model)
        for provider, known in hosts.items():
            offer = Offer(name=model, provider=provider, model=known.get(shared, model))
            price = catalog.price(offer, on)
            usd = None if price is None else cost_usd(usage, price)
            if price is None or usd is None or f"{shared}@{provider.removeprefix(_THROUGH)}" in doubtful:
                continue
            facts = catalog.facts(offer, on)
            if facts.status(on) in {"on sale", "unknown"}:
                yield ListCost(
                    model=model,
                    provider=provider,
                    price=price,
                    usage=usage,
                    usd=usd,
                    open_weights=facts.open_weights,
                )

    def order(cost: ListCost) -> tuple[Decimal, bool, str]:
        return cost.usd, cost.provider in _RESELLERS, cost.provider

    return {model: min(sold(model), key=order, default=None) for model in models}
