"""Trials of agents: one run of one agent on one task, as every importer of such runs reads it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from crossgrade.domain import AgentSetup, AgentWork, ScoredAnswer, Usage, failure_label
from crossgrade.domain.agents import FailureOrigin
from crossgrade.errors import DataError
from crossgrade.workloads._columns import Columns
from crossgrade.workloads.importers.request import ImportRequest

NO_VERDICT = "no_verdict"
"""The name of what kept a verdict away where the harness names nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial as its harness wrote it.

    `reward` None: no verdict, or one that does not count (`counts` False) because something around the agent
    failed. `failure` is the harness's name of what failed. `attempt` is the number of the run of this task
    from 1, None if the harness does not count them: they are then numbered in the order of `began`.
    """

    task: str
    model: str
    reward: float | None
    name: str | None = None
    attempt: int | None = None
    setup: AgentSetup = field(default_factory=AgentSetup)
    counts: bool = True
    failure: str | None = None
    failure_origin: FailureOrigin | None = None
    task_digest: str | None = None
    settings: str | None = None
    usage: Usage = field(default_factory=Usage)
    cost_usd: Decimal | None = None
    seconds: float | None = None
    work: AgentWork | None = None
    began: str = ""


def add_trials(request: ImportRequest, columns: Columns, trials: Sequence[Trial]) -> None:
    """Append trials as answers, one task a sample and one attempt an epoch; each dataset is a workload.

    Raises `DataError` if one trial stands there twice.
    """
    _check_once(request.path, trials)
    attempts: Counter[tuple[str, AgentSetup, str]] = Counter()
    by_dataset: dict[str | None, list[ScoredAnswer]] = {}
    for trial in sorted(trials, key=lambda each: each.began):
        key = (trial.model, trial.setup, trial.task)
        attempts[key] += 1
        answer = _answer(trial, attempts[key] if trial.attempt is None else trial.attempt)
        by_dataset.setdefault(trial.setup.dataset, []).append(answer)
    for dataset, answers in by_dataset.items():
        columns.add(answers, workload=dataset)


def _answer(trial: Trial, attempt: int) -> ScoredAnswer:
    score = trial.reward if trial.counts else None
    failure = failure_label(trial.failure, trial.failure_origin)
    if score is None and failure is None:
        failure = failure_label(NO_VERDICT)
    return ScoredAnswer(
        sample_id=trial.task,
        model=trial.model,
        score=score,
        epoch=attempt,
        error=failure if score is None else None,
        failure=failure,
        setup=trial.setup,
        prompt_digest=trial.task_digest,
        settings_digest=trial.settings,
        usage=trial.usage,
        cost_usd=trial.cost_usd,
        latency_ms=None if trial.seconds is None else trial.seconds * 1000,
        work=trial.work,
    )


def _check_once(path: Path, trials: Iterable[Trial]) -> None:
    seen = Counter(trial.name for trial in trials if trial.name is not None)
    twice = [name for name, number in seen.items() if number > 1]
    if twice:
        raise DataError(
            f"trials stand there more than once: {len(twice)}, of which {twice[0]} is the first",
            code="trials-repeated",
            file=path,
            hint="remove the copies: each would count as one more attempt",
        )


def model_name(request: ImportRequest, named: str | None) -> str:
    """Return the model of a trial: as the user calls it, or as the harness does.

    Raises `DataError` if neither names one.
    """
    model = request.model or named
    if not model:
        raise DataError(
            "the runs name no model",
            code="model-not-named-in-results",
            file=request.path,
            hint="name it: `MODEL=PATH`",
        )
    return model


def seconds_between(started: str | None, finished: str | None) -> float | None:
    """Return the seconds between two times in ISO 8601; None if either is missing, or they are no times."""
    if not started or not finished:
        return None
    try:
        found = (datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds()
    except (ValueError, TypeError):
        return None
    return found if found >= 0 else None


def dollars(value: float | None) -> Decimal | None:
    """Return a cost as it is written, None for what is no amount."""
    try:
        found = None if value is None else Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() and found >= 0 else None


def chat_work(messages: Iterable[object]) -> AgentWork:
    """Return what an agent did, from the messages of its conversation.

    A call of a tool names it as OpenAI does (`function.name`), as Inspect does (`function`) or in `name`.
    """
    answers, tools = 0, Counter[str]()
    for message in messages:
        if not isinstance(message, Mapping) or message.get("role") != "assistant":
            continue
        answers += 1
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            tools[_tool_name(call)] += 1
    return AgentWork(model_calls=answers, tools=dict(tools))


def _tool_name(call: object) -> str:
    named = call if isinstance(call, Mapping) else {}
    function = named.get("function")
    name = function.get("name") if isinstance(function, Mapping) else function or named.get("name")
    return name if isinstance(name, str) and name else "unknown"


def known(values: Mapping[str, object]) -> dict[str, object]:
    """Return the values that are there."""
    return {name: value for name, value in values.items() if value not in (None, [], {})}
