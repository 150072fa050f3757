"""The messages of a request: who speaks, what is asked, and whether it can be asked again as texts alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossgrade.workloads.traffic.chat import plain, role_of
from crossgrade.workloads.traffic.loops import CALLS_TOOLS, IN_LOOP, NO_TOOLS
from crossgrade.workloads.traffic.request import ASKABLE, LoggedRequest

CAUSES = (
    "uses tools",
    "images or files",
    "other roles",
    "no question at its end",
    "no chat",
    "no text in the log",
)
"""Why a request cannot be a sample, by number from 1; 0 is a request that can."""

_SYSTEM_ROLES = frozenset({"system", "developer"})
_ROLES = _SYSTEM_ROLES | {"user", "assistant"}
_MEDIA = frozenset(
    {"image", "image_url", "input_image", "input_audio", "audio", "file", "input_file", "document"}
)
_TEXTS = frozenset({"text", "input_text"})
_RESULT_ROLES = frozenset({"tool", "function"})
_RESULTS = frozenset(
    {
        "computer_call_output",
        "custom_tool_call_output",
        "function_call_output",
        "functionResponse",
        "local_shell_call_output",
        "mcp_tool_result",
        "tool_call_response",
        "tool_result",
        "toolResult",
    }
)
"""Types of parts and items in which the model reads what a tool gave, in any API."""

_CALLS = frozenset(
    {"custom_tool_call", "function_call", "functionCall", "mcp_tool_use", "tool_call", "tool_use", "toolUse"}
)
_NONE = bytes(8)
_SYSTEM_AMONG, _QUESTION_AMONG = 2, 8
"""The system prompt is among so many messages, and so is the first text of the user."""


@dataclass(slots=True)
class Turns:
    """What a request's messages hold, gone through once.

    `system` is the system prompt, and `question` the user's first text, which says what the conversation is
    about. `last` is the text of the last message if it is the user's. `characters` counts those of all texts.
    `roles` has None for a message that names none, `parts` the types of parts (None: none) of messages that
    are no single text. `uses_tools` says that the model called tools or read what they gave, and
    `reads_tools` that it read this. `is_whole` says that every message is an object.
    """

    system: str | None
    question: str | None
    last: str | None
    characters: int
    roles: set[str | None]
    parts: set[str | None]
    uses_tools: bool
    reads_tools: bool
    is_whole: bool


def turns_of(messages: Iterable[Any]) -> Turns:
    """Return what messages hold."""
    system = question = last = None
    has_system = has_question = uses_tools = False
    is_whole, characters = True, 0
    roles, parts, items = set[str | None](), set[str | None](), set[str | None]()
    for at, message in enumerate(messages):
        if not isinstance(message, dict):
            is_whole = False
            continue
        content, role = message.get("content"), role_of(message)
        if isinstance(content, str):
            said: str | None = content
        else:
            said = plain(content)
            if isinstance(content, list):
                parts.update(_kind_of(part) for part in content if isinstance(part, dict))
        if said:
            characters += len(said)
        roles.add(role)
        if role is None and isinstance(kind := message.get("type"), str):
            items.add(kind)
        last = said if role == "user" else None
        if role == "user" and not has_question and at < _QUESTION_AMONG:
            question, has_question = said, True
        elif role in _SYSTEM_ROLES and not has_system and at < _SYSTEM_AMONG:
            system, has_system = said, True
        if message.get("tool_calls"):
            uses_tools = True
    kinds = items | parts
    reads_tools = not (_RESULT_ROLES.isdisjoint(roles) and _RESULTS.isdisjoint(kinds))
    uses_tools = uses_tools or reads_tools or not _CALLS.isdisjoint(kinds)
    return Turns(system, question, last, characters, roles, parts, uses_tools, reads_tools, is_whole)


def _kind_of(part: dict[Any, Any]) -> str | None:
    """Return the type of a message's part; None if it has none, or one that is no text."""
    kind = part.get("type")
    return kind if isinstance(kind, str) else None


def is_agentic(request: LoggedRequest, turns: Turns) -> bool:
    """Return whether the model called tools, or read what they gave."""
    return turns.uses_tools or bool(request.tool_calls)


def tools_of(request: LoggedRequest, turns: Turns) -> int:
    """Return what a request has to do with tools: a number of `loops`."""
    if turns.reads_tools or request.in_run:
        return IN_LOOP
    return CALLS_TOOLS if is_agentic(request, turns) else NO_TOOLS


def has_media(turns: Turns) -> bool:
    """Return whether images, sound or files are part of a request."""
    return not turns.parts.isdisjoint(_MEDIA)


def unfit(request: LoggedRequest, turns: Turns | None, call: str) -> int:
    """Return why a request cannot be asked again as a conversation of texts: a cause's number, or 0.

    `turns` is None where its messages are unknown, `call` the kind of call.
    """
    if call not in ASKABLE:
        return 5
    if turns is None:
        return len(CAUSES)
    if request.tools or is_agentic(request, turns):
        return 1
    if not turns.parts <= _TEXTS:
        return 2
    if not turns.is_whole or not turns.roles <= _ROLES:
        return 3
    return 0 if turns.last else 4


def asked_of(request: LoggedRequest) -> tuple[str | None, list[dict[str, str]], str]:
    """Return a fit request's system prompt, the earlier messages, and the text of the last one."""
    messages = request.messages or []
    system = turns_of(messages).system
    first = next((at for at, each in enumerate(messages) if each["role"] in _SYSTEM_ROLES), -1)
    earlier = [
        {"role": "system" if each["role"] == "developer" else each["role"], "content": text}
        for at, each in enumerate(messages[:-1])
        if (text := plain(each.get("content"))) and (system is None or at != first)
    ]
    return system, earlier, plain(messages[-1].get("content")) or ""


def number_of(text: str) -> int:
    """Return a text's number of 64 bits, with a sign, the same in every process."""
    return int.from_bytes(_digest(text), "little", signed=True)


def numbers_of(texts: Iterable[str | None]) -> NDArray[np.int64]:
    """Return `number_of` of each text, 0 for none and for an empty one."""
    return np.frombuffer(b"".join([_digest(text) if text else _NONE for text in texts]), "<i8")


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def stated_session(name: str | None) -> int:
    """Return an even number for a session that a log names, 0 for none."""
    return number_of(name) & ~1 or 2 if name else 0


def inferred_session(request: LoggedRequest, turns: Turns) -> int:
    """Return an odd number for the session of a request whose log names none; 0 is none.

    Requests with tools or earlier turns whose conversation begins alike, by one user, are of one session.
    """
    if not request.messages or not (request.tools or len(request.messages) > 2):
        return 0
    if turns.question is None or not (request.tools or turns.roles & {"assistant", "tool"}):
        return 0
    return number_of("\0".join(conversation_start(request, turns))) | 1


def shared_head(request: LoggedRequest, turns: Turns) -> tuple[int, float]:
    """Return a number for a request's system prompt (0: none), and its share of the messages' characters."""
    if not turns.system or not request.messages or not isinstance(request.messages[0], dict):
        return 0, 0.0
    return _head_number(request.model, turns.system), len(turns.system) / max(turns.characters, 1)


@lru_cache(maxsize=64)
def _head_number(model: str | None, system: str) -> int:
    return number_of(f"{model}\0{system}") | 1


def conversation_start(request: LoggedRequest, turns: Turns) -> tuple[str, ...]:
    """Return what all requests of one conversation begin with: user, route, system prompt, first question."""
    first = (turns.system or "")[:400], (turns.question or "")[:2000]
    return (request.user or "", request.route or "", *first)
