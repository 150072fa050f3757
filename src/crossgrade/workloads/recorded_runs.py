"""Recorded runs of agents: what the model was asked at each step, and which tools it called there."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from crossgrade.dialects import CLIENTS, ClientName
from crossgrade.domain import ModelRequest, ToolCall
from crossgrade.errors import BadRequestError, DataError
from crossgrade.workloads._conversations import (
    Conversation,
    is_inspect,
    is_trajectory,
    read_inspect_runs,
    read_trajectories,
)
from crossgrade.workloads.files import FileLimits, as_text, first_bytes
from crossgrade.workloads.traffic import (
    LOG_FORMATS,
    LogFormat,
    LoggedRequest,
    Reading,
    ReadingOptions,
    log_files,
)
from crossgrade.workloads.traffic.drawing import client_api
from crossgrade.workloads.traffic.turns import inferred_session, stated_session, turns_of

_HEAD_BYTES = 64 * 1024
_MOST_STEPS = 10_000
"""Steps that are kept in memory at most, over all runs."""

_MOST_STEPS_OF_RUN = 2_000
"""Steps of one run. Each request to the model has all messages before it, so that asking takes time by their
square."""

_MESSAGE = ("role", "content", "tool_calls", "tool_call_id")
_SETTINGS = (
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "tool_choice",
    "parallel_tool_calls",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStep:
    """A call of the model in a run: the request, and the tools that it called (none: it answered)."""

    request: ModelRequest
    calls: tuple[ToolCall, ...]
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """A run of an agent with a model (None: unknown), step by step in their order."""

    id: str
    model: str | None
    steps: tuple[RecordedStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRuns:
    """The runs that were drawn of `found`; `left_out` counts those that cannot be replayed, by cause."""

    runs: tuple[RecordedRun, ...]
    found: int
    left_out: Mapping[str, int]


class _UnfitError(Exception):
    """A run cannot be replayed; its text is the cause."""


def read_recorded_runs(
    sources: Sequence[str | Path],
    *,
    most: int,
    seed: int = 1,
    formats: Mapping[str, LogFormat] = LOG_FORMATS,
    limits: FileLimits | None = None,
) -> RecordedRuns:
    """Read runs from logs of requests, trajectories in ATIF (also a job of Harbor) or logs of Inspect.

    In a log of requests a run is a session, of which the log has the messages and the answers. `most` runs
    are drawn at random by `seed`. A run is left out if it calls no tool, if its tools are not defined, or if
    a request of it cannot be carried to another API.

    Raises `DataError` for sources that cannot be read, and if no run can be replayed.
    """
    bounds, runs, left = limits or FileLimits(), list[RecordedRun](), Counter[str]()
    logs, drawn = list[str | Path](), list[Conversation]()
    for source in sources:
        path = Path(source)
        head = first_bytes(path, _HEAD_BYTES) if path.is_file() else b""
        if is_trajectory(path, head):
            drawn += read_trajectories(path, bounds)
        elif is_inspect(path, head):
            drawn += read_inspect_runs(path, bounds)
        else:
            logs.append(source)
    random.Random(seed).shuffle(drawn)  # noqa: S311 -- draws runs, no secrets
    found = len(drawn)
    for conversation in drawn:
        if len(runs) < most:
            _keep(runs, left, lambda each=conversation: _of_conversation(each))
    if logs:
        found += _take_logs(logs, runs, left, most=most, seed=seed, formats=formats)
    if not runs:
        causes = ", ".join(f"{cause}: {n:,}" for cause, n in left.most_common()) or "there are none"
        raise DataError(
            f"no recorded run can be replayed ({causes})",
            code="runs-not-replayable",
            file=Path(sources[0]) if sources else None,
            hint="give logs of requests with messages, tools and answers, trajectories in ATIF with "
            "`tool_definitions`, or logs of Inspect",
        )
    return RecordedRuns(runs=tuple(runs), found=found, left_out=dict(left))


def _keep(runs: list[RecordedRun], left: Counter[str], read: Any) -> None:
    try:
        runs.append(read())
    except _UnfitError as error:
        left[str(error)] += 1


def _of_conversation(found: Conversation) -> RecordedRun:
    answers = [at for at, message in enumerate(found.messages) if message.get("role") == "assistant"]
    whole = cache(lambda: _asked(found, 0, answers[-1]))

    def request(at: int) -> ModelRequest:
        _asked(found, at - 1, at)  # what was said last can be answered
        return replace(whole(), messages=whole().messages[:at])

    steps: list[_Step] = []
    for number, at in enumerate(answers):
        calls = found.messages[at].get("tool_calls") if found.actions is None else found.actions[number]
        if at:
            steps.append((partial(request, at), calls or (), None))
    return _run(found.id, found.model, steps)


def _asked(found: Conversation, begin: int, end: int) -> ModelRequest:
    """Return a part of a conversation as a request; each of its messages is one of the request's."""
    messages = list(found.messages[begin:end])
    return _request({"model": "recorded", "messages": messages, "tools": list(found.tools)}, "openai")


