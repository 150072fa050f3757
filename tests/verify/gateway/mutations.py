"""Requests made of good and hostile ones: bytes changed, cut out, put in, glued together, sent in pieces."""

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.gateway._hostile import GOOD, LISTED, head, whole
from benchmarks.gateway._hostile_own import OWN

_MOST_BYTES = 300_000
_CALLED = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":[1,{"b":2.5e3}]}'}}
_TOOL = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]}
_CHATS = [
    GOOD,
    {**GOOD, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 9, "temperature": 0.5},
    {
        "model": "support",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be \u00fcber-brief. \u2028\ud83d\ude00"}]},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            {"role": "assistant", "content": None, "tool_calls": [_CALLED]},
            {"role": "tool", "tool_call_id": "c1", "content": "b"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": _TOOL}}],
        "tool_choice": "auto",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": _TOOL}},
        "metadata": {"user_id": "u", "client_id": "c"},
    },
]  # fmt: skip
_MESSAGES = {
    "model": "claude",
    "max_tokens": 9,
    "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
    "tools": [{"name": "f", "input_schema": _TOOL}],
    "messages": [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {"a": "b"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "b", "is_error": True}]},
    ],
}  # fmt: skip
_RESPONSE = {
    "model": "replies",
    "instructions": "a",
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "b"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": _TOOL, "strict": True}],
    "text": {"format": {"type": "json_schema", "name": "n", "schema": _TOOL}},
    "stream": True,
}
_BODIES = [
    *(("/v1/chat/completions", {**chat, "model": model}) for chat in _CHATS for model in ("support", "claude", "replies")),
    *(("/v1/messages", {**_MESSAGES, "model": model, "stream": stream}) for model in ("claude", "gpt") for stream in (True, False)),
    *(("/v1/responses", {**_RESPONSE, "model": model}) for model in ("replies", "claude", "gpt")),
    ("/v1/completions", {"model": "support", "prompt": "hello", "max_tokens": 5}),
    ("/v1/embeddings", {"model": "support", "input": ["a", "b"], "encoding_format": "base64"}),
    ("/r/support/v1/chat/completions", {"messages": GOOD["messages"]}),
    ("/v1/feedback", {"response_id": "chatcmpl-1", "value": 0.5}),
]  # fmt: skip
_PAGES = ("/v1/models", "/metrics", "/health/liveliness", "/health/readiness", "/r/support/v1/models")
_TOKENS = [
    b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"\xc5\xbf", b"\xed\xa0\x80", b"\x7f", b" ", b"\t", b":", b",", b";",
    b"{", b"}", b"[", b"]", b'"', b"\\", b'\\"', b"\\u0000", b"\\ud800", b"\\u006dodel", b"null", b"true",
    b"NaN", b"-Infinity", b"1e400", b"-1", b"-0.0", b"2.2250738585072011e-308", b"9" * 30, b"9" * 700, b"0" * 20,
    b'"model":', b'"Model":"x",', b'"api_base":"http://127.0.0.1:9",', b'"stream":true,', b'"n":2,', b"[" * 140,
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n",
    b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Upgrade: h2c\r\n",
    b"Host: b\r\n", b"Content-Encoding: gzip\r\n", b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.0", b"%00",
]  # fmt: skip


_VALUES = [
    "null", "true", "0", "-1", "1.5", "1e308", "9" * 30, '""', '"a"', '"\\ud800"', '"\\u0000"', '"none"', '"required"', "[]",
    "{}", "[[]]", "[null]", '[""]', "[{}]", '{"a":{}}', '{"type":"text","text":"a"}', '[{"type":"text"}]', '{"type":"function"}',
    '{"type":"json_object"}', '"data:image/png;base64,AA"', '{"url":"https://a.example/b"}', "[" * 60 + "]" * 60,
]  # fmt: skip
"""JSON that may stand where another value was."""

_NAMES = [
    "",
    "a",
    "type",
    "role",
    "content",
    "text",
    "id",
    "name",
    "tool_calls",
    "input",
    "arguments",
    "stream",
    "\u0130",
]


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every object or list of a tree with each key or index that it has."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from _places(node[key])


def _in_chunks(line: str, body: bytes, sizes: Sequence[int]) -> bytes:
    frames, at = b"", 0
    for size in sizes:
        frames += b"%x\r\n%b\r\n" % (len(body[at : at + size]), body[at : at + size]) if body[at:] else b""
        at += size
    rest = b"%x\r\n%b\r\n" % (len(body[at:]), body[at:]) if body[at:] else b""
    return head(line=line, headers=["Transfer-Encoding: chunked"]) + frames + rest + b"0\r\n\r\n"


