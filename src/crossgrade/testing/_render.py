"""The bodies and events of a fake provider's answers, written as the gateway writes its own."""

import base64
import hashlib
import math
import re
from array import array
from dataclasses import replace
from typing import Any

import msgspec

from crossgrade.dialects import CLIENTS, ClientName, InboundRequest
from crossgrade.dialects.deltas import Delta, Text, deltas_of
from crossgrade.domain import JSON, ModelAnswer, ModelRequest, ToolCall, Usage
from crossgrade.testing._script import ReceivedRequest, Reply

_DIMENSIONS = 64
_APIS: dict[str, ClientName] = {
    "/chat/completions": "openai",
    "/completions": "openai-text",
    "/messages": "anthropic",
    "/responses": "openai-responses",
}

_GEMINI = (":generateContent", ":streamGenerateContent")

CALLS = (*_APIS, *_GEMINI)
"""How the paths end that call a model."""


def body(request: ReceivedRequest, reply: Reply) -> dict[str, Any]:
    """Return a whole answer of the API that was called."""
    if _is_gemini(request):
        return gemini_body(request, reply)
    api, inbound = _called(request)
    whole = CLIENTS[api].render_answer(_answer(request, reply), inbound, f"{CLIENTS[api].id_prefix}fake", 1)
    return _with_usage(msgspec.json.decode(whole), reply.usage)


def events(request: ReceivedRequest, reply: Reply) -> list[bytes]:
    """Return a streamed answer of the API that was called, its text a word at a time, its end last."""
    if _is_gemini(request):
        return _gemini_events(request, reply)
    api, inbound = _called(request)
    writer = CLIENTS[api].writer(inbound, f"{CLIENTS[api].id_prefix}fake", 1)
    deltas = [piece for delta in deltas_of(_answer(request, reply)) for piece in _pieces(delta)]
    written = b"".join([*(writer.write(delta) for delta in deltas), writer.end()])
    return [_with_usage_event(event, reply.usage) for event in re.findall(rb".+?\n\n", written, re.DOTALL)]


def gemini_body(request: ReceivedRequest, reply: Reply) -> dict[str, Any]:
    """Return a whole answer of generateContent."""
    prompt, output = _tokens(request, reply)
    counts: Any = (
        {"prompt_tokens": prompt, "completion_tokens": output} if reply.usage is None else reply.usage
    )
    calls: list[Any] = [
        {"functionCall": {"name": call.name, "args": msgspec.json.decode(call.arguments)}}
        for call in reply.tool_calls
    ]
    content = {"role": "model", "parts": calls or [{"text": reply.text}]}
    return {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": counts.get("prompt_tokens"),
            "candidatesTokenCount": counts.get("completion_tokens"),
        },
        "modelVersion": reply.served or request.model,
    }


def _gemini_events(request: ReceivedRequest, reply: Reply) -> list[bytes]:
    """Return the pieces of streamGenerateContent; the last has the finish reason and the usage."""
    last = gemini_body(request, reply)
    texts = [] if reply.tool_calls else pieces(reply.text)
    if texts:
        last["candidates"][0]["content"]["parts"] = []
    bodies: list[dict[str, Any]] = [
        {"candidates": [{"content": {"role": "model", "parts": [{"text": each}]}}]} for each in texts
    ]
    return [b"data: " + msgspec.json.encode(each) + b"\r\n\r\n" for each in (*bodies, last)]


def _is_gemini(request: ReceivedRequest) -> bool:
    return request.path.partition("?")[0].endswith(_GEMINI)


def _called(request: ReceivedRequest) -> tuple[ClientName, InboundRequest]:
    """Return the API and what shapes its answer; anything may be asked of a fake provider."""
    path = request.path.partition("?")[0]
    options = request.json.get("stream_options")
    inbound = InboundRequest(
        request=ModelRequest(model=request.model),
        stream=request.stream,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )
    return next(api for ending, api in _APIS.items() if path.endswith(ending)), inbound


def _answer(request: ReceivedRequest, reply: Reply) -> ModelAnswer:
    """Return the reply as an answer. A forced call of one tool of Anthropic's gets its text as input."""
    prompt, output = _tokens(request, reply)
    answer = ModelAnswer(
        text=reply.text,
        tool_calls=reply.tool_calls,
        finish_reason="tool_calls"
        if reply.tool_calls and reply.finish_reason == "stop"
        else reply.finish_reason,
        usage=Usage(
            input_tokens=prompt,
            output_tokens=output,
            cache_read_input_tokens=reply.cached_tokens,
            reasoning_output_tokens=reply.reasoning_tokens,
        ),
        model=reply.served or request.model,
    )
    choice = request.json.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "tool" and not reply.tool_calls:
        given = msgspec.json.encode(msgspec.json.decode(reply.text)).decode()
        forced = ToolCall(id="toolu_1", name=choice["name"], arguments=given)
        return replace(answer, text="", tool_calls=(forced,), finish_reason="tool_calls")
    return answer


def _pieces(delta: Delta) -> list[Delta]:
    return [Text(piece) for piece in pieces(delta.text)] if isinstance(delta, Text) else [delta]


def _with_usage_event(event: bytes, usage: JSON) -> bytes:
    """Return an event as it is, or with the usage object that the script wants."""
    name, marker, data = event.rpartition(b"data: ")
    if usage is None or b'"usage":{' not in data:
        return event
    return name + marker + msgspec.json.encode(_with_usage(msgspec.json.decode(data), usage)) + b"\n\n"


def _with_usage(payload: dict[str, Any], usage: JSON) -> dict[str, Any]:
    for holder in (payload, payload.get("message"), payload.get("response")):
        if usage is not None and isinstance(holder, dict) and holder.get("usage"):
            holder["usage"] = usage
    return payload


def embeddings_body(request: ReceivedRequest) -> dict[str, Any]:
    """Return embeddings: hashed bags of words of length 1, so that texts with common words are near."""
    given = request.json.get("input")
    texts = given if isinstance(given, list) else [given]
    packed = request.json.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(texts):
        vector = _embedding(str(text))
        shown = base64.b64encode(array("f", vector).tobytes()).decode() if packed else vector
        data.append({"object": "embedding", "index": index, "embedding": shown})
    tokens = sum(_words(str(text)) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": request.model, "usage": usage}


def pieces(text: str) -> list[str]:
    """Split text the way models stream it: a word at a time, with the space before it."""
    return re.findall(r"\s*\S+|\s+$", text)


def _embedding(text: str) -> list[float]:
    vector = [0.0] * _DIMENSIONS
    for word in re.findall(r"\w+", text.lower()) or [""]:
        vector[hashlib.sha256(word.encode()).digest()[0] % _DIMENSIONS] += 1.0
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]


def _tokens(request: ReceivedRequest, reply: Reply) -> tuple[int, int]:
    prompt = max(1, _words(request.prompt)) if reply.input_tokens is None else reply.input_tokens
    output = max(1, _words(reply.text)) if reply.output_tokens is None else reply.output_tokens
    return prompt, output


def _words(text: str) -> int:
    return len(text.split())
