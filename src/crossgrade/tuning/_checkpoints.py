"""Keeps the checkpoints of a training: whole files with the step in their name, the newest two."""

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from crossgrade.errors import StoreError

_NAME = re.compile(r"checkpoint-(\d{8})\.pt")
_KEPT = 2


class Checkpoints:
    """The checkpoints in a folder. A file gets its name when all of it is on disk, so each is whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def newest_first(self) -> Iterator[tuple[int, Path]]:
        """Yield the step and the file of each checkpoint, the newest first."""
        found = [(match, path) for path in self._folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        for match, path in sorted(found, key=lambda each: each[0][1], reverse=True):
            yield int(match[1]), path

    def newest(self) -> int:
        """Return the step of the newest checkpoint, 0 without one."""
        return next((step for step, _ in self.newest_first()), 0)

    def keep(self, step: int, write: Callable[[Path], object]) -> None:
        """Write the checkpoint of a step, and delete those before the one before it."""
        keep_file(self._folder / f"checkpoint-{step:08}.pt", write)
        for _, path in list(self.newest_first())[_KEPT:]:
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete the checkpoints, once the adapter is written."""
        for _, path in list(self.newest_first()):
            path.unlink(missing_ok=True)


def keep_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a name of its own, and give it its name when all of it is on disk.

    Raises `StoreError` if it cannot be written.
    """
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=path.parent)) / path.name
    try:
        write(draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StoreError(
            f"{path.name} cannot be written: {error.strerror}", code="checkpoint-not-kept"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
        draft.parent.rmdir()
