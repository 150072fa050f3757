"""Stores the dated steps of an offer from its name to a canary."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec
from sqlalchemy import insert, select

from crossgrade.domain import JSON
from crossgrade.store import _tables as t
from crossgrade.store._database import Database
from crossgrade.store._records import utc_now

OnboardingKind: TypeAlias = Literal["listed", "seen", "verdict", "canary"]
"""The offer was listed in the catalogue, first requested here, got a verdict, or got a canary."""


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

    def __init__(self, database: Database) -> None:
        self._database = database

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

    def steps(self, offer: str, workload: str) -> list[OnboardingStep]:
        """Return the steps of an offer on a workload, in the order of their recording."""
        s = t.onboarding_steps.c
        query = select(t.onboarding_steps).where(s.offer == offer, s.workload == workload).order_by(s.id)
        with self._database.reading() as connection:
            return [
                OnboardingStep(
                    offer=row.offer,
                    workload=row.workload,
                    kind=row.kind,
                    detail=msgspec.json.decode(row.detail),
                    at=datetime.fromisoformat(row.at),
                )
                for row in connection.execute(query)
            ]
