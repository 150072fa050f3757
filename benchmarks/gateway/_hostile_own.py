"""Hostile requests of our own, beside the abuse list: large bodies, odd framing, other APIs, pipelines.

The routes `claude`, `gemini` and `replies` lead to models that speak Anthropic's, Google's and OpenAI's
Responses API, so that requests are translated.
"""

import json
from collections.abc import Iterator

from benchmarks.gateway._hostile import (
    CHAT,
    CHUNKED,
    CLOSED,
    GOOD,
    KEY,
    MIB,
    Case,
    case,
    head,
    long_body,
    nested,
    whole,
)

_BODY = json.dumps(GOOD).encode()
_START = b'{"model":"support","messages":'
_HELLO = _START + b'[{"role":"user","content":"hi"}]'
_SPACES = b" " * (1 << 20)
_ANY = (200, 400, 404, 413, 422)
"""Every status that is an honest answer to a body that may pass."""


def _heads() -> Iterator[Case]:
    for name, auth in {
        "a long key": ["Authorization: Bearer " + "a" * 16_000],
        "an empty key": ["Authorization: Bearer "],
        "basic authorization": ["Authorization: Basic YWRtaW46YWRtaW4="],
        "two kinds of key": [f"Authorization: Bearer {KEY}", "x-api-key: sk-other"],
        "a key of half a token": ["Authorization: Bearer eyJhbGciOiJSUzI1NiJ9." + "A" * 20_000],
    }.items():
        yield case(f"head: {name}", whole(auth=auth), 400, 401, 431)
    for name, path in {
        "a NUL in the path": "/v1/%00chat",
        "a template in the query": "/v1/chat/completion?x={{7*7}}",
        "an unknown route": "/r/nobody/v1/chat/completions",
        "a route named like a path": "/r/..%2f..%2fadmin/v1/chat/completions",
        "a fragment": "/v1/chat/completions#x",
        "a path with letters of another alphabet": "/v1/ch\u00e4t",
        "a star": "*",
        "a route of 20 KB": f"/r/{'a' * 20_000}/v1/chat/completions",
    }.items():
        yield case(f"head: {name}", whole(line=f"POST {path} HTTP/1.1"), 400, 404)
    for name, line in {
        "spaces in the host": "Host: a b",
        "a header of 60 KB": "X-Long: " + "a" * 60_000,
        "a header without a name": ": a",
        "a header without a colon": "X-Odd",
        "a header name in another alphabet": "X-\u00dc: a",
        "an end of the world in a header": "X-Odd: a\x7f",
        "transfer-encoding with a space": "Transfer-Encoding : chunked",
        "transfer-encoding after a tab": "Transfer-Encoding:\tchunked",
        "two codings": "Transfer-Encoding: chunked, identity",
        "chunks twice": "Transfer-Encoding: chunked, chunked",
        "chunks that are compressed": "Transfer-Encoding: gzip, chunked",
        "an unknown expectation": "Expect: 200-maybe",
        "a header that closes the length": "Connection: close, content-length",
        "another method in a header": "X-HTTP-Method-Override: DELETE",
        "another path in a header": "X-Original-URL: /metrics",
    }.items():
        allowed = (200,) if name.startswith(("a header that closes", "another", "an end")) else ()
        yield case(f"head: {name}", whole(headers=[line]), 400, 417, 431, *allowed)
    for name, method in {
        "GET": "GET", "OPTIONS": "OPTIONS", "PROPFIND": "PROPFIND", "a method of 10 KB": "A" * 10_000,
        "a method in small letters": "post", "no method": "", "CONNECT": "CONNECT",
    }.items():  # fmt: skip
        yield case(f"head: {name} on a path for POST", head(line=f"{method} {CHAT} HTTP/1.1"), 400, 404, 405)
    for version in ("HTTP/3.0", "HTTP/1.2", "HTTP/1", "HTTP/1.1.1", "http/1.1", "ICY/1.1"):
        yield case(f"head: {version}", whole(line=f"POST {CHAT} {version}"), 400)
    yield case("head: only line feeds", whole().replace(b"\r\n", b"\n"), 400)
    yield case("head: a megabyte of blank lines", (b"\r\n" * (1 << 19), whole()), 200, 400, 431, CLOSED)
    yield case("head: cut short", b"POST / HTTP/1.1\r\nHos", 400, 408, CLOSED, half_close=True)
    yield case("head: a websocket", whole(headers=["Upgrade: websocket", "Connection: Upgrade"]), 200, 400)
    yield case("head: h2c", whole(headers=["Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings"]), 200, 400)
    yield case("head: a body where none is taken", whole(line="GET /metrics HTTP/1.1"), 401, 403, 413)


