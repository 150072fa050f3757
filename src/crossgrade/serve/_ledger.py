"""The broker's side of the ledger: entries that workers hand over are appended in groups, in one thread.

An entry that a worker waits for is appended at once, or refused with the reason. Any other may wait a moment,
so that it does not hold up the former, and is tried again until it is appended. Workers repeat what was not
acknowledged: an entry that comes twice is appended once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from crossgrade.errors import DataError, StoreError, UsageError
from crossgrade.gateway import RULES, Done, Inscribe
from crossgrade.telemetry import Meter

if TYPE_CHECKING:
    from crossgrade.store import LedgerLog, Store

MOST_AT_ONCE = 1_000
MOST_BYTES_AT_ONCE = 8 << 20
REMEMBERED = 50_000
_READ_AGAIN = 20_000
"""The newest entries that are known by name, and those that a new broker reads to know them.

What workers have not got acknowledged is among them.
"""

LATER_S = 0.1
"""How long an entry that nobody waits for may wait, so that many are appended at once."""

_PAUSE_S = 0.5
_PATIENCE_S = 5.0

EntryName: TypeAlias = tuple[str, str]
"""What identifies an entry: its kind, and its id among those of that kind."""

_Handed: TypeAlias = tuple[Inscribe, Callable[[Done], None]]


class _Named(msgspec.Struct):
    request: str = ""
    id: str = ""


class _Body(msgspec.Struct):
    kind: str
    detail: _Named


_BODY = msgspec.json.Decoder(_Body)


class StoredLedger:
    """The ledger of a project's store, which is opened at the first entry."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._store: Store | None = None

    def append(self, messages: Sequence[Inscribe]) -> Sequence[int]:
        """Append entries in one transaction. Their secrets are kept if there is a key that encrypts them."""
        from crossgrade.store import LedgerEvent

        log = self.log()
        is_kept = log.secrets.wrapping_key() is not None
        return log.append(
            [
                LedgerEvent(each.kind, each.detail, each.secret, each.subject)
                if is_kept
                else LedgerEvent(each.kind, each.detail)
                for each in messages
            ]
        )

    def newest(self, since: int | None) -> Iterator[tuple[EntryName, int]]:
        """Yield the names and numbers of the entries from a number on, or of the newest for None."""
        log = self.log()
        size = log.size()
        for row in log.entries(max(0, size - _READ_AGAIN) if since is None else since, size):
            with suppress(msgspec.MsgspecError, TypeError):  # a decision, or damage, which others report
                body = _BODY.decode(row.body)
                if body.detail.request or body.detail.id:
                    yield (body.kind, body.detail.request or body.detail.id), row.seq

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()

    def log(self) -> "LedgerLog":
        """Return the ledger, and open the store for it if need be."""
        if self._store is None:
            from crossgrade.store import Store

            self._store = Store.open(self._url, folder=self._folder)
        return self._store.ledger


