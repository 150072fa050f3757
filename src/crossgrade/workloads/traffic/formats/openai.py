"""OpenAI: stored completions, the two files of a batch, and the usage export."""

from collections.abc import Mapping
from typing import Any

from crossgrade.workloads.traffic.chat import take_request, take_response, take_usage, usage_of
from crossgrade.workloads.traffic.request import (
    LoggedRequest,
    count,
    elapsed,
    first_text,
    mapping,
    moment,
    number,
    text,
)


def stored_completion(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    """Read a stored completion; only what succeeded is stored, and no time of the end."""
    metadata = mapping(row.get("metadata"))
    found = LoggedRequest(
        format="openai-stored",
        id=first_text(metadata.get("request_id"), row.get("request_id"), row.get("id")),
        started_at=moment(row.get("created")),
        status=200,
        failed=False,
        model=text(row.get("model")),
        provider="openai",
        route=first_text(metadata.get("route"), metadata.get("team"), metadata.get("app")),
        user=first_text(metadata.get("user"), row.get("input_user")),
        session=first_text(metadata.get("session"), metadata.get("conversation")),
        temperature=number(row.get("temperature")),
    )
    take_usage(found, usage_of(row))
    if texts:
        take_request(found, row)
        take_response(found, row)
    return found


def batch_input(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    """Read a line of a batch's input, which its output completes."""
    body = mapping(row.get("body"))
    found = LoggedRequest(
        format="openai-batch-input",
        id=text(row.get("custom_id")),
        model=text(body.get("model")),
        call=text(row.get("url")),
        provider="openai",
        batch=True,
    )
    settings = body if texts else {key: value for key, value in body.items() if key != "messages"}
    take_request(found, settings)
    return found


def batch_output(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    """Read a line of a batch's output or of its error file."""
    response = mapping(row.get("response"))
    body = mapping(response.get("body"))
    status = number(response.get("status_code"))
    failed = bool(row.get("error")) or (status is not None and status >= 400)
    found = LoggedRequest(
        format="openai-batch-output",
        id=text(row.get("custom_id")),
        started_at=moment(body.get("created")),
        status=None if status is None else int(status),
        failed=failed,
        model=text(body.get("model")),
        provider="openai",
        batch=True,
    )
    take_usage(found, usage_of(body))
    if texts:
        take_response(found, body)
    return found


def usage_bucket(row: Mapping[str, Any]) -> list[LoggedRequest]:
    """Read an hour or a day of the usage export: sums, no requests."""
    start, end = moment(row.get("start_time")), moment(row.get("end_time"))
    sums = []
    for result in row.get("results") or ():
        each = mapping(result)
        calls = count(each.get("num_model_requests"))
        if calls:
            sums.append(
                LoggedRequest(
                    format="openai-usage",
                    started_at=start,
                    latency_s=elapsed(start, end),
                    model=text(each.get("model")),
                    call=text(each.get("object")),
                    provider="openai",
                    input=count(each.get("input_tokens")),
                    cached=count(each.get("input_cached_tokens")),
                    output=count(each.get("output_tokens")),
                    route=first_text(each.get("project_id"), each.get("api_key_id")),
                    user=text(each.get("user_id")),
                    batch=each.get("batch") if isinstance(each.get("batch"), bool) else None,
                    calls=calls,
                )
            )
    return sums
