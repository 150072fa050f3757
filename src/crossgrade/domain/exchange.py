"""One call to a model: the request, the answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias

from crossgrade.domain.offers import GenerationSettings
from crossgrade.domain.values import JSON, Usage

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that a model asks for; `arguments` is the JSON text as the model wrote it.

    `signature` is what the model's provider wants back with the call: Gemini's thought signature.
    """

    id: str
    name: str
    arguments: str
    signature: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image in a message: a `url`, or base64 `data` with its `media_type`.

    `detail` is "low", "high" or "auto" for APIs that have such a setting.
    """

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None


Part: TypeAlias = str | Image
"""A piece of a message: text or an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat message; `tool_call_id` ties a tool's result to its call.

    `parts` are the texts and images of a message that holds images, in order; `content` is then
    its text alone.
    """

    role: Role
    content: str | None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the model may call; `parameters` is a JSON schema.

    `strict` asks that arguments follow the schema exactly, of APIs that promise it.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, JSON] | None = None
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """What a provider is asked: chat `messages`, or a raw `text` prompt for base models.

    `tool_choice` is "auto", "none", "required" or the name of the one tool to call;
    `parallel_tool_calls` False allows one call an answer.
    """

    model: str
    messages: tuple[Message, ...] = ()
    text: str | None = None
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    response_schema: JSON = None

    @property
    def images(self) -> int:
        """How many images its messages hold."""
        return sum(isinstance(part, Image) for message in self.messages for part in message.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobRequest(ModelRequest):
    """A request that also asks for log-probabilities: those of the `top` likeliest tokens at each place.

    It is a class of its own, so that other requests, under whose digest answers are kept, stay as they were.
    APIs that have no log-probabilities are asked without them.
    """

    top: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class GrammarRequest(ModelRequest):
    """A request whose answer must follow a grammar in GBNF, the notation of llama.cpp.

    It is a class of its own, so that other requests, under whose digest answers are kept, stay as they were.
    Hosts that take no grammar refuse it.
    """

    grammar: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """A token of an answer with its natural log-probability, and those of the likeliest tokens by token."""

    token: str
    logprob: float
    top: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswer:
    """What a provider answered, with the usage it billed and the times we measured.

    `finish_reason` is "stop", "length", "tool_calls", "content_filter" or the provider's word.
    `model` is the version the provider says it served; `runtime` names a local engine and
    its build. `ttft_ms` is known only for streamed calls. `vector` is what an embedding model answers.
    `cost_usd` is given of an answer that took many calls, which were priced one by one.
    `logprobs` are those of the answer's tokens, where they were asked for and given.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    model: str | None = None
    runtime: str | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
    vector: tuple[float, ...] | None = None
    cost_usd: Decimal | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


_AT_LIMIT = {"length", "max_output_tokens", "max_tokens", "model_context_window_exceeded", "model_length"}
_NO_REASON = {"", "none", "null", "unknown"}


def ended_at_limit(finish_reason: str | None) -> bool | None:
    """Return whether a token limit ended an answer, by any provider's or tool's word; None is unknown."""
    word = (finish_reason or "").strip().lower()
    return None if word in _NO_REASON else word in _AT_LIMIT
