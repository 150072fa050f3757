"""OpenAI's responses API."""

from typing import Any

import msgspec

from crossgrade.domain import Message, ModelAnswer, ModelRequest, ToolCall
from crossgrade.errors import BadRequestError, UpstreamError
from crossgrade.wire._excerpt import excerpt
from crossgrade.wire._failures import failure_inside
from crossgrade.wire._flavour import Flavour, WireRequest, broken_off, decode_struct, set_known
from crossgrade.wire._sse import SseEvent
from crossgrade.wire._usage import openai_usage
from crossgrade.wire.hosts import Host

_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}
_FIRST_TOKEN = {
    "response.function_call_arguments.delta",
    "response.output_text.delta",
    "response.reasoning_summary_text.delta",
    "response.refusal.delta",
}
_LAST_EVENTS = {"response.completed", "response.incomplete", "response.failed"}


def _encode(request: ModelRequest, host: Host, stream: bool) -> WireRequest:  # noqa: FBT001  # shape of `Flavour.encode`
    if request.text is not None:
        raise BadRequestError(
            f"{host.name} takes chat messages, not a raw text prompt", hint="set `text: false` on the prompt"
        )
    settings = request.settings
    if settings.stop:
        raise BadRequestError(
            "the responses API has no stop sequences", hint="remove `stop`, or use `openai`"
        )
    body: dict[str, Any] = {"model": request.model, "store": False}
    body["input"] = [item for message in request.messages for item in _items(message)]
    set_known(
        body,
        {
            "max_output_tokens": settings.max_output_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "reasoning": {"effort": settings.reasoning_effort} if settings.reasoning_effort else None,
        },
    )
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters or {"type": "object", "properties": {}},
                "strict": False,
            }
            for tool in request.tools
        ]
        body["tool_choice"] = _tool_choice(request.tool_choice)
    if request.response_schema is not None:
        form = {"type": "json_schema", "name": "answer", "strict": True, "schema": request.response_schema}
        body["text"] = {"format": form}
    if stream:
        body["stream"] = True
    return WireRequest("/responses", body)


def _tool_choice(choice: str | None) -> Any:
    if choice in {None, "auto", "none", "required"}:
        return choice or "auto"
    return {"type": "function", "name": choice}


def _items(message: Message) -> list[dict[str, Any]]:
    """Write a message as input items: its text, then each call as an item of its own."""
    if message.role == "tool":
        return [
            {"type": "function_call_output", "call_id": message.tool_call_id, "output": message.content or ""}
        ]
    items: list[dict[str, Any]] = []
    if message.content is not None:
        items.append({"role": message.role, "content": message.content})
    items += [
        {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
        for call in message.tool_calls
    ]
    return items


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
    response: msgspec.Raw = msgspec.Raw()


_DECODER = msgspec.json.Decoder(_Response)
_EVENT_DECODER = msgspec.json.Decoder(_Event)


def _decode(body: bytes, request: ModelRequest) -> ModelAnswer:  # noqa: ARG001  # shape of `Flavour.decode`
    response = decode_struct(_DECODER, body)
    if response.error or response.status == "failed":
        raise failure_inside(body)
    if response.output is None or response.status in {"in_progress", "queued", "cancelled"}:
        raise UpstreamError(f"the answer has no output: {excerpt(body)}")
    parts = [part for item in response.output if item.type == "message" for part in item.content or ()]
    text = "".join(part.text or "" for part in parts if part.type == "output_text")
    refusal = "".join(part.refusal or "" for part in parts if part.type == "refusal")
    calls = tuple(
        ToolCall(id=item.call_id or f"call_{at}", name=item.name or "", arguments=item.arguments or "")
        for at, item in enumerate(response.output)
        if item.type == "function_call"
    )
    return ModelAnswer(
        text=text or refusal,
        tool_calls=calls,
        finish_reason=_finish_reason(response, calls=bool(calls), refused=bool(refusal and not text)),
        usage=openai_usage(response.usage, answered=bool(text or refusal or calls)),
        model=response.model if isinstance(response.model, str) else None,
    )


def _finish_reason(response: _Response, *, calls: bool, refused: bool) -> str:
    if response.status == "incomplete":
        reason = (response.incomplete_details and response.incomplete_details.reason) or "incomplete"
        return _INCOMPLETE.get(reason, reason)
    if refused:
        return "content_filter"
    return "tool_calls" if calls else "stop"


class _ResponseCollector:
    """Waits for the event that carries the whole response."""

    def __init__(self, request: ModelRequest) -> None:
        self.started = False
        self.done = False
        self._request = request
        self._response = b""

    def feed(self, event: SseEvent) -> None:
        if self.done or event.data.strip() == b"[DONE]":
            return
        parsed = decode_struct(_EVENT_DECODER, event.data, "stream")
        kind = parsed.type or event.name
        if kind == "error":
            raise failure_inside(event.data)
        if kind in _FIRST_TOKEN:
            self.started = True
        if kind in _LAST_EVENTS:
            self.started = self.done = True
            self._response = bytes(parsed.response)

    def answer(self) -> ModelAnswer:
        if not self.done:
            raise broken_off("no response.completed")
        return _decode(self._response, self._request)


OPENAI_RESPONSES = Flavour(encode=_encode, decode=_decode, collect=_ResponseCollector)
"""The responses API, stateless (`store: false`)."""
