"""Answers as OpenAI's responses."""

from typing import Any

from crossgrade.dialects._client import call_id, encode_json, named_event
from crossgrade.dialects._errors import response_stream_error
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
    deltas_of,
)
from crossgrade.dialects.openai_chat.usage import response_usage_to_wire
from crossgrade.domain import JSON, ModelAnswer, ModelRequest, Usage

_INCOMPLETE = {"content_filter": "content_filter", "length": "max_output_tokens"}


def render_response(answer: ModelAnswer, inbound: InboundRequest, id: str, created: int) -> bytes:  # noqa: A002  # the field's name
    """Return a whole response."""
    writer = ResponseWriter(inbound, id, created)
    for delta in deltas_of(answer):
        writer.write(delta)
    return encode_json(writer.whole())


class ResponseWriter:
    """Writes a streamed response.

    The API's own last events repeat the text and the calls, so they are kept while they pass. A
    message's item ends when a call begins; calls end with the answer.
    """

    def __init__(self, inbound: InboundRequest, id: str, created: int) -> None:  # noqa: A002  # the field's name
        self._token = id.removeprefix("resp_")
        self._frame = _frame(inbound.request, id, created) | {"metadata": dict(inbound.metadata)}
        self._begun = False
        self._sent = 0
        self._items: list[dict[str, Any]] = []
        self._pieces: list[list[str]] = []
        self._message: int | None = None
        self._calls: dict[int, int] = {}
        self._reason: str | None = None
        self._usage = Usage()

    def write(self, delta: Delta) -> bytes:
        """Return the events that a piece of the answer makes."""
        match delta:
            case Text() | Refusal():
                return self._text(delta.text)
            case Arguments():
                return self._argument(delta)
            case CallBegun():
                return self._call(delta)
            case Reasoning():
                return self._begin()
            case Begun():
                self._frame["model"] = delta.model
            case Counted():
                self._usage = delta.usage
            case Finished():
                self._reason = delta.reason
        return b""

    def end(self) -> bytes:
        """Return the ends of open items and the whole response."""
        begun = self._begin() + self._close_message()
        closed = b"".join(self._close_call(at) for at in self._calls.values())
        whole = self.whole()
        return begun + closed + self._event(f"response.{whole['status']}", response=whole)

    def error(self, status: int, message: str, kind: str | None, code: str | None) -> bytes:
        """Return the event that ends an answer that failed."""
        return response_stream_error(status, message, kind, code, sequence_number=self._sent)

    def whole(self) -> dict[str, Any]:
        """Return the response of all that was written."""
        reason = _INCOMPLETE.get(self._reason or "")
        status = "completed" if reason is None else "incomplete"
        return self._frame | {
            "status": status,
            "incomplete_details": None if reason is None else {"reason": reason},
            "output": [self._item(at) for at in range(len(self._items))],
            "usage": response_usage_to_wire(self._usage),
        }

    def _item(self, at: int) -> dict[str, Any]:
        """Return an item with all its pieces."""
        text = "".join(self._pieces[at])
        given: dict[str, Any] = (
            {"content": [_part(text)]} if "role" in self._items[at] else {"arguments": text}
        )
        return self._items[at] | given | {"status": "completed"}

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = named_event({"type": kind, "sequence_number": self._sent, **fields})
        self._sent += 1
        return event

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        created = self._event("response.created", response=self._frame)
        return created + self._event("response.in_progress", response=self._frame)

    def _add(self, item: dict[str, Any]) -> bytes:
        at = len(self._items)
        self._items.append(item)
        self._pieces.append([])
        return self._event("response.output_item.added", output_index=at, item=item)

    def _text(self, text: str) -> bytes:
        opened = b""
        if self._message is None:
            at = self._message = len(self._items)
            name = f"msg_{self._token}_{at}"
            item = {
                "id": name,
                "type": "message",
                "role": "assistant",
                "status": "in_progress",
                "content": [],
            }
            opened = self._begin() + self._add(item)
            opened += self._event("response.content_part.added", **self._place(at), part=_part(""))
        self._pieces[self._message].append(text)
        place = self._place(self._message)
        return opened + self._event("response.output_text.delta", **place, delta=text, logprobs=[])

    def _place(self, at: int) -> dict[str, JSON]:
        return {"item_id": self._items[at]["id"], "output_index": at, "content_index": 0}

    def _close_message(self) -> bytes:
        if self._message is None:
            return b""
        at, self._message = self._message, None
        item = self._item(at)
        part = item["content"][0]
        done = self._event("response.output_text.done", **self._place(at), text=part["text"], logprobs=[])
        done += self._event("response.content_part.done", **self._place(at), part=part)
        return done + self._event("response.output_item.done", output_index=at, item=item)

    def _call(self, call: CallBegun) -> bytes:
        opened = self._begin() + self._close_message()
        at = self._calls[call.index] = len(self._items)
        item = {
            "id": f"fc_{self._token}_{at}",
            "type": "function_call",
            "call_id": call_id(call.id, self._token, call.index),
            "name": call.name,
            "arguments": "",
            "status": "in_progress",
        }
        return opened + self._add(item)

    def _argument(self, piece: Arguments) -> bytes:
        at = self._calls[piece.index]
        self._pieces[at].append(piece.text)
        place = {"item_id": self._items[at]["id"], "output_index": at}
        return self._event("response.function_call_arguments.delta", **place, delta=piece.text)

    def _close_call(self, at: int) -> bytes:
        item = self._item(at)
        place = {"item_id": item["id"], "output_index": at}
        done = self._event(
            "response.function_call_arguments.done", **place, name=item["name"], arguments=item["arguments"]
        )
        return done + self._event("response.output_item.done", output_index=at, item=item)


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _frame(request: ModelRequest, id: str, created: int) -> dict[str, Any]:  # noqa: A002  # the field's name
    """Return a response before its first token, with the request's settings as the API repeats them."""
    named = request.tool_choice not in {None, "auto", "none", "required"}
    return {
        "id": id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": request.settings.max_output_tokens,
        "model": request.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "store": False,
        "temperature": request.settings.temperature,
        "tool_choice": {"type": "function", "name": request.tool_choice}
        if named
        else request.tool_choice or "auto",
        "tools": [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
                "strict": tool.strict,
            }
            for tool in request.tools
        ],
        "top_p": request.settings.top_p,
        "usage": None,
    }
