"""Models that are asked from the nodes of a cluster: a desk on each node, and what sends requests to them.

A run, its limits, its budget and its store stay in the process that was started. Only the call itself runs on
a node, with the keys of that node, so what a run finds does not depend on which node answers first.
"""

import asyncio
import ipaddress
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from traceback import format_exception
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from crossgrade.domain import ModelAnswer, ModelRequest, Offer
from crossgrade.errors import CrossgradeError, UpstreamError
from crossgrade.providers import Embeddings, LocalSettings, Provider, open_provider

_CONNECT_S = 5.0
_STARTING_S = 0.5
_GATHER_S = 0.02
"""The time for which requests to a provider's API and their answers gather. It is short beside an answer's.

A local model is not kept waiting for it: its places would be empty meanwhile.
"""

_T = TypeVar("_T")


class DeskLostError(Exception):
    """The node or the process of a desk is lost; `for_good` unless it is being started again."""

    def __init__(self, why: str, *, for_good: bool) -> None:
        super().__init__(why)
        self.for_good = for_good


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskFacts:
    """What a desk says of the model that it asks; see `Provider`."""

    account: str
    base_url: str | None
    identity: str | None
    places: int | None


class Desk:
    """Asks one model on a node, from where it is: with the node's keys, or as a child process there."""

    def __init__(self, offer: Offer, options: Mapping[str, Any]) -> None:
        self._offer = offer
        self._options = options
        self._opening = asyncio.Lock()
        self._opened = AsyncExitStack()
        self._provider: Provider | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._answered: list[tuple[int, ModelAnswer | Exception]] = []
        self._changed = asyncio.Condition()
        self._exchanges = 0

    async def facts(self) -> DeskFacts:
        """Open the model and say what it is. Raises as `open_provider` does.

        Raises `UpstreamError` too (`connect-failed`) if its address is this node's own and nothing listens.
        """
        provider = await self._ready()
        if provider.base_url is not None:
            await _check_loopback(provider.base_url, self._offer.provider)
        return DeskFacts(
            account=provider.account,
            base_url=provider.base_url,
            identity=provider.identity,
            places=provider.places,
        )

    async def exchange(
        self, requests: Sequence[tuple[int, ModelRequest]]
    ) -> list[tuple[int, ModelAnswer | Exception]]:
        """Begin to ask numbered requests, each as `Provider.ask` does, and return answers that are there.

        It waits until there is one, or until the next exchange, which waits in its place.
        """
        for number, request in requests:
            asking = asyncio.create_task(self._ask(number, request))
            self._under_way.add(asking)
            asking.add_done_callback(self._under_way.discard)
        self._exchanges += 1
        exchange = self._exchanges
        async with self._changed:
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._answered or self._exchanges > exchange)
        if self._exchanges == exchange and not (self._provider and self._provider.places):
            await asyncio.sleep(_GATHER_S)
        answers, self._answered = self._answered, []
        return answers

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """Return vectors, as `Provider.embed` does."""
        return await (await self._ready()).embed(texts)

    async def _ask(self, number: int, request: ModelRequest) -> None:
        answer: ModelAnswer | Exception
        try:
            answer = await (await self._ready()).ask(request)
        except CrossgradeError as error:
            answer = error
        except Exception as error:  # noqa: BLE001  # raised where it is awaited; its class may not be known there
            answer = RuntimeError("".join(format_exception(error)))
        self._answered.append((number, answer))
        async with self._changed:
            self._changed.notify_all()

    async def _ready(self) -> Provider:
        """Return the open model: a desk that was started again opens it again."""
        async with self._opening:
            if self._provider is None:
                opening = open_provider(self._offer, environ=os.environ, **self._options)
                self._provider = await self._opened.enter_async_context(opening)
            return self._provider


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


