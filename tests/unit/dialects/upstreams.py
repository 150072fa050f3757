"""One answer as every upstream API sends it, whole and streamed, in the shapes that the vendors publish.

It says "It rains.", calls `weather` twice, and used 30 tokens (10 of them cached) and 12 (4 reasoning).
"""

import json
from typing import Any

from crossgrade.domain import DialectName, ModelAnswer, ToolCall, Usage

TEXT = "It rains."
CALLS = (
    ToolCall(id="toolu_A", name="weather", arguments='{"city":"Oslo"}'),
    ToolCall(id="toolu_B", name="weather", arguments='{"city":"Rome","days":2}'),
)
USAGE = Usage(input_tokens=30, output_tokens=12, cache_read_input_tokens=10, reasoning_output_tokens=4)
ANSWER = ModelAnswer(text=TEXT, tool_calls=CALLS, finish_reason="tool_calls", usage=USAGE, model="open-1")

_OPENAI_USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 12,
    "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
_RESPONSES_USAGE = {
    "input_tokens": 30,
    "input_tokens_details": {"cached_tokens": 10},
    "output_tokens": 12,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 42,
}
_ANTHROPIC_USAGE = {
    "input_tokens": 20,
    "cache_read_input_tokens": 10,
    "output_tokens": 12,
    "output_tokens_details": {"thinking_tokens": 4},
}
_GEMINI_USAGE = {
    "promptTokenCount": 30,
    "cachedContentTokenCount": 10,
    "candidatesTokenCount": 8,
    "thoughtsTokenCount": 4,
}


def _data(*payloads: Any, done: bool = False) -> list[bytes]:
    events = [b"data: " + json.dumps(payload).encode() + b"\n\n" for payload in payloads]
    return events + [b"data: [DONE]\n\n"] * done


def _named(*payloads: Any) -> list[bytes]:
    return [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in payloads]


def _chunk(delta: Any, reason: str | None = None) -> Any:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "open-1",
        "choices": [choice],
    }


def _call(index: int, arguments: str, **more: Any) -> Any:
    name = {"name": more.pop("name")} if more else {}
    return {"tool_calls": [{"index": index, **more, "function": {**name, "arguments": arguments}}]}


_OPENAI = [
    *_data(
        _chunk({"role": "assistant", "content": ""}),
        _chunk({"reasoning_content": "Clouds"}),
        _chunk({"content": "It "}),
        _chunk({"content": "rains."}),
        _chunk(_call(0, "", id="toolu_A", type="function", name="weather")),
        _chunk(_call(0, '{"city":')),
        _chunk(_call(0, '"Oslo"}')),
    ),
    b": keep-alive\r\n\r\n",
    *_data(
        _chunk(_call(1, '{"city":"Rome","days":2}', id="toolu_B", type="function", name="weather")),
        _chunk({}, "tool_calls"),
        {
            "id": "c",
            "object": "chat.completion.chunk",
            "model": "open-1",
            "choices": [],
            "usage": _OPENAI_USAGE,
        },
        done=True,
    ),
]

_OUTPUT = [
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {
        "type": "message",
        "id": "m",
        "role": "assistant",
        "content": [{"type": "output_text", "text": TEXT, "annotations": []}],
    },
    *(
        {
            "type": "function_call",
            "id": "fc",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        for call in CALLS
    ),
]
_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "open-1",
    "error": None,
    "incomplete_details": None,
    "output": _OUTPUT,
    "usage": _RESPONSES_USAGE,
}
_EMPTY_RESPONSE = {**_RESPONSE, "status": "in_progress", "output": [], "usage": None}
_RESPONSES = _named(
    {"type": "response.created", "response": _EMPTY_RESPONSE},
    {"type": "response.in_progress", "response": _EMPTY_RESPONSE},
    {"type": "response.output_item.added", "output_index": 0, "item": _OUTPUT[0]},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "Clouds"},
    {"type": "response.output_item.added", "output_index": 1, "item": {**_OUTPUT[1], "content": []}},
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "It "},
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "rains."},
    {"type": "response.output_text.done", "output_index": 1, "content_index": 0, "text": TEXT},
    {"type": "response.output_item.done", "output_index": 1, "item": _OUTPUT[1]},
    {"type": "response.output_item.added", "output_index": 2, "item": {**_OUTPUT[2], "arguments": ""}},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"city":'},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '"Oslo"}'},
    {"type": "response.function_call_arguments.done", "output_index": 2, "arguments": '{"city":"Oslo"}'},
    {"type": "response.output_item.added", "output_index": 3, "item": {**_OUTPUT[3], "arguments": ""}},
    {"type": "response.completed", "response": _RESPONSE},
)

