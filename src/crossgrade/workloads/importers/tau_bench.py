"""Results of tau-bench and tau2-bench: conversations with a simulated user, scored by a reward."""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from crossgrade.domain import AgentSetup
from crossgrade.errors import DataError
from crossgrade.workloads._columns import Columns, settings_text
from crossgrade.workloads.files import as_text, decode_document, read_whole
from crossgrade.workloads.importers.request import ImportRequest
from crossgrade.workloads.importers.trials import (
    Trial,
    add_trials,
    chat_work,
    dollars,
    known,
    model_name,
)

# Such a conversation was never one that could be scored; tau2-bench leaves it out of its means.
_UNSCORED = {"infrastructure_error", "unexpected_error"}
_ENDED_WELL = {"agent_stop", "user_stop"}


class _Episode(msgspec.Struct):
    task_id: int | str
    reward: float | None = None
    trial: Annotated[int, msgspec.Meta(ge=0)] = 0
    info: Any = None
    traj: list[Any] | None = None


class _Reward(msgspec.Struct):
    reward: float | None = None


class _Simulation(msgspec.Struct):
    task_id: int | str
    id: str | None = None
    trial: Annotated[int, msgspec.Meta(ge=0)] | None = None
    reward_info: _Reward | None = None
    termination_reason: str | None = None
    agent_cost: float | None = None
    duration: float | None = None
    start_time: str | None = None
    messages: list[Any] | None = None


class _Agent(msgspec.Struct):
    implementation: str | None = None
    llm: str | None = None
    llm_args: dict[str, Any] | None = None


class _User(msgspec.Struct):
    llm: str | None = None


class _Environment(msgspec.Struct):
    domain_name: str | None = None


class _Info(msgspec.Struct):
    git_commit: str | None = None
    num_trials: int | None = None
    max_steps: int | None = None
    max_errors: int | None = None
    agent_info: _Agent = msgspec.field(default_factory=_Agent)
    user_info: _User = msgspec.field(default_factory=_User)
    environment_info: _Environment = msgspec.field(default_factory=_Environment)


class _Results(msgspec.Struct):
    simulations: list[_Simulation]
    info: _Info = msgspec.field(default_factory=_Info)
    tasks: list[msgspec.Raw] = []


def is_tau_bench(path: Path, head: bytes) -> bool:
    """Say whether a file holds the conversations of either release."""
    if path.is_dir():
        return False
    text = head.lstrip()
    if text.startswith(b"["):
        return all(mark in head for mark in (b'"task_id"', b'"reward"', b'"traj"'))
    return text.startswith(b"{") and b'"agent_info"' in head and b'"user_info"' in head


def read_tau_bench(request: ImportRequest, columns: Columns) -> None:
    """Import a file of either release; that of the first names no model.

    Raises `DataError` if no model is named, for a file of another shape, and for a run that has fewer
    conversations than were planned, unless unfinished ones are allowed.
    """
    data = read_whole(request.path, request.limits)
    if data.lstrip().startswith(b"["):
        episodes = decode_document(data, list[_Episode], path=request.path)
        add_trials(request, columns, [_episode(request, each) for each in episodes])
        return
    results = decode_document(data, _Results, path=request.path)
    _check_complete(request, results)
    add_trials(request, columns, [_simulation(request, results.info, each) for each in results.simulations])


def _episode(request: ImportRequest, episode: _Episode) -> Trial:
    failed = isinstance(episode.info, dict) and "error" in episode.info
    return Trial(
        task=str(episode.task_id),
        model=model_name(request, None),
        # A conversation that broke down is written with the reward 0.
        reward=None if failed else episode.reward,
        attempt=episode.trial + 1,
        name=f"{episode.task_id} {episode.trial}",
        failure="infrastructure_error" if failed else None,
        work=chat_work(episode.traj) if episode.traj else None,
    )


def _check_complete(request: ImportRequest, results: _Results) -> None:
    planned = len(results.tasks) * (results.info.num_trials or 1)
    if request.allow_unfinished or len(results.simulations) >= planned:
        return
    raise DataError(
        f"{len(results.simulations)} of {planned} conversations are there: the run did not end",
        code="run-not-successful",
        file=request.path,
        hint="run it again under the same name, which resumes it, or allow unfinished runs",
    )


def _simulation(request: ImportRequest, info: _Info, run: _Simulation) -> Trial:
    ended = run.termination_reason
    agent, domain = info.agent_info, info.environment_info.domain_name
    limits = known({"max_errors": info.max_errors, "max_steps": info.max_steps})
    settings = known({**(agent.llm_args or {}), "user": info.user_info.llm})
    return Trial(
        task=str(run.task_id),
        model=model_name(request, agent.llm),
        name=None if run.trial is None else f"{run.task_id} {run.trial}",
        attempt=None if run.trial is None else run.trial + 1,
        reward=None if run.reward_info is None else run.reward_info.reward,
        counts=ended not in _UNSCORED,
        setup=AgentSetup(
            agent=agent.implementation,
            agent_version=info.git_commit,
            dataset=None if domain is None else f"{domain}@{info.git_commit or 'unknown'}",
            limits=settings_text(limits) if limits else None,
        ),
        failure=None if ended in _ENDED_WELL else ended,
        settings=as_text(settings_text(settings)) if settings else None,
        cost_usd=dollars(run.agent_cost),
        seconds=run.duration,
        work=chat_work(run.messages) if run.messages else None,
        began=run.start_time or "",
    )
