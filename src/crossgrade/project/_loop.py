"""Runs what is asynchronous from calls that are not, in a notebook too."""

from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

ResultT = TypeVar("ResultT")
ArgumentsT = TypeVarTuple("ArgumentsT")


def run_to_end(function: Callable[[*ArgumentsT], Awaitable[ResultT]], *arguments: *ArgumentsT) -> ResultT:
    """Run an async function to its end and return its result.

    Where this thread runs an event loop already, as in Jupyter, the function runs in one of another thread.
    An interrupt cancels it there, and it may still keep what it has.
    """
    import asyncio

    import anyio
    from anyio.from_thread import start_blocking_portal

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return anyio.run(function, *arguments)
    with start_blocking_portal() as portal:
        return portal.call(function, *arguments)
