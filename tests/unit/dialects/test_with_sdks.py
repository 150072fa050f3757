"""The vendors' own Python clients, in front of every upstream API: tools, images, streams, errors."""

import json
from typing import Any

import anthropic
import openai
import pytest

from crossgrade.domain import DialectName, ToolCall
from tests.unit.dialects.bridging import Bridge
from tests.unit.dialects.upstreams import CALLS, STREAMS, TEXT

UPSTREAMS: list[DialectName] = ["anthropic", "gemini", "openai", "openai-responses"]
PIXEL = "iVBORw0KGgoAAAANSUhEUg=="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
every_upstream = pytest.mark.parametrize("upstream", UPSTREAMS)
whole_or_streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def openai_client(bridge: Bridge) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{bridge.url}/v1", api_key="sk-x", max_retries=0)


def anthropic_client(bridge: Bridge) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=bridge.url, api_key="sk-x", max_retries=0)


CHAT: dict[str, Any] = {
    "model": "gpt-x",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Weather here?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            ],
        }
    ],
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
    "tool_choice": "required",
}
MESSAGE: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 99,
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Weather here?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            ],
        }
    ],
    "tools": [{"name": "weather", "input_schema": SCHEMA}],
    "tool_choice": {"type": "any"},
}
RESPONSE: dict[str, Any] = {
    "model": "gpt-x",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Weather here?"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
            ],
        }
    ],
    "tools": [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}],
    "tool_choice": "required",
}


def assert_sent(bridge: Bridge) -> None:
    """The question, the image and the tool reached the upstream."""
    sent = json.dumps(bridge.sent.body)
    assert all(word in sent for word in ("Weather here?", PIXEL, "image/png", "weather", "integer"))


@every_upstream
@whole_or_streamed
def test_chat_completions(upstream: DialectName, stream: bool) -> None:
    with Bridge(upstream) as bridge, openai_client(bridge) as client:
        if stream:
            with client.chat.completions.stream(**CHAT, stream_options={"include_usage": True}) as events:
                done = events.get_final_completion()
        else:
            done = client.chat.completions.create(**CHAT)
        assert_sent(bridge)
    (choice,) = done.choices
    assert (choice.message.content, choice.finish_reason) == (TEXT, "tool_calls")
    called = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls]
    assert called == [(call.id, call.name, call.arguments) for call in CALLS]
    assert (done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.total_tokens) == (30, 12, 42)
    assert done.usage.prompt_tokens_details.cached_tokens == 10
    assert done.usage.completion_tokens_details.reasoning_tokens == 4
    assert (done.id, done.model) == ("chatcmpl-abc123", "open-1")


@every_upstream
@whole_or_streamed
def test_messages(upstream: DialectName, stream: bool) -> None:
    with Bridge(upstream) as bridge, anthropic_client(bridge) as client:
        if stream:
            with client.messages.stream(**MESSAGE) as events:
                assert "".join(events.text_stream) == TEXT
                done = events.get_final_message()
        else:
            done = client.messages.create(**MESSAGE)
        assert_sent(bridge)
    text, *calls = done.content
    assert (text.text, done.stop_reason) == (TEXT, "tool_use")
    called = [(call.type, call.id, call.name, call.input) for call in calls]
    assert called == [("tool_use", call.id, call.name, json.loads(call.arguments)) for call in CALLS]
    assert (done.usage.input_tokens, done.usage.cache_read_input_tokens, done.usage.output_tokens) == (
        20,
        10,
        12,
    )
    assert done.usage.output_tokens_details.thinking_tokens == 4
    assert (done.id, done.model) == ("msg_abc123", "open-1")


@every_upstream
@whole_or_streamed
def test_responses(upstream: DialectName, stream: bool) -> None:
    with Bridge(upstream) as bridge, openai_client(bridge) as client:
        if stream:
            with client.responses.stream(**RESPONSE) as events:
                done = events.get_final_response()
        else:
            done = client.responses.create(**RESPONSE)
        assert_sent(bridge)
    message, *calls = done.output
    assert (message.type, done.output_text, done.status) == ("message", TEXT, "completed")
    called = [ToolCall(id=call.call_id, name=call.name, arguments=call.arguments) for call in calls]
    assert tuple(called) == CALLS
    assert (done.usage.input_tokens, done.usage.output_tokens, done.usage.total_tokens) == (30, 12, 42)
    assert done.usage.input_tokens_details.cached_tokens == 10
    assert done.usage.output_tokens_details.reasoning_tokens == 4


