"""What a candidate must meet besides quality, checked against facts and against the run.

A measured requirement is met if its whole 95 % interval is within the limit, and missed if none of it
is. Otherwise it is unknown, and an unknown blocks a switch. Models must be on sale, and one that retires
before the verdict expires gets a warning.
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta

import numpy as np

from crossgrade.decide._agent_records import AgentTrials
from crossgrade.decide._evidence import FloatColumn, ModelColumns
from crossgrade.decide._records import Guard, ModelFacts, RequirementCheck
from crossgrade.decide._safety import safety_checks
from crossgrade.decide._view import View
from crossgrade.decide._words import count, error_rate, listed, percent
from crossgrade.domain import Requirements
from crossgrade.stats import proportion_interval, quantile_interval

AGENT_TRIALS = "agent trials"
VERIFIED_ROUTES = "verified-identity routes"

ON_SALE = "on sale when decided"
TERMS = "terms"
"""The check that licence and host allow the team to use a model."""


def missing_evidence(requirements: Requirements, facts: Iterable[ModelFacts] = ()) -> tuple[str, ...]:
    """Return the evidence that the workload needs before it may leave its incumbent at all.

    Trials of the team's agent with any candidate are such evidence, and each candidate is then held to its
    own. What the others need cannot be imported yet. A file's name proves nothing about its content, so
    nothing that a workload names shortens the list.
    """
    needed: dict[str, tuple[str, ...]] = {
        "plain": (),
        "agentic": () if any(each.trials is not None for each in facts) else (AGENT_TRIALS,),
        "regulated": requirements.documents or ("the documents this workload names",),
        "gated": (VERIFIED_ROUTES,),
    }
    return needed[requirements.evidence]


def check_requirements(view: View, now: datetime) -> tuple[RequirementCheck, ...]:
    """Return a check of every requirement of the workload for every candidate."""
    facts = {each.model: each for each in view.settings.facts}
    return tuple(
        check
        for model in view.evidence.candidates
        for check in (
            *_terms(view, model.model),
            *_checks(view, model, facts.get(model.model, ModelFacts(model=model.model)), now),
            *safety_checks(view, model.model),
            *_trials(view, model.model, facts.get(model.model), now),
        )
    )


def _terms(view: View, candidate: str) -> Iterator[RequirementCheck]:
    """Yield a check for each clause of licence or host that stands in the way of a candidate."""
    for clause in view.settings.clauses:
        if clause.model == candidate and clause.blocks:
            met = False if clause.severity == "forbidden" else None
            yield RequirementCheck(
                name=TERMS, candidate=candidate, met=met, seen=clause.words, wanted="allowed to you"
            )


def _trials(
    view: View, candidate: str, facts: ModelFacts | None, now: datetime
) -> Iterator[RequirementCheck]:
    """Yield the check of an agentic workload's trials of its agent with a candidate."""
    settings = view.settings
    if settings.requirements.evidence != "agentic" or missing_evidence(settings.requirements, settings.facts):
        return  # the workload stays anyway, and its verdict says what is missing
    trials = None if facts is None else facts.trials
    met: bool | None = None
    if trials is None:
        seen = (None if facts is None else facts.no_trials) or "no trials of the agent with this model"
    elif trials.unfit is not None:
        seen = trials.unfit
    elif trials.ran_on > now.date() + timedelta(days=1):  # a day ahead may be a time zone
        seen = f"the newest trial is said to be of {trials.ran_on}, which is still to come"
    elif now.date() >= (end := trials_end(trials, settings.valid_days)):
        seen = f"the newest trial is of {trials.ran_on}, and counts until {end}"
    else:
        met = True if trials.certified else False if trials.shown_below else None
        seen = trials.words
    yield RequirementCheck(
        name=AGENT_TRIALS,
        candidate=candidate,
        met=met,
        seen=seen,
        wanted=f"certified at a floor of {settings.floor:g} by trials of the agent",
    )


def trials_end(trials: AgentTrials, valid_days: int) -> date:
    """Return the first day on which trials no longer count."""
    return trials.ran_on + timedelta(days=valid_days)


