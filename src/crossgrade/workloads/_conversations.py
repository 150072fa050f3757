"""Conversations of agents in trajectories (ATIF) and logs of Inspect, as messages with calls of tools."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from crossgrade.workloads.files import (
    FileLimits,
    ZipArchive,
    as_text,
    decode_document,
    files_below,
    read_whole,
)

TRAJECTORY = "trajectory.json"
_MOST_LEVELS = 5
_ATTACHMENTS = ("attachment://", "tc://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """An agent's whole run as messages in the form of OpenAI's chat API, and the tools that it had.

    `actions` has the calls that the model made at each of its messages, where these do not show them all.
    """

    id: str
    model: str | None
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    actions: Sequence[Sequence[Mapping[str, Any]]] | None = None


class _ToolCall(msgspec.Struct):
    tool_call_id: str
    function_name: str
    arguments: Any = None


class _Result(msgspec.Struct):
    source_call_id: str | None = None
    content: Any = None


class _Observation(msgspec.Struct):
    results: list[_Result] = []


class _Step(msgspec.Struct):
    source: str
    message: Any = None
    tool_calls: list[_ToolCall] | None = None
    observation: _Observation | None = None
    model_name: str | None = None


class _Agent(msgspec.Struct):
    model_name: str | None = None
    tool_definitions: list[dict[str, Any]] | None = None


class _Trajectory(msgspec.Struct):
    schema_version: str
    steps: list[_Step]
    agent: _Agent = msgspec.field(default_factory=_Agent)
    session_id: str | None = None


class _Event(msgspec.Struct):
    event: str = ""
    tools: list[dict[str, Any]] = []
    output: dict[str, Any] | None = None


class _Sample(msgspec.Struct):
    id: int | str
    epoch: int = 1
    messages: list[dict[str, Any]] = []
    events: list[_Event] = []
    attachments: dict[str, str] = {}


class _Eval(msgspec.Struct):
    model: str | None = None


class _Log(msgspec.Struct):
    eval: _Eval
    samples: list[_Sample] = []


def is_trajectory(path: Path, head: bytes) -> bool:
    """Say whether a file is a trajectory, or a folder holds some."""
    if path.is_dir():
        return next(iter(path.rglob(TRAJECTORY)), None) is not None
    return b'"ATIF-v' in head


def is_inspect(path: Path, head: bytes) -> bool:
    """Say whether a file is a log of Inspect."""
    return path.suffix == ".eval" or (b'"eval"' in head and b'"status"' in head)


def read_trajectories(path: Path, limits: FileLimits) -> Iterator[Conversation]:
    """Yield the runs of a trajectory, or of all in a folder such as a job of Harbor.

    Raises `DataError` for what is none, and for a link out of the folder.
    """
    for each in files_below(path, TRAJECTORY, levels=_MOST_LEVELS) if path.is_dir() else [path]:
        found = decode_document(read_whole(each, limits), _Trajectory, path=each)
        name = each.parent.parent.name if each.parent.name == "agent" else each.stem
        models = [step.model_name for step in found.steps if step.model_name]
        yield Conversation(
            id=name if path.is_dir() else found.session_id or name,
            model=found.agent.model_name or (models[0] if models else None),
            messages=[message for step in found.steps for message in _messages(step)],
            tools=found.agent.tool_definitions or (),
        )


def _messages(step: _Step) -> Iterator[dict[str, Any]]:
    """Yield what a step says, and what its tools gave: a result for each call, as APIs want it."""
    said = text_of(step.message)
    if step.source != "agent":
        yield {"role": "system" if step.source == "system" else "user", "content": said or ""}
        return
    calls = step.tool_calls or []
    made = [
        {
            "id": each.tool_call_id,
            "type": "function",
            "function": _function(each.function_name, each.arguments),
        }
        for each in calls
    ]
    yield {"role": "assistant", "content": said} | ({"tool_calls": made} if made else {})
    results = [] if step.observation is None else step.observation.results
    given = {each.source_call_id: text_of(each.content) or "" for each in results}
    loose = given.pop(None, "")
    for at, each in enumerate(calls):
        content = given.get(each.tool_call_id, loose if at == 0 else "")
        yield {"role": "tool", "tool_call_id": each.tool_call_id, "content": content}
    if loose and not calls:
        yield {"role": "user", "content": loose}


def _function(name: str, arguments: Any) -> dict[str, str]:
    written = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments or {}).decode()
    return {"name": name, "arguments": written}


def read_inspect_runs(path: Path, limits: FileLimits) -> Iterator[Conversation]:
    """Yield the runs in a log of Inspect; the tools are those of the first call of the model.

    Raises `DataError` for what is no such log.
    """
    if path.suffix != ".eval":
        log = decode_document(read_whole(path, limits), _Log, path=path)
        yield from (_inspected(log.eval.model, sample) for sample in log.samples)
        return
    with ZipArchive(path, limits) as archive:
        names = archive.names()
        header = (
            decode_document(archive.read("header.json"), _Log, path=path) if "header.json" in names else None
        )
        for name in names:
            if name.startswith("samples/") and name.endswith(".json"):
                sample = decode_document(archive.read(name), _Sample, path=path, where=name)
                yield _inspected(None if header is None else header.eval.model, sample)


def _inspected(model: str | None, sample: _Sample) -> Conversation:
    calls = [each for each in sample.events if each.event == "model"]
    tools = next((each.tools for each in calls if each.tools), [])
    messages = [_chat(each, sample.attachments) for each in sample.messages]
    # Agents take the call that hands in the answer out of the messages: the answers of the model have it.
    actions = [_chat(_said(each), sample.attachments).get("tool_calls", []) for each in calls]
    answers = sum(each["role"] == "assistant" for each in messages)
    return Conversation(
        id=f"{sample.id}" if sample.epoch == 1 else f"{sample.id} ({sample.epoch})",
        model=model,
        messages=messages,
        actions=actions if len(actions) == answers else None,
        tools=[
            {
                "type": "function",
                "function": {
                    "name": tool.get("name"),
                    "description": tool.get("description") or "",
                    "parameters": tool.get("parameters"),
                },
            }
            for tool in tools
        ],
    )


def _said(event: _Event) -> Mapping[str, Any]:
    """Return the message with which the model answered a call; an empty one if it failed."""
    choices = (event.output or {}).get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, Mapping) else None
    return message if isinstance(message, Mapping) else {}


def _chat(message: Mapping[str, Any], attachments: Mapping[str, str]) -> dict[str, Any]:
    """Return a message of Inspect as OpenAI has it."""
    content = text_of(message.get("content"), attachments)
    found: dict[str, Any] = {"role": message.get("role"), "content": content}
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        found["tool_calls"] = [
            {
                "id": as_text(call.get("id")),
                "type": "function",
                "function": _function(as_text(call.get("function")) or "", _attached(call, attachments)),
            }
            for call in calls
            if isinstance(call, Mapping)
        ]
    if found["role"] == "tool":
        error = message.get("error")
        failed = error.get("message") if isinstance(error, Mapping) else None
        found |= {"content": content or as_text(failed) or "", "tool_call_id": message.get("tool_call_id")}
    return found


def _attached(call: Mapping[str, Any], attachments: Mapping[str, str]) -> Any:
    given = call.get("arguments")
    if not isinstance(given, Mapping):
        return given
    return {name: _resolved(value, attachments) for name, value in given.items()}


def _resolved(value: Any, attachments: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for scheme in _ATTACHMENTS:
            if value.startswith(scheme):
                return attachments.get(value.removeprefix(scheme), value)
    return value


def text_of(content: Any, attachments: Mapping[str, str] | None = None) -> str | None:
    """Return the text of a message's content, of which only texts count among its parts."""
    if isinstance(content, list):
        parts = [each.get("text") for each in content if isinstance(each, Mapping)]
        texts = [_resolved(each, attachments or {}) for each in parts if isinstance(each, str) and each]
        return "\n".join(texts) or None
    return None if content is None else as_text(_resolved(content, attachments or {}))
