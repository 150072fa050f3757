"""What any machine has published, where machines share a PostgreSQL database: keys, routes, dossiers."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from crossgrade.errors import ConfigError, CrossgradeError

if TYPE_CHECKING:
    from crossgrade.store import Changes, Stamps

POLL_S = 1.0
"""How often a machine that is not told about changes looks for them, in seconds."""

TOLD_POLL_S = 10.0
"""How often a machine that is told looks all the same, so that it notices when its connection is dead."""

_RETRY_S = 0.5
_LONGEST_RETRY_S = 2.0

OnProblem = Callable[[str, Exception], None]


async def follow_store(url: str, folder: Path, warn: OnProblem, *, for_tokens: bool = False) -> None:
    """Keep `keys.json`, `routes.json` and `dossiers.json` as any machine published them.

    An alarm's step back is among them.

    The files stay as they are while the database does not answer. With `for_tokens` there is a `keys.json`
    even without keys, as for `restore_keys`. `warn` receives what is wrong: an event's name and an error.
    """
    following = _Following(folder, warn, for_tokens=for_tokens)
    failures = 0
    while True:
        try:
            pause_s = await following.look(url)
            failures = 0
        except CrossgradeError as error:
            warn("following", error)
            pause_s = min(_RETRY_S * 2**failures, _LONGEST_RETRY_S)
            pause_s *= random.uniform(0.5, 1.5)  # noqa: S311  # so that not all come back at once
            failures = min(failures + 1, 8)
        await _readable(following.socket, pause_s)


class _Following:
    """How far this machine has followed."""

    def __init__(self, folder: Path, warn: OnProblem, *, for_tokens: bool) -> None:
        self._for_tokens = for_tokens
        self._folder = folder
        self._warn = warn
        self._changes: Changes | None = None
        self._keys: tuple[int, int] = (0, 0)
        self._routes = 0
        self._dossiers = 0

    @property
    def socket(self) -> int | None:
        """The socket on which news arrive, None if nothing is told."""
        return None if self._changes is None else self._changes.fileno()

    async def look(self, url: str) -> float:
        """Take over what has changed; return after how many seconds to look again without news.

        Raises StoreError if the database does not answer, or the files cannot be written.
        """
        return await asyncio.to_thread(self._look, url)

    def _look(self, url: str) -> float:
        from crossgrade.store import Changes  # a broker without a shared database does not need it

        if self._changes is None:
            self._changes = Changes.open(url, self._folder)
        changes = self._changes
        stamps, is_more = changes.look()
        self._take(changes, stamps)
        if is_more:
            return 0.0
        return TOLD_POLL_S if changes.is_told else POLL_S

    def _take(self, changes: "Changes", stamps: "Stamps") -> None:
        is_lost = (stamps.keys[0] or self._for_tokens) and not changes.keys.path.exists()
        if stamps.keys != self._keys or is_lost:
            changes.keys.publish()
            self._keys = stamps.keys
        is_lost = stamps.routes and not changes.routes.path.exists()
        if stamps.routes != self._routes or is_lost:
            try:
                changes.routes.follow()
            except ConfigError as error:  # of a newer Crossgrade: the table in force stays
                self._warn("routes", error)
            self._routes = stamps.routes
        is_lost = stamps.dossiers and not changes.dossiers.path.exists()
        if stamps.dossiers != self._dossiers or is_lost:
            changes.dossiers.publish()
            self._dossiers = stamps.dossiers


async def _readable(socket: int | None, patience_s: float) -> None:
    """Wait until a socket has something to read, at most so long."""
    loop = asyncio.get_running_loop()
    if socket is None or not patience_s:
        await asyncio.sleep(patience_s)
        return
    news = asyncio.Event()
    loop.add_reader(socket, news.set)
    try:
        async with asyncio.timeout(patience_s):
            await news.wait()
    except TimeoutError:
        pass
    finally:
        loop.remove_reader(socket)
