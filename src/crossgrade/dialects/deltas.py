"""The pieces of a streamed answer, independent of any API, and the answer that they form."""

from collections.abc import Iterable
from typing import Protocol, TypeAlias

import msgspec

from crossgrade.dialects._sse import SseEvent
from crossgrade.domain import ModelAnswer, ToolCall, Usage
from crossgrade.errors import UpstreamError

MOST_CALLS = 1024
"""Tool calls in one answer; without a bound, calls without an index would cost quadratic time."""


class Begun(msgspec.Struct, frozen=True):
    """The version of the model that answers, as the provider names it."""

    model: str


class Text(msgspec.Struct, frozen=True):
    """A piece of the answer's text."""

    text: str


class Refusal(msgspec.Struct, frozen=True):
    """A piece of the text with which the model refuses."""

    text: str


class Reasoning(msgspec.Struct, frozen=True):
    """A piece of the model's reasoning; no client's answer carries it."""

    text: str


class CallBegun(msgspec.Struct, frozen=True):
    """A tool call begins. `index` counts the answer's calls from 0; `id` is "" where none was given."""

    index: int
    id: str
    name: str
    signature: str | None = None


class Arguments(msgspec.Struct, frozen=True):
    """A piece of the JSON text of a call's arguments."""

    index: int
    text: str


class Counted(msgspec.Struct, frozen=True):
    """The tokens so far. The last count is final."""

    usage: Usage


class Finished(msgspec.Struct, frozen=True):
    """Why the model stopped, as `ModelAnswer.finish_reason`: the answer is whole."""

    reason: str


Delta: TypeAlias = Begun | Text | Refusal | Reasoning | CallBegun | Arguments | Counted | Finished


class Reader(Protocol):
    """Reads the events of one stream of some API."""

    ending: str
    """What makes an answer whole."""

    marked: bool
    """Whether the API marks a stream's end, so that a stream without the mark has failed."""

    done: bool
    """Whether the mark has come, so that nothing more is worth waiting for."""

    def read(self, event: SseEvent) -> list[Delta]:
        """Return what an event says; raises a `ProviderError` for an error sent inside the stream."""


class Collector:
    """Gathers the events of one stream into an answer."""

    def __init__(self, reader: Reader) -> None:
        self.started = False
        """Whether the model's first token (text, call or reasoning) has come."""

        self._reader = reader
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: list[CallBegun] = []
        self._arguments: list[list[str]] = []
        self._finish_reason: str | None = None
        self._usage = Usage()
        self._model: str | None = None

    @property
    def done(self) -> bool:
        """Return whether the stream's last event has come, so that nothing more is worth waiting for."""
        return self._reader.done

    def feed(self, event: SseEvent) -> None:
        """Take the next event; raises a `ProviderError` for an error sent inside the stream."""
        self.take(self._reader.read(event))

    def take(self, deltas: Iterable[Delta]) -> None:
        """Take what was read."""
        for delta in deltas:
            self._take(delta)

    def _take(self, delta: Delta) -> None:
        match delta:
            case Text():
                self._text.append(delta.text)
            case Arguments():
                self._arguments[delta.index].append(delta.text)
            case CallBegun():
                self._calls.append(delta)
                self._arguments.append([])
            case Refusal():
                self._refusal.append(delta.text)
            case Finished():
                self._finish_reason = delta.reason
            case Counted():
                self._usage = delta.usage
            case Begun():
                self._model = self._model or delta.model
        self.started = self.started or isinstance(delta, Text | CallBegun | Refusal | Reasoning)

    def answer(self) -> ModelAnswer:
        """Return the whole answer. Raises `UpstreamError` if the stream broke off before its end."""
        if self._finish_reason is None:
            raise broken_off(self._reader.ending)
        return self.so_far()

    def so_far(self) -> ModelAnswer:
        """Return what has arrived, whole or not."""
        calls = tuple(
            ToolCall(
                id=call.id or f"call_{call.index}",
                name=call.name,
                arguments="".join(pieces),
                signature=call.signature,
            )
            for call, pieces in zip(self._calls, self._arguments, strict=True)
        )
        return ModelAnswer(
            text="".join(self._text) or "".join(self._refusal),
            tool_calls=calls,
            finish_reason=self._finish_reason,
            usage=self._usage,
            model=self._model,
        )


def deltas_of(answer: ModelAnswer) -> list[Delta]:
    """Return a whole answer as the pieces of a stream."""
    deltas: list[Delta] = [] if answer.model is None else [Begun(answer.model)]
    if answer.text:
        deltas.append(Text(answer.text))
    for at, call in enumerate(answer.tool_calls):
        deltas += [CallBegun(at, call.id, call.name, call.signature), Arguments(at, call.arguments)]
    return [*deltas, Counted(answer.usage), Finished(answer.finish_reason or "stop")]


_FAILED = frozenset(
    (
        "FINISH_REASON_UNSPECIFIED", "LANGUAGE", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE", "NO_IMAGE", "OTHER", "TOO_MANY_TOOL_CALLS", "UNEXPECTED_TOOL_CALL",
        "abort", "cancelled", "error", "incomplete", "insufficient_system_resource", "network_error",
    )
)  # fmt: skip
"""Reasons of Gemini, DeepSeek, OpenRouter and others to stop in the middle of an answer."""


def failed_stop(reason: str | None) -> UpstreamError | None:
    """Return the failure that a finish reason stands for, None for an ordinary stop.

    No client's API has a word for one, and "stop" would make half an answer look whole.
    """
    if reason not in _FAILED:
        return None
    return UpstreamError(
        f"the model stopped before the end of its answer ({reason})", code="answer-stopped-early"
    )


def broken_off(ending: str) -> UpstreamError:
    """Describe a stream that ended before its terminal marker."""
    return UpstreamError(
        f"the stream broke off before its end (no {ending}): the answer is incomplete",
        code="stream-broke-off",
    )


def too_many_calls() -> UpstreamError:
    """Describe a stream that never stops calling tools."""
    return UpstreamError(f"the stream holds more than {MOST_CALLS} tool calls", code="stream-too-many-calls")
