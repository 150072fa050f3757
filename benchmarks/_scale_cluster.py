"""Runs whose models are asked from the nodes of a cluster: the same, whoever is slow, and whatever is killed.

`python -m benchmarks._scale_cluster kill TIMES [SEED]` kills drivers, desks and nodes and prints what it saw,
`same TIMES [SEED]` compares runs here and on clusters, `driver CALLS` measures what a call takes of the driver.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._endpoint import counts, endpoint
from benchmarks._kill9 import DELAY_S, SAMPLES, answers, drawn_moment, requests_in_store, run_id
from benchmarks._runner_client import write_dataset
from crossgrade.decide import evidence_digest
from crossgrade.project import Project
from crossgrade.testing import FakeProvider, ReceivedRequest, Reply

VICTIMS = ("driver", "desk", "node")
_MAKING = 300.0
_PROJECT = """\
models:
  old: {provider: openai-compatible, model: old-model, base_url: "URL", prices: [{input_per_mtok: 10, output_per_mtok: 30}]}
  new: {provider: openai-compatible, model: new-model, base_url: "URL", prices: [{input_per_mtok: 1, output_per_mtok: 3}]}
workloads:
"""
_WORKLOAD = """\
  NAME:
    dataset: data.jsonl
    prompt: {user: "Say {input}"}
    settings: {max_output_tokens: 8}
    scorer: {kind: exact}
    incumbent: old
    candidates: [new]
    mode: MODE
"""
_MODES = {"all": "fixed", "stopped": "sequential"}


@dataclass(slots=True)
class Nodes:
    """A cluster on this machine: a head, which stays, and `others`, which may be lost and added again."""

    cluster: Any
    address: str
    others: list[Any] = field(default_factory=list)

    def lose(self) -> None:
        """Kill a node with everything on it."""
        self.cluster.remove_node(self.others.pop(), allow_graceful=False)

    def fill(self, number: int) -> None:
        """Add nodes of one core until there are so many beside the head."""
        while len(self.others) < number:
            self.others.append(self.cluster.add_node(num_cpus=1))
        self.cluster.wait_for_nodes()


@contextmanager
def nodes(number: int) -> Iterator[Nodes]:
    """Start a cluster of so many nodes of one core, which clients reach at its address."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    head = {"num_cpus": 1, "ray_client_server_port": port}
    started = Nodes(Cluster(initialize_head=True, head_node_args=head), f"ray://127.0.0.1:{port}")
    try:
        started.fill(number - 1)
        yield started
    finally:
        started.cluster.shutdown()


def ran(url: str, folder: Path, on: str | None, run: str | None = None) -> "subprocess.Popen[str]":
    """Start a run of ours here (None), or on a cluster."""
    words = [sys.executable, "-m", "benchmarks._runner_client", url, str(folder)]
    words += [run] if run else []
    words += ["--on", on] if on else []
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


def kill_on_cluster(times: int, seed: int) -> dict[str, int]:
    """Kill so many drivers, desks and nodes at random moments, each in a run of its own; return the sums."""
    chance = random.Random(seed)
    total = dict.fromkeys(("kills", "lost", "paid_twice", "sent_again", "in_store_at_kill"), 0)
    total |= dict.fromkeys(VICTIMS, 0)
    with nodes(2) as cluster, endpoint(DELAY_S) as url:
        for number in range(times):
            with tempfile.TemporaryDirectory() as folder:
                for name, value in _one_run(url, Path(folder), cluster, chance, number).items():
                    total[name] += value
            cluster.fill(1)
    return total


def _one_run(url: str, folder: Path, cluster: Nodes, chance: random.Random, number: int) -> dict[str, int]:
    write_dataset(folder / "data.jsonl", SAMPLES, salt=f"run {number}")
    victim = VICTIMS[number % len(VICTIMS)]
    began = sum(counts(url).values())
    process = ran(url, folder, cluster.address)
    while process.poll() is None and sum(counts(url).values()) == began:
        time.sleep(0.05)
    has_come = drawn_moment(url, chance)
    while process.poll() is None and not has_come():
        time.sleep(0.005)
    killed = process.poll() is None
    kept, before, sent_before = answers(folder), requests_in_store(folder), counts(url)
    if killed:
        {"driver": process.kill, "desk": lambda: _kill_desk(chance), "node": cluster.lose}[victim]()
    _, said = process.communicate(timeout=_MAKING)
    if victim == "driver" and killed:
        process = ran(url, folder, cluster.address, run_id(folder))
        _, said = process.communicate(timeout=_MAKING)
    if process.returncode:
        raise RuntimeError(f"the run failed after the {victim} was killed: {said[-2000:]}")
    sent = counts(url)
    final = answers(folder)
    assert len(final) == 2 * SAMPLES, f"{len(final)} answers count at the end"
    return {
        "kills": int(killed),
        victim: int(killed),
        "lost": len(kept - final),
        "paid_twice": sum(sent[request] > sent_before[request] for request in before),
        "sent_again": sum(sent.values()) - began - 2 * SAMPLES,
        "in_store_at_kill": len(kept),
    }


