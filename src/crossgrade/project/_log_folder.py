"""A ledger as a folder of files, for a verifier on another machine: C2SP tlog-tiles, and the texts beside it.

`checkpoint` is the newest signed checkpoint, `checkpoints/SIZE` are all that were kept, `tile/…` the tree and
the entries as C2SP tlog-tiles has them, and `payloads/…` the encrypted texts of 256 entries each.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice, takewhile
from pathlib import Path
from typing import BinaryIO, Self

from crossgrade.errors import DataError, StoreError, UsageError, unreadable
from crossgrade.ledger import (
    HASH_BYTES,
    MAX_BUNDLE_BYTES,
    MOST_NOTE_BYTES,
    TILE_WIDTH,
    FindingCode,
    LogFile,
    LogFinding,
    LogVerification,
    NoteVerifier,
    TileWriter,
    read_bundle,
    read_size,
    tile_path,
    verify_log,
)
from crossgrade.project._export_folder import open_plain
from crossgrade.store import MAX_SEALED_BYTES, LedgerLog, ledger_damaged

_LENGTH_BYTES = 8
_MOST_CHECKPOINTS = 1_000_000
"""Most checkpoints that are read: a witness may cosign one for each entry."""


def export_log(log: LedgerLog, folder: Path) -> int:
    """Write a log into a new or empty folder, and return how many entries it has.

    Raises `UsageError` for a folder that has files, and `StoreError` for one that cannot be written. A log
    with an entry that is lost or changed is not written (`ledger-damaged`), and leaves the folder empty.
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(
                f"{folder} has files already", code="export-folder-used", hint="name a new folder"
            )
        (folder / "checkpoints").mkdir(parents=True)
        try:
            return _write_log(log, folder)
        except StoreError:
            for each in folder.iterdir():  # all of it was written here
                shutil.rmtree(each) if each.is_dir() else each.unlink()
            raise
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror})", code="file-unwritable") from error


