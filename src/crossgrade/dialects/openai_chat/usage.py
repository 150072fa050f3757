"""Usage in OpenAI's field names: read from any compatible host, written for completions and Responses.

Usage in traffic logs is read here too. A log does not say its dialect, so the field names decide.
"""

from collections.abc import Iterator, Mapping
from typing import Any

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
    if reasoning and prompt is not None and output is not None:
        total = count(raw.get("total_tokens"))
        output += reasoning if total == prompt + output + reasoning else 0  # it was counted separately
    cached = count(cached)
    return consistent(prompt, output, cached, written, reasoning, answered=answered)


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
