"""One call to a model: the request, the answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from crossgrade.domain.offers import GenerationSettings
from crossgrade.domain.values import JSON, Usage

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that a model asks for; `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat message; `tool_call_id` ties a tool's result to its call."""

    role: Role
    content: str | None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the model may call; `parameters` is a JSON schema."""

    name: str
    description: str = ""
    parameters: Mapping[str, JSON] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """What a provider is asked: chat `messages`, or a raw `text` prompt for base models.

    `tool_choice` is "auto", "none", "required" or the name of the one tool to call.
    """

    model: str
    messages: tuple[Message, ...] = ()
    text: str | None = None
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    response_schema: JSON = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswer:
    """What a provider answered, with the usage it billed and the times we measured.

    `finish_reason` is "stop", "length", "tool_calls", "content_filter" or the provider's word.
    `model` is the version the provider says it served; `runtime` names a local engine and
    its build. `ttft_ms` is known only for streamed calls.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    model: str | None = None
    runtime: str | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
