"""OpenRouter's batches: the requests are part of the order, the results part of the batch."""

from collections.abc import Sequence

import msgspec

from crossgrade.dialects._batch import BatchDialect
from crossgrade.dialects._batch_records import BatchOrder, BatchStatus, Item, openai_line, safe_name
from crossgrade.dialects._dialect import WireRequest, decode_struct
from crossgrade.dialects.openai_chat.batch import _Batch, listed, status_of


class _Whole(_Batch):
    results: list[msgspec.Raw] | None = None


_WHOLE = msgspec.json.Decoder(_Whole)


def _order(order: BatchOrder) -> WireRequest:
    requests = [
        {"custom_id": name, "body": {field: value for field, value in call.body.items() if field != "model"}}
        for name, call in order.calls.items()
    ]
    body = {"endpoint": f"/v1{order.path}", "model": order.model, "completion_window": "24h"}
    return WireRequest("/batches", {**body, "requests": requests})


def _status(body: bytes) -> BatchStatus:
    batch = decode_struct(_WHOLE, body, "batch")
    seen = status_of(batch, body)
    path = f"/batches/{safe_name(batch.id, body)}"
    return BatchStatus(seen.state, seen.answered, seen.failed, seen.problem, (path,))


def _page(body: bytes, names: Sequence[str]) -> tuple[list[Item], str | None]:  # noqa: ARG001 - the dialect's shape
    results = decode_struct(_WHOLE, body, "batch").results or ()
    return [openai_line(bytes(result)) for result in results], None


OPENROUTER_BATCHES = BatchDialect(
    path="/batches",
    order=_order,
    status=_status,
    listed=listed,
    list_query="limit=100",
    page=_page,
    labelled="nothing",
    most_requests=5_000,
    # The answer holds all results at once.
    most_bytes=50 * 2**20,
)
"""OpenRouter."""
