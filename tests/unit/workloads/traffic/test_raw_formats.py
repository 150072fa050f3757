"""Bodies of requests and responses as an application logs them, Bedrock's log, OpenRouter's export."""

import json
from pathlib import Path
from typing import Any

import pytest

from crossgrade.workloads.traffic import LoggedRequest, Reading, ReadingOptions
from crossgrade.workloads.traffic.request import call_of
from crossgrade.workloads.traffic.turns import turns_of

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1793000000,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"message": {"role": "assistant", "content": "A"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1793000000,
    "model": "gpt-5",
    "status": "completed",
    "output": [
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A"}]},
    ],
    "usage": {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
    },
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "A"}],
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 5,
        "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": 1,
        "output_tokens": 2,
    },
}
ASKED = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]
CONVERSE = {
    "schemaType": "ModelInvocationLog",
    "timestamp": "2026-11-02T08:00:00Z",
    "identity": {"arn": "arn:aws:sts::1:assumed-role/support/session"},
    "requestId": "r",
    "operation": "ConverseStream",
    "modelId": "arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-lite-v1:0",
    "input": {
        "inputBodyJson": {
            "system": [{"text": "S"}],
            "messages": [{"role": "user", "content": [{"text": "Q"}]}],
            "inferenceConfig": {"maxTokens": 8, "temperature": 0.5},
        },
        "inputTokenCount": 5,
        "cacheReadInputTokenCount": 4,
        "cacheWriteInputTokenCount": 1,
    },
    "output": {
        "outputBodyJson": {
            "output": {"message": {"role": "assistant", "content": [{"text": "A"}]}},
            "stopReason": "end_turn",
            "metrics": {"latencyMs": 250},
        },
        "outputTokenCount": 2,
    },
}


def read(tmp_path: Path, *rows: dict[str, Any], texts: bool = True) -> list[LoggedRequest]:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reading = Reading(files=[path], options=ReadingOptions(texts=texts))
    found = [request for _, request in reading.requests()]
    assert not reading.problems.counts
    return found


def facts(request: LoggedRequest, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(request, name) for name in names)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ({"messages": ASKED, "max_tokens": 8, "temperature": 0.5}, CHAT),
        ({"instructions": "S", "input": "Q", "max_output_tokens": 8, "temperature": 0.5}, RESPONSE),
        (
            {
                "system": [{"type": "text", "text": "S"}],
                "messages": ASKED[1:],
                "max_tokens": 8,
                "temperature": 0.5,
            },
            MESSAGE,
        ),
    ],
)
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_a_call_of_every_api(tmp_path: Path, asked: dict, answered: dict, is_wrapped: bool) -> None:
    row = {"timestamp": "2026-11-02T08:00:00Z", "latency_ms": 250, "team": "t"}
    if is_wrapped:
        row |= {"request": {"url": "u", "body": asked}, "response": {"status_code": 200, "body": answered}}
    else:
        row |= {"request": asked, "response": answered}
    (found,) = read(tmp_path, row)
    assert facts(found, "format", "id", "model", "route") == (
        "api-call",
        answered["id"],
        answered["model"],
        "t",
    )
    assert facts(found, "started_at", "latency_s", "status", "failed") == (1793606400.0, 0.25, 200, False)
    assert facts(found, "input", "cached", "max_tokens", "temperature") == (10, 4, 8, 0.5)
    assert facts(found, "messages", "completion", "tool_calls", "finish_reason") == (ASKED, "A", None, "stop")
    (blind,) = read(tmp_path, row, texts=False)
    assert facts(blind, "messages", "completion", "input", "cached") == (None, None, 10, 4)


@pytest.mark.parametrize("answered", [CHAT, RESPONSE, MESSAGE])
def test_a_response_alone(tmp_path: Path, answered: dict) -> None:
    (found,) = read(tmp_path, answered)
    assert facts(found, "id", "model", "input", "cached") == (answered["id"], answered["model"], 10, 4)
    assert facts(found, "completion", "finish_reason") == ("A", "stop")


