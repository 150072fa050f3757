"""Portkey, Cloudflare AI Gateway, Azure API Management, and the gateway's own request log."""

from collections.abc import Iterable, Mapping
from typing import Any

from crossgrade.workloads.traffic.chat import take_request, take_response, take_usage, usage_of
from crossgrade.workloads.traffic.request import (
    LoggedRequest,
    count,
    dollars,
    first_text,
    mapping,
    moment,
    number,
    seconds,
    text,
)


def portkey(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    """Read a log line; `cost` is in cents unless the line says dollars, other currencies are unknown."""
    metadata, body = mapping(row.get("metadata")), mapping(row.get("request"))
    status, cost = number(row.get("response_status_code")), dollars(row.get("cost"))
    currency = str(row.get("cost_currency") or "USD_cents").lower()
    scale = {"usd_cents": 100, "usd": 1}.get(currency)
    found = LoggedRequest(
        format="portkey",
        id=text(row.get("id")),
        started_at=moment(row.get("created_at")),
        latency_s=seconds(row.get("response_time")),
        status=None if status is None else int(status),
        failed=None if status is None else status >= 400,
        model=text(row.get("ai_model")),
        provider=text(row.get("ai_org")),
        input=count(row.get("req_units")),
        output=count(row.get("res_units")),
        cost_usd=None if cost is None or scale is None else cost / scale,
        route=first_text(metadata.get("route"), metadata.get("team"), metadata.get("app")),
        user=text(metadata.get("_user")),
        session=text(row.get("trace_id")),
    )
    response = mapping(row.get("response"))
    _detail(found, response)
    settings = body if texts else {key: value for key, value in body.items() if key != "messages"}
    take_request(found, settings)
    if texts:
        take_response(found, response)
    return found


def cloudflare(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:  # noqa: ARG001 -- its list has none
    """Read an entry of the log list, which carries no text."""
    metadata = mapping(row.get("metadata"))
    status, succeeded = number(row.get("status_code")), row.get("success")
    return LoggedRequest(
        format="cloudflare",
        id=text(row.get("id")),
        started_at=moment(row.get("created_at")),
        latency_s=seconds(row.get("duration")),
        status=None if status is None else int(status),
        failed=not succeeded if isinstance(succeeded, bool) else None,
        model=text(row.get("model")),
        provider=text(row.get("provider")),
        input=count(row.get("tokens_in")),
        output=count(row.get("tokens_out")),
        cost_usd=dollars(row.get("cost")),
        route=first_text(metadata.get("route"), metadata.get("team"), metadata.get("app")),
        user=text(metadata.get("user")),
        session=text(metadata.get("session")),
    )


def own_record(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest | None:  # noqa: ARG001 -- it has none
    """Read a line of the gateway's request log; shadows' copies are its own doing, no traffic."""
    if row.get("shadow"):
        return None
    status = number(row.get("status"))
    return LoggedRequest(
        format="crossgrade",
        id=text(row.get("id")),
        started_at=moment(row.get("at")),
        latency_s=seconds(row.get("latency_ms")),
        ttft_s=seconds(row.get("ttft_ms")),
        status=None if not status else int(status),
        failed=None if not status else status >= 400,
        stream=bool(row.get("stream", False)),
        model=text(row.get("model")),
        input=count(row.get("input_tokens")),
        output=count(row.get("output_tokens")),
        cached=count(row.get("cache_read_input_tokens")),
        cache_written=count(row.get("cache_creation_input_tokens")),
        reasoning=count(row.get("reasoning_output_tokens")),
        cost_usd=dollars(row.get("cost_usd")),
        route=first_text(row.get("route"), row.get("team"), row.get("key")),
        session=text(row.get("run")),
    )


def azure(rows: Iterable[Mapping[str, Any]], *, texts: bool) -> LoggedRequest:
    """Put one request together again from the rows over which API Management splits its texts."""
    parts = sorted(rows, key=lambda row: number(row.get("SequenceNumber")) or 0)
    head = parts[0]
    asked = "".join(text(row.get("RequestMessages")) or "" for row in parts)
    answered = "".join(text(row.get("ResponseMessages")) or "" for row in parts)
    stream = head.get("IsStreamCompletion")
    found = LoggedRequest(
        format="azure-apim",
        id=text(head.get("CorrelationId")),
        started_at=moment(head.get("TimeGenerated")),
        model=first_text(head.get("ModelName"), head.get("DeploymentName")),
        provider="azure",
        input=_most(parts, "PromptTokens"),
        output=_most(parts, "CompletionTokens"),
        stream=stream if isinstance(stream, bool) else None,
        route=first_text(head.get("SubscriptionId"), head.get("ApiId")),
    )
    if texts:
        take_request(found, mapping(asked))
        body = mapping(answered)
        take_response(found, body)
    _detail(found, mapping(answered))
    return found


def _detail(into: LoggedRequest, answer: Mapping[str, Any]) -> None:
    """Take usage from an answer's body, which says more than the counts of a gateway's own columns."""
    logged = into.input, into.output
    take_usage(into, usage_of(answer))
    if into.input is None or into.output is None:
        into.input, into.output = logged


def azure_outcome(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:  # noqa: ARG001 -- it has none
    """Read a row of `ApiManagementGatewayLogs`: how the request of the same correlation id ended."""
    status = number(row.get("ResponseCode"))
    return LoggedRequest(
        format="azure-apim",
        id=text(row.get("CorrelationId")),
        started_at=moment(row.get("TimeGenerated")),
        latency_s=seconds(row.get("TotalTime")),
        status=None if status is None else int(status),
        failed=None if status is None else status >= 400,
    )


def _most(parts: list[Mapping[str, Any]], name: str) -> int | None:
    counts = [found for row in parts if (found := count(row.get(name))) is not None]
    return max(counts, default=None)
