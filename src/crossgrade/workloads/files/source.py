"""Reads a file in bounded memory, as blocks, whole lines or JSON lines."""

import gzip
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import zstandard

from crossgrade.errors import CrossgradeError, DataError, unreadable
from crossgrade.workloads.files.limits import KIB, MIB, FileLimits, SizeMeter, size

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
UTF8_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")

# A zstd block of 4 bytes can stand for 128 KiB: input is fed in steps so small that one step
# cannot grow beyond 32 MiB.
ZSTD_STEP = KIB
ZSTD_WINDOW = 128 * MIB

_ELSEWHERE = "check the address, the network and the credentials of its store"


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a file; `line` is the number of the first, from 1."""

    line: int
    data: bytes

    def text(self, path: Path) -> str:
        """Decode as UTF-8.

        Raises `DataError` at the line and column of the first byte that is not UTF-8.
        """
        try:
            return self.data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8(path, self.line, self.data) from error


def find_file(path: str | Path, *, root: Path | None = None, folder: bool = False) -> Path:
    """Return `path`, resolved, if it is a file (or, with `folder`, a folder) inside `root`.

    A relative path counts from `root`, or without one from the current folder. Symbolic links
    are followed before the check.

    Raises `DataError` if it does not exist, is not a regular file, or lies outside `root`.
    """
    given = Path(path)
    full = ((root / given) if root is not None else given).resolve()
    if root is not None and not full.is_relative_to(root.resolve()):
        raise DataError(
            f"{given} lies outside the project folder {root}",
            code="file-outside-project",
            file=given,
            hint="copy the file into the project folder",
        )
    if full.is_file() or (folder and full.is_dir()):
        return given if root is None else full
    if not full.exists():
        raise DataError("there is no such file", code="file-missing", file=given, hint="check the path")
    seen = "a folder" if full.is_dir() else "not a regular file"
    raise DataError(
        f"this is {seen}, a file is expected", code="not-a-file", file=given, hint="give the path of a file"
    )


@contextmanager
def seekable(path: Path, limits: FileLimits) -> Iterator[Path]:
    """Yield a path that can be read again from its start: a copy of what stdin (`-`) or a pipe holds.

    Any other path is yielded as it is. Raises `DataError` if there is more than `limits.total_bytes`.
    """
    is_stdin = str(path) == "-"
    if not is_stdin and not path.is_fifo():
        yield path
        return
    with TemporaryDirectory(prefix="crossgrade-") as folder:
        copy = Path(folder) / "stdin"
        meter = SizeMeter(path, limits, None)
        with (
            nullcontext(sys.stdin.buffer) if is_stdin else path.open("rb") as source,
            copy.open("wb") as file,
        ):
            while block := source.read(MIB):
                meter.add(len(block))
                file.write(block)
        try:
            yield copy
        except DataError as error:
            error.file = str(path) if error.file == str(copy) else error.file
            raise


def files_below(folder: Path, *names: str, levels: int) -> Iterator[Path]:
    """Yield the files of these names in a folder and in those below it, down to so many levels, in order.

    Raises `DataError` for a link to a folder elsewhere, for one of such a name that leads elsewhere or to no
    file, and for a folder that cannot be read. Links to folders inside the folder are not followed.
    """
    yield from _files_below(folder, names, levels, os.path.realpath(folder))


def _files_below(folder: Path, names: tuple[str, ...], levels: int, root: str) -> Iterator[Path]:
    with file_errors(folder):
        entries = sorted(os.scandir(folder), key=lambda each: each.name)
    for entry in entries:
        path, is_named = Path(entry.path), entry.name in names
        if not entry.is_symlink():
            if is_named and entry.is_file():
                yield path
        elif is_named or path.is_dir():
            if not Path(os.path.realpath(path)).is_relative_to(root) or (is_named and not path.is_file()):
                raise DataError(
                    "this link leads out of the folder of the results, or to no file",
                    code="link-out-of-results",
                    file=path,
                    hint="copy what it points to into the folder, or remove it",
                )
            if is_named:
                yield path
    for entry in entries:
        if levels and entry.is_dir(follow_symlinks=False):
            yield from _files_below(Path(entry.path), names, levels - 1, root)


def first_bytes(path: Path, count: int = 4096) -> bytes:
    """Return the first bytes of a file after decompression, without a byte order mark."""
    head = bytearray()
    for block in _plain_blocks(path, FileLimits(), count):
        head += block
        if len(head) >= count:
            break
    return bytes(head.removeprefix(UTF8_BOM)[:count])


def read_whole(path: Path, limits: FileLimits) -> bytes:
    """Return all of a file, decompressed.

    Raises `DataError` if it is larger than `limits.document_bytes`, or damaged.
    """
    parts = []
    size_read = 0
    for block in _plain_blocks(path, limits, MIB):
        parts.append(block)
        size_read += len(block)
        if size_read > limits.document_bytes:
            raise DataError(
                f"this document is larger than {size(limits.document_bytes)}",
                code="document-too-large",
                file=path,
                hint="write it as JSON lines, which are read one by one, or split it",
            )
    return b"".join(parts).removeprefix(UTF8_BOM)


def line_blocks(path: Path, limits: FileLimits) -> Iterator[Block]:
    r"""Yield a file as blocks of whole lines; only `\n` ends a line (U+2028 does not).

    Raises `DataError` if a line is longer than `limits.line_bytes`, or the file is damaged.
    """
    line = 1
    carry = bytearray()
    for data in _plain_blocks(path, limits, min(MIB, limits.line_bytes)):
        if line == 1 and not carry:
            data = data.removeprefix(UTF8_BOM)  # noqa: PLW2901  # the mark belongs to no line
        first_end = data.find(b"\n")
        if len(carry) + (len(data) if first_end < 0 else first_end) > limits.line_bytes:
            raise DataError(
                f"this line is longer than {size(limits.line_bytes)}",
                code="line-too-long",
                file=path,
                line=line,
                hint="check that each record is on a line of its own",
            )
        if first_end < 0:
            carry += data
            continue
        end = data.rfind(b"\n") + 1
        carry += data[:end]
        yield Block(line, bytes(carry))
        line += carry.count(b"\n")
        carry = bytearray(data[end:])
    if carry:
        yield Block(line, bytes(carry))


class Lines:
    """The lines of a file that are not blank, each with its number from 1, in bounded memory.

    A line beyond the limit is passed over, and `too_long` is called with its number. `start` and `end` are
    bytes at which lines begin, as `line_starts` returns them, and numbers count from `start`. With `end` None
    the whole file is read. After the last line `count` is how many lines there are. Iterating raises
    `DataError` if the file is damaged, after all that stood before.
    """

    def __init__(
        self,
        path: Path,
        limits: FileLimits,
        too_long: Callable[[int], None],
        *,
        start: int = 0,
        end: int | None = None,
    ) -> None:
        self.count = 0
        self._path = path
        self._limits = limits
        self._too_long = too_long
        self._span = None if end is None else (start, end)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        number, carry, skipping = 1, bytearray(), False
        for data in _plain_blocks(self._path, self._limits, MIB, self._span):
            *ends, rest = data.split(b"\n")
            for end in ends:
                line = end
                if carry:
                    line, carry = bytes(carry + end), bytearray()
                if not skipping and len(line) > self._limits.line_bytes:
                    self._too_long(number)
                elif not skipping and line and not line.isspace():
                    yield number, self._without_mark(line) if number == 1 else line
                number, skipping = number + 1, False
            if not skipping:
                carry += rest  # the line goes on in the next block
                if len(carry) > self._limits.line_bytes:
                    self._too_long(number)
                    carry, skipping = bytearray(), True
        if carry and not carry.isspace():
            line = bytes(carry)
            yield number, self._without_mark(line) if number == 1 else line
        self.count = number if carry or skipping else number - 1

    def _without_mark(self, first: bytes) -> bytes:
        starts_file = self._span is None or self._span[0] == 0
        return first.removeprefix(UTF8_BOM) if starts_file else first


def line_starts(path: Path, every: int) -> list[int]:
    """Return bytes at which lines of a file begin, about `every` bytes apart, the first 0.

    A compressed file cannot be read from its middle and has 0 alone. Raises `DataError` if the file cannot
    be read.
    """
    starts = [0]
    with file_errors(path), _in_ranges(path, 64 * KIB) as raw:
        if raw.read(4).startswith((GZIP_MAGIC, ZSTD_MAGIC)):
            return starts
        size = raw.seek(0, os.SEEK_END)
        for wanted in range(every, size, every):
            if wanted <= starts[-1]:
                continue  # in a line that is longer
            raw.seek(wanted - 1)
            start = _next_line(raw)
            if start < size:
                starts.append(start)
    return starts


def _next_line(raw: IO[bytes]) -> int:
    """Return the byte at which the line after this place begins, or the end of the file."""
    at = raw.tell()
    while block := raw.read(64 * KIB):  # files of fsspec have no `readline` with a limit
        end = block.find(b"\n")
        if end >= 0:
            return at + end + 1
        at += len(block)
    return at


def is_local(path: object) -> bool:
    """Return whether a path is of this machine, and not one of a store that only behaves alike."""
    return isinstance(path, Path)


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn every error of reading a file, here or in a store elsewhere, into a `DataError`."""
    try:
        yield
    except OSError as error:
        # fsspec calls any fault of a server a missing file; its cause says what it was.
        cause = None if is_local(path) else error.__cause__
        if not isinstance(cause, Exception) or getattr(cause, "status", None) == HTTPStatus.NOT_FOUND:
            raise unreadable(path, error) from error
        raise unreadable(path, cause, hint=_ELSEWHERE) from error
    except CrossgradeError:
        raise
    except Exception as error:  # each store has a tree of exceptions of its own
        if is_local(path):
            raise
        raise unreadable(path, error, hint=_ELSEWHERE) from error