def _framings() -> Iterator[Case]:
    for length in ("1e3", "0x10", "5, 5", "", "1_000", "\u0665", "5;", " 5 5"):
        yield case(f"frame: length {length!r}", head(length=length) + _BODY, 400, 413)
    zeros = head(length=f"{len(_BODY):020d}") + _BODY
    yield case("frame: a length with zeros", zeros, 200, 400, 413)
    yield case("frame: a length over the limit", head(length=(256 << 20) + 1), 413)
    chunked = head(headers=CHUNKED)
    size = b"%x" % len(_BODY)
    for name, frames in {
        "a negative chunk": b"-5\r\nhello\r\n0\r\n\r\n",
        "a chunk of 2^64 bytes": b"10000000000000000\r\nhello\r\n0\r\n\r\n",
        "a chunk with a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
        "a chunk longer than it says": b"3\r\nhello\r\n0\r\n\r\n",
        "a chunk that ends in CR": b"5\r\nhello\r0\r\n\r\n",
        "an extension with a line feed": size + b";a=\nb\r\n" + _BODY + b"\r\n0\r\n\r\n",
        "a thousand trailers": size + b"\r\n" + _BODY + b"\r\n0\r\n" + b"X-A: b\r\n" * 1_000 + b"\r\n",
    }.items():
        yield case(f"frame: {name}", chunked + frames, 400, 413, 431)
    extended = size + b";" + b"a" * 100_000 + b"\r\n" + _BODY + b"\r\n0\r\n\r\n"
    yield case("frame: an extension of 100 KB", chunked + extended, 200, 400, 413)
    single = b"".join(b"1\r\n%c\r\n" % byte for byte in _BODY)
    yield case("frame: chunks of one byte", chunked + single + b"0\r\n\r\n", 200)
    endless = (chunked, b"100000\r\n" + MIB + b"\r\n")
    yield case("frame: chunks without end", endless, 400, 408, CLOSED, half_close=True)
    yield case("frame: chunks after an expectation", head(headers=[*CHUNKED, "Expect: 100-continue"]) + size + b"\r\n" + _BODY + b"\r\n0\r\n\r\n", 200, 400)  # fmt: skip
    short = head(length=len(_BODY) - 2) + _BODY
    yield case("frame: a length that is too short", short, 400, answers=1)
    inner = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
    hidden = head(length=len(inner), headers=["Transfer-Encoding: identity"]) + inner
    yield case("frame: a request in a body", hidden, 400)
    good = whole()
    yield case("frame: forty in a row", good * 40, 200, 400, CLOSED, answers=12)
    one_more = good * 17 + whole(headers=["Host: evil.example"])
    yield case("frame: one too many in a row, with two hosts", one_more, 200, answers=12)
    yield case("frame: a good one, then garbage", good + b"\x00\xff\r\n\r\n", 200, 400, CLOSED, answers=2)
    large = b"".join(long_body(_START + b'[{"role":"user","content":"', MIB, MIB, b'"}]}'))
    yield case("frame: a large one between two", good + large + good, 200, 400, answers=3)


