"""How a model came from its name to a canary, step by step, and when each step was reached."""

from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING

from crossgrade.domain import Offer

if TYPE_CHECKING:
    from crossgrade.catalog import Catalog
    from crossgrade.routing import RouteTable
    from crossgrade.store import OnboardingKind, OnboardingStep, Store, StoredVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarded:
    """How far an offer came on a workload; `table` is None if no canary was started.

    `steps` are all recorded steps, from earlier tries too.
    """

    offer: str
    workload: str
    verdict: "StoredVerdict"
    table: "RouteTable | None"
    steps: "tuple[OnboardingStep, ...]"

    @property
    def days_to_verdict(self) -> int | None:
        """Days from the offer's first listing to its newest verdict here; None if no listing is known."""
        listed = next((step.at for step in self.steps if step.kind == "listed"), None)
        decided = next((step.at for step in reversed(self.steps) if step.kind == "verdict"), None)
        return None if listed is None or decided is None else (decided.date() - listed.date()).days


class OnboardingLog:
    """The recorded steps of one offer on one workload."""

    def __init__(self, store: "Store", offer: str, workload: str) -> None:
        self._onboardings = store.onboardings
        self._offer = offer
        self._workload = workload

    def steps(self) -> "tuple[OnboardingStep, ...]":
        """Return all recorded steps, from earlier tries too."""
        return tuple(self._onboardings.steps(self._offer, self._workload))

    def begin(self, offer: Offer, catalog: "Catalog") -> None:
        """At the first try, record since when the offer is listed, and that it is asked for now."""
        if any(step.kind == "seen" for step in self.steps()):
            return
        today = datetime.now(UTC).date()
        listed, price = catalog.listed_on(offer, today), catalog.price(offer, today)
        if listed is not None and price is not None:
            self._reach("listed", datetime.combine(listed, time(), UTC), source=price.source)
        self._reach("seen")

    def decided(self, stored: "StoredVerdict") -> None:
        """Record the verdict."""
        self._reach("verdict", stored.verdict.decided_at, verdict=stored.id, name=stored.verdict.name)

    def tried(self, stored: "StoredVerdict", table: "RouteTable") -> None:
        """Record the canary that a verdict started in a route table."""
        mine = [route for route in table.routes if route.verdict_id == stored.id]
        self._reach(
            "canary",
            version=table.version,
            routes=[route.name for route in mine],
            share=mine[0].share,
            segments=list(mine[0].policy.segments),
        )

    def _reach(self, kind: "OnboardingKind", at: datetime | None = None, **detail: object) -> None:
        from crossgrade.store import OnboardingStep

        step = OnboardingStep(
            offer=self._offer,
            workload=self._workload,
            kind=kind,
            detail=detail,  # type: ignore[arg-type]  # texts, numbers and lists of texts
            at=at or datetime.now(UTC),
        )
        self._onboardings.append(step)
