"""CPU time of a call made by the runner, by Inspect and by promptfoo; resuming after `kill -9`."""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import _runner_peers as peers
from benchmarks._endpoint import counts, endpoint
from benchmarks._runner_client import MODELS, write_dataset
from benchmarks._table import Row

SAMPLES = 10_000
PROMPTFOO_SAMPLES = 2_000
"""promptfoo keeps every result in memory and rewrites its table as it goes: 10,000 take it too long."""

KILLS = 100

Client = Callable[[Path, str], tuple[list[str], Mapping[str, str]]]


def rows() -> list[Row]:
    """Three rows: our CPU time a call against each peer's, and the runs that were killed."""
    ours = _cpu_ms_per_call(_crossgrade, SAMPLES)
    inspect = _cpu_ms_per_call(peers.inspect, SAMPLES)
    ours_small = _cpu_ms_per_call(_crossgrade, PROMPTFOO_SAMPLES)
    promptfoo = _cpu_ms_per_call(peers.promptfoo, PROMPTFOO_SAMPLES)
    return [
        _ratio("Inspect", peers.inspect_version(), inspect, ours, SAMPLES),
        _ratio("promptfoo", peers.promptfoo_version(), promptfoo, ours_small, PROMPTFOO_SAMPLES),
        _killed(),
    ]


def _ratio(peer: str, version: str, theirs_ms: float, ours_ms: float, samples: int) -> Row:
    ratio = theirs_ms / ours_ms
    return {
        "figure": f"runner: CPU per call, {peer} divided by ours",
        "value": round(ratio, 1),
        "unit": "×",
        "must": "≥ 2",
        "aim": "≥ 10",
        "holds": ratio >= 2,
        "peers": {"ours": f"{ours_ms:.3f} ms", f"{peer} {version}": f"{theirs_ms:.3f} ms"},
        "conditions": f"{samples} samples, {len(MODELS)} models, exact match, every answer recorded; zero-delay "
        "loopback endpoint in a process of its own; user + system time of the client's whole process tree, "
        "start-up included; each tool's own default concurrency",
    }


def _killed() -> Row:
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks._kill9", str(KILLS)], check=True, capture_output=True, text=True
    )
    seen = json.loads(ran.stdout)
    return {
        "figure": "resume after `kill -9` at a random moment: answers lost / paid twice",
        "value": f"{seen['lost']} / {seen['paid_twice']}",
        "unit": f"in {seen['runs']} runs",
        "must": "0 / 0",
        "aim": "0 / 0",
        "holds": seen["lost"] == 0 == seen["paid_twice"],
        "conditions": f"{seen['kills']} kills with {seen['in_store_at_kill']} answers in the store; none of them was "
        f"requested again; {seen['sent_again']} requests in flight at a kill had to be sent again",
    }


def _crossgrade(folder: Path, base_url: str) -> tuple[list[str], Mapping[str, str]]:
    root = Path(__file__).parent.parent
    return [sys.executable, "-m", "benchmarks._runner_client", base_url, str(folder)], {
        "PYTHONPATH": str(root)
    }


def _cpu_ms_per_call(client: Client, samples: int) -> float:
    """User and system milliseconds of the client's process tree, divided by the calls that came."""
    with tempfile.TemporaryDirectory() as name, endpoint() as base_url:
        folder = Path(name)
        write_dataset(folder / "data.jsonl", samples)
        command, environment = client(folder, base_url)
        print(f"    {Path(command[0]).name}, {samples} samples", file=sys.stderr, flush=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            command, cwd=folder, env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seen = counts(base_url)
    calls = sum(seen.values())
    assert len(seen) == samples * len(MODELS), f"{len(seen)} different requests came"
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return 1000 * cpu_s / calls
