"""Compares agents' runs: both readings, the mixed tasks, what a solved task costs, what more would show."""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from crossgrade.decide._agent_records import AgentComparison, AgentPlan, AgentReading
from crossgrade.decide._costs import kept_share
from crossgrade.decide._evidence import Evidence, FloatColumn, ModelColumns
from crossgrade.decide._view import View
from crossgrade.decide._words import listed
from crossgrade.domain import SETUP_FIELDS, AgentRuns, AgentSetup, Estimate
from crossgrade.errors import DataError
from crossgrade.pricing.saving import mean_cost
from crossgrade.stats import mean_interval, retention, trial_spread

PLAN_POWER = 0.8
_POINTS = 100.0


def compare_agents(view: View) -> tuple[AgentComparison, ...]:
    """Return a comparison for each candidate that agents' runs are known of, as of the incumbent."""
    incumbent = view.evidence.incumbent
    if incumbent.runs is None:
        return ()
    return tuple(
        _compared(view, incumbent.runs, each, each.runs)
        for each in view.evidence.candidates
        if each.runs is not None
    )


def unequal(incumbent: AgentRuns, candidate: AgentRuns) -> dict[str, tuple[str, str]]:
    """Return what is known to differ between two models' runs, by the field of `AgentSetup`."""
    pairs = ((name, *_values(incumbent.setup, candidate.setup, name)) for name in SETUP_FIELDS)
    return {name: (ours, theirs) for name, ours, theirs in pairs if ours and theirs and ours != theirs}


def unknown_fields(incumbent: AgentRuns, candidate: AgentRuns) -> tuple[str, ...]:
    """Return the fields that are not known of both models' runs.

    The dataset need not be named where the digest of every task says that it is the same.
    """
    return tuple(
        name
        for name in SETUP_FIELDS
        if None in _values(incumbent.setup, candidate.setup, name)
        if not (name == "dataset" and candidate.same_tasks)
    )


def check_equal_agents(evidence: Evidence) -> None:
    """Raise `DataError` if a candidate's runs are known to be made otherwise than the incumbent's."""
    for candidate in evidence.candidates:
        if evidence.incumbent.runs is None or candidate.runs is None:
            continue
        differing = unequal(evidence.incumbent.runs, candidate.runs)
        if differing:
            raise DataError(
                f"the runs of {evidence.incumbent.model} and {candidate.model} were not made alike: "
                f"{differing_words(differing)}",
                code="agent-runs-differ",
                hint="compare runs that were made alike, or add --allow-different-agent: the result is then "
                "of models and agents together, and says nothing of either alone",
            )


def differing_words(differing: dict[str, tuple[str, str]]) -> str:
    """Return what differs in words."""
    return listed(tuple(f"{name.replace('_', ' ')} {a} and {b}" for name, (a, b) in differing.items()))


def _values(incumbent: AgentSetup, candidate: AgentSetup, name: str) -> tuple[str | None, str | None]:
    return getattr(incumbent, name), getattr(candidate, name)


def _compared(view: View, ours: AgentRuns, candidate: ModelColumns, theirs: AgentRuns) -> AgentComparison:
    models = (view.evidence.incumbent, candidate)
    b, c = (view.scores(model, errors_as_zero=True) for model in models)
    known = np.isfinite(b) & np.isfinite(c)
    mixed = [(known & (each > 0) & (each < 1)) for each in (b, c)]
    attempts = [_attempts(model)[known] for model in models]
    cost = [_per_solved(view, model, model.cost_usd, "USD/solved") for model in models]
    return AgentComparison(
        candidate=candidate.model,
        incumbent_runs=ours,
        candidate_runs=theirs,
        readings=tuple(_readings(view, models)),
        mixed=(int(mixed[0].sum()), int(mixed[1].sum())),
        informative=int((mixed[0] | mixed[1] | (known & (b != c))).sum()),
        usd_per_solved=(cost[0], cost[1]),
        seconds_per_solved=(
            _per_solved(view, models[0], models[0].latency_ms / 1000, "s/solved"),
            _per_solved(view, models[1], models[1].latency_ms / 1000, "s/solved"),
        ),
        plans=_plans(view, models, b[known], c[known], attempts),
    )


