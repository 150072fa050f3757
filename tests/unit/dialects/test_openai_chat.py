"""Chat and text completions: requests and answers as OpenAI and compatible hosts publish them."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from crossgrade.dialects import DIALECTS, HOSTS, SseEvent
from crossgrade.domain import GenerationSettings, GrammarRequest, Message, ModelRequest, ToolCall, Usage
from crossgrade.errors import RateLimitedError
from tests.codes import raises_code

OPENAI = DIALECTS["openai"]


def chunk(**fields: object) -> SseEvent:
    return SseEvent("", json.dumps(fields).encode())


def answer(choice: dict[str, object], **fields: object) -> bytes:
    return json.dumps({"id": "x", "model": "m-1", "choices": [choice], **fields}).encode()


def test_a_plain_request(plain: ModelRequest) -> None:
    wire = OPENAI.encode(plain, HOSTS["openai"], False)
    assert wire.path == "/chat/completions"
    assert wire.body == {
        "model": "some-model",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_completion_tokens": 64,
        "temperature": 0.0,
        "top_p": 0.9,
    }


def test_settings_left_open_are_not_sent() -> None:
    request = ModelRequest(model="m", settings=GenerationSettings(temperature=None, max_output_tokens=None))
    assert OPENAI.encode(request, HOSTS["openai"], False).body == {"model": "m", "messages": []}


def test_a_conversation_with_tools(conversation: ModelRequest) -> None:
    body = OPENAI.encode(conversation, HOSTS["openai"], False).body
    function = {"name": "weather", "arguments": '{"city":"Oslo"}'}
    assert body["messages"][1] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }
    assert body["messages"][2] == {"role": "tool", "content": "rain", "tool_call_id": "c1"}
    assert body["tools"][0]["function"]["name"] == "weather"
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_tool_choice_modes(conversation: ModelRequest, choice: str) -> None:
    body = OPENAI.encode(replace(conversation, tool_choice=choice), HOSTS["openai"], False).body
    assert body["tool_choice"] == choice


def test_schemas_in_each_dialect(structured: ModelRequest) -> None:
    schema = structured.response_schema
    strict = {"name": "answer", "schema": schema, "strict": True}
    plain = {"name": "answer", "schema": schema}
    wanted = {
        "openai": {"type": "json_schema", "json_schema": strict},
        "together": {"type": "json_schema", "json_schema": plain},
        "deepseek": {"type": "json_object"},
    }
    for host, response_format in wanted.items():
        assert OPENAI.encode(structured, HOSTS[host], False).body["response_format"] == response_format


def test_hosts_differ_in_names(plain: ModelRequest) -> None:
    seeded = replace(plain, settings=GenerationSettings(seed=7, max_output_tokens=9, stop=("END",)))
    mistral = OPENAI.encode(seeded, HOSTS["mistral"], True).body
    assert mistral["random_seed"] == 7
    assert mistral["max_tokens"] == 9
    assert "stream_options" not in mistral
    openai = OPENAI.encode(seeded, HOSTS["openai"], True).body
    assert openai["seed"] == 7
    assert openai["stop"] == ["END"]
    assert openai["stream_options"] == {"include_usage": True}
    assert "seed" not in OPENAI.encode(seeded, HOSTS["sambanova"], False).body


def test_raw_text_goes_to_completions() -> None:
    wire = OPENAI.encode(ModelRequest(model="m", text="Once upon"), HOSTS["openai"], False)
    assert wire.path == "/completions"
    assert wire.body == {"model": "m", "prompt": "Once upon", "max_tokens": 512, "temperature": 0.0}
    body = answer({"index": 0, "text": " a time", "finish_reason": "length"})
    assert OPENAI.decode(body, ModelRequest(model="m", text="Once upon")).text == " a time"


GBNF = 'root ::= "yes" | "no"'


@pytest.mark.parametrize(
    ("host", "fields"),
    [
        ("local", {"grammar": GBNF}),
        ("llamacpp", {"grammar": GBNF}),
        ("vllm", {"structured_outputs": {"grammar": GBNF}}),
        ("fireworks", {"response_format": {"type": "grammar", "grammar": GBNF}}),
    ],
)
def test_a_grammar_goes_where_the_host_takes_one(host: str, fields: dict[str, object]) -> None:
    request = GrammarRequest(model="m", text="Is it?", grammar=GBNF)
    body = OPENAI.encode(request, HOSTS[host], False).body
    assert {name: body[name] for name in fields} == fields


@pytest.mark.parametrize("host", ["openai", "anthropic", "gemini", "openai-responses", "openai-compatible"])
def test_other_hosts_refuse_a_grammar(host: str) -> None:
    asked = GrammarRequest(model="m", messages=(Message(role="user", content="Is it?"),), grammar=GBNF)
    with raises_code("grammar-not-carried", host):
        DIALECTS[HOSTS[host].dialect].encode(asked, HOSTS[host], False)


def test_an_answer_with_details(plain: ModelRequest) -> None:
    body = answer(
        {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"},
        usage={
            "prompt_tokens": 20,
            "completion_tokens": 9,
            "total_tokens": 29,
            "prompt_tokens_details": {"cached_tokens": 16, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
    )
    found = OPENAI.decode(body, plain)
    assert (found.text, found.finish_reason, found.model) == ("Hello.", "stop", "m-1")
    assert found.usage == Usage(
        input_tokens=20, output_tokens=9, cache_read_input_tokens=16, reasoning_output_tokens=4
    )


def test_tool_calls_and_hosts_that_send_objects(plain: ModelRequest) -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"function": {"name": "g", "arguments": {"y": 2}}},
    ]
    message = {"content": None, "tool_calls": calls}
    found = OPENAI.decode(answer({"message": message, "finish_reason": "stop"}), plain)
    assert found.finish_reason == "tool_calls"
    assert found.tool_calls == (
        ToolCall(id="a", name="f", arguments='{"x": 1}'),
        ToolCall(id="call_1", name="g", arguments='{"y":2}'),
    )


def test_a_refusal_is_a_filtered_answer(plain: ModelRequest) -> None:
    body = answer({"message": {"content": None, "refusal": "I cannot."}, "finish_reason": "stop"})
    found = OPENAI.decode(body, plain)
    assert (found.text, found.finish_reason) == ("I cannot.", "content_filter")


def test_content_in_parts(plain: ModelRequest) -> None:
    parts = [
        {"type": "thinking", "thinking": []},
        {"type": {"a": "b"}, "text": "no"},
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]
    assert OPENAI.decode(answer({"message": {"content": parts}}), plain).text == "ab"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"choices": []}', ("answer-without-content",)),
        (b"{}", ("answer-without-content",)),
        (b"[]", ("answer-shape",)),
        (b"", ("answer-not-json",)),
        (b'{"choices": [{"message"', ("answer-not-json",)),
        (b'{"choices": [{}]}', ("answer-without-content",)),
        (b'{"choices": [{"message": {"content": 5}}]}', ("answer-shape",)),
        (b'{"choices": [{"message": {"content": "x", "tool_calls": [{}]}}]}', ("call-without-name",)),
        (b'{"choices": "none"}', ("answer-shape",)),
        (b"\xff\xfe{", ("answer-not-json",)),
        (b'{"usage":' + b"[" * 100_000, ("answer-not-json",)),
        (b'{"error": {"message": "it broke"}}', ("upstream", "it broke")),
    ],
)
def test_what_is_no_answer(plain: ModelRequest, body: bytes, words: str) -> None:
    with raises_code(*words):
        OPENAI.decode(body, plain)


def test_an_error_inside_a_200_keeps_its_class(plain: ModelRequest) -> None:
    body = b'{"error": {"message": "slow down, try again in 1.5s", "code": 429}}'
    with pytest.raises(RateLimitedError) as caught:
        OPENAI.decode(body, plain)
    assert caught.value.retry_after_s == 1.5


def test_a_stream(plain: ModelRequest) -> None:
    collector = OPENAI.collect(plain)
    collector.feed(chunk(model="m-1", choices=[{"delta": {"role": "assistant", "content": ""}}]))
    assert not collector.started
    collector.feed(chunk(choices=[{"delta": {"reasoning_content": "hm"}}]))
    assert collector.started
    collector.feed(chunk(choices=[{"delta": {"content": "Hel"}}]))
    collector.feed(chunk(choices=[{"delta": {"content": "lo"}, "finish_reason": None}]))
    collector.feed(chunk(choices=[{"delta": {}, "finish_reason": "stop"}]))
    collector.feed(chunk(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 2}))
    assert not collector.done
    collector.feed(SseEvent("", b"[DONE]"))
    collector.feed(SseEvent("", b"not even JSON"))
    assert collector.done
    found = collector.answer()
    assert (found.text, found.finish_reason, found.model) == ("Hello", "stop", "m-1")
    assert found.usage == Usage(input_tokens=3, output_tokens=2)


def _by_index(at: int, **call: object) -> dict[str, object]:
    return {"index": at, **call}


def _by_order(_: int, **call: object) -> dict[str, object]:
    return call


@pytest.mark.parametrize("shape", [_by_index, _by_order])
def test_streamed_tool_calls(plain: ModelRequest, shape: Callable[..., dict[str, object]]) -> None:
    deltas = [
        shape(0, id="a", function={"name": "f", "arguments": ""}),
        shape(0, function={"arguments": '{"x":'}),
        shape(0, function={"arguments": "1}"}),
        shape(1, id="b", function={"name": "g", "arguments": "{}"}),
    ]
    collector = OPENAI.collect(plain)
    for delta in deltas:
        collector.feed(chunk(choices=[{"delta": {"tool_calls": [delta]}}]))
    collector.feed(chunk(choices=[{"delta": {}, "finish_reason": "tool_calls"}]))
    assert collector.answer().tool_calls == (
        ToolCall(id="a", name="f", arguments='{"x":1}'),
        ToolCall(id="b", name="g", arguments="{}"),
    )


def test_done_without_a_finish_reason_is_a_failure(plain: ModelRequest) -> None:
    collector = OPENAI.collect(plain)
    collector.feed(chunk(choices=[{"delta": {"content": "Hel"}}]))
    collector.feed(SseEvent("", b"[DONE]"))
    with raises_code("stream-broke-off"):
        collector.answer()


def test_an_error_in_the_stream(plain: ModelRequest) -> None:
    with raises_code("upstream", "overloaded"):
        OPENAI.collect(plain).feed(chunk(error={"message": "overloaded", "type": "server_error"}))


def test_a_flood_of_streamed_tool_calls_is_cut_short(plain: ModelRequest) -> None:
    collector = OPENAI.collect(plain)
    calls = [{"id": str(number), "function": {"name": "f"}} for number in range(1025)]
    with raises_code("stream-too-many-calls", "1024"):
        collector.feed(chunk(choices=[{"delta": {"tool_calls": calls}}]))