def _request(body: Mapping[str, Any], api: ClientName) -> ModelRequest:
    """Return a request in an API. Raises `_UnfitError` if it cannot be carried to others."""
    try:
        return CLIENTS[api].read_request(msgspec.json.encode(body), drop=True).request
    except BadRequestError as error:
        raise _UnfitError(f"a request cannot be carried to other APIs ({error.code})") from error


def _take_logs(
    sources: Sequence[str | Path],
    runs: list[RecordedRun],
    left: Counter[str],
    *,
    most: int,
    seed: int,
    formats: Mapping[str, LogFormat],
) -> int:
    """Add the runs of logs of requests, and return how many there are.

    The log is read twice: for the sessions in which tools are called, and for the requests of those drawn.
    """
    files, options = log_files(sources), ReadingOptions(formats=formats)
    called: dict[int, None] = {}
    for _, request in Reading(files=files, options=options).requests():
        if (session := _session(request)) and request.tool_calls:
            called[session] = None
    sessions = list(called)
    random.Random(seed).shuffle(sessions)  # noqa: S311 -- draws runs, no secrets
    # Some cannot be replayed, so that more are read than are wanted.
    wanted = set(sessions[: 2 * most])
    requests: defaultdict[int, list[LoggedRequest]] = defaultdict(list)
    kept = 0
    for _, request in Reading(files=files, options=options).requests():
        session = _session(request)
        if session in wanted and kept < _MOST_STEPS and _is_whole(request):
            requests[session].append(request)
            kept += 1
    for session in sessions:
        if requests.get(session) and len(runs) < most:
            found = sorted(requests[session], key=lambda each: each.started_at or 0.0)
            _keep(runs, left, lambda each=found: _of_requests(each))
    return len(sessions)


def _session(request: LoggedRequest) -> int:
    if request.failed or not request.messages:
        return 0
    return stated_session(request.session) or inferred_session(request, turns_of(request.messages))


def _is_whole(request: LoggedRequest) -> bool:
    return request.completion is not None or bool(request.tool_calls)


def _of_requests(requests: Sequence[LoggedRequest]) -> RecordedRun:
    steps: list[_Step] = []
    for request in requests:
        body = request.body or {}
        api = client_api(request)
        if api == "anthropic" or (api == "openai-responses" and "input" in body):
            asked = {**body, "model": "recorded", "stream": False}
        else:
            api = "openai"
            asked = {name: body[name] for name in _SETTINGS if body.get(name) is not None}
            asked |= {"model": "recorded", "messages": list(_plain(request.messages or ()))}
            asked["tools"] = [_tool(each) for each in request.tools or ()]
        steps.append((partial(_request, asked, api), request.tool_calls or (), request.output))
    first = requests[0]
    return _run(first.session or first.id or "unnamed", first.model, steps)


def _plain(messages: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield messages with the fields that a request has; loggers add others of their own."""
    for message in messages:
        if not isinstance(message, Mapping):
            raise _UnfitError("a message is no object")
        yield {name: message[name] for name in _MESSAGE if message.get(name) is not None}


def _tool(tool: Any) -> Any:
    """Return the definition of a tool as OpenAI's chat API has it, also one that stands without its type."""
    if isinstance(tool, Mapping) and "function" not in tool and "name" in tool:
        shape = tool.get("parameters") or tool.get("input_schema")
        named = {"name": tool["name"], "description": tool.get("description") or "", "parameters": shape}
        return {"type": "function", "function": named}
    return tool


_Step: TypeAlias = tuple[Callable[[], ModelRequest], Any, int | None]
"""What reads the request of a step, the calls that were made there, and the tokens of the answer."""


def _run(name: str, model: str | None, steps: Sequence[_Step]) -> RecordedRun:
    """Return a run of requests with the calls that were made. Raises `_UnfitError`."""
    if not any(calls for _, calls, _ in steps):
        raise _UnfitError("no tool is called")
    if len(steps) > _MOST_STEPS_OF_RUN:
        raise _UnfitError(f"more than {_MOST_STEPS_OF_RUN:,} steps")
    found: list[RecordedStep] = []
    for read, calls, output in steps:
        request = read()
        if calls and not request.tools:
            raise _UnfitError("the tools are not defined")
        if found:
            request = _shared(request, found[-1].request)
        found.append(RecordedStep(request=request, calls=tuple(map(_call, calls)), output_tokens=output))
    return RecordedRun(id=name, model=model, steps=tuple(found))


def _shared(request: ModelRequest, last: ModelRequest) -> ModelRequest:
    """Return the same request with the parts that the last one has too: a long run is kept once."""
    n = min(len(request.messages), len(last.messages))
    same = [
        theirs if ours is theirs or ours == theirs else ours
        for ours, theirs in zip(request.messages[:n], last.messages[:n], strict=True)
    ]
    tools = last.tools if request.tools == last.tools else request.tools
    return replace(request, messages=(*same, *request.messages[n:]), tools=tools)


def _call(call: Any) -> ToolCall:
    given = call if isinstance(call, Mapping) else {}
    function = given.get("function")
    inner = function if isinstance(function, Mapping) else given
    arguments = inner.get("arguments")
    written = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments or {}).decode()
    return ToolCall(
        id=as_text(given.get("id")) or "", name=as_text(inner.get("name")) or "", arguments=written
    )
