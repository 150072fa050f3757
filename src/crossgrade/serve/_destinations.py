"""Where request records are exported to: a folder, here or in an object store, or a table in ClickHouse.

Each takes batches as Parquet. The same batch under the same name replaces what came of it before.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import msgspec

from crossgrade.errors import CrossgradeError, StoreError, UsageError, said_by
from crossgrade.serve._rows import check_parquet, record_columns, table_sql
from crossgrade.workloads.traffic import clickhouse_client, is_remote, remote_path, without_password

_SCHEMES = ("clickhouse://", "clickhouses://")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_TABLE = 60
_DENIED = {164, 192, 193, 194, 497, 516}
_FULL = {243}
_DENIED_NUMBERS = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL_NUMBERS = {errno.ENOSPC, errno.EDQUOT}


class Destination(Protocol):
    """What takes batches."""

    def put(self, name: str, data: bytes) -> None:
        """Store a batch, so that it is there when this returns. Raises StoreError if it is refused."""


def shown_destination(to: str) -> str:
    """Return a destination as it may be shown and written down, the same for all ways to write it."""
    to = without_password(to)
    if to.startswith("file://"):
        to = unquote(urlsplit(to).path)
    return to.rstrip("/") if is_remote(to) else str(Path(to).resolve())


@contextmanager
def open_destination(to: str) -> Iterator[Destination]:
    """Give a destination; raises as `RecordExport.open` does."""
    check_parquet()
    if to.startswith(_SCHEMES):
        with _clickhouse(to) as table:
            yield table
        return
    shown = shown_destination(to)
    if shown.startswith(("http://", "https://")):
        raise UsageError(
            f"a web server takes no files: {shown}",
            code="records-destination-invalid",
            hint="name a folder, s3://BUCKET/FOLDER, or clickhouse://USER@HOST/DB/TABLE",
        )
    yield _Folder(remote_path(shown) if is_remote(shown) else Path(shown), shown)


class _Folder:
    """A folder of Parquet files. Object stores have each whole or not at all, and so has this machine."""

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path
        self._shown = shown

    def put(self, name: str, data: bytes) -> None:
        path = self._path / f"{name}.parquet"
        with _refusals(self._shown):
            if not is_remote(self._shown):
                _write_whole(path, data)
            else:
                path.write_bytes(data)  # no `mkdir`: in some stores it would make the bucket


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that survives a crash of the machine once this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}")  # a name that `scan` leaves out
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _clickhouse(url: str) -> Iterator["_Table"]:
    shown = shown_destination(url)
    names = urlsplit(url).path.strip("/").split("/")
    if len(names) != 2 or not all(map(_NAME.fullmatch, names)):
        raise UsageError(
            f"{shown} names no database and table",
            code="records-destination-invalid",
            hint="write clickhouse://USER@HOST/DB/TABLE; the table is made if it does not exist",
        )
    password = urlsplit(url).password or os.environ.get("CLICKHOUSE_PASSWORD")
    with ExitStack() as stack:
        with _refusals(shown, password):
            # Of the settings that keep records from being lost none may be left out unnoticed: `strict`.
            client = stack.enter_context(clickhouse_client(url, strict=True))
            table = _Table(client, ".".join(names), shown, password)
            table.prepare()
        yield table


class _Table:
    """A table in ClickHouse, which knows a batch that comes again by its name."""

    def __init__(self, client: Any, name: str, shown: str, password: str | None) -> None:
        self._client = client
        self._name = name
        self._shown = shown
        self._password = password

    def prepare(self) -> None:
        """Make the table if there is none; raises StoreError if it lacks columns."""
        try:
            there = self._columns()
        except Exception as error:
            if _code_of(error) != _NO_TABLE:
                raise
            self._client.command(table_sql(self._name))
            there = self._columns()
        missing = [each for each in record_columns() if each.name not in there]
        if missing:
            added = ", ".join(f"ADD COLUMN {each.name} {each.clickhouse_type}" for each in missing)
            raise StoreError(
                f"the table {self._name} of {self._shown} lacks columns of this release: "
                f"{', '.join(each.name for each in missing)}",
                code="records-table-differs",
                hint=f"ALTER TABLE {self._name} {added}",
            )

    def _columns(self) -> set[str]:
        answer = self._client.raw_query(f"DESCRIBE TABLE {self._name}", fmt="JSONEachRow")
        return {str(msgspec.json.decode(line)["name"]) for line in answer.splitlines() if line}

    def put(self, name: str, data: bytes) -> None:
        with _refusals(self._shown, self._password):
            self._client.raw_insert(
                self._name,
                column_names=[each.name for each in record_columns()],
                insert_block=data,
                fmt="Parquet",
                settings={
                    "async_insert": 0,  # whose answer can come before the rows are stored
                    "insert_deduplicate": 1,
                    "insert_deduplication_token": name,
                    "input_format_null_as_default": 0,  # unknown is never zero
                },
            )


@contextmanager
def _refusals(shown: str, password: str | None = None) -> Iterator[None]:
    """Turn whatever a store or a driver raises into a StoreError that says what is wrong, and no password."""
    try:
        yield
    except CrossgradeError:
        raise
    except Exception as error:  # noqa: BLE001 -- each has a tree of exceptions of its own
        raise _refusal(shown, error, password) from None


def _refusal(shown: str, error: Exception, password: str | None) -> StoreError:
    seen = (isinstance(error, OSError) and error.strerror) or said_by(error)
    if password:
        seen = seen.replace(password, "…")
    code = _code_of(error)
    number = error.errno if isinstance(error, OSError) else None
    if code in _DENIED or number in _DENIED_NUMBERS or isinstance(error, PermissionError):
        return StoreError(
            f"{shown} may not be written: {seen}",
            code="records-export-denied",
            hint="check the credentials and what they may do there; nothing is lost meanwhile",
        )
    if code in _FULL or number in _FULL_NUMBERS:
        return StoreError(
            f"{shown} is full: {seen}",
            code="records-export-full",
            hint="make room there; the export then goes on where it was",
        )
    return StoreError(
        f"records could not be exported to {shown}: {seen}",
        code="records-export-failed",
        hint="check the address, the network and that the folder, bucket or database exists",
    )


def _code_of(error: Exception) -> int | None:
    """Return ClickHouse's number of an error, None if it has none."""
    found = re.search(r"\bCode: (\d+)", str(error))
    return int(found[1]) if found else None
