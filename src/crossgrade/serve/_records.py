"""The request log: files of JSON lines that are only appended to, and counted again after a crash.

A flush's records are followed by one line `{"settled": …}` with what it spent. What follows the last such
line was cut off by a crash and is removed.
"""

import mmap
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from crossgrade.errors import StoreError
from crossgrade.gateway import LeaseId, RequestRecord, Spend

SEGMENT_BYTES = 64 << 20
KEPT_BYTES = 8 << 30
_SEARCHED_BYTES = 1 << 30
_PIECE = 1 << 20
_MARK = b'{"settled":'
_NEWLINE = 10


class Settled(msgspec.Struct):
    """What one flush of a worker spent; `life` and `seq` identify the flush."""

    life: str
    seq: int
    spends: list[Spend]


class _Line(msgspec.Struct):
    settled: Settled


_encoder = msgspec.json.Encoder()
_line_decoder = msgspec.json.Decoder(_Line)
_record_decoder = msgspec.json.Decoder(RequestRecord)


class RecordFiles:
    """The files of a folder, the newest open for appending.

    A new file begins at 64 MiB and with every day (UTC). The oldest files are removed when all together have
    more than 8 GiB. `dropped` counts the records that could not be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle = -1
        self._path = folder
        self._size = 0
        self._unsynced = False
        self.dropped = 0
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in self._paths()[-1:]:
                self._open(path)
                self._size = _whole(path)
                os.ftruncate(self._handle, self._size)
        except OSError as error:
            raise StoreError(
                f"the request log {folder} cannot be written ({error.strerror})",
                code="request-log-unwritable",
            ) from error

    @property
    def segment(self) -> str:
        """The name of the newest file, empty before the first record."""
        return self._path.name if self._handle >= 0 else ""

    @property
    def position(self) -> int:
        """The length of the newest file, in bytes."""
        return self._size

    def append(self, lines: bytes, records: int, settled: Settled) -> OSError | None:
        """Append a flush; return the error if the disk refused it, and None if all of it was written.

        After an error the file contains nothing of the flush.
        """
        if not lines and not settled.spends:
            return None
        last = b"%b\n" % _encoder.encode(_Line(settled))
        size = len(lines) + len(last)
        try:
            self._rotate(size)
            _write(self._handle, lines)  # megabytes under load, so they are not copied into one piece
            _write(self._handle, last)
        except OSError as error:
            self.dropped += records
            if self._handle >= 0:
                os.ftruncate(self._handle, self._size)
            return error
        self._size += size
        self._unsynced = True
        return None

    def syncing(self) -> Callable[[], None] | None:
        """Return a function that syncs what was appended so far, None if there is nothing to sync.

        It can be called from any thread.
        """
        if not self._unsynced:
            return None
        self._unsynced = False
        handle = os.dup(self._handle)  # the file may be rotated away meanwhile

        def sync() -> None:
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

        return sync

    def _sync(self) -> None:
        sync = self.syncing()
        if sync is not None:
            sync()

    def settled(
        self, since: tuple[str, int] = ("", 0), until: tuple[str, int] | None = None
    ) -> Iterator[Settled]:
        """Yield what was settled between two positions (file, offset)."""
        for path in self._paths():
            if path.name < since[0] or (until is not None and path.name > until[0]):
                continue
            begin = since[1] if path.name == since[0] else 0
            end = until[1] if until is not None and path.name == until[0] else path.stat().st_size
            yield from _settled(path, begin, end)

    def spent(self, since: tuple[str, int], until: tuple[str, int]) -> dict[LeaseId, int]:
        """Return what was spent of each lease between two positions."""
        found: dict[LeaseId, int] = {}
        for settled in self.settled(since, until):
            for spend in settled.spends:
                found[spend.lease] = found.get(spend.lease, 0) + spend.spent
        return found

    def last_flushes(self) -> dict[str, int]:
        """Return the last written flush of each worker's life, from the newest two files."""
        paths = self._paths()[-2:]
        return {each.life: each.seq for path in paths for each in _settled(path, 0, path.stat().st_size)}

    def find(self, identifier: str) -> RequestRecord | None:
        """Return the newest record with this request or response id, None if the newest GiB has none."""
        text = msgspec.json.encode(identifier)
        # Search under these names only: other words of the log occur in every line.
        needles = (b'"id":' + text, b'"response_id":' + text)
        searched = 0
        for path in reversed(self._paths()):
            size = path.stat().st_size
            if searched + size > _SEARCHED_BYTES:
                break
            searched += size
            found = _find(path, needles, identifier)
            if found is not None:
                return found
        return None

    def close(self) -> None:
        """Sync and close."""
        if self._handle >= 0:
            self._sync()
            os.close(self._handle)
            self._handle = -1

    def _paths(self) -> list[Path]:
        return log_paths(self._folder)

    def _open(self, path: Path) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        if self._handle >= 0:
            self._sync()
            os.close(self._handle)
        self._handle, self._path, self._size = handle, path, 0

    def _rotate(self, more: int) -> None:
        today = f"{datetime.now(UTC):%Y%m%d}"
        is_current = self._handle >= 0 and self._path.name.startswith(today)
        if is_current and (self._size + more <= SEGMENT_BYTES or not self._size):
            return
        number = int(self._path.stem.partition("-")[2]) + 1 if is_current else 1
        self._open(self._folder / f"{today}-{number:06d}.jsonl")
        self._prune()

    def _prune(self) -> None:
        kept = 0
        for path in reversed(self._paths()):
            kept += path.stat().st_size
            if kept > KEPT_BYTES:
                path.unlink()