class LedgerWriter:
    """Appends entries to a ledger, from one thread."""

    def __init__(self, ledger: StoredLedger, *, meter: Meter, warn: Callable[[Exception], None]) -> None:
        self._ledger = ledger
        self._meter = meter
        self._warn = warn
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._urgent: deque[_Handed] = deque()
        self._others: deque[_Handed] = deque()
        self._in_progress = 0
        self._due_at = 0.0
        self._seen: dict[EntryName, int] = {}
        self._rules: list[EntryName] = []  # of the entries that have rules, the newest is the last
        self._next: int | None = None
        self._is_sure = False  # whether `_seen` has the newest entries
        self._writing: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._closing = False
        self._error: Exception | None = None

    @property
    def waiting(self) -> int:
        """How many entries are not appended yet."""
        return len(self._urgent) + len(self._others) + self._in_progress

    @property
    def error_code(self) -> str | None:
        """The code of the reason why nothing can be appended now, None if that is not so."""
        return None if self._error is None else _reason(self._error)

    def open(self) -> None:
        """Open the ledger in the background, so that the first entry does not wait for it."""
        self._thread.submit(self._known)  # if that fails, the first entry tries again and says why

    def add(self, message: Inscribe, answer: Callable[[Done], None]) -> None:
        """Take an entry; `answer` is called when it is appended, or given up."""
        # What was refused precedes what comes after it: whoever reads the log expects that.
        is_urgent = message.is_awaited or message.kind == "access"
        if is_urgent:
            self._urgent.append((message, answer))
        else:
            self._due_at = self._due_at if self._others else time.monotonic() + LATER_S
            self._others.append((message, answer))
        if is_urgent or len(self._others) >= MOST_AT_ONCE:
            self._arrived.set()
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Append what is left, for a few seconds at most, and close the ledger."""
        self._closing = True
        self._arrived.set()
        if self._writing is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    await asyncio.shield(self._writing)
        self._thread.submit(self._ledger.close)
        self._thread.shutdown(wait=self._error is None)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._urgent or self._others:
            if not (self._urgent or self._closing):
                await self._pause(self._due_at - time.monotonic())
            self._arrived.clear()
            group = self._group()
            self._in_progress = len(group)
            outcomes = await loop.run_in_executor(
                self._thread, self._appended, [message for message, _ in group]
            )
            self._in_progress = 0
            if self._settle(group, outcomes):
                continue
            if self._closing:
                return
            await self._pause(_PAUSE_S)

    async def _pause(self, seconds: float) -> None:
        """Wait until something arrives that must not wait."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._arrived.wait()

    def _group(self) -> list[_Handed]:
        """Take what is appended next: what workers wait for, and the others once they are due."""
        is_due = self._closing or len(self._others) >= MOST_AT_ONCE or time.monotonic() >= self._due_at
        group: list[_Handed] = []
        size = 0
        for queue in (self._urgent, self._others) if is_due or not self._urgent else (self._urgent,):
            while queue and len(group) < MOST_AT_ONCE and size < MOST_BYTES_AT_ONCE:
                group.append(queue.popleft())
                size += len(group[-1][0].secret or b"")
        return group

    def _settle(self, group: list[_Handed], outcomes: Sequence[int | Exception]) -> bool:
        """Tell the workers what became of a group; return whether the ledger could be reached."""
        self._error = None
        again: list[_Handed] = []
        for (message, answer), outcome in zip(group, outcomes, strict=True):
            if not isinstance(outcome, Exception):
                self._meter.add("crossgrade.ledger.entries", message.kind)
                answer(Done(message.number, text=str(outcome)))
                continue
            is_away = _is_away(outcome)
            self._error = outcome if is_away else self._error
            if is_away and not message.is_awaited:
                again.append((message, answer))
                continue
            if not message.is_awaited:
                self._meter.add("crossgrade.gateway.dropped", "entry")
            self._warn(outcome)
            answer(Done(message.number, error=_reason(outcome)))
        self._others.extendleft(reversed(again))
        if self._error is not None:
            self._warn(self._error)
        return self._error is None

    # In the thread.

    def _appended(self, messages: list[Inscribe]) -> list[int | Exception]:
        """Append a group; return the number of each entry, or why it was not appended."""
        try:
            seen = self._known()
            fresh = {_name(each): each for each in messages if _name(each) not in seen}
        except Exception as error:  # noqa: BLE001  # whatever it is, nothing was appended, and workers wait
            away = error if _is_away(error) else StoreError(repr(error), code="ledger-unreadable")
            return [away] * len(messages)
        failed: dict[EntryName, Exception] = {}
        try:
            self._note(fresh)
        except Exception as error:  # noqa: BLE001  # one entry must not keep the others out
            if _is_away(error):
                self._is_sure = False  # the answer to a commit may have been lost
                failed = dict.fromkeys(fresh, error)
            else:
                failed = self._note_each(fresh)
        return [failed[name] if (name := _name(each)) in failed else seen[name] for each in messages]

    def _known(self) -> dict[EntryName, int]:
        """Return the names of the newest entries, those of an earlier broker's among them."""
        seen = self._seen
        if not self._is_sure:
            self._remember(self._ledger.newest(self._next))
            self._next = max(seen.values(), default=-1) + 1
            self._is_sure = True
        while len(self._rules) > 1:
            seen.pop(self._rules.pop(0), None)  # rules that come back are in force anew
        for name in list(islice(seen, max(0, len(seen) - REMEMBERED))):
            del seen[name]
        return seen

    def _note_each(self, fresh: dict[EntryName, Inscribe]) -> dict[EntryName, Exception]:
        """Append entries one by one, and return the errors of those that could not be appended."""
        failed: dict[EntryName, Exception] = {}
        for name, message in fresh.items():
            try:
                self._note({name: message})
            except Exception as error:  # noqa: BLE001  # whatever it is, it is this entry's
                failed[name] = error
        return failed

    def _note(self, fresh: dict[EntryName, Inscribe]) -> None:
        if not fresh:
            return
        numbers = self._ledger.append(list(fresh.values()))
        self._remember(zip(fresh, numbers, strict=True))
        self._next = numbers[-1] + 1

    def _remember(self, entries: Iterable[tuple[EntryName, int]]) -> None:
        """Note the names and numbers of entries, in the order of the ledger."""
        for name, number in entries:
            self._seen[name] = number
            if name[0] == "access" and name[1].startswith(RULES):
                if name in self._rules:
                    self._rules.remove(name)
                self._rules.append(name)


def _is_away(error: Exception) -> bool:
    """Return whether the ledger as a whole is at fault, not one entry, which can never be appended then."""
    return isinstance(error, StoreError | UsageError | OSError) and not isinstance(error, DataError)


def _name(message: Inscribe) -> EntryName:
    return message.kind, message.id


def _reason(error: Exception) -> str:
    return getattr(error, "code", None) or repr(error)[:200]
