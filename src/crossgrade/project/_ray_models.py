"""Models that are asked from the nodes of a cluster: what sends a run's requests to the desks there.

A request goes to the node with the fewest under way. All models of a run share the desk of a node and its
mailbox, so that a message carries the requests of all of them.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from crossgrade.domain import ModelAnswer, ModelRequest, Offer
from crossgrade.errors import CrossgradeError, UpstreamError
from crossgrade.project._ray_desk import GATHER_S, Answered, DeskFacts, Numbered
from crossgrade.providers import Embeddings, LocalSettings, Provider

_STARTING_S = 0.5
_CLOSING_S = 10.0

_T = TypeVar("_T")
_KEYS = count(1)


class DeskLostError(Exception):
    """The node or the process of a desk is lost; `for_good` unless it is being started again."""

    def __init__(self, why: str, *, for_good: bool) -> None:
        super().__init__(why)
        self.for_good = for_good


class Mailbox:
    """Exchanges requests for answers with a desk, in groups: a message costs more than a request.

    `call` calls a method of the desk with one argument.
    """

    def __init__(self, call: "Call") -> None:
        self._call = call
        self._number = 0
        self._unsent: list[Numbered] = []
        self._waiting: dict[int, asyncio.Future[ModelAnswer]] = {}
        self._gathering: asyncio.Task[None] | None = None
        self._pressing = asyncio.Event()
        self._exchanging: set[asyncio.Task[None]] = set()
        self._out = 0
        """How many exchanges are with the desk. Tasks cannot tell: two that return at once end together."""

    async def ask(self, key: int, request: ModelRequest, *, is_pressing: bool) -> ModelAnswer:
        """Send one request to the model of a key, without gathering others if it is pressing.

        Raises what the model raises, and `DeskLostError`.
        """
        self._number += 1
        answer: asyncio.Future[ModelAnswer] = asyncio.get_running_loop().create_future()
        number = self._number
        self._waiting[number] = answer
        self._unsent.append((number, key, request))
        self._gather()
        if is_pressing:
            self._pressing.set()
        try:
            return await answer
        finally:  # a caller that was cancelled waits no more: what was not sent yet costs nothing
            self._waiting.pop(number, None)

    def _gather(self) -> None:
        if self._gathering is None or self._gathering.done():
            self._pressing = asyncio.Event()
            self._gathering = asyncio.create_task(self._send_soon())

    async def _send_soon(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHER_S):
                await self._pressing.wait()
        group = [each for each in self._unsent if each[0] in self._waiting]
        self._unsent = []
        if not self._waiting:
            return
        exchanging = asyncio.create_task(self._exchange(group))
        self._exchanging.add(exchanging)
        exchanging.add_done_callback(self._exchanging.discard)

    async def _exchange(self, group: list[Numbered]) -> None:
        """Send a group, and deliver the answers that come back, which may be those of earlier groups."""
        self._out += 1
        try:
            answers: Sequence[Answered] = await self._call("exchange", group)
        except Exception as error:  # noqa: BLE001  # whoever waits for an answer has to know
            unsent = {number for number, _, _ in self._unsent}
            for number in self._waiting.keys() - unsent:
                self._end(number, error)
            return
        finally:
            self._out -= 1
        for number, answer in answers:
            self._end(number, answer)
        if self._waiting and not self._out:  # the last one that came back asks for what is still to come
            self._gather()

    def _end(self, number: int, answer: ModelAnswer | Exception | None) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is None or waiting.done():
            return
        if answer is None:
            waiting.set_exception(_started_again())
        elif isinstance(answer, Exception):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)


def _started_again() -> DeskLostError:
    return DeskLostError("its process was started again", for_good=False)


Call: TypeAlias = Callable[[str, Any], Awaitable[Any]]
"""Calls a method of a desk with one argument."""


@dataclass(slots=True, kw_only=True, eq=False)
class Place:
    """A desk on a node as seen from the driver; `handle` is the cluster's own name of it.

    A desk that `is_lost` is not started again.
    """

    node: str
    call: Call
    handle: Any
    is_lost: bool = False
    mailbox: Mailbox = field(init=False)

    def __post_init__(self) -> None:
        """Open its mailbox."""
        self.mailbox = Mailbox(self.call)


class ModelOnNodes:
    """A model that is asked from several nodes: a request goes to the node with the fewest under way.

    A request whose node is lost fails as one whose connection was cut: it may be sent again, to another. A
    node whose process was lost is asked again once that has been started anew.
    """

    def __init__(
        self,
        model: tuple[int, Offer, Mapping[str, Any]],
        facts: DeskFacts,
        places: int | None,
        desks: Sequence[Place],
    ) -> None:
        self._model = model
        self._key, self._offer, _ = model
        self._facts = facts
        self._places = places
        self._desks = list(desks)
        self._under_way: Counter[Place] = Counter()
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
        is_local = bool(self._places)
        return await self._at_desk(lambda desk: desk.mailbox.ask(self._key, request, is_pressing=is_local))

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """Return vectors from a node. Raises as `Provider.embed` does, and as `_at_desk`."""

        async def embed(desk: Place) -> Embeddings:
            found: Embeddings | None = await desk.call("embed", (self._key, list(texts)))
            if found is None:
                raise _started_again()
            return found

        return await self._at_desk(embed)

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
        desk = min(self._desks, key=self._under_way.__getitem__)
        self._under_way[desk] += 1
        try:
            return await ask(desk)
        except DeskLostError as error:
            if desk in self._desks:
                self._desks.remove(desk)
                if error.for_good:
                    desk.is_lost = True
                else:
                    starting = asyncio.create_task(self._start_again(desk))
                    self._starting.add(starting)
                    starting.add_done_callback(self._starting.discard)
            raise UpstreamError(
                f"the node {desk.node} was lost while it asked `{self.name}`: {error}",
                code="node-lost",
                provider=self._offer.provider,
            ) from error
        finally:
            self._under_way[desk] -= 1

    async def _start_again(self, desk: Place) -> None:
        """Wait until a desk is there again, or lost for good."""
        while True:
            try:
                await desk.call("facts", self._model)
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
        """Wait for no desk any more."""
        for each in self._starting:
            each.cancel()


@asynccontextmanager
async def open_on_nodes(
    offer: Offer,
    place: Callable[[], Sequence[Place]],
    *,
    measure_ttft: bool = False,
    root: Path | None = None,
    local: LocalSettings | None = None,
    key_needed: bool = True,
) -> AsyncIterator[Provider]:
    """Open an offer on every node that has what it takes, as `open_provider` does on this machine.

    `place` returns the desks of all nodes. A node has what it takes if the key is set there, the local model
    is installed, or its own server listens. Raises what kept the first node from it if there is none, and
    `CrossgradeError` (`node-model-differs`) if nodes would run another model under one name.
    """
    options = {
        "measure_ttft": measure_ttft,
        "root": root and root.absolute(),  # noqa: ASYNC240 -- the folder of processes elsewhere is another
        "local": local,
        "key_needed": key_needed,
    }
    model = (next(_KEYS), offer, options)
    placed = await asyncio.to_thread(place)
    try:
        having = await _having(model, placed)
        facts = having[0][1]
        for desk, other in having:
            if (other.identity, other.base_url) != (facts.identity, facts.base_url):
                raise CrossgradeError(
                    f"the nodes {having[0][0].node} and {desk.node} have another `{offer.name}` each",
                    code="node-model-differs",
                    hint="install the same file and the same versions on every node",
                )
        places = None if facts.places is None else sum(other.places or 0 for _, other in having)
        asked = ModelOnNodes(model, facts, places, [desk for desk, _ in having])
        try:
            yield asked
        finally:
            asked.close()
    finally:
        with suppress(Exception):  # a lost node has closed it
            async with asyncio.timeout(_CLOSING_S):
                closing = (each.call("close", model[0]) for each in placed)
                await asyncio.gather(*closing, return_exceptions=True)


async def _having(
    model: tuple[int, Offer, Mapping[str, Any]], placed: Sequence[Place]
) -> list[tuple[Place, DeskFacts]]:
    """Open a model at the desks, and return those that have what it takes; raise if there is none."""
    told = await asyncio.gather(*(each.call("facts", model) for each in placed), return_exceptions=True)
    having = [(desk, found) for desk, found in zip(placed, told, strict=True) if isinstance(found, DeskFacts)]
    if having:
        return having
    for desk, found in zip(placed, told, strict=True):
        if isinstance(found, BaseException):
            raise at_node(desk.node, found)
    raise CrossgradeError("the cluster has no node", code="worker-lost")


def at_node(node: str, error: BaseException) -> BaseException:
    """Return an error of ours with the node named in its message."""
    if isinstance(error, DeskLostError):
        return CrossgradeError(f"the node {node} was lost: {error}", code="worker-lost")
    if isinstance(error, CrossgradeError):
        error.message = f"the node {node}: {error.message}"
    return error