_BLOCKS = [
    {"type": "thinking", "thinking": "Clouds", "signature": "s"},
    {"type": "text", "text": TEXT},
    *(
        {"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments)}
        for call in CALLS
    ),
]
_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "open-1",
    "content": _BLOCKS,
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": _ANTHROPIC_USAGE,
}


def _block(index: int, block: Any, *deltas: Any) -> list[Any]:
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


_ANTHROPIC = _named(
    {
        "type": "message_start",
        "message": {
            **_MESSAGE,
            "content": [],
            "stop_reason": None,
            "usage": {**_ANTHROPIC_USAGE, "output_tokens": 1},
        },
    },
    *_block(0, {"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": "Clouds"}),
    {"type": "ping"},
    *_block(
        1,
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "It "},
        {"type": "text_delta", "text": "rains."},
    ),
    *_block(
        2,
        {**_BLOCKS[2], "input": {}},
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"city":'},
        {"type": "input_json_delta", "partial_json": '"Oslo"}'},
    ),
    *_block(
        3,
        {**_BLOCKS[3], "input": {}},
        {"type": "input_json_delta", "partial_json": '{"city":"Rome","days":2}'},
    ),
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 12, "output_tokens_details": {"thinking_tokens": 4}},
    },
    {"type": "message_stop"},
)


def _candidate(*parts: Any, **more: Any) -> Any:
    return {"content": {"role": "model", "parts": list(parts)}, "index": 0, **more}


_FUNCTION_CALLS = [
    {"functionCall": {"id": call.id, "name": call.name, "args": json.loads(call.arguments)}} for call in CALLS
]
_GEMINI = _data(
    {"candidates": [_candidate({"text": "Clouds", "thought": True})], "modelVersion": "open-1"},
    {"candidates": [_candidate({"text": "It "})], "modelVersion": "open-1"},
    {"candidates": [_candidate({"text": "rains."}, _FUNCTION_CALLS[0])], "modelVersion": "open-1"},
    {
        "candidates": [_candidate(_FUNCTION_CALLS[1], finishReason="STOP")],
        "usageMetadata": _GEMINI_USAGE,
        "modelVersion": "open-1",
    },
)

STREAMS: dict[DialectName, list[bytes]] = {
    "anthropic": _ANTHROPIC,
    "gemini": _GEMINI,
    "openai": _OPENAI,
    "openai-responses": _RESPONSES,
}

WHOLE: dict[DialectName, bytes] = {
    name: json.dumps(body).encode()
    for name, body in {
        "anthropic": _MESSAGE,
        "gemini": {
            "candidates": [_candidate({"text": TEXT}, *_FUNCTION_CALLS, finishReason="STOP")],
            "usageMetadata": _GEMINI_USAGE,
            "modelVersion": "open-1",
        },
        "openai": {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "open-1",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": TEXT,
                        "reasoning_content": "Clouds",
                        "tool_calls": [
                            {
                                "id": call.id,
                                "type": "function",
                                "function": {"name": call.name, "arguments": call.arguments},
                            }
                            for call in CALLS
                        ],
                    },
                    "finish_reason": "tool_calls",
                }
            ],
            "usage": _OPENAI_USAGE,
        },
        "openai-responses": _RESPONSE,
    }.items()
}
