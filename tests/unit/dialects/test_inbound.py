"""Clients' requests: one question in every client API is one record, and nothing is lost silently."""

import json
from dataclasses import replace
from typing import Any

import pytest

from crossgrade.dialects import CLIENTS, DIALECTS, HOSTS, ClientName, InboundRequest
from crossgrade.domain import GenerationSettings, Image, Message, ModelRequest, Tool, ToolCall
from crossgrade.errors import BadRequestError
from tests.codes import raises_code

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
SCHEMA = {"type": "object", "properties": {"rain": {"type": "boolean"}}}
PNG = Image(data="AAAA", media_type="image/png")
PHOTO = Image(url="https://example.org/oslo.jpg")

REQUEST = ModelRequest(
    model="m",
    messages=(
        Message(role="system", content="Be brief."),
        Message(role="user", content="Where?", parts=("Where?", PNG, PHOTO)),
        Message(
            role="assistant",
            content="Let me look.",
            tool_calls=(
                ToolCall(id="c1", name="weather", arguments='{"city":"Oslo"}'),
                ToolCall(id="c2", name="weather", arguments="{}"),
            ),
        ),
        Message(role="tool", content="rain", tool_call_id="c1"),
        Message(role="tool", content="Error: no city", tool_call_id="c2"),
        Message(role="user", content="And now?"),
    ),
    settings=GenerationSettings(temperature=0.5, top_p=0.9, max_output_tokens=64, reasoning_effort="low"),
    tools=(Tool(name="weather", description="Tells it.", parameters=PARAMETERS, strict=True),),
    tool_choice="weather",
    parallel_tool_calls=False,
    response_schema=SCHEMA,
)

CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Where?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": PHOTO.url}},
            ],
        },
        {
            "role": "assistant",
            "content": "Let me look.",
            "refusal": None,
            "annotations": [],
            "reasoning_content": "hm",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                },
                {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "Error: no city"}]},
        {"role": "user", "content": "And now?"},
    ],
    "temperature": 0.5,
    "top_p": 0.9,
    "max_completion_tokens": 64,
    "reasoning_effort": "low",
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Tells it.",
                "parameters": PARAMETERS,
                "strict": True,
            },
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "parallel_tool_calls": False,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "r", "schema": SCHEMA, "strict": True},
    },
    "n": 1,
    "logprobs": False,
    "presence_penalty": 0.0,
    "modalities": ["text"],
    "store": True,
    "service_tier": "auto",
}
RESPONSE: dict[str, Any] = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Where?"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
                {"type": "input_image", "image_url": PHOTO.url},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "xyz"},
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Let me look.", "annotations": []}],
        },
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "weather",
            "arguments": '{"city":"Oslo"}',
            "id": "fc_1",
        },
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "Error: no city"}],
        },
        {"role": "user", "content": "And now?"},
    ],
    "temperature": 0.5,
    "top_p": 0.9,
    "max_output_tokens": 64,
    "reasoning": {"effort": "low", "summary": "auto"},
    "tools": [
        {
            "type": "function",
            "name": "weather",
            "description": "Tells it.",
            "parameters": PARAMETERS,
            "strict": True,
        }
    ],
    "tool_choice": {"type": "function", "name": "weather"},
    "parallel_tool_calls": False,
    "text": {
        "format": {"type": "json_schema", "name": "r", "schema": SCHEMA, "strict": True},
        "verbosity": "medium",
    },
    "include": ["reasoning.encrypted_content"],
    "store": False,
    "truncation": "disabled",
}
MESSAGE: dict[str, Any] = {
    "model": "m",
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Where?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": PHOTO.url}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}},
                {"type": "tool_use", "id": "c2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "rain"},
                {
                    "type": "tool_result",
                    "tool_use_id": "c2",
                    "content": [{"type": "text", "text": "no city"}],
                    "is_error": True,
                },
                {"type": "text", "text": "And now?"},
            ],
        },
    ],
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 64,
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "tools": [{"name": "weather", "description": "Tells it.", "input_schema": PARAMETERS, "strict": True}],
    "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2048},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
}
BODIES: dict[ClientName, dict[str, Any]] = {
    "openai": CHAT,
    "openai-responses": RESPONSE,
    "anthropic": MESSAGE,
}


def read(client: ClientName, body: dict[str, Any], **fields: Any) -> InboundRequest:
    return CLIENTS[client].read_request(json.dumps({**body, **fields}).encode())


