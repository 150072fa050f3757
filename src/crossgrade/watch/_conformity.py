"""Asks the models behind certificates, once a day, whether they are still what was measured."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from crossgrade.decide import Verdict
from crossgrade.domain import JSON, ConformLook, ConformRecord, Offer, Reason, sum_usd
from crossgrade.errors import CrossgradeError
from crossgrade.project import Project
from crossgrade.routing import Route
from crossgrade.watch._conditions import Broken

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformStanding:
    """How a model of routes stands beside its conformity check.

    `status` is `unchecked` without any check, or as long as no look since was possible. `days` counts the
    looks that were accepted. `e_value` raises an alarm at `threshold`. `cost_usd` is what all looks cost,
    None if that is unknown, and `next_at` when the next is due (None: none is).
    """

    model: str
    routes: tuple[str, ...]
    status: Literal["conforms", "alarm", "unchecked"]
    check_id: str | None = None
    days: int = 0
    e_value: float | None = None
    threshold: float | None = None
    cost_usd: Decimal | None = Decimal(0)
    next_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformFinding:
    """What a look at a model found: how it stands, and the broken condition of its routes (None: none is)."""

    standing: ConformStanding
    broken: Broken | None = None
    problem: Reason | None = None


def look_at_conformity(
    project: Project, watched: Iterable[tuple[Route, Verdict | None]], *, now: datetime
) -> list[ConformFinding]:
    """Look at each model that active routes ask, the incumbents' too, where a look is due and may be paid.

    A model is compared with the check that its certificate names, otherwise with its newest one. Nothing is
    asked without `watch.conform`. An error on one model is its finding's problem, and raises no alarm.
    """
    settings = project.config.watching.conform
    if settings is None:
        return []
    found = []
    for offer, routes, verdicts in _asked(project, watched):
        record = _record_of(project, offer, verdicts)
        if record is None:
            why = f"run `crossgrade conform {offer.name}`, with which later answers are compared"
            standing = ConformStanding(model=offer.name, routes=routes, status="unchecked", reason=why)
            found.append(ConformFinding(standing=standing))
            continue
        every = timedelta(hours=settings.every_hours)
        problem = None
        try:
            limit = settings.max_usd_per_day
            left = None if limit is None else Decimal(str(limit)) - _spent_in_a_day(project, now)
            project.conformity.look(offer, record, now=now, every=every, limit_usd=left)
        except CrossgradeError as error:
            problem = Reason(error.code, f"{offer.name}: {error.message}")
        days = project.store.conformity.looks(record.id)
        standing = _standing(offer.name, routes, record, days, every)
        found.append(
            ConformFinding(standing=standing, broken=_broken(offer.name, record, days), problem=problem)
        )
    return found


def _asked(
    project: Project, watched: Iterable[tuple[Route, Verdict | None]]
) -> list[tuple[Offer, tuple[str, ...], list[Verdict]]]:
    """Return the configured models that routes ask, each with its routes and their certificates."""
    offers = project.config.offers
    routes: dict[str, dict[str, None]] = {}
    verdicts: dict[str, list[Verdict]] = {}
    for route, verdict in watched:
        for target in route.targets.values():
            for name in (target, *(offers[target].replicas if target in offers else ())):
                if name in offers:
                    routes.setdefault(name, {})[route.name] = None
                    verdicts.setdefault(name, []).extend([verdict] if verdict else [])
    return [(offers[name], tuple(own), verdicts[name]) for name, own in routes.items()]


def _record_of(project: Project, offer: Offer, verdicts: list[Verdict]) -> ConformRecord | None:
    """Return the check that a certificate names, otherwise the newest one of the model."""
    facts = [each for verdict in verdicts for each in verdict.settings.facts if each.model == offer.name]
    named = {each.fingerprint.digest for each in facts if each.fingerprint is not None}
    records = [each for each in project.store.conformity.recent(offer.name) if each.fingerprint.is_of(offer)]
    certified = [each for each in records if each.fingerprint.digest in named]
    return next(iter(certified or records), None)


def _spent_in_a_day(project: Project, now: datetime) -> Decimal:
    """Return what looks at all models cost in the last day; an unknown cost counts as nothing."""
    days = project.store.conformity.looks_since(now - DAY)
    return sum((day.cost_usd or Decimal(0) for day in days), Decimal(0))


def _standing(
    model: str, routes: tuple[str, ...], record: ConformRecord, days: list[ConformLook], every: timedelta
) -> ConformStanding:
    last = days[-1] if days else None
    counted = [each for each in days if each.e_value is not None]
    alarm = last is not None and last.outcome == "alarm"
    accepted = sum(each.outcome == "accepted" for each in days)
    return ConformStanding(
        model=model,
        routes=routes,
        status="alarm" if alarm else "conforms" if accepted or not days else "unchecked",
        check_id=record.id,
        days=accepted,
        e_value=counted[-1].e_value if counted else None,
        threshold=counted[-1].threshold if counted else None,
        cost_usd=sum_usd(each.cost_usd for each in days),
        next_at=None if alarm else (record.at if last is None else last.at) + every,
        reason=None if last is None else last.reason,
    )


def _broken(model: str, record: ConformRecord, days: list[ConformLook]) -> Broken | None:
    """Return the condition that the last look broke, None if it broke none."""
    last = days[-1] if days else None
    if last is None or last.outcome != "alarm":
        return None
    detail: dict[str, JSON] = {"model": model, "check": record.id, "day": last.day}
    if last.reason == "version":
        return Broken(
            kind="version",
            detail={**detail, "measured": [record.fingerprint.version], "served": last.version},
        )
    more: dict[str, JSON] = {
        "e_value": last.e_value,
        "threshold": last.threshold,
        "differing": list(last.differing),
    }
    return Broken(kind="fingerprint", detail={**detail, **more})
