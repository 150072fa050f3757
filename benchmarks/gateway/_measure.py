"""The rounds: every quantity of every server in turn, so that a change of the machine's load meets all alike."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gateway._peers import PEERS
from benchmarks.gateway._server import NotMeasured, Server, Target
from benchmarks.gateway._tools import EVENTS, Load, body, compile_tools, load, upstream

DIRECT = "no gateway"
STARTS = 3
"""How often each server is started: what a request costs some of them differs by a tenth from start to start."""

BODY_RUNS = 5
_SHARED_MEMORY_EVERY_S = 0.005
_RECORDS_WITHIN_S = 5

Maker = Callable[[Path, int], Target]
Quantities = dict[str, list[float]]
"""Name of a quantity, unit last, to its values: one a round."""


class Measured(dict[str, Quantities]):
    """Server to its quantities, with versions, and the reason for each server that was not measured."""

    def __init__(self) -> None:
        super().__init__()
        self.versions: dict[str, str] = {}
        self.missing: dict[str, str] = {}


def measure(ours: Maker, rounds: int, only: set[str]) -> Measured:
    """Start everything `STARTS` times, and each time go round; `only` names the peers to keep (empty: all)."""
    measured = Measured()
    makers = {DIRECT: _direct, "ours": ours} | {k: v for k, v in PEERS.items() if not only or k in only}
    for number in range(STARTS):
        print(f"    start {number + 1} of {STARTS}", file=sys.stderr, flush=True)
        with TemporaryDirectory(prefix="bench-gateway-") as scratch:
            _one_start(Path(scratch), makers, rounds, measured, is_last=number + 1 == STARTS)
    return measured


def _one_start(
    folder: Path, makers: Mapping[str, Maker], rounds: int, measured: Measured, *, is_last: bool
) -> None:
    with contextlib.ExitStack() as stack:
        compile_tools(folder)
        port = stack.enter_context(upstream(folder))
        servers = dict(_started(makers, folder, port, stack, measured))
        bench = _Bench(folder, servers, measured)
        bench.warm_up()
        for number in range(rounds):
            print(f"    round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for phase in bench.phases:
                for name, server in servers.items():
                    if not server.target.bodies_only:
                        phase(name, server)
        if is_last:
            bench.memory()
            bench.bodies()
        bench.records()


def _direct(_folder: Path, upstream_port: int) -> Target:
    return Target(name=DIRECT, version="", port=upstream_port, events=EVENTS)


def _started(
    makers: Mapping[str, Maker], folder: Path, port: int, stack: contextlib.ExitStack, measured: Measured
) -> Iterator[tuple[str, Server]]:
    for name, make in makers.items():
        if name in measured.missing:
            continue
        print(f"    starting {name}", file=sys.stderr, flush=True)
        try:
            target = make(folder, port)
            server = stack.enter_context(Server(target, folder))
        except NotMeasured as error:
            measured.missing[name] = str(error)
            measured.pop(name, None)  # what an earlier start of it gave has no counterpart
            print(f"    not measured: {error}", file=sys.stderr, flush=True)
            continue
        quantities = measured.setdefault(name, {})
        if not target.bodies_only:
            quantities.setdefault("start_cpu_s", []).append(server.start_cpu_s or 0.0)
        measured.versions[name] = target.version
        yield name, server


class _Bench:
    def __init__(self, folder: Path, servers: Mapping[str, Server], measured: Measured) -> None:
        self._folder = folder
        self._servers = servers
        self._measured = measured
        self._answers = dict.fromkeys(servers, 0)
        self._recorded = {
            name: server.target.recorded() for name, server in servers.items() if server.target.recorded
        }

        # Events apart are the noisiest: what a wake-up costs changes with what else the host runs.
        self.phases = (
            self.saturated,
            self.paced,
            self.paced,
            self.burst,
            self.paced,
            self.paced,
            self.calm,
            self.paced,
            self.paced,
            self.calm_delayed,
        )

    def _note(self, name: str, **values: float) -> None:
        for quantity, value in values.items():
            self._measured[name].setdefault(quantity, []).append(value)

    def _load(self, name: str, file: Path, *options: object) -> tuple[Load, float]:
        """Run the load generator; gives what it saw and the CPU seconds of the server meanwhile."""
        server = self._servers[name]
        target = server.target
        before = server.cpu_s()
        seen = load(self._folder, server.port, target.path, target.headers, file, list(map(str, options)))
        self._answers[name] += seen["answers"]
        return seen, server.cpu_s() - before

    def _checked(self, name: str, model: str, *options: object, stream: bool = False) -> tuple[Load, float]:
        target = self._servers[name].target
        file = body(self._folder, target.model, model, stream=stream)
        seen, cpu_s = self._load(name, file, *options)
        expected = target.events
        short = stream and expected is not None and seen["events"] != expected * seen["answers"]
        self._note(name, bad=seen["broken"] + seen["not_200"] + short)
        return seen, cpu_s

    def warm_up(self) -> None:
        """Connections, caches and just-in-time compilers, before anything counts."""
        for name, server in self._servers.items():
            for stream in (False, True):
                file = body(self._folder, server.target.model, "mock", stream=stream)
                self._load(name, file, "-n", 200 if stream else 2000, "-c", 16, "-d", 3)

    def saturated(self, name: str, _server: Server) -> None:
        """JSON, 64 connections, no delay."""
        seen, cpu_s = self._checked(name, "mock", "-c", 64, "-d", 2)
        self._note(
            name,
            json_cpu_us=1e6 * cpu_s / max(1, seen["answers"]),
            json_per_s=seen["answers"] / seen["seconds"],
        )

    def burst(self, name: str, _server: Server) -> None:
        """Streams, 32 connections, no delay between their events."""
        seen, cpu_s = self._checked(name, "mock", "-c", 32, "-d", 2, stream=True)
        self._note(name, burst_cpu_us=1e6 * cpu_s / max(1, seen["answers"]) / EVENTS)

    def paced(self, name: str, _server: Server) -> None:
        """25 streams a second, 50 ms to the first event and 10 ms between events."""
        seen, cpu_s = self._checked(
            name, "mock-d50-i10", "-r", 25, "-n", 75, "-c", 256, "-d", 20, stream=True
        )
        cpu_us = 1e6 * cpu_s / max(1, seen["answers"]) / EVENTS
        self._note(name, paced_cpu_us=cpu_us, paced_first_us=seen["first_us"]["p50"])

    def calm(self, name: str, _server: Server) -> None:
        """50 requests a second, no delay."""
        seen, _ = self._checked(name, "mock", "-r", 50, "-n", 200, "-d", 20)
        self._note(name, calm_p50_us=seen["whole_us"]["p50"], calm_p99_us=seen["whole_us"]["p99"])

    def calm_delayed(self, name: str, _server: Server) -> None:
        """50 requests a second, answered after 50 ms."""
        seen, _ = self._checked(name, "mock-d50", "-r", 50, "-n", 100, "-d", 20)
        self._note(name, delayed_p50_us=seen["whole_us"]["p50"])

    def memory(self) -> None:
        """After the rounds: each server's largest worker, and all its processes together."""
        for name, server in self._servers.items():
            if server.target.command and not server.target.bodies_only:
                self._note(
                    name,
                    worker_rss_mib=max(server.memory_mib("VmRSS", server.workers())),
                    all_rss_mib=sum(server.memory_mib("VmRSS")),
                    all_pss_mib=sum(server.memory_mib("Pss")),
                    processes=len(server.memory_mib("VmRSS")),
                )

    def bodies(self) -> None:
        """One 40 MB request at a time, `model` first and last; memory over what there was before all of them."""
        before = {name: sum(server.memory_mib("VmRSS")) for name, server in self._servers.items()}
        for number in range(BODY_RUNS):
            print(f"    40 MB bodies, {number + 1} of {BODY_RUNS}", file=sys.stderr, flush=True)
            for where in ("first", "last"):
                for name, server in self._servers.items():
                    self._one_body(name, server, where, before[name])

    def _one_body(self, name: str, server: Server, where: str, before_mib: float) -> None:
        file = body(self._folder, server.target.model, "mock", big=True, model_last=where == "last")
        server.forget_peaks()
        with _SharedMemory() as shared:
            seen, cpu_s = self._load(name, file, "-n", 1, "-c", 1, "-d", 60, "-t", 60)
        added_mib = sum(server.memory_mib("VmHWM")) - before_mib + shared.added_mib
        values = {
            f"{where}_cpu_ms": 1e3 * cpu_s,
            f"{where}_wall_ms": seen["whole_us"]["p50"] / 1e3,
            f"{where}_added_mib": max(0.0, added_mib),
        }
        self._note(name, bad=float(seen["answers"] != 1 or seen["not_200"]), **values)

    def records(self) -> None:
        """Answers that a server which records them did not record, after time enough to do so."""
        for name, before in self._recorded.items():
            recorded = self._servers[name].target.recorded
            assert recorded
            for _ in range(_RECORDS_WITHIN_S * 10):
                missing = before + self._answers[name] - recorded()
                if missing <= 0:
                    break
                time.sleep(0.1)
            self._note(name, unrecorded=float(max(0, missing)))


class _SharedMemory:
    """The machine's peak of shared memory over its start: a body spooled there belongs to no process."""

    def __enter__(self) -> "_SharedMemory":
        self._start_mib = self._peak_mib = _shared_mib()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def added_mib(self) -> float:
        """MiB above the start."""
        return self._peak_mib - self._start_mib

    def _watch(self) -> None:
        while not self._done.is_set():
            self._peak_mib = max(self._peak_mib, _shared_mib())
            time.sleep(_SHARED_MEMORY_EVERY_S)


def _shared_mib() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Shmem:"))
