"""Reads and writes the usage of an Anthropic message."""

from typing import Any

from crossgrade.dialects._counts import NO_COUNTS, Counts, consistent, count, inner, optional, usage_of
from crossgrade.domain import JSON, Usage


def anthropic_usage(raw: Any, *, answered: bool = True) -> Usage:
    """Read `usage` of an Anthropic message, whose `input_tokens` excludes cache reads and writes."""
    return usage_of(anthropic_counts(raw, answered=answered))


def anthropic_counts(raw: Any, *, answered: bool = True) -> Counts:
    """Read the counts of `anthropic_usage` without making a `Usage`."""
    if not isinstance(raw, dict):
        return NO_COUNTS
    fresh = count(raw.get("input_tokens"))
    cached, read_is_sane = optional(raw.get("cache_read_input_tokens"))
    written, write_is_sane = optional(raw.get("cache_creation_input_tokens"))
    known = fresh is not None and read_is_sane and write_is_sane
    prompt = (fresh or 0) + (cached or 0) + (written or 0) if known else None
    reasoning = count(inner(raw, "output_tokens_details").get("thinking_tokens"))
    output = count(raw.get("output_tokens"))
    return consistent(prompt, output, cached, written, reasoning, answered=answered)


def usage_to_wire(usage: Usage) -> dict[str, JSON]:
    """Write usage in this API's field names, with input tokens that exclude the cache. Unknown is null."""
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    fresh = None if usage.input_tokens is None else usage.input_tokens - (read or 0) - (written or 0)
    wire: dict[str, JSON] = {"input_tokens": fresh, "output_tokens": usage.output_tokens}
    if read is not None:
        wire["cache_read_input_tokens"] = read
    if written is not None:
        wire["cache_creation_input_tokens"] = written
    if usage.reasoning_output_tokens is not None:
        wire["output_tokens_details"] = {"thinking_tokens": usage.reasoning_output_tokens}
    return wire
