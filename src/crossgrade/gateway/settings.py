"""The settings that a worker starts with: the resolved configuration, without any secret.

`serve` writes them as one JSON file, and workers read it with msgspec. Providers' keys stay in the
environment: a target names the variable.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from crossgrade.dialects import Host
from crossgrade.domain import AccessRule, DialectName, LedgerSpec, Price, RouteSpec, Serving
from crossgrade.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An offer as the gateway calls it: address, dialect, key and price.

    `replica_of` names the offer that this target is a replica of: the same model at another address, which
    gets a share of the calls by `weight`. It is None for every other target. `headers` are added to every
    call. `key_env` names the variable with the key, None if no key is needed. A `price` of None is unknown.
    `provider` and `region` are for metrics and rules. `timeout_s` is the longest wait for the provider to
    send something. `caller_fields` are fields and tools by which callers may choose another model,
    host or region at the provider. `context_tokens` is the model's context window, None if unknown.
    `blocked` is the code of the clause of a licence or host that keeps traffic from a candidate, if any.
    `is_forbidden` says that it rules the model out, so that no request may ask for it by its own name.
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
    caller_fields: tuple[str, ...] = ()
    context_tokens: int | None = None
    blocked: str | None = None
    is_forbidden: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Everything a worker needs besides the route table, the keys and the environment.

    `state` is the project's state folder. The files `routes.json`, `keys.json`, `jwks.json` and
    `dossiers.json` in it are read again when they change. `broker` is the path of the broker's Unix socket.
    `ends_at` has by offer the moment, in seconds since 1970, from which on it is no incumbent any more and
    the route's successor takes its place. An offer that has ended need not be among the `targets`. `access`
    are the rules of gated routes, and `dossier_basis` is by workload and offer what their dossiers are
    compared with.
    """

    serving: Serving
    routes: tuple[RouteSpec, ...]
    targets: tuple[Target, ...]
    state: str
    broker: str
    hosts: tuple[Host, ...] = ()
    dialects: Mapping[str, str] = field(default_factory=dict)
    ends_at: Mapping[str, float] = field(default_factory=dict)
    access: tuple[AccessRule, ...] = ()
    dossier_basis: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    ledger: LedgerSpec = field(default_factory=LedgerSpec)


def write_settings(settings: GatewaySettings, path: Path) -> None:
    """Write the settings as JSON for workers to read."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(settings)))


def read_settings(path: Path) -> GatewaySettings:
    """Read a file that `write_settings` wrote; raises ConfigError with the file's name."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=GatewaySettings)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(
            f"the gateway's settings cannot be read: {error}",
            code="settings-unreadable",
            file=str(path),
            hint="start `crossgrade serve`",
        ) from error
