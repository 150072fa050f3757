"""The authorised keys in `keys.json`, which holds only digests, and the caller that each key stands for."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from typing import Literal, TypeAlias

import msgspec

from crossgrade.domain import KEYS, Limit, LimitUnit
from crossgrade.errors import AccessError, ConfigError
from crossgrade.identity._text import key_digest, key_id_of

KeyScope: TypeAlias = Literal["calls", "metrics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A verified caller: the key's public id (or a token's pseudonymous subject), team and tier.

    `routes` lists the routes that it may use; if it is empty, its tier and team decide. `limits` apply to
    this caller in addition to those of the configuration. `segment` and `tenant` are bound to the caller,
    and a request cannot change them. `scope` is what it may do: ask models, or read the metrics of all.
    `issuer` says who vouches for it: an OpenID provider, `KEYS` for a key of ours, or the empty text. `acr`
    and `auth_time` (seconds since 1970) say how and when it logged in. They are None where a verified token
    does not say so, and for keys.
    """

    id: str
    team: str = ""
    tier: str = ""
    routes: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    segment: str | None = None
    tenant: str | None = None
    scope: KeyScope = "calls"
    issuer: str = ""
    acr: str | None = None
    auth_time: float | None = None

    @property
    def has_token(self) -> bool:
        """Whether an OpenID provider vouches for it."""
        return self.issuer not in ("", KEYS)


MAX_BYTES = 64 << 20
MAX_KEYS = 100_000
MAX_SUSPENDED = 100_000
MAX_SECRETS = 2
"""A key has one secret, or two while it is being rotated."""

_HINT = "`crossgrade keys list` writes the file again; it is not edited by hand"


class KeyLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A limit of one key."""

    unit: LimitUnit
    cap: float
    window_s: int

    def limit(self, key_id: str) -> Limit:
        """Return the limit in the form of those of the configuration."""
        return Limit(scope="key", unit=self.unit, cap=self.cap, window_s=self.window_s, match=key_id)


class KeySecret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The SHA-256 of a key's text, and when it stops being authorised (None: with the key)."""

    digest: str
    created_at: datetime
    expires_at: datetime | None = None


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that is stored about a key. Times have a time zone.

    `routes` lists the routes that it may use; if it is empty, tier and team decide. `segment` and `tenant`
    are bound to the key, and a request cannot change them. `scope` is what it is for: to ask models, or to
    read the metrics of all callers.
    """

    id: str
    name: str
    secrets: tuple[KeySecret, ...]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    team: str = ""
    tier: str = ""
    routes: tuple[str, ...] = ()
    limits: tuple[KeyLimit, ...] = ()
    segment: str | None = None
    tenant: str | None = None
    scope: KeyScope = "calls"

    def status(self, now: datetime) -> Literal["live", "expired", "revoked"]:
        """Return whether the key is authorised at `now`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "live"


