"""What a verdict says of agents' runs: both readings of missing verdicts, and what more would show."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

from crossgrade.domain import AgentRuns, Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReading:
    """What the trials say if those without a verdict count as `unverified` says.

    `tasks` are those with a trial of both models. Solved ratios are means over the tasks, in [0, 1],
    `difference_points` is 100 times the candidate's less the incumbent's, and `retention` their ratio. Their
    intervals are of the tasks, however many attempts each has.
    """

    unverified: Literal["failed", "left out"]
    tasks: int
    incumbent_solved: float
    candidate_solved: float
    difference_points: Estimate
    retention: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTrials:
    """What trials of a team's agent say of one candidate, as evidence that an agentic workload requires.

    They were decided on by themselves, at the floor and error rate of the workload: `certified`,
    `shown_below` or neither. `unfit` says in words why they carry no decision, None if they do. `ran_on` is
    the day of the newest trial, and `digest` that of the trials' evidence.
    """

    agent: str
    ran_on: date
    certified: bool
    shown_below: bool
    words: str
    digest: str
    agent_version: str | None = None
    unfit: str | None = None
    plans: tuple["AgentPlan", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCost:
    """What one trial of the team's agent with a model is taken to cost, in US dollars.

    It rests on what its own trials cost ("trials"), on its price and the tokens of its own trials ("tokens")
    or of those with the model `of` ("others"), or on its price and the tokens of a run in the log ("log").
    `n` counts the trials behind it, None where they are not counted.
    """

    usd: float
    basis: Literal["trials", "tokens", "others", "log"]
    of: str | None = None
    n: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPlan:
    """What would certify the retention that was seen, with power 0.8: `attempts` at each of `tasks`.

    `trials` counts those of both models that are still to run, and `usd` is what they cost at what the others
    cost, None if that is not known.
    """

    more: Literal["attempts", "tasks"]
    tasks: int
    attempts: int
    trials: int
    usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentComparison:
    """One candidate's runs beside the incumbent's.

    `mixed` counts the tasks that are neither always nor never solved, of the incumbent and of the candidate,
    and `informative` those that are mixed for either or differ: on the others both always, or both never
    succeed. What a solved task costs is what all trials cost, divided by the solved ones. `plans` has more
    attempts and more tasks, the cheaper first, where either would do.
    """

    candidate: str
    incumbent_runs: AgentRuns
    candidate_runs: AgentRuns
    readings: tuple[AgentReading, ...]
    mixed: tuple[int, int]
    informative: int
    usd_per_solved: tuple[Estimate, Estimate]
    seconds_per_solved: tuple[Estimate, Estimate]
    plans: tuple[AgentPlan, ...] = ()
