"""The batch APIs' files and results, as pure translations: OpenAI's and Anthropic's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from crossgrade.domain import ModelAnswer, ModelRequest
from crossgrade.errors import BadRequestError, ProviderError, UpstreamError, UsageError
from crossgrade.wire._excerpt import excerpt
from crossgrade.wire._failures import failure, failure_inside
from crossgrade.wire._flavour import Flavour, decode_struct
from crossgrade.wire.hosts import Host

BatchState = Literal["running", "done", "failed"]
"""`failed` means as a whole: no request of the batch was answered."""

_CUSTOM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OPENAI_STATES: Mapping[str, BatchState] = {
    "cancelled": "done",
    "completed": "done",
    "expired": "done",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """How far a batch is. `answered` and `failed` count its requests; None: not said yet."""

    state: BatchState
    answered: int | None = None
    failed: int | None = None
    problem: str | None = None
    files: tuple[str, ...] = ()


def check_batch(requests: Mapping[str, ModelRequest]) -> None:
    """Raise `UsageError` for an empty batch or a custom id that an API would refuse."""
    if not requests:
        raise UsageError("the batch is empty", hint="submit at least one request")
    for name in requests:
        if not _CUSTOM_ID.fullmatch(name):
            raise UsageError(
                f"a custom id is 1 to 64 letters, digits, - or _ (saw: {excerpt(name, longest=80)!r})",
                hint="use the request's digest as its id",
            )


def openai_lines(requests: Mapping[str, ModelRequest], flavour: Flavour, host: Host) -> tuple[str, bytes]:
    """Return the endpoint and the JSON lines of an OpenAI batch file; one batch has one endpoint."""
    paths: set[str] = set()
    lines: list[bytes] = []
    for name, request in requests.items():
        wire = flavour.encode(request, host, False)
        url = f"/v1{wire.path}"
        paths.add(url)
        lines.append(
            msgspec.json.encode({"custom_id": name, "method": "POST", "url": url, "body": wire.body})
        )
    if len(paths) > 1:
        raise BadRequestError("a batch cannot mix chat and text prompts", hint="submit them as two batches")
    return paths.pop(), b"".join(line + b"\n" for line in lines)


def anthropic_order(requests: Mapping[str, ModelRequest], flavour: Flavour, host: Host) -> bytes:
    """Return the body that submits an Anthropic message batch."""
    items = [
        {"custom_id": name, "params": flavour.encode(request, host, False).body}
        for name, request in requests.items()
    ]
    return msgspec.json.encode({"requests": items})


class _OpenAIBatch(msgspec.Struct):
    id: str = ""
    status: str = ""
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: dict[str, Any] | None = None
    errors: Any = None


class _AnthropicBatch(msgspec.Struct):
    id: str = ""
    processing_status: str = ""
    request_counts: dict[str, Any] | None = None


_OPENAI_BATCH = msgspec.json.Decoder(_OpenAIBatch)
_ANTHROPIC_BATCH = msgspec.json.Decoder(_AnthropicBatch)


def openai_status(body: bytes) -> BatchStatus:
    """Read an OpenAI batch object; `files` are the ids of its output and error files."""
    batch = decode_struct(_OPENAI_BATCH, body, "batch")
    counts = batch.request_counts or {}
    files = tuple(name for name in (batch.output_file_id, batch.error_file_id) if name)
    state = _OPENAI_STATES.get(batch.status, "running")
    problem = excerpt(msgspec.json.encode(batch.errors)) if batch.errors else None
    return BatchStatus(state, _count(counts, "completed"), _count(counts, "failed"), problem, files)


def anthropic_status(body: bytes) -> BatchStatus:
    """Read an Anthropic message batch object."""
    batch = decode_struct(_ANTHROPIC_BATCH, body, "batch")
    counts = batch.request_counts or {}
    lost = [_count(counts, name) or 0 for name in ("errored", "canceled", "expired")]
    state: BatchState = "done" if batch.processing_status == "ended" else "running"
    return BatchStatus(state, _count(counts, "succeeded"), sum(lost))


def batch_id(body: bytes) -> str:
    """Read the id of a file or batch that was just made; raises `UpstreamError` when it has none."""
    found = decode_struct(_OPENAI_BATCH, body, "answer").id
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", found):
        raise UpstreamError(f"the answer has no usable id: {excerpt(body)}")
    return found


class _OpenAIResponse(msgspec.Struct):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"")


class _OpenAILine(msgspec.Struct):
    custom_id: str
    response: _OpenAIResponse | None = None
    error: Any = None


class _AnthropicResult(msgspec.Struct):
    type: str = ""
    message: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")


class _AnthropicLine(msgspec.Struct):
    custom_id: str
    result: _AnthropicResult


_OPENAI_LINE = msgspec.json.Decoder(_OpenAILine)
_ANTHROPIC_LINE = msgspec.json.Decoder(_AnthropicLine)

BatchResult = ModelAnswer | ProviderError


def openai_result(
    line: bytes, requests: Mapping[str, ModelRequest], flavour: Flavour
) -> tuple[str, BatchResult]:
    """Read a line of an output or error file: the custom id, and its answer or error."""
    parsed = decode_struct(_OPENAI_LINE, line, "result")
    if parsed.response is None:
        return parsed.custom_id, failure_inside(msgspec.json.encode({"error": parsed.error}))
    if parsed.response.status_code != 200:
        return parsed.custom_id, failure(parsed.response.status_code, {}, bytes(parsed.response.body))
    return parsed.custom_id, _decoded(bytes(parsed.response.body), requests.get(parsed.custom_id), flavour)


def anthropic_result(
    line: bytes, requests: Mapping[str, ModelRequest], flavour: Flavour
) -> tuple[str, BatchResult]:
    """Read a line of the results of a message batch: the custom id, and its answer or error."""
    parsed = decode_struct(_ANTHROPIC_LINE, line, "result")
    result = parsed.result
    if result.type == "succeeded":
        return parsed.custom_id, _decoded(bytes(result.message), requests.get(parsed.custom_id), flavour)
    if result.type == "errored":
        return parsed.custom_id, failure_inside(bytes(result.error))
    return parsed.custom_id, UpstreamError(
        f"the request was not answered: {excerpt(result.type, longest=40)}"
    )


def _decoded(body: bytes, request: ModelRequest | None, flavour: Flavour) -> BatchResult:
    if request is None:
        return UpstreamError("the result is for a request that is not part of this batch")
    try:
        return flavour.decode(body, request)
    except ProviderError as error:
        return error


def _count(counts: Mapping[str, Any], name: str) -> int | None:
    value = counts.get(name)
    return value if type(value) is int and value >= 0 else None
