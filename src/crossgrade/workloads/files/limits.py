"""The limits on reading one input."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crossgrade.errors import DataError

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLimits:
    """Bounds on an input file; beyond them a `DataError` is raised instead of memory spent.

    `line_bytes` is the longest line (and CSV field), `document_bytes` the largest JSON document
    or archive member, `total_bytes` all of a file, each after decompression. `ratio` is the
    largest growth by decompression of what was read so far, counted from `ratio_from_bytes` on.
    `members` bounds the files in an archive, `depth` the nesting of JSON.
    """

    line_bytes: int = 16 * MIB
    document_bytes: int = 512 * MIB
    total_bytes: int = 8 * GIB
    ratio: int = 500
    ratio_from_bytes: int = 16 * MIB
    members: int = 200_000
    depth: int = 64


class SizeMeter:
    """Counts the bytes that a file yields and stops at its limits."""

    def __init__(self, path: Path, limits: FileLimits, compressed_bytes: Callable[[], int] | None) -> None:
        """Start at zero; `compressed_bytes` says how much of a compressed file was read so far."""
        self._path = path
        self._limits = limits
        self._compressed = compressed_bytes
        self._total = 0

    def add(self, count: int) -> None:
        """Count `count` more bytes.

        Raises `DataError` if the file grows beyond its limits.
        """
        self._total += count
        limits = self._limits
        if self._total > limits.total_bytes:
            raise DataError(
                f"the content is larger than {size(limits.total_bytes)}, the limit for one file",
                code="file-too-large",
                file=self._path,
                hint="split the file into several",
            )
        if self._compressed is None or self._total <= limits.ratio_from_bytes:
            return
        if self._total > limits.ratio * max(self._compressed(), 1):
            raise DataError(
                f"decompresses to more than {limits.ratio} times its size, like a decompression bomb",
                code="decompression-bomb",
                file=self._path,
                hint="decompress it yourself if you trust it, and pass the plain file",
            )


def size(count: int) -> str:
    """Write a number of bytes for a reader: `16 MiB`."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if count >= unit:
            return f"{count / unit:.4g} {name}"
    return f"{count} bytes"