@pytest.mark.parametrize("client", BODIES)
def test_one_question_in_every_api(client: ClientName) -> None:
    inbound = read(client, BODIES[client])
    assert inbound.request == REQUEST
    assert (inbound.stream, inbound.user, inbound.conversation) == (False, None, None)


def test_streaming_and_who_asks() -> None:
    options = {"include_usage": True, "include_obfuscation": False}
    labels = {"session_id": "s1", "n": 3}
    chat = read("openai", CHAT, stream=True, stream_options=options, user="u", metadata=labels)
    assert (chat.stream, chat.include_usage, chat.user, chat.conversation) == (True, True, "u", "s1")
    assert chat.metadata == {"session_id": "s1", "n": "3"}
    assert not read("openai", CHAT, stream=True).include_usage
    response = read("openai-responses", RESPONSE, stream=True, safety_identifier="u", prompt_cache_key="k")
    assert (response.include_usage, response.user, response.conversation) == (True, "u", "k")
    message = read("anthropic", MESSAGE, stream=True, metadata={"user_id": "u"})
    assert (message.stream, message.include_usage, message.user) == (True, True, "u")


def test_what_is_left_open_stays_open() -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    unset = GenerationSettings(temperature=None, max_output_tokens=None)
    wanted = ModelRequest(model="m", messages=(Message(role="user", content="Hi"),), settings=unset)
    assert read("openai", asked).request == wanted
    assert read("openai-responses", {"model": "m", "input": "Hi"}).request == wanted


def test_text_completions() -> None:
    inbound = read(
        "openai-text", {"model": "m", "prompt": ["Once"], "max_tokens": 9, "stop": "\n", "stream": True}
    )
    assert inbound.request.text == "Once"
    assert (inbound.request.settings.max_output_tokens, inbound.request.settings.stop) == (9, ("\n",))
    for prompt in (None, [], ["a", "b"], [1, 2]):
        with raises_code("field-invalid", "prompt"):
            read("openai-text", {"model": "m", "prompt": prompt})


def test_json_mode_is_the_schema_of_any_object() -> None:
    assert read("openai", CHAT, response_format={"type": "json_object"}).request.response_schema == {
        "type": "object"
    }
    assert read("openai", CHAT, response_format={"type": "text"}).request.response_schema is None
    text = {"format": {"type": "json_object"}}
    assert read("openai-responses", RESPONSE, text=text).request.response_schema == {"type": "object"}


def test_tool_choices() -> None:
    for choice, wanted in (("auto", "auto"), ("none", "none"), ("any", "required")):
        assert read("anthropic", MESSAGE, tool_choice={"type": choice}).request.tool_choice == wanted
    for choice in ("auto", "none", "required"):
        assert read("openai", CHAT, tool_choice=choice).request.tool_choice == choice
        assert read("openai-responses", RESPONSE, tool_choice=choice).request.tool_choice == choice


def test_images_in_tools_results() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "see"}, image]}
    messages = [*MESSAGE["messages"][:2], {"role": "user", "content": [result]}]
    last = read("anthropic", MESSAGE, messages=messages).request.messages[-1]
    assert last == Message(role="tool", content="see", parts=("see", PNG), tool_call_id="c1")
    output = [
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
    ]
    items = [*RESPONSE["input"][:5], {"type": "function_call_output", "call_id": "c1", "output": output}]
    assert read("openai-responses", RESPONSE, input=items).request.messages[-1] == last


def user(*content: Any) -> list[Any]:
    return [{"role": "user", "content": list(content)}]


def calls(arguments: str, count: int) -> list[Any]:
    call = {"id": "a", "function": {"name": "f", "arguments": arguments}}
    return [{"role": "assistant", "tool_calls": [call] * count}, *user({"type": "text", "text": "a"})]


