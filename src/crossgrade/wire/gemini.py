"""Google's generateContent API."""

from typing import Any
from urllib.parse import quote

import msgspec

from crossgrade.domain import Message, ModelAnswer, ModelRequest, ToolCall
from crossgrade.errors import BadRequestError, ContentFilteredError, UpstreamError
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
from crossgrade.wire._usage import gemini_usage
from crossgrade.wire.hosts import Host

_FINISH_REASONS = {
    "BLOCKLIST": "content_filter",
    "MAX_TOKENS": "length",
    "PROHIBITED_CONTENT": "content_filter",
    "RECITATION": "content_filter",
    "SAFETY": "content_filter",
    "SPII": "content_filter",
    "STOP": "stop",
}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def _encode(request: ModelRequest, host: Host, stream: bool) -> WireRequest:  # noqa: FBT001  # shape of `Flavour.encode`
    if request.text is not None:
        raise BadRequestError(
            f"{host.name} takes chat messages, not a raw text prompt", hint="set `text: false` on the prompt"
        )
    body: dict[str, Any] = {"contents": _contents(request.messages)}
    system = "\n\n".join(message.content or "" for message in request.messages if message.role == "system")
    if system:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    if request.tools:
        body["tools"] = [
            {
                "functionDeclarations": [
                    {"name": tool.name, "description": tool.description}
                    | ({"parametersJsonSchema": tool.parameters} if tool.parameters else {})
                    for tool in request.tools
                ]
            }
        ]
        if request.tool_choice is not None:
            body["toolConfig"] = {"functionCallingConfig": _tool_choice(request.tool_choice)}
    config = _generation_config(request)
    if config:
        body["generationConfig"] = config
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    model = quote(request.model.removeprefix("models/"), safe="")
    return WireRequest(f"/models/{model}:{verb}", body)


def _generation_config(request: ModelRequest) -> dict[str, Any]:
    settings = request.settings
    config: dict[str, Any] = {}
    schema = request.response_schema
    effort = settings.reasoning_effort
    set_known(
        config,
        {
            "temperature": settings.temperature,
            "topP": settings.top_p,
            "maxOutputTokens": settings.max_output_tokens,
            "stopSequences": list(settings.stop) or None,
            "seed": settings.seed,
            "thinkingConfig": {"thinkingLevel": effort.upper()} if effort else None,
            "responseMimeType": "application/json" if schema is not None else None,
            "responseJsonSchema": schema,
        },
    )
    return config


def _tool_choice(choice: str) -> dict[str, Any]:
    mode = _MODES.get(choice)
    return {"mode": mode} if mode else {"mode": "ANY", "allowedFunctionNames": [choice]}


def _contents(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """Write the conversation without its system messages; a tool's result is named after its call."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    contents: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "model" if message.role == "assistant" else "user"
        parts = _parts(message, names)
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    return contents


def _parts(message: Message, names: dict[str, str]) -> list[dict[str, Any]]:
    if message.role == "tool":
        name = names.get(message.tool_call_id or "", message.tool_call_id)
        return [{"functionResponse": {"name": name, "response": {"result": message.content}}}]
    calls = [
        {"functionCall": {"name": call.name, "args": json_arguments(call.arguments)}}
        for call in message.tool_calls
    ]
    return [*([{"text": message.content}] if message.content or not calls else ()), *calls]


class _FunctionCall(msgspec.Struct):
    name: str = ""
    args: Any = None
    id: str | None = None


class _Part(msgspec.Struct):
    text: str | None = None
    thought: bool = False
    functionCall: _FunctionCall | None = None  # noqa: N815  # the field's name on the wire


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Response(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: Any = None
    model_version: Any = None
    error: Any = None


_DECODER = msgspec.json.Decoder(_Response)


class _CandidateCollector:
    """Gathers one whole response, or the pieces of a streamed one; whole once a `finishReason` has come."""

    def __init__(self, request: ModelRequest) -> None:  # noqa: ARG002  # shape of `Flavour.collect`
        self.started = False
        self.done = False
        self._text: list[str] = []
        self._calls: list[ToolCall] = []
        self._finish_reason: str | None = None
        self._usage: Any = None
        self._model: Any = None

    def feed(self, event: SseEvent) -> None:
        self.take(event.data, "stream")

    def take(self, raw: bytes, what: str) -> None:
        """Add one response object."""
        response = decode_struct(_DECODER, raw, what)
        if response.error:
            raise failure_inside(raw)
        if (
            response.prompt_feedback is not None
            and response.prompt_feedback.block_reason
            and not response.candidates
        ):
            raise ContentFilteredError(
                f"the prompt was refused: {excerpt(response.prompt_feedback.block_reason)}"
            )
        self._usage = response.usage_metadata or self._usage
        self._model = response.model_version or self._model
        for candidate in (response.candidates or ())[:1]:
            for part in (candidate.content and candidate.content.parts) or ():
                self._take_part(part)
            self._finish_reason = candidate.finish_reason or self._finish_reason

    def _take_part(self, part: _Part) -> None:
        self.started = True
        if part.functionCall is not None:
            call = part.functionCall
            arguments = compact_json(call.args or {})
            self._calls.append(
                ToolCall(id=call.id or f"call_{len(self._calls)}", name=call.name, arguments=arguments)
            )
        elif part.text and not part.thought:
            self._text.append(part.text)

    def answer(self) -> ModelAnswer:
        if self._finish_reason is None:
            raise broken_off("no finishReason")
        reason = _FINISH_REASONS.get(self._finish_reason, self._finish_reason)
        text = "".join(self._text)
        return ModelAnswer(
            text=text,
            tool_calls=tuple(self._calls),
            finish_reason="tool_calls" if self._calls and reason == "stop" else reason,
            usage=gemini_usage(self._usage, answered=bool(text or self._calls)),
            model=self._model if isinstance(self._model, str) else None,
        )


def _decode(body: bytes, request: ModelRequest) -> ModelAnswer:
    whole = _CandidateCollector(request)
    whole.take(body, "answer")
    try:
        return whole.answer()
    except UpstreamError:
        raise UpstreamError(f"the answer has no finished candidate: {excerpt(body)}") from None


GEMINI = Flavour(encode=_encode, decode=_decode, collect=_CandidateCollector)
"""The generateContent API."""
