"""What an application logs itself: a call's request and response, a response alone; Bedrock; OpenRouter."""

from collections.abc import Mapping
from typing import Any

from crossgrade.workloads.traffic.chat import plain, take_request, take_response, take_usage, usage_of
from crossgrade.workloads.traffic.formats import tables
from crossgrade.workloads.traffic.request import (
    LoggedRequest,
    call_of,
    count,
    dollars,
    first_text,
    listing,
    mapping,
    moment,
    number,
    seconds,
    text,
)

_ENDED = {
    "FINISH": "stop",
    "LENGTH": "length",
    "CONTENT_FILTERED": "content_filter",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "tool_use": "tool_calls",
}
_LENGTHS = ("max_tokens", "max_gen_len", "maxTokens", "max_new_tokens", "maxTokenCount")
_TEXTS = ("messages", "input", "system", "instructions", "prompt")
_TIMES = ("timestamp", "started_at", "created_at", "time", "at")


def call(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    """Read a record of one call: `request` and `response` are the bodies, of any of the APIs."""
    asked, answered = mapping(row.get("request")), mapping(row.get("response"))
    asked, answered = (_body(each) for each in (asked, answered))
    if not asked and not answered:  # columns of a table
        return tables.row(row, texts=texts)
    outer = mapping(row.get("response"))
    state = number(next((one for one in (row.get("status_code"), outer.get("status_code")) if one), None))
    failed = bool(answered.get("error") or row.get("error")) or (state is not None and state >= 400)
    metadata = mapping(row.get("metadata"))
    found = LoggedRequest(
        format="api-call",
        id=first_text(row.get("request_id"), row.get("id"), answered.get("id")),
        started_at=moment(next((row[name] for name in _TIMES if row.get(name)), None) or _created(answered)),
        latency_s=seconds(row.get("latency_ms", row.get("duration_ms"))),
        status=(None if state is None else int(state)) if failed or state is not None else 200,
        failed=failed,
        model=first_text(answered.get("model"), asked.get("model"), row.get("model")),
        provider=first_text(row.get("provider"), _provider(answered)),
        cost_usd=dollars(row.get("cost_usd")),
        route=first_text(*(each.get(name) for each in (row, metadata) for name in ("route", "team", "app"))),
        user=first_text(row.get("user"), metadata.get("user"), asked.get("user")),
        session=first_text(row.get("session_id"), metadata.get("session"), row.get("conversation_id")),
    )
    _take(found, asked, answered, texts=texts)
    return found


def response(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    """Read a response of OpenAI's Responses API, or a message of Anthropic's, logged by itself."""
    metadata = mapping(row.get("metadata"))
    failed = bool(row.get("error")) or row.get("status") == "failed"
    found = LoggedRequest(
        format="api-response",
        id=text(row.get("id")),
        started_at=moment(_created(row)),
        status=None if failed else 200,
        failed=failed,
        model=text(row.get("model")),
        provider=_provider(row),
        route=first_text(metadata.get("route"), metadata.get("team"), metadata.get("app")),
        user=first_text(metadata.get("user"), row.get("user")),
        session=first_text(metadata.get("session"), metadata.get("conversation")),
    )
    _take(found, row, row, texts=texts)
    return found


def bedrock(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    """Read a model invocation log of Bedrock, whose count of input tokens leaves out the cache.

    The body of InvokeModel is the model's own: Anthropic's and Nova's have messages, Llama's, Mistral's and
    Titan's one prompt. A stream is logged as the list of its events.
    """
    given, got = mapping(row.get("input")), mapping(row.get("output"))
    asked, answered = mapping(given.get("inputBodyJson")), mapping(got.get("outputBodyJson"))
    metadata = mapping(row.get("requestMetadata"))
    failed = bool(row.get("errorCode"))
    found = LoggedRequest(
        format="bedrock",
        id=text(row.get("requestId")),
        started_at=moment(row.get("timestamp")),
        latency_s=seconds(mapping(answered.get("metrics")).get("latencyMs")),
        status=None if failed else 200,
        failed=failed,
        stream="Stream" in str(row.get("operation")),
        model=str(row.get("modelId") or "").rpartition("/")[2] or None,  # of an ARN the last part
        provider="bedrock",
        route=first_text(*(metadata.get(name) for name in ("route", "team", "app")), _role(row)),
        user=text(metadata.get("user")),
    )
    settings = mapping(asked.get("inferenceConfig")) or mapping(asked.get("textGenerationConfig"))
    tools = mapping(asked.get("toolConfig")).get("tools")
    inner = {
        **asked,
        "messages": [_typed(each) for each in listing(asked.get("messages")) or ()],
        "max_tokens": next((asked[name] for name in _LENGTHS if asked.get(name)), None)
        or next((settings[name] for name in _LENGTHS if settings.get(name)), None),
        "temperature": asked.get("temperature", settings.get("temperature")),
        "tools": asked.get("tools") or tools,
    }
    prompt = first_text(asked.get("prompt"), asked.get("inputText"))
    if prompt is not None and call_of(None, found.model, batch=False) == "chat":
        found.call = "text_completion"
        inner["messages"] = [{"role": "user", "content": prompt}]
    pieces = listing(got.get("outputBodyJson")) or [answered]
    said = [piece for each in pieces if (piece := _piece(mapping(each)))]
    if said:
        answered = {
            "content": [{"type": "text", "text": "".join(each for each, _ in said)}],
            "stop_reason": next((reason for _, reason in reversed(said) if reason), None),
        }
    _take(found, inner, answered, texts=texts)
    counts = {
        "input_tokens": given.get("inputTokenCount"),
        "cache_read_input_tokens": given.get("cacheReadInputTokenCount"),
        "cache_creation_input_tokens": given.get("cacheWriteInputTokenCount"),
        "output_tokens": got.get("outputTokenCount"),
    }
    if counts["input_tokens"] is not None:
        take_usage(found, counts)
    return found


def openrouter(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:  # noqa: ARG001 -- it has none
    """Read a row of OpenRouter's activity, one request or the sum of a day, or of its generations."""

    def named(*names: str) -> Any:
        return next((row[name] for name in names if row.get(name) not in {None, ""}), None)

    return LoggedRequest(
        format="openrouter",
        id=first_text(row.get("generation_id"), row.get("id")),
        started_at=moment(named("created_at", "date")),
        latency_s=seconds(named("generation_time_ms", "generation_time")),
        ttft_s=seconds(row.get("time_to_first_token_ms")),
        model=first_text(row.get("model_permaslug"), row.get("model")),
        provider="openrouter",
        input=count(named("native_tokens_prompt", "tokens_prompt", "prompt_tokens")),
        cached=count(named("native_tokens_cached", "tokens_cached")),
        output=count(named("native_tokens_completion", "tokens_completion", "completion_tokens")),
        reasoning=count(named("native_tokens_reasoning", "tokens_reasoning", "reasoning_tokens")),
        cost_usd=dollars(named("cost_total", "total_cost", "usage")),
        route=first_text(row.get("app_name"), row.get("api_key_name")),
        user=first_text(row.get("user"), row.get("external_user")),
        finish_reason=first_text(row.get("finish_reason_normalized"), row.get("finish_reason")),
        calls=count(row.get("requests")),
        stream={"true": True, "false": False}.get(str(row.get("streamed")).lower()),
    )


def _typed(message: Any) -> Any:
    """Return a message whose parts have a type, as everywhere but in Converse."""
    parts = listing(mapping(message).get("content"))
    if parts is None:
        return message
    named = [{"type": next(iter(part), ""), **part} if isinstance(part, dict) else part for part in parts]
    return {**message, "content": named}


def _body(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body of a request or response that is logged with its URL, headers or status."""
    return mapping(part.get("body")) or part


def _created(body: Mapping[str, Any]) -> Any:
    return body.get("created_at") or body.get("created")


def _provider(body: Mapping[str, Any]) -> str | None:
    if body.get("object") == "response":
        return "openai"
    return "anthropic" if body.get("type") == "message" else None


def _role(row: Mapping[str, Any]) -> str | None:
    """Return the role or user that called, without the session of an assumed role."""
    parts = str(mapping(row.get("identity")).get("arn") or "").split("/")
    return parts[1] if len(parts) > 1 else None


def _take(found: LoggedRequest, asked: Mapping[str, Any], got: Mapping[str, Any], *, texts: bool) -> None:
    """Take what the bodies of a request and a response say, by the names of OpenAI, Anthropic or Bedrock."""
    body = {name: value for name, value in asked.items() if texts or name not in _TEXTS}
    if isinstance(body.get("input"), str):
        body["input"] = [{"role": "user", "content": body["input"]}]
    for name in ("system", "instructions"):
        if body.get(name) is not None:
            body[name] = plain(body[name])
    if "max_output_tokens" in body:
        body["max_tokens"] = body["max_output_tokens"]
    if schema := mapping(mapping(body.get("text")).get("format")):
        body["response_format"] = {"type": schema.get("type"), "json_schema": schema}
    take_request(found, body)
    found.body = asked
    if texts:
        take_response(found, got)
        _take_parts(found, got)
    elif found.input is None:
        take_usage(found, usage_of(got))
    incomplete = mapping(got.get("incomplete_details")).get("reason")
    reason = first_text(got.get("stop_reason"), got.get("stopReason"), incomplete)
    if reason is None and "output" in got:
        reason = text(got.get("status"))
    if reason is not None:
        found.finish_reason = _ENDED.get(reason, reason)


def _take_parts(found: LoggedRequest, got: Mapping[str, Any]) -> None:
    """Take the parts of an answer: Anthropic's and Converse's content, the items of the Responses API."""
    converse = mapping(mapping(got.get("output")).get("message")).get("content")
    parts: list[Any] = []
    for item in listing(got.get("content")) or listing(converse) or listing(got.get("output")) or ():
        parts += listing(mapping(item).get("content")) or [item]
    calls = [
        {"function": {"name": tool.get("name"), "arguments": tool.get("arguments") or tool.get("input")}}
        for part in map(mapping, parts)
        if (tool := mapping(part.get("toolUse")) or part).get("name")
    ]
    texts = [mapping(part) for part in parts if mapping(part).get("type") not in ("reasoning", "thinking")]
    if parts:
        found.completion, found.tool_calls = plain(texts), calls or None


def _piece(body: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """Return the text and the reason to stop of an event of Bedrock, or of an answer to one prompt.

    None if it has neither, as the answers that hold a message do.
    """
    delta = mapping(body.get("delta")) or mapping(mapping(body.get("contentBlockDelta")).get("delta"))
    first = next(map(mapping, listing(body.get("outputs")) or listing(body.get("results")) or ()), delta)
    ended = mapping(body.get("messageStop"))
    said = first_text(
        first.get("text"), first.get("outputText"), body.get("generation"), body.get("outputText")
    )
    reason = first_text(
        first.get("stop_reason"),
        first.get("completionReason"),
        ended.get("stopReason"),
        body.get("completionReason"),
        body.get("stop_reason") if "generation" in body else None,
    )
    return (said or "", reason) if said or reason else None
