"""OpenTelemetry GenAI spans as OTLP JSON, by the conventions up to 1.36 and from 1.37 on."""

from collections.abc import Iterator, Mapping
from typing import Any

from crossgrade.workloads.traffic.request import (
    LoggedRequest,
    count,
    elapsed,
    first_text,
    listing,
    mapping,
    moment,
    number,
    text,
)

_VALUES = ("stringValue", "intValue", "doubleValue", "boolValue")
_CACHED = "gen_ai.usage.cache_read.input_tokens"
_WRITTEN = "gen_ai.usage.cache_creation.input_tokens"
_REASONED = "gen_ai.usage.reasoning.output_tokens"
_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_MODEL_CALLS = {"chat", "text_completion", "generate_content", "embeddings", None}


def spans(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the spans of an export."""
    for resource in listing(document.get("resourceSpans")) or ():
        for scope in listing(mapping(resource).get("scopeSpans")) or ():
            for span in listing(mapping(scope).get("spans")) or ():
                if isinstance(span, dict):
                    yield span


def span(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest | None:
    """Read a span; one that is no call of a model is no request."""
    facts = _attributes(row.get("attributes"))
    operation = facts.get("gen_ai.operation.name")
    model = first_text(facts.get("gen_ai.response.model"), facts.get("gen_ai.request.model"))
    if model is None or operation not in _MODEL_CALLS:
        return None
    start = moment(row.get("startTimeUnixNano"))
    state = mapping(row.get("status"))
    failed = state.get("code") in {2, "STATUS_CODE_ERROR"} or "error.type" in facts
    stream = facts.get("gen_ai.request.stream")
    found = LoggedRequest(
        format="otel-genai",
        id=first_text(facts.get("request.id"), facts.get("gen_ai.response.id"), row.get("spanId")),
        started_at=start,
        latency_s=elapsed(start, moment(row.get("endTimeUnixNano"))),
        ttft_s=number(facts.get("gen_ai.response.time_to_first_chunk")),
        status=_status(facts) if failed else 200,
        failed=failed,
        stream=stream if isinstance(stream, bool) else None,
        model=model,
        call=text(operation),
        provider=first_text(facts.get("gen_ai.provider.name"), facts.get("gen_ai.system")),
        input=count(facts.get("gen_ai.usage.input_tokens", facts.get("gen_ai.usage.prompt_tokens"))),
        output=count(facts.get("gen_ai.usage.output_tokens", facts.get("gen_ai.usage.completion_tokens"))),
        cached=count(facts.get(_CACHED)),
        cache_written=count(facts.get(_WRITTEN)),
        reasoning=count(facts.get(_REASONED)),
        temperature=number(facts.get("gen_ai.request.temperature")),
        max_tokens=count(facts.get("gen_ai.request.max_tokens")),
        route=first_text(facts.get("route"), facts.get("team.id"), facts.get("service.name")),
        user=first_text(facts.get("user.id"), facts.get("enduser.id")),
        session=text(facts.get("gen_ai.conversation.id")),
    )
    if texts:
        _take_events(found, row)
        _take_messages(found, facts)
    return found


def _status(facts: Mapping[str, Any]) -> int | None:
    code = number(facts.get("http.response.status_code", facts.get("error.type")))
    return None if code is None else int(code)


def _attributes(value: Any) -> dict[str, Any]:
    facts = {}
    for each in listing(value) or ():
        if isinstance(each, dict) and isinstance(name := each.get("key"), str):
            held = mapping(each.get("value"))
            facts[name] = next((held[kind] for kind in _VALUES if kind in held), None)
    return facts


def _take_events(found: LoggedRequest, row: Mapping[str, Any]) -> None:
    """Take messages from events, as the conventions up to 1.36 have them."""
    messages: list[Any] = []
    for event in listing(row.get("events")) or ():
        name = mapping(event).get("name")
        facts = _attributes(mapping(event).get("attributes"))
        if name in _ROLES:
            messages.append({"role": _ROLES[str(name)], "content": facts.get("content")})
        elif name == "gen_ai.choice":
            message = mapping(facts.get("message"))
            found.completion = text(message.get("content")) or found.completion
            found.tool_calls = listing(message.get("tool_calls")) or found.tool_calls
    found.messages = messages or None


def _take_messages(found: LoggedRequest, facts: Mapping[str, Any]) -> None:
    """Take messages from attributes, as the conventions from 1.37 on have them."""
    messages: list[Any] = []
    system = _parts(listing(facts.get("gen_ai.system_instructions")))[0]
    if system is not None:
        messages.append({"role": "system", "content": system})
    for each in listing(facts.get("gen_ai.input.messages")) or ():
        message = mapping(each)
        messages.append({"role": message.get("role"), "content": _parts(listing(message.get("parts")))[0]})
    found.messages = messages or found.messages
    for each in listing(facts.get("gen_ai.output.messages")) or ():
        said, calls = _parts(listing(mapping(each).get("parts")))
        found.completion, found.tool_calls = said, calls or None
        found.finish_reason = text(mapping(each).get("finish_reason"))


def _parts(parts: list[Any] | None) -> tuple[str | None, list[Any]]:
    """Return the text of a message's parts, and its calls of tools."""
    texts, calls = [], []
    for part in parts or ():
        each = mapping(part)
        if each.get("type") == "tool_call":
            calls.append(
                {
                    "id": each.get("id"),
                    "type": "function",
                    "function": {"name": each.get("name"), "arguments": each.get("arguments")},
                }
            )
        elif isinstance(content := each.get("content"), str):
            texts.append(content)
    return ("\n".join(texts) if texts else None), calls