def _readings(view: View, models: tuple[ModelColumns, ModelColumns]) -> Iterator[AgentReading]:
    settings = view.settings
    names: tuple[Literal["failed", "left out"], ...] = ("failed", "left out")
    for unverified in names:
        b, c = (view.scores(model, errors_as_zero=unverified == "failed") for model in models)
        known = np.isfinite(b) & np.isfinite(c)
        clusters = view.clusters_of(known)
        b, c = b[known], c[known]
        difference = mean_interval(_POINTS * _by_cluster(c - b, clusters))
        kept = retention(b, c, settings.floor, settings.alpha, clusters)
        yield AgentReading(
            unverified=unverified,
            tasks=len(b),
            incumbent_solved=float(b.mean()) if len(b) else 0.0,
            candidate_solved=float(c.mean()) if len(c) else 0.0,
            difference_points=Estimate(
                value=difference.value,
                low=None if difference.low is None else max(difference.low, -_POINTS),
                high=None if difference.high is None else min(difference.high, _POINTS),
                level=difference.level,
                n=difference.n,
                unit="points",
                method="t, by task",
                reason=difference.reason,
                reason_code=difference.reason_code,
            ),
            retention=kept_share(kept),
        )


def _by_cluster(column: FloatColumn, clusters: np.ndarray | None) -> FloatColumn:
    """Return the mean of each cluster's rows; without clusters the column."""
    if clusters is None:
        return column
    _, which = np.unique(clusters, return_inverse=True)
    means: FloatColumn = np.bincount(which, column) / np.bincount(which)
    return means


def _attempts(model: ModelColumns) -> FloatColumn:
    return np.ones(len(model.score)) if model.calls is None else model.calls


def _per_solved(view: View, model: ModelColumns, spent: FloatColumn, unit: str) -> Estimate:
    """Return what all attempts took, divided by those that were solved."""
    return mean_cost(spent, per=view.scores(model, errors_as_zero=True), cluster=view.clusters, unit=unit)


def _plans(
    view: View,
    models: tuple[ModelColumns, ModelColumns],
    b: FloatColumn,
    c: FloatColumn,
    attempts: list[FloatColumn],
) -> tuple[AgentPlan, ...]:
    """Return what would certify the retention that was seen, if it is above the floor and open."""
    if len(b) < 2 or not b.mean() > 0:
        return ()
    seen, alpha = float(c.mean() / b.mean()), view.settings.alpha
    spread = trial_spread(b, c, attempts[0], attempts[1], view.settings.floor)
    if spread is None or seen <= view.settings.floor:
        return ()
    tasks, each = len(b), round(float(np.mean(attempts)))
    done = float(np.sum(attempts))
    usd = sum(float(np.average(model.cost_usd, weights=_attempts(model))) for model in models)
    plans = []
    more = spread.attempts_needed(seen, tasks=tasks, alpha=alpha, power=PLAN_POWER)
    if more is not None and more > each:
        plans.append(_plan("attempts", tasks, more, done, usd))
    wide = spread.tasks_needed(seen, attempts=max(each, 1), alpha=alpha, power=PLAN_POWER)
    if wide is not None and wide > tasks:
        plans.append(_plan("tasks", wide, max(each, 1), done, usd))
    return tuple(sorted(plans, key=lambda plan: plan.trials))


def _plan(
    more: Literal["attempts", "tasks"], tasks: int, attempts: int, done: float, usd: float
) -> AgentPlan:
    trials = max(round(2 * tasks * attempts - done), 0)
    return AgentPlan(
        more=more,
        tasks=tasks,
        attempts=attempts,
        trials=trials,
        usd=usd * trials / 2 if np.isfinite(usd) else None,
    )
