"""What is sent to an API of some dialect and read again as a client's request of it is the same request."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade import errors
from crossgrade.dialects import CLIENTS, DIALECTS, HOSTS, ClientName, InboundRequest, error_words
from crossgrade.dialects.deltas import CallBegun
from crossgrade.domain import (
    DialectName,
    GenerationSettings,
    Image,
    Message,
    ModelAnswer,
    ModelRequest,
    Tool,
    ToolCall,
    Usage,
)
from crossgrade.errors import ProviderError
from tests.codes import raises_code

APIS: list[DialectName] = ["anthropic", "openai", "openai-responses"]
WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
IMAGES = st.builds(
    Image, data=st.just("AAAA"), media_type=st.sampled_from(["image/png", "image/webp"])
) | st.builds(Image, url=st.just("https://example.org/a.png"))
ARGUMENTS = st.dictionaries(WORDS, st.integers() | WORDS, max_size=2).map(
    lambda given: json.dumps(given, separators=(",", ":"), ensure_ascii=False)
)
TOOLS = (
    Tool(
        name="f",
        description="Does it.",
        parameters={"type": "object", "properties": {"x": {"type": "integer"}}},
    ),
    Tool(name="g", parameters={"type": "object"}, strict=True),
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """A system message, then turns as the APIs want them."""
    messages = [Message(role="system", content=draw(WORDS))]
    for turn in range(draw(st.integers(1, 3))):
        text, images = draw(WORDS), draw(st.lists(IMAGES, max_size=2))
        messages.append(Message(role="user", content=text, parts=(text, *images) if images else ()))
        calls = tuple(
            ToolCall(id=f"c{turn}{at}", name=draw(st.sampled_from("fg")), arguments=draw(ARGUMENTS))
            for at in range(draw(st.integers(0, 2)))
        )
        said = draw(WORDS | st.none()) if calls else draw(WORDS)
        messages.append(Message(role="assistant", content=said, tool_calls=calls))
        messages += [Message(role="tool", content=draw(WORDS), tool_call_id=call.id) for call in calls]
    return (*messages, Message(role="user", content=draw(WORDS)))


REQUESTS = st.builds(
    ModelRequest,
    model=WORDS,
    messages=conversations(),
    settings=st.builds(
        GenerationSettings,
        temperature=st.none() | st.floats(0, 1),
        top_p=st.none() | st.floats(0, 1),
        max_output_tokens=st.integers(1, 99),
        reasoning_effort=st.sampled_from([None, "low", "high"]),
    ),
    tools=st.just(TOOLS),
    tool_choice=st.sampled_from(["auto", "none", "required", "f"]),
    parallel_tool_calls=st.none() | st.booleans(),
)


@pytest.mark.parametrize("api", APIS)
@given(REQUESTS)
def test_requests(api: DialectName, request_: ModelRequest) -> None:
    sent = DIALECTS[api].encode(request_, HOSTS[api], True)
    found = CLIENTS[api].read_request(sent.encode())  # type: ignore[index]  # these names are in both tables
    wanted = request_
    if api == "anthropic":
        single = request_.parallel_tool_calls is False and request_.tool_choice != "none"
        wanted = replace(request_, parallel_tool_calls=False if single else None)
    assert _plain(found.request) == wanted
    assert (found.stream, found.include_usage) == (True, True)


def _plain(request: ModelRequest) -> ModelRequest:
    """Without the detail of images, which the responses API always states."""
    messages = tuple(
        replace(
            message,
            parts=tuple(
                replace(part, detail=None) if isinstance(part, Image) else part for part in message.parts
            ),
        )
        for message in request.messages
    )
    return replace(request, messages=messages)


ANSWERS = st.builds(
    ModelAnswer,
    text=st.text(st.characters(codec="utf-8"), max_size=20),
    tool_calls=st.lists(ARGUMENTS, max_size=3).map(
        lambda given: tuple(ToolCall(id=f"id{at}", name="f", arguments=each) for at, each in enumerate(given))
    ),
    finish_reason=st.sampled_from(["stop", "length", "content_filter"]),
    usage=st.just(Usage())
    | st.builds(
        Usage,
        input_tokens=st.integers(50, 99),
        output_tokens=st.integers(50, 99),
        cache_read_input_tokens=st.none() | st.integers(0, 50),
        reasoning_output_tokens=st.none() | st.integers(0, 50),
    ),
    model=st.just("m-1"),
)


@pytest.mark.parametrize("api", APIS)
@given(ANSWERS)
def test_answers(api: DialectName, answer: ModelAnswer) -> None:
    request = ModelRequest(model="m")
    if answer.finish_reason == "stop" and answer.tool_calls:
        answer = replace(answer, finish_reason="tool_calls")
    body = CLIENTS[api].render_answer(answer, InboundRequest(request=request), "x-1", 1)  # type: ignore[index]  # as above
    assert DIALECTS[api].decode(body, request) == answer


def test_any_object_is_json_mode_where_there_is_one() -> None:
    request = ModelRequest(model="m", response_schema={"type": "object"})
    assert DIALECTS["openai"].encode(request, HOSTS["openai"], False).body["response_format"] == {
        "type": "json_object"
    }
    responses = DIALECTS["openai-responses"].encode(request, HOSTS["openai-responses"], False).body
    assert responses["text"] == {"format": {"type": "json_object"}}


def _with_images(role: str = "tool") -> ModelRequest:
    call = Message(role="assistant", content=None, tool_calls=(ToolCall(id="c:1", name="f", arguments="{}"),))
    image = Image(data="AAAA", media_type="image/png")
    result = Message(role="tool", content="see", parts=("see", image), tool_call_id="c:1")
    return ModelRequest(model="m", messages=(call, result, Message(role="user", content="So?")))


def test_images_of_tools_results_go_where_each_api_has_a_place() -> None:
    sent: dict[str, Any] = {
        name: dialect.encode(_with_images(), HOSTS[name], False).body for name, dialect in DIALECTS.items()
    }
    _, result, images, question = sent["openai"]["messages"]
    assert result == {"role": "tool", "content": "see", "tool_call_id": "c:1"}
    assert images["role"] == "user"
    assert images["content"][1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert question["content"] == "So?"
    called, answered = sent["anthropic"]["messages"]
    assert called["content"][0]["id"] == answered["content"][0]["tool_use_id"] == "c_1"
    assert answered["content"][0]["content"][1]["source"]["data"] == "AAAA"
    assert sent["openai-responses"]["input"][1]["output"][1]["image_url"] == "data:image/png;base64,AAAA"
    assert sent["gemini"]["contents"][1]["parts"][1] == {
        "inlineData": {"mimeType": "image/png", "data": "AAAA"}
    }


def test_gemini_names_a_result_after_the_newest_call_of_that_id() -> None:
    def turn(name: str) -> tuple[Message, ...]:
        call = ToolCall(id="call_0", name=name, arguments="{}")
        return (
            Message(role="assistant", content=None, tool_calls=(call,)),
            Message(role="tool", content="x", tool_call_id="call_0"),
        )

    body = (
        DIALECTS["gemini"]
        .encode(ModelRequest(model="m", messages=turn("f") + turn("g")), HOSTS["gemini"], False)
        .body
    )
    named = [
        part["functionResponse"]["name"]
        for content in body["contents"]
        for part in content["parts"]
        if "functionResponse" in part
    ]
    assert named == ["f", "g"]


def _echoed(api: ClientName, message: dict[str, Any]) -> dict[str, Any]:
    """Return the body with which a client sends an answer's calls back, with their results."""
    body: dict[str, Any] = {"model": "m", "max_tokens": 9}
    if api == "anthropic":
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": "ok"}
            for block in message["content"]
        ]
        turn = {"role": "assistant", "content": message["content"]}
        return {**body, "messages": [turn, {"role": "user", "content": results}]}
    said = message["choices"][0]["message"]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in said["tool_calls"]]
    return {**body, "messages": [said, *results]}


