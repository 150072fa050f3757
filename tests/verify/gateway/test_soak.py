"""A long mixed load at half of saturation: memory stays flat, no connection leaks, nothing is lost.

CROSSGRADE_SOAK_S is its length in seconds, an hour by default. Loopback only.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from benchmarks.gateway._served import Served, descendants, metric, serving
from tests.verify.gateway.mixed_load import Load

SOAK_S = float(os.environ.get("CROSSGRADE_SOAK_S", "3600"))
CLIENTS = 32
SATURATE_S = 10.0
MOST_REQUESTS = 3_000_000
LOOK_S = 2.0
MOST_GROWN_MIB = 6.0
QUIET_S = 90.0
_UPSTREAM = Path(__file__).with_name("mixed_upstream.py")


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    """Run the upstream; gives its port."""
    process = subprocess.Popen([sys.executable, str(_UPSTREAM)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@pytest.fixture
def port() -> Iterator[int]:
    with upstream() as port:
        yield port


@pytest.fixture
def gateway(tmp_path: Path, port: int) -> Iterator[Served]:
    model = {
        "provider": "openai-compatible", "model": "m", "base_url": f"http://127.0.0.1:{port}/v1",
        "prices": [{"input_per_mtok": 1, "output_per_mtok": 2}],
    }  # fmt: skip
    config = {
        "models": {"steady": model, "shaky": {**model, "timeout_s": 5}},
        "routes": {"good": {"incumbent": "steady"}, "bad": {"incumbent": "shaky", "attempts": 1}},
        "serve": {
            "workers": 2,
            "limits": [
                {"scope": "key", "unit": "usd", "cap": 1_000_000, "per": "day"},
                {"scope": "route", "unit": "requests", "cap": 100_000_000, "per": "day"},
                {"scope": "key", "unit": "parallel", "cap": 10_000},
            ],
        },
    }
    with serving(tmp_path, config) as served:
        yield served


def resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_s(pids: list[int]) -> float:
    ticks = os.sysconf("SC_CLK_TCK")
    fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / ticks


def open_files(pids: list[int]) -> dict[int, int]:
    return {pid: len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids}


def quiet(port: int, pids: list[int], wanted: dict[int, int] | None = None) -> dict[int, int]:
    """Wait until no connection is kept to the upstream, and for the open files that are expected."""
    give_up = time.monotonic() + QUIET_S
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/open") as answer:
            still_open = int(answer.read())
        now = open_files(pids)
        if (still_open == 0 and wanted in (None, now)) or time.monotonic() > give_up:
            assert still_open == 0
            return now
        time.sleep(1)


async def soak(load: Load, rate: float, pids: list[int]) -> dict[int, list[int]]:
    """Run the load and look at the memory of the processes meanwhile."""
    seen: dict[int, list[int]] = {pid: [] for pid in pids}

    async def look() -> None:
        while True:
            for pid in pids:
                seen[pid].append(resident(pid))
            await asyncio.sleep(LOOK_S)

    looking = asyncio.create_task(look())
    await load.keep(rate, SOAK_S, MOST_REQUESTS)
    looking.cancel()
    return seen


def test_mixed_load_leaves_nothing_behind(gateway: Served, port: int) -> None:
    workers = gateway.workers
    pids = descendants(gateway.process.pid)
    load = Load(gateway.address, gateway.key)
    spent, began = cpu_s(workers), time.monotonic()
    most = asyncio.run(load.saturate(CLIENTS, SATURATE_S))
    busy_at_most = (cpu_s(workers) - spent) / (time.monotonic() - began)

    before = quiet(port, pids)

    rate = most / 2
    spent, began = cpu_s(workers), time.monotonic()
    load = Load(gateway.address, gateway.key, seed=2)
    seen = asyncio.run(soak(load, rate, pids))
    busy = (cpu_s(workers) - spent) / (time.monotonic() - began)

    print(
        f"\nsaturation of the machine, load included: {most:.0f} requests/s ({busy_at_most:.2f} cores of workers)"
    )
    print(
        f"{SOAK_S:.0f} s at {rate:.0f}/s ({busy:.2f} cores of workers): {load.done.total():,} requests, "
        f"{load.left_out:,} left out {dict(load.done)}"
    )
    grown = {}
    for pid, sizes in seen.items():
        tenth = max(1, len(sizes) // 10)
        course = [median(sizes[at : at + tenth]) / 2**20 for at in range(0, len(sizes) - tenth + 1, tenth)]
        grown[pid] = course[-1] - course[2]
        role = "worker" if pid in workers else "broker"
        print(f"MiB of {role} {pid}: {' '.join(f'{size:.1f}' for size in course)}")
    assert not load.wrong, load.wrong
    # Where others work on the machine too, the load generator falls behind its clock: then it was less load.
    assert load.left_out < load.done.total() / 3, "the machine is too busy: run it again on a quiet one"
    assert gateway.workers == workers, "a worker ended"
    assert max(grown.values()) < MOST_GROWN_MIB
    assert quiet(port, pids, before) == before
    assert metric(gateway, "crossgrade_limit_spent", unit="usd") > 0
    assert metric(gateway, "crossgrade_limit_spent", unit="parallel") == 0
    assert metric(gateway, "crossgrade_gateway_dropped_total") == 0
    assert "Traceback" not in (gateway.folder / "serve.log").read_text()
