"""The one door to a provider, local or hosted."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from crossgrade.domain import Offer
from crossgrade.providers._protocol import Provider
from crossgrade.providers.hosted import open_hosted


@asynccontextmanager
async def open_provider(
    offer: Offer, *, environ: Mapping[str, str], measure_ttft: bool = False
) -> AsyncIterator[Provider]:
    """Open an offer for the length of a `with` block, so that it can be asked.

    `environ` holds keys, addresses and proxies. With `measure_ttft` answers are streamed and
    carry their time to first token.
    """
    async with open_hosted(offer, environ=environ, measure_ttft=measure_ttft) as provider:
        yield provider
