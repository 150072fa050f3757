"""Guards on agents' runs: what they were made with, and errors that take the place of verdicts."""

from collections.abc import Iterator

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._agents import differing_words, unequal, unknown_fields
from crossgrade.decide._guard_tests import finding
from crossgrade.decide._records import Guard
from crossgrade.decide._view import View
from crossgrade.decide._words import count, listed, percent
from crossgrade.domain import AgentRuns


def agent_parity(view: View) -> Iterator[Guard]:
    """Runs of different agents say nothing about models, and an unknown agent may be another one."""
    ours = view.evidence.incumbent.runs
    for candidate in view.evidence.candidates:
        theirs = candidate.runs
        if ours is None and theirs is None:
            continue
        if ours is None or theirs is None:
            which = candidate.model if theirs is None else view.evidence.incumbent.model
            yield finding(
                "agent-parity",
                f"nothing is known of the agent whose runs {which} has",
                "import both models' runs from their harness, which names the agent",
                fail=True,
                candidate=candidate.model,
            )
            continue
        yield _parity(view, candidate.model, ours, theirs)


def _parity(view: View, candidate: str, ours: AgentRuns, theirs: AgentRuns) -> Guard:
    differing = unequal(ours, theirs)
    all_unknown = unknown_fields(ours, theirs)
    unknown = [name for name in all_unknown if name not in view.settings.agents_declared_equal]
    allowed = view.settings.different_agents
    made = f"{ours.setup.agent or 'unknown'} {ours.setup.agent_version or 'of unknown version'}"
    seen = f"both models were run by {made}"
    if differing:
        seen = f"the runs differ in {differing_words(differing)}"
        if allowed:
            seen += "; what moves are model and agent together, and nothing is said of either alone"
    elif unknown:
        seen = f"not known of both models' runs: {listed(tuple(each.replace('_', ' ') for each in unknown))}"
    declare = " ".join(f"--declare-equal {each.replace('_', '-')}" for each in all_unknown)
    return finding(
        "agent-parity",
        seen,
        "run both models with the same agent, version and limits on the same tasks"
        if differing
        else f"if you know that they are the same, say so: `{declare}`",
        fail=bool(differing and not allowed) or bool(unknown),
        warn=bool(differing),
        candidate=candidate,
    )


def unverified_trials(view: View) -> Iterator[Guard]:
    """Where one error takes verdicts away, the runs speak of that error and not of the model."""
    for model in (view.evidence.incumbent, *view.evidence.candidates):
        runs = model.runs
        if runs is None or not runs.trials:
            continue
        share = runs.without_verdict / runs.trials
        worst = max(runs.failures, key=lambda each: each.without_verdict, default=None)
        seen = f"{model.model}: {runs.without_verdict:,} of {count(runs.trials, 'trial')} have no verdict"
        dominant = worst is not None and worst.without_verdict > limits.DOMINANT_ERROR * runs.without_verdict
        if worst is not None and worst.without_verdict:
            seen += (
                f", {worst.without_verdict:,} of them for `{worst.name}` "
                f"({percent(worst.without_verdict / runs.trials)} of all)"
            )
        loses = worst is not None and worst.without_verdict > limits.UNVERIFIED_FAIL * runs.trials
        yield finding(
            "unverified-trials",
            seen,
            "mend what failed and run these trials again; until then read both figures, with such trials "
            "left out and as failures",
            fail=dominant and loses,
            warn=share > limits.UNVERIFIED_WARN,
            candidate=None if model is view.evidence.incumbent else model.model,
        )


def attempts_differ(view: View) -> Iterator[Guard]:
    """Models with unequal numbers of attempts were not tried equally hard."""
    ours = view.evidence.incumbent.runs
    for candidate in view.evidence.candidates:
        theirs = candidate.runs
        if ours is None or theirs is None:
            continue
        same = ours.attempts == theirs.attempts and ours.attempts[0] == ours.attempts[1]
        yield finding(
            "attempts-differ",
            f"{_attempts(ours)} of the incumbent, {_attempts(theirs)} of {candidate.model}",
            "run the missing attempts: those that are missing may be the ones that failed",
            warn=not same,
            candidate=candidate.model,
        )


def _attempts(runs: AgentRuns) -> str:
    least, most = runs.attempts
    return f"{count(least, 'attempt')} a task" if least == most else f"{least} to {most} attempts a task"
