"""No body of 1 MB takes a worker long: what is done for one is counted in Python's operations."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.gateway._dense import BODIES, carry, dense_body
from crossgrade.dialects import DIALECTS, HOSTS
from crossgrade.dialects.anthropic import upstream
from crossgrade.domain import DialectName, Message, ModelRequest
from crossgrade.gateway._head import _CALLS
from crossgrade.gateway._payload import ParsedPayload, read_payload

MOST_OPERATIONS = 3_000_000
"""About 50 ms of a core. The C of JSON takes up to 30 ms more."""


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


@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
@pytest.mark.parametrize("name", BODIES)
def test_a_body_takes_few_operations(name: str, dialect: DialectName) -> None:
    body = dense_body(name)
    assert operations(lambda: carry(name, body, dialect)) < MOST_OPERATIONS


PROMPTS = {
    b"1": 0,
    b'"a"': 1,
    b'""': 1,
    b"[1]": 1,
    b'"a",[1,2]': 2,
    rb'"say \\",[1],"\"[1], \"[1]\""': 3,
}
"""Items of a list, and how many prompts they are; a list of tokens alone is one."""


@pytest.mark.parametrize("item", PROMPTS)
def test_prompts_are_counted_in_few_operations(item: bytes) -> None:
    endpoint = next(each for each in _CALLS if each.name == "completions")
    count = ((1 << 20) - 100) // (len(item) + 1)
    payload = read_payload(endpoint, b'{"model":"m","prompt":[%b]}' % b",".join([item] * count))
    assert isinstance(payload, ParsedPayload)
    found: list[int] = []
    assert operations(lambda: found.append(payload.answers)) < 1_000
    assert found == [PROMPTS[item] * count or 1]


def test_joining_turns_copies_none_of_them_again(monkeypatch: pytest.MonkeyPatch) -> None:
    copied = 0

    class Counted(list):  # type: ignore[type-arg]  # of anything
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
