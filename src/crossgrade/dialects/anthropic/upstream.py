"""Anthropic's messages API. Structured output is a forced call of a tool named `answer`."""

import string
from typing import Any

import msgspec

from crossgrade.dialects._dialect import (
    WireRequest,
    check_chat,
    compact_json,
    decode_struct,
    json_arguments,
    message_parts,
    set_known,
)
from crossgrade.dialects._failures import excerpt, failure_inside
from crossgrade.dialects._following import EventParts, StreamFollower
from crossgrade.dialects._sse import SseEvent
from crossgrade.dialects.anthropic.usage import anthropic_usage
from crossgrade.dialects.deltas import (
    MOST_CALLS,
    Arguments,
    Begun,
    CallBegun,
    Collector,
    Counted,
    Delta,
    Finished,
    Reasoning,
    Text,
    too_many_calls,
)
from crossgrade.dialects.hosts import Host
from crossgrade.domain import JSON, Message, ModelAnswer, ModelRequest, Part, Tool
from crossgrade.errors import UpstreamError

_ANSWER_TOOL = "answer"
_MOST_TOKENS_BY_DEFAULT = 4096
"""`max_tokens` is required by this API; used when the settings leave it open."""

_HOTTEST = 1.0
"""The highest temperature of this API. Anthropic's own endpoint for OpenAI's clients caps at it, too."""

_FINISH_REASONS = {
    "end_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
}
_CHOICES: dict[str | None, dict[str, JSON]] = {
    "auto": {"type": "auto"},
    "none": {"type": "none"},
    "required": {"type": "any"},
}
_EFFORTS = {"minimal": "low", "none": None}
"""OpenAI's words for less than this API's least effort, which is not to think unless told to."""

_IN_ID = string.ascii_letters + string.digits + "_-"
_PLAIN_ID = bytes(at if chr(at) in _IN_ID else ord("_") for at in range(256))
"""For each byte of a call's id that byte, an underscore for what other APIs may have and this one refuses."""


def encode(request: ModelRequest, host: Host, stream: bool) -> WireRequest:  # noqa: FBT001  # shape of `Dialect.encode`
    """Return the call that asks a host for an answer, whole or streamed."""
    check_chat(request, host)
    settings = request.settings
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": settings.max_output_tokens or _MOST_TOKENS_BY_DEFAULT,
        "messages": _turns(request.messages),
    }
    effort = _EFFORTS.get(settings.reasoning_effort or "", settings.reasoning_effort)
    system = "\n\n".join(message.content or "" for message in request.messages if message.role == "system")
    set_known(
        body,
        {
            "system": system or None,
            "temperature": None if settings.temperature is None else min(settings.temperature, _HOTTEST),
            "top_p": settings.top_p,
            "stop_sequences": list(settings.stop) or None,
            "output_config": {"effort": effort} if effort else None,
        },
    )
    _add_tools(body, request)
    if stream:
        body["stream"] = True
    return WireRequest("/messages", body)


def _add_tools(body: dict[str, Any], request: ModelRequest) -> None:
    tools: list[dict[str, JSON]] = [_tool(tool) for tool in request.tools]
    choice = _CHOICES.get(request.tool_choice)
    if choice is None and request.tool_choice is not None:
        choice = {"type": "tool", "name": request.tool_choice}
    if request.response_schema is not None:
        schema = (
            request.response_schema
            if _is_object(request.response_schema)
            else _boxed(request.response_schema)
        )
        tools.append({"name": _ANSWER_TOOL, "description": "Give the final answer.", "input_schema": schema})
        free = request.tools and request.tool_choice != "none"
        choice = {"type": "any"} if free else {"type": "tool", "name": _ANSWER_TOOL}
    if request.parallel_tool_calls is False and request.tools and request.tool_choice != "none":
        choice = {"type": "auto"} | (choice or {}) | {"disable_parallel_tool_use": True}
    if tools:
        body["tools"] = tools
    if tools and choice is not None:
        body["tool_choice"] = choice


