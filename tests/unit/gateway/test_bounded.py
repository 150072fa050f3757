"""No body of 1 MB takes a worker long: what is done for one is counted in Python's operations."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from crossgrade.dialects import CLIENTS, DIALECTS, HOSTS
from crossgrade.dialects.anthropic import upstream
from crossgrade.domain import Message, ModelRequest
from crossgrade.errors import BadRequestError
from crossgrade.gateway._head import _CALLS
from crossgrade.gateway._payload import opening, read_payload

SIZE = 1 << 20
MOST_OPERATIONS = 4_000_000
"""About 60 ms of a core. The C of JSON takes up to 30 ms more."""

ENDPOINTS = {endpoint.name: endpoint for endpoint in _CALLS}
CHAT = b'{"model":"m","max_tokens":5,"messages":['
HI = b'{"role":"user","content":"a"}]'
SUSPECT = CHAT + HI + b',"metadata":{"headers":"a"},"x":['
CALL = b'{"id":"a","function":{"name":"a"}}'
FULL = 8000
"""Objects that are just few enough to be carried."""

BODIES: dict[str, tuple[str, bytes, bytes, bytes, int]] = {
    "short turns": ("chat", CHAT, b'{"role":"user","content":"a"}', b"]}", SIZE),
    "as many turns as are carried": ("chat", CHAT, b'{"role":"user","content":"a"}', b"]}", FULL),
    "results": ("chat", CHAT, b'{"role":"tool","content":"a","tool_call_id":"a"}', b"]}", FULL),
    "calls of a turn": ("chat", CHAT + b'{"role":"assistant","tool_calls":[', CALL, b"]}," + HI + b"}", SIZE),
    "pieces": ("messages", CHAT + b'{"role":"user","content":[', b'{"type":"text","text":""}', b"]}]}", SIZE),
    "uses": (
        "messages",
        CHAT + b'{"role":"assistant","content":[',
        b'{"type":"tool_use","id":"a","name":"a","input":{}}',
        b"]}," + HI + b"}",
        FULL,
    ),
    "tools": ("messages", CHAT + HI + b',"tools":[', b'{"name":"a"}', b"]}", SIZE),
    "call items": (
        "responses",
        b'{"model":"m","input":[',
        b'{"type":"function_call","call_id":"a","name":"a","arguments":"{}"}',
        b"]}",
        FULL,
    ),
    "empty objects under a suspicious key": ("chat", SUSPECT, b"{}", b"]}", SIZE),
    "objects under a suspicious key": ("chat", SUSPECT, b'{"a":[]}', b"]}", SIZE),
    "as many under a suspicious key as are looked at": ("chat", SUSPECT, b'{"a":[1]}', b"]}", 9_900),
    "numbers under a suspicious key": ("chat", SUSPECT, b"0", b"]}", SIZE),
    "deep lists": ("chat", CHAT + HI + b',"x":[', b"[" * 100 + b"]" * 100, b"]}", SIZE),
    "fields beside an escaped one": ("chat", b'{"\\u006dodel":"m","x":[{},[]', b'{"a":1}', b"]}", SIZE),
    "blanks before a second model": ("chat", b'{"model":"m","x":"\\"model\\"","y":1', b" ", b',"Model":1}', SIZE),
}  # fmt: skip


def filled(head: bytes, item: bytes, tail: bytes, most: int) -> bytes:
    joint = b"" if item == b" " else b","
    count = min(most, (SIZE - len(head) - len(tail)) // (len(item) + len(joint)))
    return head + joint.join([item] * count) + tail


def operations(call: Callable[[], Any]) -> int:
    """Return how many of Python's operations a call takes."""
    count = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal count
        if event == "opcode":
            count += 1
        else:
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("name", BODIES)
def test_a_body_takes_few_operations(name: str) -> None:
    kind, *parts = BODIES[name]
    body, endpoint = filled(*parts), ENDPOINTS[kind]  # type: ignore[arg-type]

    def carry() -> None:
        read_payload(endpoint, body)
        opening(body)
        try:
            request = CLIENTS[endpoint.client].read_request(body).request
        except BadRequestError:
            return
        DIALECTS["anthropic"].encode(request, HOSTS["anthropic"], False).encode()

    assert operations(carry) < MOST_OPERATIONS


def test_joining_turns_copies_none_of_them_again(monkeypatch: pytest.MonkeyPatch) -> None:
    copied = 0

    class Counted(list):  # type: ignore[type-arg]
        def __add__(self, other: Any) -> Any:
            nonlocal copied
            copied += len(self) + len(other)
            return Counted(list.__add__(self, other))

        def __iadd__(self, other: Any) -> Any:
            nonlocal copied
            copied += len(other)
            self.extend(other)
            return self

    blocks = upstream._blocks
    monkeypatch.setattr(
        upstream, "_blocks", lambda content: content if type(content) is Counted else Counted(blocks(content))
    )
    request = ModelRequest(model="m", messages=(Message(role="user", content="a"),) * 1000)
    (turn,) = DIALECTS["anthropic"].encode(request, HOSTS["anthropic"], False).body["messages"]
    assert len(turn["content"]) == 1000
    assert copied < 2 * 1000
