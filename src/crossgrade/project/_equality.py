"""Which offers are known to be the same model, by the conformity checks in the store."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import TYPE_CHECKING

from crossgrade.domain import Conformity, ConformRecord, Offer, RouteSpec

if TYPE_CHECKING:
    from crossgrade.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferConformity:
    """Whether an offer conforms, since when (None: unchecked), and beside which other."""

    conformity: Conformity = "unchecked"
    since: datetime | None = None
    against: str | None = None

    @property
    def words(self) -> str:
        """It in a few words: "conforms since …", "differs …" or "not checked"."""
        day = "" if self.since is None else f" since {self.since:%Y-%m-%d}"
        if self.conformity == "differs":
            return f"differs from {self.against or 'what was asked'}{day}"
        return f"conforms{day}" if self.conformity == "conforms" else "not checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferPair:
    """Two offers that answer in each other's place: a model and its replica, or a route's fallback.

    `record` is the newest check that compared the two, None if none did: then they are only declared equal.
    """

    model: str
    other: str
    is_replica: bool
    record: ConformRecord | None = None

    @property
    def is_compared(self) -> bool:
        """Whether it is known that the two differ, or conform."""
        return self.record is not None and self.record.conformity != "unchecked"

    @property
    def differs(self) -> bool:
        """Whether the two were shown to differ."""
        return self.record is not None and self.record.conformity == "differs"

    @property
    def words(self) -> str:
        """What is known of the two, in a sentence without its end."""
        pair = f"{self.other} and {self.model}"
        if self.record is None:
            return f"{pair} are declared equal: `crossgrade conform {self.other} --against {self.model}`"
        on = f"as seen on {self.record.at:%Y-%m-%d}"
        if self.differs:
            return f"{pair} differ ({', '.join(each.name for each in self.record.differing)}), {on}"
        if self.is_compared:
            return f"{pair} conform, {on}"
        return (
            f"{pair} were asked on {self.record.at:%Y-%m-%d}, and whether they differ is not known: "
            f"`crossgrade conform {self.other} --against {self.model}`"
        )


def offer_conformity(store: "Store", offer: Offer) -> OfferConformity:
    """Return what checks and daily looks say of an offer, as it is at its address."""
    records = [each for each in store.conformity.recent(offer.name) if each.fingerprint.is_of(offer)]
    if not records:
        return OfferConformity()
    newest = records[0]
    days = store.conformity.looks(newest.id)
    if days and days[-1].outcome == "alarm":
        return OfferConformity(conformity="differs", since=days[-1].at, against="its own earlier answers")
    known = [each for each in records if each.conformity != "unchecked"]
    if not known:
        return OfferConformity(since=newest.at)
    last = known[0]  # one after which nothing is known takes its place no more than none would
    alike = list(takewhile(lambda each: each.conformity == last.conformity, known))
    return OfferConformity(
        conformity=last.conformity,
        since=alike[-1].at,
        against=None if last.against is None else last.against.offer,
    )


def replaced_pairs(
    store: "Store", offers: Mapping[str, Offer], routes: Iterable[RouteSpec]
) -> Iterator[OfferPair]:
    """Yield each model beside its replicas, and beside fallbacks that were compared with it.

    A fallback may be another model on purpose, so one that was never compared is not among them.
    """
    for offer in offers.values():
        for name in offer.replicas:
            if name in offers and name != offer.name:
                record = newest_check(store, offer, offers[name])
                yield OfferPair(model=offer.name, other=name, is_replica=True, record=record)
    for spec in routes:
        for name in spec.fallbacks:
            if name in offers and spec.incumbent in offers:
                record = newest_check(store, offers[spec.incumbent], offers[name])
                if record is not None:
                    yield OfferPair(model=spec.incumbent, other=name, is_replica=False, record=record)


def newest_check(store: "Store", one: Offer, two: Offer) -> ConformRecord | None:
    """Return the newest check that compared two offers as they are; None if none did.

    A check after which nothing is known takes the place of no other.
    """
    found = [
        each
        for offer, other in ((one, two), (two, one))
        for each in store.conformity.recent(offer.name)
        if each.against is not None
        and each.fingerprint.is_of(offer)
        and each.against.is_of(other)
        and each.against.offer == other.name
    ]
    return max(found, key=lambda each: (each.conformity != "unchecked", each.at), default=None)
