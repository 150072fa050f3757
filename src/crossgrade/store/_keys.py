"""Stores keys and suspended callers as events in the database, and writes the gateway's `keys.json`."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
from sqlalchemy import Connection, func, insert, select

from crossgrade.errors import ConfigError, NotFoundError, UsageError, closest
from crossgrade.identity import (
    MAX_SUSPENDED,
    KeyLimit,
    KeyRecord,
    KeyScope,
    KeySecret,
    NewKey,
    Suspension,
    keyring_bytes,
    new_key,
    read_records,
)
from crossgrade.store import _tables as t
from crossgrade.store._database import Database, announce, open_database
from crossgrade.store._ledger import LedgerLog
from crossgrade.store._ledger_events import check_because, decision, document_digest
from crossgrade.store._published import PublishedFile
from crossgrade.store._records import utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspensionEvent:
    """A caller was suspended or restored, when and why. `principal` is the caller's id."""

    principal: str
    kind: Literal["suspended", "restored"]
    because: str
    at: datetime


class Keys:
    """Creates, rotates and revokes the keys of a project, and suspends callers. Secrets are never stored.

    Every change is an event in the database. Then `keys.json` is replaced as a whole by an atomic rename, and
    the gateway authorises the keys in the new file.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._file = PublishedFile(database, folder, "keys")
        self._ledger = LedgerLog(database, folder)
        self._replay = _Replay()

    @classmethod
    def open(cls, url_or_path: str | Path, folder: Path) -> Self:
        """Open the database like `Store.open`, without the imports that only runs need."""
        return cls(open_database(url_or_path)[0], folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database that `open` opened."""
        self._database.close()

    @property
    def path(self) -> Path:
        """The file that the gateway loads."""
        return self._file.path

    def records(self) -> list[KeyRecord]:
        """Return every key that was ever created, oldest first."""
        with self._database.reading() as connection:
            return list(_replayed(connection).records.values())

    def suspended(self) -> list[Suspension]:
        """Return the callers who are suspended now, those of the longest suspension first."""
        with self._database.reading() as connection:
            return list(_replayed(connection).suspended.values())

    def suspensions(self) -> list[SuspensionEvent]:
        """Return every suspension and its end, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(_EVENTS.where(t.key_events.c.kind.in_(_SUSPENSIONS))).all()
        return [
            SuspensionEvent(
                principal=row.key_id,
                kind=row.kind,
                because=msgspec.json.decode(row.detail)["because"],
                at=datetime.fromisoformat(row.at),
            )
            for row in rows
        ]

    def documents(self) -> Iterator[tuple[str, str, str]]:
        """Yield every event in its order: whose it is, its kind, and the digest of its document."""
        with self._database.reading() as connection:
            for row in connection.execute(_EVENTS.execution_options(yield_per=1_000)):
                yield row.key_id, row.kind, document_digest(str(row.detail))

    def is_published(self) -> bool:
        """Return whether `keys.json` is what the database has, or what no gateway reads here: not there.

        On machines that share a database the file may be behind, and is not compared.
        """
        if self._file.may_be_behind:
            return True
        with self._file.locked():
            try:
                with self._database.reading() as connection:
                    state = _replayed(connection)
                expected = keyring_bytes(state.records.values(), state.suspended.values())
            except (ValueError, KeyError, TypeError, AttributeError, msgspec.MsgspecError):
                return False  # rows that nobody wrote here
            return self._file.has(expected)

    def suspend(self, principal: str, *, because: str) -> bool:
        """Suspend a caller, by the id of a key or of a token's subject; return whether that changed anything.

        The gateway refuses the caller within a second. Raises `UsageError` for an empty reason or one over
        500 characters, and for more suspended callers than the gateway reads.
        """
        return self._set_suspended(principal, because, suspended=True)

    def restore(self, principal: str, *, because: str) -> bool:
        """End a caller's suspension; return whether there was one. Raises `UsageError` as `suspend` does."""
        return self._set_suspended(principal, because, suspended=False)

    def _set_suspended(self, principal: str, because: str, *, suspended: bool) -> bool:
        check_because(because)
        with self._publishing() as (connection, now):
            if (principal in now.suspended) == suspended:
                return False
            if suspended and len(now.suspended) >= MAX_SUSPENDED:
                raise UsageError(
                    f"{MAX_SUSPENDED} callers are suspended already",
                    code="suspensions-full",
                    hint="revoke their keys, or have the issuer lock their accounts, and restore them here",
                )
            kind = "suspended" if suspended else "restored"
            self._append(connection, principal, kind, {"because": because}, utc_now())
        return True

    def get(self, key_id: str) -> KeyRecord:
        """Return the key with an id, or the newest with a name. Raises `NotFoundError` without one."""
        return _found(self.records(), key_id)

    def create(
        self,
        name: str,
        *,
        expires_at: datetime | None = None,
        team: str = "",
        tier: str = "",
        routes: tuple[str, ...] = (),
        limits: tuple[KeyLimit, ...] = (),
        segment: str | None = None,
        tenant: str | None = None,
        scope: KeyScope = "calls",
    ) -> NewKey:
        """Create a key and authorise it. The key's text is only in the returned value.

        Raises `UsageError` for the name of a live key, and for values that the gateway refuses to read, such
        as a limit below 0. A gateway that refuses the file would miss all later changes of keys too.
        """
        key = new_key()
        detail = {
            "name": name,
            "digest": key.digest,
            "expires_at": expires_at,
            "team": team,
            "tier": tier,
            "routes": routes,
            "limits": limits,
            "segment": segment,
            "tenant": tenant,
            "scope": scope,
        }
        now = utc_now()
        with self._publishing() as (connection, keys):
            if any(each.name == name and each.status(now) == "live" for each in keys.records.values()):
                message = f"a key of the name `{name}` is active already"
                raise UsageError(
                    message, code="key-name-taken", hint="give this one another name, or rotate that one"
                )
            self._append(connection, key.id, "created", detail, now)
            _check_usable(connection)
        return key

    def rotate(self, key_id: str, *, overlap: timedelta) -> NewKey:
        """Give a key a new secret. The previous one stays authorised for the time of `overlap`.

        Raises `NotFoundError` for an unknown key, and `UsageError` for one that is not live.
        """
        now = utc_now()
        with self._publishing() as (connection, keys):
            record = _live(_found(keys.records.values(), key_id), now)
            key = new_key(record.id)
            detail = {"digest": key.digest, "before_expires_at": now + overlap}
            self._append(connection, record.id, "rotated", detail, now)
        return key

    def revoke(self, key_id: str) -> KeyRecord:
        """Revoke a key for good. Raises `NotFoundError` for an unknown key. It may be revoked twice."""
        now = utc_now()
        with self._publishing() as (connection, keys):
            record = _found(keys.records.values(), key_id)
            if record.revoked_at is None:
                self._append(connection, record.id, "revoked", {}, now)
        return self.get(record.id)

    def publish(self) -> None:
        """Write `keys.json` from the database, at a start and after changes on other machines."""
        with self._file.locked():
            self._write()

    @contextmanager
    def _publishing(self) -> "Iterator[tuple[Connection, _State]]":
        """Yield a connection and the state for one change, under this machine's lock; then write the file."""
        with self._file.locked():
            with self._database.writing() as connection:
                self._ledger.begin(connection)
                yield connection, _replayed(connection)
            self._write()

    def _append(
        self, connection: Connection, key_id: str, kind: str, detail: Mapping[str, Any], at: datetime
    ) -> None:
        encoded = msgspec.json.encode(detail)
        row = {"key_id": key_id, "kind": kind, "detail": encoded.decode(), "at": at.isoformat()}
        given = msgspec.json.decode(encoded)
        plain = {name: value for name, value in given.items() if value and name != "digest"}
        digest = document_digest(encoded)
        if kind in _SUSPENSIONS:
            event = decision("suspended", principal=key_id, event=kind, **plain, document=digest)
        else:
            event = decision("key", key_id=key_id, event=kind, **plain, document=digest)
        self._ledger.record(connection, [event])
        connection.execute(insert(t.key_events), row)
        announce(connection)

    def _write(self) -> None:
        """Write `keys.json` as the database has it, under this machine's lock."""
        with self._database.reading() as connection:
            found = self._replay.read(connection)
        self._file.write(keyring_bytes(found.records.values(), found.suspended.values()))


