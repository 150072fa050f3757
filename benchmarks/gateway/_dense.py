"""Bodies of 1 MB that give a worker of the gateway as much to do as they can, and the CPU that each takes."""

import contextlib
import gc
import sys
import time
from statistics import median

from benchmarks._table import Row
from crossgrade.dialects import CLIENTS, DIALECTS, HOSTS
from crossgrade.domain import DialectName
from crossgrade.errors import BadRequestError
from crossgrade.gateway.__main__ import MOST_DIGITS
from crossgrade.gateway._body import top_level_names
from crossgrade.gateway._head import _CALLS
from crossgrade.gateway._payload import opening, read_payload
from crossgrade.gateway._problems import Problem

RUNS = 5
SIZE = 1 << 20
_ENDPOINTS = {endpoint.name: endpoint for endpoint in _CALLS}
_CHAT = b'{"model":"m","max_tokens":5,"messages":['
_HI = b'{"role":"user","content":"a"}]'
_SUSPECT = _CHAT + _HI + b',"metadata":{"headers":"a"},"x":['
_CALL = b'{"id":"a","function":{"name":"a"}}'
_HARD = b"2.2250738585072011e-308"
"""A number that takes some parsers long."""

_ARGUMENTS = (
    b'{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":'
    b'[{"id":"a","function":{"name":"a","arguments":"{\\"a\\":['
)
_ARGUED = b']}"}}]},{"role":"tool","tool_call_id":"a","content":"a"}]}'
_FULL = 4900
"""Objects that are just few enough to be carried."""

BODIES: dict[str, tuple[str, bytes, bytes, bytes, int]] = {
    "short turns": ("chat", _CHAT, b'{"role":"user","content":"a"}', b"]}", SIZE),
    "as many turns as are carried": ("chat", _CHAT, b'{"role":"user","content":"a"}', b"]}", _FULL),
    "results": ("chat", _CHAT, b'{"role":"tool","content":"a","tool_call_id":"a"}', b"]}", _FULL),
    "calls of a turn": ("chat", _CHAT + b'{"role":"assistant","tool_calls":[', _CALL, b"]}," + _HI + b"}", SIZE),
    "pieces": ("messages", _CHAT + b'{"role":"user","content":[', b'{"type":"text","text":""}', b"]}]}", SIZE),
    "uses": (
        "messages",
        _CHAT + b'{"role":"assistant","content":[',
        b'{"type":"tool_use","id":"a","name":"a","input":{}}',
        b"]}," + _HI + b"}",
        _FULL,
    ),
    "tools": ("messages", _CHAT + _HI + b',"tools":[', b'{"name":"a"}', b"]}", SIZE),
    "call items": (
        "responses",
        b'{"model":"m","input":[',
        b'{"type":"function_call","call_id":"a","name":"a","arguments":"{}"}',
        b"]}",
        _FULL,
    ),
    "empty objects under a suspicious key": ("chat", _SUSPECT, b"{}", b"]}", SIZE),
    "objects under a suspicious key": ("chat", _SUSPECT, b'{"a":[]}', b"]}", SIZE),
    "as many under a suspicious key as are looked at": ("chat", _SUSPECT, b'{"a":[1]}', b"]}", 9_900),
    "numbers under a suspicious key": ("chat", _SUSPECT, b"0", b"]}", SIZE),
    "deep lists": ("chat", _CHAT + _HI + b',"x":[', b"[" * 100 + b"]" * 100, b"]}", SIZE),
    "fields beside an escaped one": ("chat", b'{"\\u006dodel":"m","x":[', b'{"a":1}', b"]}", SIZE),
    "hard numbers": ("chat", _CHAT + _HI + b',"metadata":{"a":[', _HARD, b"]}}", SIZE),
    "hard numbers in arguments": ("chat", _ARGUMENTS, _HARD, _ARGUED, SIZE),
    "one hard number again and again": ("chat", _CHAT + _HI + b",", b'"temperature":' + _HARD, b"}", SIZE),
    "a conversation of hard numbers": ("chat", _CHAT + _HI + b',"conversation":[', _HARD, b"]}", SIZE),
    "long whole numbers": (
        "chat",
        _CHAT + _HI + b',"tools":[{"type":"function","function":{"name":"a","parameters":{"a":[',
        b"9" * MOST_DIGITS,
        b"]}}}]}",
        SIZE,
    ),
    "lists in arguments": ("chat", _ARGUMENTS, b"[]", _ARGUED, SIZE),
    "numbers in arguments": ("chat", _ARGUMENTS, b"1.5", _ARGUED, SIZE),
    "keys": ("chat", b'{"model":"m",', b'"k%d":1', b"}", SIZE),
    "labels": ("chat", _CHAT + _HI + b',"metadata":{', b'"k%d":1', b"}}", SIZE),
    "fields inside others": ("chat", _CHAT + _HI + b',"metadata":{"a":[', b'{"n":1,"stream":1}', b"]}}", SIZE),
    "stops": ("chat", _CHAT + _HI + b',"stop":[', b'"a"', b"]}", SIZE),
    "texts for items": ("responses", b'{"model":"m","input":[', b'""', b"]}", SIZE),
    "instructions": ("messages", b'{"model":"m","max_tokens":5,"system":[', b'{"type":"text","text":"a"}', b'],"messages":[' + _HI + b"}", SIZE),
    "quotes in a text": ("chat", _CHAT + b'{"role":"user","content":"', b'\\"', b'"}]}', SIZE),
    "escapes in a text": ("chat", _CHAT + b'{"role":"user","content":"', b"\\u0041", b'"}]}', SIZE),
    "letters of other alphabets": ("chat", _CHAT + b'{"role":"user","content":"', "\u017f\u0131".encode(), b'"}]}', SIZE),
    "an odd id": ("chat", _ARGUMENTS.replace(b'"id":"a"', b'"id":"' + b"!" * (1_000_000) + b'"'), b"1", _ARGUED, 1),
    "a schema": (
        "chat",
        _CHAT + _HI + b',"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object","properties":{',
        b'"k%d":{}',
        b"}}}}}",
        20_000,
    ),
    "blanks before a second model": ("chat", b'{"model":"m","x":"\\"model\\"","y":1', b" ", b',"Model":1}', SIZE),
}  # fmt: skip


