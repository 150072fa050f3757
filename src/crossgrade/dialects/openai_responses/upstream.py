"""OpenAI's responses API."""

from typing import Any

import msgspec

from crossgrade.dialects._dialect import (
    WireRequest,
    check_chat,
    data_url,
    decode_struct,
    set_known,
)
from crossgrade.dialects._failures import excerpt, failure_inside
from crossgrade.dialects._following import EventParts, StreamFollower
from crossgrade.dialects._sse import SseEvent
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
    Refusal,
    Text,
    too_many_calls,
)
from crossgrade.dialects.hosts import ANY_OBJECT, Host
from crossgrade.dialects.openai_chat.upstream import known_effort
from crossgrade.dialects.openai_chat.usage import openai_usage
from crossgrade.domain import JSON, Message, ModelAnswer, ModelRequest, Part
from crossgrade.errors import BadRequestError, UpstreamError

_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}
_LAST_EVENTS = {"response.completed", "response.incomplete", "response.failed"}


def encode(request: ModelRequest, host: Host, stream: bool) -> WireRequest:  # noqa: FBT001  # shape of `Dialect.encode`
    """Return the call that asks a host for an answer, whole or streamed."""
    check_chat(request, host)
    settings = request.settings
    effort = known_effort(settings.reasoning_effort)
    if settings.stop:
        raise BadRequestError(
            "the responses API has no stop sequences",
            code="stop-not-carried",
            hint="remove `stop`, or use `openai`",
        )
    body: dict[str, Any] = {"model": request.model, "store": False}
    body["input"] = [item for message in request.messages for item in _items(message)]
    set_known(
        body,
        {
            "max_output_tokens": settings.max_output_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "reasoning": {"effort": effort} if effort else None,
        },
    )
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters or {"type": "object", "properties": {}},
                "strict": tool.strict,
            }
            for tool in request.tools
        ]
        body["tool_choice"] = _tool_choice(request.tool_choice)
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.response_schema is not None:
        body["text"] = {"format": _format(request.response_schema)}
    if stream:
        body["stream"] = True
    return WireRequest("/responses", body)


def _tool_choice(choice: str | None) -> Any:
    if choice in {None, "auto", "none", "required"}:
        return choice or "auto"
    return {"type": "function", "name": choice}


def _format(schema: JSON) -> JSON:
    if schema == ANY_OBJECT:
        return {"type": "json_object"}
    return {"type": "json_schema", "name": "answer", "strict": True, "schema": schema}


