"""LiteLLM: rows of `LiteLLM_SpendLogs`, and the standard logging payload of its callbacks."""

from collections.abc import Mapping
from typing import Any

from crossgrade.workloads.traffic.chat import take_request, take_response, take_usage
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
    text,
)


def spend_log(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    """Read a row of the spend log; what is an object stands there as JSON in a string."""
    metadata = mapping(row.get("metadata"))
    found = _row(row, "litellm-spend", metadata)
    found.cost_usd = dollars(row.get("spend"))
    found.route = first_text(
        metadata.get("user_api_key_team_alias"), row.get("team_id"), _tag(row), row.get("api_key")
    )
    found.user = first_text(row.get("end_user"), row.get("user"))
    if texts:
        take_request(found, mapping(row.get("proxy_server_request")))
        found.messages = found.messages or listing(row.get("messages"))
        take_response(found, mapping(row.get("response")))
    _outcome(found, row, mapping(metadata.get("error_information")))
    _first_token(found, row)
    return found


def standard_log(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    """Read a standard logging payload."""
    metadata = mapping(row.get("metadata"))
    found = _row(row, "litellm-standard", metadata)
    found.cost_usd = dollars(row.get("response_cost"))
    found.route = first_text(
        metadata.get("user_api_key_team_alias"),
        metadata.get("user_api_key_team_id"),
        _tag(row),
        metadata.get("user_api_key_alias"),
        metadata.get("user_api_key_hash"),
    )
    found.user = first_text(row.get("end_user"), metadata.get("user_api_key_user_id"))
    take_request(found, mapping(row.get("model_parameters")))
    if isinstance(row.get("stream"), bool):
        found.stream = row["stream"]
    if texts:
        found.messages = listing(row.get("messages"))
        take_response(found, mapping(row.get("response")))
    _outcome(found, row, mapping(row.get("error_information")))
    _first_token(found, row)
    return found


def _row(row: Mapping[str, Any], name: str, metadata: Mapping[str, Any]) -> LoggedRequest:
    start = moment(row.get("startTime"))
    found = LoggedRequest(
        format=name,
        id=first_text(row.get("request_id"), row.get("id")),
        started_at=start,
        latency_s=elapsed(start, moment(row.get("endTime"))),
        model=text(row.get("model")),
        call=text(row.get("call_type")),
        provider=text(row.get("custom_llm_provider")),
        session=first_text(row.get("session_id"), row.get("trace_id")),
    )
    take_usage(found, mapping(metadata.get("usage_object")))
    if found.input is None:
        found.input, found.output = count(row.get("prompt_tokens")), count(row.get("completion_tokens"))
    return found


def _tag(row: Mapping[str, Any]) -> str | None:
    tags = listing(row.get("request_tags"))
    return text(tags[0]) if tags else None


def _outcome(found: LoggedRequest, row: Mapping[str, Any], error: Mapping[str, Any]) -> None:
    state = row.get("status") or mapping(row.get("metadata")).get("status")
    if state is None and error:
        state = "failure"
    if state == "success":
        found.status, found.failed = 200, False
    elif state == "failure":
        code = number(error.get("error_code"))
        found.status, found.failed = (None if code is None else int(code)), True


def _first_token(found: LoggedRequest, row: Mapping[str, Any]) -> None:
    """Take the time to the first token; LiteLLM writes the end there where nothing was streamed."""
    if found.stream is False or found.failed:
        return
    first = elapsed(found.started_at, moment(row.get("completionStartTime")))
    if found.stream or first != found.latency_s:
        found.ttft_s = first
