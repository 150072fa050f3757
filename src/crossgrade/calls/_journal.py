"""What was paid for: looked up by request, and committed in groups."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from crossgrade.errors import CrossgradeError
from crossgrade.store import Record, Response

if TYPE_CHECKING:
    from crossgrade.store import Store

_LINGER_S = 0.004
"""How long a group gathers: short against any model's answer, long against a transaction."""


class Journal:
    """Commits records to the store in order, many in one transaction, away from the event loop.

    Whatever gathers while one transaction is written goes into the next. While `run` goes on, it commits.
    Otherwise `committed` does. After a commit has failed, nothing more is written and everybody who waits
    gets its error.
    """

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._group: list[Record] = []
        self._gathering = anyio.Event()
        self._latest = anyio.Event()
        self._latest.set()
        self._wake = anyio.Event()
        self._is_running = False
        self._closed = False
        self.error: CrossgradeError | None = None

    async def paid(self, digests: Iterable[str]) -> dict[str, Response]:
        """Return the responses to these request digests that any run has paid for, by digest."""
        wanted = list(digests)
        return await anyio.to_thread.run_sync(self._store.answers.paid, wanted) if wanted else {}

    def put(self, *records: Record) -> None:
        """Add records to the group that is committed next; what is put without a pause stays together."""
        self._group.extend(records)
        self._latest = self._gathering
        self._wake.set()

    async def committed(self) -> None:
        """Wait until all that was put so far is committed; raises `StoreError` if it cannot be."""
        latest = self._latest
        if self._is_running:
            await latest.wait()
        else:
            with anyio.CancelScope(shield=True):  # it was paid for, so it is kept
                await self._commit()
                await latest.wait()
        if self.error is not None:
            raise self.error

    async def run(self) -> None:
        """Commit groups until `close` was called and all is committed."""
        self._is_running = True
        while self._group or not self._closed:
            if not self._group:
                await self._wake.wait()
                if not self._closed:
                    await anyio.sleep(_LINGER_S)
            self._wake = anyio.Event()
            await self._commit()
        self._is_running = False

    async def _commit(self) -> None:
        group, self._group = self._group, []
        gathered, self._gathering = self._gathering, anyio.Event()
        if group and self.error is None:
            try:
                await anyio.to_thread.run_sync(self._store.answers.append, group)
            except CrossgradeError as error:
                self.error = error
        gathered.set()

    def close(self) -> None:
        """Let `run` end once everything put so far is committed."""
        self._closed = True
        self._wake.set()
