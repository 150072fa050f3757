"""Sends requests through batch APIs, which answer many requests within a day at a lower price.

A batch outlives the process that submitted it. Keep its id to poll and collect it later.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from aiohttp import FormData

from crossgrade.dialects import DIALECTS, failure, secret_of
from crossgrade.dialects.batches import (
    BATCH_DIALECTS,
    BatchDialect,
    BatchList,
    BatchOrder,
    BatchResult,
    BatchStatus,
    Item,
    ListedBatch,
    ReadPage,
    Upload,
    batch_order,
    decoded,
    files_named,
    is_being_read,
    made_id,
)
from crossgrade.domain import ModelRequest, Offer
from crossgrade.errors import BadRequestError, ProviderError, UpstreamError, UsageError
from crossgrade.providers._http import HttpClient, HttpResponse, open_http
from crossgrade.providers.hosted import LARGEST_ANSWER, Account, account_of

LARGEST_RESULTS = 2**30
"""The largest size of a batch's results in bytes."""

FILE_POLL_S = 1.0
"""The seconds between two checks of an uploaded file that the provider is still processing."""

_TRANSFER_S = 600.0
_MOST_FILE_POLLS = 300
_MOST_LIST_PAGES = 20
_EARLIER = timedelta(minutes=10)
_LATER = timedelta(minutes=30)
"""The range of a batch's time around its submission, because clocks differ and uploads take time."""


class BatchProvider(Protocol):
    """An offer whose provider has a batch API."""

    async def reach(self) -> None:
        """List one page of batches, which costs nothing. Raises a `ProviderError` if that fails."""

    def parts(self, requests: Mapping[str, ModelRequest]) -> list[Mapping[str, ModelRequest]]:
        """Split requests, by custom id, into batches that the provider accepts."""

    async def submit(self, requests: Mapping[str, ModelRequest], *, label: str) -> str:
        """Submit requests by custom id (up to 64 letters, digits, - or _), and return the batch's id.

        Nothing is retried. After an error, call `find` with the label before submitting again.
        """

    async def find(self, label: str, *, size: int, since: datetime) -> list[str]:
        """Return the ids of batches that may have been submitted under a label.

        If the provider stores no label, these are the batches with `size` requests made about `since`. Their
        results show whether they are the ones.
        """

    async def poll(self, batch: str) -> BatchStatus:
        """Return the status of a batch."""

    async def results(
        self, batch: str, requests: Mapping[str, ModelRequest], *, names: Sequence[str] = ()
    ) -> dict[str, BatchResult]:
        """Return an answer or an error for each custom id of `requests`, from a finished batch.

        `names` are all custom ids of the batch in the order submitted, by default those of `requests`.
        """


