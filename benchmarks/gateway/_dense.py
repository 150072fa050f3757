"""Bodies of 1 MB that give a worker of the gateway as much to do as they can, and the CPU that each takes."""

import gc
import time
from statistics import median

from benchmarks._table import Row
from crossgrade.dialects import CLIENTS, DIALECTS, HOSTS
from crossgrade.errors import BadRequestError
from crossgrade.gateway._head import _CALLS
from crossgrade.gateway._payload import opening, read_payload

RUNS = 5
SIZE = 1 << 20
_ENDPOINTS = {endpoint.name: endpoint for endpoint in _CALLS}
_CHAT = b'{"model":"m","max_tokens":5,"messages":['
_HI = b'{"role":"user","content":"a"}]'
_SUSPECT = _CHAT + _HI + b',"metadata":{"headers":"a"},"x":['
_CALL = b'{"id":"a","function":{"name":"a"}}'
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
    "blanks before a second model": ("chat", b'{"model":"m","x":"\\"model\\"","y":1', b" ", b',"Model":1}', SIZE),
}  # fmt: skip


def dense_body(name: str) -> bytes:
    """Return one of the bodies."""
    _, head, item, tail, most = BODIES[name]
    joint = b"" if item == b" " else b","
    count = min(most, (SIZE - len(head) - len(tail)) // (len(item) + len(joint)))
    body = head + joint.join([item] * count) + tail
    if count < most or b"metadata" in head:
        return body
    label = b"\\u00e4" * ((SIZE - len(body) - 30) // 6)
    return body[:-1] + b',"metadata":{"user_id":"' + label + b'"}}'


def carry(name: str, body: bytes) -> None:
    """Do what a worker does for a body whose target speaks another API."""
    endpoint = _ENDPOINTS[BODIES[name][0]]
    assert endpoint.client is not None
    read_payload(endpoint, body)
    opening(body)
    try:
        request = CLIENTS[endpoint.client].read_request(body).request
    except BadRequestError:
        return
    DIALECTS["anthropic"].encode(request, HOSTS["anthropic"], False).encode()


def dense_cpu_ms() -> list[float]:
    """Return the CPU of the body that takes most, in each of some runs."""
    bodies = {name: dense_body(name) for name in BODIES}
    threshold = gc.get_threshold()
    gc.set_threshold(20_000)  # as a worker does
    try:
        return [max(_cpu_ms(name, body) for name, body in bodies.items()) for _ in range(RUNS)]
    finally:
        gc.set_threshold(*threshold)


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


def _cpu_ms(name: str, body: bytes) -> float:
    before = time.process_time()
    carry(name, body)
    return 1e3 * (time.process_time() - before)
