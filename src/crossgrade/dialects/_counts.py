"""Token counts under one definition, whatever the provider calls them; a count may be unknown.

`Usage` follows OpenTelemetry: input includes cached tokens, output includes reasoning. Vendors
disagree (Anthropic leaves cached tokens out of `input_tokens`, Gemini leaves thoughts out of
`candidatesTokenCount`, xAI leaves reasoning out of `completion_tokens`), hence one module
each. A count that cannot be right is None, never 0: a false zero would make a call look free.
"""

from typing import Any

import msgspec

from crossgrade.domain import MOST_TOKENS, Usage


class Counts(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one call under the names of `Usage`, in about an eighth of its time. None is unknown."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    reasoning_output_tokens: int | None = None


NO_COUNTS = Counts()
"""Nothing is known."""

EMPTY: dict[str, Any] = {}


def count(value: Any) -> int | None:
    """Return a token count, or None if it is not one."""
    if type(value) is int and 0 <= value <= MOST_TOKENS:
        return value
    return None


def optional(value: Any) -> tuple[int | None, bool]:
    """Return a count that may be missing, and whether the given value is valid."""
    found = count(value)
    return found, value is None or found is not None


def inner(raw: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the first object among these fields, or `EMPTY` if there is none."""
    for name in names:
        value = raw.get(name)
        if isinstance(value, dict):
            return value
    return EMPTY


def consistent(
    prompt: int | None,
    output: int | None,
    cached: int | None,
    written: int | None,
    reasoning: int | None,
    *,
    answered: bool,
) -> Counts:
    """Return the counts without impossible ones.

    These are a part larger than its whole, an empty prompt or answer, and a sum beyond `MOST_TOKENS`.
    """
    if prompt is not None and (not 0 < prompt <= MOST_TOKENS or (cached or 0) + (written or 0) > prompt):
        prompt = cached = written = None
    if output is not None and (
        (output == 0 and answered) or output > MOST_TOKENS or (reasoning or 0) > output
    ):
        output = reasoning = None
    return Counts(prompt, output, cached, written, reasoning)


def usage_of(counts: Counts) -> Usage:
    """Return counts as a `Usage`."""
    return Usage(
        input_tokens=counts.input_tokens,
        output_tokens=counts.output_tokens,
        cache_read_input_tokens=counts.cache_read_input_tokens,
        cache_creation_input_tokens=counts.cache_creation_input_tokens,
        reasoning_output_tokens=counts.reasoning_output_tokens,
    )
