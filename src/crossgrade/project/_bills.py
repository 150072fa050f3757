"""What a run measured of each model, and what it and its shadow cost: the costs of a move so far."""

from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from crossgrade.catalog.bills import Bills, Measured
from crossgrade.domain import RouteSpec, ScoredAnswer, Workload
from crossgrade.pricing.moving import MovingCosts
from crossgrade.pricing.usage import DAYS_PER_MONTH, Traffic, UsageColumns

if TYPE_CHECKING:
    from crossgrade.store import Run, Store


def measured_of(store: "Store", run: "Run", workload: Workload) -> dict[str, Measured]:
    """Return what a run measured of each of the workload's models that it asked."""
    answers = store.answers.scored(run.id, str(run.settings["scorer_digest"]))
    by_model: dict[str, list[ScoredAnswer]] = {}
    for answer in answers:
        if answer.usage.input_tokens is not None:
            by_model.setdefault(answer.model, []).append(answer)
    calls = None if workload.requests_per_month is None else Decimal(workload.requests_per_month)
    return {
        model: Measured(
            traffic=Traffic(
                usage=UsageColumns.of(answer.usage for answer in theirs),
                calls_per_month=calls,
                measured=True,
                source=f"run {run.id}",
            ),
            scores=np.array([np.nan if answer.score is None else answer.score for answer in theirs]),
        )
        for model, theirs in by_model.items()
    }


SHADOW_DAYS = 14
"""Days of shadow traffic that a move is assumed to take."""


def costs_of_moving(
    store: "Store", run: "Run", workload: Workload, bills: Bills, route: RouteSpec | None
) -> MovingCosts:
    """Return what moving a workload costs as far as is known: its run, its judge, two weeks of shadow.

    The shadow asks the workload's first candidate about the route's share of the traffic, within its
    daily bound. The migration itself is for the team to say.
    """
    scored = store.answers.of_run(run.id, str(run.settings["scorer_digest"])).values()
    judged = [answer.score.cost_usd for answer in scored if answer.score is not None]
    judge = None if None in judged else sum((usd for usd in judged if usd is not None), Decimal(0))
    spent = store.runs.totals(run.id).spent_usd
    return MovingCosts(
        evaluation_usd=None if spent is None or judge is None else spent - judge,
        judge_usd=judge,
        shadow_usd=_shadow_usd(workload, bills, route),
    )


def _shadow_usd(workload: Workload, bills: Bills, route: RouteSpec | None) -> Decimal | None:
    """Return what two weeks of the route's shadow would cost; None where that is unknown."""
    if route is None or route.shadow is None:
        return None
    asked = workload.candidates[0].name
    month = next((row.bill.usd_per_month for row in bills.offers if row.offer == asked), None)
    if month is None:
        return None
    a_day = month / DAYS_PER_MONTH * Decimal(repr(route.shadow.rate))
    if route.shadow.max_usd_per_day is not None:
        a_day = min(a_day, Decimal(repr(route.shadow.max_usd_per_day)))
    return a_day * SHADOW_DAYS
