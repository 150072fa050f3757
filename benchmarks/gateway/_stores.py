"""Servers of Redis and PostgreSQL that a benchmark or test stalls, kills and starts again."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway._server import NotMeasured, tree
from benchmarks.gateway._tools import free_port
from crossgrade.serve._redis import RedisCounters
from crossgrade.store import Budgets, LimitWindow

_STALL_S = 1.3
_REDIS_PATIENCE_S = 0.2
_MONTH_S = 2_592_000


@dataclass(frozen=True)
class Database:
    """A database server that can be stalled and killed, and what it counts of each route.

    `kill` ends it as a kill does: nothing is finished, nothing is written.
    """

    name: str
    environ: Mapping[str, str]
    pid: Callable[[], int]
    start: Callable[[], None]
    kill: Callable[[], None]
    spent: Callable[[list[str]], dict[str, int]]

    def restart(self) -> None:
        """Kill it and start it again with what it had on disk."""
        self.kill()
        self.start()

    def stall(self) -> None:
        """Stop all its processes for a while."""
        processes = [each.pid for each in tree(self.pid())]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(_STALL_S if number is signal.SIGSTOP else 0)


@contextlib.contextmanager
def redis_store(folder: Path) -> Iterator[Database]:
    """Run a Redis that keeps its data in a folder."""
    if shutil.which("redis-server") is None:
        raise NotMeasured("not measured with Redis: `redis-server` is not installed")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]
    command = ["redis-server", *options, "--dir", str(folder)]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL)]
    address = f"redis://127.0.0.1:{port}/0"

    def start() -> None:
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))

    def kill() -> None:
        processes[-1].kill()
        processes[-1].wait()

    def spent(routes: list[str]) -> dict[str, int]:
        begins = int(time.time()) // _MONTH_S * _MONTH_S
        windows = [LimitWindow("route", route, "requests", _MONTH_S, begins) for route in routes]
        counters = RedisCounters.open(address)
        found = {window.name: amount for window, amount in counters.spent(windows).items()}
        counters.close()
        return found

    environ = {"CROSSGRADE_REDIS_URL": f"{address}?socket_timeout={_REDIS_PATIENCE_S}"}
    try:
        yield Database("Redis", environ, lambda: processes[-1].pid, start, kill, spent)
    finally:
        processes[-1].terminate()
        processes[-1].wait()


@contextlib.contextmanager
def postgresql_store(folder: Path) -> Iterator[Database]:
    """Run a PostgreSQL that keeps its data in a folder."""
    programs = {name: _postgresql_program(name) for name in ("initdb", "pg_ctl")}
    port, data = free_port(), folder / "postgresql"
    data.mkdir()
    become = []
    if os.getuid() == 0:  # it refuses to run as root
        folder.chmod(0o755)
        shutil.chown(data, "postgres")
        become = ["runuser", "-u", "postgres", "--"]

    def control(*arguments: str) -> None:
        command = [*become, programs["pg_ctl"], "-D", str(data / "db"), "-w", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start() -> None:
        control("-o", f"-p {port} -k {data} -h 127.0.0.1", "-l", str(data / "log"), "start")

    def kill() -> None:
        control("-m", "immediate", "stop")

    def pid() -> int:
        read = [*become, "head", "-n", "1", str(data / "db" / "postmaster.pid")]
        return int(subprocess.run(read, check=True, capture_output=True, text=True).stdout)

    url = f"postgresql://crossgrade@127.0.0.1:{port}/postgres"

    def spent(_routes: list[str]) -> dict[str, int]:
        with Budgets.open(url) as budgets:
            return {window.name: amount for window, amount, _ in budgets.windows(now=time.time())}

    make = [*become, programs["initdb"], "-D", str(data / "db"), "--auth=trust", "--username=crossgrade"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    start()
    try:
        yield Database("PostgreSQL", {"CROSSGRADE_DATABASE_URL": url}, pid, start, kill, spent)
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):  # it may be killed already
            kill()


def _postgresql_program(name: str) -> str:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(installed[-1]) if installed else None)
    if found is None:
        raise NotMeasured(f"not measured with PostgreSQL: `{name}` is not installed")
    return found