class HostedBatches:
    """One offer's batch API, in the host's dialect; made by `open_batches`."""

    def __init__(
        self, account: Account, http: HttpClient, dialect: BatchDialect, *, timeout_s: float
    ) -> None:
        self._host = account.host
        self._calls = DIALECTS[account.host.dialect]
        self._http = http
        self._dialect = dialect
        self._timeout_s = timeout_s
        self._secret = secret_of(account.key)

    async def reach(self) -> None:
        """List one page of batches."""
        await self._page(self._dialect.list_query)

    def parts(self, requests: Mapping[str, ModelRequest]) -> list[Mapping[str, ModelRequest]]:
        """Split requests by the dialect's limits of number and size."""
        parts: list[dict[str, ModelRequest]] = []
        size = 0
        for name, request in requests.items():
            needed = len(self._calls.encode(request, self._host, False).encode()) + 2 * len(name) + 100
            full = parts and len(parts[-1]) >= self._dialect.most_requests
            if not parts or full or size + needed > self._dialect.most_bytes:
                parts.append({})
                size = 0
            parts[-1][name] = request
            size += needed
        return list(parts)

    async def submit(self, requests: Mapping[str, ModelRequest], *, label: str) -> str:
        """Upload the requests if the dialect needs a file, and create a batch of them."""
        order = batch_order(requests, self._calls, self._host, label=label)
        upload = self._dialect.upload
        if upload is not None:
            order = replace(order, file=await self._upload(upload, order))
        wire = self._dialect.order(order)
        made = await self._call("POST", wire.path, wire.encode(), timeout_s=_TRANSFER_S)
        return self._dialect.made(made)

    async def find(self, label: str, *, size: int, since: datetime) -> list[str]:
        """Search the provider's list, newest first; return no ids if there is no list."""
        dialect = self._dialect
        files: set[str] = set()
        try:
            if dialect.labelled == "file":
                files = files_named(await self._get("/files"), _file_name(label))
                if not files:
                    return []
            query: str | None = dialect.list_query
            for _ in range(_MOST_LIST_PAGES):
                page = await self._page(query)
                found = [each.id for each in page.batches if self._may_be(each, label, files, size, since)]
                oldest = page.batches[-1].made_at if page.batches else None
                query = page.next_query
                if found or query is None or (oldest is not None and oldest < since - _EARLIER):
                    return found
        except BadRequestError:
            return []
        return []

    async def _page(self, query: str | None) -> BatchList:
        path = self._dialect.path
        return self._dialect.listed(await self._get(f"{path}?{query}" if query else path))

    def _may_be(self, batch: ListedBatch, label: str, files: set[str], size: int, since: datetime) -> bool:
        if self._dialect.labelled == "batch":
            return batch.label == label
        if self._dialect.labelled == "file":
            return batch.file in files
        made_at = batch.made_at
        return batch.size == size and made_at is not None and -_EARLIER <= made_at - since <= _LATER

    async def poll(self, batch: str) -> BatchStatus:
        """Return the status of a batch."""
        # In some dialects the results are part of the status.
        body = await self._get(f"{self._dialect.path}/{_checked(batch)}", largest=LARGEST_RESULTS)
        return self._dialect.status(body)

    async def results(
        self, batch: str, requests: Mapping[str, ModelRequest], *, names: Sequence[str] = ()
    ) -> dict[str, BatchResult]:
        """Read the results from this host. Addresses in the batch object are not followed."""
        status = await self.poll(batch)
        _require_done(status)
        found: dict[str, BatchResult] = {}

        def take(item: Item) -> None:
            name, body = item
            if name in requests:
                found[name] = decoded(body, requests[name], self._calls)

        for path in status.results:
            await self._read(path, take, names or list(requests))
        return _complete(found, requests)

    async def _read(self, path: str, take: Callable[[Item], None], names: Sequence[str]) -> None:
        """Read the results at a path, as lines or pages by the dialect."""
        if self._dialect.line is not None:
            await self._read_lines(path, self._dialect.line, take)
        elif self._dialect.page is not None:
            await self._read_pages(path, self._dialect.page, take, names)

    async def _read_lines(
        self, path: str, read: Callable[[bytes], Item], take: Callable[[Item], None]
    ) -> None:
        """Read JSON lines as they arrive, so that the whole file is never in memory."""
        rest = b""

        def feed(piece: bytes) -> bool:
            nonlocal rest
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LARGEST_ANSWER:
                raise UpstreamError(
                    f"a line of the results is longer than {LARGEST_ANSWER} bytes", code="answer-too-large"
                )
            for line in lines:
                add(line)
            return False

        def add(line: bytes) -> None:
            if line.strip():
                take(read(self._scrub(line)))

        response = await self._http.request(
            "GET", path, timeout_s=_TRANSFER_S, largest=LARGEST_RESULTS, sink=feed
        )
        self._raise_for(response)
        add(rest)

    async def _read_pages(
        self, path: str, read: ReadPage, take: Callable[[Item], None], names: Sequence[str]
    ) -> None:
        """Read page after page, up to the last or an empty one."""
        query: str | None = path.partition("?")[2]
        plain = path.partition("?")[0]
        while query is not None:
            body = await self._get(f"{plain}?{query}" if query else plain, largest=LARGEST_RESULTS)
            items, query = read(body, names)
            for item in items:
                take(item)
            if not items:
                return

    async def _upload(self, upload: Upload, order: BatchOrder) -> str:
        form = _form(upload, _file_name(order.label), upload.content(order))
        body = await self._call("POST", upload.path, form, timeout_s=_TRANSFER_S)
        name = made_id(body)
        for _ in range(_MOST_FILE_POLLS):
            if not is_being_read(body):
                break
            await asyncio.sleep(FILE_POLL_S)
            body = await self._get(f"/files/{name}")
        return name

    async def _get(self, path: str, *, largest: int = LARGEST_ANSWER) -> bytes:
        return await self._call("GET", path, largest=largest)

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes | FormData = b"",
        *,
        timeout_s: float | None = None,
        largest: int = LARGEST_ANSWER,
    ) -> bytes:
        response = await self._http.request(
            method, path, body, timeout_s=timeout_s or self._timeout_s, largest=largest
        )
        self._raise_for(response)
        return self._scrub(response.body)

    def _raise_for(self, response: HttpResponse) -> None:
        if not 200 <= response.status < 300:
            said = self._scrub(response.body)
            raise failure(
                response.status, response.headers, said, provider=self._host.name, now=datetime.now(UTC)
            )

    def _scrub(self, said: bytes) -> bytes:
        return said if self._secret is None else said.replace(self._secret, b"***")


