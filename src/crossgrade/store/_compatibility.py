"""Stores what offers were seen to do when they were asked: one dated record for each live check."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal, Self, TypeAlias

import msgspec
from sqlalchemy import func, insert, select

from crossgrade.dialects.stated import StatedLimits
from crossgrade.domain import Offer, host_of, sum_usd
from crossgrade.store import _tables as t
from crossgrade.store._database import Database
from crossgrade.store._records import utc_now

LiveStatus: TypeAlias = Literal["works", "fails", "unknown", "none"]
"""Seen to work, seen to fail, not found out, or not there by design."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCheck:
    """One thing that was tried at an offer; `seen` says in words what came back.

    `cost_usd` of its `calls` is None if it is unknown.
    """

    name: str
    status: LiveStatus
    seen: str
    calls: int = 0
    cost_usd: Decimal | None = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompatibilityRecord:
    """What an offer was seen to do at one time. A record is evidence: nothing is switched because of it.

    `host` is the address that the offer names (None: that of the table of hosts). `limits` are those that the
    provider stated for the account. `served_model` is the version that the provider said it served.
    """

    offer: str
    provider: str
    model: str
    checks: tuple[LiveCheck, ...]
    host: str | None = None
    limits: StatedLimits = field(default_factory=StatedLimits)
    served_model: str | None = None
    at: datetime = field(default_factory=utc_now)

    @classmethod
    def of(
        cls,
        offer: Offer,
        checks: tuple[LiveCheck, ...],
        *,
        limits: StatedLimits,
        served_model: str | None = None,
    ) -> Self:
        """Return the record of an offer's checks, made now."""
        return cls(
            offer=offer.name,
            provider=offer.provider,
            model=offer.model,
            host=host_of(offer),
            checks=checks,
            limits=limits,
            served_model=served_model,
        )

    @property
    def failing(self) -> tuple[LiveCheck, ...]:
        """The checks that failed."""
        return tuple(each for each in self.checks if each.status == "fails")

    @property
    def calls(self) -> int:
        """How many calls the checks made."""
        return sum(each.calls for each in self.checks)

    @property
    def cost_usd(self) -> Decimal | None:
        """What the calls cost, None if that of any is unknown."""
        return sum_usd(each.cost_usd for each in self.checks)

    def is_of(self, offer: Offer) -> bool:
        """Return whether the offer is still the model at the address that was asked."""
        return (self.provider, self.model, self.host) == (offer.provider, offer.model, host_of(offer))


class Compatibility:
    """The records of live checks, which are never changed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, record: CompatibilityRecord) -> None:
        """Keep a record."""
        row = {name: getattr(record, name) for name in ("offer", "provider", "model", "host")}
        row |= {"record": msgspec.json.encode(record).decode(), "at": record.at.isoformat()}
        with self._database.writing() as connection:
            connection.execute(insert(t.compatibility), row)

    def newest(self, offers: Iterable[Offer]) -> dict[str, CompatibilityRecord]:
        """Return the newest record of each offer by name, in the order of `offers`.

        Records of another model or address do not count.
        """
        c = t.compatibility.c
        wanted = {offer.name: offer for offer in offers}
        newest = (
            select(func.max(c.id)).where(c.offer.in_(wanted)).group_by(c.offer, c.provider, c.model, c.host)
        )
        query = select(c.record).where(c.id.in_(newest)).order_by(c.id)
        with self._database.reading() as connection:
            rows = [
                msgspec.json.decode(row.record, type=CompatibilityRecord) for row in connection.execute(query)
            ]
        found = {each.offer: each for each in rows if each.is_of(wanted[each.offer])}
        return {name: found[name] for name in wanted if name in found}