def compared(times: int, seed: int) -> dict[str, int]:
    """Run a project here and on 1, 2 and 4 nodes so many times, with answers that are late at random.

    Return how many times everything was equal, and what of it.
    """
    chance = random.Random(seed)
    found: list[list[dict[str, Any]]] = [[] for _ in range(times)]
    with (
        FakeProvider(lambda request: _late(request, chance)) as fake,
        tempfile.TemporaryDirectory() as folder,
    ):
        workloads = (_WORKLOAD.replace("NAME", name).replace("MODE", mode) for name, mode in _MODES.items())
        config = _PROJECT.replace("URL", fake.base_url) + "".join(workloads)
        (Path(folder) / "crossgrade.yaml").write_text(config, encoding="utf-8")
        rows = (json.dumps({"input": f"{n}", "target": f"{n}"}) + "\n" for n in range(SAMPLES))
        (Path(folder) / "data.jsonl").write_text("".join(rows), encoding="utf-8")
        for number in (0, 1, 2, 4):
            with nodes(number) if number else nullcontext() as cluster:
                for at in range(times):
                    on = ["--on", cluster.address] if cluster else []
                    for name in _MODES:
                        found[at].append(_evaluated(Path(folder), name, on))
    whole = [[each for each in runs if each["workload"] == "all"] for runs in found]
    stopped = [[each for each in runs if each["workload"] == "stopped"] for runs in found]
    return {
        "runs": times,
        **{what: sum(_equal(runs, what) for runs in whole) for what in ("verdict", "digest", "bill")},
        "verdict, stopped early": sum(_equal(runs, "verdict") for runs in stopped),
        "bill, stopped early": sum(_equal(runs, "bill") for runs in stopped),
    }


def _equal(runs: list[dict[str, Any]], what: str) -> bool:
    return all(each[what] == runs[0][what] for each in runs)


def _late(request: ReceivedRequest, chance: random.Random) -> Reply:
    """Answer as two good models would, one request in thirty much later than the others."""
    n = int(request.prompt.split()[-1])
    delay_s = chance.uniform(0.2, 0.6) if chance.random() < 1 / 30 else chance.uniform(0, 0.02)
    return Reply("nothing" if request.model == "new-model" and n % 20 == 0 else str(n), delay_s=delay_s)


def _evaluated(folder: Path, name: str, on: list[str]) -> dict[str, Any]:
    """Evaluate a workload with an empty store; return its name and what must not depend on the cluster."""
    shutil.rmtree(folder / ".crossgrade", ignore_errors=True)
    words = [sys.executable, "-m", "crossgrade", "evaluate", name, "--yes", "--no-reuse", "--json", *on]
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder, env=environ)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return {"workload": name, **outcome(folder, json.loads(done.stdout)["verdict_id"])}


def outcome(folder: Path, verdict_id: str) -> dict[str, Any]:
    """Return what must not depend on where models are asked: verdict, digest of the evidence and bill.

    Times of answers are left out of the evidence, since they differ from run to run on one machine too.
    """
    with Project.open(folder / "crossgrade.yaml") as project:
        verdict = project.store.verdicts.get(verdict_id).verdict
        evidence = project.store.verdicts.evidence(verdict_id)
        spent = project.store.runs.totals(str(verdict.run_id)).spent_usd
    models = [
        replace(each, latency_ms=np.zeros(len(each.latency_ms)))
        for each in (evidence.incumbent, *evidence.candidates)
    ]
    evidence = replace(evidence, incumbent=models[0], candidates=tuple(models[1:]))
    retention = [(one.candidate, one.segment, one.retention, one.certified) for one in verdict.certificates]
    return {
        "verdict": repr((verdict.name, verdict.policy, retention)),
        "digest": evidence_digest(evidence),
        "bill": str(spent),
    }


def driver_cpu(calls: int, _seed: int) -> dict[str, float]:
    """Return the CPU milliseconds that a call takes of the process that was started, here and with Ray."""
    found = {}
    with nodes(2) as cluster, endpoint() as url:
        for name, on in (("here", None), ("started", "ray"), ("client", cluster.address)):
            times = []
            for at in range(3):
                with tempfile.TemporaryDirectory() as folder:
                    write_dataset(Path(folder) / "data.jsonl", calls // 2, salt=f"{name} {at}")
                    said, error = ran(url, Path(folder), on).communicate(timeout=_MAKING)
                    if not said:
                        raise RuntimeError(error[-2000:])
                    times.append(1000 * json.loads(said.splitlines()[-1])["cpu_s"] / calls)
            found[name] = min(times)
    return found


def _kill_desk(chance: random.Random) -> None:
    """Kill a process that asks models."""
    found = subprocess.run(["pgrep", "-f", "^ray::Desk"], capture_output=True, text=True, check=False)
    if desks := found.stdout.split():
        os.kill(int(chance.choice(desks)), signal.SIGKILL)


MAIN: dict[str, Callable[[int, int], Mapping[str, float]]] = {
    "kill": kill_on_cluster,
    "same": compared,
    "driver": driver_cpu,
}

if __name__ == "__main__":
    what, count, *seed = sys.argv[1:]
    print(json.dumps(MAIN[what](int(count), int(seed[0]) if seed else 1)))
