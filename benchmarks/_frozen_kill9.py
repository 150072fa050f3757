"""`kill -9` of `crossgrade freeze` while it buys: `python -m benchmarks._frozen_kill9 TIMES [SEED]` prints JSON.

TIMES is the number of kills. A freeze is killed once or more and started again until it has sealed.
*Lost*: answers that were in the store at a kill and are not there at the end, and planned ones that
the baseline lacks. *Paid twice*: answers that were in the store at a kill and whose request reached
the endpoint again afterwards. A request in flight at the kill was never acknowledged, so it has to be
sent again. Such repeats are counted apart.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks._endpoint import counts, endpoint
from benchmarks._kill9 import DELAY_S, drawn_moment
from benchmarks._table import Row
from crossgrade.domain import ScorerSpec
from crossgrade.evaluate import build_scorer
from crossgrade.stats import proportion_interval
from crossgrade.store import Baseline, Store

KILLS, SEED = 100, 1
SAMPLES = 360
WORKLOAD = "bench"
_KILLS_A_PROJECT = 2
_USUAL_CALLS = 340
_LATER_S = 0.4
"""A kill comes up to this long after a number of requests that is drawn at random: also while it plans and seals."""

_CONFIG = """\
models:
  incumbent: {{provider: openai-compatible, model: incumbent, base_url: "{url}"}}
  candidate: {{provider: openai-compatible, model: candidate, base_url: "{url}"}}
workloads:
  {workload}:
    dataset: data.jsonl
    id_field: id
    prompt: {{user: "{{input}}"}}
    settings: {{max_output_tokens: 8}}
    scorer: {{kind: exact}}
    incumbent: incumbent
    candidates: [candidate]
"""


@dataclass(slots=True, kw_only=True)
class Killed:
    """What came of freezes that were killed: counts over `projects`, each of which was sealed in the end.

    `unclean` are the baselines that `crossgrade freeze verify` then found a fault with.
    """

    projects: int = 0
    kills: int = 0
    in_store_at_kill: int = 0
    lost: int = 0
    paid_twice: int = 0
    sent_again: int = 0
    sealed: int = 0
    unclean: int = 0

    def add(self, other: "Killed") -> None:
        """Add the counts of another."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


def kill_and_freeze(times: int, seed: int) -> Killed:
    """Kill a freeze at least so many times in all; returns the sums over the projects that it took."""
    chance, total = random.Random(seed), Killed()
    with endpoint(DELAY_S) as url:
        while total.kills < times:
            with tempfile.TemporaryDirectory() as folder:
                total.add(_one_project(url, Path(folder), chance, total.projects))
    return total


def rows() -> list[Row]:
    """One row: what was lost, and what was paid for twice."""
    seen = kill_and_freeze(KILLS, SEED)
    again = proportion_interval(seen.paid_twice, seen.in_store_at_kill)
    return [
        {
            "figure": "`kill -9` of `crossgrade freeze` at a random moment: answers lost / paid twice",
            "value": f"{seen.lost} / {seen.paid_twice}",
            "unit": f"in {seen.kills} kills",
            "must": "0 / 0",
            "aim": "0 / 0",
            "holds": seen.lost == 0 == seen.paid_twice and not seen.unclean,
            "conditions": f"{seen.in_store_at_kill:,} answers in the store at a kill, of which at most "
            f"{again.high:.3%} are paid for twice (95 % Wilson interval); {seen.sent_again:,} requests in flight at "
            f"a kill had to be sent again; each of {seen.projects} projects was frozen again until it had sealed, "
            f"{seen.sealed:,} answers in all, and `freeze verify` found a fault with {seen.unclean}; a process of its "
            f"own each time, loopback endpoint, answers after {1000 * DELAY_S:.0f} ms; moments from the start to the "
            f"seal, seed {SEED}",
        }
    ]


def write_project(folder: Path, url: str, *, salt: str) -> None:
    """Write a project whose incumbent answers four of five questions as its dataset wants them answered."""
    (folder / "crossgrade.yaml").write_text(_CONFIG.format(url=url, workload=WORKLOAD), encoding="utf-8")
    rows = (
        {
            "id": str(n),
            "input": f"{salt} question {n}: is water wet? Answer yes or no.",
            "target": "yes" if n % 5 else "no",
        }
        for n in range(SAMPLES)
    )
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _one_project(url: str, folder: Path, chance: random.Random, number: int) -> Killed:
    write_project(folder, url, salt=f"run {number}")
    kept: set[str] = set()
    seen = Killed(projects=1)
    while sealed(folder) is None:
        before = requests_in_store(folder)
        sent_before = counts(url)
        kill = seen.kills < _KILLS_A_PROJECT
        later_s = chance.uniform(0, _LATER_S) * chance.random() ** 2
        moment = drawn_moment(url, chance, calls=_USUAL_CALLS, later_s=later_s)
        killed = _freeze(folder, moment if kill else None)
        sent = counts(url)
        seen.paid_twice += sum(sent[request] > sent_before[request] for request in before)
        if killed:
            seen.kills += 1
            kept |= requests_in_store(folder)
    mine = [times for request, times in counts(url).items() if f"run {number} " in request]
    baseline = sealed(folder)
    assert baseline is not None
    planned = sum(baseline.design.pairs_at(at) for at in range(len(baseline.samples)))
    seen.in_store_at_kill = len(kept)
    seen.lost = len(kept - requests_in_store(folder)) + planned - baseline.answered
    seen.sent_again = sum(mine) - len(mine)
    seen.sealed = baseline.answered
    seen.unclean = int(_crossgrade(folder, "freeze", "verify", WORKLOAD).wait() != 0)
    return seen


def _freeze(folder: Path, moment: Callable[[], bool] | None) -> bool:
    """Freeze in a process of its own; returns whether it was killed."""
    process = _crossgrade(folder, "freeze", WORKLOAD, "--version", "bench", "--yes")
    while moment is not None and process.poll() is None:
        if moment():
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    code = process.wait()
    if code not in {0, -signal.SIGKILL}:
        raise RuntimeError(f"the freeze ended with {code}")
    return code != 0


def _crossgrade(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "crossgrade", *arguments],
        cwd=folder,
        env=os.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def sealed(folder: Path) -> Baseline | None:
    """Return the baseline of a project, None before it is sealed."""
    path = folder / ".crossgrade" / "crossgrade.db"
    if not path.exists():
        return None
    with Store.open(path) as store:
        return store.baselines.newest(WORKLOAD)


def requests_in_store(folder: Path) -> set[str]:
    """Return the requests whose answers the store has, as the endpoint names them."""
    path = folder / ".crossgrade" / "crossgrade.db"
    if not path.exists():
        return set()
    rows = map(json.loads, (folder / "data.jsonl").read_text(encoding="utf-8").splitlines())
    texts = {row["id"]: row["input"] for row in rows}
    scorer = build_scorer(ScorerSpec(kind="exact")).digest
    with Store.open(path) as store:
        return {
            f"{model} {texts[sample_id]}"
            for run in store.runs.recent(WORKLOAD)
            for (sample_id, model, _), answer in store.answers.of_run(run.id, scorer).items()
            if answer.response
        }


if __name__ == "__main__":
    print(
        json.dumps(asdict(kill_and_freeze(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else SEED)))
    )
