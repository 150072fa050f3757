"""Where the team is, what it asks of a host, its contracts, and the clauses of terms that concern it."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

Severity = Literal["forbidden", "condition", "unknown", "permitted"]
ClauseCode = Literal[
    "display-due",
    "licence-business",
    "licence-outputs",
    "licence-unknown",
    "licence-uses",
    "region-outside",
    "region-unknown",
    "retention-above",
    "retention-unknown",
    "revenue-above",
    "revenue-unknown",
    "territory-unknown",
    "territory-withheld",
    "training-on-inputs",
    "training-unknown",
    "users-above",
    "users-unknown",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """What a licence or a host's terms say about a team's use of a model, with its source.

    A `forbidden` clause rules the model out, an `unknown` one does so until it is known. A `condition` must
    be met. The team has stated why a `permitted` one does not stand in its way (`because`).
    """

    model: str
    code: ClauseCode
    severity: Severity
    text: str
    source: str = ""
    read_on: date | None = None
    because: str | None = None

    @property
    def blocks(self) -> bool:
        """Whether no verdict may switch to the model."""
        return self.severity in {"forbidden", "unknown"}

    @property
    def permission(self) -> str:
        """The entry of `team.permitted` with which the clause does not stand in the way."""
        return f"{{model: {self.model}, clause: {self.code}, because: …}}"

    @property
    def words(self) -> str:
        """The clause with its source and the day on which that was read."""
        read = "" if self.read_on is None else f", read on {self.read_on.isoformat()}"
        return f"{self.text} ({self.source}{read})" if self.source else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """Why a clause does not stand in the way of a model, as the team states it."""

    model: str
    clause: ClauseCode
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachingRight:
    """Whether the team may train models on the answers of a model, as it states itself.

    `source` says where the right, or its absence, is written, and `stated_on` when the team stated it.
    """

    model: str
    status: Literal["permitted", "forbidden"]
    source: str
    stated_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a team has agreed with a provider: a discount on list prices, a minimum a month, until when.

    `discount` is a share in [0, 1). `spend_usd_per_month` is what the team pays the provider for everything
    today; None is unknown.
    """

    provider: str
    discount: Decimal = Decimal(0)
    minimum_usd_per_month: Decimal = Decimal(0)
    spend_usd_per_month: Decimal | None = None
    until: date | None = None

    def holds(self, on: date) -> bool:
        """Return whether the contract is in force on a day."""
        return self.until is None or on <= self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """The facts of a team that licences and hosts ask for; None is not stated.

    `country` is where its principal place of business is (ISO 3166). `regions`, `max_retention_days` and
    `training_on_inputs` are what it asks of a host. `teachers` are models whose answers it may train on, or
    may not.
    """

    country: str | None = None
    monthly_active_users: int | None = None
    monthly_revenue_usd: Decimal | None = None
    regions: tuple[str, ...] = ()
    max_retention_days: int | None = None
    training_on_inputs: Literal["never", "allowed"] | None = None
    permitted: tuple[Permission, ...] = ()
    contracts: tuple[Contract, ...] = ()
    teachers: tuple[TeachingRight, ...] = ()

    @property
    def is_stated(self) -> bool:
        """Whether anything is stated that a clause can be compared with."""
        stated = (self.country, self.monthly_active_users, self.monthly_revenue_usd)
        asked = (self.max_retention_days, self.training_on_inputs)
        return bool(self.regions) or any(each is not None for each in (*stated, *asked))
