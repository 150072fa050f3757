"""Signing keys that an issuer has only begun to use: asked for at once, while the request waits."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

from crossgrade.gateway._head import Request
from crossgrade.gateway._server import ClientConnection
from crossgrade.identity import ASKED_AGAIN_S

WAIT_S = 2.0
MOST_WAITING = 200


class SignersContext(Protocol):
    """The worker, as far as signing keys go."""

    loop: asyncio.AbstractEventLoop

    def now(self) -> float:
        """The monotonic time."""

    def fetch_keys(self, issuer: str, on_done: Callable[[], None]) -> None:
        """Have an issuer's keys fetched; `on_done` hears when they are, or that they cannot be."""

    def handle(self, client: ClientConnection, request: Request) -> None:
        """Answer a request."""


class Signers:
    """Asks for keys, and keeps the requests that wait for them, within bounds of number and time."""

    def __init__(self, world: SignersContext) -> None:
        self._world = world
        self._asked_at: dict[str, float] = {}
        self._waiting: dict[str, set[_Waiting]] = {}

    def ask(self, issuer: str) -> bool:
        """Ask for the keys of a configured issuer; True: the answer is still to come."""
        if issuer in self._waiting:
            return True
        now = self._world.now()
        if now - self._asked_at.get(issuer, -ASKED_AGAIN_S) < ASKED_AGAIN_S:
            return False
        self._asked_at[issuer] = now
        self._waiting[issuer] = set()
        self._world.fetch_keys(issuer, partial(self._fetched, issuer))
        return issuer in self._waiting

    def hold(self, client: ClientConnection, request: Request, issuer: str) -> bool:
        """Let a whole request wait for its issuer's keys, where that may help."""
        if not self.ask(issuer) or not request.complete:
            return False
        waiting = self._waiting[issuer]
        if sum(map(len, self._waiting.values())) >= MOST_WAITING:
            return False
        waiting.add(_Waiting(self._world, client, request, waiting.discard))
        return True

    def _fetched(self, issuer: str) -> None:
        for each in tuple(self._waiting.pop(issuer, ())):
            each.go_on()


class _Waiting:
    """A request that waits; it is the connection's exchange meanwhile."""

    __slots__ = ("_client", "_forget", "_request", "_timer", "_world")

    begun = False

    def __init__(
        self,
        world: SignersContext,
        client: ClientConnection,
        request: Request,
        forget: Callable[["_Waiting"], None],
    ) -> None:
        self._world = world
        self._client = client
        self._request = request
        self._forget = forget
        self._timer = world.loop.call_later(WAIT_S, self.go_on)
        client.exchange = self

    def go_on(self) -> None:
        self.client_gone()
        self._client.exchange = None
        self._request.waited = True  # it does not wait again
        self._world.handle(self._client, self._request)

    def client_gone(self) -> None:
        self._timer.cancel()
        self._forget(self)

    def client_paused(self) -> None:
        """Do nothing: nothing was written."""

    def client_resumed(self) -> None:
        """Do nothing: nothing was written."""
