"""The files that workers read, kept as the database and the issuers have them.

`routes.json` is the route table, `keys.json` the keyring, `jwks.json` the issuers' public keys.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from crossgrade.domain import TokenIssuer
from crossgrade.errors import ConfigError, CrossgradeError
from crossgrade.gateway import GatewaySettings
from crossgrade.identity import ASKED_AGAIN_S, RETRY_S, IssuerKeys, jwks_bytes, read_jwks, refresh_jwks
from crossgrade.store import Keys

ROUTES_POLL_S = 2.0
"""How soon a route table that another machine published takes effect here, in seconds."""

KEYS_POLL_S = 2.0
"""How soon a key that was created or revoked on another machine counts here, in seconds."""


async def keep_routes(url: str, folder: Path, warn: Callable[[Exception], None]) -> None:
    """Write the route tables that any machine publishes, an alarm's step back among them."""
    from crossgrade.store import Routes  # a broker without a shared database does not need it

    while True:
        try:
            with closing(await asyncio.to_thread(Routes.open, url, folder)) as routes:
                while True:
                    await asyncio.to_thread(routes.follow)
                    await asyncio.sleep(ROUTES_POLL_S)
        except CrossgradeError as error:
            warn(error)
        await asyncio.sleep(ROUTES_POLL_S)


async def keep_keys(url: str, folder: Path, *, shared: bool, warn: Callable[[Exception], None]) -> None:
    """Write the file if it is lost and, where several machines share the database, at every change.

    On one machine `crossgrade keys` writes it, so the database is not even opened.
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
        await asyncio.sleep(KEYS_POLL_S)


def _is_lost(url: str, folder: Path) -> bool:
    """Return whether there may be keys without their file."""
    return not (folder / "keys.json").exists() and ("://" in url or Path(url).exists())


def _publish(url: str, folder: Path, written: int) -> int:
    """Write the file if there are newer events than `written`; return the newest."""
    with Keys.open(url, folder) as keys:
        newest = keys.newest_event()
        if newest != written:
            keys.publish()
        return newest


class KeySetFetcher:
    """Fetches issuers' keys by their age, and at once if a token names an unknown key."""

    def __init__(
        self,
        settings: GatewaySettings,
        warn: Callable[[Exception], None],
        refresh: Callable[..., tuple[dict[str, IssuerKeys], list[CrossgradeError]]] = refresh_jwks,
    ) -> None:
        self._issuers = {each.issuer: each for each in settings.serving.issuers}
        self._path = Path(settings.state) / "jwks.json"
        self._warn = warn
        self._refresh = refresh
        self._written = _read(self._path)
        self._known = {name: keys for name, keys in self._written.items() if name in self._issuers}
        self._asked_at: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def keep(self) -> None:
        """Fetch missing or old keys, repeatedly."""
        while True:
            await self._fetch(tuple(self._issuers.values()))
            await asyncio.sleep(RETRY_S)

    async def fetch_now(self, issuer: str) -> None:
        """Fetch an issuer's keys, whatever their age, unless they were fetched just now."""
        asking = self._asking.get(issuer)
        if asking is None:
            now = time.monotonic()
            if (
                issuer not in self._issuers
                or now - self._asked_at.get(issuer, -ASKED_AGAIN_S) < ASKED_AGAIN_S
            ):
                return
            self._asked_at[issuer] = now
            asking = asyncio.create_task(self._fetch((self._issuers[issuer],), at_once=True))
            self._asking[issuer] = asking
            asking.add_done_callback(lambda _: self._asking.pop(issuer))
        await asyncio.shield(asking)

    async def _fetch(self, issuers: Sequence[TokenIssuer], *, at_once: bool = False) -> None:
        """Fetch, and replace the file as a whole if its content changed."""
        known = {} if at_once else self._known
        fresh, failed = await asyncio.to_thread(self._refresh, issuers, known, time.time())
        for name, keys in fresh.items():
            before = self._known.get(name)
            if before is None or keys.fetched_at > before.fetched_at:
                self._known[name] = keys
        if self._known != self._written:
            write_private(self._path, jwks_bytes(self._known.values()))
            self._written = dict(self._known)
        for error in failed:
            self._warn(error)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file atomically by one that only its owner can read."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(handle, "wb") as file:  # noqa: PTH123  # a handle, not a path
        file.write(content)
    fresh.replace(path)


def _read(path: Path) -> dict[str, IssuerKeys]:
    try:
        return read_jwks(path.read_bytes(), file=str(path))
    except (OSError, ConfigError):
        return {}  # it is written again
