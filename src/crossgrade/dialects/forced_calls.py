"""Tool calls on local models: a forced call is asked for as JSON of a schema and wrapped again.

llama.cpp leaves the calls of small models in the text, and ignores the object form of
`tool_choice`. A JSON schema binds the decoder itself, so the call cannot come out malformed. The
evaluator and the gateway both ask in this way, so that what was measured is what is served.
"""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from crossgrade.dialects._sse import SseEvent
from crossgrade.dialects.deltas import Delta, Finished, Reader, Text, deltas_of
from crossgrade.domain import JSON, Message, ModelAnswer, ModelRequest, Tool, ToolCall
from crossgrade.errors import BadRequestError


def forced_tools(request: ModelRequest) -> tuple[Tool, ...]:
    """Return the tools of which the request demands a call; none if a call is optional.

    Raises `BadRequestError` if `tool_choice` names a tool that the request does not have, and
    for a raw text prompt with tools or a schema, which the engine would silently leave out.
    """
    if request.text is not None and (request.tools or request.response_schema is not None):
        raise BadRequestError(
            "a raw text prompt takes neither tools nor a response schema on a local model",
            code="raw-text-not-carried",
            provider="local",
            hint="set `text: false`, so that the prompt is sent as chat messages",
        )
    if not request.tools or request.tool_choice in (None, "auto", "none"):
        return ()
    if request.tool_choice == "required":
        return request.tools
    named = tuple(tool for tool in request.tools if tool.name == request.tool_choice)
    if not named:
        known = ", ".join(tool.name for tool in request.tools)
        raise BadRequestError(
            f"tool_choice names `{request.tool_choice}`, but the tools are {known}",
            code="tool-choice-unknown",
            provider="local",
        )
    return named


def as_schema_request(request: ModelRequest, tools: Sequence[Tool]) -> ModelRequest:
    """Return the same request, asking for JSON `{name, arguments}` of one of `tools` instead of a call."""
    lines = [f"- {tool.name}: {tool.description} Arguments: {_compact(_parameters(tool))}" for tool in tools]
    order = "\n".join(["Call one function. Answer with JSON holding its name and arguments.", *lines])
    messages = request.messages
    if messages and messages[0].role == "system":
        first = replace(messages[0], content=f"{messages[0].content or ''}\n\n{order}".strip())
        messages = (first, *messages[1:])
    else:
        messages = (Message(role="system", content=order), *messages)
    return replace(request, messages=messages, tools=(), tool_choice=None, response_schema=call_schema(tools))


def call_schema(tools: Sequence[Tool]) -> JSON:
    """Return a JSON schema that admits exactly the calls of `tools`."""
    calls: list[JSON] = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": _parameters(tool)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return calls[0] if len(calls) == 1 else {"anyOf": calls}


def as_tool_call(answer: ModelAnswer) -> ModelAnswer:
    """Return the answer with its JSON turned into a tool call, or unchanged if it was cut off."""
    try:
        call = msgspec.json.decode(answer.text)
    except msgspec.DecodeError:
        return answer
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return answer
    wrapped = ToolCall(id="call_0", name=call["name"], arguments=_compact(call.get("arguments")))
    return replace(answer, text="", tool_calls=(wrapped,), finish_reason="tool_calls")


def _parameters(tool: Tool) -> JSON:
    return tool.parameters if tool.parameters is not None else {"type": "object"}


def _compact(value: JSON) -> str:
    return msgspec.json.encode(value).decode()


class ForcedCallReader:
    """Reads the stream of a schema request and tells it as the call that it stands for, once it is whole."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._text: list[str] = []
        self.ending = reader.ending
        self.marked = reader.marked
        self.done = reader.done

    def read(self, event: SseEvent) -> list[Delta]:
        """Return what an event says, the text held back until the model stops."""
        told: list[Delta] = []
        for delta in self._reader.read(event):
            if isinstance(delta, Text):
                self._text.append(delta.text)
            elif isinstance(delta, Finished):
                told += self._call(delta)
            else:
                told.append(delta)
        self.done = self._reader.done
        return told

    def _call(self, finished: Finished) -> list[Delta]:
        whole = ModelAnswer(text="".join(self._text), finish_reason=finished.reason)
        *pieces, _, end = deltas_of(as_tool_call(whole))
        return [*pieces, end]
