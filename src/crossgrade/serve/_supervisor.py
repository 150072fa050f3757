"""The supervisor of `crossgrade serve`: it starts every process, restarts, reloads and drains."""

import asyncio
import os
import secrets
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from crossgrade.domain import Serving
from crossgrade.errors import CrossgradeError, UsageError
from crossgrade.gateway import GatewaySettings, write_settings
from crossgrade.project import Project
from crossgrade.serve._children import Child
from crossgrade.serve._contact import check_port, is_loopback, is_ready, sole, survey
from crossgrade.serve._local import LOCAL_KEY_ENV, LocalServers
from crossgrade.serve._settings import compile_settings, state_folder
from crossgrade.serve.admin import ADMIN_KEY_ENV

DRAIN_S = 30.0
"""How long requests in flight may continue after SIGTERM, in seconds."""

_EXTRA_S = 5.0
"""How much longer a worker may take before it is killed, in seconds."""

_READY_S = 30.0
_LOOK_S = 0.02
_PAUSE_S = 1.0
"""How long after the start the supervisor waits before it takes CPU time that the first requests need."""

OnEvent = Callable[[str], None]


class Serve:
    """A running gateway of a project; `run` serves until SIGTERM or SIGINT.

    `overrides` replace fields of the configuration's `serve` section (`host`, `port`, `workers`,
    `open_on_loopback`). `on_event` receives one line per event.
    """

    def __init__(
        self,
        config_path: str | Path,
        *,
        overrides: Mapping[str, object] | None = None,
        environ: Mapping[str, str] = os.environ,
        on_event: OnEvent = lambda _line: None,
    ) -> None:
        self._config_path = config_path
        self._overrides = dict(overrides or {})
        self._environ = dict(environ)
        self._on_event = on_event
        self._local_key = secrets.token_urlsafe(24)
        self._local: LocalServers | None = None
        self._workers: list[Child] = []
        self._broker: Child | None = None
        self._admin: Child | None = None
        self._after_start: asyncio.Task[None] | None = None
        self._useless: str | None = None
        self._ending = asyncio.Event()
        self._reloading = asyncio.Event()
        self._settings: GatewaySettings | None = None
        self._new_day = asyncio.Event()
        self._days: asyncio.Task[None] | None = None
        self._draining: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then let requests in flight finish; a second signal ends at once.

        Raises ConfigError and UsageError (the port is in use, another `serve` runs in this project, an open
        gateway beyond loopback) before anything is started.
        """
        self._project = project = Project.open(self._config_path, environ=self._environ)
        self._folder = state_folder(project)
        serving = self._overridden(project)
        self._store = project.config.store
        with sole(self._folder / "serve"):
            for port in (serving.port, serving.health_port):
                if port is not None:
                    check_port(serving.host, port)
            await self._run()

    async def _run(self) -> None:
        self._handle_signals()
        try:
            await self._start(self._project)
            self._days = asyncio.create_task(self._count_days())
            while not self._ending.is_set():
                await _first(self._ending, self._reloading, self._new_day)
                if self._reloading.is_set():
                    self._reloading.clear()
                    await self._reload()
                elif self._new_day.is_set():
                    self._new_day.clear()
                    await self._begin_day()
        finally:
            await self._stop()
        if self._useless is not None:
            raise UsageError(self._useless, code="worker-settings-refused", hint="the lines above say why")

    # Start.

    async def _start(self, project: Project) -> None:
        settings = await self._compile(project)
        self._write(settings)
        path = str(self._path)
        self._broker = self._child("broker", "crossgrade.serve.broker", path)
        await self._broker.start()
        if self._local is not None:
            await self._local.start()  # a worker reports that it is ready, so its targets must be
        await self._start_workers(settings.serving.workers)
        await self._wait_ready(settings)
        if self._ending.is_set():
            return
        serving = settings.serving
        where = f"http://{_shown(serving.host)}:{serving.port}"
        plural = "" if serving.workers == 1 else "s"
        self._on_event(f"ready: {where} ({serving.workers} worker{plural}, pid {os.getpid()})")
        self._report_openness(serving)
        self._after_start = asyncio.create_task(self._finish_start(project, serving))

    async def _finish_start(self, project: Project, serving: Serving) -> None:
        """Do what requests do not need: start the admin API, and read the records of live checks."""
        await asyncio.sleep(_PAUSE_S)
        await self._start_admin(serving)
        await self._tell_records(project)

    async def _tell_records(self, project: Project) -> None:
        """Say what live checks saw of the routes' models."""
        try:
            lines = await asyncio.to_thread(project.live.route_lines)
        except CrossgradeError as error:
            lines = [f"the records of live checks cannot be read: {error.message}"]
        for line in lines:
            self._on_event(f"warning: {line}")

    async def _compile(self, project: Project) -> GatewaySettings:
        """Compile the settings; local servers get their addresses the first time."""
        self._overridden(project)
        compiled = compile_settings(project, self._environ, self._local.urls if self._local else None)
        needed = {offer.name for offer in compiled.local}
        if needed and self._local is None:
            self._local = LocalServers(
                compiled.local,
                root=project.config.root,
                environ=self._environ,
                api_key=self._local_key,
                on_event=self._on_event,
            )
            compiled = compile_settings(project, self._environ, self._local.urls)
        elif self._local is not None and needed - set(self._local.urls):
            self._on_event("a local model that is new in the configuration is served after a restart only")
        if compiled.settings.dossier_basis:
            project.store.dossiers.publish()  # the file may be lost
        for warning in compiled.warnings:
            self._on_event(f"warning: {warning}")
        return replace(compiled.settings, serving=self._overridden(project))

    def _overridden(self, project: Project) -> Serving:
        """Return the `serve` section with the command line's overrides.

        Raises UsageError if it would serve without keys beyond this machine.
        """
        serving = replace(project.config.serving, **self._overrides)  # type: ignore[arg-type]  # fields as the caller names them
        if serving.open_on_loopback and not is_loopback(serving.host):
            raise UsageError(
                f"`open_on_loopback` serves without keys, and {serving.host} is not this machine alone",
                code="open-address",
                hint="make keys with `crossgrade keys create`, or listen on 127.0.0.1",
            )
        return serving

    def _write(self, settings: GatewaySettings) -> None:
        self._path = self._folder / "serve" / "settings.json"
        write_settings(settings, self._path)
        self._path.chmod(0o600)
        self._settings = settings

    def _child(self, label: str, module: str, *arguments: str, on_useless: OnEvent | None = None) -> Child:
        environ = {
            **self._environ,
            "CROSSGRADE_DATABASE_URL": self._store,
            LOCAL_KEY_ENV: self._local_key,
        }
        return Child(
            label,
            ("-m", module, *arguments),
            environ,
            on_event=self._on_event,
            on_useless=on_useless or self._give_up,
        )

    async def _start_workers(self, count: int, on_useless: OnEvent | None = None) -> list[Child]:
        """Start workers with numbers that no running worker has."""
        taken = {child.label for child in self._workers}
        arguments = ("crossgrade.gateway", str(self._path), "--worker")
        fresh: list[Child] = []
        number = 0
        while len(fresh) < count:
            label = f"worker {number}"
            if label not in taken:
                fresh.append(self._child(label, *arguments, str(number), on_useless=on_useless))
            number += 1
        self._workers += fresh
        for child in fresh:
            await child.start()
        return fresh

    async def _start_admin(self, serving: Serving) -> None:
        """Start the admin API."""
        if not self._environ.get(ADMIN_KEY_ENV):
            self._on_event(
                f"the admin API is off: set {ADMIN_KEY_ENV} to have it on port {serving.admin_port}"
            )
            return
        arguments = ("crossgrade.serve.admin", str(self._path), str(self._config_path))
        self._admin = self._child("admin", *arguments, on_useless=self._on_event)
        await self._admin.start()
        self._on_event(f"admin API: http://127.0.0.1:{serving.admin_port}")

    async def _wait_ready(self, settings: GatewaySettings) -> None:
        """Wait until requests can be answered, or until a start has failed."""
        serving = settings.serving
        host = "127.0.0.1" if serving.host in ("", "0.0.0.0") else serving.host  # noqa: S104  # compared, not bound
        try:
            async with asyncio.timeout(_READY_S):
                await _until(lambda: self._is_over_or_ready(host, serving.port))
        except TimeoutError:
            self._give_up(f"no worker was ready within {_READY_S:g} s")

    async def _is_over_or_ready(self, host: str, port: int) -> bool:
        return self._ending.is_set() or await is_ready(host, port)

    def _report_openness(self, serving: Serving) -> None:
        if serving.open_on_loopback:
            self._on_event("open on loopback: this machine's requests need no key")
        elif not serving.issuers and not (self._folder / "keys.json").exists():
            self._on_event("closed: there are no keys yet; make one with `crossgrade keys create`")

    # Reload.

    async def _reload(self) -> None:
        """Read the configuration again. If it is valid, new workers serve it."""
        assert self._settings is not None
        try:
            project = Project.open(self._config_path, environ=self._environ)
            settings = await self._compile(project)
        except CrossgradeError as error:
            self._report_refusal(error)
            return
        serving, before = settings.serving, self._settings.serving
        if (serving.host, serving.port) != (before.host, before.port):
            self._on_event("not reloaded: host and port change with a restart only")
        elif settings == self._settings:
            self._project = project
            self._on_event("reloaded: nothing changed")
        elif await self._serve_anew(settings):
            self._project = project

    async def _begin_day(self) -> None:
        """Serve at the day's prices. What is refused from a day on leaves the gateway as it is."""
        try:
            settings = await self._compile(self._project)
        except CrossgradeError as error:
            self._report_refusal(error)
        else:
            await self._serve_anew(settings)

    def _report_refusal(self, error: CrossgradeError) -> None:
        place = getattr(error, "location", None)
        self._on_event(f"not reloaded: {f'{place}: ' if place else ''}{error.message} ({error.hint})")

    async def _serve_anew(self, settings: GatewaySettings) -> bool:
        """Replace the workers by new ones with these settings; keep the old ones if the new cannot start."""
        assert self._settings is not None
        before = self._settings
        if settings == before:
            return False
        self._write(settings)
        old, self._workers = self._workers, list(self._workers)
        useless = asyncio.Event()
        fresh = await self._start_workers(settings.serving.workers, lambda _line: useless.set())
        await self._wait_connected(fresh, useless)
        if useless.is_set():
            self._write(before)
            self._workers = old
            self._drain(fresh)
            self._on_event("not reloaded: new workers cannot start with it, the lines above say why")
            return False
        self._workers = fresh
        if settings.serving.issuers != before.serving.issuers and self._broker is not None:
            await self._broker.stop(DRAIN_S)
            self._broker = self._child("broker", "crossgrade.serve.broker", str(self._path))
            await self._broker.start()
        self._drain(old)
        self._on_event(f"reloaded: {len(fresh)} new worker{'' if len(fresh) == 1 else 's'}")
        return True

    async def _wait_connected(self, children: list[Child], useless: asyncio.Event) -> None:
        """Wait until the broker knows these workers, which then serve, or one cannot start."""
        try:
            async with asyncio.timeout(_READY_S):
                await _until(lambda: self._are_connected(children, useless))
        except TimeoutError:
            self._on_event("warning: new workers are slow to start")

    async def _are_connected(self, children: list[Child], useless: asyncio.Event) -> bool:
        assert self._settings is not None
        needed = {child.pid for child in children}
        return useless.is_set() or needed <= await _connected_pids(self._settings.broker)

    def _drain(self, children: list[Child]) -> None:
        """End children in the background, each after its requests."""
        for child in children:
            task = asyncio.create_task(child.stop(DRAIN_S + _EXTRA_S))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)

    async def _count_days(self) -> None:
        """Look prices up again when a day (UTC) begins: dated ones may change then."""
        while True:
            now = datetime.now(UTC)
            midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
            await asyncio.sleep((midnight - now).total_seconds() + 1.0)
            self._new_day.set()

    # End.

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, signal.Signals(number).name)
        loop.add_signal_handler(signal.SIGHUP, self._reloading.set)

    def _end(self, name: str) -> None:
        if self._ending.is_set():
            self._on_event(f"{name} again: ending at once")
            for child in self._workers:
                child.kill()
            return
        self._on_event(f"{name}: finishing requests in flight, at most {DRAIN_S:g} s")
        self._ending.set()

    def _give_up(self, why: str) -> None:
        self._useless = self._useless or why
        self._ending.set()

    async def _stop(self) -> None:
        for task in (self._after_start, self._days):
            if task is not None:
                task.cancel()
        self._drain(self._workers)
        await asyncio.gather(*self._draining)
        others = [child for child in (self._admin, self._broker) if child is not None]
        await asyncio.gather(*(child.stop(5.0) for child in others))
        if self._local is not None:
            await self._local.stop()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
        self._on_event("ended")


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def _connected_pids(path: str) -> set[int | None]:
    try:
        state = await survey(path)
    except (CrossgradeError, OSError):
        return set()
    return {int(worker["pid"]) for worker in state["workers"]}


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Poll until a condition of another process holds."""
    while not await condition():  # noqa: ASYNC110  # another process sets no event here
        await asyncio.sleep(_LOOK_S)


async def _first(*events: asyncio.Event) -> None:
    """Wait for the first of several events."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
