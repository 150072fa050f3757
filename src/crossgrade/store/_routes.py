"""Publishes route tables: the active one is a file that only this module writes, always as a whole.

Machines that share a database publish their route tables through it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from sqlalchemy import desc, insert, select

from crossgrade.errors import ConfigError, StoreError
from crossgrade.routing import Route, RouteTable, read_route_table, route_table_bytes, route_table_digest
from crossgrade.store import _tables as t
from crossgrade.store._database import Database, announce, file_lock
from crossgrade.store._ledger import LedgerLog
from crossgrade.store._ledger_events import LedgerEvent, decision
from crossgrade.store._published import flush_folder
from crossgrade.store._records import utc_now


class SharedRoutes:
    """The route tables that all machines with this database have published."""

    def __init__(self, database: Database, ledger: LedgerLog) -> None:
        self._database = database
        self._ledger = ledger

    def newest(self) -> tuple[str, bytes] | None:
        """Return the digest and the bytes of the newest table, or None if none was published."""
        query = select(t.route_tables).order_by(desc(t.route_tables.c.version)).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else (row.digest, row.content)

    def append(self, table: RouteTable, event: LedgerEvent) -> bool:
        """Publish a table to all machines, and record it. Return False if another table has its version."""
        row = {
            "version": table.version,
            "digest": route_table_digest(table),
            "content": route_table_bytes(table),
            "at": utc_now().isoformat(),
        }
        with self._database.writing() as connection:
            self._ledger.begin(connection)
            of_version = select(t.route_tables.c.version).where(t.route_tables.c.version == table.version)
            is_first = connection.execute(of_version).first() is None
            if is_first:
                self._ledger.record(connection, [event])
                connection.execute(insert(t.route_tables), row)
                announce(connection)
        return is_first


_TRIES = 5

Step = Literal["up", "down"]
"""Whether a new table sends more traffic to candidates (up) or less (down)."""


class Routes:
    """The active route table of a project folder, and its history.

    `routes.json` is the active table, and `routes/VERSION-DIGEST.json` are all tables. A new table is flushed
    to the history first and then replaces `routes.json` by an atomic rename. So a reader always sees the old
    or the new table, even after a crash. Machines that share a database publish through it (`shared`), and
    each writes its own files from it.
    """

    def __init__(self, folder: Path, ledger: LedgerLog, shared: SharedRoutes | None = None) -> None:
        self._folder = folder
        self._ledger = ledger
        self._shared = shared
        self._history = folder / "routes"

    @property
    def path(self) -> Path:
        """The file that the gateway loads."""
        return self._folder / "routes.json"

    def current(self) -> RouteTable | None:
        """Return the active table, or None if none was ever published.

        Activates the newest table of other machines first. Raises `ConfigError` for a file that is not a
        route table.
        """
        self.follow()
        return self._current()

    def follow(self) -> None:
        """Activate the newest table that another machine has published."""
        newest = None if self._shared is None else self._shared.newest()
        if newest is None:
            return
        digest, content = newest
        try:
            current = self._current()
        except ConfigError:
            current = None  # damaged here, but not in the database
        if current is None or route_table_digest(current) != digest:
            self._replace(read_route_table(content, file=f"route table {digest}"))

    def _current(self) -> RouteTable | None:
        return _read(self.path) if self.path.exists() else None

    def history(self) -> list[Path]:
        """Return the files of all tables ever published, oldest first."""
        return sorted(self._history.glob("*-*.json"))

    def publish(self, table: RouteTable, expected_digest: str | None, *, step: Step = "up") -> RouteTable:
        """Activate `table` if the active table has the expected digest (None: there is no active table).

        Otherwise another table was published in between. A step up then raises `StoreError`. A step down is
        merged: the routes that it changes replace those of the table that is active now. Returns the table as
        published, with its version and `previous` set. Raises `StoreError` if the folder cannot be written.
        """
        with file_lock(self._folder / "locks" / "routes.lock", wait=True):
            for _ in range(_TRIES):
                published, event = self._next(table, expected_digest, step)
                if self._shared is None:
                    self._ledger.append([event])  # first, so that no table is in force without its entry
                    break
                if self._shared.append(published, event):
                    break
            else:
                raise _changed_meanwhile()
            self._replace(published)
        return published

    def _next(
        self, table: RouteTable, expected_digest: str | None, step: Step
    ) -> tuple[RouteTable, LedgerEvent]:
        """Return the table as the next version of the active one, and the entry about it."""
        current = self.current()
        seen = None if current is None else route_table_digest(current)
        routes = table.routes
        if seen != expected_digest:
            if step == "up" or current is None:
                raise _changed_meanwhile()
            routes = self._merged(table, expected_digest, current)
        version = 1 if current is None else current.version + 1
        published = RouteTable(version=version, routes=routes, previous=seen)
        before = {} if current is None else current.by_name
        return published, _event(published, before, step)

    def _merged(self, table: RouteTable, base_digest: str | None, current: RouteTable) -> tuple[Route, ...]:
        """Return the current routes, with those replaced that `table` changes relative to its base."""
        name = None if base_digest is None else _file_name("*", base_digest)
        base = next(map(_read, self._history.glob(name)), None) if name else None
        known = {} if base is None else base.by_name
        changed = {route.name: route for route in table.routes if known.get(route.name) != route}
        routes = {**current.by_name, **changed}
        return tuple(routes[name] for name in sorted(routes))

    def _replace(self, table: RouteTable) -> None:
        content = route_table_bytes(table)
        name = _file_name(f"{table.version:06d}", route_table_digest(table))
        try:
            self._history.mkdir(parents=True, exist_ok=True)
            _write_flushed(self._history / name, content)
            fresh = self.path.with_suffix(f".{os.getpid()}")
            _write_flushed(fresh, content)
            fresh.replace(self.path)
            flush_folder(self._folder)
        except OSError as error:
            raise StoreError(
                f"the route table cannot be written to {self._folder} ({error.strerror})",
                code="route-table-unwritable",
            ) from error


def _event(table: RouteTable, before: Mapping[str, Route], step: Step) -> LedgerEvent:
    changed = [route.name for route in table.routes if before.get(route.name) != route]
    removed = sorted(set(before) - set(table.by_name))
    return decision(
        "route",
        digest=route_table_digest(table),
        version=table.version,
        previous=table.previous,
        step=step,
        changed=changed,
        removed=removed,
    )


def _changed_meanwhile() -> StoreError:
    return StoreError(
        "the route table was changed by another process in the meantime",
        code="route-table-changed",
        hint="read the table that is in force now, then publish the change again",
    )


def _file_name(version: str, digest: str) -> str:
    return f"{version}-{digest.removeprefix('sha256:')}.json"


def _read(path: Path) -> RouteTable:
    try:
        return read_route_table(path.read_bytes(), file=str(path))
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read ({error.strerror})", code="route-table-unreadable"
        ) from error


def _write_flushed(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    flush_folder(path.parent)