_JOINED = (b" ", b'\\"', b"\\u0041", "\u017f\u0131".encode())
"""Items that are one text, without commas between them."""


def dense_body(name: str) -> bytes:
    """Return one of the bodies."""
    _, head, item, tail, most = BODIES[name]
    joint = b"" if item in _JOINED else b","
    count = min(most, (SIZE - len(head) - len(tail)) // (len(item) + len(joint)))
    if b"%d" in item:
        return (
            head
            + joint.join([item % number for number in range(count)])[: SIZE - 20_000].rpartition(joint)[0]
            + tail
        )
    body = head + joint.join([item] * count) + tail
    if count < most or count == 1 or b"metadata" in head:
        return body
    label = b"\\u00e4" * ((SIZE - len(body) - 30) // 6)
    return body[:-1] + b',"metadata":{"user_id":"' + label + b'"}}'


def carry(name: str, body: bytes, dialect: DialectName = "anthropic") -> None:
    """Do what a worker does for a body whose target speaks this API."""
    endpoint = _ENDPOINTS[BODIES[name][0]]
    assert endpoint.client is not None
    payload = read_payload(endpoint, body)
    if isinstance(payload, Problem):
        return
    opening(body)
    assert payload.plain is not None
    if dialect == endpoint.dialect:
        top_level_names(body)
        return
    try:
        request = CLIENTS[endpoint.client].read_request(body).request
    except BadRequestError:
        return
    with contextlib.suppress(BadRequestError):
        DIALECTS[dialect].encode(request, HOSTS[dialect], False).encode()


def dense_cpu_ms() -> list[float]:
    """Return the CPU of the body that takes most, in each of some runs."""
    bodies = {name: dense_body(name) for name in BODIES}
    threshold, digits = gc.get_threshold(), sys.get_int_max_str_digits()
    gc.set_threshold(20_000)  # as a worker does
    sys.set_int_max_str_digits(MOST_DIGITS)
    try:
        return [
            max(_cpu_ms(name, body, dialect) for name, body in bodies.items() for dialect in DIALECTS)
            for _ in range(RUNS)
        ]
    finally:
        gc.set_threshold(*threshold)
        sys.set_int_max_str_digits(digits)


def dense_rows() -> list[Row]:
    """Return the row of the body that takes most."""
    values = dense_cpu_ms()
    value = median(values)
    return [
        {
            "figure": "1 MB body that takes most: CPU",
            "value": round(value, 1),
            "unit": "ms",
            "must": "≤ 100",
            "aim": "≤ 30",
            "holds": value <= 100,
            "conditions": f"most of {len(BODIES)} bodies of many small messages, calls, tools or fields, read, checked "
            "and written for another API in this process",
            "spread": f"median of {len(values)}, {min(values):.3g}–{max(values):.3g}",
        }
    ]


def _cpu_ms(name: str, body: bytes, dialect: DialectName) -> float:
    before = time.process_time()
    carry(name, body, dialect)
    return 1e3 * (time.process_time() - before)