def json_lines(path: Path, limits: FileLimits) -> Iterator[tuple[int, bytes]]:
    """Yield the number and bytes of each line that is not blank."""
    for block in line_blocks(path, limits):
        for offset, line in enumerate(block.data.split(b"\n")):
            if line and not line.isspace():
                yield block.line + offset, line


def not_utf8(path: Path, line: int, data: bytes) -> DataError:
    """Return the error for `data`, whose first line is `line`, at its first byte that is not UTF-8."""
    try:
        data.decode("utf-8")
        start = 0
    except UnicodeDecodeError as error:
        start = error.start
    before = data[:start]
    if before.startswith(UTF16_BOMS) or (line == 1 and data.startswith(UTF16_BOMS)):
        seen = "this is UTF-16 text"
    else:
        seen = f"byte 0x{data[start]:02x} is not UTF-8"
    return DataError(
        f"{seen}, UTF-8 is expected",
        code="not-utf8",
        file=path,
        line=line + before.count(b"\n"),
        column=start - (before.rfind(b"\n") + 1) + 1,
        hint="save the file as UTF-8",
    )


def _plain_blocks(
    path: Path, limits: FileLimits, block_bytes: int, span: tuple[int, int] | None = None
) -> Iterator[bytes]:
    """Yield the decompressed bytes of a file, or a span of plain ones, at most `block_bytes` at a time."""
    with file_errors(path):
        try:
            yield from _blocks(path, limits, block_bytes, span)
        except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
            raise DataError(
                f"the compressed data is damaged or cut short ({error})",
                code="compression-damaged",
                file=path,
                hint="copy or download the file again",
            ) from error