def log_paths(folder: Path) -> list[Path]:
    """Return the files of a request log, the oldest first."""
    return sorted(folder.glob("*.jsonl"))


class RecordLines(NamedTuple):
    """Lines of a file that hold records, up to the byte `end`, behind the settled line of the last ones."""

    lines: list[bytes]
    end: int


def read_lines(path: Path, begin: int, until: int | None, *, most: int, most_bytes: int) -> RecordLines:
    """Return the settled records behind a byte, of a file that may be appended to and cut short meanwhile.

    They end with the flush that ends at `until`, or where that is None with the one that brings them to
    `most` records or `most_bytes`.
    """
    count, flush, end, at = 0, 0, begin, begin
    with path.open("rb") as file:
        file.seek(begin)
        for line in file:
            at += len(line)
            if not line.endswith(b"\n"):
                break
            if not line.startswith(_MARK):
                flush += 1
                continue
            count, flush, end = count + flush, 0, at
            is_full = count >= most or end - begin >= most_bytes
            if is_full if until is None else end >= until:
                break
        # A full disk may have replaced a flush while it was read. What stands before a settled line stays.
        lines = os.pread(file.fileno(), end - begin, begin).splitlines(keepends=True)
    if not lines or not _is_settled(lines[-1]):
        return RecordLines([], begin)
    return RecordLines([line for line in lines if not line.startswith(_MARK)], end)


def _is_settled(line: bytes) -> bool:
    try:
        _line_decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeError):
        return False
    return True


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _whole(path: Path) -> int:
    """Return the number of bytes of a file up to the end of its last settled line."""
    size = path.stat().st_size
    if not size:
        return 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        end = size
        while end > 0:
            start = content.rfind(_MARK, 0, end)
            if start < 0:
                return 0
            newline = content.find(b"\n", start)
            if newline >= 0 and (start == 0 or content[start - 1] == _NEWLINE):
                return newline + 1
            end = start
    return 0


def _settled(path: Path, begin: int, end: int) -> Iterator[Settled]:
    if begin >= end:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(_MARK, begin, end)
        while at >= 0:
            newline = content.find(b"\n", at)
            if at == 0 or content[at - 1] == _NEWLINE:  # not within a record's text
                yield _line_decoder.decode(content[at:newline]).settled
            at = content.find(_MARK, newline, end)


def run_records(state: Path, run: str) -> list[RequestRecord]:
    """Return the records of an agent's run, oldest first, from the log in the folder `state` (`.crossgrade`).

    Shadow copies are none of its calls. Workers hand over their records every half second, so those of the
    newest calls may be missing. Raises StoreError if the log cannot be read.
    """
    needles = (b'"run":' + msgspec.json.encode(run),)
    found: list[RequestRecord] = []
    for path in log_paths(state / "serve" / "requests"):
        try:
            found += [each for each in _records(path, needles) if each.run == run][::-1]
        except FileNotFoundError:
            continue  # the broker removes the oldest files at any time
        except (OSError, msgspec.MsgspecError) as error:
            raise StoreError(
                f"the request log {path} cannot be read ({error})", code="request-log-unreadable"
            ) from error
    return sorted(found, key=lambda each: each.at)


def _find(path: Path, needles: tuple[bytes, ...], identifier: str) -> RequestRecord | None:
    for record in _records(path, needles):
        if identifier in (record.id, record.response_id) and not record.shadow:
            return record
    return None


def _records(path: Path, needles: tuple[bytes, ...]) -> Iterator[RequestRecord]:
    """Yield the records of a file in whose lines one of the needles is, the newest first."""
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        before = len(content)
        for at in _places(content, needles):
            if at >= before:
                continue  # in a line that was yielded
            start, newline = content.rfind(b"\n", 0, at) + 1, content.find(b"\n", at)
            if newline < 0:
                continue  # it is still being written
            before = start
            yield _record_decoder.decode(content[start:newline])


def _places(content: mmap.mmap, needles: tuple[bytes, ...]) -> Iterator[int]:
    """Yield where the needles are, from the end on. Bytes are searched far faster than a mapped file."""
    more = max(map(len, needles)) - 1
    for begin in range((len(content) - 1) // _PIECE * _PIECE, -1, -_PIECE):
        piece = content[begin : begin + _PIECE + more]
        end = len(piece)
        while (at := max(piece.rfind(each, 0, end) for each in needles)) >= 0:
            yield begin + at
            end = at
