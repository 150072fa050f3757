"""Starts the child process of a local model, waits until it is ready, and ends it."""

import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Awaitable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import IO, Self

import msgspec

from crossgrade.errors import ProviderError
from crossgrade.providers.adapters import AdapterFile
from crossgrade.providers.models import InstalledModel

_DEFAULT_CONTEXT_TOKENS = 4096
_STOP_S = 5.0
_REAP_S = 0.5
_TAIL_BYTES = 16 * 2**10


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """The settings that a local model runs with.

    `threads` compute one answer. More threads than free cores make it slower. `slots` answers are computed
    at once, each with a context of `context_tokens` (None: the model's own, up to 4,096). `cache_prompt`
    reuses common beginnings of prompts. `startup_s` limits the time to load the model, in seconds.
    """

    threads: int = 1
    slots: int = 1
    context_tokens: int | None = None
    cache_prompt: bool = False
    startup_s: float = 120.0

    def __str__(self) -> str:
        cache = "on" if self.cache_prompt else "off"
        return f"threads={self.threads} slots={self.slots} context={self.context_tokens} cache={cache}"

    def fitted(self, model: InstalledModel) -> Self:
        """Return the settings with a context that is at most the model's."""
        wanted = self.context_tokens or _DEFAULT_CONTEXT_TOKENS
        return replace(self, context_tokens=min(wanted, model.context_tokens or wanted))


class _Ready(msgspec.Struct):
    """The line that the child writes when it is ready."""

    base_url: str
    runtime: str


class LocalProcess:
    """One running child: its address, its key, and its error messages."""

    def __init__(
        self, process: asyncio.subprocess.Process, log: IO[bytes], ready: _Ready, api_key: str
    ) -> None:
        self._process = process
        self._log = log
        self.base_url = f"{ready.base_url}/v1"
        self.runtime = ready.runtime
        self.api_key = api_key

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the child is still running, as far as is known without waiting."""
        return self._process.returncode is None

    async def failure(self) -> str | None:
        """Return why the child has ended, in words, or None while it runs."""
        try:
            # A connection may break a moment before the process is known to have ended.
            async with asyncio.timeout(_REAP_S):
                return _failure(await self._process.wait(), self._log)
        except TimeoutError:
            return None

    async def wait(self) -> None:
        """Wait until the child has ended."""
        await self._process.wait()

    async def stop(self) -> None:
        """End the child by closing its input, and kill it after 5 seconds."""
        await _end(self._process)
        self._log.close()


async def start_process(
    model: InstalledModel,
    settings: LocalSettings,
    *,
    alias: str,
    port: int = 0,
    api_key: str | None = None,
    adapter: AdapterFile | None = None,
) -> LocalProcess:
    """Start a child for a model, and wait until it has loaded the model and its adapter.

    By default it has a free port and a new key. Raises `ProviderError` with the engine's message if the
    model cannot be loaded, or not within `settings.startup_s`.
    """
    api_key = api_key or secrets.token_urlsafe(24)
    order: dict[str, object] = {
        "path": model.path,
        "adapter": None if adapter is None else adapter.path,
        "api_key": api_key,
        "alias": alias,
        "port": port,
        "threads": settings.threads,
        "slots": settings.slots,
        "context_tokens": settings.context_tokens,
        "cache_prompt": settings.cache_prompt,
    }
    with ExitStack() as opened:
        log = opened.enter_context(tempfile.TemporaryFile(prefix="crossgrade-local-"))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "crossgrade.providers.local_server"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ, **_threading(settings.threads)},
            start_new_session=True,  # so that Ctrl-C does not end it while its parent still saves answers
        )
        try:
            ready = await _within(settings.startup_s, _await_ready(process, order), model)
            if ready is None:
                failure = _failure(await process.wait(), log)
                raise ProviderError(
                    f"the local model `{model.name}` could not be loaded: {failure}",
                    code="local-model-not-loaded",
                    provider="local",
                    hint=f"check the file {model.path}, and free memory",
                )
        except BaseException:
            await _end(process, patience_s=0)
            raise
        opened.pop_all()
    return LocalProcess(process, log, ready, api_key)


async def _within(limit_s: float, starting: Awaitable[_Ready | None], model: InstalledModel) -> _Ready | None:
    try:
        async with asyncio.timeout(limit_s):
            return await starting
    except TimeoutError as error:
        raise ProviderError(
            f"the local model `{model.name}` did not load within {limit_s:g} s",
            code="local-model-load-timeout",
            provider="local",
            hint="close other programs, or take a smaller model: it must fit into memory",
        ) from error


async def _await_ready(process: asyncio.subprocess.Process, order: dict[str, object]) -> _Ready | None:
    """Send the order and return the child's line, or None if the child ended without one."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(order).encode() + b"\n")
    try:
        await process.stdin.drain()
    except ConnectionError:
        return None
    line = await process.stdout.readline()
    return msgspec.json.decode(line, type=_Ready) if line else None


async def _end(process: asyncio.subprocess.Process, *, patience_s: float = _STOP_S) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(patience_s):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _threading(threads: int) -> dict[str, str]:
    """Return OpenMP's variables that keep waiting threads from using the cores."""
    return {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"} if threads > 1 else {}


def _failure(code: int, log: IO[bytes]) -> str:
    """Return why the engine ended: the error line that names the cause, or the signal."""
    size = os.fstat(log.fileno()).st_size
    # It is not read through the file object, because the child shares its position.
    tail = os.pread(log.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    lines = [line.strip() for line in tail.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line.split(" E ", 1)[1] for line in lines if " E " in line]
    cause = next((line for line in errors if "error loading model" in line), None)
    cause = cause or next(iter(errors), None) or (lines[-1] if lines else "it said nothing")
    if code >= 0:
        return cause
    name = signal.Signals(-code).name
    return f"it was ended by {name}, out of memory perhaps" if name == "SIGKILL" else f"{name}: {cause}"