@whole_or_streamed
def test_text_completions(stream: bool) -> None:
    asked = {"model": "base", "prompt": "Once"}
    chunk = b'data: {"model":"m","choices":[{"index":0,"text":"upon","finish_reason":null}]}\n\n'
    last = b'data: {"choices":[{"index":0,"text":"","finish_reason":"length"}]}\n\ndata: [DONE]\n\n'
    with Bridge("openai", chunk + last) as bridge, openai_client(bridge) as client:
        if stream:
            pieces = [piece.choices[0] for piece in client.completions.create(**asked, stream=True)]
            assert ("".join(piece.text for piece in pieces), pieces[-1].finish_reason) == ("upon", "length")
        else:
            assert client.completions.create(**asked).choices[0].text == TEXT
        assert (bridge.sent.path, bridge.sent.body["prompt"]) == ("/completions", "Once")


@every_upstream
def test_a_stream_that_breaks_off_is_an_error_for_every_client(upstream: DialectName) -> None:
    half = b"".join(STREAMS[upstream][:-2])
    with Bridge(upstream, half) as bridge:
        with (
            openai_client(bridge) as client,
            client.chat.completions.create(**CHAT, stream=True) as chunks,
            pytest.raises(openai.APIError) as caught,
        ):
            list(chunks)
        assert caught.value.code == "upstream_error"
        with (
            openai_client(bridge) as client,
            client.responses.create(**RESPONSE, stream=True) as events,
            pytest.raises(openai.APIError) as caught,
        ):
            list(events)
        assert caught.value.code == "upstream_error"
        with (
            anthropic_client(bridge) as claude,
            claude.messages.create(**MESSAGE, stream=True) as pieces,
            pytest.raises(anthropic.APIStatusError) as caught,
        ):
            list(pieces)
        assert caught.value.body["error"]["type"] == "api_error"


def test_refusals_are_each_client_s_own_bad_request() -> None:
    with Bridge("anthropic") as bridge:
        with openai_client(bridge) as client:
            with pytest.raises(openai.BadRequestError, match="`n`"):
                client.chat.completions.create(**CHAT, n=2)
            with pytest.raises(openai.BadRequestError, match="`previous_response_id`"):
                client.responses.create(**RESPONSE, previous_response_id="resp_0")
        with anthropic_client(bridge) as claude, pytest.raises(anthropic.BadRequestError, match="`top_k`"):
            claude.messages.create(**MESSAGE, extra_body={"top_k": 5})


def test_what_gemini_cannot_do_is_done_for_it_or_a_bad_request() -> None:
    with Bridge("gemini") as bridge, openai_client(bridge) as client:
        single = client.chat.completions.create(**CHAT, parallel_tool_calls=False)
        assert len(single.choices[0].message.tool_calls) == 1
        with pytest.raises(openai.BadRequestError, match="gemini"):
            client.completions.create(model="m", prompt="Once")


def test_a_schema_asked_of_anthropic_comes_back_as_text() -> None:
    block = {"type": "tool_use", "id": "t", "name": "answer", "input": {}}
    piece = {"type": "input_json_delta", "partial_json": '{"city":"Oslo"}'}
    ending = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}
    events = [
        {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": piece},
        {"type": "content_block_stop", "index": 0},
        ending,
        {"type": "message_stop"},
    ]
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
    asked = {"model": "m", "messages": [{"role": "user", "content": "Where?"}], "response_format": form}
    with Bridge("anthropic", stream) as bridge, openai_client(bridge) as client:
        chunks = [chunk.choices[0] for chunk in client.chat.completions.create(**asked, stream=True)]
    assert "".join(chunk.delta.content or "" for chunk in chunks) == '{"city":"Oslo"}'
    assert chunks[-1].finish_reason == "stop"
    assert all(not chunk.delta.tool_calls for chunk in chunks)
