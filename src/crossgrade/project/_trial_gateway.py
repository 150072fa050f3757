"""The gateway of a run of trials: `crossgrade serve` as a child process, with a route for each model.

It has a folder of its own, with settings that are made from the run's offers, keys that end with it, and its
request log. It ends with its parent, even if that is killed. The folders of the newest gateways are kept: by
their logs a resumed run counts what was lost with a killed process.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from crossgrade.config import DATABASE_URL_VARIABLE
from crossgrade.domain import Offer, Price, Workload
from crossgrade.errors import ProviderError
from crossgrade.project._measured import offers_of

if TYPE_CHECKING:
    from crossgrade.evaluate import GatewayDoor, TrialCall, TrialProvider

START_S = 600.0
"""How long a gateway may take to start, in seconds. Local models are loaded meanwhile."""

MOST_FOLDERS = 10
"""The number of gateways whose folders are kept. Those of more are removed, the oldest first."""

_RUN, _SETTLED, _PID = "run", "settled", "pid"
_BEGUN, _ENDED, _STOPPED = "begun", "ended", "stopped"
_LOG = Path(".crossgrade", "serve", "requests")
_STOP_S, _LOOK_S = 15.0, 0.1
_KEY_DAYS = 30
_MARK = b'{"settled":'
_NEWLINE = b"\n"
_ADMIN_KEY = "CROSSGRADE_ADMIN_KEY"
_MODEL_FIELDS = (
    "provider",
    "model",
    "base_url",
    "api_key_env",
    "region",
    "licence",
    "open_weights",
    "context_tokens",
    "timeout_s",
    "max_concurrency",
    "caller_fields",
    "adapter",
)
_DIES_WITH_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); "
    "os.execv(sys.executable, [sys.executable, '-m', 'crossgrade', *sys.argv[1:]])"
)
"""A program that becomes `crossgrade`, and gets SIGTERM when its parent ends (`man 2 PR_SET_PDEATHSIG`)."""


@asynccontextmanager
async def open_trials(
    workload: Workload,
    *,
    root: Path,
    environ: Mapping[str, str],
    price_of: Callable[[Offer], Price | None],
    price_files: Sequence[Path] = (),
    plugins: Sequence[str] = (),
) -> "AsyncIterator[TrialGateways]":
    """Yield what runs the trials of a workload, and starts a gateway for its models.

    `root` is the folder of the project. `price_of` returns today's price of an offer, and `price_files` are
    the project's. Raises what `ModelShelf.find` raises for a local model that is not installed.
    """
    from crossgrade.evaluate import TrialProvider, require_sandbox
    from crossgrade.workloads import read_task, task_names

    require_sandbox(hint="install bubblewrap (`bwrap`): trials run in it")
    assert workload.agent is not None
    offers = offers_of(workload)
    tasks = {name: read_task(workload.dataset / name) for name in task_names(workload.dataset)}
    # A model that is not installed is said before anything starts.
    weights = {name: _weights(offer, environ, root) for name, offer in offers.items()}
    prices = {name: price_of(offer) for name, offer in offers.items()}
    ended: set[str] = set()
    parent = root / ".crossgrade" / "trials"

    @asynccontextmanager
    async def opened() -> AsyncIterator[tuple[Path, RunGateway]]:
        with gateway_folder(parent) as folder:
            port, other = _free_ports()
            models = {name: model_section(offer, prices[name], root) for name, offer in offers.items()}
            config = {
                "models": models,
                "routes": {name: {"incumbent": name} for name in models},
                "serve": {"port": port, "admin_port": other},
                "price_files": [str(path.resolve()) for path in price_files],
                "plugins": list(plugins),
            }
            (folder / "crossgrade.yaml").write_bytes(msgspec.json.encode(config))  # JSON is YAML
            gateway = RunGateway(
                port=port,
                keys=_keys(folder, models),
                log=RequestLog(folder / _LOG),
                folder=folder,
                timeouts={name: offer.timeout_s for name, offer in offers.items()},
            )
            async with _served(folder, environ):
                yield folder, gateway

    async with AsyncExitStack() as stack:
        yield TrialGateways(
            providers={
                name: TrialProvider(
                    name=name,
                    agent=workload.agent,
                    tasks=tasks,
                    identity=weights[name],
                    price=prices[name],
                    ended=ended,
                )
                for name in offers
            },
            parent=parent,
            ended=ended,
            open_gateway=lambda: stack.enter_async_context(opened()),
        )


@dataclass(slots=True, kw_only=True)
class TrialGateways:
    """What runs the trials of a run: a provider for each model, and a gateway once it is started.

    The folders of gateways are in `parent`. `ended` has the run ids of the trials that ended.
    """

    providers: "dict[str, TrialProvider]"
    parent: Path
    ended: set[str]
    open_gateway: "Callable[[], Awaitable[tuple[Path, RunGateway]]]"
    own: Path | None = None
    _counted: dict[Path, set[str]] = field(default_factory=dict)

    async def start(self) -> None:
        """Start the gateway. Raises `ProviderError` if it does not start."""
        self.own, gateway = await self.open_gateway()
        for provider in self.providers.values():
            provider.gateway = gateway

    def lost(self, run_id: str, recorded: Collection[str]) -> list[Decimal | None]:
        """Note which run the gateway is for, and return what each lost trial of it cost (None: unknown).

        `recorded` are the run ids of the trials whose answers the run has. A trial is lost if a process was
        killed or interrupted before it counted it.
        """
        from crossgrade.evaluate import trial_cost_usd

        if self.own is not None:
            (self.own / _RUN).write_text(run_id)
        found = []
        for folder in sorted(self.parent.glob("gateway-*")):
            if folder == self.own or _words(folder / _RUN) != [run_id]:
                continue
            _wait_for_end(folder)
            known = {*recorded, *_words(folder / _SETTLED)}
            calls = RequestLog(folder / _LOG).runs()
            left = [run for run in dict.fromkeys((*_words(folder / _BEGUN), *calls)) if run not in known]
            self._counted[folder] = set(left)
            # A gateway that was killed may not have recorded the calls that were in flight.
            whole = left if (folder / _STOPPED).exists() else _words(folder / _ENDED)
            found += [trial_cost_usd(calls.get(run, ())) if run in whole else None for run in left]
        return found

    def settle(self) -> None:
        """Note that the run has counted what it lost, and all trials that ended since."""
        own = {} if self.own is None else {self.own: self.ended}
        for folder, runs in {**self._counted, **own}.items():
            if runs and folder.is_dir():
                _note(folder / _SETTLED, sorted(runs))


def _note(path: Path, runs: Sequence[str]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{run}\n" for run in runs))


def _words(path: Path) -> list[str]:
    """Return the words of a small file, none if it is not there."""
    try:
        return path.read_text("utf-8", "replace").split()
    except OSError:
        return []


def _wait_for_end(folder: Path) -> None:
    """Wait a while for a gateway to end whose parent was killed: it still writes its records."""
    for pid in _words(folder / _PID):
        command = Path("/proc", pid, "cmdline")
        for _ in range(round(_STOP_S / _LOOK_S)):
            try:
                if os.fsencode(folder) not in command.read_bytes():
                    break
            except OSError:
                break
            time.sleep(_LOOK_S)


@contextmanager
def gateway_folder(parent: Path) -> Iterator[Path]:
    """Make a folder for a gateway in another one, and remove the oldest ones that no gateway uses."""
    from crossgrade.store import file_lock

    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    own = Path(tempfile.mkdtemp(prefix="gateway-", dir=parent))
    with file_lock(own / "lock", wait=False):
        for each in sorted(parent.glob("gateway-*"), key=_made_at, reverse=True)[MOST_FOLDERS:]:
            with file_lock(each / "lock", wait=False) as is_unused:
                if is_unused:
                    shutil.rmtree(each, ignore_errors=True)
        yield own


def _made_at(folder: Path) -> float:
    with contextlib.suppress(FileNotFoundError):  # another process removes old ones too
        return folder.stat().st_mtime
    return 0.0


def model_section(offer: Offer, price: Price | None, root: Path) -> dict[str, Any]:
    """Return an offer as a section of `models`, at a price that was looked up for it.

    A price with tiers has no such form: then the gateway looks it up in the same catalogue.
    """
    section = {name: getattr(offer, name) for name in _MODEL_FIELDS if getattr(offer, name) is not None}
    if offer.provider == "local" and (root / offer.model).is_file():
        section["model"] = str((root / offer.model).resolve())
    if offer.adapter is not None:
        section["adapter"] = str((root / offer.adapter).resolve())
    if price is not None and not price.tiers:
        fields = {name: each for name, each in asdict(price).items() if each is not None and name != "tiers"}
        fields.pop("valid_from", None)
        section["prices"] = [{name: each if name == "source" else str(each) for name, each in fields.items()}]
    return section


def _keys(folder: Path, models: Mapping[str, object]) -> dict[str, str]:
    """Make a key for each model's route, and return their texts."""
    from crossgrade.store import Keys, utc_now

    state = folder / ".crossgrade"
    state.mkdir(mode=0o700)
    until = utc_now() + timedelta(days=_KEY_DAYS)
    with Keys.open(state / "crossgrade.db", state) as keys:
        return {name: keys.create(name, routes=(name,), expires_at=until).text for name in models}


