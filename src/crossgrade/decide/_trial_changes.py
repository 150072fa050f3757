"""Trials of the team's agent that would change a verdict, and what they cost."""

import math
from collections.abc import Iterator

import numpy as np

from crossgrade.decide._agent_records import TrialCost
from crossgrade.decide._records import Remark
from crossgrade.decide._requirements import AGENT_TRIALS
from crossgrade.decide._sentence import Findings
from crossgrade.decide._words import count
from crossgrade.pricing.saving import MAX_UNKNOWN_SHARE

WANTED_TRIALS = 400
"""Trials of each model that are proposed where there are none: 80 tasks of 5 attempts."""

_WANTED = (
    "run your agent with the incumbent and each candidate on the same tasks, alike in version and limits, "
    "and name the runs as `trials` of the workload. `crossgrade init --template coding-agent` writes a "
    "workload that runs such trials (guide: can-an-open-model-drive-our-agent). With an incumbent that "
    "solves 0.4 of the tasks, 80 tasks of 5 attempts (400 trials of each model) certify a retention of 0.95 "
    "at a floor of 0.85 in 38 % of cases, and `crossgrade plan SCORE --attempts 5` says how many would do."
)
_BASES = {
    "trials": "as its trials cost",
    "tokens": "at the tokens of its trials",
    "others": "at the tokens of trials with {of}",
    "log": "at the tokens of a run in the log",
}


def trial_changes(found: Findings) -> Iterator[Remark]:
    """Yield what trials of the agent would change the verdict, and what they cost."""
    if AGENT_TRIALS in found.missing:
        what = f"{AGENT_TRIALS[:1].upper()}{AGENT_TRIALS[1:]}"
        yield Remark("evidence-imported", f"{what} of your own: {_WANTED}")
        for candidate in found.view.evidence.candidates:
            yield from _cost_changes(found, candidate.model)
    yield from _more_changes(found)


def _more_changes(found: Findings) -> Iterator[Remark]:
    """Yield the further trials that would settle the candidates that trials leave open."""
    facts = {each.model: each for each in found.view.settings.facts}
    for check in found.checks:
        if check.name != AGENT_TRIALS or check.met is not None or found.missing:
            continue
        trials = facts[check.candidate].trials if check.candidate in facts else None
        plans = () if trials is None or trials.unfit is not None else trials.plans
        text = (
            f"Run trials of the agent with {check.candidate} and {found.incumbent}, on the same tasks and "
            f"alike in version and limits: {WANTED_TRIALS} trials of each, or as many as `crossgrade plan "
            "SCORE --attempts 5` says."
        )
        if plans:
            best = plans[0]
            price = "" if best.usd is None else f", about {_usd(best.usd)}"
            text = (
                f"{best.trials:,} more trials of the agent with {check.candidate} and the incumbent "
                f"({best.attempts} attempts at {best.tasks:,} tasks{price})."
            )
        yield Remark("trials-run", text, candidate=check.candidate, requirement=check.name)
        if not plans:
            yield from _cost_changes(found, check.candidate)


def more_tasks(found: Findings, candidate: str) -> str:
    """Return how to learn the number of tasks that an agent's runs lack, and what trials of them cost."""
    view = found.view
    models = (
        view.evidence.incumbent,
        next(each for each in view.evidence.candidates if each.model == candidate),
    )
    scores = view.scores(models[0], errors_as_zero=True)
    known = scores[np.isfinite(scores)]
    solved = float(known.mean()) if len(known) else 0.0
    runs = models[0].runs
    attempts = 1 if runs is None else max(runs.attempts[1], 1)
    # A plan needs a ratio between 0 and 1, and few tasks may show neither.
    planned = f"{solved:.2g}" if 0 < solved < 1 else "0.4"
    text = (
        f"Trials of more tasks: {count(len(known), 'task')} decide nothing. `crossgrade plan {planned} "
        f"--attempts {attempts}` says how many would do, for an incumbent that solves {planned} of them"
    )
    return f"{text}.{trials_price(found, candidate)}"


def trials_price(found: Findings, candidate: str, tasks: int | None = None) -> str:
    """Return how many trials some more tasks take, and what they cost, as a sentence after another one.

    Without a number of tasks it is what one trial costs, and as many as are proposed elsewhere. It is empty
    where no trials are compared.
    """
    evidence = found.view.evidence
    runs = evidence.incumbent.runs
    if runs is None:
        return ""
    models = (evidence.incumbent, next(each for each in evidence.candidates if each.model == candidate))
    costs = [each.cost_usd[np.isfinite(each.cost_usd)] for each in models]
    n = min(len(each) for each in costs)
    known = n >= (1 - MAX_UNKNOWN_SHARE) * evidence.n
    usd = sum(float(each.mean()) for each in costs) if n and known else None
    attempts = max(runs.attempts[1], 1)
    text = ""
    if tasks is not None:
        each = f"{count(attempts, 'attempt')} at each of {count(tasks, 'task')}"
        price = "" if usd is None else f", about {_usd(tasks * attempts * usd)}"
        text = f" With {each} these are {2 * tasks * attempts:,} trials of both models together{price}."
    if usd is None:
        return f"{text} What a trial costs is not known."
    text += f" A trial of each model costs {_usd(usd)} together (n = {count(n, 'task')})"
    if tasks is None:
        text += f", and {WANTED_TRIALS} of each cost about {_usd(WANTED_TRIALS * usd)}"
    return f"{text}."


def _cost_changes(found: Findings, candidate: str) -> Iterator[Remark]:
    """Yield what trials of both models cost, or how to learn it."""
    facts = {each.model: each.trial_cost for each in found.view.settings.facts}
    models = (found.incumbent, candidate)
    costs = [facts.get(model) for model in models]
    known = [each for each in costs if each is not None]
    said = [_each(model, cost) for model, cost in zip(models, costs, strict=True) if cost is not None]
    unknown = [model for model, cost in zip(models, costs, strict=True) if cost is None]
    learn = f"What a trial costs with {' and '.join(unknown)} is not known: ten trials show it."
    if not known:
        text = learn
    elif unknown:
        text = (
            f"{WANTED_TRIALS} trials cost about {_usd(WANTED_TRIALS * known[0].usd)} with {said[0]}. {learn}"
        )
    else:
        total = _usd(WANTED_TRIALS * sum(each.usd for each in known))
        text = (
            f"{WANTED_TRIALS} trials of each of {models[0]} and {models[1]} cost about {total}: "
            f"{said[0]}, {said[1]}."
        )
    yield Remark("trials-cost", text, candidate=candidate, requirement=AGENT_TRIALS)


def _each(model: str, cost: TrialCost) -> str:
    n = "" if cost.n is None else f", n = {cost.n:,}"
    return f"{_usd(cost.usd)} a trial with {model} ({_BASES[cost.basis].format(of=cost.of)}{n})"


def _usd(amount: float) -> str:
    if amount >= 100:
        return f"${amount:,.0f}"
    # As in a report: two digits, and three that matter where there are only cents.
    digits = 2 if amount >= 0.1 or amount == 0 else min(9, 2 - math.floor(math.log10(amount)))
    return f"${amount:,.{digits}f}"
