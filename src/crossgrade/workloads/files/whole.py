"""Files written whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from crossgrade.errors import StoreError


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Give a text file to write, which takes the place of `path` once it is complete.

    Makes its folder. Line ends are written as given. Raises `StoreError` when it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", newline="", encoding="utf-8") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror})",
            code="file-unwritable",
            hint="name a folder with room that you may write",
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
