"""The responses API, after its published shapes."""

import json
from dataclasses import replace

import pytest

from crossgrade.dialects import DIALECTS, HOSTS, SseEvent
from crossgrade.domain import GenerationSettings, ModelRequest, ToolCall, Usage
from crossgrade.errors import BadRequestError, RateLimitedError
from tests.codes import raises_code

RESPONSES = DIALECTS["openai-responses"]
HOST = HOSTS["openai-responses"]

COMPLETED = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "m-1",
    "error": None,
    "incomplete_details": None,
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
        },
    ],
    "usage": {
        "input_tokens": 30,
        "input_tokens_details": {"cached_tokens": 10},
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 8},
        "total_tokens": 42,
    },
}


def test_a_plain_request(plain: ModelRequest) -> None:
    settings = replace(plain.settings, reasoning_effort="low")
    wire = RESPONSES.encode(replace(plain, settings=settings), HOST, True)
    assert wire.path == "/responses"
    assert wire.body == {
        "model": "some-model",
        "store": False,
        "input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_output_tokens": 64,
        "temperature": 0.0,
        "top_p": 0.9,
        "reasoning": {"effort": "low"},
        "stream": True,
    }


def test_tools_and_their_results(conversation: ModelRequest) -> None:
    body = RESPONSES.encode(conversation, HOST, False).body
    assert body["input"][1:] == [
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Oslo"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    ]
    assert body["tools"][0]["name"] == "weather"
    assert body["tool_choice"] == {"type": "function", "name": "weather"}


def test_a_schema(structured: ModelRequest) -> None:
    body = RESPONSES.encode(structured, HOST, False).body
    assert body["text"]["format"]["schema"] == structured.response_schema
    assert body["text"]["format"]["strict"] is True


@pytest.mark.parametrize(
    "request_",
    [ModelRequest(model="m", text="raw"), ModelRequest(model="m", settings=GenerationSettings(stop=("x",)))],
)
def test_what_it_cannot_do_is_said(request_: ModelRequest) -> None:
    with pytest.raises(BadRequestError):
        RESPONSES.encode(request_, HOST, False)


def test_an_answer(plain: ModelRequest) -> None:
    found = RESPONSES.decode(json.dumps(COMPLETED).encode(), plain)
    assert (found.text, found.finish_reason, found.model) == ("Hello", "stop", "m-1")
    assert found.usage == Usage(
        input_tokens=30, output_tokens=12, cache_read_input_tokens=10, reasoning_output_tokens=8
    )


def test_calls_and_incomplete_answers(plain: ModelRequest) -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    found = RESPONSES.decode(json.dumps({**COMPLETED, "output": [call]}).encode(), plain)
    assert found.tool_calls == (ToolCall(id="c1", name="f", arguments="{}"),)
    assert found.finish_reason == "tool_calls"
    cut = {**COMPLETED, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert RESPONSES.decode(json.dumps(cut).encode(), plain).finish_reason == "length"


def test_failures(plain: ModelRequest) -> None:
    error = {"code": "rate_limit_exceeded", "message": "too fast"}
    with pytest.raises(RateLimitedError):
        RESPONSES.decode(json.dumps({**COMPLETED, "status": "failed", "error": error}).encode(), plain)
    with raises_code("answer-without-content"):
        RESPONSES.decode(b'{"status": "queued"}', plain)


def test_a_stream(plain: ModelRequest) -> None:
    collector = RESPONSES.collect(plain)
    for kind in ("response.created", "response.in_progress", "response.output_item.added"):
        collector.feed(SseEvent(kind, json.dumps({"type": kind}).encode()))
    assert not collector.started
    collector.feed(SseEvent("", b'{"type": "response.output_text.delta", "delta": "Hel"}'))
    assert collector.started
    with raises_code("stream-broke-off"):
        collector.answer()
    ending = {"type": "response.completed", "response": COMPLETED}
    collector.feed(SseEvent("response.completed", json.dumps(ending).encode()))
    assert collector.done
    assert collector.answer().text == "Hello"


def test_an_error_event(plain: ModelRequest) -> None:
    event = {"type": "error", "code": "rate_limit_exceeded", "message": "Too fast", "param": None}
    with raises_code("rate-limited", "Too fast"):
        RESPONSES.collect(plain).feed(SseEvent("error", json.dumps(event).encode()))
