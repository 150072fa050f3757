"""OpenAI chat completions and text completions: the protocol that nearly every host speaks.

A request with raw `text` goes to `/completions`, one with `messages` to `/chat/completions`.
"""

from typing import Any

import msgspec

from crossgrade.domain import JSON, Message, ModelAnswer, ModelRequest, Tool, ToolCall
from crossgrade.errors import UpstreamError
from crossgrade.wire._excerpt import excerpt
from crossgrade.wire._failures import failure_inside
from crossgrade.wire._flavour import Flavour, WireRequest, broken_off, decode_struct, set_known
from crossgrade.wire._sse import SseEvent
from crossgrade.wire._usage import openai_usage
from crossgrade.wire.hosts import Host

_MOST_CALLS = 1024
"""Tool calls in one answer; without a bound, calls without an index would cost quadratic time."""

FINISH_REASONS = {"function_call": "tool_calls", "eos": "stop", "eos_token": "stop", "model_length": "length"}


def encode(request: ModelRequest, host: Host, stream: bool) -> WireRequest:  # noqa: FBT001  # the shape of `Flavour.encode`
    """Build a chat or text completion request in the host's dialect."""
    body: dict[str, Any] = {"model": request.model}
    if request.text is None:
        path = "/chat/completions"
        body["messages"] = [message_to_wire(message) for message in request.messages]
        token_field = host.max_tokens_field
    else:
        path = "/completions"
        body["prompt"] = request.text
        token_field = "max_tokens"  # noqa: S105  # the name of a field, not a secret
    settings = request.settings
    set_known(
        body,
        {
            token_field: settings.max_output_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "stop": list(settings.stop) or None,
            "reasoning_effort": settings.reasoning_effort,
        },
    )
    if host.seed_field is not None and settings.seed is not None:
        body[host.seed_field] = settings.seed
    if request.tools:
        body["tools"] = [tool_to_wire(tool) for tool in request.tools]
        if request.tool_choice is not None:
            body["tool_choice"] = tool_choice_to_wire(request.tool_choice)
    if request.response_schema is not None:
        body["response_format"] = _response_format(request.response_schema, host)
    if stream:
        body["stream"] = True
        if host.stream_usage:
            body["stream_options"] = {"include_usage": True}
    return WireRequest(path, body)


