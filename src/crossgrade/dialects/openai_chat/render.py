"""Answers as chat completions, or as the older text completions of OpenAI's API."""

from typing import Any

from crossgrade.dialects._client import call_id, data_event, encode_json
from crossgrade.dialects._errors import chat_stream_error
from crossgrade.dialects._inbound import InboundRequest
from crossgrade.dialects.deltas import (
    Arguments,
    Begun,
    CallBegun,
    Counted,
    Delta,
    Finished,
    Reasoning,
    Refusal,
    Text,
)
from crossgrade.dialects.openai_chat.usage import usage_to_wire
from crossgrade.domain import ModelAnswer, ToolCall, Usage

_FINISH_REASONS = {"content_filter", "length", "stop", "tool_calls"}


def render_chat(answer: ModelAnswer, inbound: InboundRequest, id: str, created: int) -> bytes:  # noqa: A002  # the field's name
    """Return a whole chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.tool_calls:
        message["tool_calls"] = [_call(call, id, at) for at, call in enumerate(answer.tool_calls)]
    choice = {"index": 0, "message": message, "logprobs": None}
    return _whole(answer, inbound, choice, {"id": id, "object": "chat.completion", "created": created})


def render_text(answer: ModelAnswer, inbound: InboundRequest, id: str, created: int) -> bytes:  # noqa: A002  # the field's name
    """Return a whole text completion."""
    choice = {"index": 0, "text": answer.text, "logprobs": None}
    return _whole(answer, inbound, choice, {"id": id, "object": "text_completion", "created": created})


def _whole(
    answer: ModelAnswer, inbound: InboundRequest, choice: dict[str, Any], frame: dict[str, Any]
) -> bytes:
    choice["finish_reason"] = _finish_reason(answer.finish_reason)
    model = answer.model or inbound.request.model
    body = {**frame, "model": model, "choices": [choice], "usage": usage_to_wire(answer.usage)}
    return encode_json(body)


def _finish_reason(reason: str | None) -> str:
    """Return the reason in this API's closed vocabulary; another provider's own word means a stop."""
    return reason if reason in _FINISH_REASONS else "stop"


def _call(call: ToolCall, answer_id: str, at: int) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    wire = {"id": call_id(call.id, answer_id, at), "type": "function", "function": function}
    if call.signature:  # where Google's own endpoint for clients of this API has it
        wire["extra_content"] = {"google": {"thought_signature": call.signature}}
    return wire


class _CompletionWriter:
    """Writes chunks; the usage's own chunk only for a client that asked for it."""

    def __init__(self, inbound: InboundRequest, id: str, created: int, kind: str) -> None:  # noqa: A002  # the field's name
        self._id = id
        self._frame = {"id": id, "object": kind, "created": created, "model": inbound.request.model}
        self._include_usage = inbound.include_usage
        self._reason: str | None = None
        self._usage = Usage()

    def _note(self, delta: Delta) -> None:
        """Keep what the last chunks say."""
        match delta:
            case Begun():
                self._frame["model"] = delta.model
            case Counted():
                self._usage = delta.usage
            case Finished():
                self._reason = delta.reason

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        usage = {"usage": None} if self._include_usage else {}
        return data_event({**self._frame, "choices": [choice], **usage})

    def _last(self) -> bytes:
        """Return the usage's chunk and the end."""
        usage = usage_to_wire(self._usage) if self._include_usage else None
        counted = b"" if usage is None else data_event({**self._frame, "choices": [], "usage": usage})
        return counted + b"data: [DONE]\n\n"

    def error(self, status: int, message: str, kind: str | None, code: str | None) -> bytes:
        """Return the event that ends an answer that failed."""
        return chat_stream_error(status, message, kind, code)


class ChatWriter(_CompletionWriter):
    """Writes a streamed chat completion."""

    def __init__(self, inbound: InboundRequest, id: str, created: int) -> None:  # noqa: A002  # the field's name
        super().__init__(inbound, id, created, "chat.completion.chunk")
        self._begun = False

    def write(self, delta: Delta) -> bytes:
        """Return the chunk that a piece of the answer makes."""
        match delta:
            case Text() | Refusal():
                return self._delta({"content": delta.text})
            case Arguments():
                return self._delta(
                    {"tool_calls": [{"index": delta.index, "function": {"arguments": delta.text}}]}
                )
            case CallBegun():
                call = ToolCall(id=delta.id, name=delta.name, arguments="", signature=delta.signature)
                return self._delta(
                    {"tool_calls": [{"index": delta.index, **_call(call, self._id, delta.index)}]}
                )
            case Reasoning():
                return self._begin()
        self._note(delta)
        return b""

    def end(self) -> bytes:
        """Return the finish reason, the usage and the end."""
        return self._delta({}, _finish_reason(self._reason)) + self._last()

    def _delta(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        chunk = self._chunk({"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason})
        return chunk if self._begun else self._begin() + chunk

    def _begin(self) -> bytes:
        """Return the chunk with the role, once."""
        if self._begun:
            return b""
        self._begun = True
        return self._delta({"role": "assistant", "content": ""})


class TextWriter(_CompletionWriter):
    """Writes a streamed text completion."""

    def __init__(self, inbound: InboundRequest, id: str, created: int) -> None:  # noqa: A002  # the field's name
        super().__init__(inbound, id, created, "text_completion")

    def write(self, delta: Delta) -> bytes:
        """Return the chunk that a piece of text makes."""
        if isinstance(delta, Text | Refusal):
            return self._piece(delta.text)
        self._note(delta)
        return b""

    def end(self) -> bytes:
        """Return the finish reason, the usage and the end."""
        return self._piece("", _finish_reason(self._reason)) + self._last()

    def _piece(self, text: str, reason: str | None = None) -> bytes:
        return self._chunk({"index": 0, "text": text, "logprobs": None, "finish_reason": reason})
