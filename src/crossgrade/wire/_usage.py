"""Token counts from each provider's own words, counted once, or unknown.

`Usage` follows OpenTelemetry: input includes cached tokens, output includes reasoning. Vendors
disagree (Anthropic leaves cached tokens out of `input_tokens`, Gemini leaves thoughts out of
`candidatesTokenCount`, xAI leaves reasoning out of `completion_tokens`), hence one function
each. A count that cannot be right is None, never 0: a false zero would make a call look free.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from crossgrade.domain import FlavourName, Usage

MOST_TOKENS = 1_000_000_000
"""A larger count in one call is nonsense: a hundred times the longest context sold."""

Counts: TypeAlias = tuple[int | None, int | None, int | None, int | None, int | None]
"""The fields of a `Usage` in their order: input, output, cache read, cache written, reasoning."""

_UNKNOWN: Counts = (None, None, None, None, None)
_EMPTY: dict[str, Any] = {}
_PLAIN = frozenset(("prompt_tokens", "completion_tokens", "total_tokens"))


def openai_usage(raw: Any, *, answered: bool = True) -> Usage:
    """Read `usage` of chat completions, text completions or responses, from any compatible host.

    `answered` says whether the answer holds any text or call; output of 0 tokens is then nonsense.
    """
    return _usage(openai_counts(raw, answered=answered))


def openai_counts(raw: Any, *, answered: bool = True) -> Counts:
    """Read the counts of `openai_usage` without making an object of them, which takes half of the time."""
    if not isinstance(raw, dict):
        return _UNKNOWN
    prompt, output = raw.get("prompt_tokens"), raw.get("completion_tokens")
    if (
        type(prompt) is type(output) is int
        and 0 < prompt <= MOST_TOKENS
        and 0 < output <= MOST_TOKENS
        and raw.keys() <= _PLAIN
    ):
        return prompt, output, None, None, None  # most hosts say no more than this
    prompt = _count(raw.get("prompt_tokens", raw.get("input_tokens")))
    output = _count(raw.get("completion_tokens", raw.get("output_tokens")))
    inputs = _inner(raw, "prompt_tokens_details", "input_tokens_details")
    outputs = _inner(raw, "completion_tokens_details", "output_tokens_details")
    cached, written = raw.get("prompt_cache_hit_tokens"), None
    if inputs is not _EMPTY:
        cached, written = inputs.get("cached_tokens", cached), _count(inputs.get("cache_write_tokens"))
    reasoning = None if outputs is _EMPTY else _count(outputs.get("reasoning_tokens"))
    if reasoning and prompt is not None and output is not None:
        total = _count(raw.get("total_tokens"))
        output += reasoning if total == prompt + output + reasoning else 0  # it was counted apart
    cached = _count(cached)
    return _consistent(prompt, output, cached, written, reasoning, answered=answered)


def anthropic_usage(raw: Any, *, answered: bool = True) -> Usage:
    """Read `usage` of an Anthropic message, whose `input_tokens` leaves out what the cache served or took."""
    return _usage(anthropic_counts(raw, answered=answered))


def anthropic_counts(raw: Any, *, answered: bool = True) -> Counts:
    """Read the counts of `anthropic_usage` without making an object of them."""
    if not isinstance(raw, dict):
        return _UNKNOWN
    fresh = _count(raw.get("input_tokens"))
    cached, read_is_sane = _optional(raw.get("cache_read_input_tokens"))
    written, write_is_sane = _optional(raw.get("cache_creation_input_tokens"))
    known = fresh is not None and read_is_sane and write_is_sane
    prompt = (fresh or 0) + (cached or 0) + (written or 0) if known else None
    reasoning = _count(_inner(raw, "output_tokens_details").get("thinking_tokens"))
    output = _count(raw.get("output_tokens"))
    return _consistent(prompt, output, cached, written, reasoning, answered=answered)


def gemini_usage(raw: Any, *, answered: bool = True) -> Usage:
    """Read `usageMetadata` of Gemini, which leaves zero counts out and counts thoughts apart."""
    return _usage(gemini_counts(raw, answered=answered))


def gemini_counts(raw: Any, *, answered: bool = True) -> Counts:
    """Read the counts of `gemini_usage` without making an object of them."""
    if not isinstance(raw, dict):
        return _UNKNOWN
    parts = [
        _optional(raw.get(name))
        for name in ("toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    ]
    tools, candidates, thoughts = (count for count, _ in parts)
    prompt = _count(raw.get("promptTokenCount"))
    sane = prompt is not None and all(is_sane for _, is_sane in parts)
    return _consistent(
        (prompt or 0) + (tools or 0) if sane else None,
        (candidates or 0) + (thoughts or 0) if sane else None,
        _count(raw.get("cachedContentTokenCount")),
        None,
        thoughts,
        answered=answered,
    )


_COUNTS: dict[FlavourName, Callable[[Any], Counts]] = {
    "openai": openai_counts,
    "openai-responses": openai_counts,
    "anthropic": anthropic_counts,
    "gemini": gemini_counts,
}


def read_counts(flavour: FlavourName, raw: Any) -> Counts:
    """Read the usage object of an answer of a flavour."""
    return _COUNTS[flavour](raw)


def logged_counts(raw: Mapping[str, Any]) -> Counts:
    """Read the counts of a usage object in a log, whose flavour only its names tell.

    A gateway that speaks OpenAI's API may keep Anthropic's names for the cache beside its own counts,
    which then include them. Counts that are 0 throughout are right there: a log keeps failures too.
    """
    if raw and not any(count for count in _leaves(raw)):
        return 0, 0, 0, 0, 0
    if "promptTokenCount" in raw:
        return gemini_counts(raw, answered=False)
    names = ("cache_read_input_tokens", "cache_creation_input_tokens")
    cached, written = (_count(raw.get(name)) for name in names)
    if "input_tokens" in raw and "prompt_tokens" not in raw and any(name in raw for name in names):
        return anthropic_counts(raw, answered=False)
    prompt, output, read, taken, reasoning = openai_counts(raw, answered=False)
    read, taken = cached if read is None else read, written if taken is None else taken
    return _consistent(prompt, output, read, taken, reasoning, answered=False)


def _leaves(raw: Mapping[str, Any]) -> Iterator[Any]:
    for value in raw.values():
        yield from _leaves(value) if isinstance(value, dict) else (value,)


def _count(value: Any) -> int | None:
    """Return a token count, or None when it is not one."""
    if type(value) is int and 0 <= value <= MOST_TOKENS:
        return value
    return None


def _optional(value: Any) -> tuple[int | None, bool]:
    """Return a count that may be missing, and whether what is there makes sense."""
    count = _count(value)
    return count, value is None or count is not None


def _inner(raw: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        value = raw.get(name)
        if isinstance(value, dict):
            return value
    return _EMPTY


def _consistent(
    prompt: int | None,
    output: int | None,
    cached: int | None,
    written: int | None,
    reasoning: int | None,
    *,
    answered: bool,
) -> Counts:
    """Drop counts that cannot be: a part larger than its whole, an empty prompt, a free answer."""
    if prompt is not None and (prompt == 0 or (cached or 0) + (written or 0) > prompt):
        prompt = cached = written = None
    if output is not None and ((output == 0 and answered) or (reasoning or 0) > output):
        output = reasoning = None
    return prompt, output, cached, written, reasoning


def _usage(counts: Counts) -> Usage:
    prompt, output, cached, written, reasoning = counts
    return Usage(
        input_tokens=prompt,
        output_tokens=output,
        cache_read_input_tokens=cached,
        cache_creation_input_tokens=written,
        reasoning_output_tokens=reasoning,
    )
