"""Proxies from the usual environment variables, and the CONNECT tunnel through them."""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from crossgrade.errors import UpstreamError, UsageError

_LARGEST_REPLY = 16 * 2**10


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; `authorization` is the value of its header, None without credentials."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)


def proxy_for(scheme: str, host: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that `environ` sets for a host: `https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`.

    Loopback hosts never go through a proxy. Raises `UsageError` for a proxy that is not `http://`.
    """
    if host in {"localhost", "127.0.0.1", "::1"} or _excepted(host, _variable(environ, "no_proxy")):
        return None
    url = _variable(environ, f"{scheme}_proxy") or _variable(environ, "all_proxy")
    if not url:
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(
            f"the proxy set by {scheme}_proxy is not an http:// address",
            hint="set it to http://HOST:PORT, or add the host to no_proxy",
        )
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.hostname, parts.port or 80, authorization)


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _excepted(host: str, no_proxy: str) -> bool:
    names = [name.strip().lstrip(".").lower() for name in no_proxy.split(",") if name.strip()]
    return "*" in names or any(host == name or host.endswith(f".{name}") for name in names)


class Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel to `host:port` and waits for its consent."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self._proxy = proxy
        self._target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._reply = b""
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the CONNECT request."""
        assert isinstance(transport, asyncio.Transport)
        lines = [f"CONNECT {self._target} HTTP/1.1", f"host: {self._target}"]
        if self._proxy.authorization is not None:
            lines.append(f"proxy-authorization: {self._proxy.authorization}")
        transport.write("\r\n".join([*lines, "", ""]).encode("ascii"))

    def data_received(self, data: bytes) -> None:
        """Read the proxy's reply."""
        self._reply += data
        if self.open.done() or (b"\r\n\r\n" not in self._reply and len(self._reply) < _LARGEST_REPLY):
            return
        status = self._reply.split(b"\r\n", 1)[0].split(b" ")
        if len(status) > 1 and status[1] == b"200":
            self.open.set_result(None)
        else:
            said = self._reply.split(b"\r\n", 1)[0][:80].decode("latin-1")
            self.open.set_exception(UpstreamError(f"the proxy refused to connect: {said!r}"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Fail when the proxy hangs up."""
        if not self.open.done():
            self.open.set_exception(UpstreamError("the proxy closed the connection"))
