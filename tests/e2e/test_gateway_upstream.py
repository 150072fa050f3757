"""Whatever an upstream does, the client gets an honest answer and the next request is served."""

import gzip
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from benchmarks.gateway._served import Served, serving
from tests.e2e.raw_upstream import STREAM_HEAD, Pieces, RawUpstream, completion, event, json_answer

KEY = "sk-upstream-secret"
DONE = b"data: [DONE]\n\n"
HELLO = event(content="Hello") + event(content=" there")
END = event(finish="stop", usage={"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7})
TOOL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}

UMLAUT = event(content="h\u00e9llo").replace(b"\\u00e9", "\u00e9".encode())
_MIDDLE = UMLAUT.index(b"\xc3") + 1

STREAMS: dict[str, Pieces] = {
    "fine": [STREAM_HEAD, HELLO, END, DONE],
    "split at odd places": [STREAM_HEAD, *(bytes([byte]) for byte in HELLO + END + DONE)],
    "CRLF mixes": [STREAM_HEAD, HELLO.replace(b"\n", b"\r\n"), END.replace(b"\n\n", b"\r\n\n"), DONE.replace(b"\n", b"\r\n")],
    "comments": [STREAM_HEAD, b": ping\n\n", HELLO, b":\n\n", END, DONE],
    "two ends": [STREAM_HEAD, HELLO, END, DONE, DONE],
    "data after the end": [STREAM_HEAD, HELLO, END, DONE, event(content="more")],
    "usage missing": [STREAM_HEAD, HELLO, event(finish="stop"), DONE],
    "usage absurd": [STREAM_HEAD, HELLO, event(finish="stop", usage={"prompt_tokens": -5, "completion_tokens": 10**30}), DONE],
    "finish reason unknown": [STREAM_HEAD, HELLO, event(finish="sunset", usage={}), DONE],
    "tool call broken": [STREAM_HEAD, event(tool_calls=[TOOL]), event(finish="tool_calls"), DONE],
    "one id for two tool calls": [STREAM_HEAD, event(tool_calls=[{**TOOL, "function": {"name": "f", "arguments": "{}"}}]), event(tool_calls=[{**TOOL, "index": 1, "function": {"name": "g", "arguments": "{}"}}]), event(finish="tool_calls"), DONE],
    "invalid UTF-8": [STREAM_HEAD, UMLAUT.replace("\u00e9".encode(), b"\xff"), END, DONE],
    "UTF-8 split": [STREAM_HEAD, UMLAUT[:_MIDDLE], UMLAUT[_MIDDLE:], END, DONE],
}  # fmt: skip
"""Streams that reach the client as they are."""

BROKEN: dict[str, Pieces] = {
    "half an event": [STREAM_HEAD, HELLO, 0.2, END[:30]],
    "no end": [STREAM_HEAD, HELLO, 0.2, event(finish="stop")],
    "reset in the middle": [STREAM_HEAD, HELLO, 0.2],
    "an error inside": [
        STREAM_HEAD,
        HELLO,
        0.2,
        b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n',
    ],
    "a line of 10 MiB": [STREAM_HEAD, HELLO, 0.2, b"data: " + b"a" * (10 << 20)],
}
"""Streams that broke off: the client is told, and no end is made up."""

ANSWERS: dict[str, tuple[Pieces, set[int]]] = {
    "fine": ([json_answer(completion())], {200}),
    "no usage": ([json_answer({**completion(), "usage": None})], {200}),
    "cookies": ([json_answer(completion(), "Set-Cookie: session=1; Domain=evil.example")], {200}),
    "the key in a header": ([json_answer(completion(), f"X-Debug: Bearer {KEY}")], {200}),
    "the key in an error": ([json_answer({"error": {"message": f"bad key {KEY}"}}, status="401 Unauthorized")], {401, 502, 503}),
    "HTML": ([b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<html>hi</html>"], {502}),
    "HTML error": ([b"HTTP/1.1 503 Busy\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<html>hi</html>"], {502, 503}),
    "200 with an error": ([json_answer({"error": {"message": "overloaded", "type": "server_error"}})], {502, 503}),
    "half a JSON": ([json_answer(b'{"id":"c1","choices":[')], {502}),
    "a redirect": ([b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/steal\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"], {502}),
    "429 for a year": ([json_answer({"error": {"message": "slow down"}}, "Retry-After: 31536000", status="429 Too Many Requests")], {429}),
    "500": ([json_answer({"error": {"message": "oops"}}, status="500 Internal Server Error")], {500, 502, 503}),
    "reset": ([b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"], {502}),
    "nothing": ([], {502, 503}),
    "not HTTP": ([b"SSH-2.0-OpenSSH_9.9\r\n"], {502}),
    "a gzip bomb": (
        [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n" + gzip.compress(b" " * (64 << 20))],
        {502},
    ),
    "a hang": ([30.0], {504}),
    "a slow drip": ([b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n", *([b" ", 0.3] * 40)], {502, 504}),
    "a head without end": ([b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100_000], {502}),
}  # fmt: skip


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    script = {f"stream: {name}": pieces for name, pieces in {**STREAMS, **BROKEN}.items()}
    script |= {f"answer: {name}": pieces for name, (pieces, _) in ANSWERS.items()}
    script["endless"] = [STREAM_HEAD, *([event(content="word"), 0.02] * 3_000)]
    with RawUpstream(script) as raw:
        yield raw


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: RawUpstream) -> Iterator[Served]:
    model = {
        "provider": "openai-compatible", "model": "m", "base_url": upstream.base_url,
        "api_key_env": "UPSTREAM_KEY", "timeout_s": 4,
    }  # fmt: skip
    # A breaker that opened would hide the next case: each asks by a route and a target of its own.
    names = [f"m{n}" for n in range(len(STREAMS) + len(BROKEN) + len(ANSWERS) + 2)]
    config = {
        "models": {name: dict(model) for name in names},
        "routes": {f"r{name}": {"incumbent": name, "attempts": 1} for name in names},
    }
    folder = tmp_path_factory.mktemp("upstream")
    with serving(folder, config, environ={"UPSTREAM_KEY": KEY}) as served:
        yield served


def ask(served: Served, route: int, text: str, *, stream: bool = False) -> tuple[int, dict[str, str], bytes]:
    body = {"model": f"rm{route}", "messages": [{"role": "user", "content": text}], "stream": stream}
    request = urllib.request.Request(
        f"{served.url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {served.key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return (
                answer.status,
                {name.lower(): value for name, value in answer.headers.items()},
                answer.read(),
            )
    except urllib.error.HTTPError as error:
        return error.code, {name.lower(): value for name, value in error.headers.items()}, error.read()


@pytest.mark.parametrize(("route", "name"), [*enumerate(STREAMS)])
def test_a_whole_stream_passes(gateway: Served, route: int, name: str) -> None:
    status, headers, body = ask(gateway, route, f"stream: {name}", stream=True)
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    data = [line for line in body.replace(b"\r\n", b"\n").split(b"\n") if line.startswith(b"data: ")]
    assert data[-1] == b"data: [DONE]"
    assert data.count(b"data: [DONE]") == 1
    assert b"error" not in body


@pytest.mark.parametrize(("route", "name"), [*enumerate(BROKEN, start=len(STREAMS))])
def test_a_broken_stream_ends_in_an_error(gateway: Served, route: int, name: str) -> None:
    status, _, body = ask(gateway, route, f"stream: {name}", stream=True)
    assert status == 200
    assert b"Hello" in body
    assert b"[DONE]" not in body
    last = [line for line in body.split(b"\n") if line.startswith(b"data: {")][-1]
    assert json.loads(last[6:])["error"]["message"]


@pytest.mark.parametrize(("route", "name"), [*enumerate(ANSWERS, start=len(STREAMS) + len(BROKEN))])
def test_a_bad_answer_is_told_cleanly(gateway: Served, route: int, name: str) -> None:
    before = gateway.resident_bytes()
    status, headers, body = ask(gateway, route, f"answer: {name}")
    assert status in ANSWERS[name][1], body[:300]
    told = json.loads(body)
    assert status == 200 or told["error"]["message"]
    assert KEY not in body.decode() + str(headers)
    assert "set-cookie" not in headers
    if "retry-after" in headers:
        assert int(headers["retry-after"]) <= 3_600
    assert gateway.resident_bytes() - before < 100 << 20


def test_a_client_that_hangs_up_cancels_the_upstream_call(gateway: Served, upstream: RawUpstream) -> None:
    route = len(STREAMS) + len(BROKEN) + len(ANSWERS)
    body = {"model": f"rm{route}", "messages": [{"role": "user", "content": "endless"}], "stream": True}
    request = urllib.request.Request(
        f"{gateway.url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert b"word" in answer.readline() + answer.readline() + answer.readline()
    give_up = time.monotonic() + 20
    while "endless" not in upstream.cut_short and time.monotonic() < give_up:
        time.sleep(0.05)
    assert "endless" in upstream.cut_short


def test_the_upstream_sees_its_own_key_and_nothing_of_the_clients(
    gateway: Served, upstream: RawUpstream
) -> None:
    ask(gateway, len(STREAMS) + len(BROKEN) + len(ANSWERS) + 1, "answer: fine")
    head = upstream.requests[-1].partition(b"\r\n\r\n")[0].decode().lower()
    assert f"authorization: bearer {KEY}" in head
    assert gateway.key.lower() not in head
    assert not re.search("x-crossgrade|x-forwarded|cookie", head)


REDIRECTS = ("301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect")


@pytest.fixture(scope="module")
def redirecting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, RawUpstream]]:
    """A gateway whose provider redirects to another host, and that host."""
    with RawUpstream({name: [json_answer(completion())] for name in REDIRECTS}) as elsewhere:
        head = f"Location: {elsewhere.base_url}/chat/completions\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with RawUpstream({name: [f"HTTP/1.1 {name}\r\n{head}".encode()] for name in REDIRECTS}) as first:
            model = {
                "provider": "openai-compatible", "model": "m", "base_url": first.base_url,
                "api_key_env": "UPSTREAM_KEY",
            }  # fmt: skip
            names = [f"m{number}" for number in range(len(REDIRECTS))]
            config = {
                "models": {name: dict(model) for name in names},
                "routes": {f"r{name}": {"incumbent": name, "attempts": 1} for name in names},
            }
            folder = tmp_path_factory.mktemp("redirect")
            with serving(folder, config, environ={"UPSTREAM_KEY": KEY}) as served:
                yield served, elsewhere
                assert len(first.requests) == 4 * len(REDIRECTS)


@pytest.mark.parametrize(("route", "status"), [*enumerate(REDIRECTS)])
def test_no_redirect_is_followed(redirecting: tuple[Served, RawUpstream], route: int, status: str) -> None:
    """Neither the key nor the prompt reaches another host, whatever the provider says."""
    gateway, elsewhere = redirecting
    for stream in (False, True) * 2:
        answered, headers, body = ask(gateway, route, status, stream=stream)
        assert answered == 502
        assert "location" not in headers
        assert elsewhere.base_url.encode() not in body
    assert elsewhere.requests == []
