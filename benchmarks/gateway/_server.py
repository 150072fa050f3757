"""A server under test: started on one core, its whole process tree's CPU time and memory read from the kernel."""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gateway._tools import GATEWAY_CORE, body, put_first, start

START_LIMIT_S = 180
_WRITES_NO_BYTECODE = {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
"""Left out of a server's environment: no installation has them, and every start would compile again."""


class NotMeasured(Exception):
    """A server that cannot be installed or started here; its text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What to start and how to address a request to it.

    An empty `command` is a server that runs already; port 0 one that picks its own and prints its
    address. `model` says how the upstream's model is named there, `events` how many events a stream
    of the mock must arrive with (None: this server rewrites them). `recorded` counts the requests
    that it has recorded with their cost, so that what is said to be on is seen to be on.
    """

    name: str
    version: str
    command: Sequence[str] = ()
    port: int = 0
    path: str = "/v1/chat/completions"
    headers: Sequence[str] = ()
    model: str = "{}"
    environment: Mapping[str, str] = field(default_factory=dict)
    events: int | None = None
    recorded: Callable[[], int] | None = None
    bodies_only: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its parent, its session, and the CPU seconds of its children that have ended."""

    pid: int
    parent: int
    session: int
    reaped_s: float


def parse_stat(text: str) -> Process:
    """Read one /proc/PID/stat; the command's name may hold spaces and brackets."""
    fields = text[text.rindex(")") + 2 :].split()
    ticks = int(fields[13]) + int(fields[14])
    return Process(
        int(text.split(" ", 1)[0]), int(fields[1]), int(fields[3]), ticks / os.sysconf("SC_CLK_TCK")
    )


def tree(root: int) -> list[Process]:
    """The root, its session and all their descendants, whatever session those opened."""
    known = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            known.append(parse_stat(path.read_text()))
    return family(root, known)


def family(root: int, known: Sequence[Process]) -> list[Process]:
    """The root's family among known processes."""
    found = {process.pid for process in known if root in {process.pid, process.session}}
    while more := {process.pid for process in known if process.parent in found} - found:
        found |= more
    return [process for process in known if process.pid in found]


class Server:
    """A started target; use as a context manager."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self.port = target.port
        self.start_cpu_s: float | None = None
        self._log = folder / f"{re.sub('[^a-z]', '-', target.name.lower())}.log"
        self._body = body(folder, target.model, "mock")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Server":
        if self.target.command:
            inherited = {name: value for name, value in os.environ.items() if name not in _WRITES_NO_BYTECODE}
            with self._log.open("wb") as log:
                self._process = start(
                    self.target.command,
                    GATEWAY_CORE,
                    cwd=self._log.parent,
                    env={**inherited, **self.target.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        try:
            self._await_first_answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if not self._process:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        for process in self._tree():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        self._process.wait()

    def _tree(self) -> list[Process]:
        return tree(self._process.pid) if self._process else []

    @property
    def pids(self) -> list[int]:
        """The processes of the tree that run now."""
        return [process.pid for process in self._tree()]

    def cpu_s(self) -> float:
        """User and system seconds of every process of the tree so far, those that ended included."""
        total = 0.0
        for process in self._tree():
            with contextlib.suppress(OSError):  # the clock of a process that ended just now
                total += time.clock_gettime((~process.pid << 3) | 2) + process.reaped_s
        return total

    def workers(self) -> list[int]:
        """The processes that accept connections on the port; not the one that only started them."""
        assert self._process
        pids = listeners(self.port, [process.pid for process in self._tree()])
        return [pid for pid in pids if pid != self._process.pid] or pids

    def memory_mib(self, what: str, pids: Sequence[int] | None = None) -> list[float]:
        """`VmRSS`, `VmHWM` or `Pss` of each of the processes (all by default)."""
        found = []
        for pid in [process.pid for process in self._tree()] if pids is None else pids:
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/{'smaps_rollup' if what == 'Pss' else 'status'}").read_text()
                match = re.search(rf"^{what}:\s+(\d+) kB", text, re.MULTILINE)
                found.append(int(match[1]) / 1024 if match else 0.0)
        return found

    def forget_peaks(self) -> None:
        """Set the peak memory of each process back to what it uses now."""
        for process in self._tree():
            with contextlib.suppress(OSError):
                Path(f"/proc/{process.pid}/clear_refs").write_text("5")

    def _await_first_answer(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        seen = "nothing"
        while time.monotonic() < deadline:
            if self._process and self._process.poll() is not None:
                seen = f"exit code {self._process.returncode}"
                break
            try:
                status = self._ask()
            except OSError as error:
                seen = str(error)
                time.sleep(0.01)
                continue
            if status == 200:
                self.start_cpu_s = self.cpu_s()
                for process in self._tree():
                    put_first(process.pid)
                return
            seen = f"HTTP status {status}"
            time.sleep(0.1)
        last = self._log.read_text(errors="replace").strip().splitlines()[-3:] if self._log.exists() else []
        raise NotMeasured(f"{self.target.name} gave no answer: {'; '.join([seen, *last])[:300]}")

    def _ask(self) -> int:
        if not self.port:
            address = re.search(r"http://127\.0\.0\.1:(\d+)", self._log.read_text(errors="replace"))
            if not address:
                raise ConnectionError("no address printed yet")
            self.port = int(address[1])
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = dict(line.split(": ", 1) for line in self.target.headers)
        try:
            connection.request(
                "POST",
                self.target.path,
                self._body.read_bytes(),
                {"Content-Type": "application/json", **headers},
            )
            return connection.getresponse().status
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()


def listeners(port: int, pids: Sequence[int]) -> list[int]:
    """Those of the processes that hold a listening socket of the port."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
    return [pid for pid in pids if _descriptors(pid) & sockets]


def _descriptors(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(str(link.readlink()))
    return found
