"""The broker's memory of agents' runs: how each began, in the store, for all workers and machines."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from crossgrade.errors import CrossgradeError
from crossgrade.gateway import BeginRun, Done, FirstPick, KnownRun, MixRun
from crossgrade.telemetry import Meter

if TYPE_CHECKING:
    from crossgrade.store import ServedRuns

KEPT = timedelta(days=7)
"""How long after its beginning a run is remembered."""

MOST_RUNS = 100_000
"""The number of runs that are remembered. Of more, the oldest are forgotten."""

_MOST_AT_ONCE = 200
_FIRST = msgspec.json.Decoder(FirstPick)

Answer: TypeAlias = Callable[[Done], None]


class RunMemory:
    """Answers what workers ask about runs, in groups that are committed together.

    The store is opened at the first question, since most gateways have no route that keeps runs together.
    `warn` is told of its errors. A worker whose question gets an error lets the incumbent answer the run.
    `tell` sends to all workers what one of them has remarked.
    """

    def __init__(
        self,
        open_runs: Callable[[], "ServedRuns"],
        *,
        meter: Meter,
        warn: Callable[[Exception], None],
        tell: Callable[[MixRun], None],
    ) -> None:
        self._tell = tell
        self._open_runs = open_runs
        self._meter = meter
        self._warn = warn
        self._runs: ServedRuns | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="runs")
        self._waiting: deque[tuple[BeginRun | MixRun, Answer]] = deque()
        self._working: asyncio.Task[None] | None = None

    def take(self, message: BeginRun | MixRun, answer: Answer) -> None:
        """Take a question or a remark; `answer` is called when what it says is committed."""
        self._waiting.append((message, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())

    async def tidy(self) -> None:
        """Forget runs that are too old or too many, if any were asked about."""
        if self._runs is not None:
            await self._in_thread(self._forget)

    async def close(self) -> None:
        """Answer what waits, and close the store."""
        if self._working is not None:
            await self._working
        await self._in_thread(self._close)
        self._thread.shutdown()

    async def _work(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]
            messages = [message for message, _ in group]
            try:
                answers = await self._in_thread(partial(self._commit, messages))
            except Exception as error:  # noqa: BLE001  # whatever it is, those who wait are told
                self._warn(error)
                said = error.message if isinstance(error, CrossgradeError) else repr(error)[:200]
                answers = [Done(message.number, error=said) for message in messages]
            for (message, answer), done in zip(group, answers, strict=True):
                if isinstance(message, MixRun):
                    self._tell(message)  # whether it could be stored or not
                answer(done)

    def _commit(self, messages: list[BeginRun | MixRun]) -> list[Done]:
        from crossgrade.store import ServedRun, utc_now

        if self._runs is None:
            self._runs = self._open_runs()
        begun = [
            ServedRun(
                id=each.run.id,
                route=each.route,
                start=msgspec.json.encode(each.run.first).decode(),
                is_mixed=each.run.is_mixed,
                is_down=each.run.is_down,
            )
            for each in messages
            if isinstance(each, BeginRun)
        ]
        known = self._runs.begin(begun, since=utc_now() - KEPT) if begun else {}
        mixed = [each.id for each in messages if isinstance(each, MixRun)]
        down = [each.id for each in messages if isinstance(each, MixRun) and each.is_down]
        if down:
            self._runs.step_down(down)
        for route, count in (self._runs.mix(mixed) if mixed else {}).items():
            self._meter.add("crossgrade.gateway.mixed_runs", route, value=float(count))
        answers = []
        for message in messages:
            text = ""
            if isinstance(message, BeginRun):
                run = known[message.run.id]
                found = KnownRun(
                    run.id,
                    _FIRST.decode(run.start),
                    is_mixed=run.is_mixed or run.id in mixed,
                    is_down=run.is_down or run.id in down,
                )
                text = msgspec.json.encode(found).decode()
            answers.append(Done(message.number, text=text))
        return answers

    def _forget(self) -> None:
        from crossgrade.store import utc_now

        assert self._runs is not None
        try:
            self._runs.forget(before=utc_now() - KEPT, most=MOST_RUNS)
        except CrossgradeError as error:
            self._warn(error)

    def _close(self) -> None:
        if self._runs is not None:
            self._runs.close()

    async def _in_thread(self, work: Callable[[], "list[Done] | None"]) -> list[Done]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work) or []
