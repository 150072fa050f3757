"""The end of a node: its desk asks models from there, with the node's keys and local models.

A run, its limits, its budget and its store stay in the process that was started. Only the call itself runs on
a node, so what a run finds does not depend on which node answers first.
"""

import asyncio
import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from traceback import format_exception
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from crossgrade.domain import ModelAnswer, ModelRequest, Offer
from crossgrade.errors import CrossgradeError, UpstreamError
from crossgrade.providers import Embeddings, Provider, open_provider

GATHER_S = 0.02
"""The time for which requests to a provider's API and their answers gather. It is short beside an answer's.

A local model is not kept waiting for it: its places would be empty meanwhile.
"""

_CONNECT_S = 5.0

Numbered: TypeAlias = tuple[int, int, ModelRequest]
"""A request with its number and the key of the model that it is for."""

Answered: TypeAlias = tuple[int, "ModelAnswer | Exception | None"]
"""The number of a request, and its answer. None says that its model is not open at the desk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskFacts:
    """What a desk says of a model that it asks; see `Provider`."""

    account: str
    base_url: str | None
    identity: str | None
    places: int | None


class Desk:
    """Asks the models of a run from a node. The driver gives each of them a key, under which it is open.

    All share the desk's exchanges, since a message between machines costs more than a request.
    """

    def __init__(self) -> None:
        self._models: dict[int, OpenModel] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._answered: list[Answered] = []
        self._is_pressing = False
        self._changed = asyncio.Condition()
        self._exchanges = 0

    async def facts(self, model: tuple[int, Offer, Mapping[str, Any]]) -> DeskFacts:
        """Open a model under its key, if it is not open yet, and say what it is.

        The mapping has the options of `open_provider`. Raises as that does, and `UpstreamError`
        (`connect-failed`) if the model's address is this node's own and nothing listens.
        """
        key, offer, options = model
        opened = self._models.setdefault(key, OpenModel(offer, options))
        provider = await opened.ready()
        if provider.base_url is not None:
            await _check_loopback(provider.base_url, offer.provider)
        return DeskFacts(
            account=provider.account,
            base_url=provider.base_url,
            identity=provider.identity,
            places=provider.places,
        )

    async def exchange(self, requests: Sequence[Numbered]) -> list[Answered]:
        """Begin to ask numbered requests, each as `Provider.ask` does, and return answers that are there.

        It waits until there is one, or until the next exchange, which waits in its place.
        """
        for number, key, request in requests:
            asking = asyncio.create_task(self._ask(number, key, request))
            self._under_way.add(asking)
            asking.add_done_callback(self._under_way.discard)
        exchange = await self._next_exchange()
        async with self._changed:
            await self._changed.wait_for(lambda: self._answered or self._exchanges > exchange)
            try:
                async with asyncio.timeout(GATHER_S):
                    await self._changed.wait_for(lambda: self._is_pressing or self._exchanges > exchange)
            except TimeoutError:
                pass
        answers, self._answered, self._is_pressing = self._answered, [], False
        return answers

    async def embed(self, texts: tuple[int, Sequence[str]]) -> Embeddings | None:
        """Return vectors, as `Provider.embed` does; None from a model that is not open."""
        key, asked = texts
        opened = self._models.get(key)
        return None if opened is None else await (await opened.ready()).embed(asked)

    async def close(self, key: int) -> None:
        """Close a model; a child process that runs it ends. Whoever waits for answers is answered."""
        opened = self._models.pop(key, None)
        await self._next_exchange()
        if opened is not None:
            await opened.close()

    async def _next_exchange(self) -> int:
        self._exchanges += 1
        exchange = self._exchanges
        async with self._changed:
            self._changed.notify_all()
        return exchange

    async def _ask(self, number: int, key: int, request: ModelRequest) -> None:
        answer: ModelAnswer | Exception | None = None
        opened = self._models.get(key)
        if opened is not None:
            try:
                answer = await (await opened.ready()).ask(request)
            except CrossgradeError as error:
                answer = error
            except Exception as error:  # noqa: BLE001  # raised where it is awaited; its class may not be known there
                answer = RuntimeError("".join(format_exception(error)))
        self._answered.append((number, answer))
        self._is_pressing = self._is_pressing or opened is None or opened.has_places
        async with self._changed:
            self._changed.notify_all()


class OpenModel:
    """A model that is opened when it is first needed."""

    def __init__(self, offer: Offer, options: Mapping[str, Any]) -> None:
        self._offer = offer
        self._options = options
        self._opening = asyncio.Lock()
        self._provider: Provider | None = None
        self._closing = asyncio.Event()
        self._holding: asyncio.Task[None] | None = None

    @property
    def has_places(self) -> bool:
        """Whether it answers so many requests at once and no more, as a local model does."""
        return self._provider is not None and bool(self._provider.places)

    async def ready(self) -> Provider:
        async with self._opening:
            if self._provider is None:
                opened: asyncio.Future[Provider] = asyncio.get_running_loop().create_future()
                self._holding = asyncio.create_task(self._hold(opened))
                self._provider = await opened
            return self._provider

    async def _hold(self, opened: "asyncio.Future[Provider]") -> None:
        """Hold the model open until it is to be closed: it is closed by the task that opened it."""
        try:
            async with open_provider(self._offer, environ=os.environ, **self._options) as provider:
                opened.set_result(provider)
                await self._closing.wait()
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)

    async def close(self) -> None:
        async with self._opening:
            self._closing.set()
            if self._holding is not None:
                await asyncio.wait([self._holding])


async def _check_loopback(base_url: str, provider: str) -> None:
    """Raise `UpstreamError` if an address is of this machine and nothing listens there."""
    place = urlsplit(base_url)
    host = place.hostname or ""
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        return
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        raise UpstreamError(
            f"nothing listens at {base_url}",
            code="connect-failed",
            provider=provider,
            hint="start the model's server on every node that should ask it",
        ) from error
    writer.close()
