"""Clients' requests: one question in every client API is one record, and nothing is lost silently."""

import json
from typing import Any

import pytest

from crossgrade.domain import GenerationSettings, Image, Message, ModelRequest, Tool, ToolCall
from crossgrade.errors import BadRequestError
from crossgrade.wire import CLIENTS, ClientName, InboundRequest

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
        with pytest.raises(BadRequestError, match="`prompt` must be one string"):
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


REFUSED: list[tuple[ClientName, dict[str, Any], str]] = [
    ("openai", {"n": 2}, "`n` cannot be carried"),
    ("openai", {"logprobs": True}, "`logprobs` cannot"),
    ("openai", {"frequency_penalty": 0.5}, "`frequency_penalty` cannot"),
    ("openai", {"logit_bias": {"50256": -100}}, "`logit_bias` cannot"),
    ("openai", {"modalities": ["text", "audio"]}, "`modalities` cannot"),
    ("openai", {"functions": [{"name": "f"}]}, "`functions` cannot"),
    ("openai", {"api_base": "http://evil.example"}, "`api_base` cannot"),
    ("openai", {"top_k": 4}, "`top_k` cannot"),
    ("openai", {"tool_choice": []}, "`tool_choice` must be"),
    ("openai-responses", {"tool_choice": [{}]}, "`tool_choice` must be"),
    ("openai", {"model": None}, "`model` is missing"),
    ("openai", {"model": 5}, "`model` must be a string"),
    ("openai", {"messages": []}, "`messages` is missing or empty"),
    ("openai", {"messages": {}}, "`messages` must be a list"),
    ("openai", {"messages": ["Hi"]}, r"`messages\[0\]` must be an object"),
    ("openai", {"messages": [{"role": "user"}]}, r"`messages\[0\]\.content` is missing"),
    ("openai", {"messages": [{"role": "function", "name": "f", "content": "x"}]}, r"messages\[0\]\.role"),
    ("openai", {"messages": [{"role": "user", "name": "Ann", "content": "x"}]}, r"messages\[0\]\.name"),
    ("openai", {"messages": user({"type": "input_audio", "input_audio": {}})}, r"content\[0\]\.type` `input_audio`"),
    ("openai", {"messages": user({"type": "file", "file": {}})}, r"content\[0\]\.type` `file`"),
    ("openai", {"messages": user({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}})}, r"image_url\.url"),
    ("openai", {"messages": user({"type": "image_url", "image_url": {"url": "data:text/html;base64,AA"}})}, "image"),
    ("openai", {"messages": user({"type": "image_url", "image_url": {"url": "data:image/png,AA;x"}, "a": 1})}, r"\.a`"),
    ("openai", {"tools": [{"type": "custom", "custom": {}}]}, r"`tools\[0\]\.function` is missing"),
    ("openai", {"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
    ("openai", {"tool_choice": {"type": "function", "function": {"name": "other"}}}, "names none of the tools"),
    ("openai", {"tools": [], "tool_choice": "required"}, "there are no tools"),
    ("openai", {"stop": [1]}, "`stop` must be"),
    ("openai", {"stream": "yes"}, "`stream` must be true or false"),
    ("openai", {"temperature": "hot"}, "`temperature` must be a number"),
    ("openai", {"max_tokens": True, "max_completion_tokens": None}, "`max_tokens` must be an integer"),
    ("openai", {"response_format": {"type": "grammar"}}, r"response_format\.type"),
    ("openai", {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "schema` is missing"),
    ("openai-responses", {"previous_response_id": "resp_1"}, "`previous_response_id` cannot"),
    ("openai-responses", {"conversation": "conv_1"}, "`conversation` cannot"),
    ("openai-responses", {"background": True}, "`background` cannot"),
    ("openai-responses", {"truncation": "auto"}, "`truncation` cannot"),
    ("openai-responses", {"include": ["message.output_text.logprobs"]}, "`include` cannot"),
    ("openai-responses", {"tools": [{"type": "web_search"}]}, r"`tools\[0\]\.type` `web_search`"),
    ("openai-responses", {"input": [{"type": "item_reference", "id": "x"}]}, r"input\[0\]\.type"),
    ("openai-responses", {"input": user({"type": "input_file", "file_id": "f"})}, r"content\[0\]\.type"),
    ("openai-responses", {"input": user({"type": "input_image", "file_id": "f"})}, "image_url` is missing"),
    ("openai-responses", {"input": 5}, "`input` must be"),
    ("anthropic", {"top_k": 5}, "`top_k` cannot"),
    ("anthropic", {"max_tokens": None}, "`max_tokens` is missing"),
    ("anthropic", {"mcp_servers": [{"url": "http://x"}]}, "`mcp_servers` cannot"),
    ("anthropic", {"container": "c"}, "`container` cannot"),
    ("anthropic", {"inference_geo": "eu"}, "`inference_geo` cannot"),
    ("anthropic", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, r"`tools\[0\]\.type` cannot"),
    ("anthropic", {"tool_choice": {"type": "tool", "name": "other"}}, "names none of the tools"),
    ("anthropic", {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "clear_tool_uses"),
    ("anthropic", {"messages": []}, "`messages` is missing or empty"),
    ("anthropic", {"messages": [*user({"type": "text", "text": "x"}), {"role": "assistant", "content": "Once"}]}, "do not continue"),
    ("anthropic", {"messages": user({"type": "document", "source": {}})}, r"content\[0\]\.type` `document`"),
    ("anthropic", {"messages": user({"type": "image", "source": {"type": "file", "file_id": "f"}})}, r"source\.type"),
    ("anthropic", {"system": [{"type": "image", "source": {"type": "url", "url": "https://x"}}]}, r"system\[0\]"),
]  # fmt: skip


@pytest.mark.parametrize(("client", "fields", "words"), REFUSED)
def test_what_cannot_be_carried_is_refused_by_name(
    client: ClientName, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadRequestError, match=words):
        read(client, BODIES[client], **fields)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"null", b"\xff", b'{"a":' * 100_000, b'{"model": 1e999}', b'"\\ud800"']
)
def test_what_is_no_request(client: ClientName, body: bytes) -> None:
    with pytest.raises(BadRequestError):
        CLIENTS[client].read_request(body)