def _items(message: Message) -> list[dict[str, Any]]:
    """Write a message as input items: its text, then each call as an item of its own."""
    content: str | list[dict[str, Any]] | None = message.content
    if message.parts:
        content = [_part(part) for part in message.parts]
    if message.role == "tool":
        return [{"type": "function_call_output", "call_id": message.tool_call_id, "output": content or ""}]
    items: list[dict[str, Any]] = []
    if content is not None:
        items.append({"role": message.role, "content": content})
    items += [
        {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
        for call in message.tool_calls
    ]
    return items


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "input_text", "text": part}
    return {"type": "input_image", "image_url": data_url(part), "detail": part.detail or "auto"}


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    type: str = ""
    content: list[_Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    output: list[_Item] | None = None
    status: str | None = None
    incomplete_details: _Incomplete | None = None
    usage: Any = None
    model: Any = None
    error: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    delta: str | None = None
    output_index: int = 0
    item: _Item | None = None
    response: msgspec.Raw = msgspec.Raw()


_DECODER = msgspec.json.Decoder(_Response)
_EVENT_DECODER = msgspec.json.Decoder(_Event)


def decode(body: bytes, request: ModelRequest) -> ModelAnswer:
    """Read a whole answer. Raises `UpstreamError` for one that cannot be used."""
    reader = ResponseReader(request)
    collector = Collector(reader)
    collector.take(reader.response(body))
    return collector.answer()


class ResponseReader:
    """Reads the events of one response; the last carries the whole, and with it what no event said."""

    ending = "end of the response"
    marked = True

    def __init__(self, request: ModelRequest) -> None:  # noqa: ARG002  # shape of `Dialect.reader`
        self.done = False
        self._begun = False
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, int] = {}
        self._arguments: list[list[str]] = []

    def read(self, event: SseEvent) -> list[Delta]:
        """Return what the next event says."""
        if self.done or event.data.strip() == b"[DONE]":
            return []
        parsed = decode_struct(_EVENT_DECODER, event.data, "stream")
        kind = parsed.type or event.name
        if kind == "error":
            raise failure_inside(event.data)
        if kind in _LAST_EVENTS:
            self.done = True
            return self.response(bytes(parsed.response))
        deltas: list[Delta] = []
        if kind == "response.created" and bytes(parsed.response):
            self._begin(decode_struct(_DECODER, bytes(parsed.response), "stream"), deltas)
        elif kind == "response.output_item.added" and parsed.item is not None:
            self._call(parsed.output_index, parsed.item, deltas)
        elif parsed.delta:
            self._piece(kind, parsed.output_index, parsed.delta, deltas)
        return deltas

    def _begin(self, response: _Response, deltas: list[Delta]) -> None:
        if not self._begun and isinstance(response.model, str):
            self._begun = True
            deltas.append(Begun(response.model))

    def _piece(self, kind: str, index: int, piece: str, deltas: list[Delta]) -> None:
        match kind:
            case "response.output_text.delta":
                self._text.append(piece)
                deltas.append(Text(piece))
            case "response.function_call_arguments.delta" if index in self._calls:
                self._more(index, piece, deltas)
            case "response.refusal.delta":
                self._refusal.append(piece)
                deltas.append(Refusal(piece))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                deltas.append(Reasoning(piece))

    def _call(self, index: int, item: _Item, deltas: list[Delta]) -> None:
        if item.type == "function_call" and index not in self._calls:
            if len(self._calls) >= MOST_CALLS:
                raise too_many_calls()
            at = self._calls[index] = len(self._calls)
            self._arguments.append([])
            deltas.append(CallBegun(at, item.call_id or "", item.name or ""))

    def _more(self, index: int, piece: str, deltas: list[Delta]) -> None:
        if piece:
            at = self._calls[index]
            self._arguments[at].append(piece)
            deltas.append(Arguments(at, piece))

    def response(self, body: bytes) -> list[Delta]:
        """Return what a whole response says and no earlier event did."""
        response = decode_struct(_DECODER, body)
        if response.error or response.status == "failed":
            raise failure_inside(body)
        if response.output is None or response.status in {"in_progress", "queued", "cancelled"}:
            raise UpstreamError(f"the answer has no output: {excerpt(body)}", code="answer-without-content")
        deltas: list[Delta] = []
        self._begin(response, deltas)
        parts = [part for item in response.output if item.type == "message" for part in item.content or ()]
        text = "".join(part.text or "" for part in parts if part.type == "output_text")
        refusal = "".join(part.refusal or "" for part in parts if part.type == "refusal")
        for kind, rest in (
            ("output_text", _rest(text, self._text)),
            ("refusal", _rest(refusal, self._refusal)),
        ):
            if rest:
                self._piece(f"response.{kind}.delta", 0, rest, deltas)
        for index, item in enumerate(response.output):
            self._call(index, item, deltas)
            if index in self._calls:
                said = self._arguments[self._calls[index]]
                self._more(index, _rest(item.arguments or "", said), deltas)
        calls, refused = bool(self._calls), bool(self._refusal and not self._text)
        answered = calls or refused or bool(self._text)
        deltas.append(Counted(openai_usage(response.usage, answered=answered)))
        deltas.append(Finished(_finish_reason(response, calls=calls, refused=refused)))
        return deltas


def _rest(whole: str, pieces: list[str]) -> str:
    """Return the end of a text of which the beginning has been sent in pieces."""
    said = "".join(pieces)
    return whole[len(said) :] if whole.startswith(said) else ""


def _finish_reason(response: _Response, *, calls: bool, refused: bool) -> str:
    if response.status == "incomplete":
        reason = (response.incomplete_details and response.incomplete_details.reason) or "incomplete"
        return _INCOMPLETE.get(reason, reason)
    if refused:
        return "content_filter"
    return "tool_calls" if calls else "stop"


class ResponseFollower(StreamFollower):
    """Follows a response: its last event holds all of it."""

    __slots__ = ()

    marks = (*(name.encode() for name in sorted(_LAST_EVENTS)), b"error")

    def take(self, parts: EventParts) -> bool:
        """Take usage from the last event."""
        if parts.type in _LAST_EVENTS and isinstance(parts.response, dict):
            self.done = True
            usage = parts.response.get("usage")
            self.raw_usage = usage if isinstance(usage, dict) else {}
        return True
