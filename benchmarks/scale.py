"""Figures of more than one core and machine: `python -m benchmarks.scale [PART …]` writes docs/benchmarks/scale.md.

Speed-ups are ratios of wall times on an idle machine. Where cores are shared with other work, they are noise.
"""

import heapq
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import _scale_cluster
from benchmarks import _traffic_logs as logs
from benchmarks._scale_fleet import fleet_rows
from benchmarks._scale_load import saturation_rows
from benchmarks._scale_thousand import thousand_rows
from benchmarks._table import Row, measure_parts
from crossgrade.workloads.traffic.columns import LogColumns
from crossgrade.workloads.traffic.encoding import read_part
from crossgrade.workloads.traffic.parts import LogPart, ReadingOptions, log_parts
from crossgrade.workloads.traffic.reading import Reading

RECORDS = 1_000_000
SIMULATED = 100_000_000
NODES = 16
SAME_RUNS, KILLS, DRIVER_CALLS = 20, 50, 6_000
LINK_BYTES_S = 125e6
"""A network of 1 Gbit/s into the machine that puts parts together."""

_SCAN = "benchmarks._scale_scan"
_CLUSTER = "two Ray nodes of one core each on this machine, started before"


def _scanned(path: Path, *, texts: bool, where: str) -> dict[str, float]:
    """Scan a log in a process of its own; return wall and CPU seconds and the number of requests."""
    words = [sys.executable, "-m", _SCAN, str(path), "text" if texts else "no-text", where]
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=environ)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def scan_rows() -> list[Row]:
    """Return what a scan costs on one core, and how much faster it is on two and on two nodes."""
    rows: list[Row] = []
    load = f"{RECORDS:,} records; a load of {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the start"
    kinds: tuple[tuple[str, Callable[[Path, int], None], bool, float, float], ...] = (
        ("without texts", logs.own_records, False, 9, 4),
        ("with texts", logs.spend_logs, True, 30, 18),
    )
    for name, make, texts, must, aim in kinds:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "log.jsonl"
            make(path, RECORDS)
            os.sync()  # else the file is written to the disk while it is measured
            runs = {
                where: min(
                    (_scanned(path, texts=texts, where=where) for _ in range(2)), key=lambda run: run["wall"]
                )
                for where in ("1", "2", "ray")
            }
        assert all(run["n"] == RECORDS for run in runs.values())
        cpu = runs["1"]["cpu"]
        rows.append(
            {
                "figure": f"scan of 1M records {name}, one core, CPU",
                "value": cpu,
                "unit": "s",
                "must": f"<= {must:g}",
                "aim": f"<= {aim:g}",
                "holds": cpu <= must,
                "conditions": f"{load}; the better of 2 runs",
            }
        )
        for where, what, least, best in (
            ("2", "two processes", 1.7, 1.9),
            ("ray", "two Ray nodes", 1.5, 1.8),
        ):
            ratio = runs["1"]["wall"] / runs[where]["wall"]
            rows.append(
                {
                    "figure": f"scan of 1M records {name}, {what}: speed-up",
                    "value": ratio,
                    "unit": "×",
                    "must": f">= {least}",
                    "aim": f">= {best}",
                    "holds": ratio >= least,
                    "conditions": f"{load}; wall time of the scan, the better of 2 runs each, "
                    f"{runs['1']['wall']:.1f} s on one core; {_CLUSTER if where == 'ray' else 'same machine'}",
                }
            )
    return rows


def simulated_rows() -> list[Row]:
    """Return how much of sixteen nodes a scan would use, from what one part costs here."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        logs.spend_logs(path, 60_000)
        options = ReadingOptions()
        found = [_cost(part, options) for part in list(log_parts([path], options))[:-1]]
    requests = statistics.mean(n for n, _, _, _ in found)
    parts = round(SIMULATED / requests)
    share = statistics.mean(_share(found, parts, seed) for seed in range(5))
    read, taken = (statistics.mean(each[at] for each in found) for at in (1, 2))
    return [
        {
            "figure": "scan of 100M records on 16 simulated nodes of one core: share of ideal",
            "value": share,
            "unit": "",
            "must": ">= 0.8",
            "aim": ">= 0.95",
            "holds": share >= 0.8,
            "conditions": f"{parts:,} parts of {requests:,.0f} records with texts; measured here: {read:.2f} s to read "
            f"a part, {taken * 1000:.1f} ms to take it in, {found[0][3] / 1e6:.1f} MB to send over 1 Gbit/s; one "
            "node in eight at half its speed, one part in a hundred ten times as slow; workloads are found after "
            "that, in the same time for any number of nodes; mean of 5 runs",
        }
    ]


def _cost(part: LogPart, options: ReadingOptions) -> tuple[int, float, float, int]:
    """Return a part's requests, the CPU seconds to read it and to take it in, and its bytes as columns."""
    began = time.process_time()
    found = read_part(part, options)
    read = time.process_time() - began
    columns = LogColumns()
    try:
        began = time.process_time()
        columns.fill(Reading(files=[part.path]), lambda _function, _parts: [found])
        taken = time.process_time() - began
    finally:
        columns.close()
    return found.n, read, taken, sum(column.nbytes for column in found.columns.values())


