"""Answers as Anthropic's messages."""

from typing import Any

import msgspec

from crossgrade.dialects._client import call_id, encode_json, named_event, signed_id
from crossgrade.dialects._errors import message_stream_error
from crossgrade.dialects._failures import excerpt
from crossgrade.dialects._inbound import InboundRequest
from crossgrade.dialects.anthropic.usage import usage_to_wire
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
from crossgrade.domain import JSON, ModelAnswer, ToolCall, Usage
from crossgrade.errors import UpstreamError

_STOP_REASONS = {
    "content_filter": "refusal",
    "length": "max_tokens",
    "pause_turn": "pause_turn",
    "tool_calls": "tool_use",
}
"""Any other reason is "end_turn": this API's vocabulary is closed."""


def render_message(answer: ModelAnswer, inbound: InboundRequest, id: str, created: int) -> bytes:  # noqa: A002, ARG001  # the field's name; the shape of `Inbound.render_answer`
    """Return a whole message.

    Raises `UpstreamError` for a call whose arguments are not a JSON object, which this API cannot
    show; one that was cut off by the token limit is left out.
    """
    content: list[JSON] = [{"type": "text", "text": answer.text}] if answer.text else []
    for at, call in enumerate(answer.tool_calls):
        given = _input(call, cut=answer.finish_reason == "length")
        if given is not None:
            name = signed_id(call_id(call.id, id, at), call.signature)
            content.append({"type": "tool_use", "id": name, "name": call.name, "input": given})
    message = _message(id, answer.model or inbound.request.model)
    return encode_json(
        message
        | {
            "content": content,
            "stop_reason": _stop_reason(answer.finish_reason),
            "usage": usage_to_wire(answer.usage),
        }
    )


def _message(id: str, model: str) -> dict[str, Any]:  # noqa: A002  # the field's name
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def _input(call: ToolCall, *, cut: bool) -> JSON:
    try:
        given = msgspec.json.decode(call.arguments or "{}")
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        given = None
    if not isinstance(given, dict) and not cut:
        raise UpstreamError(
            f"the model called `{excerpt(call.name, longest=60)}` with arguments that are no JSON object: "
            f"{excerpt(call.arguments)}",
            code="arguments-not-an-object",
        )
    return given if isinstance(given, dict) else None


def _stop_reason(reason: str | None) -> str:
    return _STOP_REASONS.get(reason or "", "end_turn")


class MessageWriter:
    """Writes a streamed message.

    A block ends when the next begins, but a call whose arguments are not yet whole stays open
    beside the next, because some hosts send the pieces of parallel calls in turn. The counts at
    the start are placeholders, as in the API itself; those at the end hold.
    """

    def __init__(self, inbound: InboundRequest, id: str, created: int) -> None:  # noqa: A002, ARG002  # the field's name; the shape of `Inbound.writer`
        self._id = id
        self._model = inbound.request.model
        self._begun = False
        self._blocks = 0
        self._text_block: int | None = None
        self._calls: dict[int, int] = {}
        self._arguments: dict[int, list[str]] = {}
        self._reason: str | None = None
        self._usage = Usage()

    def write(self, delta: Delta) -> bytes:
        """Return the events that a piece of the answer makes."""
        match delta:
            case Text() | Refusal():
                return self._text(delta.text)
            case Arguments():
                return self._piece(delta)
            case CallBegun():
                return self._call(delta)
            case Reasoning():
                return self._begin()
            case Begun():
                self._model = delta.model
            case Counted():
                self._usage = delta.usage
            case Finished():
                self._reason = delta.reason
        return b""

    def end(self) -> bytes:
        """Return the ends of open blocks, the stop reason with the usage, and the end."""
        ending = {"stop_reason": _stop_reason(self._reason), "stop_sequence": None}
        counted = {"type": "message_delta", "delta": ending, "usage": usage_to_wire(self._usage)}
        begun, closed = self._begin(), self._close(whole_only=False)
        return begun + closed + named_event(counted) + named_event({"type": "message_stop"})

    def error(self, status: int, message: str, kind: str | None, code: str | None) -> bytes:
        """Return the event that ends an answer that failed."""
        return message_stream_error(status, message, kind, code)

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return named_event({"type": "message_start", "message": _message(self._id, self._model)})

    def _text(self, text: str) -> bytes:
        opened = b""
        if self._text_block is None:
            opened = self._begin() + self._close(whole_only=True)
            self._text_block = self._blocks
            opened += self._open({"type": "text", "text": ""})
        return opened + _block_delta(self._text_block, {"type": "text_delta", "text": text})

    def _call(self, call: CallBegun) -> bytes:
        opened = self._begin() + self._close(whole_only=True)
        self._calls[call.index] = self._blocks
        self._arguments[call.index] = []
        name = signed_id(call_id(call.id, self._id, call.index), call.signature)
        return opened + self._open({"type": "tool_use", "id": name, "name": call.name, "input": {}})

    def _piece(self, piece: Arguments) -> bytes:
        """Return a call's piece; only white space comes for one whose arguments were whole."""
        if piece.index not in self._calls:
            return b""
        self._arguments[piece.index].append(piece.text)
        return _block_delta(
            self._calls[piece.index], {"type": "input_json_delta", "partial_json": piece.text}
        )

    def _open(self, block: JSON) -> bytes:
        index = self._blocks
        self._blocks += 1
        return named_event({"type": "content_block_start", "index": index, "content_block": block})

    def _close(self, *, whole_only: bool) -> bytes:
        """End open blocks; with `whole_only`, of the calls only the newest, if its arguments are whole."""
        closing = [] if self._text_block is None else [self._text_block]
        self._text_block = None
        over = list(self._calls)
        if whole_only:
            over = [at for at in over[-1:] if _is_json("".join(self._arguments[at]))]
        closing += [self._calls.pop(at) for at in over]
        return b"".join(
            named_event({"type": "content_block_stop", "index": block}) for block in sorted(closing)
        )


def _block_delta(block: int, delta: dict[str, str]) -> bytes:
    return named_event({"type": "content_block_delta", "index": block, "delta": delta})


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True
