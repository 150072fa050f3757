"""Batch APIs that differ little from OpenAI's.

Together has shorter lines, another upload and no metadata. OpenRouter takes the requests as part of the
order and returns the results as part of the batch.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from crossgrade.dialects._batch import (
    BatchDialect,
    BatchList,
    BatchOrder,
    BatchStatus,
    Item,
    Upload,
    openai_line,
    safe_name,
)
from crossgrade.dialects._dialect import WireRequest, decode_struct
from crossgrade.dialects.openai_chat.batch import _Batch, listed, listed_as, status, status_of


class _TogetherMade(msgspec.Struct):
    job: _Batch | None = None


class _TogetherList(msgspec.Struct):
    data: list[_Batch] = []


_TOGETHER_MADE = msgspec.json.Decoder(_TogetherMade)
_TOGETHER_LIST: msgspec.json.Decoder[list[_Batch] | _TogetherList] = msgspec.json.Decoder(
    list[_Batch] | _TogetherList
)


def short_line(name: str, call: WireRequest) -> dict[str, Any]:
    """Return a line that leaves the endpoint to the batch."""
    return {"custom_id": name, "body": call.body}


def _together_order(order: BatchOrder) -> WireRequest:
    body = {"input_file_id": order.file, "endpoint": f"/v1{order.path}", "completion_window": "24h"}
    return WireRequest("/batches", body)


def _together_made(body: bytes) -> str:
    job = decode_struct(_TOGETHER_MADE, body, "answer").job
    return safe_name("" if job is None else job.id, body)


def _together_listed(body: bytes) -> BatchList:
    found = decode_struct(_TOGETHER_LIST, body, "list of batches")
    return BatchList(tuple(map(listed_as, found if isinstance(found, list) else found.data)))


TOGETHER_BATCHES = BatchDialect(
    path="/batches",
    upload=Upload(
        line=short_line,
        path="/files/upload",
        fields=(("purpose", "batch-api"), ("file_name", "{name}"), ("file_type", "jsonl")),
    ),
    order=_together_order,
    made=_together_made,
    status=status,
    listed=_together_listed,
    list_query="",
    line=openai_line,
    labelled="file",
)
"""Together."""


class _OpenRouterBatch(_Batch):
    results: list[msgspec.Raw] | None = None


_OPENROUTER_BATCH = msgspec.json.Decoder(_OpenRouterBatch)


def _openrouter_order(order: BatchOrder) -> WireRequest:
    requests = [
        {"custom_id": name, "body": {field: value for field, value in call.body.items() if field != "model"}}
        for name, call in order.calls.items()
    ]
    body = {"endpoint": f"/v1{order.path}", "model": order.model, "completion_window": "24h"}
    return WireRequest("/batches", {**body, "requests": requests})


def _openrouter_status(body: bytes) -> BatchStatus:
    batch = decode_struct(_OPENROUTER_BATCH, body, "batch")
    seen = status_of(batch, body)
    path = f"/batches/{safe_name(batch.id, body)}"
    return BatchStatus(seen.state, seen.answered, seen.failed, seen.problem, (path,))


def _openrouter_page(body: bytes, names: Sequence[str]) -> tuple[list[Item], str | None]:  # noqa: ARG001 - the dialect's shape
    results = decode_struct(_OPENROUTER_BATCH, body, "batch").results or ()
    return [openai_line(bytes(result)) for result in results], None


OPENROUTER_BATCHES = BatchDialect(
    path="/batches",
    order=_openrouter_order,
    status=_openrouter_status,
    listed=listed,
    list_query="limit=100",
    page=_openrouter_page,
    labelled="nothing",
    most_requests=5_000,
    # The answer holds all results at once.
    most_bytes=50 * 2**20,
)
"""OpenRouter."""