@pytest.mark.parametrize("signature", ["c2ln+/8=", "c2ln", None])
@pytest.mark.parametrize("api", ["anthropic", "openai"])
def test_a_call_s_signature_comes_back(api: ClientName, signature: str | None) -> None:
    calls = (
        ToolCall(id="", name="f", arguments="{}", signature=signature),
        ToolCall(id="b", name="g", arguments="{}"),
    )
    answer = ModelAnswer(text="", tool_calls=calls, finish_reason="tool_calls")
    inbound = InboundRequest(request=ModelRequest(model="m"))
    body = CLIENTS[api].render_answer(answer, inbound, "x-1", 1)
    called, *results = (
        CLIENTS[api].read_request(json.dumps(_echoed(api, json.loads(body))).encode()).request.messages
    )
    assert [call.signature for call in called.tool_calls] == [signature, None]
    assert [call.id for call in called.tool_calls] == [result.tool_call_id for result in results]
    assert all(len(call.id) <= 40 for call in called.tool_calls)  # as OpenAI's API takes


@pytest.mark.parametrize("api", ["anthropic", "openai"])
def test_a_stream_has_a_call_s_signature(api: ClientName) -> None:
    inbound = InboundRequest(request=ModelRequest(model="m"))
    begun = CLIENTS[api].writer(inbound, "x-1", 1).write(CallBegun(0, "a", "f", "c2ln"))
    assert (b'"id":"a__thought__c2ln"' if api == "anthropic" else b'"thought_signature":"c2ln"') in begun