class Mutations:
    """Draws requests; the same seed draws the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._bodies = [(f"POST {path} HTTP/1.1", json.dumps(body).encode()) for path, body in _BODIES]
        cases = [
            b"".join(piece for piece in case.pieces if isinstance(piece, bytes)) for case in (*LISTED, *OWN)
        ]
        self._raw = [
            *(case for case in cases if len(case) <= _MOST_BYTES),
            *(whole(body, line=line) for line, body in self._bodies),
            *(whole(b"", line=f"GET {page} HTTP/1.1") for page in _PAGES),
        ]

    def draw(self) -> tuple[bytes, ...]:
        """Return what is sent, one write after the other."""
        choose = self._random
        kind = choose.random()
        if kind < 0.25:  # JSON in a frame that is right, with values that are not
            line, body = choose.choice(self._bodies)
            data = self._framed(line, self.changed(body))
        elif kind < 0.5:  # a body that may be JSON no more, in a frame that is right
            line, body = choose.choice(self._bodies)
            data = self._framed(line, self._mutated(body))
        elif kind < 0.9:
            data = self._mutated(choose.choice(self._raw))
        else:
            data = b"".join(choose.choice(self._raw) for _ in range(choose.randint(2, 5)))
            data = self._mutated(data) if choose.random() < 0.5 else data
        if choose.random() < 0.02:
            at = data.find(b'":') + 2
            data = data[:at] + b" " * choose.randint(900_000, 1_200_000) + data[at:]
        return self._in_pieces(data)

    def changed(self, body: bytes) -> bytes:
        """Return a JSON body with a few of its values changed, moved or left out."""
        choose, tree = self._random, json.loads(body)
        for _ in range(choose.choice((1, 1, 2, 4))):
            places = [*_places(tree)]
            if not places:
                break
            holder, key = choose.choice(places)
            match choose.randrange(5):
                case 0:
                    del holder[key]
                case 1:
                    other, its = choose.choice(places)
                    holder[key] = json.loads(json.dumps(other[its]))
                case 2 if isinstance(holder, dict):
                    holder[choose.choice(_NAMES)] = holder.pop(key)
                case 3 if isinstance(holder, list):
                    holder *= choose.choice((2, 3, 200))
                case _:
                    holder[key] = json.loads(choose.choice(_VALUES))
        return json.dumps(tree, ensure_ascii=choose.random() < 0.5).encode("utf-8", "surrogatepass")

    def _framed(self, line: str, body: bytes) -> bytes:
        if self._random.random() < 0.7:
            return whole(body, line=line)
        sizes = [self._random.randint(1, 200) for _ in range(self._random.randint(0, 5))]
        return _in_chunks(line, body, sizes)

    def _mutated(self, data: bytes) -> bytes:
        for _ in range(self._random.choice((0, 1, 1, 1, 2, 2, 3, 8, 30))):
            data = self._once(data)
        return data

    def _once(self, data: bytes) -> bytes:
        choose = self._random
        at = choose.randrange(len(data) + 1)
        end = min(len(data), at + int(choose.paretovariate(0.7)))
        match choose.randrange(8):
            case 0:  # a bit
                flipped = bytes([data[at] ^ (1 << choose.randrange(8))]) if at < len(data) else b""
                return data[:at] + flipped + data[at + 1 :]
            case 1:
                return data[:at] + data[end:]
            case 2:
                return data[:at]
            case 3:
                return data[:end] + data[at:end] * choose.choice((1, 1, 2, 50)) + data[end:]
            case 4:
                return (
                    data[:at] + bytes(choose.randrange(256) for _ in range(choose.randint(1, 4))) + data[at:]
                )
            case 5:
                other = choose.choice(self._raw)
                start = choose.randrange(len(other) + 1)
                return data[:at] + other[start : start + int(choose.paretovariate(0.5))] + data[end:]
            case 6:
                return data[:at] + choose.choice(_TOKENS) + data[end:]
            case _:
                return data[:at] + choose.choice(_TOKENS) + data[at:]

    def _in_pieces(self, data: bytes) -> tuple[bytes, ...]:
        if self._random.random() < 0.6 or len(data) < 2:
            return (data,)
        count = min(self._random.choice((1, 1, 2, 5, 40)), len(data) - 1)
        cuts = sorted(self._random.sample(range(1, len(data)), count))
        return tuple(data[first:last] for first, last in zip([0, *cuts], [*cuts, len(data)], strict=True))