class Suspension(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A caller who is refused until restored, by the id of a key or of a token's subject, and since when."""

    principal: str
    at: datetime


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What `keys.json` holds. Without suspensions it is what readers before them understand.

    They refuse a file with any, and go on with the keys that they have: to ignore them would be worse.
    """

    schema_version: Literal[1]
    keys: tuple[KeyRecord, ...]
    suspended: tuple[Suspension, ...] = ()


class _Entry:
    """A key in the form that answers requests fast: dates are parsed and the caller is built beforehand."""

    __slots__ = ("expires", "principal", "revoked", "secrets")

    def __init__(self, record: KeyRecord) -> None:
        self.principal = Principal(
            id=record.id,
            team=record.team,
            tier=record.tier,
            routes=record.routes,
            limits=tuple(each.limit(record.id) for each in record.limits),
            segment=record.segment,
            tenant=record.tenant,
            scope=record.scope,
            issuer=KEYS,
        )
        self.revoked = record.revoked_at is not None
        self.expires = _timestamp(record.expires_at)
        self.secrets = tuple((each.digest, _timestamp(each.expires_at)) for each in record.secrets)


class Keyring:
    """All keys at one moment, and the ids of the callers who are suspended, with or without a key.

    `is_read` is false before `keys.json` was read for the first time. Until then no token is accepted, since
    its bearer may be suspended.
    """

    def __init__(
        self, records: Iterable[KeyRecord] = (), suspended: Iterable[str] = (), *, is_read: bool = True
    ) -> None:
        self._entries = {record.id: _Entry(record) for record in records}
        self.suspended = frozenset(suspended)
        self.is_read = is_read

    def __len__(self) -> int:
        return len(self._entries)

    def principal(self, token: bytes, now: float) -> Principal | None:
        """Return the holder of a key at `now` (seconds since 1970), or None if it is not authorised."""
        entry = self._entries.get(key_id_of(token) or "")
        if entry is None or entry.revoked or entry.expires <= now:
            return None
        return entry.principal if _until(entry, token) > now else None

    def refusal(self, token: bytes, now: float) -> AccessError:
        """Return why `principal` returned None. Only the holder of a key learns what is known of it."""
        entry = self._entries.get(key_id_of(token) or "")
        until = 0.0 if entry is None else _until(entry, token)
        if entry is None or not until:
            return AccessError("the key is not known", reason="key_unknown")
        if entry.revoked:
            return AccessError(f"key {entry.principal.id} was revoked", reason="key_revoked")
        if entry.expires <= now:
            message = f"key {entry.principal.id} has expired"
            return AccessError(message, reason="key_expired", hint="ask for a new one")
        message = f"this secret of key {entry.principal.id} was replaced by a newer one"
        return AccessError(message, reason="key_replaced", hint="use the newest secret of the key")


def keyring_bytes(records: Iterable[KeyRecord], suspended: Iterable[Suspension] = ()) -> bytes:
    """Return the content of `keys.json`, sorted by id so that equal keyrings give equal bytes."""
    keys = tuple(sorted(records, key=lambda record: record.id))
    refused = tuple(sorted(suspended, key=lambda each: each.principal))
    return msgspec.json.encode(_File(schema_version=1, keys=keys, suspended=refused)) + b"\n"


def read_records(data: bytes, *, file: str | None = None) -> tuple[KeyRecord, ...]:
    """Read the keys of `keys.json`; raises ConfigError as `read_keyring` does."""
    return _read(data, file).keys


def _read(data: bytes, file: str | None) -> _File:
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"{len(data)} bytes of keys are over {MAX_BYTES}", code="keys-too-large", file=file, hint=_HINT
        )
    try:
        found = msgspec.json.decode(data, type=_File)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ConfigError(
            f"the keys cannot be read: {error}", code="keys-unreadable", file=file, hint=_HINT
        ) from error
    problem = _problem(found.keys) or _suspension_problem(found.suspended)
    if problem is not None:
        raise ConfigError(f"the keys cannot be used: {problem}", code="keys-invalid", file=file, hint=_HINT)
    return found


def read_keyring(data: bytes, *, file: str | None = None) -> Keyring:
    """Read `keys.json` into the form that the gateway needs.

    Raises ConfigError for unknown fields, a file too large, or a contradiction.
    """
    found = _read(data, file)
    return Keyring(found.keys, (each.principal for each in found.suspended))


def _until(entry: _Entry, token: bytes) -> float:
    """Return when the secret of the entry that equals `token` expires, or 0 if none does."""
    digest, until = key_digest(token), 0.0
    for kept, expires in entry.secrets:
        if compare_digest(kept, digest):
            until = expires
    return until


def _timestamp(moment: datetime | None) -> float:
    return float("inf") if moment is None else moment.timestamp()


def _problem(keys: tuple[KeyRecord, ...]) -> str | None:
    if len(keys) > MAX_KEYS:
        return f"{len(keys)} keys are over {MAX_KEYS}"
    seen: set[str] = set()
    for key in keys:
        if key.id in seen:
            return f"key {key.id} is there twice"
        seen.add(key.id)
        found = _key_problem(key)
        if found is not None:
            return f"key {key.id} {found}"
    return None


def _suspension_problem(suspended: tuple[Suspension, ...]) -> str | None:
    if len(suspended) > MAX_SUSPENDED:
        return f"{len(suspended)} suspended callers are over {MAX_SUSPENDED}"
    wrong = next((each for each in suspended if not each.principal or each.at.tzinfo is None), None)
    return None if wrong is None else f"the suspension of {wrong.principal!r} has no id, or no time zone"


def _key_problem(key: KeyRecord) -> str | None:
    moments = [key.created_at, key.expires_at, key.revoked_at]
    moments += [moment for secret in key.secrets for moment in (secret.created_at, secret.expires_at)]
    if any(moment is not None and moment.tzinfo is None for moment in moments):
        return "has a time without a zone"
    if not 1 <= len(key.secrets) <= MAX_SECRETS:
        return f"has {len(key.secrets)} secrets, not 1 or {MAX_SECRETS}"
    if any(len(each.digest) != 64 or not each.digest.isascii() for each in key.secrets):
        return "has a digest that is no SHA-256"
    if any(not each.cap > 0 for each in key.limits):
        return "has a limit that is not above 0"
    if any(each.window_s < 0 for each in key.limits):
        return "has a limit with a window below 0"
    return None