def message_to_wire(message: Message) -> dict[str, Any]:
    """Write one chat message in OpenAI's shape."""
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        wire["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    return wire


def tool_to_wire(tool: Tool) -> dict[str, Any]:
    """Write one tool in the shape of chat completions."""
    function: dict[str, Any] = {
        "name": tool.name,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def tool_choice_to_wire(choice: str) -> JSON:
    """Write a tool choice: a mode, or the one tool to call."""
    if choice in {"auto", "none", "required"}:
        return choice
    return {"type": "function", "function": {"name": choice}}


def _response_format(schema: JSON, host: Host) -> JSON:
    if host.schema == "object":
        return {"type": "json_object"}
    wanted: dict[str, JSON] = {"name": "answer", "schema": schema}
    if host.schema == "strict":
        wanted["strict"] = True
    return {"type": "json_schema", "json_schema": wanted}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class _Call(msgspec.Struct):
    function: _Function | None = None
    id: str | None = None
    index: int | None = None


class _Message(msgspec.Struct):
    content: Any = None
    tool_calls: list[_Call] | None = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    delta: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    model: Any = None
    error: Any = None


_DECODER = msgspec.json.Decoder(_Completion)


def decode(body: bytes, request: ModelRequest) -> ModelAnswer:
    """Read a whole chat or text completion."""
    completion = decode_struct(_DECODER, body)
    if completion.error:
        raise failure_inside(body)
    if not completion.choices:
        raise UpstreamError(f"the answer has no choices: {excerpt(body)}")
    choice = completion.choices[0]
    message = choice.message or _Message(content=choice.text)
    if request.text is None and choice.message is None:
        raise UpstreamError(f"the answer has no message: {excerpt(body)}")
    calls = tuple(_whole_call(call, at) for at, call in enumerate(message.tool_calls or ()))
    return build_answer(
        text=flat_text(message.content),
        calls=calls,
        refusal=message.refusal,
        finish_reason=choice.finish_reason,
        usage=completion.usage,
        model=completion.model,
    )


def build_answer(
    *,
    text: str,
    calls: tuple[ToolCall, ...],
    refusal: str | None,
    finish_reason: str | None,
    usage: Any,
    model: Any,
) -> ModelAnswer:
    """Assemble an answer from the parts that whole and streamed completions share."""
    reason = FINISH_REASONS.get(finish_reason, finish_reason) if finish_reason else None
    if refusal and not text:
        text, reason = refusal, "content_filter"
    elif calls and reason == "stop":
        reason = "tool_calls"
    return ModelAnswer(
        text=text,
        tool_calls=calls,
        finish_reason=reason,
        usage=openai_usage(usage, answered=bool(text or calls)),
        model=model if isinstance(model, str) else None,
    )


def flat_text(content: Any) -> str:
    """Return message content as text: a string, or the text parts of a list; anything else is refused."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [
            part.get("text")
            for part in content
            if isinstance(part, dict) and part.get("type") in {"text", None}
        ]
        return "".join(part for part in parts if isinstance(part, str))
    raise UpstreamError(f"the answer's content is neither text nor parts: {excerpt(str(content))}")


def _whole_call(call: _Call, at: int) -> ToolCall:
    if call.function is None or not call.function.name:
        raise UpstreamError("the answer holds a tool call without a function name")
    return ToolCall(
        id=call.id or f"call_{at}", name=call.function.name, arguments=_argument_text(call.function.arguments)
    )


def _argument_text(arguments: Any) -> str:
    """Return arguments as JSON text; some hosts send an object instead of text."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else msgspec.json.encode(arguments).decode()


class _PartialCall:
    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class ChatCollector:
    """Gathers the chunks of one streamed chat or text completion.

    The answer is whole once a `finish_reason` has come; `[DONE]` alone does not make it so.
    """

    def __init__(self, request: ModelRequest) -> None:  # noqa: ARG002  # the shape of `Flavour.collect`
        self.started = False
        self.done = False
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, _PartialCall] = {}
        self._finish_reason: str | None = None
        self._usage: Any = None
        self._model: Any = None

    def feed(self, event: SseEvent) -> None:
        """Take the next chunk."""
        if self.done:
            return
        if event.data.strip() == b"[DONE]":
            self.done = True
            return
        chunk = decode_struct(_DECODER, event.data, "stream")
        if chunk.error or event.name == "error":
            raise failure_inside(event.data)
        self._usage = chunk.usage or self._usage
        self._model = self._model or chunk.model
        for choice in (chunk.choices or ())[:1]:
            self._take(choice)

    def _take(self, choice: _Choice) -> None:
        delta = choice.delta or choice.message or _Message(content=choice.text)
        text = flat_text(delta.content)
        if text:
            self._text.append(text)
        if delta.refusal:
            self._refusal.append(delta.refusal)
        for call in delta.tool_calls or ():
            self._take_call(call)
        if text or delta.tool_calls or delta.refusal or delta.reasoning_content or delta.reasoning:
            self.started = True
        self._finish_reason = choice.finish_reason or self._finish_reason

    def _take_call(self, call: _Call) -> None:
        """Add a piece to its call: by index, else by id, else to the last one."""
        index = call.index
        if index is None:
            known = [at for at, partial in self._calls.items() if call.id and partial.id == call.id]
            newest = max(self._calls, default=-1)
            index = known[0] if known else newest + 1 if call.id or newest < 0 else newest
        if len(self._calls) >= _MOST_CALLS and index not in self._calls:
            raise UpstreamError(f"the stream holds more than {_MOST_CALLS} tool calls")
        partial = self._calls.setdefault(index, _PartialCall())
        partial.id = partial.id or call.id or ""
        if call.function is not None:
            partial.name = partial.name or call.function.name or ""
            partial.arguments.append(_argument_text(call.function.arguments))

    def answer(self) -> ModelAnswer:
        """Return the whole answer; raises `UpstreamError` when no `finish_reason` came."""
        if self._finish_reason is None:
            raise broken_off("no finish_reason")
        calls = tuple(
            ToolCall(id=partial.id or f"call_{at}", name=partial.name, arguments="".join(partial.arguments))
            for at, partial in sorted(self._calls.items())
        )
        if any(not call.name for call in calls):
            raise UpstreamError("the stream holds a tool call without a function name")
        return build_answer(
            text="".join(self._text),
            calls=calls,
            refusal="".join(self._refusal) or None,
            finish_reason=self._finish_reason,
            usage=self._usage,
            model=self._model,
        )


OPENAI = Flavour(encode=encode, decode=decode, collect=ChatCollector)
"""Chat completions, and text completions for requests with raw `text`."""
