"""What a worker is started with: the configuration, resolved, without any secret.

`serve` writes it as one JSON file; workers read it with msgspec. Keys of providers stay in
the environment: a target names the variable.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from crossgrade.dialects import Host
from crossgrade.domain import DialectName, Price, RouteSpec, Serving
from crossgrade.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An offer as the gateway asks it: where, in which dialect, with whose key, at which price.

    `replica_of` is the offer that it stands beside with its `weight`, as the same model at another
    address; None for every other. `headers` go with every call. `key_env` names the variable that
    holds the key, None where none is needed. A `price` of None is unknown. `provider` and `region` are
    for metrics and rules.
    """

    name: str
    provider: str
    dialect: DialectName
    base_url: str
    model: str
    key_env: str | None = None
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    headers: tuple[tuple[str, str], ...] = ()
    stream_usage: bool = True
    max_tokens_field: str = "max_tokens"
    price: Price | None = None
    region: str | None = None
    timeout_s: float = 120.0
    max_connections: int = 256
    weight: float = 1.0
    replica_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Everything a worker knows besides the route table, the keys and the environment.

    `state` is the project's state folder: `routes.json`, `keys.json` and `jwks.json` in it are
    reloaded when they change; `broker` is the broker's Unix socket. `hosts` and `dialects` are those of
    plugins that `targets` need: rows of the table, and the places that dialects are imported from.
    """

    serving: Serving
    routes: tuple[RouteSpec, ...]
    targets: tuple[Target, ...]
    state: str
    broker: str
    hosts: tuple[Host, ...] = ()
    dialects: Mapping[str, str] = field(default_factory=dict)


def write_settings(settings: GatewaySettings, path: Path) -> None:
    """Write the settings for workers to read."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(settings)))


def read_settings(path: Path) -> GatewaySettings:
    """Read what `write_settings` wrote; raises ConfigError naming the file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=GatewaySettings)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(
            f"the gateway's settings cannot be read: {error}",
            code="settings-unreadable",
            file=str(path),
            hint="start `crossgrade serve`",
        ) from error
