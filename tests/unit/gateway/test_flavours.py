"""Clients and providers that speak different APIs."""

import json
from contextlib import contextmanager

import pytest

from crossgrade.dialects import DIALECTS
from crossgrade.domain import RouteSpec, ToolCall
from crossgrade.testing import FakeProvider, Fault, Reply
from tests.unit.gateway.scripted import JSON_HEAD, SSE_HEAD, raw_target, scripted

MESSAGE = {"model": "support", "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]}
RESPONSE = {"model": "support", "input": "hello"}
CALL = ToolCall(id="call_1", name="look_up", arguments='{"city":"Ulm"}')


def _text(path, answer):
    if "messages" in path:
        return answer["content"][0]["text"]
    if "responses" in path:
        return answer["output"][-1]["content"][0]["text"]
    return answer["choices"][0]["message"]["content"]


def _body(path, make, **fields):
    if "messages" in path:
        return json.dumps({**MESSAGE, **fields}).encode()
    if "responses" in path:
        return json.dumps({**RESPONSE, **fields}).encode()
    return make.chat(**fields)


GEMINI = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "hello from the model"}]}, "finishReason": "STOP"}
    ],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 4, "totalTokenCount": 5},
}


@contextmanager
def upstream(make, fake, dialect, *, stream):
    """Yield a target of a dialect; the fake provider has every API that clients use, which is not Gemini's."""
    if dialect != "gemini":
        yield make.target(fake, dialect=dialect)
        return
    body = json.dumps(GEMINI).encode()
    whole = JSON_HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    with scripted(SSE_HEAD + b"data: %b\r\n\r\n" % body if stream else whole) as (url, _):
        yield raw_target(url, dialect="gemini", key_env=None)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_every_client_is_answered_by_every_provider_whole_and_streamed(
    run, make, fake, path, dialect, stream
):
    with upstream(make, fake, dialect, stream=stream) as target, run([target], only(target)) as world:
        answer = world.post(_body(path, make, stream=stream), path)
        record = world.settled()[0]
    assert answer.status == 200, answer
    if stream:
        assert b"hello" in answer.body
        marker = {"/v1/chat/completions": b"[DONE]", "/v1/messages": b"message_stop"}
        assert marker.get(path, b"response.completed") in answer.body
    else:
        assert _text(path, answer.json) == "hello from the model"
    assert (record.input_tokens, record.output_tokens, bool(record.stream)) == (1, 4, stream)


def only(target):
    """Return the one route, answered by the target."""
    return [RouteSpec(name="support", incumbent=target.name)]


def test_a_message_passes_through_to_a_provider_of_its_own_api(run, make, fake):
    with run([make.target(fake, dialect="anthropic")]) as world:
        body = json.dumps({**MESSAGE, "metadata": {"user_id": "u"}}).encode()
        assert world.post(body, "/v1/messages", anthropic_beta="x-1").status == 200
        assert fake.requests[0].body == body.replace(b'"support"', b'"big-model"')
        assert fake.requests[0].headers["anthropic-beta"] == "x-1"


def test_tool_calls_cross(run, make):
    tool = {"name": "look_up", "input_schema": {"type": "object", "properties": {"headers": {}}}}
    with FakeProvider(Reply("", tool_calls=(CALL,))) as fake, run([make.target(fake)]) as world:
        answer = world.post(json.dumps({**MESSAGE, "tools": [tool]}).encode(), "/v1/messages")
        block = answer.json["content"][-1]
        assert (block["type"], block["name"], block["input"]) == ("tool_use", "look_up", {"city": "Ulm"})


TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
SCHEMA_ANSWER = '{"name":"look_up","arguments":{"city":"Ulm"}}'


def test_a_demanded_call_is_asked_of_a_local_model_as_the_evaluator_asks(run, make):
    with FakeProvider(SCHEMA_ANSWER) as fake, run([make.target(fake, provider="local")]) as world:
        demand = {"tools": [TOOL], "tool_choice": "required"}
        (call,) = world.post(make.chat(**demand)).json["choices"][0]["message"]["tool_calls"]
        assert call["function"] == {"name": "look_up", "arguments": '{"city":"Ulm"}'}
        stream = world.post(make.chat(**demand, stream=True)).body
        assert b'"finish_reason":"tool_calls"' in stream
        assert b'"content":"{' not in stream
        assert all("tools" not in r.json and "response_format" in r.json for r in fake.requests)
        world.post(make.chat(tools=[TOOL], tool_choice="auto"))
        assert fake.requests[2].json["tools"] == [TOOL]
        answer = world.post(
            make.chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "x"}})
        )
        assert (answer.status, len(fake.requests)) == (400, 3)


def test_what_one_target_cannot_do_another_is_asked(run, make, fake):
    routes = [RouteSpec(name="support", incumbent="big", fallbacks=("small",))]
    with run([make.target(fake, dialect="anthropic"), make.target(fake, "small")], routes) as world:
        for _ in range(8):
            answer = world.post(make.chat(logit_bias={"1": 1}))
            assert answer.headers["x-crossgrade-target"] == "small"
        assert world.post(make.chat()).headers["x-crossgrade-target"] == "big", "it did not fail"


def test_a_stream_that_breaks_across_apis_ends_in_an_error(run, make):
    with FakeProvider(Fault("no_end")) as fake, run([make.target(fake)]) as world:
        answer = world.post(json.dumps({**MESSAGE, "stream": True}).encode(), "/v1/messages")
        assert b"event: error" in answer.body
        assert b"message_stop" not in answer.body
        assert world.settled()[0].error == "broken_off"


def test_what_cannot_be_carried_across_is_named(run, make, fake):
    with run([make.target(fake, dialect="anthropic")]) as world:
        answer = world.post(make.chat(logit_bias={"1": 1}))
        assert answer.status == 400
        assert "logit_bias" in answer.json["error"]["message"]
        assert not fake.requests


def test_text_completions_and_embeddings(run, make, fake):
    with run([make.target(fake)]) as world:
        answer = world.post(b'{"model":"support","prompt":"hi"}', "/v1/completions")
        assert answer.json["choices"][0]["text"] == "hello from the model"
        answer = world.post(b'{"model":"support","input":"hi there"}', "/embeddings")
        assert len(answer.json["data"]) == 1
        record = world.settled(2)[1]
        assert (record.operation, record.input_tokens) == ("embeddings", 2)
    with run([make.target(fake, dialect="anthropic")]) as world:
        assert world.post(b'{"model":"support","input":"hi"}', "/v1/embeddings").status == 400