def _weights(offer: Offer, environ: Mapping[str, str], root: Path) -> str | None:
    """Return the digests of a local model's file and of its adapter's, None for a hosted model."""
    if offer.provider != "local" or offer.base_url is not None:
        return None
    from crossgrade.providers.adapters import find_adapter, weights_name
    from crossgrade.providers.models import ModelShelf, models_home

    model = ModelShelf(models_home(environ)).find(offer.model, root=root)
    return f"{weights_name(model, find_adapter(offer.adapter, model, root=root))} in trials"


def _free_ports() -> list[int]:
    """Return two ports that nothing listens on."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], other.getsockname()[1]]


@asynccontextmanager
async def _served(folder: Path, environ: Mapping[str, str]) -> AsyncIterator[None]:
    """Serve a folder's settings inside the block. Raises `ProviderError` if that does not begin."""
    state = folder / ".crossgrade"
    said = state / "serve.log"
    own = {DATABASE_URL_VARIABLE: str(state / "crossgrade.db"), _ADMIN_KEY: ""}
    with said.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", _DIES_WITH_PARENT, "serve"),
            *("--config", str(folder / "crossgrade.yaml")),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **environ, **own},
            start_new_session=True,  # Ctrl-C must not end it while trials are still running
        )
    (folder / _PID).write_text(str(process.pid))
    try:
        await _ready(process, said)
        yield
    finally:
        await _end(process)
        (folder / _STOPPED).touch()


