"""The parts of a log, each of which is read by itself, so that several processes can read one file.

They depend on the files alone. So whoever reads them, the log has the same requests in the same order.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO, Literal, TypeAlias

import msgspec

from crossgrade.errors import DataError, UsageError, closest
from crossgrade.workloads.files import file_errors, first_bytes, is_local, line_starts
from crossgrade.workloads.traffic.formats import LOG_FORMATS, LogFormat, recognise

PART_BYTES = 16 << 20
"""A file is read in parts of about this size."""

FileKind: TypeAlias = Literal["utf-16", "parquet", "empty", "binary", "document", "lines", "csv"]
_HEAD_BYTES = 64 * 1024
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions:
    """How a log is read: `file_format` is the name of the only format, None to recognise each record's.

    `model` is taken for the one that answered where a record names none. `formats` are those that are known.
    Without `texts`, prompts and answers are left out.
    """

    texts: bool = True
    file_format: str | None = None
    model: str | None = None
    formats: Mapping[str, LogFormat] = field(default_factory=lambda: LOG_FORMATS)

    def __post_init__(self) -> None:
        if self.file_format is not None and self.file_format not in self.formats:
            raise UsageError(
                f"no format of logs is called {self.file_format!r}{closest(self.file_format, self.formats)}",
                code="log-format-unknown",
                hint=f"formats are {', '.join(self.formats)}",
            )

    @property
    def named(self) -> LogFormat | None:
        """The format of all records, None if each is recognised."""
        return self.formats[self.file_format] if self.file_format else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """What is read at once, independently of all other parts: a file, or a stretch of one.

    `file` is the number of the file in the log. `start` and `end` are bytes at which lines begin in a file of
    JSON lines, and row groups of Parquet. `end` None is all of the file.
    """

    file: int
    path: Path
    start: int = 0
    end: int | None = None


def log_parts(paths: Sequence[Path], options: ReadingOptions) -> Iterator[LogPart]:
    """Yield the parts of a log in order. They depend on the files alone, not on who reads them."""
    for number, path in enumerate(paths):
        try:
            bounds = _bounds(path, options)
        except (DataError, OSError):  # whoever reads the file says so
            bounds = []
        if not bounds:
            yield LogPart(file=number, path=path)
        for start, end in pairwise(bounds):
            yield LogPart(file=number, path=path, start=start, end=end)


def _bounds(path: Path, options: ReadingOptions) -> list[int]:
    """Return where the parts of a file begin, and its end; nothing if it is read as a whole."""
    with file_errors(path):
        size = path.stat().st_size
    if not size or size <= PART_BYTES:  # a web server may not say
        return []
    head = first_bytes(path, _HEAD_BYTES)
    kind = _kind_of(head)
    if kind == "parquet":
        return _row_groups(path)
    if kind != "lines" or _is_in_pieces(head, options):
        return []
    starts = line_starts(path, PART_BYTES)
    return [*starts, size] if len(starts) > 1 else []


@contextmanager
def parquet_source(path: Path) -> Iterator[Path | IO[bytes]]:
    """Give what pyarrow reads: a path of this machine, or an open file elsewhere."""
    if is_local(path):
        yield path
        return
    with path.open("rb") as file:
        yield file


def _row_groups(path: Path) -> list[int]:
    """Return the numbers of row groups of Parquet, about `PART_BYTES` apart, and how many there are."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        return []
    try:
        with parquet_source(path) as source, ParquetFile(source) as file:
            sizes = [file.metadata.row_group(at).total_byte_size for at in range(file.num_row_groups)]
    except (ArrowException, OSError):
        return []
    found, size = [0], 0
    for at, each in enumerate(sizes):
        if size and size + each > PART_BYTES:
            found.append(at)
            size = 0
        size += each
    return [*found, len(sizes)] if len(sizes) > 1 else []


def _is_in_pieces(head: bytes, options: ReadingOptions) -> bool:
    """Return whether the requests of a file of lines are spread over its rows."""
    found = options.named
    if found is None:
        try:
            row = _decode(head.lstrip().partition(b"\n")[0])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        found = recognise(row, options.formats) if isinstance(row, dict) else None
    return found is not None and found.read is None and found.whole is None


def file_kind(path: Path) -> FileKind:
    """Return how a file is written, from its first bytes after decompression.

    Raises `DataError` if it cannot be read.
    """
    return _kind_of(first_bytes(path, _HEAD_BYTES))


def _kind_of(head: bytes) -> FileKind:
    start = head.lstrip()
    if head.startswith(_UTF16):
        return "utf-16"
    if head.startswith(b"PAR1"):
        return "parquet"
    if not start:
        return "empty"
    if b"\0" in head[:1024]:
        return "binary"
    if start[:1] == b"{":
        return "lines" if _is_line(start) else "document"
    return "document" if start[:1] == b"[" else "csv"


def _is_line(start: bytes) -> bool:
    """Return whether the first line is JSON by itself, or too long to be sure."""
    line, newline, _ = start.partition(b"\n")
    if not newline:
        return len(start) >= 60 * 1024
    try:
        _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Lines that begin like the first are records of which this one is damaged.
        return line.rstrip().endswith(b"}") or b'\n{"' in start
    return True