@pytest.mark.parametrize(
    ("effort", "openai", "gemini"),
    [("low", "low", "LOW"), ("none", "none", "MINIMAL"), ("xhigh", "xhigh", "HIGH"), ("max", "high", "HIGH")],
)
def test_an_effort_crosses_as_the_nearest_that_an_api_has(effort: str, openai: str, gemini: str) -> None:
    request = ModelRequest(model="m", settings=GenerationSettings(reasoning_effort=effort))
    sent = {name: dialect.encode(request, HOSTS[name], False).body for name, dialect in DIALECTS.items()}
    assert sent["openai"]["reasoning_effort"] == sent["openai-responses"]["reasoning"]["effort"] == openai
    assert sent["gemini"]["generationConfig"]["thinkingConfig"] == {"thinkingLevel": gemini}


def test_efforts_below_anthropic_s_least() -> None:
    for effort, wanted in (("none", None), ("minimal", {"effort": "low"}), ("high", {"effort": "high"})):
        request = ModelRequest(model="m", settings=GenerationSettings(reasoning_effort=effort))
        assert (
            DIALECTS["anthropic"].encode(request, HOSTS["anthropic"], False).body.get("output_config")
            == wanted
        )


def test_arguments_that_are_no_object_cannot_be_shown_to_anthropic_s_clients() -> None:
    inbound = InboundRequest(request=ModelRequest(model="m"))
    render = CLIENTS["anthropic"].render_answer
    broken = ModelAnswer(
        text="", tool_calls=(ToolCall(id="a", name="f", arguments='{"x": '),), finish_reason="tool_calls"
    )
    with raises_code("arguments-not-an-object"):
        render(broken, inbound, "msg_1", 1)
    cut = json.loads(render(replace(broken, finish_reason="length"), inbound, "msg_1", 1))
    assert (cut["content"], cut["stop_reason"]) == ([], "max_tokens")


def test_the_reference_prints_how_failures_are_told() -> None:
    text = (Path(__file__).parents[3] / "docs/reference/translation.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(\w+Error)`(?: (\d+))? \| (\d+) `(\w+)` \| (\d+) `(\w+)` \|$", text, re.MULTILINE
    )
    told = {kind.__name__ for kind in ProviderError.__subclasses__()} - {
        "TrialError"
    }  # no client starts a trial
    assert {row[0] for row in rows} == told
    for name, theirs, *wanted in rows:
        error = getattr(errors, name)("no", status=int(theirs) if theirs else None)
        (openai, code), (anthropic, _) = error_words(error), error_words(error, "anthropic")
        kind = json.loads(CLIENTS["anthropic"].render_error(anthropic, "no"))["error"]["type"]
        assert wanted == [str(openai), code, str(anthropic), kind], name


@pytest.mark.parametrize(
    ("status", "openai", "anthropic"),
    [
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "authentication_error", "authentication_error"),
        (403, "permission_error", "permission_error"),
        (404, "invalid_request_error", "not_found_error"),
        (413, "invalid_request_error", "request_too_large"),
        (429, "rate_limit_error", "rate_limit_error"),
        (500, "server_error", "api_error"),
        (503, "server_error", "overloaded_error"),
        (504, "server_error", "timeout_error"),
    ],
)
def test_errors(status: int, openai: str, anthropic: str) -> None:
    for name in ("openai", "openai-text", "openai-responses"):
        error = json.loads(CLIENTS[name].render_error(status, "No.", code="c", request_id="r"))
        assert error == {"error": {"message": "No.", "type": openai, "param": None, "code": "c"}}
    own = json.loads(CLIENTS["anthropic"].render_error(status, "No.", code="c", request_id="r"))
    assert own == {"type": "error", "error": {"type": anthropic, "message": "No."}, "request_id": "r"}
    assert (
        json.loads(CLIENTS["openai"].render_error(429, "No.", kind="insufficient_quota"))["error"]["type"]
        == "insufficient_quota"
    )
