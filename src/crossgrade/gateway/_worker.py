"""One worker process: it assembles the gateway, listens, reloads, drains."""

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from crossgrade.dialects import DIALECTS, register_hosts
from crossgrade.domain import Serving
from crossgrade.errors import ConfigError, CrossgradeError
from crossgrade.gateway._broker import BrokerLink
from crossgrade.gateway._context import WorkerContext
from crossgrade.gateway._earlier import EarlierResponses
from crossgrade.gateway._gateway import Gateway
from crossgrade.gateway._inscribing import Inscriber
from crossgrade.gateway._limits import Limits
from crossgrade.gateway._metrics import Metrics
from crossgrade.gateway._server import ClientConnection, Edge
from crossgrade.gateway._shadow import Shadows
from crossgrade.gateway._sweeper import Sweeper
from crossgrade.gateway._targets import open_targets
from crossgrade.gateway.settings import GatewaySettings
from crossgrade.identity import (
    AccessRules,
    Dossiers,
    RulesInForce,
    TokenVerifier,
    read_dossiers,
    read_jwks,
    read_keyring,
    rules_in_force,
)
from crossgrade.routing import read_route_table
from crossgrade.telemetry import log_line

DRAIN_S = 30.0
_GAUGES_S = 1.0
_BACKLOG = 2048
_OTHER_FILES = 256
_HEALTH_CONNECTIONS = 64
_HEAP_BLOCK = 1 << 20
_GC_THRESHOLD = 20_000
"""Requests leave no cycles behind, so the collector has little to find."""


