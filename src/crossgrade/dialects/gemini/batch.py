"""Gemini's batches, inline: requests with a key, an operation, responses in its output."""

from collections.abc import Mapping, Sequence
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
from crossgrade.dialects._failures import excerpt, failure_inside
from crossgrade.errors import UpstreamError

_STATES: Mapping[str, BatchState] = {
    "CANCELLED": "failed",
    "EXPIRED": "failed",
    "FAILED": "failed",
    "SUCCEEDED": "done",
}


class _Stats(msgspec.Struct, rename="camel"):
    request_count: Any = None
    successful_request_count: Any = None
    failed_request_count: Any = None


class _Response(msgspec.Struct):
    response: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING
    metadata: Any = None


class _Nested(msgspec.Struct, rename="camel"):
    inlined_responses: list[_Response] | None = None


class _Output(msgspec.Struct, rename="camel"):
    inlined_responses: list[_Response] | _Nested | None = None


class _Metadata(msgspec.Struct, rename="camel"):
    state: str = ""
    display_name: str | None = None
    create_time: Any = None
    batch_stats: _Stats | None = None
    output: _Output | None = None


class _Operation(msgspec.Struct, rename="camel"):
    name: str = ""
    metadata: _Metadata | None = None
    response: _Output | None = None
    error: Any = None


class _List(msgspec.Struct, rename="camel"):
    operations: list[_Operation] | None = None
    next_page_token: str | None = None


_OPERATION = msgspec.json.Decoder(_Operation)
_LIST = msgspec.json.Decoder(_List)


def _order(order: BatchOrder) -> WireRequest:
    requests = [{"request": call.body, "metadata": {"key": name}} for name, call in order.calls.items()]
    batch = {"displayName": order.label, "inputConfig": {"requests": {"requests": requests}}}
    return WireRequest(f"{order.path.rpartition(':')[0]}:batchGenerateContent", {"batch": batch})


def _id(operation: _Operation, body: bytes) -> str:
    return safe_name(operation.name.removeprefix("batches/"), body)


def _made(body: bytes) -> str:
    return _id(decode_struct(_OPERATION, body, "answer"), body)


def _status(body: bytes) -> BatchStatus:
    operation = decode_struct(_OPERATION, body, "batch")
    metadata = operation.metadata or _Metadata()
    stats = metadata.batch_stats or _Stats()
    # Written BATCH_STATE_SUCCEEDED or JOB_STATE_SUCCEEDED.
    state = _STATES.get(metadata.state.rpartition("_STATE_")[2], "running")
    problem = excerpt(msgspec.json.encode(operation.error)) if operation.error else metadata.state.lower()
    return BatchStatus(
        state,
        count(stats.successful_request_count),
        count(stats.failed_request_count),
        problem if state == "failed" else None,
        (f"/batches/{_id(operation, body)}",),
    )


def _listed(body: bytes) -> BatchList:
    page = decode_struct(_LIST, body, "list of batches")
    batches = []
    for operation in page.operations or ():
        metadata = operation.metadata or _Metadata()
        stats = metadata.batch_stats or _Stats()
        batches.append(
            ListedBatch(
                id=operation.name.removeprefix("batches/"),
                label=metadata.display_name,
                size=count(stats.request_count),
                made_at=moment(metadata.create_time),
            )
        )
    token = page.next_page_token
    return BatchList(tuple(batches), f"pageSize=100&pageToken={quote(token, safe='')}" if token else None)


def _page(body: bytes, names: Sequence[str]) -> tuple[list[Item], str | None]:
    operation = decode_struct(_OPERATION, body, "batch")
    output = operation.response or (operation.metadata or _Metadata()).output or _Output()
    found = output.inlined_responses
    responses = (found.inlined_responses if isinstance(found, _Nested) else found) or []
    keys = [_key(each) for each in responses]
    if not any(keys):
        # Without keys the responses come in the order of the requests.
        if len(names) != len(responses):
            raise UpstreamError(
                f"the batch has {len(responses)} responses without keys to {len(names)} requests: "
                "which answers which cannot be told",
                code="batch-results-without-keys",
            )
        keys = list(names)
    return [(key, _outcome(each)) for key, each in zip(keys, responses, strict=True) if key], None


def _key(response: _Response) -> str | None:
    key = response.metadata.get("key") if isinstance(response.metadata, dict) else None
    return key if isinstance(key, str) else None


def _outcome(response: _Response) -> Any:
    if is_given(response.response):
        return bytes(response.response)
    if is_given(response.error):
        return failure_inside(b'{"error":' + bytes(response.error) + b"}")
    return UpstreamError("the result has neither a response nor an error", code="batch-result-empty")


GEMINI_BATCHES = BatchDialect(
    path="/batches",
    order=_order,
    made=_made,
    status=_status,
    listed=_listed,
    list_query="pageSize=100",
    page=_page,
    # 20 MB is the most that requests inline may take.
    most_bytes=15 * 2**20,
)
"""Gemini."""
