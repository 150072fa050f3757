"""Asks offers at hosted HTTP APIs, given by a row of `dialects.hosts`, an address and a key."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from crossgrade.dialects import (
    DIALECTS,
    Collector,
    Embeddings,
    Host,
    SseReader,
    WireRequest,
    decode_embeddings,
    encode_embeddings,
    excerpt,
    failure,
    host_named,
    key_variable,
    secret_of,
)
from crossgrade.domain import ModelAnswer, ModelRequest, Offer
from crossgrade.errors import AuthError, ProviderError, UpstreamError, UsageError
from crossgrade.providers._http import HttpClient, HttpResponse, open_http

LARGEST_ANSWER = 16 * 2**20
"""The default limit of an answer's size, in bytes after decompression."""

OnResponse = Callable[[HttpResponse], None]
"""Receives each response before it is read, for what an answer does not carry: headers and the raw body."""

_VAGUE_TYPES = {"", "application/octet-stream", "text/json", "text/plain"}


@dataclass(frozen=True, slots=True)
class Account:
    """The host, address and key of an offer's calls. Its `repr` does not show the key."""

    host: Host
    base_url: str
    name: str
    key: str | None

    def __repr__(self) -> str:
        return f"Account({self.name!r}, {self.base_url!r})"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every call."""
        key = {} if self.key is None else {self.host.key_header: f"{self.host.key_prefix}{self.key}"}
        return {**dict(self.host.headers), **key}


def account_of(offer: Offer, environ: Mapping[str, str]) -> Account:
    """Return an offer's address and key.

    Raises `UsageError` for an unknown provider or a missing address, and `AuthError` if the key's variable
    is not set or does not contain a valid key.
    """
    keyless = _keyless(offer, environ)
    host, base_url = keyless.host, keyless.base_url
    variable = key_variable(offer, environ)
    if variable is None:
        return keyless
    key = environ[variable].strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise AuthError(
            f"{variable} does not hold a key: there are spaces, control or non-ASCII characters in it",
            code="key-malformed",
            provider=host.name,
            hint=f"copy the key into {variable} again, on one line",
        )
    return Account(host, base_url, f"{host.name} {base_url} {variable}", key)


def _keyless(offer: Offer, environ: Mapping[str, str]) -> Account:
    host = host_named(offer.provider)
    base_url = offer.base_url or host.url(environ)
    return Account(host, base_url, f"{host.name} {base_url}", None)


class HostedProvider:
    """One offer at one host, over keep-alive connections; made by `open_hosted`."""

    def __init__(
        self,
        offer: Offer,
        account: Account,
        http: HttpClient,
        *,
        measure_ttft: bool,
        largest: int,
        no_key: AuthError | None = None,
        on_response: OnResponse = lambda _: None,
    ) -> None:
        self._offer = offer
        self._on_response = on_response
        self._account = account
        self._http = http
        self._dialect = DIALECTS[account.host.dialect]
        self._measure_ttft = measure_ttft
        self._largest = largest
        self._secret = secret_of(account.key)
        self._no_key = no_key

    def __repr__(self) -> str:
        return f"HostedProvider({self.name!r}, {self._http.base_url!r})"

    @property
    def name(self) -> str:
        """The offer's name."""
        return self._offer.name

    @property
    def account(self) -> str:
        """The host, its address and the name of the key's variable, as one text."""
        return self._account.name

    @property
    def base_url(self) -> str:
        """The address of the API, without a key."""
        return self._account.base_url

    @property
    def identity(self) -> None:
        """None: what a host runs under a name may change."""

    @property
    def places(self) -> None:
        """None: only the account bounds the requests at once."""

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        """Send one request, once, and return the answer with its latency.

        Times start when the request is sent on an open connection, so they include the network and the
        provider, but not connecting. With `measure_ttft` the answer is streamed. Raises a `ProviderError` if
        no usable answer is received within the offer's `timeout_s`.
        """
        with self._named():
            wire = self._dialect.encode(request, self._account.host, self._measure_ttft)
            answer = await (self._stream(wire, request) if self._measure_ttft else self._whole(wire, request))
        return replace(answer, usage=replace(answer.usage, images=request.images))

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """Return the model's vector of each text, in their order, and the usage.

        Raises `UsageError` unless the host has OpenAI's API, and the errors of `ask`.
        """
        if self._account.host.dialect != "openai":
            raise UsageError(
                f"offer `{self.name}` has no embeddings endpoint that speaks OpenAI's API",
                code="embeddings-not-served",
                hint="name an offer at an OpenAI-compatible host",
            )
        with self._named():
            wire = encode_embeddings(self._offer.model, texts)
            response = await self._http.request(
                "POST", wire.path, wire.encode(), timeout_s=self._offer.timeout_s, largest=self._largest
            )
            body = self._scrub(response.body)
            self._check(response, "application/json", body)
            return decode_embeddings(body, len(texts))

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Raise the error of a missing key; otherwise add the host to errors and remove the key from them."""
        if self._no_key is not None:
            raise self._no_key
        try:
            yield
        except ProviderError as error:
            error.provider = error.provider or self._account.host.name
            error.message = self._scrub(error.message.encode()).decode()
            error.args = (error.message,)
            raise

    async def _whole(self, wire: WireRequest, request: ModelRequest) -> ModelAnswer:
        response = await self._http.request(
            "POST", wire.path, wire.encode(), timeout_s=self._offer.timeout_s, largest=self._largest
        )
        body = self._scrub(response.body)
        self._on_response(replace(response, body=body))
        self._check(response, "application/json", body)
        answer = self._dialect.decode(body, request)
        return replace(answer, latency_ms=response.latency_ms)

    async def _stream(self, wire: WireRequest, request: ModelRequest) -> ModelAnswer:
        listener = _Listener(self._dialect.collect(request), asyncio.get_running_loop().time, self._scrub)
        response = await self._http.request(
            "POST",
            wire.path,
            wire.encode(),
            timeout_s=self._offer.timeout_s,
            largest=self._largest,
            sink=listener,
        )
        self._check(response, "text/event-stream", self._scrub(response.body) or listener.beginning)
        answer = listener.collector.answer()
        first = None if listener.first_at is None else (listener.first_at - response.sent_at) * 1000
        return replace(answer, latency_ms=response.latency_ms, ttft_ms=first)

    def _scrub(self, said: bytes) -> bytes:
        """Remove the key from a provider's answer, because some providers echo it and answers are stored."""
        return said if self._secret is None else said.replace(self._secret, b"***")

    def _check(self, response: HttpResponse, expected: str, body: bytes) -> None:
        """Raise unless the response has status 200 and the expected content type or a vague one."""
        host = self._account.host.name
        if response.status != 200:
            raise failure(response.status, response.headers, body, provider=host, now=datetime.now(UTC))
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != expected and kind not in _VAGUE_TYPES:
            raise UpstreamError(
                f"{host} answered {excerpt(kind, longest=60)} instead of {expected}: {excerpt(body)}",
                code="answer-not-expected-type",
                hint="check `base_url`: it must be the address of the API, which often ends in /v1",
            )