def _large() -> Iterator[Case]:
    """Bodies over 1 MiB, which are not parsed."""
    for name, field in {
        "api_base": b'"api_base":"http://evil.example"',
        "API_BASE": b'"API_BASE":"http://evil.example"',
        "an escaped api_base": b'"\\u0061pi_base":"http://evil.example"',
        "an i without a dot in api_base": '"ap\u0131_base":"http://evil.example"'.encode(),
        "model_list in a message": b'"messages":[{"model_list":[]}]',
        "a long s in a message": '"messages":[{"a":1,"ba\u017fe_url":[]}]'.encode(),
        "mock_response": b'"mock_response":"a"',
        "a million answers": b'"n":1000000',
        "another model": b'"Model":"other"',
        "an escaped model": b'"mod\\u0065l":"other"',
        "a limit that is text": b'"max_tokens":"9"',
        "a model that is an object": b'"model":{"a":1}',
        "api_base after a comment": b'/* "x":" */"api_base":1,/* " */"y":2',
        "api_base between single quotes": b"'x\":':1,'api_base':1,'y\"':2",
        "api_base without quotes": b'api_base:"http://evil.example"',
        "api_base with an escape of JSON5": b'"\\x61pi_base":"http://evil.example"',
        "NaN": b'"top_p":NaN',
        "bad UTF-8": b'"x":"\xc0\xaf"',
        "two commas": b'"x":1,,"y":2',
        "two numbers of answers": b'"n":1,"n":100',
        "a stream and none": b'"stream":true,"Stream":false',
        "an answer in the background": b'"background":true',
    }.items():
        for where, pieces in {
            "after": (b'{"model":"support",', _SPACES, _SPACES, field + b"}"),
            "before": (b"{" + field + b",", _SPACES, _SPACES, b'"model":"support"}'),
        }.items():
            yield case(f"large: {name} {where} 2 MiB of spaces", long_body(*pieces), 400)
    field = b'"api_base":"http://evil.example"}'
    split = (b'{"model":"support",', _SPACES, _SPACES, *(bytes([byte]) for byte in field))
    yield case("large: api_base in chunks of one byte", long_body(*split, in_chunks=True), 400)
    text = _START + b'[{"role":"user","content":"'
    for name, pieces, *allowed in (
        ("nesting", (nested(_START, b"[", b"]", b"}", depth=1_000_000),), 400),
        ("opening brackets", (b'{"model":"support","x":', *[b"[" * (1 << 20)] * 2), 400),
        ("opening braces", (b"{" * (1 << 21),), 400),
        ("closing brackets", (_HELLO + b',"x":"', MIB, b'"', b"]" * (1 << 20)), 400),
        ("an array", (b"[", _SPACES, _SPACES, _HELLO + b"}]"), 400),
        ("text", (MIB, MIB), 400),
        ("blanks alone", (_SPACES, _SPACES), 400),
        ("half a document", (text, MIB, MIB), 400),
        ("two documents", (text, MIB, MIB, b'"}]}' + _HELLO + b"}"), 400),
        ("no model", (b'{"messages":[{"role":"user","content":"', MIB, MIB, b'"}]}'), 400),
        ("a model of 2 MiB", (b'{"model":"', MIB, MIB, b'"}'), 400, 404),
        ("a key of 2 MiB", (b'{"', MIB, MIB, b'":1,"model":"support"}'), *_ANY),
        ("200,000 keys", (b'{"model":"support"' + b"".join(b',"key%d":1' % n for n in range(200_000)) + b"}",), 400),
        ("500,000 empty objects", (_HELLO + b',"x":[' + b"{}," * 500_000 + b"{}]}",), *_ANY),
        ("300,000 objects under a suspicious key", (_HELLO + b',"metadata":{"headers":"a"},"x":[' + b'{"a":[]},' * 300_000 + b"1]}",), *_ANY),
        ("2 MiB of backslashes", (text, b"\\" * (1 << 21), b'"}]}'), *_ANY),
        ("2 MiB of escaped quotes", (text, b'\\"' * (1 << 20), b'"}]}'), *_ANY),
        ("2 MiB of backslashes without an end", (text, b"\\" * ((1 << 21) + 1), b'"}]}'), 400),
        ("a million quotes", (_HELLO + b',"x":[' + b'"",' * 1_000_000 + b'""]}',), *_ANY),
        ("2 MiB of digits", (_HELLO + b',"seed":', b"9" * (1 << 21), b"}"), *_ANY),
        ("a text of bad UTF-8", (text, b"\xff" * (1 << 21), b'"}]}'), 400),
        ("NUL bytes", (text, b"\0" * (1 << 21), b'"}]}'), 400),
        ("35,000 messages", (_START + b"[" + b'{"role":"user","content":"hello to you"},' * 35_000 + b'{"role":"user","content":"a"}]}',), *_ANY),
    ):  # fmt: skip
        yield case(f"large: {name}", long_body(*pieces), *allowed)
    yield case("large: cut short", (head(length=100 << 20) + text, MIB), 400, 408, CLOSED, half_close=True)
    feedback = "POST /v1/feedback HTTP/1.1"
    yield case("large: feedback", (head(line=feedback, length=2 << 20), MIB, MIB), 400, 413)
    across = (b'{"model":"claude","max_tokens":5,"messages":[{"role":"user","content":"', MIB, MIB, b'"}]}')
    yield case("large: for another API", long_body(*across), 413)


