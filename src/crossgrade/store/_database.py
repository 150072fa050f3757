"""One database, SQLite or PostgreSQL: connections, transactions, errors in plain words."""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from crossgrade.errors import MissingExtraError, StoreError, UsageError

# A connection that Ctrl-C kept from closing is no news; whoever configures logging still hears of it.
logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another process's transaction."""

CAUSES = (
    # (part of the driver's message, the code, what it means, one next step)
    (
        "database is locked",
        "database-locked",
        "is locked by another process",
        "close the other process, then run again",
    ),
    (
        "database or disk is full",
        "disk-full",
        "has no room left",
        "free some disk space, then resume the run",
    ),
    ("No space left on device", "disk-full", "has no room left", "free some disk space, then resume the run"),
    (
        "disk I/O error",
        "disk-broken",
        "cannot be written: the disk or its quota is full or broken",
        "free some disk space",
    ),
    (
        "not a database",
        "not-a-database",
        "is not a Crossgrade database, or is damaged",
        "move the file away or restore a copy",
    ),
    (
        "malformed",
        "database-damaged",
        "is damaged",
        "restore a copy, or save what is left with `sqlite3 FILE .recover`",
    ),
    (
        "readonly database",
        "database-read-only",
        "is read-only",
        "give your user the right to write the file and its folder",
    ),
    (
        "unable to open database",
        "database-not-opened",
        "cannot be opened",
        "check that the folder exists and can be written",
    ),
)


class Database:
    """An open database; `place` names it in messages, without a password."""

    def __init__(self, engine: Engine, place: str) -> None:
        self.engine = engine
        self.place = place

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection to read from, raising `StoreError` for what the database refuses."""
        with self._plainly(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection in a transaction that is committed on leaving, or undone on an error."""
        with self._plainly(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self.explained(error.orig or error) from error
        except SQLAlchemyError as error:
            raise StoreError(f"{self.place}: {error}", code="database-error") from error

    def explained(self, error: BaseException) -> StoreError:
        """Return the `StoreError` that says what a driver's error means and what to do."""
        seen = str(error).strip().partition("\n")[0]
        for part, code, meaning, hint in CAUSES:
            if part in seen:
                return StoreError(f"{self.place} {meaning} ({seen})", code=code, hint=hint)
        return StoreError(f"{self.place}: {seen}", code="database-error")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def connect(url_or_path: str | Path) -> tuple[Database, URL]:
    """Prepare the database at a path (SQLite) or a URL (`sqlite:///…`, `postgresql://…`).

    Raises `UsageError` for a URL of another kind and `MissingExtraError` when the PostgreSQL
    driver is not installed. Nothing is opened yet.
    """
    url = _url(url_or_path)
    if url.get_backend_name() == "sqlite":
        return _sqlite(url), url
    return _postgresql(url), url


def _url(url_or_path: str | Path) -> URL:
    text = str(url_or_path)
    if "://" not in text:
        return URL.create("sqlite", database=text)
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1))
    except ArgumentError:
        # The text may hold a password, so the message does not repeat it.
        raise UsageError(
            "the database URL cannot be read",
            code="database-url-invalid",
            hint="write it as postgresql://USER@HOST/DATABASE",
        ) from None
    if url.get_backend_name() not in {"sqlite", "postgresql"}:
        raise UsageError(
            f"databases of kind `{url.get_backend_name()}` are not supported",
            code="database-unsupported",
            hint="use a file path, or postgresql://USER@HOST/DATABASE",
        )
    if url.get_backend_name() == "sqlite" and not url.database:
        raise UsageError(
            "a database in memory keeps nothing", code="database-in-memory", hint="give the path of a file"
        )
    return url


def _sqlite(url: URL) -> Database:
    path = Path((url.database or "").removeprefix("file:"))  # of a URI, as in `file:/a/b.db?mode=ro`
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the folder {path.parent} cannot be made ({error.strerror})", code="folder-not-made"
        ) from error
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "do_connect")
    def keep_private(*_: Any) -> None:
        # It holds answers and prompts, and SQLite alone would let everybody on this machine read them.
        with suppress(OSError):  # it is there, or SQLite says what is wrong
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o660))

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        # WAL lets readers go on while a run writes. FULL flushes every commit to the disk: an
        # answer that counts survives a power cut too; runs group their commits, which pays for it.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return Database(engine, f"the database {path}")


def _postgresql(url: URL) -> Database:
    try:
        engine = create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise MissingExtraError("a PostgreSQL database", "postgres") from error
    return Database(engine, f"the database {url.render_as_string(hide_password=True)}")