@asynccontextmanager
async def open_batches(offer: Offer, *, environ: Mapping[str, str]) -> AsyncIterator[BatchProvider]:
    """Open an offer's batch API for the duration of a `with` block.

    Raises `UsageError` if the provider has none, and the errors of `account_of`.
    """
    account = account_of(offer, environ)
    kind = account.host.batch
    if kind is None:
        raise UsageError(
            f"provider `{offer.provider}` has no batch API that Crossgrade knows",
            code="batch-not-offered",
            hint=f"set `batch: false` on offer `{offer.name}`",
        )
    async with open_http(account.base_url, account.headers, environ=environ) as http:
        yield HostedBatches(account, http, BATCH_DIALECTS[kind], timeout_s=offer.timeout_s)


def _form(upload: Upload, name: str, content: bytes) -> FormData:
    """Return a multipart form with the upload's fields and the file."""
    form = FormData()
    for field, value in upload.fields:
        form.add_field(field, value.format(name=name))
    form.add_field("file", io.BytesIO(content), filename=name, content_type="application/jsonl")
    return form


def _file_name(label: str) -> str:
    return f"{label}.jsonl"


def _checked(name: str) -> str:
    """Return a batch id. Raises `UsageError` unless it can be one part of a path."""
    if not name.isascii() or not name.replace("_", "").replace("-", "").replace(".", "").isalnum():
        raise UsageError(
            f"not a batch id: {name[:80]!r}",
            code="batch-id-invalid",
            hint="give the id that submitting printed",
        )
    return name


def _require_done(status: BatchStatus) -> None:
    if status.state == "running":
        raise UsageError(
            "the batch is still running", code="batch-running", hint="poll until it is done, then collect it"
        )
    if status.state == "failed":
        raise UpstreamError(
            f"the batch failed: {status.problem or 'no reason was given'}", code="batch-failed-upstream"
        )


def _complete(found: dict[str, BatchResult], requests: Mapping[str, ModelRequest]) -> dict[str, BatchResult]:
    """Return the results, with an error for each request without one."""
    missing: dict[str, ProviderError] = {
        name: UpstreamError("the batch ended without a result for this request", code="batch-result-missing")
        for name in requests
        if name not in found
    }
    return {**found, **missing}
