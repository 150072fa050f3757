"""Requests that a gateway must survive: raw bytes by class, with the statuses that are acceptable.

The classes are those that cost other gateways advisories: authorization, request line and headers,
framing, bodies, smuggled routing fields. `CLOSED` stands for a connection closed without an answer.
"""

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

CLOSED = 0
PATH = "/v1/chat/completions"
GOOD = {"model": "support", "messages": [{"role": "user", "content": "hello"}]}


@dataclass(frozen=True)
class Case:
    """What is sent and which statuses may answer; `pieces` are sent one write after the other."""

    name: str
    pieces: tuple[bytes, ...]
    allowed: frozenset[int]
    half_close: bool = False

    def __str__(self) -> str:
        return self.name


def head(
    key: str,
    *,
    line: str = f"POST {PATH} HTTP/1.1",
    host: str | None = "gateway.example",
    auth: Iterable[str] | None = None,
    headers: Iterable[str] = (),
    length: int | str | None = None,
    content_type: str | None = "application/json",
) -> bytes:
    """Build a request head."""
    lines = [line]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"Authorization: Bearer {key}"] if auth is None else list(auth)
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines += list(headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def whole(key: str, body: object = None, **fields: object) -> bytes:
    """Build a request with its body."""
    data = body if isinstance(body, bytes) else json.dumps(GOOD if body is None else body).encode()
    return head(key, length=len(data), **fields) + data  # type: ignore[arg-type]


def good(key: str) -> bytes:
    """A request that must be served."""
    return whole(key)


def _case(name: str, data: bytes | tuple[bytes, ...], *allowed: int, half_close: bool = False) -> Case:
    pieces = data if isinstance(data, tuple) else (data,)
    return Case(name, pieces, frozenset(allowed), half_close)


def _authorization(key: str) -> Iterator[Case]:
    good, bad = f"Authorization: Bearer {key}", "Authorization: Bearer sk-cg-wrong-wrong"
    for name, auth in {
        "no key": [],
        "a wrong key": [bad],
        "sql in the key": ["Authorization: Bearer ' OR 1=1; DROP TABLE keys; --"],
        "a long key": ["Authorization: Bearer " + "a" * 16_000],
        "alg none": ["Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."],
        "a key that is not ASCII": ["Authorization: Bearer sk-\u00fc\u00df\u4e2d"],
        "an empty key": ["Authorization: Bearer "],
        "basic authorization": ["Authorization: Basic YWRtaW46YWRtaW4="],
    }.items():
        yield _case(f"authorization: {name}", whole(key, auth=auth), 400, 401, 403, 431)
    yield _case(
        "authorization: 64 KiB", whole(key, auth=["Authorization: Bearer " + "a" * 65_536]), 400, 401, 431
    )
    yield _case("authorization: NUL", whole(key, auth=["Authorization: Bearer a\x00b"]), 400, 401)
    yield _case(
        "authorization: query only", whole(key, auth=[], line=f"POST {PATH}?api_key={key} HTTP/1.1"), 400, 401
    )
    yield _case("authorization: good then bad", whole(key, auth=[good, bad]), 400, 401)
    yield _case("authorization: bad then good", whole(key, auth=[bad, good]), 400, 401)
    yield _case("authorization: two kinds of key", whole(key, headers=["x-api-key: sk-other"]), 400, 401)
    yield _case(
        "authorization: identity headers of the client",
        whole(key, auth=[], headers=["X-Forwarded-User: admin", "X-Crossgrade-Team: ops", "X-Remote-User: root"]),
        400, 401,
    )  # fmt: skip


def _lines(key: str) -> Iterator[Case]:
    for name, host in {
        "user in the host": "admin@evil.example",
        "path in the host": "evil.example/v1?x=",
        "spaces in the host": "a b",
    }.items():
        yield _case(f"line: {name}", whole(key, host=host), 200, 400)
    yield _case("line: two hosts", whole(key, headers=["Host: evil.example"]), 400)
    yield _case("line: no host", whole(key, host=None), 400)
    yield _case(
        "line: an absolute target",
        whole(key, line="POST http://169.254.169.254/latest/meta-data HTTP/1.1"),
        400,
        404,
    )
    for name, path in {
        "traversal": "/v1/../../etc/passwd",
        "encoded traversal": "/v1/%2e%2e/%2e%2e/etc/passwd",
        "a double slash": "//v1/chat/completions",
        "a NUL in the path": "/v1/%00chat",
        "a query of templates": "/v1/chat/completion?x={{7*7}}",
        "an unknown route": "/r/nobody/v1/chat/completions",
        "a route named like a path": "/r/..%2f..%2fadmin/v1/chat/completions",
    }.items():
        yield _case(f"line: {name}", whole(key, line=f"POST {path} HTTP/1.1"), 400, 404)
    yield _case(
        "line: 70 KB target", whole(key, line=f"POST /v1/{'a' * 70_000} HTTP/1.1"), 400, 404, 414, 431
    )
    yield _case("line: 1,000 headers", whole(key, headers=[f"X-{n}: 1" for n in range(1_000)]), 400, 431)
    yield _case("line: a header of 60 KB", whole(key, headers=["X-Long: " + "a" * 60_000]), 400, 431)
    yield _case("line: a folded header", whole(key, headers=["X-Folded: a\r\n b"]), 400)
    yield _case("line: a space before the colon", whole(key, headers=["X-Space : a"]), 400)
    yield _case("line: a bare CR", whole(key, headers=["X-Bare: a\rX-Smuggled: b"]), 400)
    yield _case("line: log injection", whole(key, headers=["X-Request-Id: a%0d%0aSet-Cookie: b"]), 200, 400)
    yield _case("line: an unknown method", whole(key, line=f"BREW {PATH} HTTP/1.1"), 400, 405, 501)
    yield _case("line: TRACE", whole(key, line=f"TRACE {PATH} HTTP/1.1"), 400, 404, 405)
    yield _case("line: GET on a POST path", head(key, line=f"GET {PATH} HTTP/1.1"), 404, 405)
    yield _case("line: HTTP/0.9", b"GET /\r\n\r\n", 400, 404, 505, CLOSED)
    yield _case("line: HTTP/3.0", whole(key, line=f"POST {PATH} HTTP/3.0"), 400, 505)
    yield _case(
        "line: TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 64, 400, CLOSED
    )
    yield _case("line: HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 404, 405, 505, CLOSED)


def _framing(key: str) -> Iterator[Case]:
    body = json.dumps(GOOD).encode()
    chunked = ["Transfer-Encoding: chunked"]
    yield _case(
        "framing: length and chunks", head(key, length=len(body), headers=chunked) + b"0\r\n\r\n", 400
    )
    yield _case(
        "framing: two lengths",
        head(key, length=len(body), headers=[f"Content-Length: {len(body) + 5}"]) + body,
        400,
    )
    for length in ("+5", "-1", "1e3", "0x10", "99999999999999999999", "5, 5", ""):
        yield _case(f"framing: length {length!r}", head(key, length=length) + body, 400, 413)
    yield _case(
        "framing: an unknown coding", head(key, headers=["Transfer-Encoding: xchunked"]) + body, 400, 411, 501
    )
    yield _case(
        "framing: chunks in another coding",
        head(key, headers=["Transfer-Encoding: gzip, chunked"]) + b"0\r\n\r\n",
        400,
        501,
    )
    yield _case(
        "framing: a chunk size that is none", head(key, headers=chunked) + b"zz\r\nab\r\n0\r\n\r\n", 400
    )
    yield _case("framing: bare LF chunks", head(key, headers=chunked) + b"5\nhello\n0\n\n", 400)
    yield _case(
        "framing: a trailer with a key",
        head(key, auth=[], headers=[*chunked, "Trailer: Authorization"])
        + b"%x\r\n%b\r\n0\r\nAuthorization: Bearer %b\r\n\r\n" % (len(body), body, key.encode()),
        400, 401,
    )  # fmt: skip
    yield _case(
        "framing: a body cut short",
        head(key, length=len(body)) + body[:10],
        400,
        408,
        CLOSED,
        half_close=True,
    )
    yield _case("framing: a head cut short", b"POST / HTTP/1.1\r\nHos", 400, 408, CLOSED, half_close=True)


def _bodies(key: str) -> Iterator[Case]:
    deep = b'{"model":"support","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    deep_tools = (
        b'{"model":"support","messages":[],"tools":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}"
    )
    for name, body in {
        "empty": b"",
        "text": b"hello",
        "an array": b"[]",
        "null": b"null",
        "bad UTF-8": b'{"model":"support","messages":[{"role":"user","content":"\xff\xfe"}]}',
        "half a JSON": b'{"model":"support","messages":[',
        "two documents": json.dumps(GOOD).encode() * 2,
        "a model twice": b'{"model":"support","model":"other","messages":[{"role":"user","content":"hi"}]}',
        "an escaped model twice": b'{"model":"support","\\u006dodel":"other","messages":[{"role":"user","content":"hi"}]}',
        "no model": b'{"messages":[{"role":"user","content":"hi"}]}',
        "a model that is a number": b'{"model":5,"messages":[{"role":"user","content":"hi"}]}',
        "NaN": b'{"model":"support","temperature":NaN,"messages":[]}',
        "nesting in messages": deep,
        "nesting in tools": deep_tools,
        "a NUL model": b'{"model":"sup\\u0000port","messages":[]}',
        "a model that is a path": b'{"model":"../../etc/passwd","messages":[]}',
        "a model that is a template": b'{"model":"{{7*7}}","messages":[]}',
        "a model of 100 KB": json.dumps({"model": "m" * 100_000, "messages": []}).encode(),
        "stream that is text": b'{"model":"support","stream":"yes","messages":[]}',
    }.items():
        yield _case(f"body: {name}", whole(key, body), 400, 404, 413)
    for name, body in {
        "1e400": b'{"model":"support","temperature":1e400,"messages":[{"role":"user","content":"hi"}]}',
        "5,000 digits": b'{"model":"support","n":'
        + b"9" * 5_000
        + b',"messages":[{"role":"user","content":"hi"}]}',
        "a lone surrogate": b'{"model":"support","messages":[{"role":"user","content":"\\ud800"}]}',
        "an unknown role": b'{"model":"support","messages":[{"role":"wizard","content":"hi"}]}',
        "no messages": b'{"model":"support"}',
        "messages that are text": b'{"model":"support","messages":"hi"}',
        "a negative limit": b'{"model":"support","max_tokens":-1,"messages":[{"role":"user","content":"hi"}]}',
        "a million answers": b'{"model":"support","n":1000000,"messages":[{"role":"user","content":"hi"}]}',
        "100,000 messages": json.dumps({"model": "support", "messages": GOOD["messages"] * 100_000}).encode(),
        "a regex bomb": json.dumps(
            {"model": "support", "messages": [{"role": "user", "content": "(a+)+$" + "a" * 50_000}]}
        ).encode(),
        "metadata in floods": json.dumps({**GOOD, "metadata": {f"k{n}": "v" for n in range(5_000)}}).encode(),
    }.items():
        yield _case(f"body: {name}", whole(key, body), 200, 400, 413, 422)
    big = b'{"model":"support","messages":[{"role":"user","content":"' + b"a" * (64 << 20) + b'"}]}'
    yield _case("body: 64 MiB", whole(key, big), 200, 400, 413)
    frames = b"".join(
        b"%x\r\n%b\r\n" % (len(part), part)
        for part in (big[n : n + 65_536] for n in range(0, len(big), 65_536))
    )
    yield _case(
        "body: 64 MiB in chunks",
        head(key, headers=["Transfer-Encoding: chunked"]) + frames + b"0\r\n\r\n",
        200,
        400,
        413,
    )
    bomb = gzip.compress(b'{"model":"support","messages":[]}' + b" " * (32 << 20))
    yield _case("body: a gzip bomb", whole(key, bomb, headers=["Content-Encoding: gzip"]), 400, 415)
    yield _case("body: an unknown encoding", whole(key, headers=["Content-Encoding: br"]), 400, 415)
    yield _case(
        "body: a form",
        whole(key, b"model=support", content_type="application/x-www-form-urlencoded"),
        400,
        415,
    )
    yield _case(
        "body: XML",
        whole(
            key,
            b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
            content_type="application/xml",
        ),
        400,
        415,
    )


_REDIRECTS = {
    "api_base": "http://evil.example/v1",
    "base_url": "http://evil.example/v1",
    "api_key": "sk-x",
    "api_version": "2024-01-01",
    "custom_llm_provider": "openai",
    "model_list": [{"model_name": "support", "litellm_params": {"api_base": "http://evil.example"}}],
    "fallbacks": [{"support": ["evil"]}],
    "extra_headers": {"Host": "evil.example"},
    "extra_body": {"api_base": "http://evil.example"},
    "litellm_params": {"api_base": "http://evil.example"},
    "aws_bedrock_runtime_endpoint": "http://169.254.169.254/",
    "azure_endpoint": "http://evil.example",
    "proxy": "http://evil.example",
}


def _theft(key: str) -> Iterator[Case]:
    for name, value in _REDIRECTS.items():
        yield _case(f"theft: {name}", whole(key, {**GOOD, name: value}), 400)
    for name, body in {
        "in metadata": {**GOOD, "metadata": {"api_base": "http://evil.example"}},
        "in a message": {
            **GOOD,
            "messages": [{"role": "user", "content": "hi", "base_url": "http://evil.example"}],
        },
        "in a tool": {
            **GOOD,
            "tools": [{"type": "function", "api_base": "http://evil.example", "function": {"name": "f"}}],
        },
        "in options": {**GOOD, "stream_options": {"include_usage": True, "api_base": "http://evil.example"}},
        "in a list in a list": {**GOOD, "x": [[{"model_list": []}]]},
    }.items():
        yield _case(f"theft: {name}", whole(key, body), 400)
    escaped = b'{"model":"support","\\u0061pi_base":"http://evil.example","messages":[{"role":"user","content":"hi"}]}'
    yield _case("theft: an escaped name", whole(key, escaped), 400)
    yield _case(
        "theft: a URL for a model", whole(key, {**GOOD, "model": "http://169.254.169.254/latest"}), 400, 404
    )
    yield _case("theft: a file for a model", whole(key, {**GOOD, "model": "file:///etc/passwd"}), 400, 404)


def cases(key: str) -> list[Case]:
    """Return every case, for a caller with this key."""
    return [case for group in (_authorization, _lines, _framing, _bodies, _theft) for case in group(key)]
