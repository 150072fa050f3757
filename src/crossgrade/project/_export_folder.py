"""A folder of files under a manifest: written as a whole, and read without trust in any of its bytes."""

import errno
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, TypeAlias

import msgspec

from crossgrade.domain import keys_once, no_constant
from crossgrade.errors import DataError, StoreError, UsageError, said_by

MANIFEST = "manifest.json"
SIGNATURE = "signature.note"
MANIFEST_VERSION = 1
MOST_FILE_BYTES = 128 * 2**20
"""Largest file of an export: about half a million samples of two models. It bounds what a reader needs."""
MOST_BYTES = 256 * 2**20
"""Largest sum of an export's files."""
MOST_FILES = 256
MOST_CONTAINERS = 2_000_000
"""Most lists and objects in one file. A column is one list of plain values, so honest files have few."""
_MOST_MANIFEST_BYTES = 2**20
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NAME = r"^[A-Za-z0-9][A-Za-z0-9.-]{0,79}\Z"

_Digest: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Words: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """A file of an export as its manifest lists it."""

    name: Annotated[str, msgspec.Meta(pattern=_NAME)]
    bytes: Annotated[int, msgspec.Meta(ge=0, le=MOST_FILE_BYTES)]
    sha256: _Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedVerdict:
    """Which verdict an export is of."""

    id: _Words
    workload: _Words
    name: _Words
    evidence_digest: _Words


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportManifest:
    """What an export is of, with which versions it was written, and the digest of every other file.

    Without `with_texts` numbers stand for the texts of the evidence.
    """

    kind: Literal["crossgrade-verdict"] = "crossgrade-verdict"
    v: int = MANIFEST_VERSION
    verdict: ExportedVerdict
    with_texts: bool
    versions: Annotated[Mapping[_Words, _Words], msgspec.Meta(max_length=MOST_FILES)]
    files: Annotated[tuple[ListedFile, ...], msgspec.Meta(max_length=MOST_FILES)]

    @property
    def encoded(self) -> bytes:
        """The manifest as the folder has it."""
        return written_json(msgspec.to_builtins(self), indent=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadExport:
    """An export as it was read: the manifest and its own bytes, and the files that are as it lists them.

    `findings` say what is wrong with the others. `note` is the signature, None if there is none.
    """

    manifest: ExportManifest
    text: bytes
    files: Mapping[str, bytes]
    note: bytes | None = None
    findings: tuple[DataError, ...] = ()


def listed(files: Mapping[str, bytes]) -> tuple[ListedFile, ...]:
    """Return what a manifest says of files, by name. Raises UsageError if no reader would take them."""
    largest = max(files, key=lambda name: len(files[name]))
    total = sum(map(len, files.values()))
    if len(files[largest]) > MOST_FILE_BYTES or total > MOST_BYTES:
        raise UsageError(
            f"{largest} has {len(files[largest]):,} bytes, all files have {total:,}; an export has at most "
            f"{MOST_FILE_BYTES:,} in one file and {MOST_BYTES:,} in all",
            code="export-too-large",
            hint="leave out `--with-texts`, or decide on fewer samples",
        )
    return tuple(
        ListedFile(name=name, bytes=len(files[name]), sha256=sha256(files[name]).hexdigest())
        for name in sorted(files)
    )


def written_json(tree: Any, *, indent: int | None = None) -> bytes:
    """Return a JSON tree as the files of an export have it: ASCII, NaN refused."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(tree, allow_nan=False, indent=indent, separators=separators).encode() + b"\n"


def read_json(name: str, data: bytes) -> Any:
    """Return the JSON tree of a file.

    Raises DataError for duplicate keys, NaN, more than `MOST_CONTAINERS`, and what is not JSON.
    """
    if _containers(data) > MOST_CONTAINERS and _containers(_STRING.sub(b"", data)) > MOST_CONTAINERS:
        raise _unreadable(name, f"it has more than {MOST_CONTAINERS:,} lists and objects")
    try:
        return json.loads(data.decode(), object_pairs_hook=keys_once, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise _unreadable(name, said_by(error)) from None


def _containers(data: bytes) -> int:
    return data.count(b"[") + data.count(b"{")


def check_free(folder: Path) -> None:
    """Raise UsageError if a folder has something in it, or is something else."""
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise UsageError(
            f"{folder} is there already and is not an empty folder",
            code="export-folder-used",
            hint="name a new folder",
        )


def write_export(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder with files, whole or not at all. Raises StoreError if it cannot be written."""
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        fresh.mkdir(parents=True)
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        fresh.replace(folder)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise StoreError(
            f"{folder} cannot be written: {error.strerror or said_by(error)}",
            code="export-unwritable",
            hint="check the folder's permissions and the free disk space",
        ) from error


def read_export(folder: Path) -> ReadExport:
    """Read an export. A file that is missing, changed, additional or no plain file is one of its findings.

    Links are never followed, and nothing outside the folder is read. Raises DataError if there is no folder
    or manifest, or if the manifest is of a newer release, lists what no export has, or cannot be read.
    """
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(
            "there is no such folder, or it cannot be read",
            code="export-missing",
            file=folder,
            hint="check the path",
        )
    text = _manifest_text(folder)
    manifest = read_manifest(text)
    files: dict[str, bytes] = {}
    findings = list(_additional(folder, manifest))
    for each in manifest.files:
        try:
            files[each.name] = _listed_content(folder / each.name, each)
        except DataError as finding:
            findings.append(finding)
    note = None
    if os.path.lexists(folder / SIGNATURE):
        try:
            note = _content(folder / SIGNATURE, _MOST_MANIFEST_BYTES)  # reading a note refuses long ones
        except DataError as finding:
            findings.append(finding)
    return ReadExport(manifest=manifest, text=text, files=files, note=note, findings=tuple(findings))


def _manifest_text(folder: Path) -> bytes:
    try:
        text = _content(folder / MANIFEST, _MOST_MANIFEST_BYTES)
    except DataError as error:
        if error.code != "export-file-missing":
            raise
        raise DataError(
            "this folder has no manifest, so it is no export of a verdict",
            code="export-missing",
            file=folder,
            hint="name a folder that `crossgrade export VERDICT FOLDER` wrote",
        ) from None
    if len(text) > _MOST_MANIFEST_BYTES:
        raise _unreadable(MANIFEST, f"it has more than {_MOST_MANIFEST_BYTES:,} bytes")
    return text


def read_manifest(text: bytes) -> ExportManifest:
    """Read a manifest. Raises DataError for one of a newer release, or that lists what it may not."""
    tree = read_json(MANIFEST, text)
    version = tree.get("v") if isinstance(tree, dict) else None
    if type(version) is int and version > MANIFEST_VERSION:
        raise DataError(
            f"the manifest has version {version}, this release reads {MANIFEST_VERSION}",
            code="export-too-new",
            file=MANIFEST,
            hint="upgrade crossgrade to verify it",
        )
    try:
        found = msgspec.convert(tree, ExportManifest)
    except msgspec.ValidationError as error:
        raise _unreadable(MANIFEST, said_by(error)) from None
    names = [each.name.lower() for each in found.files]  # some machines do not tell them apart
    if version != MANIFEST_VERSION or len(set(names)) < len(names) or {MANIFEST, SIGNATURE} & set(names):
        raise _unreadable(MANIFEST, "it has no version, lists a file twice, or lists itself")
    if sum(each.bytes for each in found.files) > MOST_BYTES:
        raise _unreadable(MANIFEST, f"its files have more than {MOST_BYTES:,} bytes")
    return found


def _additional(folder: Path, manifest: ExportManifest) -> Iterator[DataError]:
    """Yield what stands in the folder and not in the manifest, a few of them if there are many."""
    known = {MANIFEST, SIGNATURE, *(each.name for each in manifest.files)}
    with os.scandir(folder) as entries:
        names = (entry.name for entry in entries if entry.name not in known)
        found = sorted(islice(names, _MOST_NAMED))
    for name in found:
        yield DataError(
            "the manifest does not list this file",
            code="export-file-additional",
            file=name,
            hint="remove it, and ask where it came from: nothing says that it belongs to the verdict",
        )


_MOST_NAMED = 20
"""So many additional files are named."""


def _listed_content(path: Path, listed: ListedFile) -> bytes:
    """Return the bytes of a file. Raises DataError if they are not those that the manifest lists."""
    content = _content(path, listed.bytes)
    if len(content) != listed.bytes or sha256(content).hexdigest() != listed.sha256:
        raise _differs(path.name)
    return content


def _content(path: Path, most_bytes: int) -> bytes:
    """Return the bytes of a plain file, of a longer one the first, one more than these. Raises DataError."""
    try:
        with open_plain(path) as file:
            return file.read(most_bytes + 1)
    except FileNotFoundError:
        raise DataError(
            "the manifest lists this file, and it is not there",
            code="export-file-missing",
            file=path.name,
            hint="get the folder again, as it was written",
        ) from None
    except OSError as error:
        if error.errno == errno.EINVAL or path.is_symlink():
            raise _irregular(path.name) from None
        raise _unreadable(path.name, error.strerror or said_by(error)) from None


def open_plain(path: Path) -> BinaryIO:
    """Open a plain file for reading, and never what a link names. Raises OSError for anything else."""
    # Without O_NONBLOCK a named pipe would wait for its writer.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is a folder or a device, and no plain file", str(path))
    return os.fdopen(handle, "rb")


def _irregular(name: str) -> DataError:
    return DataError(
        "this is a link, a folder or a device, and no plain file",
        code="export-file-irregular",
        file=name,
        hint="get the folder again, as it was written: nothing behind a link is read",
    )


def _differs(name: str) -> DataError:
    return DataError(
        "the file is not the one that the manifest lists: its size or SHA-256 differs",
        code="export-file-differs",
        file=name,
        hint="get the folder again, byte for byte as it was written",
    )


def _unreadable(name: str, why: str) -> DataError:
    return DataError(
        f"it cannot be read: {why}",
        code="export-unreadable",
        file=name,
        hint="get the folder again, byte for byte as it was written",
    )