class Worker:
    """The gateway of one process. `start` listens, `stop` drains.

    Raises ConfigError if it would serve without keys on an address that others can reach.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        number: int = 0,
        environ: Mapping[str, str] = os.environ,
        sweep_s: float | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        _check_openness(settings.serving)
        self.settings = settings
        self.number = number
        self.sweeper = Sweeper(loop) if sweep_s is None else Sweeper(loop, sweep_s)
        register_hosts(settings.hosts)
        DIALECTS.register(settings.dialects)
        targets = open_targets(settings.targets, environ, loop, self.sweeper)
        self.limits = Limits(settings.serving.limits)
        self.metrics = Metrics(settings.targets, number)
        self.broker = BrokerLink(settings.broker, worker=number, limits=self.limits, metrics=self.metrics)
        shadows = Shadows(
            loop,
            limits=self.limits,
            broker=self.broker,
            metrics=self.metrics,
            share=1 / settings.serving.workers,
        )
        self.context = WorkerContext(
            loop,
            worker=number,
            specs=settings.routes,
            targets=targets,
            ends_at=settings.ends_at,
            limits=self.limits,
            broker=self.broker,
            shadows=shadows,
            metrics=self.metrics,
            log_prompts=settings.serving.log_prompts,
            unpriced=settings.serving.unpriced == "allow",
            earlier=None if settings.serving.stored_responses is None else EarlierResponses(self.broker),
            rules=AccessRules(settings.access, settings.serving.issuers),
            dossiers=Dossiers(basis=settings.dossier_basis),
            inscriber=Inscriber(
                loop,
                broker=self.broker,
                metrics=self.metrics,
                worker=number,
                spec=settings.ledger,
                rules=_rules_entered(settings),
                log=self.log,
            ),
        )
        self.gateway = gateway = Gateway(self.context, settings)
        gateway.callers.reload = lambda: self._reload(0.0)
        self.edge = Edge(self.sweeper, settings.serving, gateway.handle, gateway.vet, gateway.refused)
        few = replace(settings.serving, max_connections=_HEALTH_CONNECTIONS)
        self.health_edge = Edge(self.sweeper, few, gateway.handle_health, gateway.vet, gateway.refused)
        state = Path(settings.state)
        self._files = (
            WatchedFile(state / "routes.json", self._take_routes, self._report),
            WatchedFile(state / "keys.json", self._take_keys, self._report),
            WatchedFile(state / "jwks.json", self._take_jwks, self._report),
            WatchedFile(state / "dossiers.json", self._take_dossiers, self._report),
        )
        self._server: asyncio.Server | None = None
        self._health: asyncio.Server | None = None
        self._gauges_at = 0.0
        self._failing: set[str] = set()
        self._told_gone: set[tuple[str, str, str]] = set()

    async def start(self, listening: socket.socket | None = None) -> None:
        """Read the state, connect to the broker, and listen, on a given socket or on the configured port."""
        loop = asyncio.get_running_loop()
        self._reload(0.0)
        self._tell_gone()
        self.sweeper.jobs += [self._reload, self._turn, self._gauge]
        self.sweeper.start()
        self.broker.start()
        self.context.inscriber.start()
        self._listening = listening or _listen(self.settings.serving.host, self.settings.serving.port)
        self._server = await loop.create_server(
            lambda: ClientConnection(self.edge), sock=self._listening, backlog=_BACKLOG
        )
        serving = self.settings.serving
        if serving.health_port is not None:
            self._health = await loop.create_server(
                lambda: ClientConnection(self.health_edge), sock=_listen(serving.host, serving.health_port)
            )
        self.context.is_ready = True

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self, patience_s: float = DRAIN_S) -> None:
        """Accept no more connections, let answers end for `patience_s` seconds, write what is left."""
        self.context.is_ready = False
        if self._server is not None:
            queued = _last_accepted(self._listening)
            self._server.close()
            for each in queued:
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: ClientConnection(self.edge), each
                )
        for _ in range(3):  # an accepted connection is known some turns of the loop later
            await asyncio.sleep(0)
        self.edge.drain()
        try:
            async with asyncio.timeout(patience_s):
                await self.edge.empty.wait()
        except TimeoutError:
            self.log("cut", level="warning", connections=len(self.edge.connections))
        if self._health is not None:
            self._health.close()
        for connection in (*self.edge.connections, *self.health_edge.connections):
            connection.abort()
        for _ in range(3):  # what was cut is recorded some turns of the loop later
            await asyncio.sleep(0)
        self.context.shadows.stop()
        self.context.inscriber.stop()
        await self.broker.close()
        self.sweeper.stop()
        for target in self.context.targets.values():
            target.close()
        await asyncio.sleep(0)  # transports close in the next turn of the loop

    # Reloading.

    def _reload(self, now: float) -> None:  # noqa: ARG002  # the signature of the sweeper's jobs
        for file in self._files:
            file.look()

    def _take_routes(self, data: bytes) -> None:
        context = self.context
        context.routes = context.routes.under(read_route_table(data), context.wall())
        self.metrics.set("crossgrade.gateway.table_version", value=context.routes.version)
        for route in context.routes.all:
            if route.outside is not None:
                allowed = ", ".join(route.spec.regions)
                self.log(
                    "outside_regions",
                    level="warning",
                    route=route.name,
                    target=route.outside,
                    allowed=allowed,
                )
            candidate = None if route.candidate is None else route.candidate.target
            if candidate is not None and candidate.blocked is not None:
                self.log(
                    "not_allowed",
                    level="warning",
                    route=route.name,
                    target=candidate.name,
                    clause=candidate.blocked,
                )

        self._tell_gone()

    def _turn(self, now: float) -> None:  # noqa: ARG002  # the signature of the sweeper's jobs
        """Let successors answer in place of incumbents that have ended by now."""
        context = self.context
        if context.wall() >= context.routes.until:
            context.routes = context.routes.later(context.wall())
            self._tell_gone()

    def _tell_gone(self) -> None:
        """Say once of each route that its incumbent has ended, and which target answers in its place."""
        for route in self.context.routes.all:
            told = (route.name, route.gone or "", route.incumbent.name)
            if route.gone is not None and told not in self._told_gone:
                self._told_gone.add(told)
                self.log(
                    "incumbent_ended",
                    level="warning",
                    route=route.name,
                    incumbent=route.gone,
                    target=route.incumbent.name,
                )

    def _take_dossiers(self, data: bytes) -> None:
        context = self.context
        context.routes = context.routes.with_dossiers(read_dossiers(data), context.wall())

    def _take_keys(self, data: bytes) -> None:
        self.gateway.callers.keys = read_keyring(data)

    def _take_jwks(self, data: bytes) -> None:
        self.gateway.callers.tokens = TokenVerifier(self.settings.serving.issuers, read_jwks(data))

    def _report(self, file: str, problem: Exception | None) -> None:
        self.metrics.add("crossgrade.gateway.reloads", file, "read" if problem is None else "refused")
        if problem is None:
            self.log("reloaded", file=file)
        else:
            code = problem.code if isinstance(problem, CrossgradeError) else None
            hint = "the old one still holds"
            self.log("reload_refused", level="error", file=file, code=code, error=str(problem), hint=hint)

    def _gauge(self, now: float) -> None:
        if now - self._gauges_at < _GAUGES_S:
            return
        self._gauges_at = now
        metrics = self.metrics
        metrics.set("crossgrade.gateway.connections", value=len(self.edge.connections))
        metrics.set("crossgrade.gateway.loop_lag", value=self.sweeper.take_lag())
        for name, target in self.context.targets.items():
            is_open = target.breaker.is_open
            metrics.set("crossgrade.gateway.breaker", name, value=float(is_open))
            if is_open is not (name in self._failing):
                self._failing ^= {name}
                self.log("target_failing" if is_open else "target_back", level="warning", target=name)

    def log(self, event: str, *, level: str = "info", **fields: object) -> None:
        """Write a line of the log to stderr."""
        line = log_line(event, at=time.time(), level=level, worker=self.number, **fields)  # type: ignore[arg-type]  # a literal type
        print(line, file=sys.stderr, flush=True)  # this is the log


def _rules_entered(settings: GatewaySettings) -> RulesInForce | None:
    """Return the rules that entries name, None if no requests are entered."""
    if all(route.ledger == "off" for route in settings.routes):
        return None
    return rules_in_force(settings.access, settings.serving.issuers, settings.routes)


def _check_openness(serving: Serving) -> None:
    """Refuse to serve without keys on an address that others can reach."""
    host = serving.host
    if serving.open_on_loopback and host not in ("localhost", "::1") and not host.startswith("127."):
        raise ConfigError(
            f"without keys the server listens on loopback only, not on {host}",
            code="keys-required",
            where="serve.host",
            hint="take `open_on_loopback` out, and make keys with `crossgrade keys create`",
        )


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that several workers can listen on, each with its own queue."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.setblocking(False)
    listening.bind((host, port))
    return listening


def _last_accepted(listening: socket.socket) -> list[socket.socket]:
    """Accept the connections in a socket's queue, which would be reset, and let it listen no more."""
    accepted: list[socket.socket] = []
    with suppress(OSError):  # the queue is empty
        while len(accepted) < _BACKLOG:
            connection, _ = listening.accept()
            connection.setblocking(False)
            accepted.append(connection)
    with suppress(OSError):
        listening.shutdown(socket.SHUT_RDWR)
    return accepted