def _checks(view: View, model: ModelColumns, facts: ModelFacts, now: datetime) -> Iterator[RequirementCheck]:
    wanted = view.settings.requirements

    def check(name: str, seen: str, limit: str, *, met: bool | None) -> RequirementCheck:
        return RequirementCheck(name=name, candidate=model.model, met=met, seen=seen, wanted=limit)

    if wanted.context_tokens is not None:
        tokens = facts.context_tokens
        met = None if tokens is None else tokens >= wanted.context_tokens
        yield check("context", _tokens(tokens), f"at least {wanted.context_tokens:,} tokens", met=met)
    if wanted.regions:
        met = None if facts.region is None else facts.region in wanted.regions
        yield check("region", facts.region or "not known", f"one of {listed(wanted.regions)}", met=met)
    if wanted.licences:
        met = None if facts.licence is None else facts.licence in wanted.licences
        yield check("licence", facts.licence or "not known", f"one of {listed(wanted.licences)}", met=met)
    on_sale = availability(facts, now)
    if on_sale is not None:
        yield check("availability", on_sale[1], ON_SALE, met=on_sale[0])
    for name, limit, column in (
        ("latency_p95_ms", wanted.latency_p95_ms, model.latency_ms),
        ("ttft_p95_ms", wanted.ttft_p95_ms, model.ttft_ms),
    ):
        if limit is not None:
            met, seen = _p95(column, limit)
            yield check(name, seen, f"at most {limit:,.0f} ms", met=met)
    if wanted.error_rate is not None:
        met, seen = _error_rate(view, model, wanted.error_rate)
        yield check("error_rate", seen, f"at most {error_rate(wanted.error_rate)}", met=met)


def _tokens(tokens: int | None) -> str:
    return "not known" if tokens is None else f"{tokens:,} tokens"


def _p95(column: FloatColumn, limit: float) -> tuple[bool | None, str]:
    """Return whether the 95th percentile is within the limit, and what was measured."""
    known = column[np.isfinite(column)]
    if not len(known):
        return None, "not measured"
    found = quantile_interval(known, 0.95)
    high = "unknown" if found.high is None else f"{found.high:,.0f}"
    low = "unknown" if found.low is None else f"{found.low:,.0f}"
    seen = f"{found.value:,.0f} ms [{low}, {high}]"
    return _within(found.low, found.high, limit), f"{seen} over {count(len(known), 'call')}"


def _error_rate(view: View, model: ModelColumns, limit: float) -> tuple[bool | None, str]:
    """Return whether the share of failed calls is within the limit, and what was measured."""
    asked = view.asked(model)
    n, failed = int(asked.sum()), int((asked & model.error).sum())
    if model.calls is not None and model.failed_calls is not None:
        n, failed = int(model.calls[asked].sum()), int(model.failed_calls[asked].sum())
    if not n:
        return None, "not measured"
    found = proportion_interval(failed, n)
    low, high = found.low, found.high
    seen = f"{percent(failed / n)} [{percent(low)}, {percent(high)}] of {count(n, 'call')} failed"
    return _within(low, high, limit), seen


def _within(low: float | None, high: float | None, limit: float) -> bool | None:
    """Return whether an interval lies within a limit (None if it straddles the limit or has no end)."""
    if high is not None and high <= limit:
        return True
    return False if low is not None and low > limit else None


def availability(facts: ModelFacts, now: datetime) -> tuple[bool, str] | None:
    """Return whether an offer is on sale at `now`, and the fact that says so (None if unknown)."""
    today = now.date()
    if facts.retires_on is not None:
        return facts.retires_on > today, f"retires on {facts.retires_on.isoformat()}"
    if facts.delisted_on is not None:
        seen = f"gone from the price catalogues since {facts.delisted_on.isoformat()}"
        return facts.delisted_on > today, seen
    return None


def retirement(view: View, now: datetime) -> Iterator[Guard]:
    """Yield a warning for each model that retires before the verdict expires; the verdict ends with it."""
    end = (now + timedelta(days=view.settings.valid_days)).date()
    incumbent = view.evidence.incumbent.model
    facts = {each.model: each for each in view.settings.facts}
    for model in (incumbent, *(each.model for each in view.evidence.candidates)):
        day = facts[model].retires_on if model in facts else None
        if day is None or day > end:
            continue
        seen = f"{model} retires on {day}, within the {view.settings.valid_days} days of a verdict"
        advice = "decide before that day which model answers then"
        if model == incumbent and day <= now.date():
            seen = f"{model} ended on {day}"
            advice = "name the model that answers in its place as `successor` of the route"
        yield Guard(
            name="retirement",
            status="warn",
            seen=seen,
            advice=advice,
            candidate=None if model == incumbent else model,
        )


def incumbent_gone_on(view: View, now: datetime) -> date | None:
    """Return the day on which the incumbent ended; None if it has not, as far as is known."""
    facts = {each.model: each for each in view.settings.facts}
    found = facts.get(view.evidence.incumbent.model)
    day = None if found is None else found.retires_on
    return day if day is not None and day <= now.date() else None
