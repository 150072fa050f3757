"""The route table in force: one file, replaced as a whole, written here and nowhere else."""

import os
from pathlib import Path
from typing import Literal

from crossgrade.errors import StoreError
from crossgrade.routing import Route, RouteTable, read_route_table, route_table_bytes, route_table_digest
from crossgrade.store._locks import file_lock

Step = Literal["up", "down"]
"""Whether a new table sends more traffic to candidates, or takes some back."""


class Routes:
    """The route table of a project folder, and every table there was before it.

    `routes.json` is in force; `routes/VERSION-DIGEST.json` holds the history. A table is
    flushed to its place in the history and then put over `routes.json` by an atomic rename,
    so a reader sees the old table or the new one and a crash leaves either.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._history = folder / "routes"

    @property
    def path(self) -> Path:
        """The file that the gateway loads."""
        return self._folder / "routes.json"

    def current(self) -> RouteTable | None:
        """Return the table in force, or None when none was ever published.

        Raises `ConfigError` for a file that is no route table.
        """
        return _read(self.path) if self.path.exists() else None

    def history(self) -> list[Path]:
        """Return the files of every table ever published, oldest first."""
        return sorted(self._history.glob("*-*.json"))

    def publish(self, table: RouteTable, expected_digest: str | None, *, step: Step = "up") -> RouteTable:
        """Put `table` in force if the one in force has the expected digest (None: there is none).

        Otherwise somebody published in between. A step up is then refused with `StoreError`; a
        step down wins: the routes it changes are put into the table that is in force now.
        Returns the table as published, with its version and `previous` set. Raises `StoreError`
        too when the folder cannot be written.
        """
        with file_lock(self._folder / "locks" / "routes.lock", wait=True):
            current = self.current()
            seen = None if current is None else route_table_digest(current)
            routes = table.routes
            if seen != expected_digest:
                if step == "up" or current is None:
                    raise StoreError(
                        "the route table was changed by somebody else in the meantime",
                        hint="read the table that is in force now, then publish the change again",
                    )
                routes = self._merged(table, expected_digest, current)
            version = 1 if current is None else current.version + 1
            published = RouteTable(version=version, routes=routes, previous=seen)
            try:
                self._replace(published)
            except OSError as error:
                raise StoreError(
                    f"the route table cannot be written to {self._folder} ({error.strerror})"
                ) from error
        return published

    def _merged(self, table: RouteTable, base_digest: str | None, current: RouteTable) -> tuple[Route, ...]:
        """Return the current routes with those put in that `table` changes against its base."""
        name = None if base_digest is None else _file_name("*", base_digest)
        base = next(map(_read, self._history.glob(name)), None) if name else None
        known = {} if base is None else base.by_name
        changed = {route.name: route for route in table.routes if known.get(route.name) != route}
        routes = {**current.by_name, **changed}
        return tuple(routes[name] for name in sorted(routes))

    def _replace(self, table: RouteTable) -> None:
        content = route_table_bytes(table)
        self._history.mkdir(parents=True, exist_ok=True)
        name = _file_name(f"{table.version:06d}", route_table_digest(table))
        _write_flushed(self._history / name, content)
        fresh = self.path.with_suffix(".new")
        _write_flushed(fresh, content)
        fresh.replace(self.path)
        _flush_folder(self._folder)


def _file_name(version: str, digest: str) -> str:
    return f"{version}-{digest.removeprefix('sha256:')}.json"


def _read(path: Path) -> RouteTable:
    try:
        return read_route_table(path.read_bytes(), file=str(path))
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror})") from error


def _write_flushed(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
