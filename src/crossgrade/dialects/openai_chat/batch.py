"""OpenAI's batch API and those that copy it: upload a file, make a batch of it, download two files."""

from collections.abc import Mapping
from typing import Any

import msgspec

from crossgrade.dialects._batch import (
    BatchDialect,
    BatchList,
    BatchOrder,
    BatchState,
    BatchStatus,
    ListedBatch,
    Upload,
    count,
    moment,
    openai_line,
    safe_name,
)
from crossgrade.dialects._dialect import WireRequest, decode_struct
from crossgrade.dialects._failures import excerpt

LABEL = "crossgrade"
"""The key of an order's label in the batch's metadata."""

STATES: Mapping[str, BatchState] = {
    "cancelled": "done",
    "completed": "done",
    "expired": "done",
    "failed": "failed",
}


class _Batch(msgspec.Struct):
    """A batch object; hosts leave fields out."""

    id: str = ""
    status: str = ""
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: dict[str, Any] | None = None
    metadata: Any = None
    created_at: Any = None
    errors: Any = None
    error: Any = None


class _Page(msgspec.Struct):
    data: list[_Batch] = []
    has_more: bool = False


_BATCH = msgspec.json.Decoder(_Batch)
_PAGE = msgspec.json.Decoder(_Page)


def label_in(metadata: Any) -> str | None:
    """Return the label that a batch's metadata carry."""
    label = metadata.get(LABEL) if isinstance(metadata, dict) else None
    return label if isinstance(label, str) else None


def status_of(batch: _Batch, body: bytes) -> BatchStatus:
    """Return how far a batch is, with the paths of its output and error files."""
    counts = batch.request_counts or {}
    files = [name for name in (batch.output_file_id, batch.error_file_id) if name]
    problem = batch.errors or batch.error
    return BatchStatus(
        STATES.get(batch.status.lower(), "running"),
        count(counts.get("completed")),
        count(counts.get("failed")),
        excerpt(msgspec.json.encode(problem)) if problem else None,
        tuple(f"/files/{safe_name(name, body)}/content" for name in files),
    )


def listed_as(batch: _Batch) -> ListedBatch:
    """Return a batch as its list shows it."""
    counts = batch.request_counts or {}
    return ListedBatch(
        id=batch.id,
        label=label_in(batch.metadata),
        file=batch.input_file_id,
        size=count(counts.get("total")),
        made_at=moment(batch.created_at),
    )


def status(body: bytes) -> BatchStatus:
    """Read a batch object."""
    return status_of(decode_struct(_BATCH, body, "batch"), body)


def listed(body: bytes) -> BatchList:
    """Read a page of the list."""
    page = decode_struct(_PAGE, body, "list of batches")
    more = page.has_more and page.data
    return BatchList(
        tuple(map(listed_as, page.data)),
        f"limit=100&after={safe_name(page.data[-1].id, body)}" if more else None,
    )


def _dialect(prefix: str) -> BatchDialect:
    """Return the dialect of a host whose endpoints are written with this prefix."""

    def line(name: str, call: WireRequest) -> dict[str, Any]:
        return {"custom_id": name, "method": "POST", "url": f"{prefix}{call.path}", "body": call.body}

    def order(order: BatchOrder) -> WireRequest:
        body = {
            "input_file_id": order.file,
            "endpoint": f"{prefix}{order.path}",
            "completion_window": "24h",
            "metadata": {LABEL: order.label},
        }
        return WireRequest("/batches", body)

    return BatchDialect(
        path="/batches",
        upload=Upload(line=line),
        order=order,
        status=status,
        listed=listed,
        list_query="limit=100",
        line=openai_line,
    )


OPENAI_BATCHES = _dialect("/v1")
"""OpenAI, Groq, DeepInfra."""

AZURE_BATCHES = _dialect("")
"""Azure OpenAI, which names endpoints without a version."""
