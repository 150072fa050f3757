"""OpenAI chat completions and text completions: the protocol that nearly every host speaks.

A request with raw `text` goes to `/completions`, one with `messages` to `/chat/completions`.
"""

import re
from dataclasses import replace
from typing import Any

import msgspec

from crossgrade.dialects._dialect import (
    WireRequest,
    check_grammar,
    compact_json,
    data_url,
    decode_struct,
    set_known,
)
from crossgrade.dialects._failures import excerpt, failure_inside
from crossgrade.dialects._following import EventParts, StreamFollower, events_in
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
from crossgrade.dialects.openai_chat.usage import openai_usage
from crossgrade.domain import (
    JSON,
    GrammarRequest,
    Image,
    LogprobRequest,
    Message,
    ModelAnswer,
    ModelRequest,
    Part,
    TokenLogprob,
    Tool,
)
from crossgrade.errors import UpstreamError

MOST_LIKELY = 20
"""How many log-probabilities are read at each place of an answer."""

_FINISH_REASONS = {
    "function_call": "tool_calls",
    "eos": "stop",
    "eos_token": "stop",
    "model_length": "length",
}


def encode(request: ModelRequest, host: Host, stream: bool) -> WireRequest:  # noqa: FBT001  # the shape of `Dialect.encode`
    """Build a chat or text completion request in the host's dialect."""
    body: dict[str, Any] = {"model": request.model}
    if request.text is None:
        path = "/chat/completions"
        body["messages"] = _messages_to_wire(request.messages)
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
            "reasoning_effort": known_effort(settings.reasoning_effort),
        },
    )
    if host.seed_field is not None and settings.seed is not None:
        body[host.seed_field] = settings.seed
    if request.tools:
        body["tools"] = [tool_to_wire(tool, host) for tool in request.tools]
        if request.tool_choice is not None:
            body["tool_choice"] = tool_choice_to_wire(request.tool_choice)
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    if isinstance(request, LogprobRequest):
        body |= {"logprobs": request.top} if request.text is not None else _logprob_fields(request.top)
    if request.response_schema is not None:
        body["response_format"] = _response_format(request.response_schema, host)
    body |= _grammar_fields(request, host)
    if stream:
        body["stream"] = True
        if host.stream_usage:
            body["stream_options"] = {"include_usage": True}
    return WireRequest(path, body)


def _logprob_fields(top: int) -> dict[str, Any]:
    return {"logprobs": True, "top_logprobs": top}


def _grammar_fields(request: ModelRequest, host: Host) -> dict[str, Any]:
    if not isinstance(request, GrammarRequest):
        return {}
    check_grammar(host)
    if host.grammar == "response_format":
        return {"response_format": {"type": "grammar", "grammar": request.grammar}}
    own = {"grammar": request.grammar}
    return own if host.grammar == "grammar" else {"structured_outputs": own}


def known_effort(effort: str | None) -> str | None:
    """Return an effort in OpenAI's words. Anthropic's `max` is not among them."""
    return "high" if effort == "max" else effort


