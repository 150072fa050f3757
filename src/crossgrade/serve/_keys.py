"""Keep `keys.json` as the database has it: what another machine, or nobody here, wrote."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from crossgrade.errors import CrossgradeError
from crossgrade.store import Keys

POLL_S = 2.0
"""How soon a key made or revoked on another machine counts here."""


async def keep_keys(url: str, folder: Path, *, shared: bool, warn: Callable[[Exception], None]) -> None:
    """Write the file where it is lost and, where several machines share the database, at every change.

    On one machine `crossgrade keys` writes it by itself, so the database is not even opened.
    """
    if not shared and not _is_lost(url, folder):
        return
    written = 0
    while True:
        try:
            written = await asyncio.to_thread(_publish, url, folder, written)
        except CrossgradeError as error:
            warn(error)
        if not shared:
            return
        await asyncio.sleep(POLL_S)


def _is_lost(url: str, folder: Path) -> bool:
    """Tell whether there may be keys without their file."""
    return not (folder / "keys.json").exists() and ("://" in url or Path(url).exists())


def _publish(url: str, folder: Path, written: int) -> int:
    """Write the file if there are newer events than `written`; returns the newest."""
    with Keys.open(url, folder) as keys:
        newest = keys.newest_event()
        if newest != written:
            keys.publish()
        return newest
