"""The mock upstream and the load generator (C, compiled at run time), request bodies, ports, cores."""

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

_SOURCES = Path(__file__).parent / "tools"
_CORES = sorted(os.sched_getaffinity(0))
GATEWAY_CORE = _CORES[0]
LOAD_CORE = _CORES[-1]
"""The upstream and the load generator share it; the gateway has the other to itself."""

EVENTS = 51
"""Events of the mock's stream: 50 and [DONE]."""

BIG_BYTES = 40_000_000
_RAISED = -10
_TEXT = "The quick brown fox jumps over the lazy dog and keeps running. "


class Percentiles(TypedDict):
    """Of a time in microseconds, counted from the moment at which the request was due."""

    p50: float
    p90: float
    p99: float
    p100: float


class Load(TypedDict):
    """What the load generator saw."""

    answers: int
    broken: int
    not_200: int
    events: int
    seconds: float
    first_us: Percentiles
    whole_us: Percentiles


def compile_tools(folder: Path) -> None:
    """Compile both tools into the folder."""
    for name in ("mock_upstream", "loadgen"):
        subprocess.run(["cc", "-O2", "-o", folder / name, _SOURCES / f"{name}.c"], check=True)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(command: Sequence[str], core: int, **options: Any) -> "subprocess.Popen[bytes]":
    """Start a process that stays on the core and, where that is permitted, goes before this machine's other work."""
    process = subprocess.Popen(["taskset", "-c", str(core), *command], start_new_session=True, **options)
    put_first(process.pid)
    return process


def put_first(pid: int) -> None:
    """Let a process go before this machine's other work; a session that it opens later is one by itself."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, _RAISED)
        Path(f"/proc/{pid}/autogroup").write_text(str(_RAISED))


@contextlib.contextmanager
def upstream(folder: Path) -> Iterator[int]:
    """Run the mock upstream; gives its port."""
    port = free_port()
    process = start([str(folder / "mock_upstream"), str(port)], LOAD_CORE)
    try:
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.01)
        yield port
    finally:
        process.kill()
        process.wait()


def load(
    folder: Path, port: int, path: str, headers: Sequence[str], file: Path, options: Sequence[str]
) -> Load:
    """Run the load generator once."""
    command = [str(folder / "loadgen"), "-p", str(port), "-u", path, "-b", str(file)]
    for header in headers:
        command += ["-H", header]
    with start([*command, *options], LOAD_CORE, stdout=subprocess.PIPE) as process:
        printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, f"the load generator ended with {process.returncode}"
    seen: Load = json.loads(printed)
    return seen


def body(
    folder: Path,
    naming: str,
    model: str,
    *,
    stream: bool = False,
    big: bool = False,
    model_last: bool = False,
) -> Path:
    """A file with a chat request; `naming` says how a server calls the upstream's model, `big` makes it 40 MB."""
    content = (
        _TEXT * (BIG_BYTES // len(_TEXT)) if big else "Tell me something about the quick brown fox, please."
    )
    name = {"model": naming.format(model)}
    rest = {
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": content},
        ],
        "max_tokens": 128,
        "temperature": 0,
        **({"stream": True} if stream else {}),
    }
    kind = f"{'stream' if stream else 'json'}{'-big' if big else ''}{'-last' if model_last else ''}"
    file = folder / f"{name['model'].replace(':', '_')}.{kind}.json"
    if not file.exists():
        ordered = rest | name if model_last else name | rest
        file.write_text(json.dumps(ordered, separators=(",", ":")), encoding="utf-8")
    return file
