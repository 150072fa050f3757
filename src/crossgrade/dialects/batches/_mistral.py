"""Mistral's batch jobs: a file of short lines, a job that names the one model of all of them."""

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
from crossgrade.dialects.batches._like_openai import short_line
from crossgrade.dialects.openai_chat.batch import LABEL, label_in

_STATES: Mapping[str, BatchState] = {
    "CANCELLED": "done",
    "FAILED": "failed",
    "SUCCESS": "done",
    "TIMEOUT_EXCEEDED": "done",
}


class _Job(msgspec.Struct):
    id: str = ""
    status: str = ""
    output_file: str | None = None
    error_file: str | None = None
    succeeded_requests: Any = None
    failed_requests: Any = None
    total_requests: Any = None
    metadata: Any = None
    created_at: Any = None
    errors: Any = None


class _Page(msgspec.Struct):
    data: list[_Job] | None = None


_JOB = msgspec.json.Decoder(_Job)
_PAGE = msgspec.json.Decoder(_Page)


def _order(order: BatchOrder) -> WireRequest:
    body = {
        "input_files": [order.file],
        "endpoint": f"/v1{order.path}",
        "model": order.model,
        "metadata": {LABEL: order.label},
        "timeout_hours": 24,
    }
    return WireRequest("/batch/jobs", body)


def _status(body: bytes) -> BatchStatus:
    job = decode_struct(_JOB, body, "batch job")
    files = [name for name in (job.output_file, job.error_file) if name]
    return BatchStatus(
        _STATES.get(job.status, "running"),
        count(job.succeeded_requests),
        count(job.failed_requests),
        excerpt(msgspec.json.encode(job.errors)) if job.errors else None,
        tuple(f"/files/{safe_name(name, body)}/content" for name in files),
    )


def _listed(body: bytes) -> BatchList:
    jobs = decode_struct(_PAGE, body, "list of batch jobs").data or []
    return BatchList(
        tuple(
            ListedBatch(
                id=job.id,
                label=label_in(job.metadata),
                size=count(job.total_requests),
                made_at=moment(job.created_at),
            )
            for job in jobs
        )
    )


MISTRAL_BATCHES = BatchDialect(
    path="/batch/jobs",
    upload=Upload(line=short_line),
    order=_order,
    status=_status,
    listed=_listed,
    list_query="page_size=100&order_by=-created",
    line=openai_line,
)
"""Mistral. The list's first page is its newest hundred jobs."""