def test_calls_of_tools_schemas_and_failures(tmp_path: Path) -> None:
    tool = {"type": "function_call", "name": "f", "arguments": "{}"}
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": [tool]}
    used = {"content": [{"type": "tool_use", "name": "f", "input": {}}], "stop_reason": "tool_use"}
    first, second, third = read(
        tmp_path,
        {"request": {"input": "Q", "text": {"format": schema}}, "response": RESPONSE | cut},
        {"request": {"messages": ASKED}, "response": MESSAGE | used},
        {"request": {"messages": ASKED, "model": "m"}, "response": {"error": "busy"}, "status_code": 429},
    )
    for each in (first, second):
        assert [call["function"]["name"] for call in each.tool_calls or ()] == ["f"]
    asked = {"type": "json_schema", "json_schema": schema}
    assert facts(first, "finish_reason", "response_format") == ("length", asked)
    assert second.finish_reason == "tool_calls"
    assert facts(third, "status", "failed", "model", "input") == (429, True, "m", None)


def test_columns_of_a_table_with_these_names(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"request": "what", "response": "that", "model": "m", "prompt": "p"})
    assert facts(found, "format", "completion") == ("table", "that")


def test_bedrock(tmp_path: Path) -> None:
    asked = {"system": "S", "max_tokens": 8, "messages": ASKED[1:]}
    chunks = [{"delta": {"text": "A"}}, {"type": "message_stop"}]
    invoked = {
        "operation": "InvokeModelWithResponseStream",
        "modelId": "anthropic.claude-sonnet-4-5",
        "input": {"inputBodyJson": asked, "inputTokenCount": 5},
        "output": {"outputBodyJson": chunks, "outputTokenCount": 2},
    }
    failed = {"requestId": "f", "errorCode": "ThrottlingException", "output": {}}
    first, second, third = read(tmp_path, CONVERSE, CONVERSE | invoked, CONVERSE | failed)
    assert facts(first, "model", "provider", "route") == ("us.amazon.nova-lite-v1:0", "bedrock", "support")
    assert facts(first, "input", "cached", "cache_written", "output") == (10, 4, 1, 2)
    assert facts(first, "latency_s", "stream", "max_tokens", "temperature") == (0.25, True, 8, 0.5)
    assert first.messages == [ASKED[0], {"role": "user", "content": [{"type": "text", "text": "Q"}]}]
    assert facts(first, "completion", "finish_reason") == ("A", "stop")
    assert facts(second, "input", "cached", "output", "messages", "completion") == (5, None, 2, ASKED, "A")
    assert facts(third, "failed", "status", "completion") == (True, None, None)


def test_openrouter(tmp_path: Path) -> None:
    path = tmp_path / "openrouter_activity.csv"
    path.write_text(
        "generation_id,created_at,cost_total,tokens_prompt,tokens_completion,tokens_reasoning,tokens_cached,"
        "model_permaslug,provider_name,generation_time_ms,app_name,streamed\n"
        "gen-1,2026-11-02 08:00:00,0.25,10,5,3,4,openai/gpt-4.1-2025-04-14,OpenAI,250,support,true\n"
    )
    ((_, found),) = Reading(files=[path]).requests()
    assert facts(found, "id", "model", "provider", "route") == (
        "gen-1",
        "openai/gpt-4.1-2025-04-14",
        "openrouter",
        "support",
    )
    assert facts(found, "input", "cached", "output", "reasoning", "cost_usd") == (10, 4, 5, 3, 0.25)
    assert facts(found, "started_at", "latency_s", "calls", "stream") == (1793606400.0, 0.25, None, True)
    day = {
        "date": "2026-11-02",
        "model": "openai/gpt-4.1",
        "model_permaslug": "openai/gpt-4.1",
        "requests": 7,
    }
    counts = {"usage": 0.5, "prompt_tokens": 70, "completion_tokens": 14, "reasoning_tokens": 0}
    (summed,) = read(tmp_path, day | counts)
    assert facts(summed, "calls", "input", "output", "cost_usd") == (7, 70, 14, 0.5)
    generation = {
        "id": "gen-2",
        "model": "m",
        "native_tokens_prompt": 64,
        "total_cost": 0.001,
        "streamed": True,
    }
    (single,) = read(tmp_path, {"data": generation})
    assert facts(single, "format", "id", "input", "stream") == ("openrouter", "gen-2", 64, True)


