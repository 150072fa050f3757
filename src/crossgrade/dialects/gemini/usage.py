"""Reads the usage of a Gemini answer."""

from typing import Any

from crossgrade.dialects._counts import NO_COUNTS, Counts, consistent, count, optional, usage_of
from crossgrade.domain import Usage


def gemini_usage(raw: Any, *, answered: bool = True) -> Usage:
    """Read `usageMetadata` of Gemini, which omits zero counts and counts thoughts separately."""
    return usage_of(gemini_counts(raw, answered=answered))


def gemini_counts(raw: Any, *, answered: bool = True) -> Counts:
    """Read the counts of `gemini_usage` without making a `Usage`."""
    if not isinstance(raw, dict):
        return NO_COUNTS
    parts = [
        optional(raw.get(name))
        for name in ("toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    ]
    tools, candidates, thoughts = (count for count, _ in parts)
    prompt = count(raw.get("promptTokenCount"))
    sane = prompt is not None and all(is_sane for _, is_sane in parts)
    return consistent(
        (prompt or 0) + (tools or 0) if sane else None,
        (candidates or 0) + (thoughts or 0) if sane else None,
        count(raw.get("cachedContentTokenCount")),
        None,
        thoughts,
        answered=answered,
    )
