"""Distilling the demo's failing segment, and trainings that are killed at random moments.

Needs the extra `distil` and both of the demo's local models.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from benchmarks._gap_demo import CANDIDATE, WORKLOAD, bounds_words, demo_folder
from benchmarks._table import Row
from crossgrade.decide import Verdict
from crossgrade.domain import ModelRequest, Sample
from crossgrade.project import Distilled, DistilOptions, DistilPlan, Project
from crossgrade.providers import find_model, usable_cores
from crossgrade.tuning import Training, TrainingSettings, read_base, training_set
from crossgrade.tuning._checkpoints import Checkpoints

KILLS = 20
_SEED = 20261129
_SHORT = TrainingSettings(steps=60, batch=1, max_tokens=128, save_every=3, rank=4)


def distil_rows() -> list[Row]:
    """Return what distilling the routing of tickets comes to: retention, CPU-minutes, leaks."""
    with tempfile.TemporaryDirectory() as name, Project.open(demo_folder(Path(name))) as project:
        first = project.decide(WORKLOAD, run_id=project.evaluate(WORKLOAD).run_id).verdict
        settings = replace(DistilOptions().training, steps=40, threads=usable_cores())
        plan = project.distil.plan(WORKLOAD, CANDIDATE, DistilOptions(training=settings))
        found = project.distil.run(plan)
        closed = {*plan.basis.split.certification, *plan.basis.split.reserved}
        by_id = {each.id: each for each in plan.training}
        learned = [by_id[each.sample_id] for each in found.training_set.examples]
        leaks = plan.near(plan.basis.workload, learned) | (closed & {each.id for each in learned})
        return _rows(plan, first, found, len(leaks))


def _rows(plan: DistilPlan, first: Verdict, found: Distilled, leaks: int) -> list[Row]:
    trained, checked, basis = found.trained, found.checked, plan.basis
    conditions = (
        f"SmolLM2-135M-Instruct against Gemma 3 270M; {len(found.training_set.examples)} labelled tickets, "
        f"{trained.steps} steps of LoRA; {checked.items} other tickets: {checked.before} before, "
        f"{checked.after} after, incumbent {checked.incumbent}; round {basis.number} of "
        f"{basis.workload.rounds} at {100 * basis.rate:g} %"
    )
    after = None if found.verdict is None else found.verdict.verdict
    tested = "no gain, not tested" if after is None else f"{after.name}: {bounds_words(after)}"
    return [
        {
            "figure": "distil on the demo's failing segment: retention before and after, with bounds",
            "value": f"{bounds_words(first)} before; {tested}",
            "must": "reported",
            "aim": "certified in 20 CPU-minutes",
            "holds": True,
            "conditions": conditions,
        },
        {
            "figure": "distil on the demo's failing segment: CPU-minutes of the training",
            "value": round(trained.cpu_seconds / 60, 1),
            "unit": "CPU-min",
            "must": "reported",
            "aim": "<= 20",
            "holds": True,
            "conditions": f"{plan.estimate.wall_words} estimated before; {(trained.memory_bytes or 0) / 2**30:.1f} "
            f"GiB of memory at most, {plan.estimate.memory_bytes / 2**30:.1f} estimated; {settings_words(plan)}",
        },
        {
            "figure": "certification items or near-copies in the training set",
            "value": leaks,
            "must": "0",
            "aim": "0",
            "holds": leaks == 0,
            "conditions": f"{len(found.training_set.examples)} examples",
        },
    ]


def settings_words(plan: DistilPlan) -> str:
    """Return how an adapter is trained, in words."""
    used = plan.options.training
    return f"rank {used.rank}, batches of {used.batch}, {used.threads} threads"


def interruption_rows() -> list[Row]:
    """Return how many steps beyond the newest checkpoint a training lost that was killed 20 times."""
    random.seed(_SEED)
    home = Path(tempfile.mkdtemp())
    try:
        lost, missing, parts = _killed(home / "killed")
        _train(home / "whole")
        same = _adapter(home / "killed").read_bytes() == _adapter(home / "whole").read_bytes()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return [
        {
            "figure": "interrupted training resumed at random moments, 20 times: steps lost beyond the last checkpoint",
            "value": lost + missing,
            "must": "0",
            "aim": "0",
            "holds": lost + missing == 0 and same,
            "conditions": f"kill -9 of the child or of its parent; {parts} parts; a checkpoint every "
            f"{_SHORT.save_every} of {_SHORT.steps} steps; the adapter "
            f"{'is the same to the last bit as' if same else 'DIFFERS from'} that of an uninterrupted training",
        }
    ]


def _killed(home: Path) -> tuple[int, int, int]:
    """Kill a training at random moments; return steps lost, checkpoints missing, and parts."""
    lost, missing, kills, told = 0, 0, 0, 0
    while True:
        newest = Checkpoints(_folder(home)).newest() if _folder(home).is_dir() else 0
        due = told // _SHORT.save_every * _SHORT.save_every
        missing += max(0, due - newest)
        driver = subprocess.Popen(
            (sys.executable, "-m", "benchmarks._gap_distil", str(home)), stdout=subprocess.PIPE, text=True
        )
        assert driver.stdout is not None
        after = random.choice((0, 1, 2, 3, 4))
        for line in driver.stdout:
            step, resumed = map(int, line.split())
            if step == resumed + 1:
                lost += newest - resumed
            told = step
            if kills < KILLS and step - resumed > after:
                time.sleep(random.random())
                _kill(driver.pid, child=kills % 2 == 0)
                kills += 1
                break
        driver.stdout.close()
        driver.kill()
        driver.wait()
        if kills >= KILLS and _adapter(home).exists():
            return lost, missing, kills + 1


def _kill(pid: int, *, child: bool) -> None:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if child else []
    for each in (*map(int, children), *([] if child else [pid])):
        os.kill(each, signal.SIGKILL)


def _training(home: Path) -> Training:
    model = find_model(CANDIDATE)
    assert model is not None
    base = read_base(Path(model.path), sha256=model.sha256)
    rows = [
        json.loads(line)
        for line in (files("crossgrade") / "data/demo/support.jsonl").read_text().splitlines()
    ]
    samples = [
        Sample(id=row["id"], fields=row, target=row["target"]) for row in rows if row["segment"] == "routing"
    ]
    examples = training_set(
        samples,
        lambda sample: ModelRequest(model=CANDIDATE, text=f"{sample.fields['ticket']} =>"),
        {sample.id: str(sample.target) for sample in samples},
        origin="label",
        near=lambda _: (),
    )
    return Training(base, examples, _SHORT, home=home, stops=("\n",))


def _folder(home: Path) -> Path:
    return _training(home).folder


def _adapter(home: Path) -> Path:
    return _training(home).adapter_path


def _train(home: Path) -> None:
    _training(home).run(on_progress=lambda at: print(at.step, at.resumed_from, flush=True))


if __name__ == "__main__":
    _train(Path(sys.argv[1]))
