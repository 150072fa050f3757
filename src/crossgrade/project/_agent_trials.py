"""Trials of the team's agent, as the evidence that an agentic workload requires of each candidate."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from crossgrade.domain import AgentTrialsSpec, Workload

if TYPE_CHECKING:
    from crossgrade.decide import AgentTrials, Verdict
    from crossgrade.workloads import ImporterKind, Results

_SHOWN = 5
"""Names of agents or models that a message has at most."""


def read_trials(workload: Workload, *, importers: "Mapping[str, ImporterKind]") -> "Results | None":
    """Return the trials that an agentic workload names, None for any other workload.

    Raises what `read_results` raises.
    """
    from crossgrade.workloads import read_results

    spec = workload.trials
    if workload.requirements.evidence != "agentic" or spec is None:
        return None
    return read_results(spec.path, columns=spec.columns, importers=importers)


def agent_trials(workload: Workload, trials: "Results | None", *, now: datetime) -> "dict[str, AgentTrials]":
    """Return what trials of the agent say of each candidate that has some, by the candidate's name.

    They are decided on by themselves, at the workload's floor and error rate: a policy then claims both what
    its answers and what the trials show. Without `trials` nothing is said. Raises what `pair` raises.
    """
    from crossgrade.decide import AgentTrials

    spec = workload.trials
    if trials is None or spec is None:
        return {}
    names = {offer: spec.models.get(offer, offer) for offer in _offers(workload)}
    verdict = _decided(workload, spec, names, trials, now)
    if verdict is None:
        return {}
    found = {}
    for candidate in (each.name for each in workload.candidates):
        one = next((each for each in verdict.certificates if each.candidate == names[candidate]), None)
        if one is None:
            continue
        kept = one.retention
        value = "unknown" if kept.value is None else f"{kept.value:.3f}"
        tasks = f"{kept.n:,} tasks of {spec.agent}"
        compared = next((each for each in verdict.agents if each.candidate == one.candidate), None)
        found[candidate] = AgentTrials(
            agent=spec.agent,
            agent_version=spec.agent_version,
            ran_on=spec.ran_on,
            certified=one.certified,
            shown_below=one.shown_below,
            words=f"it keeps {value} of what {names[workload.incumbent.name]} solves, over {tasks}",
            digest=verdict.evidence_digest,
            unfit=_unfit(verdict, one.candidate, spec),
            plans=() if compared is None else compared.plans,
        )
    return found


def other_trials(workload: Workload, trials: "Results | None") -> dict[str, str]:
    """Return which runs there are instead, for each candidate of which the trials have none that count."""
    from crossgrade.workloads import runs_of_agent

    spec = workload.trials
    if trials is None or spec is None:
        return {}
    own, source = runs_of_agent(trials, spec.agent), spec.path.name
    if not len(own):
        agents = _named(map(str, trials.labels["agent"].names.tolist()))
        return {
            each.name: f"{source} has runs of {agents}, none of {spec.agent}" for each in workload.candidates
        }
    present = {str(own.models.names[code]) for code in set(own.models.codes.tolist())}
    found = {}
    for each in workload.candidates:
        wanted = [spec.models.get(name, name) for name in (workload.incumbent.name, each.name)]
        lacking = [name for name in wanted if name not in present]
        if lacking:
            found[each.name] = (
                f"{source} has runs of {spec.agent} with {_named(present)}, none with {_named(lacking)}"
            )
    return found


def _named(names: Iterable[str]) -> str:
    known = sorted(names)
    more = [f"{len(known) - _SHOWN:,} more"] if len(known) > _SHOWN else []
    return ", ".join([*known[:_SHOWN], *more])


def _offers(workload: Workload) -> tuple[str, ...]:
    return tuple(variant.name for variant in (workload.incumbent, *workload.candidates))


def _decided(
    workload: Workload,
    spec: AgentTrialsSpec,
    names: Mapping[str, str],
    trials: "Results",
    now: datetime,
) -> "Verdict | None":
    """Return the verdict on the trials alone; None without any of both the incumbent and a candidate."""
    from crossgrade.decide import DecisionSettings, decide_policy
    from crossgrade.workloads import pair, runs_of_agent, select_runs

    incumbent = names[workload.incumbent.name]
    own = runs_of_agent(trials, spec.agent)
    present = {str(own.models.names[code]) for code in set(own.models.codes.tolist())}
    candidates = [names[each.name] for each in workload.candidates if names[each.name] in present]
    if incumbent not in present or not candidates:
        return None
    results, _, candidates = select_runs(trials, incumbent=incumbent, candidates=candidates, agent=spec.agent)
    evidence = pair(results, incumbent=incumbent, candidates=candidates)
    settings = DecisionSettings(
        floor=workload.floor, alpha=workload.alpha, agents_declared_equal=spec.declared_equal
    )
    return decide_policy(evidence, settings, now=now)


def _unfit(verdict: "Verdict", candidate: str, spec: AgentTrialsSpec) -> str | None:
    """Return why the trials carry no decision on a candidate, None if they do."""
    for guard in verdict.guards:
        if guard.status == "fail" and guard.candidate in (None, candidate):
            return f"{guard.name}: {guard.seen}"
    runs = next((each.candidate_runs for each in verdict.agents if each.candidate == candidate), None)
    version = None if runs is None else runs.setup.agent_version
    if spec.agent_version is not None and version != spec.agent_version:
        return f"the trials are of version {version or 'unknown'} of {spec.agent}, not {spec.agent_version}"
    return None
