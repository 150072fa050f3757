"""Porting the prompt of the demo's failing segment: routing of tickets, with two real local models."""

import json
import tempfile
import time
from importlib.resources import files
from pathlib import Path

from benchmarks._table import Row
from crossgrade.decide import Verdict
from crossgrade.project import Ported, PortOptions, Project

CANDIDATE = "smollm2-135m-instruct"
WORKLOAD = "routing"
OPTIONS = PortOptions(variants=12, development=60)
"""As in `make demo-gap`: about 450 calls of less than a CPU-second each."""


def demo_folder(folder: Path) -> Path:
    """Write the project of the demo's routing tickets, as `make demo-gap` does; return its configuration."""
    demo = files("crossgrade") / "data" / "demo"
    rows = [
        line
        for each in ("support.jsonl", "more-routing.jsonl")
        for line in (demo / each).read_text(encoding="utf-8").splitlines()
        if json.loads(line)["segment"] == WORKLOAD
    ]
    (folder / "routing.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    config = folder / "crossgrade.yaml"
    config.write_text((demo / "gap.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    return config


def port_rows() -> list[Row]:
    """Port the prompt of the demo's failing segment; report what came of it."""
    with tempfile.TemporaryDirectory() as name, Project.open(demo_folder(Path(name))) as project:
        first = project.decide(WORKLOAD, run_id=project.evaluate(WORKLOAD).run_id).verdict
        plan = project.porting.plan(WORKLOAD, CANDIDATE, OPTIONS)
        cpu, began = time.process_time(), time.monotonic()
        found = project.porting.port(plan)
        took = time.monotonic() - began
    best = next(each for each in found.trials if each.is_best)
    developed = (
        "not measured"
        if found.before is None or found.after is None
        else f"{found.before:.2f} to {found.after:.2f} on {plan.scored} development items"
    )
    return [
        {
            "figure": "port on the demo's failing segment, local 135M model: retention before and after, with bounds",
            "value": f"{bounds_words(first)} before; {_tested(found)}",
            "must": "reported",
            "aim": "certified",
            "holds": True,
            "conditions": f"SmolLM2-135M-Instruct against Gemma 3 270M; {len(found.trials)} prompts, {developed}; "
            f"the best: {best.name}; round {plan.basis.number} of {plan.basis.workload.rounds} at "
            f"{100 * plan.basis.rate:g} %",
        },
        {
            "figure": "port on the demo's failing segment: calls of the search",
            "value": f"{found.calls:,} made, {found.reused:,} paid for before",
            "must": "reported",
            "holds": True,
            "conditions": f"{took:,.0f} s with the test, {time.process_time() - cpu:,.0f} CPU-s beside the model's",
        },
    ]


def _tested(found: Ported) -> str:
    if found.verdict is None:
        return "no prompt did better, nothing was tested"
    return f"{found.verdict.verdict.name}: {bounds_words(found.verdict.verdict)}"


def bounds_words(verdict: Verdict) -> str:
    """Return the retention on the whole of a verdict with its bounds and number of items."""
    kept = next(each for each in verdict.certificates if each.segment is None).retention
    low, high = ("unknown" if each is None else f"{each:.2f}" for each in (kept.low, kept.high))
    return f"{kept.value:.2f} [{low}, {high}], n {kept.n}"
