"""Who calls: the key or access token of a request, and requests that wait for an issuer's signing keys."""

import asyncio
import re
import time
from collections.abc import Callable
from functools import partial

from crossgrade.domain import Serving
from crossgrade.errors import AccessError
from crossgrade.gateway._broker import BrokerLink
from crossgrade.gateway._head import Request
from crossgrade.gateway._problems import Problem
from crossgrade.gateway._server import ClientConnection
from crossgrade.identity import ASKED_AGAIN_S, Keyring, Principal, TokenVerifier, authenticate

LOCAL = Principal(id="local")
"""The caller of a request without a key, where the settings allow such requests."""

WAIT_S = 2.0
"""How long a request waits for its issuer's keys."""

MOST_WAITING = 200
_KEY_PREFIX = b"sk-cg-"
_REMEMBERED_S = 1.0
_LOOPBACK = re.compile(rb"(?:[a-z]+://)?(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?", re.IGNORECASE)

_FORWARDED = frozenset((b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"))
"""Headers that a proxy adds. A request with one of them may come from another machine."""


class Callers:
    """Finds the caller of a request; `keys` and `tokens` are replaced when their files change.

    A token may be signed by a key that its issuer began to use only now. Such a request waits while the
    broker fetches the issuer's keys, within bounds of number and time. `reload` reads the changed files.
    """

    def __init__(
        self, serving: Serving, broker: BrokerLink, handle: Callable[[ClientConnection, Request], None]
    ) -> None:
        self.keys = Keyring(is_read=False)
        self.tokens = TokenVerifier(serving.issuers, {}) if serving.issuers else None
        self.broker = broker
        self.reload: Callable[[], None] = lambda: None
        self.now = time.monotonic
        self.handle = handle
        self._open_on_loopback = serving.open_on_loopback
        self._fetched_at: dict[str, float] = {}
        self._waiting: dict[str, set[_WaitingRequest]] = {}

    def find(self, client: ClientConnection, headers: dict[bytes, bytes], now: float) -> Principal:
        """Return the caller, and remember it for a second on the connection; raises AccessError.

        `now` is in seconds since 1970.
        """
        caller = client.caller
        token = token_of(headers)
        if caller is not None and caller[2] is self.keys and now < caller[3] and caller[1] == token:
            return caller[4]
        if self._open_on_loopback and (token is None or not token.startswith(_KEY_PREFIX)):
            problem = loopback_problem(headers)
            if problem is not None:
                raise AccessError(problem.message, reason=problem.code, status=problem.status)
            client.known()
            return LOCAL
        principal = authenticate(token, keys=self.keys, tokens=self.tokens, now=now)
        if caller is None:
            client.known()
        client.caller = (headers, token, self.keys, now + _REMEMBERED_S, principal)
        return principal

    def fetch(self, issuer: str) -> bool:
        """Have a configured issuer's keys fetched, at most once in `ASKED_AGAIN_S` seconds.

        Returns whether their arrival is still to come.
        """
        if issuer in self._waiting:
            return True
        now = self.now()
        if now - self._fetched_at.get(issuer, -ASKED_AGAIN_S) < ASKED_AGAIN_S:
            return False
        self._fetched_at[issuer] = now
        self._waiting[issuer] = set()
        self.broker.fetch_keys(issuer, partial(self._fetched, issuer))
        return issuer in self._waiting

    def hold(self, client: ClientConnection, request: Request, issuer: str) -> bool:
        """Let a complete request wait for its issuer's keys; return whether it waits."""
        if not self.fetch(issuer) or not request.complete:
            return False
        if self.waiting >= MOST_WAITING:
            return False
        waiting = self._waiting[issuer]
        waiting.add(_WaitingRequest(self.handle, client, request, waiting.discard))
        return True

    @property
    def waiting(self) -> int:
        """The number of requests that wait."""
        return sum(map(len, self._waiting.values()))

    def _fetched(self, issuer: str) -> None:
        self.reload()
        for each in tuple(self._waiting.pop(issuer, ())):
            each.go_on()


class _WaitingRequest:
    """A request that waits for an issuer's keys. Meanwhile it is the connection's exchange."""

    __slots__ = ("_client", "_forget", "_handle", "_request", "_timer")

    begun = False

    def __init__(
        self,
        handle: Callable[[ClientConnection, Request], None],
        client: ClientConnection,
        request: Request,
        forget: Callable[["_WaitingRequest"], None],
    ) -> None:
        self._handle = handle
        self._client = client
        self._request = request
        self._forget = forget
        self._timer = asyncio.get_running_loop().call_later(WAIT_S, self.go_on)
        client.exchange = self

    def go_on(self) -> None:
        self.client_gone()
        self._client.exchange = None
        self._request.waited = True  # it does not wait again
        self._handle(self._client, self._request)

    def client_gone(self) -> None:
        self._timer.cancel()
        self._forget(self)

    def client_paused(self) -> None:
        """Do nothing: nothing was written."""

    def client_resumed(self) -> None:
        """Do nothing: nothing was written."""


def token_of(headers: dict[bytes, bytes]) -> bytes | None:
    """Return the key or access token of a request; raises AccessError if it carries two different ones.

    None means that the request carries no key.
    """
    bearer, other, third = headers.get(b"authorization"), headers.get(b"x-api-key"), headers.get(b"api-key")
    if other is None:
        other = third
    elif third is not None and third != other:
        raise _ambiguous()
    if bearer is None:
        return other
    scheme, _, token = bearer.partition(b" ")
    token = token.strip()
    if other is not None and other != token:
        raise _ambiguous()
    return token if scheme.lower() == b"bearer" else None


def _ambiguous() -> AccessError:
    message = "The request carries two different keys: send one, in one header."
    return AccessError(message, reason="ambiguous_key", status=400)


def loopback_problem(headers: dict[bytes, bytes]) -> Problem | None:
    """Return why a request without a key is refused although the server is open on loopback.

    A web page must not spend the user's money through the user's own browser. So the name in `host` and the
    page in `origin` must be loopback addresses. A proxy on this machine must not admit its visitors either.
    """
    origin = headers.get(b"origin")
    host = headers.get(b"host", b"localhost")
    is_local = _LOOPBACK.fullmatch(host) and (origin is None or _LOOPBACK.fullmatch(origin))
    if is_local and _FORWARDED.isdisjoint(headers):
        return None
    return Problem(
        status=403,
        code="not_loopback",
        message="Without a key this server answers only calls by a loopback name, and through no proxy.",
    )