class _Listener:
    """Feeds a stream's bytes to a collector and records the time of the first token."""

    def __init__(
        self, collector: Collector, now: Callable[[], float], scrub: Callable[[bytes], bytes]
    ) -> None:
        self.collector = collector
        self.first_at: float | None = None
        self.beginning = b""
        self._now = now
        self._scrub = scrub
        self._reader = SseReader()

    def __call__(self, piece: bytes) -> bool:
        piece = self._scrub(piece)
        if len(self.beginning) < 200:
            self.beginning += piece[:200]
        for event in self._reader.feed(piece):
            self.collector.feed(event)
            if self.first_at is None and self.collector.started:
                self.first_at = self._now()
        return self.collector.done


@asynccontextmanager
async def open_hosted(
    offer: Offer,
    *,
    environ: Mapping[str, str],
    measure_ttft: bool = False,
    largest: int = LARGEST_ANSWER,
    ssl_context: ssl.SSLContext | None = None,
    keeps_alive: bool = True,
    key_needed: bool = True,
    on_response: OnResponse = lambda _: None,
) -> AsyncIterator[HostedProvider]:
    """Open an offer at a hosted API for the duration of a `with` block.

    `environ` has keys, addresses and proxies. `largest` limits the size of an answer in bytes. Without
    `keeps_alive`, every call has its own connection. `on_response` sees the response to each whole call.
    Raises the errors of `account_of`; without `key_needed`, the `AuthError` is raised by the first call
    instead. Nothing is sent before that call.
    """
    no_key: AuthError | None = None
    try:
        account = account_of(offer, environ)
    except AuthError as error:
        if key_needed:
            raise
        no_key, account = error, _keyless(offer, environ)
    if offer.timeout_s <= 0:
        raise UsageError(
            f"offer `{offer.name}` has a timeout_s of {offer.timeout_s}",
            code="timeout-invalid",
            hint="set it above 0",
        )
    async with open_http(
        account.base_url,
        account.headers,
        environ=environ,
        ssl_context=ssl_context,
        keeps_alive=keeps_alive,
    ) as http:
        yield HostedProvider(
            offer,
            account,
            http,
            measure_ttft=measure_ttft,
            largest=largest,
            no_key=no_key,
            on_response=on_response,
        )
