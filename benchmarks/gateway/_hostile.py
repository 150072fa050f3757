"""The abuse list: 88 requests that a gateway must survive, as raw bytes, with the statuses that may answer.

The classes are those that cost other gateways advisories: authorization, request line and headers,
framing, bodies, smuggled routing fields, time. `CLOSED` stands for a connection closed without an answer.
`_hostile_own` adds cases of our own.
"""

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

CLOSED = 0
CHAT = "/v1/chat/completions"
GOOD = {"model": "support", "messages": [{"role": "user", "content": "hello"}]}
KEY = "THE-KEY-OF-THE-CALLER"
"""What is sent in its place is a key that the gateway takes."""

CHUNKED = ["Transfer-Encoding: chunked"]
MIB = b"a" * (1 << 20)


@dataclass(frozen=True)
class Case:
    """What is sent and which statuses may answer it.

    `pieces` are sent one write after the other; a number is a pause in seconds. `answers` is how many answers
    are waited for, each with one of the allowed statuses. With `half_close` the client then sends no more.
    `within_s` is how long an answer may take.
    """

    name: str
    pieces: tuple[bytes | float, ...]
    allowed: frozenset[int]
    half_close: bool = False
    answers: int = 1
    within_s: float = 30.0

    def __str__(self) -> str:
        return self.name


def case(
    name: str,
    data: bytes | tuple[bytes | float, ...],
    *allowed: int,
    half_close: bool = False,
    answers: int = 1,
) -> Case:
    """Return one case."""
    pieces = data if isinstance(data, tuple) else (data,)
    return Case(name, pieces, frozenset(allowed), half_close, answers)


