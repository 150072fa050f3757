"""xAI's batches: a file of OpenAI's lines, counters instead of a state, results in pages."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

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
    is_given,
    moment,
    safe_name,
)
from crossgrade.dialects._dialect import WireRequest, decode_struct
from crossgrade.dialects._failures import failure_inside
from crossgrade.dialects.openai_chat.batch import OPENAI_BATCHES
from crossgrade.errors import UpstreamError

_RESULTS_QUERY = "limit=1000"


class _State(msgspec.Struct):
    num_requests: Any = 0
    num_pending: Any = 0
    num_success: Any = 0
    num_error: Any = 0
    num_cancelled: Any = 0


class _Batch(msgspec.Struct):
    batch_id: str = ""
    name: str | None = None
    input_file_id: str | None = None
    create_time: Any = None
    cancel_time: Any = None
    cancel_by_xai_message: str | None = None
    state: _State | None = None


class _List(msgspec.Struct):
    batches: list[_Batch] | None = None
    pagination_token: str | None = None


class _Result(msgspec.Struct):
    response: dict[str, msgspec.Raw] | None = None
    error: msgspec.Raw = NOTHING


class _Request(msgspec.Struct):
    batch_request_id: str
    batch_result: _Result | None = None


class _Results(msgspec.Struct):
    results: list[_Request] | None = None
    pagination_token: str | None = None


_BATCH = msgspec.json.Decoder(_Batch)
_LIST = msgspec.json.Decoder(_List)
_RESULTS = msgspec.json.Decoder(_Results)


def _order(order: BatchOrder) -> WireRequest:
    return WireRequest("/batches", {"name": order.label, "input_file_id": order.file})


def _made(body: bytes) -> str:
    return safe_name(decode_struct(_BATCH, body, "answer").batch_id, body)


def _status(body: bytes) -> BatchStatus:
    batch = decode_struct(_BATCH, body, "batch")
    counts = batch.state or _State()
    lost = [count(value) or 0 for value in (counts.num_error, counts.num_cancelled)]
    state: BatchState = "done"
    if batch.cancel_by_xai_message:
        state = "failed"
    elif batch.cancel_time is None and (not count(counts.num_requests) or count(counts.num_pending)):
        # None counted yet: the file is still being read.
        state = "running"
    return BatchStatus(
        state,
        count(counts.num_success),
        sum(lost),
        batch.cancel_by_xai_message,
        (f"/batches/{safe_name(batch.batch_id, body)}/results?{_RESULTS_QUERY}",),
    )


def _listed(body: bytes) -> BatchList:
    page = decode_struct(_LIST, body, "list of batches")
    return BatchList(
        tuple(
            ListedBatch(
                id=batch.batch_id,
                label=batch.name,
                file=batch.input_file_id,
                made_at=moment(batch.create_time),
            )
            for batch in page.batches or ()
        ),
        _next(page.pagination_token, "limit=100"),
    )


def _page(body: bytes, names: Sequence[str]) -> tuple[list[Item], str | None]:  # noqa: ARG001 - the dialect's shape
    page = decode_struct(_RESULTS, body, "results")
    return [_item(each) for each in page.results or ()], _next(page.pagination_token, _RESULTS_QUERY)


def _item(request: _Request) -> Item:
    result = request.batch_result or _Result()
    # The answer stands alone in an object whose key names the endpoint.
    answer = next(iter((result.response or {}).values()), None)
    if answer is not None:
        return request.batch_request_id, bytes(answer)
    if is_given(result.error):
        return request.batch_request_id, failure_inside(b'{"error":' + bytes(result.error) + b"}")
    return request.batch_request_id, UpstreamError(
        "the result has neither a response nor an error", code="batch-result-empty"
    )


def _next(token: str | None, query: str) -> str | None:
    return f"{query}&pagination_token={quote(token, safe='')}" if token else None


XAI_BATCHES = BatchDialect(
    path="/batches",
    upload=OPENAI_BATCHES.upload,
    order=_order,
    made=_made,
    status=_status,
    listed=_listed,
    list_query="limit=100",
    page=_page,
)
"""xAI."""
