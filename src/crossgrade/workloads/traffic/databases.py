"""The rows of a query as a log: PostgreSQL, ClickHouse and DuckDB, through their own drivers.

A query runs once and reads only. Its rows go into a file of JSON lines that none but the user can read
and that is deleted when the work is done, so that a log may be read twice in the same order.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from crossgrade.errors import CrossgradeError, DataError, MissingExtraError, UsageError, said_by
from crossgrade.workloads.traffic.reading import log_files

SCHEMES = ("postgresql", "postgresql+psycopg", "postgres", "clickhouse", "clickhouses", "duckdb")
_BATCH = 2_000
_BLOCK = 1 << 20
_encode = msgspec.json.Encoder(enc_hook=str).encode


def is_database(source: str | Path) -> bool:
    """Return whether a source is the URL of a database."""
    return str(source).partition(":")[0] in SCHEMES and ":" in str(source)


def without_password(source: str | Path) -> str:
    """Return a source as it may be written down and shown."""
    if not is_database(source):
        return str(source)
    parts = urlsplit(str(source))
    if parts.password is None:
        return str(source)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}@{place}"))


@contextmanager
def opened_sources(sources: Sequence[str | Path], query: str | None) -> Iterator[list[Path]]:
    """Give the files of a log: those that paths, folders and globs name, or a query's rows as one.

    Raises `UsageError` if a database comes without a query or a query without its database,
    `MissingExtraError` without the driver, and `DataError` for what the database refuses.
    """
    databases = [str(source) for source in sources if is_database(source)]
    if not databases and query is None:
        yield log_files(sources)
        return
    if query is None:
        raise UsageError(
            "a database is read by a query",
            code="query-missing",
            hint="say which rows: --query 'SELECT … FROM …', or --query FILE.sql",
        )
    if len(databases) != 1 or len(sources) != 1:
        raise UsageError(
            "a query reads one database, given alone",
            code="query-not-alone",
            hint="name its URL and nothing else",
        )
    with tempfile.TemporaryDirectory(prefix="crossgrade-") as folder:
        path = Path(folder) / f"{databases[0].partition(':')[0]}-query"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            _run(databases[0], query.strip().rstrip(";"), file, path)
        yield [path]


def _run(url: str, sql: str, file: IO[bytes], path: Path) -> None:
    kind = url.partition(":")[0]
    read = {"duckdb": _duckdb, "clickhouse": _clickhouse, "clickhouses": _clickhouse}.get(kind, _postgresql)
    try:
        read(url, sql, file, path)
    except CrossgradeError:
        raise
    except Exception as error:  # noqa: BLE001 -- each driver has a tree of exceptions of its own
        seen = said_by(error)
        password = urlsplit(url).password
        if password:
            seen = seen.replace(password, "…")
        raise DataError(
            f"{without_password(url)} refused the query: {seen}",
            code="query-refused",
            hint="try the query in the database's own client",
        ) from None


def _postgresql(url: str, sql: str, file: IO[bytes], _path: Path) -> None:
    try:
        import psycopg
        from psycopg.rows import dict_row
    except ImportError:
        raise MissingExtraError("reading PostgreSQL", "postgres") from None
    with psycopg.connect("postgresql" + url[url.index("://") :]) as connection:
        connection.read_only = True
        with connection.cursor(name="crossgrade", row_factory=dict_row) as cursor:
            cursor.itersize = _BATCH
            cursor.execute(sql.encode())
            for row in cursor:
                file.write(_encode(row) + b"\n")


def _clickhouse(url: str, sql: str, file: IO[bytes], _path: Path) -> None:
    settings = {
        "readonly": 2,  # reads only, and may set how times and numbers are written
        "date_time_output_format": "iso",
        "output_format_json_quote_64bit_integers": 0,
    }
    database = urlsplit(url).path.strip("/")
    # A user who may only read may not set anything either; for such a one this is as good as done.
    with (
        clickhouse_client(url, database=database, settings=settings, strict=False) as client,
        client.raw_stream(sql, fmt="JSONEachRow") as stream,
    ):
        while block := stream.read(_BLOCK):
            file.write(block)


@contextmanager
def clickhouse_client(
    url: str, *, database: str = "", settings: Mapping[str, object] | None = None, strict: bool
) -> Iterator[Any]:
    """Give a client of the ClickHouse server of a URL, `clickhouse://USER@HOST` or `clickhouses://` by TLS.

    A password that the URL lacks is that of `CLICKHOUSE_PASSWORD`. Settings that the server does not let the
    user change are errors if `strict`, else left out.

    Raises `MissingExtraError` without the driver, and what the driver raises.
    """
    try:
        import clickhouse_connect
        import clickhouse_connect.common
    except ImportError:
        raise MissingExtraError("ClickHouse", "clickhouse") from None
    parts = urlsplit(url)
    clickhouse_connect.common.set_setting("invalid_setting_action", "error" if strict else "drop")
    client = clickhouse_connect.get_client(
        host=parts.hostname or "localhost",
        port=parts.port or 0,
        username=parts.username or "default",
        password=parts.password or os.environ.get("CLICKHOUSE_PASSWORD", ""),
        database=database or "default",
        secure=parts.scheme == "clickhouses",
        settings=dict(settings or {}),
    )
    try:
        yield client
    finally:
        client.close()


def _duckdb(url: str, sql: str, _file: IO[bytes], path: Path) -> None:
    try:
        import duckdb
    except ImportError:
        raise MissingExtraError("reading through DuckDB", "duckdb") from None
    place = url.removeprefix("duckdb:").removeprefix("//")
    if place and not Path(place).is_file():
        raise DataError(
            "there is no such database", code="database-missing", file=Path(place), hint="check the path"
        )
    with duckdb.connect(place or ":memory:", read_only=bool(place)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        target = str(path).replace("'", "''")
        # DuckDB writes JSON lines itself, many times faster than rows would go through Python.
        connection.execute(f"COPY ({sql}) TO '{target}' (FORMAT json, ARRAY false)")
