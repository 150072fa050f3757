"""Langfuse, LangSmith and Helicone: what tools that watch requests export."""

import re
from collections.abc import Mapping
from typing import Any

from crossgrade.workloads.traffic.chat import take_answer, take_request, take_response, take_usage, usage_of
from crossgrade.workloads.traffic.request import (
    LoggedRequest,
    count,
    dollars,
    elapsed,
    first_text,
    listing,
    mapping,
    moment,
    number,
    seconds,
    text,
)

_STATUS = re.compile(r"\b([45]\d\d)\b")


def langfuse(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest | None:
    """Read an observation; only calls of models are requests. Counts leave out cached and reasoning."""
    if row.get("type") not in ("GENERATION", "EMBEDDING"):
        return None
    metadata, usage = mapping(row.get("metadata")), mapping(row.get("usage_details"))
    start, tags = moment(row.get("start_time")), listing(row.get("tags"))
    failed = row.get("level") == "ERROR"
    found = LoggedRequest(
        format="langfuse",
        id=first_text(metadata.get("request_id"), row.get("id")),
        started_at=start,
        latency_s=elapsed(start, moment(row.get("end_time"))),
        ttft_s=elapsed(start, moment(row.get("completion_start_time"))),
        status=_status(failed, row.get("status_message")),
        failed=failed,
        model=text(row.get("provided_model_name")),
        call="embedding" if row["type"] == "EMBEDDING" else None,
        route=first_text(tags[0] if tags else None, row.get("trace_name")),
        user=text(row.get("user_id")),
        session=text(row.get("session_id")),
        cost_usd=dollars(mapping(row.get("cost_details")).get("total")),
    )
    fresh = count(usage.get("input"))
    found.cached = count(usage.get("input_cached_tokens", usage.get("cache_read_input_tokens")))
    found.cache_written = count(usage.get("cache_creation_input_tokens"))
    if fresh is not None:
        found.input = count(fresh + (found.cached or 0) + (found.cache_written or 0))
    said = count(usage.get("output"))
    found.reasoning = count(usage.get("output_reasoning_tokens"))
    if said is not None:
        found.output = count(said + (found.reasoning or 0))
    take_request(found, mapping(row.get("model_parameters")))
    if texts:
        asked = row.get("input")
        found.messages = listing(asked) or found.messages
        take_request(found, mapping(asked))
        take_answer(found, mapping(row.get("output")))
    return found


def langsmith(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest | None:
    """Read a run; chains and tools around the call of a model are not requests. Times are UTC."""
    if row.get("run_type") != "llm":
        return None
    extra = mapping(row.get("extra"))
    settings, metadata = mapping(extra.get("invocation_params")), mapping(extra.get("metadata"))
    start, tags = moment(row.get("start_time")), listing(row.get("tags"))
    failed = bool(row.get("error")) or row.get("status") == "error"
    found = LoggedRequest(
        format="langsmith",
        id=first_text(metadata.get("request_id"), row.get("id")),
        started_at=start,
        latency_s=elapsed(start, moment(row.get("end_time"))),
        ttft_s=elapsed(start, moment(row.get("first_token_time"))),
        status=_status(failed, row.get("error")),
        failed=failed,
        model=first_text(metadata.get("ls_model_name"), settings.get("model")),
        provider=text(metadata.get("ls_provider")),
        input=count(row.get("prompt_tokens")),
        output=count(row.get("completion_tokens")),
        cached=count(mapping(row.get("prompt_token_details")).get("cache_read")),
        reasoning=count(mapping(row.get("completion_token_details")).get("reasoning")),
        cost_usd=dollars(row.get("total_cost")),
        route=first_text(metadata.get("route"), metadata.get("team"), tags[0] if tags else None),
        user=text(metadata.get("user_id")),
        session=first_text(metadata.get("session_id"), metadata.get("thread_id")),
    )
    take_request(found, settings)
    if texts:
        take_request(found, mapping(row.get("inputs")))
        take_response(found, mapping(row.get("outputs")))
    return found


def helicone(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    """Read an exported request; bodies are there only where the export had them."""
    properties = mapping(row.get("request_properties"))
    status = number(row.get("response_status"))
    body = mapping(row.get("request_body"))
    found = LoggedRequest(
        format="helicone",
        id=text(row.get("request_id")),
        started_at=moment(row.get("request_created_at")),
        latency_s=elapsed(moment(row.get("request_created_at")), moment(row.get("response_created_at"))),
        ttft_s=seconds(row.get("time_to_first_token")),
        status=None if status is None else int(status),
        failed=None if status is None else status >= 400,
        model=first_text(row.get("response_model"), row.get("request_model")),
        provider=(text(row.get("provider")) or "").lower() or None,
        input=count(row.get("prompt_tokens")),
        cached=count(row.get("prompt_cache_read_tokens")),
        cache_written=count(row.get("prompt_cache_write_tokens")),
        output=count(row.get("completion_tokens")),
        reasoning=count(row.get("reasoning_tokens")),
        cost_usd=dollars(row.get("costUSD", row.get("cost"))),
        route=first_text(properties.get("route"), properties.get("team"), properties.get("app")),
        user=text(row.get("request_user_id")),
        session=text(properties.get("Helicone-Session-Id")),
    )
    if found.latency_s is None:
        found.latency_s = seconds(row.get("delay_ms"))
    settings = body if texts else {key: value for key, value in body.items() if key != "messages"}
    take_request(found, settings)
    if texts:
        take_response(found, mapping(row.get("response_body")))
    elif found.input is None:
        take_usage(found, usage_of(mapping(row.get("response_body"))))
    return found


def _status(failed: bool, message: Any) -> int | None:  # noqa: FBT001 -- whether it failed is the subject
    if not failed:
        return 200
    code = _STATUS.search(message) if isinstance(message, str) else None
    return int(code[1]) if code else None
