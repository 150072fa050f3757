"""Anthropic's messages API. Structured output is a forced call of a tool named `answer`."""

from typing import Any

import msgspec

from crossgrade.domain import JSON, Message, ModelAnswer, ModelRequest, ToolCall
from crossgrade.errors import BadRequestError, UpstreamError
from crossgrade.wire._excerpt import excerpt
from crossgrade.wire._failures import failure_inside
from crossgrade.wire._flavour import (
    Flavour,
    WireRequest,
    broken_off,
    compact_json,
    decode_struct,
    json_arguments,
    set_known,
)
from crossgrade.wire._sse import SseEvent
from crossgrade.wire._usage import anthropic_usage
from crossgrade.wire.hosts import Host

_ANSWER_TOOL = "answer"
_MOST_TOKENS_BY_DEFAULT = 4096
"""`max_tokens` is required by this API; used when the settings leave it open."""

_FINISH_REASONS = {
    "end_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
}
_CHOICES: dict[str | None, dict[str, str]] = {
    "auto": {"type": "auto"},
    "none": {"type": "none"},
    "required": {"type": "any"},
}


def _encode(request: ModelRequest, host: Host, stream: bool) -> WireRequest:  # noqa: FBT001  # shape of `Flavour.encode`
    if request.text is not None:
        raise BadRequestError(
            f"{host.name} takes chat messages, not a raw text prompt", hint="set `text: false` on the prompt"
        )
    settings = request.settings
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": settings.max_output_tokens or _MOST_TOKENS_BY_DEFAULT,
        "messages": _turns(request.messages),
    }
    system = "\n\n".join(message.content or "" for message in request.messages if message.role == "system")
    set_known(
        body,
        {
            "system": system or None,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "stop_sequences": list(settings.stop) or None,
            "output_config": {"effort": settings.reasoning_effort} if settings.reasoning_effort else None,
        },
    )
    _add_tools(body, request)
    if stream:
        body["stream"] = True
    return WireRequest("/messages", body)


def _add_tools(body: dict[str, Any], request: ModelRequest) -> None:
    tools: list[dict[str, JSON]] = [
        {
            "name": tool.name,
            "description": tool.description,
            "input_schema": tool.parameters or {"type": "object", "properties": {}},
        }
        for tool in request.tools
    ]
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
        choice = {"type": "any"} if request.tools else {"type": "tool", "name": _ANSWER_TOOL}
    if tools:
        body["tools"] = tools
    if tools and choice is not None:
        body["tool_choice"] = choice


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
            turns[-1]["content"] = _blocks(turns[-1]["content"]) + _blocks(content)
        else:
            turns.append({"role": role, "content": content})
    return turns


def _content(message: Message) -> str | list[dict[str, Any]]:
    if message.role == "tool":
        result = {
            "type": "tool_result",
            "tool_use_id": message.tool_call_id,
            "content": message.content or "",
        }
        return [result]
    if not message.tool_calls:
        return message.content or ""
    calls = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": json_arguments(call.arguments)}
        for call in message.tool_calls
    ]
    return [*(_blocks(message.content) if message.content else ()), *calls]


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


def _decode(body: bytes, request: ModelRequest) -> ModelAnswer:
    message = decode_struct(_DECODER, body)
    if message.error or message.type == "error":
        raise failure_inside(body)
    if message.content is None or message.stop_reason is None:
        raise UpstreamError(f"the answer has no content: {excerpt(body)}")
    text = "".join(block.text or "" for block in message.content if block.type == "text")
    calls = tuple(
        ToolCall(
            id=block.id or f"call_{at}", name=block.name or "", arguments=compact_json(block.input or {})
        )
        for at, block in enumerate(message.content)
        if block.type == "tool_use"
    )
    return _build(
        request, text, calls, stop_reason=message.stop_reason, usage=message.usage, model=message.model
    )


def _build(
    request: ModelRequest, text: str, calls: tuple[ToolCall, ...], *, stop_reason: str, usage: Any, model: Any
) -> ModelAnswer:
    reason = _FINISH_REASONS.get(stop_reason, stop_reason)
    counted = anthropic_usage(usage, answered=bool(text or calls))
    if request.response_schema is not None:
        boxed = not _is_object(request.response_schema)
        given = next((call for call in calls if call.name == _ANSWER_TOOL), None)
        if given is not None:
            text = _unboxed(given.arguments) if boxed else given.arguments
            calls = tuple(call for call in calls if call is not given)
            reason = "stop" if reason == "tool_calls" and not calls else reason
    return ModelAnswer(
        text=text,
        tool_calls=calls,
        finish_reason=reason,
        usage=counted,
        model=model if isinstance(model, str) else None,
    )


def _unboxed(arguments: str) -> str:
    try:
        box = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return arguments
    return compact_json(box["value"]) if isinstance(box, dict) and "value" in box else arguments


class _MessageCollector:
    """Gathers the events of one streamed message; it is whole once `message_stop` has come."""

    def __init__(self, request: ModelRequest) -> None:
        self.started = False
        self.done = False
        self._request = request
        self._blocks: dict[int, _Block] = {}
        self._pieces: dict[int, list[str]] = {}
        self._usage: dict[str, Any] = {}
        self._stop_reason: str | None = None
        self._model: Any = None

    def feed(self, event: SseEvent) -> None:
        if self.done:
            return
        parsed = decode_struct(_EVENT_DECODER, event.data, "stream")
        kind = parsed.type or event.name
        if kind == "error":
            raise failure_inside(event.data)
        if kind == "message_stop":
            self.done = True
        elif kind == "message_start" and parsed.message is not None:
            self._model = parsed.message.model
            self._count(parsed.message.usage)
        elif kind == "content_block_start" and parsed.content_block is not None:
            self._blocks[parsed.index] = parsed.content_block
            self._pieces[parsed.index] = []
        elif kind == "content_block_delta" and parsed.delta is not None:
            self._take(parsed.index, parsed.delta)
        elif kind == "message_delta":
            self._stop_reason = (parsed.delta and parsed.delta.stop_reason) or self._stop_reason
            self._count(parsed.usage)

    def _take(self, index: int, delta: _Delta) -> None:
        piece = delta.text or delta.partial_json or ""
        self._pieces.setdefault(index, []).append(piece)
        self.started = self.started or bool(piece or delta.thinking)

    def _count(self, usage: Any) -> None:
        """Keep the newest count of each kind: those of `message_delta` are cumulative."""
        if isinstance(usage, dict):
            self._usage.update({name: count for name, count in usage.items() if count is not None})

    def answer(self) -> ModelAnswer:
        if not self.done or self._stop_reason is None:
            raise broken_off("no message_stop")
        texts = [self._whole(index) for index, block in sorted(self._blocks.items()) if block.type == "text"]
        calls = tuple(
            ToolCall(
                id=block.id or f"call_{index}", name=block.name or "", arguments=self._whole(index) or "{}"
            )
            for index, block in sorted(self._blocks.items())
            if block.type == "tool_use"
        )
        return _build(
            self._request,
            "".join(texts),
            calls,
            stop_reason=self._stop_reason,
            usage=self._usage,
            model=self._model,
        )

    def _whole(self, index: int) -> str:
        return (self._blocks[index].text or "") + "".join(self._pieces[index])


ANTHROPIC = Flavour(encode=_encode, decode=_decode, collect=_MessageCollector)
"""The messages API."""
