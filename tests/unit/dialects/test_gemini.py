"""Gemini's generateContent API, after its published shapes."""

import json
from dataclasses import replace

import pytest

from crossgrade.dialects import DIALECTS, HOSTS, SseEvent
from crossgrade.domain import GenerationSettings, Message, ModelRequest, Tool, ToolCall, Usage
from crossgrade.errors import BadRequestError
from tests.codes import raises_code

GEMINI = DIALECTS["gemini"]
HOST = HOSTS["gemini"]


def response(parts: list[dict[str, object]], reason: str | None = "STOP", **fields: object) -> bytes:
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}
    return json.dumps({"candidates": [candidate], "modelVersion": "gemini-x-001", **fields}).encode()


def test_a_plain_request(plain: ModelRequest) -> None:
    wire = GEMINI.encode(plain, HOST, False)
    assert wire.path == "/models/some-model:generateContent"
    assert wire.body == {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {"temperature": 0.0, "topP": 0.9, "maxOutputTokens": 64},
    }
    assert GEMINI.encode(plain, HOST, True).path.endswith(":streamGenerateContent?alt=sse")


def test_a_model_name_cannot_leave_its_place() -> None:
    path = GEMINI.encode(ModelRequest(model="../x?key=1"), HOST, False).path
    assert path == "/models/..%2Fx%3Fkey%3D1:generateContent"


def test_a_conversation_with_tools(conversation: ModelRequest) -> None:
    body = GEMINI.encode(conversation, HOST, False).body
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "Weather in Oslo?"}]},
        {
            "role": "model",
            "parts": [
                {
                    "functionCall": {"name": "weather", "args": {"city": "Oslo"}},
                    "thoughtSignature": "skip_thought_signature_validator",
                }
            ],
        },
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": "weather", "response": {"result": "rain"}}}],
        },
    ]
    chosen = {"mode": "ANY", "allowedFunctionNames": ["weather"]}
    assert body["toolConfig"] == {"functionCallingConfig": chosen}
    assert "generationConfig" not in body


@pytest.mark.parametrize(
    ("model", "given", "sent"),
    [
        ("gemini-3-pro", (None, None), ["skip_thought_signature_validator", None]),
        ("models/gemini-flash-latest", ("c2ln", None), ["c2ln", None]),
        ("gemini-3-pro", (None, "c2ln"), [None, "c2ln"]),
        ("gemini-2.5-pro", (None, None), [None, None]),
        ("models/gemini-2.5-pro", ("c2ln", None), ["c2ln", None]),
    ],
)
def test_earlier_calls_are_signed(
    model: str, given: tuple[str | None, str | None], sent: list[str | None]
) -> None:
    calls = tuple(
        ToolCall(id=f"c{at}", name="f", arguments="{}", signature=each) for at, each in enumerate(given)
    )
    request = ModelRequest(model=model, messages=(Message(role="assistant", content=None, tool_calls=calls),))
    (turn,) = GEMINI.encode(request, HOST, False).body["contents"]
    assert [part.get("thoughtSignature") for part in turn["parts"]] == sent


def test_one_call_an_answer_is_the_first(plain: ModelRequest) -> None:
    single = replace(plain, tools=(Tool(name="f"),), parallel_tool_calls=False)
    GEMINI.encode(single, HOST, False)
    parts: list[dict[str, object]] = [{"functionCall": {"name": name}} for name in ("f", "g")]
    assert [call.name for call in GEMINI.decode(response(parts), single).tool_calls] == ["f"]
    assert [call.name for call in GEMINI.decode(response(parts), plain).tool_calls] == ["f", "g"]
    collector = GEMINI.collect(single)
    for part in parts:
        collector.feed(SseEvent("", response([part], None)))
    collector.feed(SseEvent("", response([], "STOP")))
    found = collector.answer()
    assert ([call.name for call in found.tool_calls], found.finish_reason) == (["f"], "tool_calls")


def test_a_schema_and_settings(structured: ModelRequest) -> None:
    config = GEMINI.encode(structured, HOST, False).body["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"] == structured.response_schema
    settings = GenerationSettings(seed=3, stop=("X",), reasoning_effort="low")
    config = GEMINI.encode(ModelRequest(model="m", settings=settings), HOST, False).body["generationConfig"]
    assert (config["seed"], config["stopSequences"]) == (3, ["X"])
    assert config["thinkingConfig"] == {"thinkingLevel": "LOW"}


def test_raw_text_is_refused() -> None:
    with pytest.raises(BadRequestError):
        GEMINI.encode(ModelRequest(model="m", text="x"), HOST, False)


def test_an_answer_counts_thoughts_as_output(plain: ModelRequest) -> None:
    usage = {
        "promptTokenCount": 40,
        "cachedContentTokenCount": 30,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 20,
        "totalTokenCount": 65,
    }
    parts: list[dict[str, object]] = [{"text": "hm", "thought": True}, {"text": "Hel"}, {"text": "lo"}]
    found = GEMINI.decode(response(parts, usageMetadata=usage), plain)
    assert (found.text, found.finish_reason, found.model) == ("Hello", "stop", "gemini-x-001")
    assert found.usage == Usage(
        input_tokens=40, output_tokens=25, cache_read_input_tokens=30, reasoning_output_tokens=20
    )


def test_calls(plain: ModelRequest) -> None:
    found = GEMINI.decode(response([{"functionCall": {"name": "f", "args": {"x": 1}}}]), plain)
    assert found.tool_calls == (ToolCall(id="call_0", name="f", arguments='{"x":1}'),)
    assert found.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("reason", "wanted"), [("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("OTHER", "OTHER")]
)
def test_finish_reasons(plain: ModelRequest, reason: str, wanted: str) -> None:
    assert GEMINI.decode(response([{"text": "x"}], reason), plain).finish_reason == wanted


def test_what_is_no_answer(plain: ModelRequest) -> None:
    with raises_code("content-filtered", "PROHIBITED_CONTENT"):
        GEMINI.decode(b'{"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}', plain)
    for body in (b"{}", b'{"candidates": []}', response([{"text": "x"}], None)):
        with raises_code("answer-without-content"):
            GEMINI.decode(body, plain)


def test_a_stream(plain: ModelRequest) -> None:
    collector = GEMINI.collect(plain)
    collector.feed(SseEvent("", response([{"text": "Hel"}], None)))
    assert collector.started
    with raises_code("stream-broke-off"):
        collector.answer()
    usage = {"promptTokenCount": 4, "totalTokenCount": 6, "candidatesTokenCount": 2}
    collector.feed(SseEvent("", response([{"text": "lo"}], "STOP", usageMetadata=usage)))
    found = collector.answer()
    assert (found.text, found.finish_reason) == ("Hello", "stop")
    assert found.usage == Usage(input_tokens=4, output_tokens=2)
