"""The broker's access to the store: shadow pairs and feedback in, alarms out, all from one thread."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from crossgrade.errors import AccessError, CrossgradeError, StoreError
from crossgrade.gateway import DENIED, UNKNOWN_RESPONSE, Keep, Outcome, Report, RequestRecord

if TYPE_CHECKING:
    from crossgrade.store import Pair, Store

_MOST_AT_ONCE = 100
_REPORTS_AT_ONCE = 4
"""Each report may search the request log, and pairs should not wait for many of them."""

_REMEMBERED = 2_000
_MOST_ALARMS = 10_000
_MOST_UNKNOWN = 100
"""The outcomes of unknown responses that are kept of each key in `_DAY_S`, without their ids.

They are what `watch` counts to say that outcomes do not join. No key can fill the store with them.
"""

_DAY_S = 86_400.0


_Waiting: TypeAlias = tuple[Keep | Report, asyncio.Future[str | None]]


class Archive:
    """Writes to the store in groups.

    It opens the store at the first write, since most gateways shadow nothing. `find` looks a response up in
    the request log. `keep` returns once its record is committed.
    """

    def __init__(self, url: str, folder: Path, find: Callable[[str], RequestRecord | None]) -> None:
        self._url = url
        self._folder = folder
        self._find = find
        self._store: Store | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive")
        self._pairs: deque[_Waiting] = deque()
        self._reports: deque[_Waiting] = deque()
        self._kept: deque[str] = deque(maxlen=_REMEMBERED)
        self._unknown: dict[str, deque[float]] = {}
        self._writing: asyncio.Task[None] | None = None

    async def keep(self, message: Keep | Report) -> str | None:
        """Commit a pair or feedback; return what was wrong, None if it is in the store."""
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        (self._pairs if isinstance(message, Keep) else self._reports).append((message, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        return await done

    async def alarms(self) -> Mapping[tuple[str, str], int]:
        """Count the alarms that `watch` raised, by route and kind."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._count_alarms)

    def close(self) -> None:
        """Finish what is in progress and close the store."""
        self._thread.submit(self._close)
        self._thread.shutdown()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._pairs or self._reports:
            group = _first(self._pairs, _MOST_AT_ONCE) + _first(self._reports, _REPORTS_AT_ONCE)
            messages = [message for message, _ in group]
            answers = await loop.run_in_executor(self._thread, self._commit, messages)
            for (_, done), answer in zip(group, answers, strict=True):
                if not done.done():
                    done.set_result(answer)

    def _commit(self, messages: list[Keep | Report]) -> list[str | None]:
        from crossgrade.serve._pairs import stored_pair

        fresh = [m for m in messages if isinstance(m, Keep) and m.id not in self._kept]
        try:
            pairs = [stored_pair(message.id, message.pair) for message in fresh]
            self._open().pairs.append(pairs)
        except Exception:  # noqa: BLE001  # one message must not lose the others: each reports its own error
            return [self._commit_one(message) for message in messages]
        self._kept.extend(pair.id for pair in pairs)
        return [None if isinstance(message, Keep) else self._commit_one(message) for message in messages]

    def _commit_one(self, message: Keep | Report) -> str | None:
        from crossgrade.serve._pairs import stored_feedback, stored_pair

        try:
            if isinstance(message, Report):
                feedback = stored_feedback(message.outcome, self._find)
                if feedback.route is not None or self._counts_unknown(message.outcome):
                    self._open().feedback.append(feedback)
                return UNKNOWN_RESPONSE if feedback.route is None else None
            if message.id not in self._kept:
                self._keep_once(stored_pair(message.id, message.pair))
        except AccessError:
            return DENIED
        except Exception as error:  # noqa: BLE001  # a provider's answer may hold anything
            return str(error) if isinstance(error, CrossgradeError | OSError) else repr(error)[:200]
        return None

    def _counts_unknown(self, outcome: Outcome) -> bool:
        """Return whether an outcome of an unknown response is still counted for its key, and count it."""
        counted = self._unknown.setdefault(outcome.key, deque(maxlen=_MOST_UNKNOWN))
        if len(counted) == _MOST_UNKNOWN and outcome.at < counted[0] + _DAY_S:
            return False
        counted.append(outcome.at)
        return True

    def _keep_once(self, pair: "Pair") -> None:
        """Commit a pair that may be there: a worker repeats what an earlier broker did not acknowledge."""
        store = self._open()
        try:
            store.pairs.append([pair])
        except StoreError:
            before = store.pairs.recent(pair.route, after=_just_before(pair.id), limit=1)
            if not before or before[0].id != pair.id:
                raise
        self._kept.append(pair.id)

    def _count_alarms(self) -> Mapping[tuple[str, str], int]:
        if self._store is None and "://" not in self._url and not Path(self._url).exists():
            return {}
        try:
            alarms = self._open().alarms.recent(limit=_MOST_ALARMS)
        except CrossgradeError:
            return {}
        return Counter((alarm.route, str(alarm.kind)) for alarm in alarms)

    def _open(self) -> "Store":
        if self._store is None:
            from crossgrade.store import Store

            self._store = Store.open(self._url, folder=self._folder)
        return self._store

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()


def _first(waiting: deque[_Waiting], most: int) -> list[_Waiting]:
    return [waiting.popleft() for _ in range(min(len(waiting), most))]


def _just_before(identifier: str) -> str:
    """Return a string that sorts right before an identifier."""
    return identifier[:-1] + chr(ord(identifier[-1]) - 1) + "\x7f"