def _check_usable(connection: Connection) -> None:
    try:
        read_records(keyring_bytes(_replayed(connection).records.values()))
    except (ConfigError, msgspec.ValidationError) as error:  # the latter for a cap that is not a number
        hint = "limits are above 0, and a window is a number of seconds"
        raise UsageError(f"no key was made: {error}", code="key-not-made", hint=hint) from error


_SUSPENSIONS = ("suspended", "restored")
"""Events whose `key_id` is that of a caller, who may have no key."""


@dataclass(slots=True)
class _State:
    """The keys and the suspended callers after some events, by id, oldest first."""

    records: dict[str, KeyRecord] = field(default_factory=dict)
    suspended: dict[str, Suspension] = field(default_factory=dict)


class _Replay:
    """The state after the events read so far, so that a machine that follows others reads only new ones."""

    def __init__(self) -> None:
        self._state = _State()
        self._count = 0
        self._newest = 0

    def read(self, connection: Connection) -> _State:
        """Return the state after all events.

        Everything is read again if an event was committed after one with a higher number.
        """
        count = connection.execute(select(func.count()).select_from(t.key_events)).scalar_one()
        rows = connection.execute(_EVENTS.where(t.key_events.c.id > self._newest)).all()
        if self._count + len(rows) != count:
            self._state = _State()
            rows = connection.execute(_EVENTS).all()
            self._count = 0
        _apply(rows, self._state)
        self._count += len(rows)
        self._newest = rows[-1].id if rows else self._newest
        return self._state


