"""Streams between every pair of APIs: nothing lost, nothing held back, no end made up."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.dialects import (
    CLIENTS,
    DIALECTS,
    ClientName,
    InboundRequest,
    SseReader,
    StreamTranslator,
)
from crossgrade.domain import DialectName, ModelAnswer, ModelRequest, ToolCall, Usage
from crossgrade.errors import ProviderTimeoutError
from tests.unit.dialects.upstreams import ANSWER, STREAMS

REQUEST = ModelRequest(model="asked")
INBOUND = InboundRequest(request=REQUEST, stream=True, include_usage=True)
READABLE: list[DialectName] = ["anthropic", "openai", "openai-responses"]
PAIRS = [(upstream, client) for upstream in STREAMS for client in READABLE]
MARKS = (b"[DONE]", b"message_stop", b"response.completed", b"response.incomplete")
every_pair = pytest.mark.parametrize(("upstream", "client"), PAIRS)
every_client = pytest.mark.parametrize("client", CLIENTS)


def translator(
    upstream: DialectName, client: ClientName, request: ModelRequest = REQUEST
) -> StreamTranslator:
    reader = DIALECTS[upstream].reader(request)
    return StreamTranslator(reader, CLIENTS[client], INBOUND, id=f"{CLIENTS[client].id_prefix}xyz", created=1)


def translated(upstream: DialectName, client: ClientName, *pieces: bytes) -> bytes:
    one = translator(upstream, client)
    return b"".join([*map(one.feed, pieces), one.end()])


def read(client: DialectName, stream: bytes) -> ModelAnswer:
    collector = DIALECTS[client].collect(REQUEST)
    for event in SseReader().feed(stream):
        collector.feed(event)
    return collector.answer()


def chunks(*choices: dict[str, Any], usage: Any = None) -> bytes:
    payloads: list[Any] = [{"choices": [choice]} for choice in choices]
    payloads += [] if usage is None else [{"choices": [], "usage": usage}]
    return (
        b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in payloads) + b"data: [DONE]\n\n"
    )


def calling(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"delta": {"tool_calls": list(calls)}}


FINISH = {"delta": {}, "finish_reason": "tool_calls"}


@every_pair
def test_the_answer_arrives_whole(upstream: DialectName, client: DialectName) -> None:
    one = translator(upstream, client)
    written = one.feed(b"".join(STREAMS[upstream])) + one.end()
    assert read(client, written) == ANSWER
    assert (one.done, one.failure, one.usage, one.finish_reason) == (True, None, ANSWER.usage, "tool_calls")
    assert sum(written.count(mark) for mark in MARKS) >= 1


@pytest.mark.parametrize("upstream", STREAMS)
@given(st.data())
def test_split_anywhere(upstream: DialectName, data: st.DataObject) -> None:
    whole = b"".join(STREAMS[upstream])
    client = data.draw(st.sampled_from(list(CLIENTS)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[start:end] for start, end in itertools.pairwise([0, *cuts, len(whole)])]
    assert translated(upstream, client, *pieces) == translated(upstream, client, whole)


@every_pair
def test_a_byte_at_a_time(upstream: DialectName, client: DialectName) -> None:
    whole = b"".join(STREAMS[upstream])
    pieces = [whole[at : at + 1] for at in range(len(whole))]
    assert translated(upstream, client, *pieces) == translated(upstream, client, whole)


@every_pair
def test_text_is_passed_on_at_once(upstream: DialectName, client: DialectName) -> None:
    one = translator(upstream, client)
    for event in STREAMS[upstream]:
        written = one.feed(event)
        for piece in (b'"It "', b'"rains."', b"Rome"):
            if piece in event and b".done" not in event and b"completed" not in event:
                assert piece in written


@pytest.mark.parametrize("upstream", STREAMS)
@given(st.data())
def test_a_stream_cut_anywhere_ends_in_an_error(upstream: DialectName, data: st.DataObject) -> None:
    whole = b"".join(STREAMS[upstream])
    last = len(whole) - len(STREAMS[upstream][-1]) - 1
    cut = data.draw(st.integers(0, last))
    client = data.draw(st.sampled_from(list(CLIENTS)))
    one = translator(upstream, client)
    written = one.feed(whole[:cut]) + one.end()
    *_, event = SseReader().feed(written)
    assert b'"error"' in event.data
    assert b"broke off" in event.data
    assert not any(mark in written for mark in MARKS)
    assert (one.done, type(one.failure).__name__) == (True, "UpstreamError")
    assert one.feed(whole[cut:]) == one.end() == b""


def test_a_finish_reason_and_usage_end_a_stream_without_its_mark() -> None:
    written = translated("openai", "anthropic", b"".join(STREAMS["openai"][:-1]))
    assert written.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    assert b"error" not in written
    assert read("anthropic", written) == read(
        "anthropic", translated("openai", "anthropic", b"".join(STREAMS["openai"]))
    )


def test_a_finish_reason_alone_is_not_the_end() -> None:
    stream = b"".join(each for each in STREAMS["openai"] if b"DONE" not in each and b'"usage"' not in each)
    written = translated("openai", "anthropic", stream)
    assert b"no terminal marker" in written
    assert b"message_stop" not in written


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "OTHER", "insufficient_system_resource"])
@every_client
def test_half_an_answer_is_no_ordinary_stop(client: ClientName, reason: str) -> None:
    if reason.isupper():
        piece = {"content": {"role": "model", "parts": [{"text": "Half"}]}, "finishReason": reason}
        upstream, stream = "gemini", b"data: " + json.dumps({"candidates": [piece]}).encode() + b"\n\n"
    else:
        upstream, stream = (
            "openai",
            chunks({"delta": {"content": "Half"}}, {"delta": {}, "finish_reason": reason}),
        )
    one = translator(upstream, client)
    written = one.feed(stream) + one.end()
    assert b"Half" in written
    assert reason in str(one.failure)
    assert not any(mark in written for mark in MARKS)


ERRORS = {
    "anthropic": {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}},
    "gemini": {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}},
    "openai": {"error": {"message": "slow down", "type": "rate_limit_error", "code": 429}},
    "openai-responses": {"type": "error", "code": "rate_limit_exceeded", "message": "slow down"},
}


@every_client
@pytest.mark.parametrize("upstream", STREAMS)
def test_an_error_inside_the_stream(upstream: DialectName, client: ClientName) -> None:
    error = b"data: " + json.dumps(ERRORS[upstream]).encode() + b"\n\n"
    one = translator(upstream, client)
    *_, event = SseReader().feed(one.feed(STREAMS[upstream][0] + error + STREAMS[upstream][-1]))
    said = json.loads(event.data)
    assert "slow down" in said["error"]["message"]
    assert said["error"]["type"] == "rate_limit_error"
    assert type(one.failure).__name__ == "RateLimitedError"


def test_giving_up() -> None:
    one = translator("openai", "anthropic")
    one.feed(STREAMS["openai"][0])
    written = one.fail(ProviderTimeoutError("no answer within 5 s"))
    assert b'event: error\ndata: {"type":"error","error":{"type":"timeout_error"' in written
    assert one.fail(ProviderTimeoutError("again")) == b""


@pytest.mark.parametrize("client", READABLE)
def test_pieces_of_parallel_calls_in_turn(client: DialectName) -> None:
    stream = chunks(
        calling({"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":'}}),
        calling({"index": 1, "id": "b", "function": {"name": "g", "arguments": '{"y":'}}),
        calling({"index": 0, "function": {"arguments": "1}"}}, {"index": 1, "function": {"arguments": "2}"}}),
        calling({"index": 0, "function": {"arguments": "\n"}}),
        FINISH,
    )
    found = read(client, translated("openai", client, stream))
    assert [(call.id, call.name, json.loads(call.arguments)) for call in found.tool_calls] == [
        ("a", "f", {"x": 1}),
        ("b", "g", {"y": 2}),
    ]


@pytest.mark.parametrize("client", READABLE)
def test_calls_without_ids_get_the_answers(client: DialectName) -> None:
    stream = chunks(
        calling({"index": 0, "function": {"name": "f"}}),
        calling({"index": 0, "function": {"arguments": "{}"}}),
        calling({"index": 1, "id": "call_1", "function": {"name": "g", "arguments": {"y": 2}}}),
        FINISH,
    )
    assert read(client, translated("openai", client, stream)).tool_calls == (
        ToolCall(id="call_xyz_0", name="f", arguments="{}"),
        ToolCall(id="call_xyz_1", name="g", arguments='{"y":2}'),
    )


@pytest.mark.parametrize("client", READABLE)
def test_a_name_that_comes_after_its_arguments(client: DialectName) -> None:
    stream = chunks(
        calling({"index": 0, "id": "a", "function": {"arguments": '{"x":'}}),
        calling({"index": 0, "function": {"name": "f", "arguments": "1}"}}),
        FINISH,
    )
    assert read(client, translated("openai", client, stream)).tool_calls == (
        ToolCall(id="a", name="f", arguments='{"x":1}'),
    )


@pytest.mark.parametrize("client", READABLE)
def test_a_call_without_a_name_fails(client: DialectName) -> None:
    stream = chunks(calling({"index": 0, "id": "a", "function": {"arguments": "{}"}}), FINISH)
    assert b"without a function name" in translated("openai", client, stream)


@pytest.mark.parametrize("client", READABLE)
def test_text_between_calls_keeps_its_place_and_usage_may_be_missing(client: DialectName) -> None:
    stream = chunks(
        {"delta": {"content": "a"}},
        calling({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}),
        {"delta": {"content": "b"}},
        FINISH,
    )
    found = read(client, translated("openai", client, stream))
    assert (found.text, len(found.tool_calls), found.usage) == ("ab", 1, Usage())


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("stop", ("stop", "end_turn", "completed")),
        ("length", ("length", "max_tokens", "incomplete")),
        ("content_filter", ("content_filter", "refusal", "incomplete")),
        ("odd_word", ("stop", "end_turn", "completed")),
    ],
)
def test_finish_reasons_stay_in_each_vocabulary(reason: str, words: tuple[str, str, str]) -> None:
    stream = chunks({"delta": {"content": "a"}, "finish_reason": reason})
    for client, word in zip(("openai", "anthropic", "openai-responses"), words, strict=True):
        assert f'"{word}"'.encode() in translated("openai", client, stream)


def test_a_refusal_is_text_for_clients() -> None:
    stream = chunks({"delta": {"refusal": "I cannot."}}, {"delta": {}, "finish_reason": "stop"})
    found = read("anthropic", translated("openai", "anthropic", stream))
    assert (found.text, found.finish_reason) == ("I cannot.", "content_filter")


def test_usage_is_sent_only_to_those_who_ask() -> None:
    stream = chunks(
        {"delta": {"content": "a"}, "finish_reason": "stop"},
        usage={"prompt_tokens": 2, "completion_tokens": 1},
    )
    plain = InboundRequest(request=REQUEST, stream=True)
    one = StreamTranslator(
        DIALECTS["openai"].reader(REQUEST), CLIENTS["openai"], plain, id="chatcmpl-1", created=1
    )
    written = one.feed(stream)
    assert b"usage" not in written
    assert one.usage == Usage(input_tokens=2, output_tokens=1)


def test_a_boxed_schema_is_unboxed_in_the_stream() -> None:
    request = ModelRequest(model="m", response_schema={"type": "array"})
    block = {"type": "tool_use", "id": "t", "name": "answer", "input": {}}
    events = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "So:"}},
        {"type": "content_block_start", "index": 1, "content_block": block},
        {"type": "content_block_delta", "index": 1, "delta": {"partial_json": '{"value":'}},
        {"type": "content_block_delta", "index": 1, "delta": {"partial_json": '["a"]}'}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    ]
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    one = translator("anthropic", "openai", request)
    found = read("openai", one.feed(stream))
    assert (found.text, found.finish_reason, found.tool_calls) == ('["a"]', "stop", ())


@every_client
@pytest.mark.parametrize("upstream", STREAMS)
@given(
    st.binary(max_size=200).map(
        lambda raw: (
            raw.replace(b"\x00", b"\n\n").replace(b"\x01", b"data: ").replace(b"\x02", b'{"choices":[')
        )
    )
)
def test_whatever_comes_nothing_is_raised(upstream: DialectName, client: ClientName, raw: bytes) -> None:
    one = translator(upstream, client)
    written = one.feed(STREAMS[upstream][0]) + one.feed(raw) + one.end()
    assert one.done
    assert b"error" in written


def test_anthropic_events_come_in_the_documented_order() -> None:
    events = SseReader().feed(translated("openai", "anthropic", b"".join(STREAMS["openai"])))
    told = [json.loads(event.data) for event in events]
    assert [event.name for event in events] == [each["type"] for each in told]
    assert [(each["type"].removeprefix("content_block_"), each.get("index")) for each in told] == [
        ("message_start", None),
        *[("start", 0), ("delta", 0), ("delta", 0), ("stop", 0)],
        *[("start", 1), ("delta", 1), ("delta", 1), ("stop", 1)],
        *[("start", 2), ("delta", 2), ("stop", 2)],
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert told[-2]["usage"] == {
        "input_tokens": 20,
        "output_tokens": 12,
        "cache_read_input_tokens": 10,
        "output_tokens_details": {"thinking_tokens": 4},
    }


def test_responses_events_come_in_the_documented_order() -> None:
    events = SseReader().feed(translated("anthropic", "openai-responses", b"".join(STREAMS["anthropic"])))
    told = [json.loads(event.data) for event in events]
    assert [event.name for event in events] == [each["type"] for each in told]
    assert [each["sequence_number"] for each in told] == list(range(len(told)))
    assert [(each["type"].removeprefix("response."), each.get("output_index")) for each in told] == [
        *[("created", None), ("in_progress", None)],
        *[("output_item.added", 0), ("content_part.added", 0)],
        *[("output_text.delta", 0), ("output_text.delta", 0)],
        *[("output_text.done", 0), ("content_part.done", 0), ("output_item.done", 0)],
        *[
            ("output_item.added", 1),
            ("function_call_arguments.delta", 1),
            ("function_call_arguments.delta", 1),
        ],
        *[("output_item.added", 2), ("function_call_arguments.delta", 2)],
        *[("function_call_arguments.done", 1), ("output_item.done", 1)],
        *[("function_call_arguments.done", 2), ("output_item.done", 2)],
        ("completed", None),
    ]
    assert told[-1]["response"]["output"][0]["content"][0]["text"] == "It rains."


def test_chunks_come_in_the_documented_order() -> None:
    *events, done = SseReader().feed(translated("gemini", "openai", b"".join(STREAMS["gemini"])))
    told = [json.loads(event.data) for event in events]
    assert done.data == b"[DONE]"
    assert {each["object"] for each in told} == {"chat.completion.chunk"}
    assert [list(each["choices"][0]["delta"]) if each["choices"] else "usage" for each in told] == [
        ["role", "content"],
        *[["content"], ["content"]],
        *[["tool_calls"]] * 4,
        [],
        "usage",
    ]
    assert told[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_stream_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its client is told at the end has to be kept until then."""
    monkeypatch.setattr("crossgrade.dialects._translation.LONGEST_STREAM", 1_000)
    one = translator("openai", "openai-responses")
    event = b'data: {"choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
    for _ in range(30):
        one.feed(event)
    assert one.done
    assert "longer than" in str(one.failure)


def test_who_says_a_failure_elsewhere_gets_no_event_of_it() -> None:
    reader = DIALECTS["openai"].reader(REQUEST)
    one = StreamTranslator(reader, CLIENTS["anthropic"], INBOUND, id="msg_1", created=1, says_failure=False)
    assert one.feed(b'data: {"error":{"message":"busy"}}\n\n') == b""
    assert "busy" in str(one.failure)
