"""Jobs of Harbor: a folder with `result.json` of the job, and one of each trial in a folder below it."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from crossgrade.domain import AgentSetup, AgentWork, Usage, failure_label, read_failure
from crossgrade.errors import DataError
from crossgrade.workloads._columns import Columns, settings_text
from crossgrade.workloads.files import as_number, decode_document, files_below, first_bytes, read_whole
from crossgrade.workloads.importers.atif import Trajectory, read_trajectory
from crossgrade.workloads.importers.request import ImportRequest
from crossgrade.workloads.importers.trials import (
    Trial,
    add_trials,
    dollars,
    known,
    model_name,
    seconds_between,
)

RESULT = "result.json"
_TRAJECTORY = Path("agent", "trajectory.json")
_MOST_LEVELS = 3
_SEVERAL = 2
"""Rewards of a trial from which on it is not known of which one a job states the mean."""

_PATTERNS = (RESULT, f"*/{RESULT}", f"*/*/{RESULT}")
_MARKS = (b'"n_total_trials"', b'"trial_name"')
_HEAD_BYTES = 64 * 1024
# What an agent takes as a limit; the rest of its arguments are its settings.
_LIMITS = frozenset(
    ("max_episodes", "max_input_tokens", "max_iterations", "max_steps", "max_tokens", "max_turns", "timeout")
)

T = TypeVar("T")


class _Named(msgspec.Struct):
    name: str
    version: str | None = None
    model_info: "_Named | None" = None


class _AgentResult(msgspec.Struct):
    n_input_tokens: int | None = None
    n_cache_tokens: int | None = None
    n_output_tokens: int | None = None
    cost_usd: float | None = None


class _VerifierResult(msgspec.Struct):
    rewards: dict[str, float | None] | None = None


class _Policy(msgspec.Struct):
    has_valid_reward: bool = True


class _Exception(msgspec.Struct):
    exception_type: str
    policy: _Policy | None = None


class _Timing(msgspec.Struct):
    started_at: str | None = None
    finished_at: str | None = None


class _AgentConfig(msgspec.Struct):
    model_name: str | None = None
    override_timeout_sec: float | None = None
    max_timeout_sec: float | None = None
    kwargs: dict[str, Any] = {}


class _TrialConfig(msgspec.Struct):
    agent: _AgentConfig = msgspec.field(default_factory=_AgentConfig)
    timeout_multiplier: float | None = None
    agent_timeout_multiplier: float | None = None


class _Result(msgspec.Struct):
    task_name: str
    trial_name: str
    agent_info: _Named
    id: str = ""
    task_checksum: str | None = None
    source: str | None = None
    config: _TrialConfig = msgspec.field(default_factory=_TrialConfig)
    agent_result: _AgentResult | None = None
    verifier_result: _VerifierResult | None = None
    exception_info: _Exception | None = None
    started_at: str | None = None
    finished_at: str | None = None
    agent_execution: _Timing | None = None
    reward_valid: bool | None = None


class _Kind(msgspec.Struct):
    trial_name: str | None = None


class _EvalStats(msgspec.Struct):
    metrics: list[dict[str, Any]] = []


class _Stats(msgspec.Struct):
    evals: dict[str, _EvalStats] = {}
    n_completed_trials: int | None = None
    n_running_trials: int = 0
    n_pending_trials: int = 0


class _Job(msgspec.Struct):
    n_total_trials: int
    finished_at: str | None = None
    stats: _Stats = msgspec.field(default_factory=_Stats)


def is_harbor(path: Path, head: bytes) -> bool:
    """Say whether a folder is a job, a trial or a folder of jobs, or a file the result of one."""
    if not path.is_dir():
        return path.name == RESULT and any(mark in head for mark in _MARKS)
    found = (each for pattern in _PATTERNS for each in path.glob(pattern) if each.is_file())
    first = next(found, None)
    if first is None:
        return False
    beginning = first_bytes(first, _HEAD_BYTES)
    return any(mark in beginning for mark in _MARKS)


def read_harbor(request: ImportRequest, columns: Columns) -> None:
    """Import the trials of a job, of one trial, or of every job in a folder.

    The verdict of a trial that an API, the environment or the verifier failed does not count, as in Harbor
    itself. Tokens that the agent did not report come from its trajectory, unless that is too large to read.

    Raises `DataError` for a job that is still running or was cut off, unless unfinished ones are allowed,
    or of which trials are missing, for a link out of it, and for a trial that stands there twice.
    """
    folder = request.path if request.path.is_dir() else request.path.parent
    trials: list[Trial] = []
    models: set[str] = set()
    jobs: dict[Path, _Job] = {}
    found: Counter[Path] = Counter()
    evals: defaultdict[tuple[Path, str], list[Trial]] = defaultdict(list)
    for path in files_below(folder, RESULT, levels=_MOST_LEVELS):
        data = read_whole(path, request.limits)
        # Most files are of trials: only what looks like a job is decoded to see whether it is one.
        if _MARKS[0] in data and decode_document(data, _Kind, path=path).trial_name is None:
            jobs[path.parent] = decode_document(data, _Job, path=path)
            _check_finished(request, path, jobs[path.parent])
            continue
        result = decode_document(data, _Result, path=path)
        models.add(str(_named_model(result)))
        trials.append(_trial(request, path, result, columns))
        found[path.parent.parent] += 1
        if len((result.verifier_result or _VerifierResult()).rewards or ()) < _SEVERAL:
            evals[path.parent.parent, _eval_key(result)].append(trials[-1])
    for folder_of_job, job in jobs.items():
        _check_whole(request, folder_of_job, job, found[folder_of_job])
    request.check_models(models)
    add_trials(request, columns, trials)
    for (within, key), members in evals.items():
        mean = _stated_mean(jobs[within].stats.evals.get(key)) if within in jobs else None
        if mean is not None:
            columns.state(members[0].model, mean, len(members))


def _eval_key(result: _Result) -> str:
    """Return under which name a job sums up the trials of an agent, a model and a dataset."""
    info = result.agent_info.model_info
    parts = (result.agent_info.name, None if info is None else info.name, result.source or "adhoc")
    return "__".join(each for each in parts if each)


def _stated_mean(stats: _EvalStats | None) -> float | None:
    """Return the mean reward that a job states, None if it states none, or several metrics."""
    metrics = [] if stats is None else stats.metrics
    return as_number(metrics[0].get("mean")) if len(metrics) == 1 else None


def _check_finished(request: ImportRequest, path: Path, job: _Job) -> None:
    done = job.stats.n_completed_trials
    left = job.n_total_trials - done if done is not None else job.stats.n_pending_trials
    if request.allow_unfinished or (job.finished_at is not None and left <= 0):
        return
    raise DataError(
        f"the job is not finished: {max(left, 0)} of {job.n_total_trials} trials are still to come",
        code="run-not-successful",
        file=path,
        hint="finish it with `harbor jobs resume`, or allow unfinished runs (--allow-unfinished)",
    )


def _check_whole(request: ImportRequest, folder: Path, job: _Job, found: int) -> None:
    """Raise `DataError` if trials of a job are gone: what is left may be what somebody chose."""
    done = job.stats.n_completed_trials
    stated = job.n_total_trials if done is None or not request.allow_unfinished else done
    if found < stated and not (request.allow_unfinished and done is None):
        raise DataError(
            f"the job had {stated} trials, and the results of {stated - found} are not there",
            code="trials-missing",
            file=folder / RESULT,
            hint="copy the whole folder of the job, or run it again",
        )


def _named_model(result: _Result) -> str | None:
    info = result.agent_info.model_info
    return info.name if info is not None else result.config.agent.model_name


def _trial(request: ImportRequest, path: Path, result: _Result, columns: Columns) -> Trial:
    config, agent = result.config, result.agent_info
    limits = {
        "agent_timeout_multiplier": config.agent_timeout_multiplier or config.timeout_multiplier,
        "max_timeout_s": config.agent.max_timeout_sec,
        "timeout_s": config.agent.override_timeout_sec,
        **{name: value for name, value in config.agent.kwargs.items() if name in _LIMITS},
    }
    settings = known({k: v for k, v in config.agent.kwargs.items() if k not in _LIMITS})
    failed = result.exception_info
    trajectory = read_trajectory(path.parent / _TRAJECTORY, request.limits)
    columns.unread += trajectory is None and os.path.lexists(path.parent / _TRAJECTORY)
    usage, cost, work = _spent(result.agent_result or _AgentResult(), trajectory)
    ran = result.agent_execution or _Timing(result.started_at, result.finished_at)
    return Trial(
        task=result.task_name,
        # Harbor's own oracle and no-op agents ask no model.
        model=model_name(request, _named_model(result) or agent.name),
        name=f"{result.trial_name} {result.id}".strip(),
        reward=_reward(request, result),
        counts=_counts(result),
        setup=AgentSetup(
            agent=agent.name,
            agent_version=agent.version if agent.version != "unknown" else None,
            dataset=result.source,
            limits=settings_text(known(limits)),
        ),
        failure=None if failed is None else failed.exception_type,
        task_digest=result.task_checksum,
        settings=settings_text(settings) if settings else None,
        usage=usage,
        cost_usd=dollars(cost),
        seconds=seconds_between(ran.started_at, ran.finished_at),
        work=work,
        began=f"{result.started_at or ''} {result.trial_name}",
    )


def _counts(result: _Result) -> bool:
    """Say whether the reward counts: by the trial, or by the policy of what failed.

    Releases up to 0.9 have neither. There the reward does not count if what is around the agent failed, which
    is the policy of later ones.
    """
    if result.reward_valid is not None:
        return result.reward_valid
    failed = result.exception_info
    if failed is None or failed.policy is not None:
        return failed is None or failed.policy is None or failed.policy.has_valid_reward
    return read_failure(failure_label(failed.exception_type) or "unknown:")[0] in {"agent", "unknown"}


def _reward(request: ImportRequest, result: _Result) -> float | None:
    found: Mapping[str, float | None] = (result.verifier_result or _VerifierResult()).rewards or {}
    if not found:
        return None
    name = "reward" if "reward" in found and request.metric is None else request.choose(found, "reward")
    return as_number(found.get(name))


def _spent(
    result: _AgentResult, trajectory: Trajectory | None
) -> tuple[Usage, float | None, AgentWork | None]:
    """Return tokens and cost as the agent reported them, or as its trajectory has them, and its work."""
    usage = Usage(
        input_tokens=result.n_input_tokens,
        output_tokens=result.n_output_tokens,
        cache_read_input_tokens=result.n_cache_tokens,
    )
    if trajectory is None:
        return usage, result.cost_usd, None
    cost = trajectory.cost_usd if result.cost_usd is None else result.cost_usd
    return usage if usage.input_tokens is not None else trajectory.usage, cost, trajectory.work
