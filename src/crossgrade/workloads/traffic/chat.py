"""OpenAI's chat bodies inside log records: what was asked, what came back, what it used."""

from collections.abc import Mapping
from typing import Any

from crossgrade.dialects import USAGE_FIELDS, logged_counts, strict_counts
from crossgrade.workloads.traffic.request import (
    LoggedRequest,
    count,
    listing,
    mapping,
    number,
    text,
)

_COUNTS = ("_tokens", "TokenCount")


def take_request(into: LoggedRequest, body: Mapping[str, Any]) -> None:
    """Take messages, tools and settings from a request's body."""
    if not body:
        return
    into.body = body if into.body is None else {**into.body, **body}
    into.messages = listing(body.get("messages")) or listing(body.get("input")) or into.messages
    system = body.get("system") or body.get("instructions")
    if into.messages is not None and isinstance(system, str):
        into.messages = [{"role": "system", "content": system}, *into.messages]
    into.tools = listing(body.get("tools")) or into.tools
    into.response_format = body.get("response_format") or into.response_format
    into.temperature = number(body.get("temperature")) if "temperature" in body else into.temperature
    into.max_tokens = count(body.get("max_tokens") or body.get("max_completion_tokens")) or into.max_tokens
    stream = body.get("stream")
    if isinstance(stream, bool):
        into.stream = stream
    into.model = into.model or text(body.get("model"))


def take_response(into: LoggedRequest, body: Mapping[str, Any]) -> None:
    """Take the answer, and usage where nothing is known of it, from a response's body."""
    choices = listing(body.get("choices"))
    if choices:
        choice = mapping(choices[0])
        take_answer(into, mapping(choice.get("message")))
        into.finish_reason = text(choice.get("finish_reason")) or into.finish_reason
    if into.input is None:
        take_usage(into, usage_of(body))


def take_answer(into: LoggedRequest, message: Mapping[str, Any]) -> None:
    """Take an assistant's message: a text, or calls of tools."""
    if not message:
        return
    content = message.get("content")
    into.completion = content if isinstance(content, str) else plain(content)
    into.tool_calls = listing(message.get("tool_calls")) or into.tool_calls


def take_usage(into: LoggedRequest, usage: Mapping[str, Any]) -> None:
    """Take usage in any provider's names. Raises `BadValueError` for a count that cannot be."""
    if not usage:
        return
    counts = strict_counts(usage)
    if counts is None:
        inner = {name: _counts(mapping(value)) for name, value in usage.items() if name.endswith("_details")}
        counts = logged_counts(_counts(usage) | inner)
    into.input, into.output = counts.input_tokens, counts.output_tokens
    into.cached, into.cache_written = counts.cache_read_input_tokens, counts.cache_creation_input_tokens
    into.reasoning = counts.reasoning_output_tokens


def _counts(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts of an object, also those written as text."""
    return {name: count(value) for name, value in usage.items() if name.endswith(_COUNTS)}


def usage_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the usage object of an answer's body, of any provider."""
    return mapping(next((body[name] for name in USAGE_FIELDS if body.get(name)), None))


def plain(content: Any) -> str | None:
    """Return the text of a message's content, of which parts may be texts, images and others."""
    if isinstance(content, str):
        return content
    parts = listing(content)
    if parts is None:
        return None
    texts = [
        found
        for part in parts
        if isinstance(part, dict)
        and isinstance(found := part.get("text") or part.get("content") or "", str)
        and found
    ]
    return "\n".join(texts) or None


def role_of(message: Any) -> str | None:
    """Return a message's role; None if it has none, or one that is no text."""
    role = message.get("role") if isinstance(message, dict) else None
    return role if isinstance(role, str) else None


def tool_names(tools: list[Any]) -> tuple[str, ...]:
    """Return the sorted names of the tools that a request offers."""
    names = set()
    for tool in tools[:200]:
        inner = mapping(tool).get("function", tool)
        name = mapping(inner).get("name")
        if isinstance(name, str):
            names.add(name[:80])
    return tuple(sorted(names))
