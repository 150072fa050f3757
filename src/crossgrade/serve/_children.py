"""A child process that is restarted when it ends by itself, more slowly each time."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
_STEADY_S = 10.0
_USAGE = 2


class Child:
    """One process of `serve`, kept running until `stop`.

    `label` names it in events. Exit code 2 says that its configuration cannot be used. Such a child is not
    restarted, and `on_useless` receives a line.
    """

    def __init__(
        self,
        label: str,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        *,
        on_event: Callable[[str], None],
        on_useless: Callable[[str], None],
    ) -> None:
        self.label = label
        self._arguments = tuple(arguments)
        self._environ = dict(environ)
        self._on_event = on_event
        self._on_useless = on_useless
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._stopping = False
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The process id, None while there is no process."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    async def start(self) -> None:
        """Start the process and keep it running from now on."""
        await self._spawn()
        self._keeping = asyncio.create_task(self._keep())

    async def stop(self, patience_s: float) -> None:
        """End the process, by force if it takes longer than `patience_s` seconds."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(patience_s):
                    await process.wait()
            except TimeoutError:
                self._on_event(f"{self.label} does not end: killed")
                process.kill()
                await process.wait()
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _spawn(self) -> None:
        self.starts += 1
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            *self._arguments,
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            preexec_fn=_end_with_parent,
            start_new_session=True,  # Ctrl-C is for the supervisor, which ends the others in order
        )

    async def _keep(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            assert self._process is not None
            began = time.monotonic()
            code = await self._process.wait()
            if self._stopping:
                return
            if code == _USAGE:
                self._on_useless(f"{self.label} cannot start")
                return
            pause_s = (
                _FIRST_PAUSE_S if time.monotonic() - began > _STEADY_S else min(2 * pause_s, _LONGEST_PAUSE_S)
            )
            self._on_event(f"{self.label} ended ({_reason(code)}): started again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            await self._spawn()


def _reason(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _end_with_parent() -> None:
    """Make Linux end this child when its parent is gone, `kill -9` included."""
    if sys.platform == "linux":
        _prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _find_prctl() -> Callable[[int, int], int]:
    import ctypes

    return ctypes.CDLL(None).prctl


if sys.platform == "linux":
    # Found before any fork: a child must not import.
    _prctl = _find_prctl()
