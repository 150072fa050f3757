"""Batch APIs: many requests at half price, answered within a day.

A batch outlives the process that submitted it: keep its id, and poll and collect later.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol, TypeAlias

from crossgrade.domain import ModelRequest, Offer
from crossgrade.errors import ProviderError, UpstreamError, UsageError
from crossgrade.providers._http import HttpClient, open_http
from crossgrade.providers.hosted import LARGEST_ANSWER, Account, account_of
from crossgrade.wire import FLAVOURS, Flavour, failure
from crossgrade.wire.batches import (
    BatchResult,
    BatchStatus,
    anthropic_order,
    anthropic_result,
    anthropic_status,
    batch_id,
    check_batch,
    openai_lines,
    openai_result,
    openai_status,
)

LARGEST_RESULTS = 2**30
"""Bound of a batch's results in bytes."""

_TRANSFER_S = 600.0
_ReadLine: TypeAlias = Callable[[bytes, Mapping[str, ModelRequest], Flavour], tuple[str, BatchResult]]


class BatchProvider(Protocol):
    """An offer whose provider takes batches."""

    async def submit(self, requests: Mapping[str, ModelRequest]) -> str:
        """Submit requests by custom id (at most 64 letters, digits, - or _); return the batch's id.

        Nothing is retried: after an error look at the provider's list before submitting again.
        """

    async def poll(self, batch: str) -> BatchStatus:
        """Return how far a batch is."""

    async def results(self, batch: str, requests: Mapping[str, ModelRequest]) -> dict[str, BatchResult]:
        """Collect a finished batch: an answer or an error for each custom id of `requests`."""