def _small() -> Iterator[Case]:
    for name, body in {
        "half a JSON": b'{"model":"support","messages":[',
        "two documents": _BODY * 2,
        "an escaped model twice": b'{"model":"support","\\u006dodel":"other","messages":[]}',
        "no model": b'{"messages":[{"role":"user","content":"hi"}]}',
        "a model that is a number": b'{"model":5,"messages":[{"role":"user","content":"hi"}]}',
        "a model of 100 KB": json.dumps({"model": "m" * 100_000, "messages": []}).encode(),
        "UTF-16": json.dumps(GOOD).encode("utf-16"),
        "a byte order mark": b"\xef\xbb\xbf" + _BODY,
        "an overlong slash": b'{"model":"support","messages":[{"role":"user","content":"\xc0\xaf"}]}',
        "a comment": b"/* hi */" + _BODY,
        "a trailing comma": _HELLO + b",}",
        "single quotes": _BODY.replace(b'"', b"'"),
        "an infinite number": _HELLO + b',"top_p":Infinity}',
        "100,000 digits": _HELLO + b',"max_tokens":' + b"9" * 100_000 + b"}",
        "a fraction of an answer": _HELLO + b',"n":0.5}',
        "litellm_params": json.dumps(
            {**GOOD, "litellm_params": {"api_base": "http://evil.example"}}
        ).encode(),
        "extra_body": json.dumps({**GOOD, "extra_body": {"api_base": "http://evil.example"}}).encode(),
        "proxy": json.dumps({**GOOD, "proxy": "http://evil.example"}).encode(),
        "an escaped api_base": _HELLO + b',"\\u0061pi_base":"http://evil.example"}',
        "a long s in base_url": _HELLO + ',"ba\u017fe_url":"http://evil.example"}'.encode(),
        "two numbers of answers": _HELLO + b',"n":1,"n":100}',
        "two bounds, one of them escaped": _HELLO + b',"max_tokens":1,"max\\u005ftokens":100000}',
        "two tiers": _HELLO + b',"service_tier":"flex","SERVICE_TIER":"priority"}',
        "an answer in the background": _HELLO + b',"background":true}',
        "100,000 equal keys": _HELLO + b"".join([b',"Model":1'] * 100_000) + b"}",
    }.items():
        yield case(f"body: {name}", whole(body), 400, 404, 413)
    for name, body in {
        "no messages": b'{"model":"support"}',
        "messages that are text": b'{"model":"support","messages":"hi"}',
        "a tiny number": _HELLO + b',"temperature":1e-999999}',
        "stream_options that are text": _HELLO + b',"stream":true,"stream_options":"yes"}',
        "a number as deep as it may be": nested(_HELLO + b',"x":', b"[", b"]", b"}", depth=127),
    }.items():
        yield case(f"body: {name}", whole(body), *_ANY)
    xml = b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>"
    yield case("body: XML", whole(xml, content_type="application/xml"), 400, 415)
    deep = nested(b'{"response_id":', b"[", b"]", b"}", depth=100_000)
    yield case("body: deep feedback", whole(deep, line="POST /v1/feedback HTTP/1.1"), 400)


