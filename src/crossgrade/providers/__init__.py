"""Sends requests to models: hosted APIs, and local models in child processes.

A provider sends each request once, measures it, and either returns an answer or raises one of
the `ProviderError`s. `calls` does retries, concurrency and budgets.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from crossgrade.dialects import Embeddings
from crossgrade.domain import ModelAnswer, ModelRequest, Offer
from crossgrade.providers._http import HttpResponse
from crossgrade.providers.batch import BatchProvider, open_batches
from crossgrade.providers.cores import usable_cores
from crossgrade.providers.hosted import Account, HostedProvider, OnResponse, account_of, open_hosted
from crossgrade.providers.local import LocalProvider, open_local
from crossgrade.providers.local_process import LocalSettings
from crossgrade.providers.models import find_model

__all__ = [
    "Account",
    "BatchProvider",
    "Embeddings",
    "HostedProvider",
    "HttpResponse",
    "LocalProvider",
    "LocalSettings",
    "OnResponse",
    "OpenProvider",
    "Provider",
    "account_of",
    "find_model",
    "open_batches",
    "open_hosted",
    "open_local",
    "open_provider",
    "usable_cores",
]


class Provider(Protocol):
    """An open offer that can be asked."""

    @property
    def name(self) -> str:
        """The offer's name."""

    @property
    def account(self) -> str:
        """What its limits count against: the host and the variable that holds the key, never the key."""

    @property
    def base_url(self) -> str | None:
        """The address of a hosted API, without a key."""

    @property
    def identity(self) -> str | None:
        """What a local model runs, by its digest and settings; None for a hosted one, which may change."""

    @property
    def places(self) -> int | None:
        """How many requests it answers at once; None if only the account bounds them."""

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        """Send one request, once. Raises a `ProviderError` if no usable answer comes."""

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """Return the model's vector of each text, in their order, and the usage.

        Raises `UsageError` unless it serves OpenAI's embeddings, and the errors of `ask`.
        """


class OpenProvider(Protocol):
    """Opens an offer for the duration of a `with` block: `open_provider`, or the same on other machines."""

    def __call__(
        self,
        offer: Offer,
        *,
        environ: Mapping[str, str],
        measure_ttft: bool = False,
        root: Path | None = None,
        local: LocalSettings | None = None,
        key_needed: bool = True,
    ) -> AbstractAsyncContextManager[Provider]:
        """Open the offer; see `open_provider`."""


@asynccontextmanager
async def open_provider(
    offer: Offer,
    *,
    environ: Mapping[str, str],
    measure_ttft: bool = False,
    root: Path | None = None,
    local: LocalSettings | None = None,
    key_needed: bool = True,
    on_response: OnResponse = lambda _: None,
) -> AsyncIterator[Provider]:
    """Open an offer for the duration of a `with` block.

    `environ` holds keys, addresses and proxies. With `measure_ttft` answers are streamed and
    carry their time to first token. `root` and `local` (how to run it) are for local models, and
    `on_response` is for hosted ones.
    Raises `UsageError` or `AuthError` if the offer cannot be opened; nothing is sent yet. Without
    `key_needed`, for an offer that may never be used, a missing key is an error of the first request.
    """
    opened: AbstractAsyncContextManager[Provider]
    if offer.provider == "local":
        opened = open_local(offer, environ=environ, settings=local, root=root, measure_ttft=measure_ttft)
    else:
        opened = open_hosted(
            offer,
            environ=environ,
            measure_ttft=measure_ttft,
            key_needed=key_needed,
            on_response=on_response,
        )
    async with opened as provider:
        yield provider