async def _ready(process: asyncio.subprocess.Process, said: Path) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            while process.returncode is None:
                if any(line.startswith("ready: ") for line in _lines(said)):
                    return
                await asyncio.sleep(0.05)
    lines = _lines(said)
    raise ProviderError(
        f"the gateway of the trials did not start: {' | '.join(lines[-3:])[:500] or 'it said nothing'}",
        code="trial-gateway-not-started",
        hint=f"read {said}, and check the models with `crossgrade doctor --live`",
    )


def _lines(said: Path) -> list[str]:
    return said.read_text("utf-8", "replace").strip().splitlines()


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the gateway: it has no requests in flight any more, or nobody waits for them."""
    with anyio.CancelScope(shield=True):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@dataclass(slots=True)
class RequestLog:
    """The request log of a gateway, read as it grows: the calls of each run so far."""

    folder: Path
    _read: dict[Path, int] = field(default_factory=dict)
    _runs: dict[str, list["TrialCall"]] = field(default_factory=dict)

    def calls(self, run_id: str) -> "Sequence[TrialCall]":
        """Return what is recorded of a run so far, in the order of its records."""
        self._follow_all()
        return tuple(self._runs.get(run_id, ()))

    def runs(self) -> "Mapping[str, Sequence[TrialCall]]":
        """Return what is recorded so far, by run."""
        self._follow_all()
        return {run: tuple(calls) for run, calls in self._runs.items() if run}

    def _follow_all(self) -> None:
        for path in sorted(self.folder.glob("*.jsonl")):
            self._follow(path)

    def _follow(self, path: Path) -> None:
        """Read what a file has behind what was read of it, up to the end of the last whole flush."""
        from crossgrade.evaluate import TrialCall

        begin = self._read.get(path, 0)
        with path.open("rb") as file:
            file.seek(begin)
            lines = file.read().splitlines(keepends=True)
        waiting: list[TrialCall] = []
        end = begin
        for line in lines:
            if not line.endswith(_NEWLINE):
                break
            end += len(line)
            if line.startswith(_MARK):
                for each in waiting:
                    self._runs.setdefault(each.run or "", []).append(each)
                waiting, self._read[path] = [], end
            else:
                waiting.append(msgspec.json.decode(line, type=TrialCall))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGateway:
    """A gateway on this machine, as trials reach it."""

    port: int
    keys: Mapping[str, str]
    log: RequestLog
    folder: Path
    timeouts: Mapping[str, float]

    def begin(self, run_id: str) -> None:
        """Note that a trial begins: from now on it may cost something."""
        _note(self.folder / _BEGUN, [run_id])

    def end(self, run_id: str) -> None:
        """Note that all calls of a trial are recorded."""
        _note(self.folder / _ENDED, [run_id])

    def door(self, offer: str) -> "GatewayDoor":
        """Return how the model of an offer is reached."""
        from crossgrade.evaluate import GatewayDoor

        return GatewayDoor(
            host="127.0.0.1",
            port=self.port,
            key=self.keys[offer],
            route=offer,
            timeout_s=self.timeouts[offer],
        )

    def calls(self, run_id: str) -> "Sequence[TrialCall]":
        """Return what is recorded of a run so far."""
        return self.log.calls(run_id)
