"""Streams that cross from one API to another: split anywhere, broken anywhere, with tools, and to their end."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.gateway._served import Served, metric, serving
from tests.e2e.certified import ask
from tests.e2e.raw_upstream import STREAM_HEAD, Pieces, RawUpstream, event
from tests.e2e.test_gateway_upstream import BROKEN, DONE, END, STREAMS
from tests.waiting import until

CALLS = [
    {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"ci'}},
    {"index": 0, "function": {"arguments": 'ty":"Bern"}'}},
    {"index": 1, "id": "call_2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
]
TOOLS = b"".join(event(tool_calls=[call]) for call in CALLS) + event(
    finish="tool_calls", usage={"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
)
WHOLE: dict[str, Pieces] = {
    **{name: pieces for name, pieces in STREAMS.items() if name not in ("tool call broken", "invalid UTF-8")},
    "tools": [STREAM_HEAD, TOOLS + DONE],
    "tools split at odd places": [STREAM_HEAD, *(bytes([byte]) for byte in TOOLS + DONE)],
}
UNREADABLE: dict[str, Pieces] = {"invalid UTF-8": STREAMS["invalid UTF-8"]}
CUT: dict[str, Pieces] = {
    **BROKEN,
    "tools without an end": [STREAM_HEAD, event(content="Hello"), 0.2, TOOLS[:-30]],
}
CLAUDE = [
    ("message_start", {"message": {"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {"input_tokens": 5, "output_tokens": 1}}}),
    ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Hello"}}),
    ("ping", {}),
    ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": " there"}}),
    ("content_block_stop", {"index": 0}),
    ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
    ("message_stop", {}),
]  # fmt: skip
MESSAGES = [
    f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode() for kind, fields in CLAUDE
]
OVERLOADED = (
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
)
FROM_CLAUDE: dict[str, Pieces] = {
    "claude: fine": [STREAM_HEAD, b"".join(MESSAGES)],
    "claude: split at odd places": [STREAM_HEAD, *(bytes([byte]) for byte in b"".join(MESSAGES))],
    "claude: no end": [STREAM_HEAD, b"".join(MESSAGES[:3]), 0.2, b"".join(MESSAGES[3:-1])],
    "claude: an error inside": [STREAM_HEAD, b"".join(MESSAGES[:3]), 0.2, OVERLOADED],
    "claude: half an event": [STREAM_HEAD, b"".join(MESSAGES[:3]), 0.2, MESSAGES[4][:30]],
}
MARKERS = {
    "/v1/chat/completions": b"data: [DONE]",
    "/v1/messages": b"event: message_stop",
    "/v1/responses": b"event: response.completed",
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    script = {
        **WHOLE,
        **UNREADABLE,
        **{f"cut: {name}": pieces for name, pieces in CUT.items()},
        **FROM_CLAUDE,
    }
    script["endless"] = [STREAM_HEAD, *([event(content="word"), 0.02] * 3_000)]
    with RawUpstream(script) as raw:
        yield raw


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: RawUpstream) -> Iterator[Served]:
    model = {"model": "m", "base_url": upstream.base_url, "api_key_env": "UPSTREAM_KEY", "timeout_s": 5}
    openai, claude = ({**model, "provider": name} for name in ("openai-compatible", "anthropic"))
    # A breaker that opened would hide the next case: each asks by a target of its own.
    models = {
        _name(text, path): openai
        for text in (*WHOLE, *UNREADABLE, *(f"cut: {n}" for n in CUT), "endless")
        for path in MARKERS
    }
    models |= {_name(text, path): claude for text in FROM_CLAUDE for path in MARKERS}
    config = {"models": models, "routes": {name: {"incumbent": name, "attempts": 1} for name in models}}
    folder = tmp_path_factory.mktemp("crossing")
    with serving(folder, config, environ={"UPSTREAM_KEY": "sk-crossing"}) as served:
        yield served


def _name(text: str, path: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in f"{text}{path}").lower()


def body_of(text: str, path: str) -> dict[str, Any]:
    if "responses" in path:
        return {"model": _name(text, path), "input": text, "stream": True}
    messages = [{"role": "user", "content": text}]
    return {"model": _name(text, path), "messages": messages, "max_tokens": 99, "stream": True}


def stream(served: Served, text: str, path: str) -> bytes:
    answer = ask(served, "", path=path, body=body_of(text, path))
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith("text/event-stream")
    return answer.body


def events(body: bytes) -> list[dict[str, Any]]:
    lines = [line[6:] for line in body.splitlines() if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def text_of(body: bytes, path: str) -> str:
    if "messages" in path:
        return "".join(e["delta"].get("text", "") for e in events(body) if e["type"] == "content_block_delta")
    if "responses" in path:
        return "".join(e["delta"] for e in events(body) if e["type"] == "response.output_text.delta")
    return "".join(c["delta"].get("content") or "" for e in events(body) for c in e["choices"])


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_stream_crosses(gateway: Served, name: str, path: str) -> None:
    body = stream(gateway, name, path)
    assert body.count(MARKERS[path]) == 1
    assert body.rstrip().rpartition(b"\n\n")[2].startswith(MARKERS[path]), "it is the last event"
    assert b"event: error" not in body
    if "tool" not in name:
        assert text_of(body, path) == ("héllo" if name == "UTF-8 split" else "Hello there")


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_told_before_anything_was_sent(gateway: Served, name: str, path: str) -> None:
    answer = ask(gateway, "", path=path, body=body_of(name, path))
    assert answer.status == 502
    assert "not valid JSON" in answer.json["error"]["message"]
    assert b"sk-crossing" not in answer.body


@pytest.mark.parametrize("name", ["tools", "tools split at odd places"])
def test_tool_calls_cross_a_stream(gateway: Served, name: str) -> None:
    found = events(stream(gateway, name, "/v1/messages"))
    starts = {e["index"]: e["content_block"] for e in found if e["type"] == "content_block_start"}
    calls = {i: block for i, block in starts.items() if block["type"] == "tool_use"}
    given = {
        block["name"]: json.loads(
            "".join(e["delta"].get("partial_json", "") for e in found if e.get("index") == i and "delta" in e)
            or "{}"
        )
        for i, block in calls.items()
    }
    assert given == {"weather": {"city": "Bern"}, "time": {}}
    assert [e["delta"]["stop_reason"] for e in found if e["type"] == "message_delta"] == ["tool_use"]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("name", CUT)
def test_a_broken_stream_ends_in_an_error_of_the_clients_api(gateway: Served, name: str, path: str) -> None:
    body = stream(gateway, f"cut: {name}", path)
    assert "Hello" in text_of(body, path)
    assert MARKERS[path] not in body
    last = events(body)[-1]
    assert last["type"] in ("error", "response.failed"), last
    assert b"sk-crossing" not in body


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize("name", FROM_CLAUDE)
def test_a_claude_stream_crosses_or_is_told_to_be_broken(gateway: Served, name: str, path: str) -> None:
    body = stream(gateway, name, path)
    is_whole = name in ("claude: fine", "claude: split at odd places")
    assert (MARKERS[path] in body) is is_whole
    assert text_of_any(body, path).startswith("Hello")
    if is_whole:
        assert text_of_any(body, path) == "Hello there"
    else:
        assert "error" in json.dumps(events(body)[-1])


def text_of_any(body: bytes, path: str) -> str:
    kept = b"\n\n".join(each for each in body.split(b"\n\n") if b'"error"' not in each)
    return text_of(kept, path)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
def test_a_client_that_hangs_up_cancels_what_crosses(
    gateway: Served, upstream: RawUpstream, path: str
) -> None:
    before = upstream.cut_short.count("endless")
    headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"}
    data = json.dumps(body_of("endless", path)).encode()
    with urllib.request.urlopen(
        urllib.request.Request(gateway.url + path, data, headers), timeout=30
    ) as answer:
        seen = b""
        while b"word" not in seen:
            seen += answer.readline()
    until(lambda: upstream.cut_short.count("endless") == before + 1)
    until(lambda: metric(gateway, "crossgrade_gateway_connections") <= 2)


def test_the_end_that_was_sent_is_what_was_meant() -> None:
    """The pieces above are what they say: an end that is missing is missing."""
    assert END not in b"".join(each for each in CUT["half an event"] if isinstance(each, bytes))
    assert DONE not in b"".join(each for each in CUT["no end"] if isinstance(each, bytes))
