"""Anthropic's messages API, after its published shapes."""

import json
from dataclasses import replace

import pytest

from crossgrade.dialects import DIALECTS, HOSTS, SseEvent
from crossgrade.domain import Message, ModelRequest, ToolCall, Usage
from crossgrade.errors import UpstreamError
from tests.codes import raises_code

ANTHROPIC = DIALECTS["anthropic"]
HOST = HOSTS["anthropic"]


def message(content: list[dict[str, object]], **fields: object) -> bytes:
    base = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x"}
    return json.dumps({**base, "content": content, "stop_reason": "end_turn", **fields}).encode()


def event(**fields: object) -> SseEvent:
    return SseEvent(str(fields["type"]), json.dumps(fields).encode())


def test_a_plain_request(plain: ModelRequest) -> None:
    wire = ANTHROPIC.encode(plain, HOST, True)
    assert wire.path == "/messages"
    assert wire.body == {
        "model": "some-model",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "Hi"}],
        "system": "Be brief.",
        "temperature": 0.0,
        "top_p": 0.9,
        "stream": True,
    }


def test_a_conversation_with_tools(conversation: ModelRequest) -> None:
    body = ANTHROPIC.encode(conversation, HOST, False).body
    assert body["max_tokens"] == 4096
    assert body["messages"] == [
        {"role": "user", "content": "Weather in Oslo?"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "rain"}]},
    ]
    assert body["tools"][0]["input_schema"]["type"] == "object"
    assert body["tool_choice"] == {"type": "tool", "name": "weather"}


def test_neighbouring_turns_are_joined() -> None:
    turns = (Message(role="user", content="a"), Message(role="user", content="b"))
    body = ANTHROPIC.encode(ModelRequest(model="m", messages=turns), HOST, False).body
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    ]


def test_a_schema_is_a_forced_tool_and_its_input_the_answer(structured: ModelRequest) -> None:
    body = ANTHROPIC.encode(structured, HOST, False).body
    assert body["tools"][0]["input_schema"] == structured.response_schema
    assert body["tool_choice"] == {"type": "tool", "name": "answer"}
    use = {"type": "tool_use", "id": "t", "name": "answer", "input": {"team": "ops"}}
    found = ANTHROPIC.decode(message([use], stop_reason="tool_use"), structured)
    assert (found.text, found.tool_calls, found.finish_reason) == ('{"team":"ops"}', (), "stop")


def test_a_schema_of_no_object_is_boxed() -> None:
    request = ModelRequest(model="m", response_schema={"type": "array", "items": {"type": "string"}})
    schema = ANTHROPIC.encode(request, HOST, False).body["tools"][0]["input_schema"]
    assert schema["properties"]["value"] == request.response_schema
    use = {"type": "tool_use", "id": "t", "name": "answer", "input": {"value": ["a"]}}
    assert ANTHROPIC.decode(message([use], stop_reason="tool_use"), request).text == '["a"]'


def test_a_schema_beside_tools_leaves_the_choice(conversation: ModelRequest) -> None:
    both = replace(conversation, response_schema={"type": "object"})
    assert ANTHROPIC.encode(both, HOST, False).body["tool_choice"] == {"type": "any"}


def test_an_answer_counts_cached_tokens_as_input(plain: ModelRequest) -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 50,
        "output_tokens": 7,
    }
    found = ANTHROPIC.decode(message([{"type": "text", "text": "Hello"}], usage=usage), plain)
    assert (found.text, found.finish_reason, found.model) == ("Hello", "stop", "claude-x")
    assert found.usage == Usage(
        input_tokens=160, output_tokens=7, cache_read_input_tokens=100, cache_creation_input_tokens=50
    )


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [
        ("max_tokens", "length"),
        ("stop_sequence", "stop"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
    ],
)
def test_stop_reasons(plain: ModelRequest, reason: str, wanted: str) -> None:
    body = message([{"type": "text", "text": "x"}], stop_reason=reason)
    assert ANTHROPIC.decode(body, plain).finish_reason == wanted


def test_what_is_no_answer(plain: ModelRequest) -> None:
    for body in (b"{}", message([], stop_reason=None), b'{"content": null, "stop_reason": "end_turn"}'):
        with pytest.raises(UpstreamError):
            ANTHROPIC.decode(body, plain)
    with raises_code("upstream", "Overloaded"):
        ANTHROPIC.decode(
            b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', plain
        )


def test_the_temperature_is_capped_as_anthropic_caps_it(plain: ModelRequest) -> None:
    for given, sent in ((1.7, 1.0), (0.3, 0.3)):
        hot = replace(plain, settings=replace(plain.settings, temperature=given))
        assert ANTHROPIC.encode(hot, HOST, False).body["temperature"] == sent


def test_raw_text_and_broken_arguments_are_refused(plain: ModelRequest) -> None:
    with raises_code("raw-text-not-carried"):
        ANTHROPIC.encode(ModelRequest(model="m", text="x"), HOST, False)
    broken = Message(
        role="assistant", content=None, tool_calls=(ToolCall(id="1", name="f", arguments="{oops"),)
    )
    with raises_code("arguments-not-json"):
        ANTHROPIC.encode(replace(plain, messages=(broken,)), HOST, False)


def test_a_stream(plain: ModelRequest) -> None:
    collector = ANTHROPIC.collect(plain)
    opening = {"type": "message", "model": "claude-x", "content": [], "stop_reason": None}
    usage = {"input_tokens": 25, "cache_read_input_tokens": 5, "output_tokens": 1}
    collector.feed(event(type="message_start", message={**opening, "usage": usage}))
    collector.feed(event(type="content_block_start", index=0, content_block={"type": "text", "text": ""}))
    collector.feed(event(type="ping"))
    assert not collector.started
    collector.feed(event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "Hel"}))
    assert collector.started
    collector.feed(event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "lo"}))
    collector.feed(event(type="content_block_stop", index=0))
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    collector.feed(event(type="content_block_start", index=1, content_block=call))
    for piece in ("", '{"a":', "1}"):
        delta = {"type": "input_json_delta", "partial_json": piece}
        collector.feed(event(type="content_block_delta", index=1, delta=delta))
    ending = {"stop_reason": "tool_use", "stop_sequence": None}
    collector.feed(event(type="message_delta", delta=ending, usage={"output_tokens": 15}))
    with raises_code("stream-broke-off"):
        collector.answer()
    collector.feed(event(type="message_stop"))
    found = collector.answer()
    assert (found.text, found.finish_reason) == ("Hello", "tool_calls")
    assert found.tool_calls == (ToolCall(id="t1", name="f", arguments='{"a":1}'),)
    assert found.usage == Usage(input_tokens=30, output_tokens=15, cache_read_input_tokens=5)


def test_an_error_event(plain: ModelRequest) -> None:
    failure = {"type": "overloaded_error", "message": "Overloaded"}
    with raises_code("upstream", "Overloaded"):
        ANTHROPIC.collect(plain).feed(event(type="error", error=failure))
