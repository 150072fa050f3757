"""Reads zip archives member by member, with bounded sizes and zstd (method 93)."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import zstandard

from crossgrade.errors import DataError
from crossgrade.workloads.files.limits import MIB, FileLimits, SizeMeter, size
from crossgrade.workloads.files.source import ZSTD_STEP, ZSTD_WINDOW

ZIP_MAGIC = b"PK\x03\x04"
_ZSTD = 93
_LOCAL_HEADER_BYTES = 30
_ENCRYPTED = 0x1


class ZipArchive:
    """An open zip archive whose members are read whole, within limits.

    Python's own reader knows zstd members only from 3.14 on; here they are read with
    `zstandard`. Sizes that the archive states are never trusted.
    """

    def __init__(self, path: Path, limits: FileLimits) -> None:
        """Open `path`.

        Raises `DataError` if it is not a complete zip archive, or has more than `limits.members` members.
        """
        self._path = path
        self._limits = limits
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise self._damaged(str(error)) from error
        if len(self._zip.infolist()) > limits.members:
            self._zip.close()
            raise DataError(
                f"the archive has more than {limits.members} files in it",
                code="archive-too-many-files",
                file=path,
                hint="split the log",
            )
        size_on_disk = path.stat().st_size
        self._meter = SizeMeter(path, limits, lambda: size_on_disk)

    def __enter__(self) -> "ZipArchive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def names(self) -> list[str]:
        """Return the members' names in archive order; the last of a repeated name counts."""
        return list(dict.fromkeys(self._zip.namelist()))

    def check_sizes(self, most: Mapping[str, int]) -> None:
        """Refuse an archive by the sizes that it states, for a reader that takes no more than these.

        `most` are limits of members. Raises `DataError`.
        """
        for info in self._zip.infolist():
            if info.file_size > most.get(info.filename, self._limits.document_bytes):
                raise self._too_large(info.filename)
            self._meter.add(info.file_size)

    def read(self, name: str) -> bytes:
        """Return one member, decompressed and checked against its CRC.

        Raises `DataError` if it is encrypted, compressed in an unknown way, damaged, or too large.
        """
        info = self._zip.getinfo(name)
        if info.flag_bits & _ENCRYPTED:
            raise DataError(
                f"{name} is encrypted",
                code="archive-encrypted",
                file=self._path,
                hint="write the log without a password",
            )
        if info.file_size > self._limits.document_bytes:
            raise self._too_large(name)
        try:
            data = self._unzstd(info) if info.compress_type == _ZSTD else self._inflate(info)
        except NotImplementedError as error:
            raise DataError(
                f"{name} is compressed with zip method {info.compress_type}; 0, 8 and 93 are read",
                code="archive-method",
                file=self._path,
                hint="convert the log: `inspect log convert --to json`",
            ) from error
        except (zipfile.BadZipFile, zlib.error, zstandard.ZstdError, EOFError, OSError) as error:
            raise self._damaged(f"{name}: {error}") from error
        if len(data) != info.file_size:
            raise self._damaged(f"{name} is not as long as the archive states")
        return data

    def _inflate(self, info: zipfile.ZipInfo) -> bytes:
        data = bytearray()
        with self._zip.open(info) as member:
            while block := member.read(MIB):
                self._grow(data, block, info)
        return bytes(data)

    def _unzstd(self, info: zipfile.ZipInfo) -> bytes:
        data = bytearray()
        frame = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()
        with self._path.open("rb") as raw:
            raw.seek(info.header_offset)
            header = raw.read(_LOCAL_HEADER_BYTES)
            if len(header) < _LOCAL_HEADER_BYTES or not header.startswith(ZIP_MAGIC):
                raise EOFError("no local header")
            # The local name and extra field may differ in length from the directory's.
            raw.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
            left = info.compress_size
            while left > 0 and not frame.eof:
                step = raw.read(min(ZSTD_STEP, left))
                if not step:
                    raise EOFError("the archive ends in the middle of a member")
                left -= len(step)
                self._grow(data, frame.decompress(step), info)
        if zlib.crc32(data) != info.CRC:
            raise EOFError("bad CRC-32")
        return bytes(data)

    def _grow(self, data: bytearray, block: bytes, info: zipfile.ZipInfo) -> None:
        self._meter.add(len(block))
        data += block
        if len(data) > min(info.file_size, self._limits.document_bytes):
            raise self._too_large(info.filename)

    def _too_large(self, name: str) -> DataError:
        return DataError(
            f"{name} is larger than it states, or than {size(self._limits.document_bytes)}",
            code="archive-file-too-large",
            file=self._path,
            hint="this may be a decompression bomb; raise the limit only if you trust the file",
        )

    def _damaged(self, cause: str) -> DataError:
        return DataError(
            f"the archive is damaged or cut short ({cause})",
            code="archive-damaged",
            file=self._path,
            hint="copy the log again",
        )
