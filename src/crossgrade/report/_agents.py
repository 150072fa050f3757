"""Agents' runs in a report: both readings of each comparison, and what is known besides."""

from collections.abc import Iterator

from crossgrade.decide import AgentComparison, AgentPlan, AgentReading, Verdict
from crossgrade.domain import AgentRuns, Estimate
from crossgrade.report import _format as fmt

HEAD = ("candidate", "no verdict", "tasks", "incumbent", "solved", "difference", "retention")
_SHOWN_FAILURES = 4
_SHOWN_TOOLS = 4


def agent_rows(verdict: Verdict) -> tuple[tuple[str, ...], ...]:
    """Return a row for each candidate and reading, below `HEAD`."""
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
        fmt.estimate(reading.retention, reason=False),
    )


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
        f"{one.mixed[1]} for {one.candidate}; {one.informative} tell the two apart, or may"
    )
    for what, (ours, theirs), show in (
        ("cost", one.usd_per_solved, fmt.money),
        ("time", one.seconds_per_solved, _seconds),
    ):
        if ours.value is not None or theirs.value is not None:
            shown = [fmt.UNKNOWN if each.value is None else show(each.value) for each in (ours, theirs)]
            yield (
                f"{what} of a solved task: {shown[0]} with {verdict.incumbent}, "
                f"{shown[1]} with {one.candidate}"
            )
    yield from (f"to certify what was seen (power 80 %): {_plan(plan)}" for plan in one.plans)


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
    shown = [f"{each.name} {each.trials:,} ({each.origin})" for each in runs.failures[:_SHOWN_FAILURES]]
    return text + (f"; failures: {', '.join(shown)}" if shown else "")


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def _plan(plan: AgentPlan) -> str:
    price = "" if plan.usd is None else f", about {fmt.money(plan.usd)}"
    return f"{plan.attempts} attempts at {plan.tasks:,} tasks, {plan.trials:,} more trials{price}"
