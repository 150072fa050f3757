"""Google's generateContent API."""

import re
from typing import Any
from urllib.parse import quote

import msgspec

from crossgrade.dialects._dialect import (
    WireRequest,
    check_chat,
    compact_json,
    decode_struct,
    json_arguments,
    message_parts,
    set_known,
)
from crossgrade.dialects._failures import excerpt, failure_inside
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
    Text,
    too_many_calls,
)
from crossgrade.dialects.gemini.usage import gemini_usage
from crossgrade.dialects.hosts import Host
from crossgrade.domain import Message, ModelAnswer, ModelRequest, Part
from crossgrade.errors import ContentFilteredError, UpstreamError

_FINISH_REASONS = {
    "BLOCKLIST": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "MAX_TOKENS": "length",
    "PROHIBITED_CONTENT": "content_filter",
    "RECITATION": "content_filter",
    "SAFETY": "content_filter",
    "SPII": "content_filter",
    "STOP": "stop",
}
_UNSIGNED = re.compile(r"gemini-[12]\b")
"""Models that do not insist on the signatures of earlier calls."""

_ANOTHER_MODEL_S = "skip_thought_signature_validator"
"""What Google's documentation gives as the signature of a call that another model made."""

_EFFORTS = {"max": "HIGH", "none": "MINIMAL", "xhigh": "HIGH"}
"""Other APIs' words for more than this API's most effort, and for less than its least."""

_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def encode(request: ModelRequest, host: Host, stream: bool) -> WireRequest:  # noqa: FBT001  # shape of `Dialect.encode`
    """Return the call that asks a host for an answer, whole or streamed."""
    check_chat(request, host)
    signs = _UNSIGNED.match(request.model.removeprefix("models/")) is None
    body: dict[str, Any] = {"contents": _contents(request.messages, signs=signs)}
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
            "thinkingConfig": {"thinkingLevel": _EFFORTS.get(effort, effort.upper())} if effort else None,
            "responseMimeType": "application/json" if schema is not None else None,
            "responseJsonSchema": schema,
        },
    )
    return config


def _tool_choice(choice: str) -> dict[str, Any]:
    mode = _MODES.get(choice)
    return {"mode": mode} if mode else {"mode": "ANY", "allowedFunctionNames": [choice]}


def _contents(messages: tuple[Message, ...], *, signs: bool) -> list[dict[str, Any]]:
    """Write the conversation without its system messages; a tool's result is named after its call."""
    names: dict[str, str] = {}
    contents: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        names |= {call.id: call.name for call in message.tool_calls}
        role = "model" if message.role == "assistant" else "user"
        parts = _parts(message, names, signs=signs)
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    return contents


def _parts(message: Message, names: dict[str, str], *, signs: bool) -> list[dict[str, Any]]:
    if message.role == "tool":
        name = names.get(message.tool_call_id or "", message.tool_call_id)
        result = {"functionResponse": {"name": name, "response": {"result": message.content}}}
        return [result, *(_part(part) for part in message.parts if not isinstance(part, str))]
    calls = [
        {"functionCall": {"name": call.name, "args": json_arguments(call.arguments)}}
        | ({"thoughtSignature": call.signature} if call.signature else {})
        for call in message.tool_calls
    ]
    if signs and calls and not any(call.signature for call in message.tool_calls):
        calls[0]["thoughtSignature"] = _ANOTHER_MODEL_S
    said = [_part(part) for part in message_parts(message) if part]
    return [*said, *calls] or [{"text": message.content}]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"text": part}
    if part.url is not None:
        return {"fileData": {"fileUri": part.url}}
    return {"inlineData": {"mimeType": part.media_type, "data": part.data}}


class _FunctionCall(msgspec.Struct):
    name: str = ""
    args: Any = None
    id: str | None = None


class _Part(msgspec.Struct):
    text: str | None = None
    thought: bool = False
    thoughtSignature: str | None = None  # noqa: N815  # the field's name on the wire
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


class CandidateReader:
    """Reads one whole response, or the pieces of a streamed one; whole once a `finishReason` has come.

    Of the calls of an answer that may have one, the first is kept: the API has no such limit.
    """

    ending = "finish reason"
    marked = False
    done = False

    def __init__(self, request: ModelRequest) -> None:
        self._most_calls = 1 if request.parallel_tool_calls is False else None
        self._begun = self._spoke = False
        self._calls = 0

    def read(self, event: SseEvent) -> list[Delta]:
        """Return what the next piece says."""
        return self.response(event.data, "stream")

    def response(self, raw: bytes, what: str) -> list[Delta]:
        """Return what one response object says."""
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
        deltas: list[Delta] = []
        if not self._begun and isinstance(response.model_version, str):
            self._begun = True
            deltas.append(Begun(response.model_version))
        candidate = response.candidates[0] if response.candidates else _Candidate()
        for part in (candidate.content and candidate.content.parts) or ():
            self._part(part, deltas)
        if response.usage_metadata:
            answered = self._spoke or self._calls > 0
            deltas.append(Counted(gemini_usage(response.usage_metadata, answered=answered)))
        if candidate.finish_reason:
            reason = _FINISH_REASONS.get(candidate.finish_reason, candidate.finish_reason)
            deltas.append(Finished("tool_calls" if self._calls and reason == "stop" else reason))
        return deltas

    def _part(self, part: _Part, deltas: list[Delta]) -> None:
        if part.functionCall is not None:
            if self._calls == self._most_calls:
                return
            if self._calls >= MOST_CALLS:
                raise too_many_calls()
            call = part.functionCall
            deltas += [
                CallBegun(self._calls, call.id or "", call.name, part.thoughtSignature),
                Arguments(self._calls, compact_json(call.args or {})),
            ]
            self._calls += 1
        elif part.thought:
            deltas.append(Reasoning(part.text or ""))
        elif part.text:
            self._spoke = True
            deltas.append(Text(part.text))


def decode(body: bytes, request: ModelRequest) -> ModelAnswer:
    """Read a whole answer. Raises `UpstreamError` for one that cannot be used."""
    reader = CandidateReader(request)
    whole = Collector(reader)
    whole.take(reader.response(body, "answer"))
    try:
        return whole.answer()
    except UpstreamError:
        raise UpstreamError(
            f"the answer has no finished candidate: {excerpt(body)}", code="answer-without-content"
        ) from None
