"""Opens the database, SQLite or PostgreSQL, with transactions, locks, migrations and plain error messages."""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from crossgrade.errors import MissingExtraError, StoreError, UsageError

# SQLAlchemy logs a connection that was not closed because of Ctrl-C. Show it only if logging is configured.
logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())

BUSY_TIMEOUT_S = 30.0
"""The seconds that a writer waits for the transaction of another process."""

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


_PATIENCE = {
    "connect_timeout": 10,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
"""After how long a PostgreSQL that is gone without a word is given up, which libpq does in 15 min.

A server that works on a long query still answers to the kernel, so that no query is cut.
"""


class Database:
    """An open database; `place` names it in messages, without a password."""

    def __init__(self, engine: Engine, place: str) -> None:
        self.engine = engine
        self.place = place

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection to read from. Raises `StoreError` for an error of the database."""
        with self.plainly(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a transaction, committed at the end or rolled back after an error."""
        with self.plainly(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def erasing(self) -> Iterator[Connection]:
        """Like `writing`, for a transaction after which nothing that it deleted is left in the files."""
        is_sqlite = self.engine.dialect.name == "sqlite"
        with self.writing() as connection:
            if is_sqlite:
                # SQLite overwrites deleted content, instead of leaving it in free pages.
                connection.exec_driver_sql("PRAGMA secure_delete=ON")
            yield connection
        if is_sqlite:
            with self.reading() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def plainly(self) -> Iterator[None]:
        """Raise `StoreError` for an error of the database in a `with` block."""
        try:
            yield
        except DBAPIError as error:
            raise self.explained(error.orig or error) from error
        except SQLAlchemyError as error:
            raise StoreError(f"{self.place}: {error}", code="database-error") from error

    def explained(self, error: BaseException) -> StoreError:
        """Return a `StoreError` with the meaning of a driver's error and a next step."""
        seen = str(error).strip().partition("\n")[0]
        for part, code, meaning, hint in CAUSES:
            if part in seen:
                return StoreError(f"{self.place} {meaning} ({seen})", code=code, hint=hint)
        return StoreError(f"{self.place}: {seen}", code="database-error")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def open_database(url_or_path: str | Path) -> tuple[Database, URL]:
    """Open and migrate the database at a path (SQLite) or a URL (`sqlite:///…`, `postgresql://…`).

    Raises what `Store.open` does.
    """
    url = _url(url_or_path)
    database = _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url)
    try:
        migrate(database)
    except BaseException:
        database.close()
        raise
    return database, url


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
    path = Path((url.database or "").removeprefix("file:"))  # as in the URI `file:/a/b.db?mode=ro`
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the folder {path.parent} cannot be made ({error.strerror})", code="folder-not-made"
        ) from error
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "do_connect")
    def keep_private(*_: Any) -> None:
        # The file contains answers and prompts. SQLite would let every user of the machine read it.
        with suppress(OSError):  # the file exists, or SQLite reports the error
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o660))

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        # With WAL, readers are not blocked while a run writes. With FULL, every commit is flushed to the
        # disk, so that recorded answers survive a power cut. It is affordable because runs group commits.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return Database(engine, f"the database {path}")


def _postgresql(url: URL) -> Database:
    options: dict[str, Any] = {name: value for name, value in _PATIENCE.items() if name not in url.query}
    options["prepare_threshold"] = None  # a pooler lends one connection to several, who use the same names
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"), pool_pre_ping=True, connect_args=options
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError("a PostgreSQL database", "postgres") from error
    return Database(engine, f"the database {url.render_as_string(hide_password=True)}")


@contextmanager
def file_lock(path: Path, *, wait: bool) -> Iterator[bool]:
    """Lock the file `path` during a `with` block. Yields False if it is locked and `wait` is false."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(
            f"the lock file {path} cannot be made ({error.strerror})", code="lock-not-made"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


@contextmanager
def _session_lock(database: Database, name: str) -> Iterator[bool]:
    """Hold a PostgreSQL advisory lock during a `with` block. Yields False if another session holds it."""
    key = int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)
    with database.reading() as connection:
        taken = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar()
        # End the transaction, which would otherwise stay open during the whole run.
        connection.commit()
        try:
            yield bool(taken)
        finally:
            if taken:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})
                connection.commit()


def process_lock(
    database: Database, name: str, path: Path, *, wait: bool = False
) -> AbstractContextManager[bool]:
    """Lock among all processes that share a database: by a name on PostgreSQL, else by the file `path`.

    Yields False if another process has it; `wait` waits for the file.
    """
    if database.engine.dialect.name == "postgresql":
        return _session_lock(database, f"crossgrade {name}")
    return file_lock(path, wait=wait)


CHANNEL = "crossgrade"
"""The channel of PostgreSQL on which changes are announced."""


def announce(connection: Connection, detail: str = "") -> None:
    """Tell machines that listen, once the transaction is committed, that there is a change to look for.

    SQLite has one machine, to which nothing need be told.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_NOTIFY, {"channel": CHANNEL, "detail": detail})


_NOTIFY = text("SELECT pg_notify(:channel, :detail)")

HEAD = "0016"
"""The newest migration under `migrations/versions`; a test compares the two."""

_MIGRATION_LOCK = 0x63726F7373677264
"""The number of the PostgreSQL advisory lock that is held during migrations."""


def migrate(database: Database) -> None:
    """Apply the missing migrations to `database`. Only one process does so at a time.

    Raises `StoreError` if a newer Crossgrade wrote the database.
    """
    with database.reading() as connection:
        if _version(connection) == HEAD:
            return
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        version = _version(connection)
        if version is not None and version > HEAD:
            raise StoreError(
                f"{database.place} was written by a newer Crossgrade (tables {version}, known {HEAD})",
                code="database-too-new",
                hint="pip install --upgrade crossgrade",
            )
        if version != HEAD:
            _upgrade(connection)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection) -> None:
    # Imported here because Alembic takes as long to import as SQLAlchemy, and is needed once per database.
    from alembic import command
    from alembic.config import Config

    config = Config()
    # A percent sign in the path would be read as the beginning of an interpolation.
    folder = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
