"""The files that workers read, as the database of one machine and the issuers have them.

`keys.json` is the keyring, `jwks.json` the issuers' public keys. What machines share is in `_following`.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from crossgrade.domain import TokenIssuer
from crossgrade.errors import ConfigError, CrossgradeError
from crossgrade.gateway import GatewaySettings
from crossgrade.identity import ASKED_AGAIN_S, RETRY_S, IssuerKeys, jwks_bytes, read_jwks, refresh_jwks
from crossgrade.store import Keys, write_private

PUBLISHED_AGAIN_S = 2.0
"""The time until the file of keys is written again after a failure, where tokens wait for it."""


async def restore_keys(
    url: str, folder: Path, warn: Callable[[Exception], None], *, for_tokens: bool = False
) -> None:
    """Write the file of keys if it is lost, on the one machine that has the database.

    `crossgrade keys` writes it otherwise, so that the database is not even opened. With `for_tokens` the
    file is written in any case, because workers accept no token before they know who is suspended.
    """
    while _is_lost(url, folder, for_tokens=for_tokens):
        try:
            await asyncio.to_thread(_publish, url, folder, for_tokens=for_tokens)
        except CrossgradeError as error:
            warn(error)
        if not for_tokens:
            return
        await asyncio.sleep(PUBLISHED_AGAIN_S)


def _is_lost(url: str, folder: Path, *, for_tokens: bool) -> bool:
    """Return whether there is no file, and there may be keys or has to be one."""
    return not (folder / "keys.json").exists() and (for_tokens or "://" in url or Path(url).exists())


def _publish(url: str, folder: Path, *, for_tokens: bool) -> None:
    with Keys.open(url, folder) as keys:
        if for_tokens or keys.records() or keys.suspended():
            keys.publish()


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


def _read(path: Path) -> dict[str, IssuerKeys]:
    try:
        return read_jwks(path.read_bytes(), file=str(path))
    except (OSError, ConfigError):
        return {}  # it is written again