def _tool(tool: Tool) -> dict[str, JSON]:
    wire: dict[str, JSON] = {
        "name": tool.name,
        "description": tool.description,
        "input_schema": tool.parameters or {"type": "object", "properties": {}},
    }
    return wire | {"strict": True} if tool.strict else wire


def _is_object(schema: JSON) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "object"


def _boxed(schema: JSON) -> JSON:
    """Wrap a schema that is no object's, because a tool's input must be an object."""
    return {"type": "object", "properties": {"value": schema}, "required": ["value"]}


def _turns(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """Write the conversation without its system messages; neighbouring turns of one role are joined."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "user" if message.role == "tool" else message.role
        content = _content(message)
        if turns and turns[-1]["role"] == role:
            last = turns[-1]
            last["content"] = _blocks(last["content"])
            last["content"] += _blocks(content)  # in place: a copy for each message would be quadratic
        else:
            turns.append({"role": role, "content": content})
    return turns


def _content(message: Message) -> str | list[dict[str, Any]]:
    given: str | list[dict[str, Any]] = message.content or ""
    if message.parts:
        given = [_part(part) for part in message_parts(message)]
    if message.role == "tool":
        return [{"type": "tool_result", "tool_use_id": _call_id(message.tool_call_id), "content": given}]
    if not message.tool_calls:
        return given
    calls = [
        {
            "type": "tool_use",
            "id": _call_id(call.id),
            "name": call.name,
            "input": json_arguments(call.arguments),
        }
        for call in message.tool_calls
    ]
    return [*(_blocks(given) if given else ()), *calls]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if part.url is not None:
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    return {"type": "image", "source": {"type": "base64", "media_type": part.media_type, "data": part.data}}


def _call_id(name: str | None) -> str:
    return (name or "").encode("ascii", "replace").translate(_PLAIN_ID).decode("ascii")


def _blocks(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class _Message(msgspec.Struct):
    type: str = ""
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: Any = None
    model: Any = None
    error: Any = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: Any = None


_DECODER = msgspec.json.Decoder(_Message)
_EVENT_DECODER = msgspec.json.Decoder(_Event)


def decode(body: bytes, request: ModelRequest) -> ModelAnswer:
    """Read a whole answer. Raises `UpstreamError` for one that cannot be used."""
    message = decode_struct(_DECODER, body)
    if message.error or message.type == "error":
        raise failure_inside(body)
    if message.content is None or message.stop_reason is None:
        raise UpstreamError(f"the answer has no content: {excerpt(body)}", code="answer-without-content")
    reader = MessageReader(request)
    collector = Collector(reader)
    collector.take(reader.message(message))
    return collector.answer()


class MessageReader:
    """Reads the events of one message; it is whole once `message_stop` has come.

    Where a schema was asked for, the input of the tool `answer` is the text, and text beside it
    waits until it is known that no such call comes.
    """

    ending = "end of the message"
    marked = True

    def __init__(self, request: ModelRequest) -> None:
        schema = request.response_schema
        self.done = False
        self._wants_answer = schema is not None
        self._boxed = schema is not None and not _is_object(schema)
        self._answer_block: int | None = None
        self._answer: list[str] = []
        self._beside: list[str] = []
        self._calls: dict[int, int] = {}
        self._without_arguments: set[int] = set()
        self._spoke = False
        self._usage: dict[str, Any] = {}
        self._stop_reason: str | None = None

    def read(self, event: SseEvent) -> list[Delta]:
        """Return what the next event says."""
        if self.done:
            return []
        parsed = decode_struct(_EVENT_DECODER, event.data, "stream")
        deltas: list[Delta] = []
        match parsed.type or event.name:
            case "error":
                raise failure_inside(event.data)
            case "message_start" if parsed.message is not None:
                self._begin(parsed.message, deltas)
            case "content_block_start" if parsed.content_block is not None:
                self._block(parsed.index, parsed.content_block, deltas)
            case "content_block_delta" if parsed.delta is not None:
                self._piece(parsed.index, parsed.delta, deltas)
            case "message_delta":
                self._stop_reason = (parsed.delta and parsed.delta.stop_reason) or self._stop_reason
                self._count(parsed.usage)
            case "message_stop":
                self.done = True
                self._end(deltas)
        return deltas

    def message(self, message: _Message) -> list[Delta]:
        """Return what a whole message says."""
        deltas: list[Delta] = []
        self._begin(message, deltas)
        for index, block in enumerate(message.content or ()):
            self._block(index, block, deltas)
        self._stop_reason = message.stop_reason
        self._end(deltas)
        return deltas

    def _begin(self, message: _Message, deltas: list[Delta]) -> None:
        if isinstance(message.model, str):
            deltas.append(Begun(message.model))
        self._count(message.usage)

    def _block(self, index: int, block: _Block, deltas: list[Delta]) -> None:
        if block.type == "tool_use":
            self._call(index, block, deltas)
        elif block.text:
            self._text(block.text, deltas)

    def _call(self, index: int, block: _Block, deltas: list[Delta]) -> None:
        """Begin a call; its input comes in pieces, or here in a whole message."""
        arguments = compact_json(block.input) if block.input else ""
        if self._wants_answer and self._answer_block is None and block.name == _ANSWER_TOOL:
            self._answer_block = index
            self._answered(arguments, deltas)
            return
        if len(self._calls) >= MOST_CALLS:
            raise too_many_calls()
        at = self._calls[index] = len(self._calls)
        self._without_arguments.add(at)
        deltas.append(CallBegun(at, block.id or "", block.name or ""))
        self._arguments(at, arguments, deltas)

    def _piece(self, index: int, delta: _Delta, deltas: list[Delta]) -> None:
        if delta.text:
            self._text(delta.text, deltas)
        if delta.thinking:
            deltas.append(Reasoning(delta.thinking))
        if delta.partial_json and index == self._answer_block:
            self._answered(delta.partial_json, deltas)
        elif delta.partial_json and index in self._calls:
            self._arguments(self._calls[index], delta.partial_json, deltas)

    def _text(self, text: str, deltas: list[Delta]) -> None:
        if self._wants_answer:
            self._beside.append(text)
        else:
            self._spoke = True
            deltas.append(Text(text))

    def _answered(self, piece: str, deltas: list[Delta]) -> None:
        self._answer.append(piece)
        if piece and not self._boxed:
            deltas.append(Text(piece))

    def _arguments(self, at: int, piece: str, deltas: list[Delta]) -> None:
        if piece:
            self._without_arguments.discard(at)
            deltas.append(Arguments(at, piece))

    def _count(self, usage: Any) -> None:
        """Keep the newest count of each kind: those of `message_delta` are cumulative."""
        if isinstance(usage, dict):
            self._usage.update({name: count for name, count in usage.items() if count is not None})

    def _end(self, deltas: list[Delta]) -> None:
        if self._answer_block is None:
            rest = "".join(self._beside)
        elif self._boxed:
            rest = _unboxed("".join(self._answer) or "{}")
        else:
            rest = "" if any(self._answer) else "{}"
        if rest:
            deltas.append(Text(rest))
        deltas += [Arguments(at, "{}") for at in sorted(self._without_arguments)]
        spoke = self._spoke or bool(rest or self._calls) or self._answer_block is not None
        deltas.append(Counted(anthropic_usage(self._usage, answered=spoke)))
        if self._stop_reason is not None:
            reason = _FINISH_REASONS.get(self._stop_reason, self._stop_reason)
            given = self._answer_block is not None and not self._calls
            deltas.append(Finished("stop" if given and reason == "tool_calls" else reason))


def _unboxed(arguments: str) -> str:
    try:
        box = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return arguments
    return compact_json(box["value"]) if isinstance(box, dict) and "value" in box else arguments


class MessageFollower(StreamFollower):
    """Follows a message: its first and last events count, each a part."""

    __slots__ = ()

    marks = (b"message_stop", b'_tokens"', b"error")

    def take(self, parts: EventParts) -> bool:
        """Take what the event counts."""
        inner = parts.message.get("usage") if isinstance(parts.message, dict) else None
        for usage in (inner, parts.usage):
            if isinstance(usage, dict):
                self.raw_usage.update({name: count for name, count in usage.items() if count is not None})
        self.done = parts.type == "message_stop"
        return True