class Mailbox:
    """Exchanges requests for answers with a desk, in groups: a message costs more than a request.

    `call` calls a method of the desk with at most one argument. Requests gather for `gather_s` seconds before
    they are sent.
    """

    def __init__(self, call: "Call") -> None:
        self.gather_s = _GATHER_S
        self._call = call
        self._number = 0
        self._unsent: list[tuple[int, ModelRequest]] = []
        self._waiting: dict[int, asyncio.Future[ModelAnswer]] = {}
        self._gathering: asyncio.Task[None] | None = None
        self._exchanging: set[asyncio.Task[None]] = set()
        self._out = 0
        """How many exchanges are with the desk. Tasks cannot tell: two that return at once end together."""

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        """Send one request. Raises what the desk's model raises, and `DeskLostError`."""
        self._number += 1
        answer: asyncio.Future[ModelAnswer] = asyncio.get_running_loop().create_future()
        number = self._number
        self._waiting[number] = answer
        self._unsent.append((number, request))
        self._gather()
        try:
            return await answer
        finally:  # a caller that was cancelled waits no more: what was not sent yet costs nothing
            self._waiting.pop(number, None)

    def _gather(self) -> None:
        if self._gathering is None or self._gathering.done():
            self._gathering = asyncio.create_task(self._send_soon())

    async def _send_soon(self) -> None:
        await asyncio.sleep(self.gather_s)
        group = [each for each in self._unsent if each[0] in self._waiting]
        self._unsent = []
        if not self._waiting:
            return
        exchanging = asyncio.create_task(self._exchange(group))
        self._exchanging.add(exchanging)
        exchanging.add_done_callback(self._exchanging.discard)

    async def _exchange(self, group: list[tuple[int, ModelRequest]]) -> None:
        """Send a group, and deliver the answers that come back, which may be those of earlier groups."""
        self._out += 1
        try:
            answers = await self._call("exchange", group)
        except Exception as error:  # noqa: BLE001  # whoever waits for an answer has to know
            unsent = {number for number, _ in self._unsent}
            for number in self._waiting.keys() - unsent:
                self._end(number, error)
            return
        finally:
            self._out -= 1
        for number, answer in answers:
            self._end(number, answer)
        if self._waiting and not self._out:  # the last one that came back asks for what is still to come
            self._gather()

    def _end(self, number: int, answer: ModelAnswer | Exception) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is None or waiting.done():
            return
        if isinstance(answer, Exception):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)

    def close(self) -> None:
        """Wait for nothing any more."""
        for each in (self._gathering, *self._exchanging):
            if each is not None:
                each.cancel()


Call: TypeAlias = Callable[[str, Any], Awaitable[Any]]
"""Calls a method of a desk with at most one argument."""


@dataclass(slots=True, kw_only=True, eq=False)
class Place:
    """A desk on a node as seen from the driver; `handle` is the cluster's own name of it."""

    node: str
    call: Call
    handle: Any
    under_way: int = 0
    mailbox: Mailbox = field(init=False)

    def __post_init__(self) -> None:
        """Open its mailbox."""
        self.mailbox = Mailbox(self.call)


