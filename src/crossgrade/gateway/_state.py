"""Files that decide what is served and to whom, read again when they change."""

from collections.abc import Callable
from pathlib import Path

from crossgrade.errors import CrossgradeError

MOST_BYTES = 64 << 20


class WatchedFile:
    """A file that is looked at a few times a second; `take` gets its bytes when it has changed.

    A file that is gone, or that `take` refuses by raising, changes nothing: what was there before
    goes on to hold. `report` hears of each attempt: the file's name, and what was wrong or None.
    """

    def __init__(
        self, path: Path, take: Callable[[bytes], None], report: Callable[[str, str | None], None]
    ) -> None:
        self._path = path
        self._take = take
        self._report = report
        self._seen: tuple[int, int, int] | None = None

    def look(self) -> None:
        """Read the file again if it is another one than last time."""
        try:
            status = self._path.stat()
        except OSError:
            return
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            if status.st_size > MOST_BYTES:
                raise OSError(f"it has more than {MOST_BYTES} bytes")
            self._take(self._path.read_bytes())
        except (OSError, CrossgradeError) as error:
            self._report(self._path.name, str(error))
        else:
            self._report(self._path.name, None)