def test_rows_of_litellm_without_a_status(tmp_path: Path) -> None:
    row = {"spend": 0.1, "startTime": "2026-11-02T08:00:00Z", "model": "m"}
    error = {"error_information": {"error_code": "429"}}
    found = read(
        tmp_path,
        row | {"request_id": "a", "metadata": {"status": "success"}},
        row | {"request_id": "b", "metadata": {"status": "failure", **error}},
        row | {"request_id": "c", "metadata": error},
        row | {"request_id": "d", "metadata": {}},
    )
    assert [facts(each, "status", "failed") for each in found] == [
        (200, False),
        (429, True),
        (429, True),
        (None, None),
    ]


def test_the_own_bodies_of_models_at_bedrock(tmp_path: Path) -> None:
    asked = {"max_gen_len": 8, "temperature": 0.5, "prompt": "Q"}
    titan = {"inputText": "Q", "textGenerationConfig": {"maxTokenCount": 8, "temperature": 0.5}}
    calls: list[tuple[str, dict[str, Any], Any]] = [
        ("meta.llama3-1-70b-instruct-v1:0", asked, {"generation": "A B", "stop_reason": "stop"}),
        (
            "meta.llama3-1-70b-instruct-v1:0",
            asked,
            [{"generation": "A", "stop_reason": None}, {"generation": " B", "stop_reason": "stop"}],
        ),
        (
            "amazon.titan-text-express-v1",
            titan,
            {"results": [{"outputText": "A B", "completionReason": "FINISH"}]},
        ),
        (
            "amazon.titan-text-express-v1",
            titan,
            [{"outputText": "A"}, {"outputText": " B", "completionReason": "FINISH"}],
        ),
        (
            "mistral.mistral-large-2402-v1:0",
            {"prompt": "Q", "max_tokens": 8, "temperature": 0.5},
            {"outputs": [{"text": "A B", "stop_reason": "stop"}]},
        ),
        (
            "amazon.nova-lite-v1:0",
            {
                "messages": [{"role": "user", "content": [{"text": "Q"}]}],
                "inferenceConfig": {"max_new_tokens": 8, "temperature": 0.5},
            },
            [
                {"messageStart": {"role": "assistant"}},
                {"contentBlockDelta": {"delta": {"text": "A"}}},
                {"contentBlockDelta": {"delta": {"text": " B"}}},
                {"messageStop": {"stopReason": "end_turn"}},
            ],
        ),
        (
            "anthropic.claude-sonnet-4-5",
            {"messages": [{"role": "user", "content": "Q"}], "max_tokens": 8, "temperature": 0.5},
            [
                {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "A B"}},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            ],
        ),
    ]
    rows = [
        CONVERSE
        | {"modelId": model, "operation": "InvokeModel"}
        | {"input": {"inputBodyJson": body, "inputTokenCount": 5}}
        | {"output": {"outputBodyJson": answer, "outputTokenCount": 2}}
        for model, body, answer in calls
    ]
    for found in read(tmp_path, *rows):
        assert facts(found, "completion", "finish_reason", "tool_calls") == ("A B", "stop", None), found.model
        assert facts(found, "max_tokens", "temperature", "input", "output") == (8, 0.5, 5, 2), found.model
        assert turns_of(found.messages or ()).question == "Q"
        is_chat = "messages" in next(body for model, body, _ in calls if model == found.model)
        assert call_of(found.call, found.model, batch=False) == ("chat" if is_chat else "completion")
    assert {facts(each, "messages", "completion") for each in read(tmp_path, *rows, texts=False)} == {
        (None, None)
    }
    embedded = {
        "input": {"inputBodyJson": {"inputText": "Q"}},
        "output": {"outputBodyJson": {"embedding": [1]}},
    }
    (found,) = read(tmp_path, CONVERSE | embedded | {"modelId": "amazon.titan-embed-text-v2:0"})
    assert call_of(found.call, found.model, batch=False) == "embedding"