class ModelOnNodes:
    """A model that is asked from several nodes: a request goes to the node with the fewest under way.

    A request whose node is lost fails as one whose connection was cut: it may be sent again, to another. A
    node whose process was lost is asked again once that has been started anew.
    """

    def __init__(self, offer: Offer, facts: DeskFacts, places: int | None, desks: Sequence[Place]) -> None:
        self._offer = offer
        self._facts = facts
        self._places = places
        self._desks = list(desks)
        if places is not None:
            for each in desks:
                each.mailbox.gather_s = 0.0
        self._starting: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """The offer's name."""
        return self._offer.name

    @property
    def account(self) -> str:
        """The account, which is one for all nodes."""
        return self._facts.account

    @property
    def base_url(self) -> str | None:
        """The address, the same on every node."""
        return self._facts.base_url

    @property
    def identity(self) -> str | None:
        """What a local model runs, the same on every node."""
        return self._facts.identity

    @property
    def places(self) -> int | None:
        """How many requests all nodes together answer at once; None if only the account bounds them."""
        return self._places

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        """Send one request from a node. Raises as `Provider.ask` does, and as `_at_desk`."""
        return await self._at_desk(lambda desk: desk.mailbox.ask(request))

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """Return vectors from a node. Raises as `Provider.embed` does, and as `_at_desk`."""
        found: Embeddings = await self._at_desk(lambda desk: desk.call("embed", list(texts)))
        return found

    async def _at_desk(self, ask: Callable[[Place], Awaitable[_T]]) -> _T:
        """Ask the desk with the fewest requests under way.

        Raises `UpstreamError` (`node-lost`) for a lost node, `CrossgradeError` once none is left.
        """
        while not self._desks and self._starting:
            await asyncio.wait(self._starting, return_when=asyncio.FIRST_COMPLETED)
        if not self._desks:
            raise CrossgradeError(
                f"every node that asked `{self.name}` is lost",
                code="worker-lost",
                hint="start the nodes again, and continue with `--resume`",
            )
        desk = min(self._desks, key=lambda each: each.under_way)
        desk.under_way += 1
        try:
            return await ask(desk)
        except DeskLostError as error:
            if desk in self._desks:
                self._desks.remove(desk)
                if not error.for_good:
                    starting = asyncio.create_task(self._start_again(desk))
                    self._starting.add(starting)
                    starting.add_done_callback(self._starting.discard)
            raise UpstreamError(
                f"the node {desk.node} was lost while it asked `{self.name}`: {error}",
                code="node-lost",
                provider=self._offer.provider,
            ) from error
        finally:
            desk.under_way -= 1

    async def _start_again(self, desk: Place) -> None:
        """Wait until a desk is there again, or lost for good."""
        while True:
            try:
                await desk.call("facts", None)
            except DeskLostError as error:
                if error.for_good:
                    return
                await asyncio.sleep(_STARTING_S)
            except CrossgradeError:  # the model is not there any more
                return
            else:
                self._desks.append(desk)
                return

    def close(self) -> None:
        """Wait for nothing any more."""
        for each in self._starting:
            each.cancel()
        for desk in self._desks:
            desk.mailbox.close()


Placing = Callable[[Offer, Mapping[str, Any]], Sequence[Place]]
"""Puts a desk for an offer on every node; the options are those of `open_provider`."""


@asynccontextmanager
async def open_on_nodes(
    offer: Offer,
    place: Placing,
    remove: Callable[[Sequence[Place]], None],
    *,
    measure_ttft: bool = False,
    root: Path | None = None,
    local: LocalSettings | None = None,
    key_needed: bool = True,
) -> AsyncIterator[Provider]:
    """Open an offer on every node that has what it takes, as `open_provider` does on this machine.

    A node has it if the key is set there, the local model is installed, or its own server listens. Raises
    what kept the first node from it if there is none, and `CrossgradeError` (`node-model-differs`) if nodes
    would run another model under one name.
    """
    options = {
        "measure_ttft": measure_ttft,
        "root": root and root.absolute(),  # noqa: ASYNC240 -- the folder of processes elsewhere is another
        "local": local,
        "key_needed": key_needed,
    }
    placed = await asyncio.to_thread(place, offer, options)
    try:
        told = await asyncio.gather(*(each.call("facts", None) for each in placed), return_exceptions=True)
        having: list[tuple[Place, DeskFacts]] = []
        first_error: BaseException | None = None
        for desk, found in zip(placed, told, strict=True):
            if isinstance(found, DeskFacts):
                having.append((desk, found))
            elif first_error is None:
                first_error = at_node(desk.node, found)
        if not having:
            raise first_error or CrossgradeError("the cluster has no node", code="worker-lost")
        facts = having[0][1]
        for desk, other in having:
            if (other.identity, other.base_url) != (facts.identity, facts.base_url):
                raise CrossgradeError(
                    f"the nodes {having[0][0].node} and {desk.node} have another `{offer.name}` each",
                    code="node-model-differs",
                    hint="install the same file and the same versions on every node",
                )
        places = None if facts.places is None else sum(other.places or 0 for _, other in having)
        model = ModelOnNodes(offer, facts, places, [desk for desk, _ in having])
        try:
            yield model
        finally:
            model.close()
    finally:
        remove(placed)


def at_node(node: str, error: BaseException) -> BaseException:
    """Return an error of ours with the node named in its message."""
    if isinstance(error, DeskLostError):
        return CrossgradeError(f"the node {node} was lost: {error}", code="worker-lost")
    if isinstance(error, CrossgradeError):
        error.message = f"the node {node}: {error.message}"
    return error
