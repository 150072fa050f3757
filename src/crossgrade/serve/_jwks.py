"""Keep `jwks.json` fresh: the public keys of the configured issuers, for workers to verify tokens with."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from crossgrade.errors import ConfigError
from crossgrade.gateway import GatewaySettings
from crossgrade.identity import RETRY_S, IssuerKeys, jwks_bytes, read_jwks, refresh_jwks


async def keep_jwks(settings: GatewaySettings, warn: Callable[[Exception], None]) -> None:
    """Fetch what is missing or old, again and again; the file is replaced as a whole when it changed."""
    path = Path(settings.state) / "jwks.json"
    known = _read(path)
    while True:
        fresh, failed = await asyncio.to_thread(refresh_jwks, settings.serving.issuers, known, time.time())
        if fresh != known:
            write_private(path, jwks_bytes(fresh.values()))
            known = fresh
        for error in failed:
            warn(error)
        await asyncio.sleep(RETRY_S)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file atomically by one that only its owner can read."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(handle, "wb") as file:  # noqa: PTH123 -- a handle, not a path
        file.write(content)
    fresh.replace(path)


def _read(path: Path) -> dict[str, IssuerKeys]:
    try:
        return read_jwks(path.read_bytes(), file=str(path))
    except (OSError, ConfigError):
        return {}  # it is written anew
