"""What all batch APIs share: `BatchDialect`, orders, states, lists, and how their parts are read.

All of it is pure.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import msgspec

from crossgrade.dialects._dialect import Dialect, WireRequest, decode_struct
from crossgrade.dialects._failures import excerpt, failure, failure_inside
from crossgrade.dialects.hosts import Host
from crossgrade.domain import ModelAnswer, ModelRequest
from crossgrade.errors import BadRequestError, ProviderError, UpstreamError, UsageError

BatchState = Literal["running", "done", "failed"]
"""`failed` means that the batch failed as a whole and none of its requests was answered."""

BatchResult: TypeAlias = ModelAnswer | ProviderError

Item: TypeAlias = tuple[str, bytes | ProviderError]
"""A custom id with the body of its answer, or the error that it got."""

_CUSTOM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """The progress of a batch. `answered` and `failed` count its requests; None if not reported yet.

    `results` are the paths of the results, once the batch is done.
    """

    state: BatchState
    answered: int | None = None
    failed: int | None = None
    problem: str | None = None
    results: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """The content of a batch: calls by custom id, all to one `path` and one `model`.

    `label` finds the batch again; `file` is the id of the uploaded file that holds the calls.
    """

    label: str
    model: str
    path: str
    calls: Mapping[str, WireRequest]
    file: str | None = None


@dataclass(frozen=True, slots=True)
class ListedBatch:
    """A batch in a provider's list, with what is needed to recognise it."""

    id: str
    label: str | None = None
    file: str | None = None
    size: int | None = None
    made_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class BatchList:
    """A page of a provider's list, newest first; `next_query` leads to the next page; None on the last."""

    batches: tuple[ListedBatch, ...]
    next_query: str | None = None


def batch_order(
    requests: Mapping[str, ModelRequest], dialect: Dialect, host: Host, *, label: str
) -> BatchOrder:
    """Return the calls of a batch.

    Raises `UsageError` for an empty batch or a custom id that an API would refuse, and
    `BadRequestError` for requests to several models or endpoints.
    """
    if not requests:
        raise UsageError("the batch is empty", code="batch-empty", hint="submit at least one request")
    for name in requests:
        if not _CUSTOM_ID.fullmatch(name):
            raise UsageError(
                f"a custom id is 1 to 64 letters, digits, - or _ (saw: {excerpt(name, longest=80)!r})",
                code="batch-custom-id",
                hint="use the request's digest as its id",
            )
    calls = {name: dialect.encode(request, host, False) for name, request in requests.items()}
    paths = {call.path for call in calls.values()}
    models = {request.model for request in requests.values()}
    if len(paths) > 1 or len(models) > 1:
        raise BadRequestError(
            "a batch cannot mix chat and text prompts, or models",
            code="batch-mixed",
            hint="submit them as two batches",
        )
    return BatchOrder(label, models.pop(), paths.pop(), calls)


def decoded(body: bytes | ProviderError, request: ModelRequest, dialect: Dialect) -> BatchResult:
    """Return the answer that a result holds, or its error."""
    if isinstance(body, ProviderError):
        return body
    try:
        answer = dialect.decode(body, request)
    except ProviderError as error:
        return error
    return replace(answer, usage=replace(answer.usage, images=request.images))


class _Named(msgspec.Struct):
    id: str = ""
    status: Any = None


_NAMED = msgspec.json.Decoder(_Named)


def made_id(body: bytes) -> str:
    """Read the id of a file or batch that was just made. Raises `UpstreamError` if it has none."""
    return safe_name(decode_struct(_NAMED, body, "answer").id, body)


def is_being_read(body: bytes) -> bool:
    """Return whether the provider still reads an uploaded file, so that it cannot be used yet."""
    return decode_struct(_NAMED, body, "answer").status in {"pending", "running"}


class _File(msgspec.Struct):
    id: str = ""
    filename: str = ""


class _Files(msgspec.Struct):
    data: list[_File] | None = None


_FILES = msgspec.json.Decoder(_Files)


def files_named(body: bytes, name: str) -> set[str]:
    """Read a list of files and return the ids of those with this name."""
    files = decode_struct(_FILES, body, "list of files").data or ()
    return {file.id for file in files if file.filename == name}


def safe_name(name: str, seen: bytes) -> str:
    """Return a name from a provider if it can be part of a path. Raises `UpstreamError` if not."""
    if not _NAME.fullmatch(name) or not name.strip("."):
        raise UpstreamError(f"the answer has no usable id: {excerpt(seen)}", code="batch-answer-without-id")
    return name


def count(value: Any) -> int | None:
    """Return a count of requests, also one written as text, or None if it is not a count."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 16:
        value = int(value)
    return value if type(value) is int and value >= 0 else None


def moment(value: Any) -> datetime | None:
    """Return a time given in Unix seconds or as RFC 3339, or None if it is neither."""
    try:
        if isinstance(value, str):
            when = datetime.fromisoformat(value)
            return when if when.tzinfo else when.replace(tzinfo=UTC)
        return datetime.fromtimestamp(value, UTC) if type(value) in {int, float} else None
    except (ValueError, OverflowError, OSError):
        return None


NOTHING = msgspec.Raw(b"")
"""Absent JSON."""


def is_given(value: msgspec.Raw) -> bool:
    """Return whether a field was present and not null."""
    return bytes(value) not in {b"", b"null"}


class _Response(msgspec.Struct):
    status_code: int = 0
    body: msgspec.Raw = NOTHING


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: Any = None


_LINE = msgspec.json.Decoder(_Line)


def openai_line(line: bytes) -> Item:
    """Read a result in the form of OpenAI and most others: a custom id with a response or an error."""
    parsed = decode_struct(_LINE, line, "result")
    if parsed.response is None:
        return parsed.custom_id, failure_inside(msgspec.json.encode({"error": parsed.error}))
    if parsed.response.status_code != 200:
        return parsed.custom_id, failure(parsed.response.status_code, {}, bytes(parsed.response.body))
    return parsed.custom_id, bytes(parsed.response.body)


ReadPage: TypeAlias = Callable[[bytes, Sequence[str]], tuple[list[Item], str | None]]
"""Reads one page of results, and the query of the next page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """How the calls are written to a file that is uploaded before the batch is made.

    `line` writes a call; `fields` go beside the file, where `{name}` stands for its name.
    """

    line: Callable[[str, WireRequest], dict[str, Any]]
    path: str = "/files"
    fields: tuple[tuple[str, str], ...] = (("purpose", "batch"),)

    def content(self, order: BatchOrder) -> bytes:
        """Return the file: a line of JSON for each call."""
        return b"".join(
            msgspec.json.encode(self.line(name, call)) + b"\n" for name, call in order.calls.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDialect:
    """One batch API.

    `path` lists the batches and, followed by an id, reports on one. If `upload` is None, the calls
    are part of the order. `order` builds the call that makes a batch, `made` reads its id.
    Results are read by `line` (from a file of JSON lines) or by `page` (given also the custom ids
    in the order submitted). `labelled` says what carries an order's label: the batch, the name of
    its file, or nothing.
    """

    path: str
    upload: Upload | None = None
    order: Callable[[BatchOrder], WireRequest]
    made: Callable[[bytes], str] = made_id
    status: Callable[[bytes], BatchStatus]
    listed: Callable[[bytes], BatchList]
    list_query: str
    line: Callable[[bytes], Item] | None = None
    page: ReadPage | None = None
    labelled: Literal["batch", "file", "nothing"] = "batch"
    most_requests: int = 50_000
    most_bytes: int = 90 * 2**20
