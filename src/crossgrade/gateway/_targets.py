"""A target as it is asked: its pool, breaker and prices, and the heads of its requests."""

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec

from crossgrade.dialects import DIALECTS, HOSTS, Host
from crossgrade.errors import ConfigError
from crossgrade.gateway._breaker import Breaker
from crossgrade.gateway._pool import Address, Pool, read_url
from crossgrade.gateway._sweeper import Sweeper
from crossgrade.gateway.settings import Target
from crossgrade.pricing import Prices

_AGENT = "crossgrade"
_SHADOW_CONNECTIONS = 16
_SHORTEST_SECRET = 12
"""A shorter key (`none`, `test`) is no secret, and its letters may stand in any answer."""


class TargetState:
    """One target of this worker; two of the same name never exist. `key` must never reach a client.

    `offer` is the name by which policies know it: its own, or that of the model it is a replica of.
    """

    def __init__(
        self, target: Target, pool: Pool, shadow_pool: Pool, *, address: Address, key: str | None
    ) -> None:
        self.target = target
        self.name = target.name
        self.offer = target.replica_of or target.name
        self.pool = pool
        self.shadow_pool = shadow_pool
        self.breaker = Breaker()
        self.prices = Prices(target.price)
        self.model_json = msgspec.json.encode(target.model)
        self.host = _host(target)
        self.is_local = target.provider == "local"
        self.header = f"x-crossgrade-target: {target.name}\r\n".encode()
        self.key = key.encode() if key is not None and len(key) >= _SHORTEST_SECRET else None
        self._path = address.path
        self._lines = _header_lines(target, address, key)
        self._heads: dict[str, bytes] = {}

    def request_head(self, path: str, length: int, extra: bytes = b"") -> bytes:
        """Return the head of a POST to one of the target's paths; `extra` are more header lines."""
        start = self._heads.get(path)
        if start is None:
            start = f"POST {self._path}{path} HTTP/1.1\r\n{self._lines}content-length: ".encode("latin-1")
            self._heads[path] = start
        return b"%b%d\r\n%b\r\n" % (start, length, extra)

    def close(self) -> None:
        """Close all connections."""
        self.pool.close()
        self.shadow_pool.close()


def open_targets(
    targets: Iterable[Target],
    environ: Mapping[str, str],
    loop: asyncio.AbstractEventLoop,
    sweeper: Sweeper,
    *,
    tls: ssl.SSLContext | None = None,
) -> dict[str, TargetState]:
    """Return every target by name, with the keys that the environment holds.

    The dialect of each is imported here, and no other. Raises ConfigError where that fails.
    """
    states = {}
    for target in targets:
        DIALECTS.named(target.dialect)
        address = read_url(target.base_url)
        if tls is None and address.is_tls:
            tls = ssl.create_default_context()
        pools = [
            Pool(
                loop,
                sweeper,
                address,
                name=target.name,
                timeout_s=target.timeout_s,
                max_connections=most,
                tls=tls,
            )
            for most in (target.max_connections, _SHADOW_CONNECTIONS)
        ]
        key = environ.get(target.key_env) if target.key_env else None
        states[target.name] = TargetState(target, *pools, address=address, key=key)
    return states


def _host(target: Target) -> Host:
    """Return the row of the table that says how requests for this target are written."""
    row = HOSTS.get(target.provider) or Host(name=target.provider)
    return replace(
        row,
        dialect=target.dialect,
        max_tokens_field=target.max_tokens_field,
        stream_usage=target.stream_usage,
    )


def _header_lines(target: Target, address: Address, key: str | None) -> str:
    headers = {
        "host": address.authority,
        "user-agent": _AGENT,
        "content-type": "application/json",
        "accept-encoding": "identity",
    }
    headers |= {name.lower(): value for name, value in target.headers}
    if key:
        headers[target.key_header.lower()] = target.key_prefix + key
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if lines.count("\n") != len(headers) or "\r" in lines.replace("\r\n", "") or not lines.isascii():
        raise ConfigError(
            f"a header of target `{target.name}` has a character that no header may have",
            code="header-invalid",
            hint=f"look at {target.key_env or 'its headers'}",
        )
    return lines