REFUSED: list[tuple[ClientName, dict[str, Any], tuple[str, ...]]] = [
    ("openai", {"n": 2}, ("field-not-carried", "n")),
    ("openai", {"logprobs": True}, ("field-not-carried", "logprobs")),
    ("openai", {"frequency_penalty": 0.5}, ("field-not-carried", "frequency_penalty")),
    ("openai", {"logit_bias": {"50256": -100}}, ("field-not-carried", "logit_bias")),
    ("openai", {"modalities": ["text", "audio"]}, ("field-not-carried", "modalities")),
    ("openai", {"functions": [{"name": "f"}]}, ("field-not-carried", "functions")),
    ("openai", {"api_base": "http://evil.example"}, ("field-not-carried", "api_base")),
    ("openai", {"messages": [*user({"type": "text", "text": "a"}), {"role": "assistant", "content": "So,"}]}, ("assistant-turn-last", "messages")),
    ("openai-responses", {"input": [*user({"type": "input_text", "text": "a"}), {"role": "assistant", "content": "So,"}]}, ("assistant-turn-last", "input")),
    ("openai", {"messages": user({"type": "text", "text": "a"}) * 2500}, ("too-many-objects", "5000")),
    ("openai", {"x": [[]] * 50_001}, ("too-many-objects",)),
    ("openai", {"stop": [""] * 100_001}, ("too-many-objects",)),
    ("openai", {"metadata": dict.fromkeys(map(str, range(5_001)), "")}, ("too-many-objects",)),
    ("openai", {"messages": calls(f"[{'1,' * 30_000}1]", 4)}, ("too-many-objects",)),
    ("openai-responses", {"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": f"[{'1,' * 100_001}1]"}]}, ("too-many-objects",)),
    ("openai", {"top_k": 4}, ("field-not-carried", "top_k")),
    ("openai", {"tool_choice": []}, ("field-invalid", "tool_choice")),
    ("openai-responses", {"tool_choice": [{}]}, ("field-invalid", "tool_choice")),
    ("openai", {"model": None}, ("field-missing", "model")),
    ("openai", {"model": 5}, ("field-invalid", "model")),
    ("openai", {"messages": []}, ("field-missing", "messages")),
    ("openai", {"messages": {}}, ("field-invalid", "messages")),
    ("openai", {"messages": ["Hi"]}, ("field-invalid", "messages[0]")),
    ("openai", {"messages": [{"role": "user"}]}, ("field-missing", "messages[0].content")),
    ("openai", {"messages": [{"role": "function", "name": "f", "content": "x"}]}, ("field-invalid", "messages[0].role")),
    ("openai", {"messages": [{"role": "user", "name": "Ann", "content": "x"}]}, ("field-not-carried", "messages[0].name")),
    ("openai", {"messages": user({"type": "input_audio", "input_audio": {}})}, ("field-not-carried", "content[0].type", "input_audio")),
    ("openai", {"messages": user({"type": "file", "file": {}})}, ("field-not-carried", "content[0].type", "file")),
    ("openai", {"messages": user({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}})}, ("field-invalid", "messages[0].content[0].image_url.url")),
    ("openai", {"messages": user({"type": "image_url", "image_url": {"url": "data:text/html;base64,AA"}})}, ("field-invalid", "messages[0].content[0].image_url.url")),
    ("openai", {"messages": user({"type": "image_url", "image_url": {"url": "data:image/png,AA;x"}, "a": 1})}, ("field-not-carried", "messages[0].content[0].a")),
    ("openai", {"tools": [{"type": "custom", "custom": {}}]}, ("field-missing", "tools[0].function")),
    ("openai", {"tool_choice": {"type": "allowed_tools"}}, ("field-missing", "tool_choice.function")),
    ("openai", {"tool_choice": {"type": "function", "function": {"name": "other"}}}, ("field-invalid", "tool_choice")),
    ("openai", {"tools": [], "tool_choice": "required"}, ("field-invalid", "tool_choice")),
    ("openai", {"stop": [1]}, ("field-invalid", "stop")),
    ("openai", {"stream": "yes"}, ("field-invalid", "stream")),
    ("openai", {"temperature": "hot"}, ("field-invalid", "temperature")),
    ("openai", {"max_tokens": True, "max_completion_tokens": None}, ("field-invalid", "max_tokens")),
    ("openai", {"response_format": {"type": "grammar"}}, ("field-invalid", "response_format.type")),
    ("openai", {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, ("field-missing", "response_format.json_schema.schema")),
    ("openai-responses", {"previous_response_id": "resp_1"}, ("item-not-stored", "previous_response_id", "whole conversation", "`serve.stored_responses`")),
    ("openai-responses", {"conversation": "conv_1"}, ("field-not-carried", "conversation")),
    ("openai-responses", {"background": True}, ("field-not-carried", "background")),
    ("openai-responses", {"truncation": "auto"}, ("field-not-carried", "truncation")),
    ("openai-responses", {"include": ["message.output_text.logprobs"]}, ("field-not-carried", "include")),
    ("openai-responses", {"tools": [{"type": "web_search"}]}, ("field-not-carried", "tools[0].type", "web_search")),
    ("openai-responses", {"input": [{"type": "item_reference", "id": "x"}]}, ("item-not-stored", "input[0].id", "`store` to false", "`serve.stored_responses`")),
    ("openai-responses", {"input": user({"type": "input_file", "file_id": "f"})}, ("field-not-carried", "content[0].type")),
    ("openai-responses", {"input": user({"type": "input_image", "file_id": "f"})}, ("field-missing", "image_url")),
    ("openai-responses", {"input": 5}, ("field-invalid", "input")),
    ("anthropic", {"top_k": 5}, ("field-not-carried", "top_k")),
    ("anthropic", {"max_tokens": None}, ("field-missing", "max_tokens")),
    ("anthropic", {"mcp_servers": [{"url": "http://x"}]}, ("field-not-carried", "mcp_servers")),
    ("anthropic", {"container": "c"}, ("field-not-carried", "container")),
    ("anthropic", {"inference_geo": "eu"}, ("field-not-carried", "inference_geo")),
    ("anthropic", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, ("field-not-carried", "tools[0].type")),
    ("anthropic", {"tool_choice": {"type": "tool", "name": "other"}}, ("field-invalid", "tool_choice")),
    ("anthropic", {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, ("field-not-carried", "clear_tool_uses_20250919")),
    ("anthropic", {"messages": []}, ("field-missing", "messages")),
    ("anthropic", {"messages": [*user({"type": "text", "text": "x"}), {"role": "assistant", "content": "Once"}]}, ("assistant-turn-last", "messages")),
    ("anthropic", {"messages": user({"type": "document", "source": {}})}, ("field-not-carried", "content[0].type", "document")),
    ("anthropic", {"messages": user({"type": "image", "source": {"type": "file", "file_id": "f"}})}, ("field-not-carried", "source.type")),
    ("anthropic", {"system": [{"type": "image", "source": {"type": "url", "url": "https://x"}}]}, ("field-invalid", "system[0].type")),
]  # fmt: skip


@pytest.mark.parametrize(("client", "fields", "words"), REFUSED)
def test_what_cannot_be_carried_is_refused_by_name(
    client: ClientName, fields: dict[str, Any], words: tuple[str, ...]
) -> None:
    with raises_code(*words):
        read(client, BODIES[client], **fields)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"null", b"\xff", b'{"a":' * 100_000, b'{"model": 1e999}', b'"\\ud800"']
)
def test_what_is_no_request(client: ClientName, body: bytes) -> None:
    with pytest.raises(BadRequestError):
        CLIENTS[client].read_request(body)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 320 + ".0"])
