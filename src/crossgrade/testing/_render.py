"""The bodies of a fake provider's answers, in OpenAI's and Anthropic's shapes."""

import base64
import hashlib
import math
import re
from array import array
from typing import Any

import msgspec

from crossgrade.domain import JSON
from crossgrade.testing._script import ReceivedRequest, Reply

_DIMENSIONS = 64
_ANTHROPIC_REASONS = {
    "content_filter": "refusal",
    "length": "max_tokens",
    "stop": "end_turn",
    "tool_calls": "tool_use",
}


def openai_body(request: ReceivedRequest, reply: Reply) -> dict[str, Any]:
    """Return a whole chat or text completion."""
    if request.path.endswith("/chat/completions"):
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
        if reply.tool_calls:
            message["tool_calls"] = _openai_calls(reply)
        choice = {"index": 0, "message": message, "finish_reason": _finish(reply), "logprobs": None}
        kind = "chat.completion"
    else:
        choice = {"index": 0, "text": reply.text, "finish_reason": _finish(reply), "logprobs": None}
        kind = "text_completion"
    return _openai_frame(request, kind, [choice]) | {"usage": openai_usage(request, reply)}


def openai_events(request: ReceivedRequest, reply: Reply) -> list[bytes]:
    """Return the events of a streamed chat or text completion, `[DONE]` last."""
    chat = request.path.endswith("/chat/completions")
    kind = "chat.completion.chunk" if chat else "text_completion"
    deltas: list[dict[str, Any]] = [{"content": piece} for piece in pieces(reply.text)]
    deltas += [{"tool_calls": [{"index": at, **call}]} for at, call in enumerate(_openai_calls(reply))]
    if not chat:
        choices = [{"index": 0, "text": delta["content"], "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "text": "", "finish_reason": _finish(reply)})
    else:
        deltas[:0] = [{"role": "assistant", "content": ""}]
        choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": _finish(reply)})
    frames = [_openai_frame(request, kind, [choice]) for choice in choices]
    options = request.json.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage"):
        frames.append(_openai_frame(request, kind, []) | {"usage": openai_usage(request, reply)})
    return [b"data: " + msgspec.json.encode(frame) + b"\n\n" for frame in frames] + [b"data: [DONE]\n\n"]


def openai_usage(request: ReceivedRequest, reply: Reply) -> JSON:
    """Return OpenAI's usage object for a reply."""
    if reply.usage is not None:
        return reply.usage
    prompt, output = _tokens(request, reply)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": reply.reasoning_tokens},
    }


def anthropic_body(request: ReceivedRequest, reply: Reply) -> dict[str, Any]:
    """Return a whole message. A forced call of one tool gets the reply's text as that call's input."""
    content: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
    content += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": msgspec.json.decode(call.arguments)}
        for call in reply.tool_calls
    ]
    reason = _ANTHROPIC_REASONS.get(_finish(reply), reply.finish_reason)
    choice = request.json.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "tool" and not reply.tool_calls:
        forced = msgspec.json.decode(reply.text)
        content = [{"type": "tool_use", "id": "toolu_1", "name": choice["name"], "input": forced}]
        reason = "tool_use"
    return {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": anthropic_usage(request, reply),
    }


def anthropic_events(request: ReceivedRequest, reply: Reply) -> list[bytes]:
    """Return the events of a streamed message."""
    whole = anthropic_body(request, reply)
    usage = whole["usage"]
    started = {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": started}, {"type": "ping"}]
    for index, block in enumerate(whole["content"]):
        if block["type"] == "text":
            opening: dict[str, Any] = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        else:
            opening = {**block, "input": {}}
            text = msgspec.json.encode(block["input"]).decode()
            deltas = [{"type": "input_json_delta", "partial_json": text}]
        events.append({"type": "content_block_start", "index": index, "content_block": opening})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    counted = {"output_tokens": usage["output_tokens"]} if isinstance(usage, dict) else usage
    events += [{"type": "message_delta", "delta": ending, "usage": counted}, {"type": "message_stop"}]
    return [
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), msgspec.json.encode(event)) for event in events
    ]


def anthropic_usage(request: ReceivedRequest, reply: Reply) -> JSON:
    """Return Anthropic's usage object for a reply; its input leaves cached tokens out."""
    if reply.usage is not None:
        return reply.usage
    prompt, output = _tokens(request, reply)
    return {
        "input_tokens": prompt - reply.cached_tokens,
        "cache_read_input_tokens": reply.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": output,
    }


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


def _openai_frame(request: ReceivedRequest, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": "fake-1", "object": kind, "created": 1, "model": request.model, "choices": choices}


def _openai_calls(reply: Reply) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in reply.tool_calls
    ]


def _finish(reply: Reply) -> str:
    return "tool_calls" if reply.tool_calls and reply.finish_reason == "stop" else reply.finish_reason


def _tokens(request: ReceivedRequest, reply: Reply) -> tuple[int, int]:
    prompt = max(1, _words(request.prompt)) if reply.input_tokens is None else reply.input_tokens
    output = max(1, _words(reply.text)) if reply.output_tokens is None else reply.output_tokens
    return prompt, output


def _words(text: str) -> int:
    return len(text.split())