def _replayed(connection: Connection) -> _State:
    """Return the keys and suspended callers after all events."""
    state = _State()
    _apply(connection.execute(_EVENTS), state)
    return state


_EVENTS = select(t.key_events).order_by(t.key_events.c.id)


def _apply(rows: Iterable[Any], state: _State) -> None:
    """Change the state as events say, which come in their order."""
    records = state.records
    for row in rows:
        at = datetime.fromisoformat(row.at)
        detail = msgspec.json.decode(row.detail)
        if row.kind == "created":
            records[row.key_id] = _created(row.key_id, detail, at)
        elif row.kind == "rotated":
            records[row.key_id] = _rotated(records[row.key_id], detail, at)
        elif row.kind == "revoked":
            records[row.key_id] = msgspec.structs.replace(records[row.key_id], revoked_at=at)
        elif row.kind == "suspended":
            state.suspended[row.key_id] = Suspension(principal=row.key_id, at=at)
        elif row.kind == "restored":
            state.suspended.pop(row.key_id, None)


def _created(key_id: str, detail: dict[str, Any], at: datetime) -> KeyRecord:
    secret = KeySecret(digest=detail.pop("digest"), created_at=at)
    return msgspec.convert({"id": key_id, "secrets": (secret,), "created_at": at, **detail}, KeyRecord)


def _rotated(record: KeyRecord, detail: dict[str, Any], at: datetime) -> KeyRecord:
    """Return the key with its newest secret first, and the previous one until it expires."""
    before = msgspec.structs.replace(
        record.secrets[0], expires_at=datetime.fromisoformat(detail["before_expires_at"])
    )
    secrets = (KeySecret(digest=detail["digest"], created_at=at), before)
    return msgspec.structs.replace(record, secrets=secrets)


def _found(keys: Iterable[KeyRecord], key_id: str) -> KeyRecord:
    """Return the key with an id, or the newest with a name."""
    records = list(keys)
    for wanted in ("id", "name"):
        for record in reversed(records):
            if getattr(record, wanted) == key_id:
                return record
    near = closest(key_id, [record.name for record in records])
    raise NotFoundError(
        f"there is no key `{key_id}`{near}",
        code="key-not-found",
        hint="`crossgrade keys list` shows the keys",
    )


def _live(record: KeyRecord, now: datetime) -> KeyRecord:
    status = record.status(now)
    if status != "live":
        message = f"key {record.id} ({record.name}) is {status}"
        raise UsageError(message, code="key-not-live", hint="make a new one with `crossgrade keys create`")
    return record