def _share(found: list[tuple[int, float, float, int]], parts: int, seed: int) -> float:
    """Return the work of reading, over what the nodes could have done until the last part was taken in."""
    rng = random.Random(seed)
    slow = {node for node in range(NODES) if rng.random() < 1 / 8}
    free = [(0.0, node) for node in range(NODES)]
    heapq.heapify(free)
    ends: list[tuple[float, float]] = []
    work = 0.0
    for _ in range(parts):
        _, read, taken, size = rng.choice(found)
        at, node = heapq.heappop(free)
        pace = (2 if node in slow else 1) * (10 if rng.random() < 0.01 else 1)
        work += read
        heapq.heappush(free, (at + read * pace, node))
        ends.append((at + read * pace + size / LINK_BYTES_S, taken))
    merged = 0.0
    for end, taken in ends:  # parts are taken in by their order
        merged = max(merged, end) + taken
    capacity = sum(0.5 if node in slow else 1.0 for node in range(NODES))
    return work / (capacity * merged)


def same_rows() -> list[Row]:
    """Return whether a run's verdict, evidence and bill are the same here and on clusters."""
    found = _scale_cluster.compared(SAME_RUNS, 1)
    conditions = (
        f"{_scale_cluster.SAMPLES} samples of two models over HTTP, here and on 1, 2 and 4 Ray nodes, one answer in "
        "thirty up to 0.6 s late; evidence without the times of answers, which differ here too"
    )
    whole = min(found[name] for name in ("verdict", "digest", "bill"))
    return [
        {
            "figure": f"verdict, evidence digest and bill equal here and on clusters, runs of {SAME_RUNS}",
            "value": whole,
            "unit": "",
            "must": f">= {SAME_RUNS}",
            "aim": f">= {SAME_RUNS}",
            "holds": whole >= SAME_RUNS,
            "conditions": f"mode fixed, so that everything is asked; {conditions}",
        },
        *(
            {
                "figure": f"{what} equal where the run stops early, runs of {SAME_RUNS}",
                "value": found[f"{what}, stopped early"],
                "unit": "",
                "conditions": f"{why}; {conditions}",
            }
            for what, why in (
                ("verdict", "name, policy and every test"),
                ("bill", "what was under way at the stop is paid for, here too"),
            )
        ),
    ]


def kill_rows() -> list[Row]:
    """Return what kills of drivers, desks and nodes lose."""
    found = _scale_cluster.kill_on_cluster(KILLS, 1)
    kinds = ", ".join(f"{found[name]} of a {name}" for name in _scale_cluster.VICTIMS)
    return [
        {
            "figure": f"stored answers {what} after {KILLS} kills on a cluster",
            "value": found[name],
            "unit": "",
            "must": "<= 0",
            "aim": "<= 0",
            "holds": found[name] == 0,
            "conditions": f"SIGKILL at random moments: {kinds}; {found['in_store_at_kill']:,} answers were in the "
            f"store then; {found['sent_again']:,} requests that were under way were sent again",
        }
        for what, name in (("lost", "lost"), ("paid for twice", "paid_twice"))
    ]


def driver_rows() -> list[Row]:
    """Return the CPU time that a call takes of the driver, over that of one machine."""
    found = _scale_cluster.driver_cpu(DRIVER_CALLS, 1)
    return [
        {
            "figure": f"CPU of the driver per call under Ray, over one machine, {what}",
            "value": found[name] / found["here"],
            "unit": "×",
            "must": "<= 2",
            "aim": "<= 1.3",
            "holds": found[name] <= 2 * found["here"],
            "conditions": f"{DRIVER_CALLS:,} calls of an endpoint that answers at once; {found['here']:.2f} ms here, "
            f"{found[name]:.2f} ms under Ray, all threads of the process; the best of 3 runs",
        }
        for name, what in (("started", "`--on ray`"), ("client", "`--on ray://…`"))
    ]


PARTS: dict[str, Callable[[], list[Row]]] = {
    "scan": scan_rows,
    "simulated": simulated_rows,
    "same": same_rows,
    "kill": kill_rows,
    "driver": driver_rows,
    "saturation": saturation_rows,
    "fleet": fleet_rows,
    "thousand": thousand_rows,
}


if __name__ == "__main__":
    measure_parts("scale", PARTS, sys.argv[1:], ("crossgrade", "numpy", "psycopg", "ray", "redis"))
