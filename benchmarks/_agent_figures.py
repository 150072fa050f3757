"""The figures of the published trials, by the functions that `decide` and `import` call; and their speed."""

import csv
import gzip
import itertools
import json
import math
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks._table import Row
from crossgrade.decide import AgentReading
from crossgrade.errors import DataError
from crossgrade.project import ResultOptions, decide_results
from crossgrade.stats import ALIKE, TASK_CORRELATION
from crossgrade.workloads import read_results

DATA = Path(__file__).parent.parent / "tests" / "data" / "agents"
TRIALS = DATA / "terminal-bench-core-0.1.1-trials.csv.gz"
_COLUMNS = {"epoch": "attempt"}
_UNNAMED = ("agent_version", "dataset", "limits")
_SOURCE = "terminal-bench-core 0.1.1, 80 tasks of 5 attempts"
_WITHIN = 0.6
_REPEATS = 5
_READ_S = 2.0


def figure_rows() -> list[Row]:
    """Measure the two comparisons that the data are known for."""
    orchestrator = ResultOptions(columns=_COLUMNS, agent="orchestrator", agents_declared_equal=_UNNAMED)
    verdict = decide_results(
        TRIALS, incumbent="claude-4-sonnet", candidates="qwen-3-coder-480B", options=orchestrator
    )
    failed, left_out = verdict.agents[0].readings
    other = _other_agents()
    return [
        _row(
            "qwen-3-coder-480B against claude-4-sonnet, same agent, missing verdicts as failures",
            failed,
            (-16.75, -24.2, -9.8),
            f"{_SOURCE}; the interval is Student's t by task",
        ),
        {
            "figure": "the same, missing verdicts left out",
            "value": _words(left_out),
            "unit": "points",
            "must": "-18.6 over 79 tasks",
            "aim": "same",
            "holds": round(float(left_out.difference_points.value or 0), 1) == -18.6 and left_out.tasks == 79,
            "conditions": f"{_SOURCE}; {left_out.tasks} tasks",
        },
        _row(
            "claude-4-sonnet, agents droid and swe-agent-mini",
            other[0],
            (37.75, 27.7, 48.0),
            f"{_SOURCE}; with --allow-different-agent",
        ),
        {
            "figure": "the same, as a comparison of models",
            "value": other[1],
            "unit": "",
            "must": "agent-runs-differ",
            "aim": "same",
            "holds": other[1] == "agent-runs-differ",
            "conditions": "refused with what differs, without --allow-different-agent",
        },
        *_trial_rows(other[0]),
    ]


def _trial_rows(agents: AgentReading) -> list[Row]:
    """Describe the trials themselves: these rows are what documents and the planner's defaults say of them."""
    results = read_results(TRIALS, columns=_COLUMNS)
    solved = f"{100 * agents.incumbent_solved:.2f} and {100 * agents.candidate_solved:.2f}"
    attempts, models = _correlations()
    return [
        {
            "figure": "solved by claude-4-sonnet with swe-agent-mini, and with droid",
            "value": solved,
            "unit": "%",
            "conditions": f"{_SOURCE}; missing verdicts as failures",
        },
        {
            "figure": "trials without a verdict",
            "value": round(100 * float(results.error.mean()), 1),
            "unit": "%",
            "conditions": f"{int(results.error.sum()):,} of {len(results):,} published trials",
        },
        {
            "figure": "correlation of two attempts of a model at a task",
            "value": _range(attempts),
            "unit": "",
            "conditions": f"{len(attempts)} models with an agent that ran several; planned with {ALIKE}",
        },
        {
            "figure": "correlation of two models' rates of solving the tasks with one agent",
            "value": _range(models),
            "unit": "",
            "conditions": f"{len(models)} pairs of models, without the variance of single attempts; planned with "
            f"{TASK_CORRELATION}",
        },
    ]