def test_a_number_out_of_range_is_refused_wherever_it_is(number: str) -> None:
    body = json.dumps(CHAT | {"metadata": {"a": [0.5]}}).replace("[0.5]", f"[{number}]")
    with raises_code("body-not-json"):
        CLIENTS["openai"].read_request(body.encode())
    request = replace(REQUEST, messages=(_called(f'{{"a":{number}}}'),))
    with raises_code("arguments-not-json"):
        DIALECTS["anthropic"].encode(request, HOSTS["anthropic"], False)


def _called(arguments: str, name: str = "c1") -> Message:
    return Message(
        role="assistant", content=None, tool_calls=(ToolCall(id=name, name="f", arguments=arguments),)
    )


@pytest.mark.parametrize(
    "number", ["2.2250738585072011e-308", "1.7976931348623157e308", "0.1", "-0.0", "5e-324"]
)
def test_a_number_stays_what_it_is(number: str) -> None:
    request = replace(REQUEST, messages=(_called(f'{{"a":{number}}}'),))
    wire = DIALECTS["anthropic"].encode(request, HOSTS["anthropic"], False).body["messages"]
    assert str(wire[0]["content"][0]["input"]["a"]) == str(float(number))


@pytest.mark.parametrize(
    ("name", "sent"), [("a-b_C9", "a-b_C9"), ("a.b:\u00e9\ud800\U0001f600|", "a_b_____"), ("", "")]
)
def test_a_calls_id_has_only_what_anthropic_takes(name: str, sent: str) -> None:
    request = replace(REQUEST, messages=(_called("{}", name),))
    wire = DIALECTS["anthropic"].encode(request, HOSTS["anthropic"], False).body["messages"]
    assert wire[0]["content"][0]["id"] == sent
