"""OpenAI's chat bodies inside log records: what was asked, what came back, what it used."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from crossgrade.dialects import USAGE_FIELDS, logged_counts
from crossgrade.workloads.traffic.request import (
    ASKABLE,
    LoggedRequest,
    call_of,
    count,
    listing,
    mapping,
    number,
    text,
)

_COUNTS = ("_tokens", "TokenCount")
_MEDIA = frozenset(
    {"image", "image_url", "input_image", "input_audio", "audio", "file", "input_file", "document"}
)


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


def _kind_of(part: Any) -> str | None:
    """Return the type of a message's part; None if it has none, or one that is no text."""
    kind = part.get("type") if isinstance(part, dict) else None
    return kind if isinstance(kind, str) else None


def system_of(messages: list[Any]) -> str | None:
    """Return the system prompt."""
    for message in messages[:2]:
        if role_of(message) in {"system", "developer"}:
            return plain(message.get("content"))
    return None


def question_of(messages: list[Any]) -> str | None:
    """Return the first text of the user, which says what the conversation is about."""
    for message in messages[:8]:
        if role_of(message) == "user":
            return plain(message.get("content"))
    return None


CAUSES = (
    "uses tools",
    "images or files",
    "other roles",
    "no question at its end",
    "no chat",
    "no text in the log",
)
"""Why a request cannot be a sample, by number from 1; 0 is a request that can."""

_ROLES = frozenset({"system", "developer", "user", "assistant"})


def unfit(request: LoggedRequest) -> int:
    """Return why a request cannot be asked again as a conversation of texts: a cause's number, or 0."""
    if call_of(request.call, request.model, batch=bool(request.batch)) not in ASKABLE:
        return 5
    if request.messages is None:
        return len(CAUSES)
    messages = [each for each in request.messages if isinstance(each, dict)]
    roles = {role_of(each) for each in messages}
    if request.tools or is_agentic(request) or "function" in roles:
        return 1
    if any(not isinstance(each.get("content"), str) and _has_more(each.get("content")) for each in messages):
        return 2
    if len(messages) < len(request.messages) or not roles <= _ROLES:
        return 3
    return 0 if roles and role_of(messages[-1]) == "user" and plain(messages[-1].get("content")) else 4


def asked_of(request: LoggedRequest) -> tuple[str | None, list[dict[str, str]], str]:
    """Return a fit request's system prompt, the earlier messages, and the text of the last one."""
    messages = request.messages or []
    system = system_of(messages)
    first = next((at for at, each in enumerate(messages) if each["role"] in {"system", "developer"}), -1)
    earlier = [
        {"role": "system" if each["role"] == "developer" else each["role"], "content": text}
        for at, each in enumerate(messages[:-1])
        if (text := plain(each.get("content"))) and (system is None or at != first)
    ]
    return system, earlier, plain(messages[-1].get("content")) or ""


def _has_more(content: Any) -> bool:
    parts = content if isinstance(content, list) else []
    return any(isinstance(part, dict) and _kind_of(part) not in {"text", "input_text"} for part in parts)


def is_agentic(request: LoggedRequest) -> bool:
    """Return whether the model called tools, or read what they gave."""
    if request.tool_calls:
        return True
    for message in request.messages or ():
        if isinstance(message, dict) and (role_of(message) == "tool" or message.get("tool_calls")):
            return True
    return False


def number_of(text: str) -> int:
    """Return a text's number of 64 bits, with a sign, the same in every process."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def session_of(request: LoggedRequest) -> int:
    """Return a number for the session of a request: even where the log names it, odd where it is inferred.

    Requests with tools or earlier turns whose conversation begins alike, by one user, are of one
    session. 0 is none.
    """
    if request.session:
        return number_of(request.session) & ~1 or 2
    messages = request.messages
    if not messages or not (request.tools or len(messages) > 2):
        return 0
    roles = {role_of(each) for each in messages}
    if question_of(messages) is None or not (request.tools or roles & {"assistant", "tool"}):
        return 0
    return number_of("\0".join(conversation_start(request))) | 1


def shared_head(request: LoggedRequest) -> tuple[int, float]:
    """Return a number for a request's system prompt (0: none), and its share of the messages' characters."""
    messages = request.messages or []
    system = system_of(messages) if messages and isinstance(messages[0], dict) else None
    if not system:
        return 0, 0.0
    total = 0
    for each in messages:
        content = each.get("content") if isinstance(each, dict) else None
        total += len(content) if isinstance(content, str) else len(plain(content) or "")
    return number_of(f"{request.model}\0{system}") | 1, len(system) / max(total, 1)


def conversation_start(request: LoggedRequest) -> tuple[str, ...]:
    """Return what all requests of one conversation begin with: user, route, system prompt, first question."""
    messages = request.messages or []
    first = (system_of(messages) or "")[:400], (question_of(messages) or "")[:2000]
    return (request.user or "", request.route or "", *first)


def has_media(request: LoggedRequest) -> bool:
    """Return whether images, sound or files are part of a request."""
    for message in request.messages or ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and any(_kind_of(part) in _MEDIA for part in content):
            return True
    return False


def tool_names(tools: list[Any]) -> tuple[str, ...]:
    """Return the sorted names of the tools that a request offers."""
    names = set()
    for tool in tools[:200]:
        inner = mapping(tool).get("function", tool)
        name = mapping(inner).get("name")
        if isinstance(name, str):
            names.add(name[:80])
    return tuple(sorted(names))
