"""Agents' runs in a report: both readings of each comparison, and what is known besides."""

import math
from collections.abc import Callable, Iterator

from crossgrade.decide import AgentComparison, AgentPlan, AgentReading, Verdict
from crossgrade.domain import AgentRuns, Estimate
from crossgrade.report import _format as fmt

_SHOWN_FAILURES = 4
_SHOWN_TOOLS = 4


def agent_head(verdict: Verdict) -> tuple[str, ...]:
    """Return the names of the columns, with the levels of the intervals below them."""
    readings = [reading for one in verdict.agents for reading in one.readings]
    difference, kept = (
        max((each.level for each in of if each.low is not None), default=None)
        for of in ([each.difference_points for each in readings], [each.retention for each in readings])
    )
    return (
        "candidate",
        "no verdict",
        "tasks",
        "incumbent solved",
        "candidate solved",
        f"difference{_at(difference)}",
        f"retention{_at(kept)}",
    )


def _at(level: float | None) -> str:
    return "" if level is None else f" ({_level(level)})"


def _level(level: float) -> str:
    return f"{round(100 * level, 2):g} %"


def agent_rows(verdict: Verdict) -> tuple[tuple[str, ...], ...]:
    """Return a row for each candidate and reading, below `agent_head`."""
    return tuple(_row(one, reading) for one in verdict.agents for reading in one.readings)


def agent_lines(verdict: Verdict) -> tuple[str, ...]:
    """Return what is known of the runs besides, in sentences."""
    return tuple(line for one in verdict.agents for line in _lines(verdict, one))


def _row(one: AgentComparison, reading: AgentReading) -> tuple[str, ...]:
    return (
        one.candidate,
        reading.unverified,
        f"{reading.tasks:,}",
        fmt.percent(reading.incumbent_solved),
        fmt.percent(reading.candidate_solved),
        _points(reading.difference_points),
        _kept(reading.retention),
    )


def _kept(found: Estimate) -> str:
    if found.value is None:
        return fmt.UNKNOWN
    text = fmt.ratio(found.value)
    if found.low is None or found.high is None:
        return text
    return f"{text} [{fmt.ratio(found.low)}, {fmt.ratio(found.high)}]"


def _points(found: Estimate) -> str:
    if found.value is None:
        return fmt.UNKNOWN
    text = f"{found.value:+.2f} points"
    if found.low is None or found.high is None:
        return text
    return f"{text} [{found.low:+.1f}, {found.high:+.1f}]"


def _lines(verdict: Verdict, one: AgentComparison) -> Iterator[str]:
    yield from (
        f"{model}: {_made(runs)}; {_trials(runs)}"
        for model, runs in ((verdict.incumbent, one.incumbent_runs), (one.candidate, one.candidate_runs))
    )
    for model, runs in ((verdict.incumbent, one.incumbent_runs), (one.candidate, one.candidate_runs)):
        if (work := _work_words(runs)) is not None:
            yield f"{model}: {work} a trial"
    tasks = one.readings[0].tasks
    yield (
        f"mixed tasks, neither always nor never solved: {one.mixed[0]} of {tasks} for {verdict.incumbent}, "
        f"{one.mixed[1]} for {one.candidate}; tasks that are mixed or tell the two apart: {one.informative}"
    )
    for what, (ours, theirs), show in (
        ("cost", one.usd_per_solved, fmt.money),
        ("time", one.seconds_per_solved, _seconds),
    ):
        if ours.value is not None or theirs.value is not None:
            shown = [_spent(each, show) for each in (ours, theirs)]
            yield (
                f"{what} of a solved task: {shown[0]} with {verdict.incumbent}, "
                f"{shown[1]} with {one.candidate}"
            )
    yield from (f"to certify what was seen (power 80 %): {_plan(plan)}" for plan in one.plans)


def _spent(found: Estimate, show: Callable[[float], str]) -> str:
    """Return what a solved task takes, with its interval, level and number of tasks."""
    if found.value is None:
        return fmt.UNKNOWN
    n = "" if found.n is None else f"n = {found.n:,}"
    if found.low is None or found.high is None:
        return show(found.value) + (f" ({n}, no interval)" if n else "")
    ends = ["∞" if math.isinf(end) else show(end) for end in (found.low, found.high)]
    known = ", ".join(filter(None, (_level(found.level), n)))
    return f"{show(found.value)} [{ends[0]}, {ends[1]}] ({known})"


def _work_words(runs: AgentRuns) -> str | None:
    """Return the answers and the calls of tools that a trial took in the mean, None if neither is known."""
    shown = []
    if runs.model_calls is not None:
        shown.append(f"{runs.model_calls:,.1f} answers of the model")
    if runs.tool_calls is not None:
        tools = ", ".join(f"{name} {number:,.1f}" for name, number in list(runs.tools.items())[:_SHOWN_TOOLS])
        shown.append(f"{runs.tool_calls:,.1f} tool calls" + (f" ({tools})" if tools else ""))
    return " and ".join(shown) or None


def _made(runs: AgentRuns) -> str:
    setup = runs.setup
    named = (("version", setup.agent_version), ("dataset", setup.dataset), ("limits", setup.limits))
    rest = ", ".join(f"{name} {_set(value)}" for name, value in named)
    return f"agent {setup.agent or 'unknown'}, {rest}"


def _set(value: str | None) -> str:
    return "unknown" if value is None else "none" if value == "{}" else value


def _trials(runs: AgentRuns) -> str:
    least, most = runs.attempts
    attempts = f"{least}" if least == most else f"{least} to {most}"
    text = f"{runs.trials:,} trials, {attempts} a task, {runs.without_verdict:,} without a verdict"
    if runs.cost_unknown:
        text += f", the cost of {runs.cost_unknown:,} unknown"
    shown = [f"{each.name} {each.trials:,} ({each.origin})" for each in runs.failures[:_SHOWN_FAILURES]]
    return text + (f"; failures: {', '.join(shown)}" if shown else "")


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def _plan(plan: AgentPlan) -> str:
    price = "" if plan.usd is None else f", about {fmt.money(plan.usd)}"
    return f"{plan.attempts} attempts at {plan.tasks:,} tasks, {plan.trials:,} more trials{price}"
