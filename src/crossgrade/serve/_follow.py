"""Keep `routes.json` as the database has it, where several machines share one."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from crossgrade.errors import CrossgradeError

POLL_S = 2.0
"""How soon a route table that another machine published is served here."""


async def keep_routes(url: str, folder: Path, warn: Callable[[Exception], None]) -> None:
    """Put in force here what any machine publishes, an alarm's step back above all."""
    from crossgrade.store import Routes

    while True:
        try:
            with closing(await asyncio.to_thread(Routes.open, url, folder)) as routes:
                while True:
                    await asyncio.to_thread(routes.follow)
                    await asyncio.sleep(POLL_S)
        except CrossgradeError as error:
            warn(error)
        await asyncio.sleep(POLL_S)
