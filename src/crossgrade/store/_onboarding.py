"""Stores the dated steps of an offer from its name to a canary."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec
from sqlalchemy import Row, insert, select

from crossgrade.domain import JSON
from crossgrade.store import _tables as t
from crossgrade.store._database import Database
from crossgrade.store._ledger import LedgerLog
from crossgrade.store._ledger_events import decision, document_digest
from crossgrade.store._records import utc_now

OnboardingKind: TypeAlias = Literal[
    "listed", "seen", "verdict", "canary", "proposed", "renewal", "spent", "delivered"
]
"""The offer was listed in the catalogue, first requested here, got a verdict, or got a canary.

Where it was found to be new, it was proposed for a test; the test began with a limit on its cost (`renewal`)
and ended with what it cost (`spent`), which the webhook was told (`delivered`).
"""

_APPROVALS = frozenset({"proposed", "renewal", "canary"})
"""The steps that somebody decides, which the ledger has too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnboardingStep:
    """One step of an offer on a workload, and when it was reached."""

    offer: str
    workload: str
    kind: OnboardingKind
    detail: Mapping[str, JSON] = field(default_factory=dict)
    at: datetime = field(default_factory=utc_now)


class Onboardings:
    """The steps of every offer."""

    def __init__(self, database: Database, ledger: LedgerLog) -> None:
        self._database = database
        self._ledger = ledger

    def append(self, step: OnboardingStep) -> None:
        """Record a step."""
        row = {
            "offer": step.offer,
            "workload": step.workload,
            "kind": step.kind,
            "detail": msgspec.json.encode(step.detail).decode(),
            "at": step.at.isoformat(),
        }
        with self._database.writing() as connection:
            connection.execute(insert(t.onboarding_steps), row)
            if step.kind in _APPROVALS:
                facts = {name: row[name] for name in ("offer", "workload", "at")}
                digest = document_digest(row["detail"])
                event = decision("approval", step=step.kind, **facts, detail=step.detail, digest=digest)
                self._ledger.record(connection, [event])

    def steps(self, offer: str, workload: str) -> list[OnboardingStep]:
        """Return the steps of an offer on a workload, in the order of their recording."""
        s = t.onboarding_steps.c
        query = select(t.onboarding_steps).where(s.offer == offer, s.workload == workload).order_by(s.id)
        with self._database.reading() as connection:
            return [_step(row) for row in connection.execute(query)]

    def of_kinds(self, *kinds: OnboardingKind, after: datetime | None = None) -> list[OnboardingStep]:
        """Return the steps of all offers of some kinds, in the order of their recording.

        With `after` only those that were reached later.
        """
        s = t.onboarding_steps.c
        query = select(t.onboarding_steps).where(s.kind.in_(kinds)).order_by(s.id)
        with self._database.reading() as connection:
            found = [_step(row) for row in connection.execute(query)]
        return [each for each in found if after is None or each.at > after]


def _step(row: Row[Any]) -> OnboardingStep:
    return OnboardingStep(
        offer=row.offer,
        workload=row.workload,
        kind=row.kind,
        detail=msgspec.json.decode(row.detail),
        at=datetime.fromisoformat(row.at),
    )
