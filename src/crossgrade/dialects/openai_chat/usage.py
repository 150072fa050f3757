"""Usage in OpenAI's field names: read from any compatible host, written for completions and Responses.

Usage in traffic logs is read here too. A log does not say its dialect, so the field names decide.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeAlias

import msgspec

from crossgrade.dialects._counts import (
    EMPTY,
    NO_COUNTS,
    Counts,
    consistent,
    count,
    inner,
    usage_of,
)
from crossgrade.domain import JSON, MOST_TOKENS, Usage

_PLAIN = frozenset(("prompt_tokens", "completion_tokens", "total_tokens"))
_Logged: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)] | None


class _InputParts(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    cached_tokens: _Logged = None
    cache_write_tokens: _Logged = None
    audio_tokens: _Logged = None


class _OutputParts(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    reasoning_tokens: _Logged = None
    audio_tokens: _Logged = None
    accepted_prediction_tokens: _Logged = None
    rejected_prediction_tokens: _Logged = None


class _OpenAIUsage(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    prompt_tokens: Annotated[int, msgspec.Meta(gt=0, le=MOST_TOKENS)]
    completion_tokens: Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]
    total_tokens: _Logged = None
    prompt_tokens_details: _InputParts | None = None
    completion_tokens_details: _OutputParts | None = None


def openai_usage(raw: Any, *, answered: bool = True) -> Usage:
    """Read `usage` of chat completions, text completions or responses, from any compatible host.

    `answered` says whether the answer holds any text or call; output of 0 tokens is then nonsense.
    """
    return usage_of(openai_counts(raw, answered=answered))


def openai_counts(raw: Any, *, answered: bool = True) -> Counts:
    """Read the counts of `openai_usage` without making a `Usage`, in half of the time."""
    if not isinstance(raw, dict):
        return NO_COUNTS
    prompt, output = raw.get("prompt_tokens"), raw.get("completion_tokens")
    if (
        type(prompt) is type(output) is int
        and 0 < prompt <= MOST_TOKENS
        and 0 < output <= MOST_TOKENS
        and raw.keys() <= _PLAIN
    ):
        return Counts(prompt, output)  # most hosts say no more than this
    prompt = count(raw.get("prompt_tokens", raw.get("input_tokens")))
    output = count(raw.get("completion_tokens", raw.get("output_tokens")))
    inputs = inner(raw, "prompt_tokens_details", "input_tokens_details")
    outputs = inner(raw, "completion_tokens_details", "output_tokens_details")
    cached, written = raw.get("prompt_cache_hit_tokens"), None
    if inputs is not EMPTY:
        cached, written = inputs.get("cached_tokens", cached), count(inputs.get("cache_write_tokens"))
    reasoning = None if outputs is EMPTY else count(outputs.get("reasoning_tokens"))
    output = _with_reasoning(prompt, output, reasoning, count(raw.get("total_tokens")))
    cached = count(cached)
    return consistent(prompt, output, cached, written, reasoning, answered=answered)


def _with_reasoning(
    prompt: int | None, output: int | None, reasoning: int | None, total: int | None
) -> int | None:
    """Return the output with the reasoning tokens, which some hosts count separately: the total tells."""
    if not reasoning or prompt is None or output is None or total != prompt + output + reasoning:
        return output
    return total - prompt


def usage_to_wire(usage: Usage) -> JSON:
    """Write usage in the field names of completions. Return None if nothing is known."""
    prompt, output = usage.input_tokens, usage.output_tokens
    if prompt is None and output is None:
        return None
    wire: dict[str, JSON] = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": None if prompt is None or output is None else prompt + output,
    }
    if usage.cache_read_input_tokens is not None:
        wire["prompt_tokens_details"] = {"cached_tokens": usage.cache_read_input_tokens}
    if usage.reasoning_output_tokens is not None:
        wire["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_output_tokens}
    return wire


def response_usage_to_wire(usage: Usage) -> JSON:
    """Write usage in the field names of Responses. An unknown count is null; None if all are unknown."""
    prompt, output = usage.input_tokens, usage.output_tokens
    if prompt is None and output is None:
        return None
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_input_tokens,
            "cache_write_tokens": usage.cache_creation_input_tokens,
        },
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_output_tokens},
        "total_tokens": None if prompt is None or output is None else prompt + output,
    }


def strict_counts(raw: Mapping[str, Any]) -> Counts | None:
    """Return what `logged_counts` does in half of its time, or None for a usage object of another form.

    The form is OpenAI's own: no other fields, and every count is an integer that can be.
    """
    try:
        found = msgspec.convert(raw, _OpenAIUsage)
    except msgspec.ValidationError:
        return None
    inputs, outputs = found.prompt_tokens_details, found.completion_tokens_details
    reasoning = None if outputs is None else outputs.reasoning_tokens
    return consistent(
        found.prompt_tokens,
        _with_reasoning(found.prompt_tokens, found.completion_tokens, reasoning, found.total_tokens),
        None if inputs is None else inputs.cached_tokens,
        None if inputs is None else inputs.cache_write_tokens,
        reasoning,
        answered=False,
    )


def logged_counts(raw: Mapping[str, Any]) -> Counts:
    """Read the counts of a usage object in a log, whose dialect follows from its field names.

    A gateway that speaks OpenAI's API may keep Anthropic's names for the cache beside its own counts, which
    then include them. Counts that are all 0 are valid in a log, because it keeps failed requests too.
    """
    if raw and not raw.get("prompt_tokens") and not any(_leaves(raw)):
        return Counts(0, 0, 0, 0, 0)
    if "promptTokenCount" in raw:
        from crossgrade.dialects.gemini.usage import gemini_counts  # no worker needs it

        return gemini_counts(raw, answered=False)
    if "cache_read_input_tokens" not in raw and "cache_creation_input_tokens" not in raw:
        return openai_counts(raw, answered=False)
    if "input_tokens" in raw and "prompt_tokens" not in raw:
        from crossgrade.dialects.anthropic.usage import anthropic_counts  # no worker needs it

        return anthropic_counts(raw, answered=False)
    known = openai_counts(raw, answered=False)
    cached, written = known.cache_read_input_tokens, known.cache_creation_input_tokens
    return consistent(
        known.input_tokens,
        known.output_tokens,
        count(raw.get("cache_read_input_tokens")) if cached is None else cached,
        count(raw.get("cache_creation_input_tokens")) if written is None else written,
        known.reasoning_output_tokens,
        answered=False,
    )


def _leaves(raw: Mapping[str, Any]) -> Iterator[Any]:
    for value in raw.values():
        yield from _leaves(value) if isinstance(value, dict) else (value,)
