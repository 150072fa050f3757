"""Anthropic's message batches."""

from typing import Any

import msgspec

from crossgrade.dialects._batch import (
    NOTHING,
    BatchDialect,
    BatchList,
    BatchOrder,
    BatchState,
    BatchStatus,
    Item,
    ListedBatch,
    count,
    moment,
    safe_name,
)
from crossgrade.dialects._dialect import WireRequest, decode_struct
from crossgrade.dialects._failures import excerpt, failure_inside
from crossgrade.errors import UpstreamError

_LOST = ("errored", "canceled", "expired")


class _Batch(msgspec.Struct):
    id: str = ""
    processing_status: str = ""
    request_counts: dict[str, Any] | None = None
    created_at: Any = None


class _Page(msgspec.Struct):
    data: list[_Batch] = []
    has_more: bool = False


class _Result(msgspec.Struct):
    type: str = ""
    message: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


class _Line(msgspec.Struct):
    custom_id: str
    result: _Result


_BATCH = msgspec.json.Decoder(_Batch)
_PAGE = msgspec.json.Decoder(_Page)
_LINE = msgspec.json.Decoder(_Line)


def _order(order: BatchOrder) -> WireRequest:
    items = [{"custom_id": name, "params": call.body} for name, call in order.calls.items()]
    return WireRequest("/messages/batches", {"requests": items})


def _status(body: bytes) -> BatchStatus:
    batch = decode_struct(_BATCH, body, "batch")
    counts = batch.request_counts or {}
    state: BatchState = "done" if batch.processing_status == "ended" else "running"
    # The address in the batch object is not followed: it may lead anywhere.
    path = f"/messages/batches/{safe_name(batch.id, body)}/results"
    lost = sum(count(counts.get(name)) or 0 for name in _LOST)
    return BatchStatus(state, count(counts.get("succeeded")), lost, None, (path,))


def _listed(body: bytes) -> BatchList:
    page = decode_struct(_PAGE, body, "list of batches")
    more = page.has_more and page.data
    return BatchList(
        tuple(
            ListedBatch(
                id=batch.id,
                size=sum(count(value) or 0 for value in (batch.request_counts or {}).values()),
                made_at=moment(batch.created_at),
            )
            for batch in page.data
        ),
        f"limit=100&after_id={safe_name(page.data[-1].id, body)}" if more else None,
    )


def _line(line: bytes) -> Item:
    parsed = decode_struct(_LINE, line, "result")
    result = parsed.result
    if result.type == "succeeded":
        return parsed.custom_id, bytes(result.message)
    if result.type == "errored":
        return parsed.custom_id, failure_inside(bytes(result.error))
    return parsed.custom_id, UpstreamError(
        f"the request was not answered: {excerpt(result.type, longest=40)}", code="batch-result-failed"
    )


ANTHROPIC_BATCHES = BatchDialect(
    path="/messages/batches",
    order=_order,
    status=_status,
    listed=_listed,
    list_query="limit=100",
    line=_line,
    labelled="nothing",
    most_requests=100_000,
    most_bytes=200 * 2**20,
)
"""Anthropic."""
