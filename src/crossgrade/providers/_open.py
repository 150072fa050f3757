"""The one door to a provider, local or hosted."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from crossgrade.domain import Offer
from crossgrade.providers._protocol import Provider
from crossgrade.providers.hosted import open_hosted
from crossgrade.providers.local import open_local
from crossgrade.providers.local_process import LocalSettings


@asynccontextmanager
async def open_provider(
    offer: Offer,
    *,
    environ: Mapping[str, str],
    measure_ttft: bool = False,
    root: Path | None = None,
    local: LocalSettings | None = None,
    key_needed: bool = True,
) -> AsyncIterator[Provider]:
    """Open an offer for the length of a `with` block, so that it can be asked.

    `environ` holds keys, addresses and proxies. With `measure_ttft` answers are streamed and
    carry their time to first token. `root` and `local` (how to run it) are for local models.
    Raises `UsageError` or `AuthError` where the offer cannot be opened; nothing is sent yet. Without
    `key_needed`, for an offer that will hardly be asked, a missing key is an error of the first question.
    """
    opened: AbstractAsyncContextManager[Provider]
    if offer.provider == "local":
        opened = open_local(offer, environ=environ, settings=local, root=root, measure_ttft=measure_ttft)
    else:
        opened = open_hosted(offer, environ=environ, measure_ttft=measure_ttft, key_needed=key_needed)
    async with opened as provider:
        yield provider
