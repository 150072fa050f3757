"""Private files that are replaced as a whole, such as those that a gateway's workers load."""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from crossgrade.errors import StoreError
from crossgrade.store._database import Database, file_lock


class PublishedFile:
    """`keys.json` or `dossiers.json`, in the state folder of this machine."""

    def __init__(self, database: Database, folder: Path, what: Literal["keys", "dossiers"]) -> None:
        self.path = folder / f"{what}.json"
        self._database = database
        self._lock = folder / "locks" / f"{what}.lock"
        self._what = what

    def locked(self) -> AbstractContextManager[bool]:
        """Wait for this machine's lock, under which the file is written and compared."""
        return file_lock(self._lock, wait=True)

    def write(self, content: bytes) -> None:
        """Replace the file, under the lock. Raises StoreError if it cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_private(self.path, content, durable=True)
        except OSError as error:
            code = "keys-unwritable" if self._what == "keys" else "dossiers-unwritable"
            raise StoreError(
                f"the {self._what} cannot be written to {self.path} ({error.strerror})",
                code=code,
                hint="check the folder's owner, its permissions and the free space",
            ) from error

    @property
    def may_be_behind(self) -> bool:
        """Whether machines share the database, so that the file need not be what it has."""
        return self._database.engine.dialect.name != "sqlite"

    def has(self, content: bytes) -> bool:
        """Return whether the file has this content, or is not there, as where no gateway reads it."""
        try:
            with self.path.open("rb") as file:
                return file.read(len(content) + 1) == content
        except FileNotFoundError:
            return True


def write_private(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Replace a file atomically by one that only its owner can read.

    `durable` waits until the disk has the file and its name, so that even a power cut does not undo it.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)  # a crash may have left one with other permissions
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    fresh.replace(path)
    if durable:
        flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Wait until the disk has the names of a folder's files."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