def _write_log(log: LedgerLog, folder: Path) -> int:
    checkpoints = log.checkpoints()
    size = log.size()
    writer = TileWriter()
    with ExitStack() as opened:
        payloads: _Payloads | None = None
        for row in log.whole(0, size):
            if type(row.body) is not bytes or not isinstance(row.payload, bytes | None):
                raise ledger_damaged(f"entry {row.seq} or its text is no bytes")
            for file in writer.append(row.body):
                _write(folder, file)
            if payloads is None or row.seq % TILE_WIDTH == 0:
                opened.close()
                payloads = opened.enter_context(_Payloads(folder / _payloads_path(row.seq // TILE_WIDTH)))
            payloads.append(row.payload)
    if writer.tree.root() != log.root(size):
        raise ledger_damaged("its entries do not give its stored hashes")
    for file in writer.rest():
        _write(folder, file)
    for at, note in checkpoints:
        _write(folder, LogFile(f"checkpoints/{at}", note.encode()))
    if checkpoints:
        _write(folder, LogFile("checkpoint", checkpoints[-1][1].encode()))
    return writer.tree.size


def _write(folder: Path, file: LogFile) -> None:
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content)


def _payloads_path(number: int) -> str:
    return tile_path(None, number).replace("tile/entries/", "payloads/")


class _Payloads:
    """The file of the texts of 256 entries: for each its length plus 1 in 8 bytes, and its bytes.

    An entry without a text has 0. There is no file for entries without texts.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = 0
        self._file: BinaryIO | None = None

    def append(self, payload: bytes | None) -> None:
        """Write the next entry's text."""
        if payload is None and self._file is None:
            self._before += 1
            return
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
            self._file.write(bytes(_LENGTH_BYTES * self._before))
        length = 0 if payload is None else len(payload) + 1
        self._file.write(length.to_bytes(_LENGTH_BYTES, "big") + (payload or b""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def verify_ledger_folder(
    folder: Path,
    *,
    log: NoteVerifier | None = None,
    witnesses: Sequence[NoteVerifier] = (),
    kept: Sequence[str] = (),
) -> LogVerification:
    """Check an exported log, alone, file by file; see `ledger.verify_log`.

    Raises `DataError` for a folder that is none. A file that is lost or changed is a finding.
    """
    if not folder.is_dir():
        raise DataError("there is no such folder", code="file-missing", file=folder, hint="check the path")
    reader = _Reader(folder)
    found = verify_log(reader.entries(), reader.checkpoints(), log=log, witnesses=witnesses, kept=kept)
    return found.and_findings(reader.findings)


_NO_MORE = object()


class _Reader:
    """Reads the entries of a folder, and compares the hashes in its tiles with theirs on the way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.findings: list[LogFinding] = []

    def _find(self, code: FindingCode, message: str, seq: int | None = None) -> None:
        if len(self.findings) < TILE_WIDTH:
            self.findings.append(LogFinding(code=code, message=message, seq=seq))

    def checkpoints(self) -> Iterator[tuple[int, str]]:
        """Yield the kept checkpoints by the size that is their file's name, and the newest."""
        for size in self._checkpoint_sizes():
            note = self._read(f"checkpoints/{size}", MOST_NOTE_BYTES)
            if note is not None:
                yield size, note.decode(errors="replace")
        newest = self._read("checkpoint", MOST_NOTE_BYTES)
        if newest is not None:
            text = newest.decode(errors="replace")
            _, _, rest = text.partition("\n")
            stated = _size_of(rest.partition("\n")[0])
            yield -1 if stated is None else stated, text

    def _checkpoint_sizes(self) -> list[int]:
        folder = self._folder / "checkpoints"
        try:
            with os.scandir(folder) as entries:
                sizes = (_size_of(entry.name) for entry in entries)
                found = list(islice((each for each in sizes if each is not None), _MOST_CHECKPOINTS + 1))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise unreadable(folder, error) from error
        if len(found) > _MOST_CHECKPOINTS:
            self._find("file-differs", f"checkpoints has more than {_MOST_CHECKPOINTS:,} files")
        return sorted(found[:_MOST_CHECKPOINTS])

    def entries(self) -> Iterator[tuple[int, bytes, bytes | None]]:
        """Yield (number, body, payload) of every entry."""
        writer = TileWriter()
        number = 0
        while (bundle := self._bundle(number)) is not None:
            payloads = self._payloads(number)
            for at, body in enumerate(bundle):
                for file in writer.append(body):
                    self._compare(file)
                yield number * TILE_WIDTH + at, body, next(payloads, None)
            if next(payloads, _NO_MORE) is not _NO_MORE:
                self._find("file-differs", f"{_payloads_path(number)} has more texts than entries")
            if len(bundle) < TILE_WIDTH:
                break
            number += 1
        for file in writer.rest():
            self._compare(file)

    def _bundle(self, number: int) -> list[bytes] | None:
        """Return the entries of a bundle, None behind the last."""
        whole = self._folder / tile_path(None, number)
        path = tile_path(None, number)
        if not whole.is_file():
            widths = [each.name for each in whole.with_name(f"{whole.name}.p").glob("*")]
            known = [int(each) for each in widths if each.isascii() and each.isdigit() and len(each) <= 3]
            if not known:
                return None
            path = tile_path(None, number, max(known))
        content = self._read(path, MAX_BUNDLE_BYTES)
        try:
            return None if content is None else read_bundle(content) or None
        except DataError as error:
            self._find("file-differs", f"{path}: {error.message}", number * TILE_WIDTH)
            return None

    def _compare(self, file: LogFile) -> None:
        if file.path.startswith("tile/entries/"):
            return
        content = self._read(file.path, len(file.content))
        if content is not None and content != file.content:
            first = _first_covered(file, content)
            self._find("file-differs", f"{file.path} has not the hashes of its entries", first)

    def _payloads(self, number: int) -> Iterator[bytes | None]:
        """Yield the texts of a bundle's entries; those behind damage are lost."""
        path = _payloads_path(number)
        if not os.path.lexists(self._folder / path):
            return
        file = self._open(path)
        if file is None:
            return
        with file:
            while head := file.read(_LENGTH_BYTES):
                length = int.from_bytes(head, "big")
                payload = file.read(min(max(length - 1, 0), MAX_SEALED_BYTES))
                if len(head) < _LENGTH_BYTES or len(payload) != max(length - 1, 0):
                    self._find("file-differs", f"{path} is cut off, or has too long a text")
                    return
                yield payload if length else None

    def _read(self, name: str, most: int) -> bytes | None:
        """Return a file's content; a file that is lost or too long is a finding."""
        file = self._open(name)
        if file is None:
            return None
        with file:
            content = file.read(most + 1)
        if len(content) > most:
            self._find("file-differs", f"{name} is longer than {most:,} bytes")
            return None
        return content

    def _open(self, name: str) -> BinaryIO | None:
        """Open a file; one that is lost or no plain file is a finding. Nothing behind a link is read."""
        path = self._folder / name
        try:
            return open_plain(path)
        except FileNotFoundError:
            self._find("file-missing", f"{name} is missing")
        except OSError as error:
            if path.is_file() and not path.is_symlink():
                raise unreadable(path, error) from error
            self._find("file-differs", f"{name} is a link or no plain file")
        return None


def _size_of(text: str) -> int | None:
    """Read the size of a log, None for a text that is none."""
    try:
        return read_size(text)
    except DataError:
        return None


def _first_covered(file: LogFile, content: bytes) -> int:
    """Return the first entry below the first hash of a tile that differs."""
    _, level, *rest = file.path.split("/")
    number = int("".join(rest).replace("x", "").partition(".p")[0])
    pairs = zip(_hashes(file.content), _hashes(content), strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return int((number * TILE_WIDTH + same) * TILE_WIDTH ** int(level))


def _hashes(tile: bytes) -> list[bytes]:
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]


def read_note_file(path: Path) -> str:
    """Return the text of a note that was kept elsewhere. Raises `DataError` for a file that is none."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_NOTE_BYTES + 1)
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error
