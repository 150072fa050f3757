"""A broker in a process of its own, and workers that talk to it from the test's event loop."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crossgrade.domain import Limit, Serving
from crossgrade.gateway import GatewaySettings, write_settings
from crossgrade.gateway._broker import BrokerLink
from crossgrade.gateway._leases import Hold, LimitRefusal
from crossgrade.gateway._limits import Limits
from crossgrade.gateway._metrics import Metrics
from crossgrade.identity import Principal

WHO = Principal(id="key-1", team="blue")


@dataclass
class Worker:
    """What a worker process has, in the test's own process."""

    limits: Limits
    broker: BrokerLink
    metrics: Metrics
    refused: list[LimitRefusal] = field(default_factory=list)

    async def reserve(self, usd: float, tokens: int = 0) -> Hold | LimitRefusal:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Hold | LimitRefusal] = loop.create_future()
        now = self.limits.reserve(self.limits.resolve(WHO, "support"), usd, tokens, outcome.set_result)
        return now if now is not None else await asyncio.wait_for(outcome, 10)


@dataclass
class Machine:
    """A state folder with its broker; several may share one database."""

    folder: Path
    environ: dict[str, str]
    limits: tuple[Limit, ...]
    workers: int = 1
    serving: dict[str, Any] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> Path:
        return self.folder / "settings.json"

    def start(self) -> None:
        write_settings(
            GatewaySettings(
                serving=Serving(limits=self.limits, workers=self.workers, **self.serving),
                routes=(),
                targets=(),
                state=str(self.folder),
                broker=str(self.folder / "k.sock"),
            ),
            self.settings,
        )
        self.process = subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "crossgrade.serve.broker", str(self.settings)],
            env=self.environ,
        )

    def wait(self) -> None:
        """Wait until the broker listens."""
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(self.folder / "k.sock"))
                except OSError:
                    time.sleep(0.01)
                else:
                    return

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def records(self) -> list[Path]:
        return sorted((self.folder / "serve" / "requests").glob("*.jsonl"))

    @asynccontextmanager
    async def worker(self, number: int = 0) -> AsyncIterator[Worker]:
        limits, metrics = Limits(self.limits), Metrics((), number)
        broker = BrokerLink(str(self.folder / "k.sock"), worker=number, limits=limits, metrics=metrics)
        broker.start()
        await until(lambda: broker.connected)
        try:
            yield Worker(limits, broker, metrics)
        finally:
            await broker.close()


async def until(condition: Callable[[], bool]) -> None:
    """Look again and again whether another process has come so far."""
    while not condition():  # noqa: ASYNC110 -- what another process does sets no event here
        await asyncio.sleep(0.005)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine, with a limit on its time."""

    async def bounded() -> None:
        await asyncio.wait_for(work, 60)

    asyncio.run(bounded())