def _blocks(
    path: Path, limits: FileLimits, block_bytes: int, span: tuple[int, int] | None
) -> Iterator[bytes]:
    with _opened(path, span, 4) as raw:
        magic = raw.read(4)
    with _opened(path, span, 4 * block_bytes) as raw:  # what comes as a stream has no way back
        compressed = span is None and magic.startswith((GZIP_MAGIC, ZSTD_MAGIC))
        if span is not None:
            parts = _blocks_of(raw, span, block_bytes, path)
        elif magic.startswith(GZIP_MAGIC):
            parts = _gzip_blocks(raw, block_bytes)
        elif magic == ZSTD_MAGIC:
            parts = _zstd_blocks(raw, block_bytes)
        else:
            parts = iter(lambda: raw.read(block_bytes), b"")
        meter = SizeMeter(path, limits, raw.tell if compressed else None)
        for part in parts:
            meter.add(len(part))
            yield part


def _opened(path: Path, span: tuple[int, int] | None, ahead_bytes: int) -> IO[bytes]:
    """Open a file, as a stream if it is to be read whole from a web server that sends no ranges."""
    if span is None and getattr(path, "protocol", "") in {"http", "https"}:
        try:
            with _in_ranges(path, 1) as file:
                file.seek(1)
                file.read(1)
        except ValueError:
            return _in_ranges(path, 0)
    return _in_ranges(path, ahead_bytes)


def _in_ranges(path: Path, ahead_bytes: int) -> IO[bytes]:
    """Open a file of which at most so much is read beyond what is asked for, where it is elsewhere.

    A store's driver may read 50 MiB ahead, far beyond the end of a part.
    """
    opened: Callable[..., IO[bytes]] = path.open
    return opened("rb") if is_local(path) else opened("rb", block_size=ahead_bytes)


def _blocks_of(raw: IO[bytes], span: tuple[int, int], block_bytes: int, path: Path) -> Iterator[bytes]:
    """Raises `DataError` if the file ends before the span does: it was longer when its parts were found."""
    raw.seek(span[0])
    left = span[1] - span[0]
    while left > 0 and (block := raw.read(min(block_bytes, left))):
        left -= len(block)
        yield block
    if left > 0:
        raise DataError(
            f"the file became shorter while it was read: {left:,} bytes are missing",
            code="file-shrank",
            file=path,
            hint="read a copy of it, or a file that nobody writes any more",
        )


def _gzip_blocks(raw: IO[bytes], block_bytes: int) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=raw) as stream:
        yield from iter(lambda: stream.read(block_bytes), b"")


def _zstd_blocks(raw: IO[bytes], block_bytes: int) -> Iterator[bytes]:
    context = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    frame = context.decompressobj()
    step = raw.read(ZSTD_STEP)
    while step:
        out = frame.decompress(step)
        for start in range(0, len(out), block_bytes):
            yield out[start : start + block_bytes]
        step = frame.unused_data or raw.read(ZSTD_STEP)
        if frame.eof and step:
            frame = context.decompressobj()
    if not frame.eof:
        raise EOFError("the last frame does not end")