def head(
    key: str = KEY,
    *,
    line: str = f"POST {CHAT} HTTP/1.1",
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


def whole(body: object = None, key: str = KEY, **fields: object) -> bytes:
    """Build a request with its body."""
    data = body if isinstance(body, bytes) else json.dumps(GOOD if body is None else body).encode()
    return head(key, length=len(data), **fields) + data  # type: ignore[arg-type]  # fields of `head`


def long_body(*pieces: bytes, in_chunks: bool = False) -> tuple[bytes, ...]:
    """Build a request with a body in pieces, of which the same may come many times."""
    if in_chunks:
        framed = {piece: b"%x\r\n%b\r\n" % (len(piece), piece) for piece in set(pieces) if piece}
        return (head(headers=CHUNKED), *(framed[piece] for piece in pieces if piece), b"0\r\n\r\n")
    return (head(length=sum(map(len, pieces))), *pieces)


def nested(start: bytes, opened: bytes, closed: bytes, end: bytes, *, depth: int) -> bytes:
    """Build a body that is nested so deep."""
    return start + opened * depth + b"1" + closed * depth + end


def _authorization() -> Iterator[Case]:
    good, bad = f"Authorization: Bearer {KEY}", "Authorization: Bearer sk-cg-wrong-wrong"
    for name, auth in {
        "no key": [],
        "a wrong key": [bad],
        "good then bad": [good, bad],
        "bad then good": [bad, good],
        "sql in the key": ["Authorization: Bearer ' OR 1=1; DROP TABLE keys; --"],
        "NUL": ["Authorization: Bearer a\x00b"],
        "64 KiB": ["Authorization: Bearer " + "a" * 65_536],
        "a key that is not ASCII": ["Authorization: Bearer sk-\u00fc\u00df\u4e2d"],
        "alg none": ["Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."],
        "identity headers of the client": [
            "X-Forwarded-User: admin",
            "X-Crossgrade-Team: ops",
            "X-Remote-User: root",
        ],
    }.items():
        yield case(f"authorization: {name}", whole(auth=auth), 400, 401, 403, 431)
    yield case(
        "authorization: query only", whole(auth=[], line=f"POST {CHAT}?api_key={KEY} HTTP/1.1"), 400, 401
    )


def _lines() -> Iterator[Case]:
    yield case("line: a path in the host", whole(host="evil.example/v1?x="), 400)
    yield case("line: user in the host", whole(host="admin@evil.example"), 400)
    yield case("line: two hosts", whole(headers=["Host: evil.example"]), 400)
    yield case("line: no host", whole(host=None), 400)
    for name, path in {
        "an absolute target": "http://169.254.169.254/latest/meta-data",
        "traversal": "/v1/../../etc/passwd",
        "encoded traversal": "/v1/%2e%2e/%2e%2e/etc/passwd",
        "a double slash": "//v1/chat/completions",
        "70 KB target": "/v1/" + "a" * 70_000,
    }.items():
        yield case(f"line: {name}", whole(line=f"POST {path} HTTP/1.1"), 400, 404, 414, 431)
    yield case("line: 1,000 headers", whole(headers=[f"X-{n}: 1" for n in range(1_000)]), 400, 431)
    yield case("line: a folded header", whole(headers=["X-Folded: a\r\n b"]), 400)
    yield case("line: a space before the colon", whole(headers=["X-Space : a"]), 400)
    yield case("line: a bare CR", whole(headers=["X-Bare: a\rX-Smuggled: b"]), 400)
    yield case("line: log injection", whole(headers=["X-Request-Id: a%0d%0aSet-Cookie: b"]), 200, 400)
    yield case("line: an unknown method", whole(line=f"BREW {CHAT} HTTP/1.1"), 400, 405)
    yield case("line: TRACE", whole(line=f"TRACE {CHAT} HTTP/1.1"), 400, 404, 405)
    yield case("line: HTTP/0.9", b"GET /\r\n\r\n", 400, 404, CLOSED)
    yield case(
        "line: TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 64, 400, CLOSED
    )
    yield case("line: HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 404, 405, CLOSED)


def _framing() -> Iterator[Case]:
    body = json.dumps(GOOD).encode()
    two = [f"Content-Length: {len(body) + 5}"]
    yield case("framing: length and chunks", head(length=len(body), headers=CHUNKED) + b"0\r\n\r\n", 400)
    yield case("framing: two lengths", head(length=len(body), headers=two) + body, 400)
    for length in ("+5", "-1", "100000000000000000000"):
        yield case(f"framing: length {length}", head(length=length) + body, 400, 413)
    unknown = ["Transfer-Encoding: xchunked"]
    yield case("framing: an unknown coding", head(headers=unknown) + body, 400, 411)
    yield case("framing: a chunk size that is none", head(headers=CHUNKED) + b"zz\r\nab\r\n0\r\n\r\n", 400)
    yield case("framing: bare LF chunks", head(headers=CHUNKED) + b"5\nhello\n0\n\n", 400)
    yield case(
        "framing: a trailer with a key",
        head(auth=[], headers=[*CHUNKED, "Trailer: Authorization"])
        + b"%x\r\n%b\r\n0\r\nAuthorization: Bearer %b\r\n\r\n" % (len(body), body, KEY.encode()),
        400, 401,
    )  # fmt: skip
    cut = head(length=len(body)) + body[:10]
    yield case("framing: a body cut short", cut, 400, 408, CLOSED, half_close=True)


def _bodies() -> Iterator[Case]:
    start = b'{"model":"support","messages":'
    hello = start + b'[{"role":"user","content":"hi"}]'
    for name, body in {
        "empty": b"",
        "text": b"hello",
        "an array": b"[]",
        "null": b"null",
        "bad UTF-8": b'{"model":"support","messages":[{"role":"user","content":"\xff\xfe"}]}',
        "a NUL model": b'{"model":"sup\\u0000port","messages":[]}',
        "a model twice": b'{"model":"support","model":"other","messages":[{"role":"user","content":"hi"}]}',
        "NaN": hello + b',"temperature":NaN}',
        "1e400": hello + b',"temperature":1e400}',
        "5,000 digits": hello + b',"n":' + b"9" * 5_000 + b"}",
        "a negative limit": hello + b',"max_tokens":-1}',
        "a million answers": hello + b',"n":1000000}',
        "nesting in messages": nested(start, b"[", b"]", b"}", depth=100_000),
        "nesting in tools": nested(hello + b',"tools":', b'{"a":', b"}", b"}", depth=50_000),
        "stream that is text": hello + b',"stream":"yes"}',
    }.items():
        yield case(f"body: {name}", whole(body), 400, 404, 413)
    for name, body in {
        "a lone surrogate": start + b'[{"role":"user","content":"\\ud800"}]}',
        "an unknown role": start + b'[{"role":"wizard","content":"hi"}]}',
        "100,000 messages": json.dumps({"model": "support", "messages": GOOD["messages"] * 100_000}).encode(),
        "a regex bomb": start + b'[{"role":"user","content":"(a+)+$' + b"a" * 50_000 + b'"}]}',
    }.items():
        yield case(f"body: {name}", whole(body), 200, 400, 413, 422)
    big = (start + b'[{"role":"user","content":"', *[MIB] * 64, b'"}]}')
    yield case("body: 64 MiB", long_body(*big), 200, 400, 413)
    yield case("body: 64 MiB in chunks", long_body(*big, in_chunks=True), 200, 400, 413)
    bomb = gzip.compress(b'{"model":"support","messages":[]}' + b" " * (32 << 20), 1)
    yield case("body: a gzip bomb", whole(bomb, headers=["Content-Encoding: gzip"]), 400, 415)
    yield case("body: an unknown encoding", whole(headers=["Content-Encoding: br"]), 400, 415)
    form = "application/x-www-form-urlencoded"
    yield case("body: a form", whole(b"model=support", content_type=form), 400, 415)


_REDIRECTS = {
    "api_base": "http://evil.example/v1",
    "base_url": "http://evil.example/v1",
    "api_key": "sk-x",
    "api_version": "2024-01-01",
    "custom_llm_provider": "openai",
    "model_list": [{"model_name": "support", "litellm_params": {"api_base": "http://evil.example"}}],
    "fallbacks": [{"support": ["evil"]}],
    "extra_headers": {"Host": "evil.example"},
    "aws_bedrock_runtime_endpoint": "http://169.254.169.254/",
    "azure_endpoint": "http://evil.example",
}


def _theft() -> Iterator[Case]:
    for name, value in _REDIRECTS.items():
        yield case(f"theft: {name}", whole({**GOOD, name: value}), 400)
    evil = {"api_base": "http://evil.example"}
    for name, more in {
        "in metadata": {"metadata": evil},
        "in a message": {"messages": [{"role": "user", "content": "hi", "base_url": "http://evil.example"}]},
        "in a tool": {"tools": [{"type": "function", **evil, "function": {"name": "f"}}]},
        "in options": {"stream_options": {"include_usage": True, **evil}},
        "in a list in a list": {"x": [[{"model_list": []}]]},
    }.items():
        yield case(f"theft: {name}", whole({**GOOD, **more}), 400)
    body = json.dumps(GOOD).encode()
    yield case(
        "theft: a trailer that names a user",
        head(headers=CHUNKED) + b"%x\r\n%b\r\n0\r\nX-Forwarded-User: admin\r\n\r\n" % (len(body), body),
        400,
    )
    for name, model in {
        "a URL for a model": "http://169.254.169.254/latest",
        "a file for a model": "file:///etc/passwd",
        "a path for a model": "../../etc/passwd",
        "a template for a model": "{{7*7}}",
    }.items():
        yield case(f"theft: {name}", whole({**GOOD, "model": model}), 400, 404)
    outside = {"type": "object", "properties": {"a": {"$ref": "http://169.254.169.254/latest"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": outside}}
    yield case("theft: $ref to another host", whole({**GOOD, "tools": [tool]}), 200, 400)
    flood = {f"k{n}": "v" for n in range(5_000)}
    yield case("theft: a flood of metadata", whole({**GOOD, "metadata": flood}), 200, 400, 413)


def _times() -> Iterator[Case]:
    """Each drips: the head for more than its time limit of 10 seconds, the body for more than its 60."""
    drip = (1.0, b"a") * 90
    yield Case("time: a slow head", (b"POST /v1/ch", *drip), frozenset((400, 408, CLOSED)), within_s=40.0)
    body = head(length=4_000) + b'{"model":"support","messages":"'
    yield Case("time: a slow body", (body, *drip), frozenset((400, 408, CLOSED)), within_s=95.0)


LISTED = tuple(
    each for group in (_authorization, _lines, _framing, _bodies, _theft, _times) for each in group()
)