def _messages_to_wire(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """Write the conversation; images of tools' results follow in a user's message, their only place."""
    wire: list[dict[str, Any]] = []
    images: list[Part] = []
    for message in messages:
        if images and message.role != "tool":
            wire.append({"role": "user", "content": [_part_to_wire(part) for part in images]})
            images = []
        wire.append(_message_to_wire(message))
        if message.role == "tool" and message.parts:
            images.append(f"Images of the result of {message.tool_call_id}:")
            images += [part for part in message.parts if isinstance(part, Image)]
    if images:
        wire.append({"role": "user", "content": [_part_to_wire(part) for part in images]})
    return wire


def _part_to_wire(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    detail = {} if part.detail is None else {"detail": part.detail}
    return {"type": "image_url", "image_url": {"url": data_url(part), **detail}}


def _message_to_wire(message: Message) -> dict[str, Any]:
    content: str | list[dict[str, Any]] | None = message.content
    if message.parts and message.role == "user":
        content = [_part_to_wire(part) for part in message.parts]
    wire: dict[str, Any] = {"role": message.role, "content": content}
    if message.tool_calls:
        wire["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    return wire


def tool_to_wire(tool: Tool, host: Host) -> dict[str, Any]:
    """Write one tool in the shape of chat completions."""
    function: dict[str, Any] = {
        "name": tool.name,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    if tool.description:
        function["description"] = tool.description
    if tool.strict and host.schema == "strict":
        function["strict"] = True
    return {"type": "function", "function": function}


def tool_choice_to_wire(choice: str) -> JSON:
    """Write a tool choice: a mode, or the one tool to call."""
    if choice in {"auto", "none", "required"}:
        return choice
    return {"type": "function", "function": {"name": choice}}


def _response_format(schema: JSON, host: Host) -> JSON:
    if host.schema == "object" or schema == ANY_OBJECT:
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
    logprobs: msgspec.Raw = msgspec.Raw(b"null")


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
        raise UpstreamError(f"the answer has no choices: {excerpt(body)}", code="answer-without-content")
    choice = completion.choices[0]
    if request.text is None and choice.message is None:
        raise UpstreamError(f"the answer has no message: {excerpt(body)}", code="answer-without-content")
    for at, call in enumerate((choice.message and choice.message.tool_calls) or ()):
        call.index = at
        if call.function is None or not call.function.name:
            raise _nameless()
    reader = ChatReader(request)
    collector = Collector(reader)
    collector.take(reader.completion(completion))
    answer = collector.so_far()
    if isinstance(request, LogprobRequest):
        return replace(answer, logprobs=_logprobs(choice.logprobs, request))
    return answer


class _Likely(msgspec.Struct):
    token: str
    logprob: float


class _Place(_Likely):
    top_logprobs: list[_Likely] = []


class _ChatLogprobs(msgspec.Struct):
    content: list[_Place] | None = None


class _TextLogprobs(msgspec.Struct):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None = None


def _logprobs(given: msgspec.Raw, request: LogprobRequest) -> tuple[TokenLogprob, ...]:
    """Read log-probabilities in any of the API's shapes; what is in none of them was not given."""
    try:
        found = _chat_logprobs(given)
        if not found and request.text is not None:
            found = _text_logprobs(given)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return ()
    return tuple(found[: request.settings.max_output_tokens])


def _chat_logprobs(given: msgspec.Raw) -> list[TokenLogprob]:
    read = msgspec.json.decode(given, type=_ChatLogprobs | None)
    return [
        TokenLogprob(
            token=place.token,
            logprob=place.logprob,
            top={each.token: each.logprob for each in place.top_logprobs[:MOST_LIKELY]},
        )
        for place in (read and read.content) or ()
    ]


def _text_logprobs(given: msgspec.Raw) -> list[TokenLogprob]:
    read = msgspec.json.decode(given, type=_TextLogprobs | None)
    if read is None:
        return []
    tops = read.top_logprobs or [None] * len(read.tokens)
    return [
        TokenLogprob(token=token, logprob=logprob, top=top or {})
        for token, logprob, top in zip(read.tokens, read.token_logprobs, tops, strict=False)
        if logprob is not None
    ]


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
            if isinstance(part, dict) and part.get("type") in ("text", None)
        ]
        return "".join(part for part in parts if isinstance(part, str))
    raise UpstreamError(
        f"the answer's content is neither text nor parts: {excerpt(str(content))}", code="answer-shape"
    )


def _argument_text(arguments: Any) -> str:
    """Return arguments as JSON text; some hosts send an object instead of text."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else compact_json(arguments)


class _OpenCall:
    """A call of which pieces come; `at` counts the named ones, and pieces wait for the name."""

    def __init__(self) -> None:
        self.at: int | None = None
        self.id = ""
        self.waiting: list[str] = []


class ChatReader:
    """Reads the chunks of one chat or text completion.

    The answer is whole once a `finish_reason` has come; `[DONE]` alone does not make it so.
    """

    ending = "finish reason"
    marked = True

    def __init__(self, request: ModelRequest) -> None:  # noqa: ARG002  # the shape of `Dialect.reader`
        self.done = False
        self._calls: dict[int, _OpenCall] = {}
        self._named = 0
        self._begun = self._spoke = self._refused = False

    def read(self, event: SseEvent) -> list[Delta]:
        """Return what the next chunk says."""
        if self.done:
            return []
        if event.data.strip() == b"[DONE]":
            self.done = True
            return []
        chunk = decode_struct(_DECODER, event.data, "stream")
        if chunk.error or event.name == "error":
            raise failure_inside(event.data)
        return self.completion(chunk)

    def completion(self, chunk: _Completion) -> list[Delta]:
        """Return what a chunk, or a whole completion, says in its first choice."""
        deltas: list[Delta] = []
        if not self._begun and isinstance(chunk.model, str) and chunk.model:
            self._begun = True
            deltas.append(Begun(chunk.model))
        for choice in (chunk.choices or ())[:1]:
            self._choice(choice, deltas)
        if chunk.usage:
            answered = self._spoke or self._refused or bool(self._calls)
            deltas.append(Counted(openai_usage(chunk.usage, answered=answered)))
        return deltas

    def _choice(self, choice: _Choice, deltas: list[Delta]) -> None:
        said = choice.delta or choice.message or _Message(content=choice.text)
        if said.reasoning_content or said.reasoning:
            deltas.append(Reasoning(_words(said.reasoning_content or said.reasoning)))
        text = flat_text(said.content)
        if text:
            self._spoke = True
            deltas.append(Text(text))
        if said.refusal:
            self._refused = True
            deltas.append(Refusal(said.refusal))
        for call in said.tool_calls or ():
            self._call(call, deltas)
        if choice.finish_reason:
            deltas.append(Finished(self._reason(choice.finish_reason)))

    def _call(self, call: _Call, deltas: list[Delta]) -> None:
        """Take a piece of a call."""
        known = self._open_call(call)
        known.id = known.id or call.id or ""
        if call.function is None:
            return
        arguments = _argument_text(call.function.arguments)
        if known.at is None and call.function.name:
            known.at = self._named
            self._named += 1
            deltas.append(CallBegun(known.at, known.id, call.function.name))
            arguments = "".join((*known.waiting, arguments))
        if known.at is None:
            known.waiting.append(arguments)
        elif arguments:
            deltas.append(Arguments(known.at, arguments))

    def _open_call(self, call: _Call) -> _OpenCall:
        """Find the call that a piece belongs to: by index, else by id, else the last one."""
        index = call.index
        if index is None:
            known = [at for at, other in self._calls.items() if call.id and other.id == call.id]
            newest = max(self._calls, default=-1)
            index = known[0] if known else newest + 1 if call.id or newest < 0 else newest
        if len(self._calls) >= MOST_CALLS and index not in self._calls:
            raise too_many_calls()
        return self._calls.setdefault(index, _OpenCall())

    def _reason(self, reason: str) -> str:
        if any(call.at is None for call in self._calls.values()):
            raise _nameless()
        reason = _FINISH_REASONS.get(reason, reason)
        if self._refused and not self._spoke:
            return "content_filter"
        return "tool_calls" if self._calls and reason == "stop" else reason


def _nameless() -> UpstreamError:
    return UpstreamError("the answer holds a tool call without a function name", code="call-without-name")


def _words(reasoning: Any) -> str:
    return reasoning if isinstance(reasoning, str) else ""


_END = b"data: [DONE]\n\n"
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_ERROR = re.compile(rb'"error"\s*:\s*[{"]|(?:^|[\r\n])event:\s*error')


class ChatFollower(StreamFollower):
    """Follows chat completions: usage may stand in any chunk, `[DONE]` ends them.

    The usage of a whole answer comes in a chunk without choices, or in the one with the finish reason.
    """

    __slots__ = ()

    marks = (b"[DONE]", b'_tokens"', b"error")

    def end(self) -> bytes:
        """Return a terminal marker whose blank line never came."""
        return self.feed(b"\n\n") if self.unfinished.strip() == b"data: [DONE]" else b""

    def _look(self, data: bytes) -> bytes:
        self.ended = False
        passed = super()._look(data)
        if self.ended:  # unless another event follows
            self.ended = data.rfind(b"\n\n", 0, -2) < data.rfind(b'_tokens"')
        return passed

    def event(self, block: bytes) -> bool:
        """Read one event that may count; return whether it is passed on."""
        if block.find(b"[DONE]") >= 0 and _is_end(block):
            self.done = True
            return True
        counts = _USAGE.search(block) is not None or (b"error" in block and _ERROR.search(block) is not None)
        return not counts or super().event(block)

    def take(self, parts: EventParts) -> bool:
        """Take usage; the chunk that says nothing else is swallowed where nobody asked for it."""
        if isinstance(parts.usage, dict):
            self.raw_usage = parts.usage
            self.ended = not parts.choices or all(
                isinstance(choice, dict) and choice.get("finish_reason") for choice in parts.choices
            )
            return bool(parts.choices) or not self.swallow
        return True


def _is_end(block: bytes) -> bool:
    """Return whether a block of lines is the terminal marker, nearly always spelt alike."""
    return block == _END or any(event.data.strip() == b"[DONE]" for event in events_in(block))
