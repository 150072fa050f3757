"""From a model's name to a canary: evaluated, decided, tried on a share; and how long each took."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING

from crossgrade.project._project import Project

if TYPE_CHECKING:
    from crossgrade.evaluate import Progress
    from crossgrade.routing import RouteTable
    from crossgrade.store import OnboardingKind, OnboardingStep, StoredVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarded:
    """How far an offer came on a workload; `table` None: no certificate, so no canary.

    `steps` are all that are recorded of it, from earlier tries too.
    """

    offer: str
    workload: str
    verdict: "StoredVerdict"
    table: "RouteTable | None"
    steps: "tuple[OnboardingStep, ...]"


def onboard(
    project: Project,
    offer: str,
    workload: str,
    *,
    max_cost_usd: Decimal | None = None,
    resume: str | None = None,
    canary: bool = True,
    on_progress: "Callable[[Progress], None] | None" = None,
) -> Onboarded:
    """Evaluate an offer as the only candidate of a workload, decide, and start a canary if certified.

    `project` is one that `Project.trying` returned for them. Raises what evaluating, deciding and
    applying raise; the steps that were reached stay recorded.
    """
    log = _Log(project, offer, workload)
    log.begin()
    result = project.evaluate(workload, max_cost_usd=max_cost_usd, resume=resume, on_progress=on_progress)
    stored = project.decide(workload, run_id=result.run_id)
    verdict = stored.verdict
    log.reach("verdict", verdict.decided_at, verdict=stored.id, name=verdict.name)
    table = None
    if canary and verdict.policy.candidate == offer:
        table = project.routing.apply(stored.id, canary=True)
        mine = [route for route in table.routes if route.verdict_id == stored.id]
        log.reach(
            "canary",
            version=table.version,
            routes=[route.name for route in mine],
            share=mine[0].share,
            segments=list(mine[0].policy.segments),
        )
    return Onboarded(offer=offer, workload=workload, verdict=stored, table=table, steps=log.steps())


class _Log:
    """The recorded steps of one offer on one workload."""

    def __init__(self, project: Project, offer: str, workload: str) -> None:
        self._project = project
        self._offer = offer
        self._workload = workload

    def steps(self) -> "tuple[OnboardingStep, ...]":
        return tuple(self._project.store.onboardings.steps(self._offer, self._workload))

    def begin(self) -> None:
        """Record, the first time, since when the offer is listed and that it was asked for now."""
        if self.steps():
            return
        offer = self._project.config.offers[self._offer]
        days = [price.valid_from for price in offer.prices if price.valid_from is not None]
        if days:
            self.reach("listed", datetime.combine(min(days), time(), UTC), source=offer.prices[0].source)
        self.reach("seen")

    def reach(self, kind: "OnboardingKind", at: datetime | None = None, **detail: object) -> None:
        from crossgrade.store import OnboardingStep

        step = OnboardingStep(
            offer=self._offer,
            workload=self._workload,
            kind=kind,
            detail=detail,  # type: ignore[arg-type]  # texts, numbers and lists of texts
            at=at or datetime.now(UTC),
        )
        self._project.store.onboardings.append(step)
