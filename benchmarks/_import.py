"""A million pairs from one long CSV file to a verdict: CPU time and peak memory of a whole process."""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._table import Row

PAIRS = 1_000_000
_REPEATS = 3
_CHILD = """
import json, resource, sys
from datetime import UTC, datetime
from crossgrade.decide import decide_policy
from crossgrade.workloads import pair, read_results
evidence = pair(read_results(sys.argv[1]), incumbent="incumbent", candidates=["candidate"])
decide_policy(evidence, now=datetime.now(UTC))
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([evidence.n, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


def _write(path: Path, layout: str) -> None:
    """Write two rows an item: side by side, model after model, or in random order."""
    draw = random.Random(1)
    rows = []
    for item in range(PAIRS):
        rows.append(f"item-{item:07d},incumbent,{draw.random() < 0.8:d}\n")
        rows.append(f"item-{item:07d},candidate,{draw.random() < 0.75:d}\n")
    if layout == "model after model":
        rows = rows[::2] + rows[1::2]
    if layout == "random order":
        draw.shuffle(rows)
    path.write_text("item_id,model,score\n" + "".join(rows), encoding="utf-8")


def _measure(path: Path) -> tuple[float, float]:
    """Return CPU seconds and peak MiB of a whole process, the least and the most of several."""
    found = []
    for _ in range(_REPEATS):
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, str(path)], capture_output=True, check=True, env=dict(os.environ)
        )
        pairs, seconds, mebibytes = json.loads(done.stdout)
        assert pairs == PAIRS
        found.append((seconds, mebibytes))
    return min(seconds for seconds, _ in found), max(mebibytes for _, mebibytes in found)


def rows() -> list[Row]:
    """Two rows a layout of the file: CPU seconds and peak resident memory."""
    table: list[Row] = []
    for layout in ("item by item", "model after model", "random order"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.csv"
            _write(path, layout)
            seconds, mebibytes = _measure(path)
        conditions = (
            f"CSV of 2,000,000 rows, {layout}; whole process, least CPU and most memory of {_REPEATS} runs"
        )
        for what, value, unit, must, aim in (
            ("CPU", seconds, "s", 10, 3),
            ("peak memory", mebibytes, "MiB", 1024, 400),
        ):
            table.append(
                {
                    "figure": f"import and decide 1M pairs, {layout}: {what}",
                    "value": round(value, 2 if unit == "s" else 0),
                    "unit": unit,
                    "must": f"≤ {must}",
                    "aim": f"≤ {aim}",
                    "holds": value <= must,
                    "conditions": conditions,
                }
            )
    return table