def solved_trials() -> dict[tuple[str, str], NDArray[np.float64]]:
    """Return solved (1) or not by agent and model, tasks by attempts; missing verdicts are failures."""
    solved: dict[tuple[str, str], dict[str, list[float]]] = {}
    with gzip.open(TRIALS, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            tasks = solved.setdefault((row["agent"], row["model"]), {})
            tasks.setdefault(row["task_id"], []).append(float(row["resolved"] or 0))
    return {key: np.array([tasks[name] for name in sorted(tasks)]) for key, tasks in solved.items()}


def _correlations() -> tuple[list[float], list[float]]:
    """Return those of two attempts of one model, and of two models' true rates, for each agent of several."""
    found = solved_trials()
    alike: dict[tuple[str, str], float] = {}
    models = []
    for one, other in itertools.combinations(found, 2):
        if one[0] != other[0]:
            continue
        (b, v, alike[one]), (c, w, alike[other]) = _rates(found[one]), _rates(found[other])
        models.append(float(np.mean((b - b.mean()) * (c - c.mean()))) / math.sqrt(v * w))
    return list(alike.values()), models


def _rates(solved: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float]:
    """Return the rates of the tasks, their variance, and its share of that of an attempt."""
    rates, attempts = solved.mean(axis=1), solved.shape[1]
    within = float((rates * (1 - rates)).mean()) * attempts / (attempts - 1)
    once = float(rates.mean() * (1 - rates.mean()))
    return rates, float(rates.var()) - within / attempts, 1 - within / once


def _range(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def _other_agents() -> tuple[AgentReading, str]:
    model = "claude-4-sonnet"
    names = {"agent": "droid", "incumbent_agent": "swe-agent-mini"}
    refused = "taken"
    try:
        decide_results(
            TRIALS, incumbent=model, candidates=model, options=ResultOptions(columns=_COLUMNS, **names)
        )
    except DataError as error:
        refused = str(error.code)
    options = ResultOptions(columns=_COLUMNS, different_agents=True, **names)
    verdict = decide_results(TRIALS, incumbent=model, candidates=model, options=options)
    return verdict.agents[0].readings[0], refused


def _words(reading: AgentReading) -> str:
    found = reading.difference_points
    return f"{found.value:+.2f} [{found.low:+.1f}, {found.high:+.1f}]"


def _row(figure: str, reading: AgentReading, wanted: tuple[float, float, float], conditions: str) -> Row:
    found = reading.difference_points
    ends = (found.value, found.low, found.high)
    return {
        "figure": figure,
        "value": _words(reading),
        "unit": "points",
        "must": f"{wanted[0]:+.2f} [{wanted[1]:+.1f}, {wanted[2]:+.1f}], each end ± {_WITHIN}",
        "aim": "same",
        "holds": all(
            end is not None and abs(end - want) <= _WITHIN for end, want in zip(ends, wanted, strict=True)
        ),
        "conditions": conditions,
    }


def import_rows() -> list[Row]:
    """Measure how long 4,400 trials take to be read, as a table and as a job of Harbor."""
    rows = [_timed("import of 4,400 trials, a table", TRIALS, _COLUMNS)]
    with TemporaryDirectory() as folder:
        job = Path(folder) / "job"
        _write_job(job, 4_400)
        rows.append(_timed("import of 4,400 trials, a job of Harbor", job, {}))
    return rows


def _timed(figure: str, path: Path, columns: dict[str, str]) -> Row:
    took = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        results = read_results(path, columns=columns)
        took.append(time.perf_counter() - began)
        assert len(results) == 4_400
    value = statistics.median(took)
    return {
        "figure": figure,
        "value": round(value, 3),
        "unit": "s",
        "must": "<= 2",
        "aim": "<= 0.5",
        "holds": value <= _READ_S,
        "conditions": "read in a process that has everything loaded",
        "spread": f"{min(took):.3f} to {max(took):.3f} of {_REPEATS}",
    }


def _write_job(job: Path, trials: int) -> None:
    """Write a finished job with copies of a sample trial under names and identifiers of their own."""
    sample = json.loads((DATA / "harbor-sample-job" / "csv-total__open-y" / "result.json").read_text())
    for at in range(trials):
        folder = job / f"task-{at % 80}__{at}"
        folder.mkdir(parents=True)
        changed = {"id": str(at), "trial_name": folder.name, "task_name": f"task-{at % 80}"}
        (folder / "result.json").write_text(json.dumps({**sample, **changed}))
    done = {"n_total_trials": trials, "finished_at": "2026-11-24T22:50:48Z"}
    (job / "result.json").write_text(json.dumps({**done, "stats": {"n_completed_trials": trials}}))
