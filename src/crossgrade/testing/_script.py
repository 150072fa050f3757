"""What a fake provider is told to do, and what it remembers having been asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import msgspec

from crossgrade.domain import JSON, ToolCall

FaultKind = Literal[
    "bad_key",
    "context_too_long",
    "drip",
    "drop",
    "echo_key",
    "empty_choices",
    "filtered",
    "gzip_bomb",
    "half_json",
    "hang",
    "html",
    "huge",
    "no_end",
    "rate_limit",
    "redirect",
    "server_error",
    "unknown_model",
    "wrong_usage",
]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it should come.

    Tokens are counted in words where not given; `usage` replaces the whole usage object as sent.
    The answer waits `delay_s`, a streamed one also `token_delay_s` before each piece. `headers` are sent too.
    `served` is the model that the answer names (None: the one that was asked for).
    """

    text: str = "ok"
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    usage: JSON = None
    delay_s: float = 0.0
    token_delay_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    served: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to go wrong.

    `drop` closes the connection in the middle of the body; `drip` sends it a byte at a time;
    `hang` sends nothing; `no_end` ends a stream cleanly without its terminal marker; `huge` and
    `gzip_bomb` send `size` bytes, the latter compressed; `rate_limit` answers 429 with
    `retry_after` (None: without the header); `echo_key` answers well, quoting the caller's key;
    `wrong_usage` answers well, with counts that cannot be.
    """

    kind: FaultKind
    retry_after: str | None = None
    size: int = 64 * 2**20
    delay_s: float = 0.0


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as the fake provider got it; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @cached_property
    def json(self) -> Any:
        """The decoded body, None when it is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    @property
    def model(self) -> str:
        """The model asked for."""
        return str(self._get("model") or self.path.rpartition("/models/")[2].partition(":")[0])

    @property
    def stream(self) -> bool:
        """Whether the answer should be streamed."""
        return bool(self._get("stream")) or ":streamGenerateContent" in self.path

    @property
    def prompt(self) -> str:
        """The text of the last message, or the raw prompt."""
        messages = self._get("messages") or self._get("contents") or self._get("input")
        if not isinstance(messages, list) or not messages:
            return str(messages or self._get("prompt") or "")
        content = messages[-1].get("content") or messages[-1].get("parts")
        if isinstance(content, list):
            return "".join(str(part.get("text") or part.get("content") or "") for part in content)
        return str(content or "")

    def _get(self, name: str) -> Any:
        return self.json.get(name) if isinstance(self.json, dict) else None


Outcome: TypeAlias = Reply | Fault | str
Script: TypeAlias = Outcome | Sequence[Outcome] | Callable[[ReceivedRequest], Outcome]
"""One outcome for every call; outcomes in turn, the last for ever; or a function of the request."""


class Player:
    """Plays a script, one outcome a call."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._at = 0

    def play(self, request: ReceivedRequest) -> Reply | Fault:
        """Return the next outcome."""
        script = self._script
        if callable(script):
            outcome = script(request)
        elif isinstance(script, str | Reply | Fault):
            outcome = script
        else:
            outcome = script[min(self._at, len(script) - 1)]
            self._at += 1
        return Reply(outcome) if isinstance(outcome, str) else outcome
