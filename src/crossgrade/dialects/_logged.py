"""Usage in traffic logs. A log does not say its dialect, so the field names decide."""

from collections.abc import Iterator, Mapping
from typing import Any

from crossgrade.dialects._counts import Counts, consistent, count
from crossgrade.dialects.openai_chat.usage import openai_counts


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
