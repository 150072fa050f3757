"""What a fleet of gateways runs out of first, from what a request costs each process here.

A gateway's workers share a machine with one broker, which writes the request log. The rest is arithmetic over a
machine whose size is stated, and a simulation of how busy a worker may be before requests wait for it.
"""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks._table import Row
from benchmarks.gateway._ours import crossgrade_serve
from benchmarks.gateway._server import Server
from benchmarks.gateway._tools import body, compile_tools, load, upstream

RATES = (10_000, 100_000, 1_000_000)
CORES, NETWORK_BYTES_S, DISK_BYTES_S = 16, 1.25e9, 500e6
MACHINE = f"{CORES} cores, 10 Gbit/s, a disk that writes 500 MB/s"
REQUEST_BYTES = 4 * (2_000 + 4_000)
"""A prompt of 500 tokens and an answer of 1,000, each received and sent on."""

CORE_HOUR_USD = 0.04
MOST_WAIT_S = 0.005
WARM, REQUESTS, ROUNDS, SEED = 3_000, 60_000, 3, 20261128
ARRIVALS = 2_000_000
_ROLES = {"worker": b"crossgrade.gateway", "broker": b"crossgrade.serve.broker"}


def saturation_rows() -> list[Row]:
    """Return what a request costs, how busy a worker may be, and what each rate needs."""
    cost_s, logged = _costs()
    busy = most_busy(cost_s["worker"])
    costs = (
        f"CPU a request: {1e6 * cost_s['worker']:.1f} µs in a worker, {1e6 * cost_s['broker']:.1f} µs in its broker, "
        f"{logged:.0f} bytes of request log; the lowest of {ROUNDS} rounds of {REQUESTS:,} JSON requests, 64 connections"
    )
    rows: list[Row] = [
        {
            "figure": "how busy a worker may be before one request in a hundred waits 5 ms for it",
            "value": busy,
            "unit": "of its time",
            "conditions": f"simulated: {ARRIVALS:,} requests that arrive in bursts of 4 on average; {costs}",
        }
    ]
    for rate in RATES:
        needs = machines(rate, cost_s, logged, busy)
        first = max(needs, key=lambda name: needs[name])
        cores = rate * sum(cost_s.values()) / busy
        rows.append(
            {
                "figure": f"machines for {rate:,} requests a second",
                "value": max(needs.values()),
                "unit": "",
                "conditions": f"{first} saturates first; machines that each part needs: "
                f"{', '.join(f'{name} {value:.2f}' for name, value in needs.items())}; a machine has {MACHINE}; "
                f"{cores:.1f} cores in use, ${cores * CORE_HOUR_USD * 730:,.0f} a month at ${CORE_HOUR_USD} a core and "
                f"hour; {rate * logged * 86_400 / 1e12:.2f} TB of request log a day; plain chat without TLS, judges, "
                "guards or audits",
            }
        )
    return rows


def machines(rate: float, cost_s: dict[str, float], logged: float, busy: float) -> dict[str, float]:
    """Return how many machines each part needs for a rate, as fractions; at least one machine serves."""
    return {
        "workers": rate * cost_s["worker"] / (busy * (CORES - 1)),
        "the broker": rate * cost_s["broker"] / busy,
        "the network": rate * REQUEST_BYTES / (0.7 * NETWORK_BYTES_S),
        "the disk": rate * logged / (0.7 * DISK_BYTES_S),
    }


def most_busy(service_s: float) -> float:
    """Return the highest share of a worker's time at which the 99th percentile of waits is below 5 ms."""
    best = 0.0
    for busy in np.arange(0.3, 0.99, 0.01):
        if waits(float(busy), service_s) <= MOST_WAIT_S:
            best = float(busy)
    return best


def waits(busy: float, service_s: float) -> float:
    """Return the 99th percentile of the seconds that a request waits for a worker that is busy so much.

    Bursts come at random, with sizes of a geometric distribution; Lindley's recursion over all arrivals.
    """
    rng = np.random.default_rng(SEED)
    sizes = rng.geometric(1 / 4, ARRIVALS // 4)
    gaps = np.zeros(int(sizes.sum()))
    gaps[np.cumsum(sizes) - sizes] = rng.exponential(4 * service_s / busy, len(sizes))
    steps = service_s * rng.exponential(1.0, len(gaps))
    walk = np.concatenate([[0.0], np.cumsum(steps[:-1] - gaps[1:])])
    return float(np.quantile(walk - np.minimum.accumulate(walk), 0.99))


def _costs() -> tuple[dict[str, float], float]:
    """Return CPU seconds of a request by role, and the bytes that are written to the log for it."""
    with TemporaryDirectory(prefix="bench-scale-") as scratch:
        folder = Path(scratch)
        compile_tools(folder)
        with upstream(folder) as port, Server(crossgrade_serve(folder, port), folder) as server:
            target = server.target
            file = body(folder, target.model, "mock")

            def ask(number: int) -> None:
                options = ["-c", "64", "-n", str(number), "-d", "60"]
                seen = load(folder, server.port, target.path, target.headers, file, options)
                assert seen["answers"] >= number
                assert not seen["broken"] + seen["not_200"]

            ask(WARM)
            found: list[dict[str, float]] = []
            before_bytes = _logged(folder)
            for _ in range(ROUNDS):
                before = _used(server)
                ask(REQUESTS)
                time.sleep(1.0)  # the last flush is written
                after = _used(server)
                found.append({role: (after[role] - before[role]) / REQUESTS for role in _ROLES})
            logged = (_logged(folder) - before_bytes) / (ROUNDS * REQUESTS)
    return {role: min(each[role] for each in found) for role in _ROLES}, logged


def _used(server: Server) -> dict[str, float]:
    """Return the CPU seconds of a gateway's processes by role."""
    used = dict.fromkeys(_ROLES, 0.0)
    for pid in server.pids:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        for role, module in _ROLES.items():
            if module in words.split(b"\0"):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                used[role] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


def _logged(folder: Path) -> int:
    """Return the bytes of the request log."""
    return sum(path.stat().st_size for path in folder.glob("crossgrade/.crossgrade/serve/requests/*.jsonl"))
