"""Exports the request log: batch by batch, each under a name of its own, at least once.

A batch ends at a `{"settled": …}` line, so that it holds only what the broker will not take back. What it
covers is written down before it is sent, and that it was sent afterwards. So a process that is killed in
between sends the same batch again, under the same name.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from crossgrade.errors import StoreError, UsageError
from crossgrade.gateway import RequestRecord
from crossgrade.serve._destinations import Destination, open_destination, shown_destination
from crossgrade.serve._records import RecordLines, log_paths, read_lines
from crossgrade.serve._rows import parquet_of
from crossgrade.store import write_private

BATCH_RECORDS = 50_000
"""ClickHouse reads up to 65,409 rows of Parquet as one block, and it is blocks that it knows again."""

BATCH_BYTES = 32 << 20
_TAIL_BYTES = 4096
_VERSION = 1
_decode = msgspec.json.Decoder(RequestRecord).decode


class _Position(msgspec.Struct, frozen=True):
    """How far a destination has the log: to the byte `offset` of a file, behind bytes whose digest is `tail`.

    `until` is where the batch ends that may have been sent after it.
    """

    to: str
    file: str = ""
    offset: int = 0
    tail: str = ""
    until: int | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordBatch:
    """A batch that its destination has: its `name`, its `records`, and how many lines were `unreadable`.

    `removed`: the log lost files that may not have been exported. `repeated`: some of the records may have
    been exported before under another name; their ids tell.
    """

    name: str
    records: int
    unreadable: int = 0
    removed: bool = False
    repeated: bool = False


class RecordExport:
    """The export of a project's records to one destination; made by `open`."""

    def __init__(self, requests: Path, position: Path, to: str, destination: Destination) -> None:
        self._requests = requests
        self._path = position
        self._to = to
        self._destination = destination
        self._removed = self._repeated = False
        self._at = self._read_position()

    @classmethod
    @contextmanager
    def open(cls, state: Path, to: str) -> Iterator[Self]:
        """Give the export of the gateway's log in the folder `state` (`.crossgrade`) to a destination.

        `to` is a folder, the address of one in an object store, or `clickhouse://USER@HOST/DB/TABLE`. One
        process at a time may export to it.

        Raises MissingExtraError, UsageError for a destination that is none or that another process exports
        to, and StoreError for one that cannot be reached or written.
        """
        shown = shown_destination(to)
        folder = state / "serve" / "exports" / hashlib.sha256(shown.encode()).hexdigest()[:16]
        with _alone(folder, shown), open_destination(to) as destination:
            yield cls(state / "serve" / "requests", folder / "position.json", shown, destination)

    def export_next(self) -> RecordBatch | None:
        """Export what follows, up to about 50,000 records; None if the destination has all of the log.

        Raises StoreError if the destination refuses. The next call then sends the same batch.
        """
        while True:
            paths = log_paths(self._requests)  # before reading: of these, only the last one still grows
            try:
                path = self._file_of(paths)
                if path is None:
                    return None
                found = read_lines(
                    path, self._at.offset, self._at.until, most=BATCH_RECORDS, most_bytes=BATCH_BYTES
                )
                if found.end > self._at.offset:
                    batch = self._send(path, found)
                    if batch is not None:
                        return batch
                elif path == paths[-1]:
                    return None
                else:
                    self._at = self._start_of(paths[paths.index(path) + 1])
            except FileNotFoundError:
                continue  # the broker removes the oldest files at any time

    def _file_of(self, paths: Sequence[Path]) -> Path | None:
        """Return the file to read on in, None if there is none; where it is another log, start again."""
        at = self._at
        path = next((each for each in paths if each.name == at.file), None)
        if path is None and paths:
            later = [each for each in paths if each.name > at.file]
            self._removed |= bool(at.file and later)
            self._repeated |= not later
            path = (later or paths)[0]
            self._at = self._start_of(path)
        elif path is not None and at.offset and _tail(path, at.offset) != at.tail:
            self._repeated = True
            self._at = self._start_of(path)
        return path

    def _send(self, path: Path, found: RecordLines) -> RecordBatch | None:
        """Send what was read of a file; None if no record is in it."""
        records, unreadable = _decoded(found.lines)
        after = msgspec.structs.replace(self._at, offset=found.end, tail=_tail(path, found.end), until=None)
        batch = None
        if records:
            name = f"{path.name[:4]}-{path.name[4:6]}-{path.name[6:8]}-{records[0].id}-{records[-1].id}"
            self._save(msgspec.structs.replace(self._at, until=found.end))
            self._destination.put(name, parquet_of(records))
            batch = RecordBatch(
                name=name,
                records=len(records),
                unreadable=unreadable,
                removed=self._removed,
                repeated=self._repeated,
            )
            self._removed = self._repeated = False
        self._save(after)
        return batch

    def _start_of(self, path: Path) -> _Position:
        return _Position(self._to, path.name, version=_VERSION)

    def _read_position(self) -> _Position:
        """Return how far the destination has the log; where that is unknown, it gets all of it again."""
        nothing = _Position(self._to, version=_VERSION)
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=_Position)
        except FileNotFoundError:
            return nothing
        except (OSError, msgspec.MsgspecError, UnicodeError):
            found = nothing
        self._repeated = found == nothing or found.version != _VERSION
        return nothing if self._repeated else found

    def _save(self, position: _Position) -> None:
        try:
            write_private(self._path, msgspec.json.encode(position))
        except OSError as error:
            raise StoreError(
                f"the position of the export cannot be written to {self._path} ({error.strerror})",
                code="records-position-unwritable",
            ) from error
        self._at = position


def _decoded(lines: Sequence[bytes]) -> tuple[list[RequestRecord], int]:
    """Return the records of lines, and how many lines are none."""
    records = []
    for line in lines:
        try:
            records.append(_decode(line))
        except (msgspec.MsgspecError, UnicodeError):
            continue
    return records, len(lines) - len(records)


def _tail(path: Path, end: int) -> str:
    """Return a digest of the bytes before a place in a file, by which the file is known again."""
    with path.open("rb") as file:
        file.seek(max(0, end - _TAIL_BYTES))
        return hashlib.sha256(file.read(min(end, _TAIL_BYTES))).hexdigest()


@contextmanager
def _alone(folder: Path, shown: str) -> Iterator[None]:
    """Keep other processes from exporting to the same destination."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise StoreError(
            f"the position of the export cannot be written to {folder} ({error.strerror})",
            code="records-position-unwritable",
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UsageError(
            f"another process exports this project's records to {shown}",
            code="records-export-running",
            hint="let it go on, or end it first",
        ) from None
    finally:
        os.close(handle)