class _Calls:
    """What both APIs need: calls that return a body or raise, and results read line by line."""

    def __init__(self, account: Account, http: HttpClient, timeout_s: float) -> None:
        self.host = account.host
        self.flavour = FLAVOURS[account.host.flavour]
        self._http = http
        self._timeout_s = timeout_s
        self._key = account.key.encode() if account.key else None

    async def get(self, path: str) -> bytes:
        """Return the body of a GET."""
        return await self._call("GET", path, b"", "", self._timeout_s)

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        timeout_s: float | None = None,
    ) -> bytes:
        """Return the body of a POST."""
        return await self._call("POST", path, body, content_type, timeout_s or self._timeout_s)

    async def lines(
        self, path: str, read: _ReadLine, requests: Mapping[str, ModelRequest]
    ) -> dict[str, BatchResult]:
        """Read JSON lines as they come, so that the file is never held whole."""
        found: dict[str, BatchResult] = {}
        rest = b""

        def take(piece: bytes) -> bool:
            nonlocal rest
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LARGEST_ANSWER:
                raise UpstreamError(f"a line of the results is longer than {LARGEST_ANSWER} bytes")
            for line in lines:
                add(line)
            return False

        def add(line: bytes) -> None:
            if line.strip():
                name, result = read(self._scrub(line), requests, self.flavour)
                if name in requests:
                    found[name] = result

        response = await self._http.request(
            "GET", path, timeout_s=_TRANSFER_S, largest=LARGEST_RESULTS, sink=take
        )
        self._raise_for(response.status, response.headers, response.body)
        add(rest)
        return found

    async def _call(self, method: str, path: str, body: bytes, content_type: str, timeout_s: float) -> bytes:
        response = await self._http.request(
            method, path, body, content_type=content_type, timeout_s=timeout_s, largest=LARGEST_ANSWER
        )
        self._raise_for(response.status, response.headers, response.body)
        return self._scrub(response.body)

    def _raise_for(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if status != 200:
            said = self._scrub(body)
            raise failure(status, headers, said, provider=self.host.name, now=datetime.now(UTC))

    def _scrub(self, said: bytes) -> bytes:
        return said if self._key is None else said.replace(self._key, b"***")


class OpenAIBatches:
    """OpenAI's batch API, and hosts that copy it: upload a file, make a batch of it, download two files."""

    def __init__(self, calls: _Calls) -> None:
        self._calls = calls

    async def submit(self, requests: Mapping[str, ModelRequest]) -> str:
        """Upload the requests and make a batch of them."""
        check_batch(requests)
        endpoint, lines = openai_lines(requests, self._calls.flavour, self._calls.host)
        boundary = secrets.token_hex(16)
        kind = f"multipart/form-data; boundary={boundary}"
        uploaded = await self._calls.post(
            "/files", _form(boundary.encode(), lines), content_type=kind, timeout_s=_TRANSFER_S
        )
        order = (
            f'{{"input_file_id":"{batch_id(uploaded)}","endpoint":"{endpoint}","completion_window":"24h"}}'
        )
        return batch_id(await self._calls.post("/batches", order.encode()))

    async def poll(self, batch: str) -> BatchStatus:
        """Return how far a batch is."""
        return openai_status(await self._calls.get(f"/batches/{_checked(batch)}"))

    async def results(self, batch: str, requests: Mapping[str, ModelRequest]) -> dict[str, BatchResult]:
        """Download the output and the error file."""
        status = await self.poll(batch)
        _require_done(status)
        found: dict[str, BatchResult] = {}
        for name in status.files:
            found |= await self._calls.lines(f"/files/{_checked(name)}/content", openai_result, requests)
        return _complete(found, requests)


class AnthropicBatches:
    """Anthropic's message batches."""

    def __init__(self, calls: _Calls) -> None:
        self._calls = calls

    async def submit(self, requests: Mapping[str, ModelRequest]) -> str:
        """Submit the requests in one call."""
        check_batch(requests)
        order = anthropic_order(requests, self._calls.flavour, self._calls.host)
        return batch_id(await self._calls.post("/messages/batches", order, timeout_s=_TRANSFER_S))

    async def poll(self, batch: str) -> BatchStatus:
        """Return how far a batch is."""
        return anthropic_status(await self._calls.get(f"/messages/batches/{_checked(batch)}"))

    async def results(self, batch: str, requests: Mapping[str, ModelRequest]) -> dict[str, BatchResult]:
        """Download the results, from this host: the address in the batch object is not followed."""
        _require_done(await self.poll(batch))
        path = f"/messages/batches/{_checked(batch)}/results"
        return _complete(await self._calls.lines(path, anthropic_result, requests), requests)


@asynccontextmanager
async def open_batches(offer: Offer, *, environ: Mapping[str, str]) -> AsyncIterator[BatchProvider]:
    """Open an offer's batch API for the length of a `with` block.

    Raises `UsageError` when the provider has none, and as `account_of` does.
    """
    account = account_of(offer, environ)
    kind = account.host.batch
    if kind is None:
        raise UsageError(
            f"provider `{offer.provider}` has no batch API that Crossgrade knows",
            hint=f"set `batch: false` on offer `{offer.name}`",
        )
    async with open_http(account.base_url, account.headers, environ=environ) as http:
        calls = _Calls(account, http, offer.timeout_s)
        yield OpenAIBatches(calls) if kind == "openai" else AnthropicBatches(calls)


def _form(boundary: bytes, lines: bytes) -> bytes:
    """Return a multipart form with the purpose and the file."""
    return b"\r\n".join(
        [
            b"--" + boundary,
            b'content-disposition: form-data; name="purpose"',
            b"",
            b"batch",
            b"--" + boundary,
            b'content-disposition: form-data; name="file"; filename="batch.jsonl"',
            b"content-type: application/jsonl",
            b"",
            lines,
            b"--" + boundary + b"--",
            b"",
        ]
    )


def _checked(name: str) -> str:
    """Refuse an id that would be more than one part of a path."""
    if not name.isascii() or not name.replace("_", "").replace("-", "").replace(".", "").isalnum():
        raise UsageError(f"not a batch id: {name[:80]!r}", hint="give the id that submitting printed")
    return name


def _require_done(status: BatchStatus) -> None:
    if status.state == "running":
        raise UsageError("the batch is still running", hint="poll until it is done, then collect it")
    if status.state == "failed":
        raise UpstreamError(f"the batch failed: {status.problem or 'no reason was given'}")


def _complete(found: dict[str, BatchResult], requests: Mapping[str, ModelRequest]) -> dict[str, BatchResult]:
    """Give every request without a result an error."""
    missing: dict[str, ProviderError] = {
        name: UpstreamError("the batch ended without a result for this request")
        for name in requests
        if name not in found
    }
    return {**found, **missing}
