"""Together's batch API: OpenAI's with shorter lines, another upload, and no metadata."""

from typing import Any

import msgspec

from crossgrade.dialects._batch import BatchDialect, Upload
from crossgrade.dialects._batch_records import BatchList, BatchOrder, openai_line, safe_name
from crossgrade.dialects._dialect import WireRequest, decode_struct
from crossgrade.dialects.openai_chat.batch import _Batch, listed_as, status


class _Made(msgspec.Struct):
    job: _Batch | None = None


class _Wrapped(msgspec.Struct):
    data: list[_Batch] = []


_MADE = msgspec.json.Decoder(_Made)
_LIST: msgspec.json.Decoder[list[_Batch] | _Wrapped] = msgspec.json.Decoder(list[_Batch] | _Wrapped)


def short_line(name: str, call: WireRequest) -> dict[str, Any]:
    """Return a line that leaves the endpoint to the batch."""
    return {"custom_id": name, "body": call.body}


def _order(order: BatchOrder) -> WireRequest:
    body = {"input_file_id": order.file, "endpoint": f"/v1{order.path}", "completion_window": "24h"}
    return WireRequest("/batches", body)


def _made(body: bytes) -> str:
    job = decode_struct(_MADE, body, "answer").job
    return safe_name("" if job is None else job.id, body)


def _listed(body: bytes) -> BatchList:
    found = decode_struct(_LIST, body, "list of batches")
    return BatchList(tuple(map(listed_as, found if isinstance(found, list) else found.data)))


TOGETHER_BATCHES = BatchDialect(
    path="/batches",
    upload=Upload(
        line=short_line,
        path="/files/upload",
        fields=(("purpose", "batch-api"), ("file_name", "{name}"), ("file_type", "jsonl")),
    ),
    order=_order,
    made=_made,
    status=status,
    listed=_listed,
    list_query="",
    line=openai_line,
    labelled="file",
)
"""Together."""
