"""What stands before every page: who may ask, from which site, and what a browser may do with the answer."""

from collections.abc import Callable, Collection
from typing import TypeAlias

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossgrade.errors import AccessError, CrossgradeError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'none'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Nothing is loaded but the page's own files, nothing inline runs, and no other site may frame the page."""

_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_FAILED = CrossgradeError("the page failed", code="page-failed", hint="go back and try once more")
_OnError: TypeAlias = Callable[[CrossgradeError], Response]


class Gate:
    """Refuses strange hosts and the forms of other sites, and puts the safety headers on every answer."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], on_error: _OnError) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(raw=message["headers"])
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
                message["headers"] = headers.raw
            await send(message)

        try:
            self._check(scope["method"], scope["scheme"], Headers(scope=scope))
        except CrossgradeError as error:
            await self._on_error(error)(scope, receive, guarded)
            return
        try:
            await self._app(scope, receive, guarded)
        except Exception:
            if not started:  # the cause is for the log of the server, not for the page
                await self._on_error(_FAILED)(scope, receive, guarded)
            raise

    def _check(self, method: str, scheme: str, headers: Headers) -> None:
        """Raise AccessError for a Host header that was not named, and for the form of another site.

        A name that an attacker points at this machine would carry the attacker's host. Browsers say in
        `Sec-Fetch-Site` where a form comes from. One that does not has to send the page's own `Origin`.
        """
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise AccessError(
                "the page is not served under this host name",
                reason="page-host-unknown",
                status=421,
                hint="open the address that `crossgrade label` printed",
            )
        if method in {"GET", "HEAD"}:
            return
        site = headers.get("sec-fetch-site")
        own = f"{scheme}://{hosts[0]}".lower()
        if site != "same-origin" and not (site is None and headers.get("origin", "").lower() == own):
            raise AccessError(
                "a form of another site was refused",
                reason="page-other-site",
                status=403,
                hint="open the page itself and use its buttons",
            )
