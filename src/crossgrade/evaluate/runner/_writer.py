"""Group commit: whatever has gathered while one transaction was written goes into the next."""

from collections.abc import Callable, Sequence

import anyio
import anyio.to_thread

from crossgrade.errors import CrossgradeError
from crossgrade.store import Record

_LINGER_S = 0.004
"""How long a group gathers: short against any model's answer, long against a transaction."""


class RecordWriter:
    """Commits records in order, many in one transaction, away from the event loop.

    `append` commits a sequence of records (`Store.answers.append`). After it has raised,
    nothing more is written and everybody who waits gets its error.
    """

    def __init__(self, append: Callable[[Sequence[Record]], None]) -> None:
        self._append = append
        self._group: list[Record] = []
        self._gathering = anyio.Event()
        self._latest = anyio.Event()
        self._latest.set()
        self._wake = anyio.Event()
        self._closed = False
        self.error: CrossgradeError | None = None

    def put(self, *records: Record) -> None:
        """Add records to the group that is committed next; they stay together."""
        self._group.extend(records)
        self._latest = self._gathering
        self._wake.set()

    async def committed(self) -> None:
        """Wait until all that was put so far is committed; raises `StoreError` if it cannot be."""
        await self._latest.wait()
        if self.error is not None:
            raise self.error

    async def run(self) -> None:
        """Commit groups until `close` was called and all is committed."""
        while self._group or not self._closed:
            if not self._group:
                await self._wake.wait()
                if not self._closed:
                    await anyio.sleep(_LINGER_S)
            self._wake = anyio.Event()
            group, self._group = self._group, []
            gathered, self._gathering = self._gathering, anyio.Event()
            if group and self.error is None:
                await self._commit(group)
            gathered.set()

    async def _commit(self, group: list[Record]) -> None:
        try:
            await anyio.to_thread.run_sync(self._append, group)
        except CrossgradeError as error:
            self.error = error

    def close(self) -> None:
        """Let `run` end once everything put so far is committed."""
        self._closed = True
        self._wake.set()
