"""CPU time of `import crossgrade` and `crossgrade --help`, as whole processes."""

import os
import statistics
import subprocess
import sys

from benchmarks._table import Row

_REPEATS = 15


def _cpu_ms(command: list[str]) -> float:
    """Median user + system milliseconds of a child process, after one warm-up."""
    times = []
    for _ in range(_REPEATS + 1):
        before = os.times()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        times.append(
            1000
            * (after.children_user - before.children_user + after.children_system - before.children_system)
        )
    return statistics.median(times[1:])


def rows() -> list[Row]:
    """Two rows; the bare interpreter's share is stated in the conditions."""
    bare = _cpu_ms([sys.executable, "-c", "pass"])
    measured = {
        "CPU of `import crossgrade`": ([sys.executable, "-c", "import crossgrade"], 300, 120),
        "CPU of `crossgrade --help`": ([sys.executable, "-m", "crossgrade", "--help"], 150, 60),
    }
    found: list[Row] = []
    for figure, (command, must, aim) in measured.items():
        value = _cpu_ms(command)
        found.append(
            {
                "figure": figure,
                "value": round(value, 1),
                "unit": "ms",
                "must": f"≤ {must}",
                "aim": f"≤ {aim}",
                "holds": value <= must,
                "conditions": f"median of {_REPEATS} processes, user + system; a bare interpreter takes {bare:.0f} ms of it",
            }
        )
    return found
