"""The address of the keeper's socket: it fits, however deep the project's folder lies."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST_BYTES = 107
"""What an address of a Unix socket may have on Linux, see unix(7)."""

_DESCRIPTORS = "/proc/self/fd"


@contextmanager
def socket_address(path: str) -> Iterator[str]:
    """Yield an address of the Unix socket at a path, of at most 107 bytes where Linux can help.

    A longer path is reached through a descriptor of its folder, open as long as the context.
    Raises OSError when the folder cannot be opened.
    """
    if len(os.fsencode(path)) <= _LONGEST_BYTES or not Path(_DESCRIPTORS).is_dir():
        yield path
        return
    folder, name = os.path.split(path)
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"{_DESCRIPTORS}/{held}/{name}"
    finally:
        os.close(held)