def _allow_connections(serving: Serving) -> None:
    """Raise the limit on open files to what the connections may need, as far as the system allows."""
    needed = 2 * serving.max_connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _keep_freed_memory() -> None:
    """Make glibc keep a few freed MiB instead of returning every read's memory to the system.

    glibc takes the size of the largest block freed so far for one that is used repeatedly. Up to that size
    blocks come from the heap, which is cut back only when twice as much is free.
    """
    bytes(_HEAP_BLOCK)


async def serve(settings: GatewaySettings, number: int) -> None:
    """Run one worker until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stopped.set)
    _allow_connections(settings.serving)
    _keep_freed_memory()
    worker = Worker(settings, number=number)
    await worker.start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    worker.log("listening", host=settings.serving.host, port=worker.port)
    await stopped.wait()
    worker.log("draining", connections=len(worker.edge.connections))
    await worker.stop()
    worker.log("stopped")


MOST_BYTES = 64 << 20


class WatchedFile:
    """A file that is checked a few times a second; `take` receives its bytes when it has changed.

    A file that is gone, or that `take` refuses by raising, changes nothing: the previous content stays in
    force. `report` receives each attempt: the file's name, and what was wrong or None.
    """

    def __init__(
        self, path: Path, take: Callable[[bytes], None], report: Callable[[str, Exception | None], None]
    ) -> None:
        self._path = path
        self._take = take
        self._report = report
        self._seen: tuple[int, int, int] | None = None

    def look(self) -> None:
        """Read the file again if it has changed since the last time."""
        try:
            status = self._path.stat()
        except OSError:
            return
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            if status.st_size > MOST_BYTES:
                raise OSError(f"it has more than {MOST_BYTES} bytes")
            self._take(self._path.read_bytes())
        except (OSError, CrossgradeError) as error:
            self._report(self._path.name, error)
        else:
            self._report(self._path.name, None)