_ODD = {
    "an unknown role": {"messages": [{"role": "wizard", "content": "hi"}]},
    "no role": {"messages": [{"content": "hi"}]},
    "a message that is a number": {"messages": [5]},
    "content that is a number": {"messages": [{"role": "user", "content": 5}]},
    "content that is null": {"messages": [{"role": "user", "content": None}]},
    "a part of an unknown kind": {"messages": [{"role": "user", "content": [{"type": "smell", "smell": "a"}]}]},
    "a part that is text": {"messages": [{"role": "user", "content": ["hi"]}]},
    "an image that is none": {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:;base64,%%%"}}]}]
    },
    "an image from another host": {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]}]
    },
    "arguments that are no JSON": {
        "messages": [
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "b"},
        ]
    },
    "arguments of 100,000 levels": {
        "messages": [
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "[" * 100_000}}]},
            {"role": "tool", "tool_call_id": "a", "content": "b"},
        ]
    },
    "arguments with a number of 5,000 digits": {
        "messages": [
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a":' + "9" * 5_000 + "}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "b"},
        ]
    },
    "a result of no call": {"messages": [{"role": "tool", "tool_call_id": "nobody", "content": "b"}]},
    "calls that are text": {"messages": [{"role": "assistant", "tool_calls": "f"}]},
    "tools that are a number": {"tools": 5},
    "a tool without a name": {"tools": [{"type": "function", "function": {}}]},
    "a tool of an unknown kind": {"tools": [{"type": "spaceship"}]},
    "parameters that are text": {"tools": [{"type": "function", "function": {"name": "f", "parameters": "a"}}]},
    "parameters that refer to themselves": {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}}}]
    },
    "a schema that is a list": {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": [1]}}},
    "a choice of no tool": {"tool_choice": {"type": "function", "function": {"name": "nobody"}}},
    "a temperature that is text": {"temperature": "hot"},
    "a lone surrogate": {"messages": [{"role": "user", "content": "\ud800"}]},
    "stops that are numbers": {"stop": [1, 2]},
    "no messages": {"messages": []},
    "null everywhere": {"messages": None, "tools": None, "stop": None, "temperature": None, "stream": None},
}  # fmt: skip
"""Bodies of the chat API that are right for nobody, or for few."""


def _across() -> Iterator[Case]:
    """Each odd body for a model of each other API: it is translated or refused, and nothing breaks."""
    for route in ("claude", "gemini", "replies"):
        for name, fields in _ODD.items():
            body = {**GOOD, "model": route, **fields}
            yield case(f"{route}: {name}", whole(body), *_ANY)
    for path, field in (
        ("/v1/messages", "messages"),
        ("/v1/responses", "input"),
        ("/v1/completions", "prompt"),
    ):
        for name, value in {"text": "hi", "a number": 5, "null": None, "a list of numbers": [1], "a list of lists": [[]], "a list of objects": [{}]}.items():  # fmt: skip
            body = {"model": "gemini", "max_tokens": 5, field: value}
            yield case(f"{path}: {field} that is {name}", whole(body, line=f"POST {path} HTTP/1.1"), *_ANY)


OWN = tuple(each for group in (_heads, _framings, _large, _small, _across) for each in group())
