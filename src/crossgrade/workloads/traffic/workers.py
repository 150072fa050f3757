"""Processes that read the parts of a log side by side.

The parts and what is made of them are the same as in one process, so a scan does not depend on the number of
processes. A part travels as its file's name and two numbers, and comes back as columns.
"""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, get_context, resource_tracker
from multiprocessing.reduction import ForkingPickler
from pickle import PicklingError
from typing import TypeVar

from crossgrade.errors import CrossgradeError
from crossgrade.workloads.traffic.columns import Run
from crossgrade.workloads.traffic.encoding import ReadPart
from crossgrade.workloads.traffic.parts import LogPart

_Item = TypeVar("_Item")
_Begun = TypeVar("_Begun")
_Result = TypeVar("_Result")

AHEAD = 2
"""Parts that are read or wait to be taken in, for each process or core: a slow one holds up no other."""


@contextmanager
def in_processes(jobs: int) -> Iterator[Run]:
    """Yield a function that applies another to parts in `jobs` processes, in order, as `map` does.

    A log of one part is read in this process, and so is one with a plugin's format that cannot be sent to
    another, such as a function inside a function. The processes start while the first part is read here, and
    end with the context. Raises `CrossgradeError` (`worker-lost`) if one of them is killed, as where memory
    runs out.
    """
    if jobs == 1:
        yield map
        return
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_ignore_interrupts)

    def run(function: Callable[[LogPart], ReadPart], parts: Iterable[LogPart]) -> Iterator[ReadPart]:
        waiting = list(parts)
        if len(waiting) <= 1 or not _can_be_sent(function):
            return map(function, waiting)
        return _in_processes(pool, function, waiting, AHEAD * jobs)

    try:
        yield run
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _in_processes(
    pool: ProcessPoolExecutor, function: Callable[[LogPart], ReadPart], parts: Sequence[LogPart], most: int
) -> Iterator[ReadPart]:
    _start_server()
    yield function(parts[0])  # here, for until the server has imported what it needs the others wait

    def begin(part: LogPart) -> "Future[ReadPart]":
        return pool.submit(function, part)

    try:
        yield from in_order(parts[1:], begin, Future.result, Future.cancel, most=most)
    except BrokenProcessPool as error:
        raise CrossgradeError(
            "a process that read a part of the log was killed",
            code="worker-lost",
            hint="memory may have run out: use fewer processes, `--jobs 1` for none beside this one",
        ) from error


def in_order(
    items: Iterable[_Item],
    begin: Callable[[_Item], _Begun],
    result: Callable[[_Begun], _Result],
    cancel: Callable[[_Begun], object],
    *,
    most: int,
) -> Iterator[_Result]:
    """Begin work on items, with `most` under way, and yield the results in the order of the items.

    What is under way when the consumer stops, or a result raises, is cancelled.
    """
    under_way: deque[_Begun] = deque()
    try:
        for item in items:
            under_way.append(begin(item))
            if len(under_way) >= most:
                yield result(under_way.popleft())
        while under_way:
            yield result(under_way.popleft())
    finally:
        for each in under_way:
            cancel(each)


def _can_be_sent(function: object) -> bool:
    try:
        ForkingPickler.dumps(function)
    except (PicklingError, AttributeError, TypeError):
        return False
    return True


def _start_server() -> None:
    """Start the process that starts the others, so that Ctrl-C does not reach it while it imports."""
    resource_tracker.ensure_running()  # would unblock signals that are blocked
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
