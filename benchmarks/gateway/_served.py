"""A whole `crossgrade serve`, for benchmarks and end-to-end tests: its own project, its own processes."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.gateway._tools import free_port

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Served:
    """A running gateway: where it listens, a key that it takes, its project's folder and process."""

    url: str
    key: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", int(self.url.rpartition(":")[2])

    @property
    def workers(self) -> list[int]:
        """The process ids of its workers."""
        return children(self, b"crossgrade.gateway")

    def resident_bytes(self) -> int:
        """Return what the workers hold in memory."""
        page = os.sysconf("SC_PAGE_SIZE")
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in self.workers)


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def children(served: Served, module: bytes) -> list[int]:
    """Return the process ids of a gateway's processes that run a module."""
    return [pid for pid in descendants(served.process.pid) if module in _command_line(pid)]


def descendants(pid: int) -> list[int]:
    """Return the process ids below `pid`, however deep."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def command(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
    """Run one `crossgrade` command in the project's folder and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "crossgrade", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **(environ or {})},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def serving(
    folder: Path,
    config: Mapping[str, object],
    *,
    environ: Mapping[str, str] | None = None,
    key_options: tuple[str, ...] = (),
    key_name: str = "test",
    arguments: tuple[str, ...] = (),
) -> Iterator[Served]:
    """Write `config` as the project's crossgrade.yaml, serve it, and stop at the end.

    Ports are filled in. A key of `key_name` is made with `key_options`; `arguments` are serve's.
    """
    port = free_port()
    serve = {"port": port, "admin_port": free_port(), **config.get("serve", {})}  # type: ignore[dict-item]  # a mapping too
    with (folder / "crossgrade.yaml").open("w") as file:
        YAML(typ="safe").dump({**config, "serve": serve}, file)
    made = command(folder, "keys", "create", key_name, "--json", *key_options, environ=environ)
    key = json.loads(made)["secret"]
    with running(folder, port, key, *arguments, environ=environ) as served:
        yield served


@contextlib.contextmanager
def running(
    folder: Path, port: int, key: str, *arguments: str, environ: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """Run `crossgrade serve` with these arguments, which make it listen on `port`, until the end."""
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "crossgrade", "serve", *arguments],
            cwd=folder, stdout=log, stderr=log, env={**os.environ, **(environ or {})},
        )  # fmt: skip
    served = Served(f"http://127.0.0.1:{port}", key, folder, process)
    try:
        wait_until_ready(served)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            for pid in [*descendants(process.pid), process.pid]:
                os.kill(pid, signal.SIGKILL)
            raise


_METRICS_KEYS: dict[Path, str] = {}


def metrics_key(served: Served) -> str:
    """Return a key that reads the metrics, made at the first call."""
    if served.folder not in _METRICS_KEYS:
        made = json.loads(
            command(served.folder, "keys", "create", "prometheus", "--scope", "metrics", "--json")
        )
        _METRICS_KEYS[served.folder] = made["secret"]
    return _METRICS_KEYS[served.folder]


def metric(served: Served, name: str, **labels: str) -> float:
    """Add up the samples of a metric that have these labels (without `crossgrade_`)."""
    request = urllib.request.Request(
        f"{served.url}/metrics", headers={"authorization": f"Bearer {metrics_key(served)}"}
    )
    for _ in range(100):  # a worker may not know the key or have the broker's ear yet
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                lines = answer.read().decode().splitlines()
            break
        except urllib.error.HTTPError as error:
            error.close()
            time.sleep(0.05)
    else:
        raise AssertionError("the broker does not answer")
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    found = [line for line in lines if re.match(rf"{name}[{{ ]", line) and all(w in line for w in wanted)]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def records(served: Served) -> list[dict[str, Any]]:
    """Return the lines of the request log, oldest first, without what only the broker reads."""
    folder = served.folder / ".crossgrade" / "serve" / "requests"
    lines = [
        line
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text().rpartition("\n")[0].splitlines()  # the last may be half written
    ]
    return [record for record in map(json.loads, lines) if "id" in record]


def contents(folder: Path) -> dict[Path, bytes]:
    """Read every file below a folder, but for those that go while it looks."""
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found[path] = path.read_bytes()
    return found


def wait_until_ready(served: Served) -> None:
    """Wait until the gateway says that it is ready; fails with its log when it does not.

    A worker answers a moment before: only who waits for the line can count on what is said after it.
    """
    give_up = time.monotonic() + PATIENCE_S
    log = served.folder / "serve.log"
    while time.monotonic() < give_up and served.process.poll() is None:
        if "ready: http" in log.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())
