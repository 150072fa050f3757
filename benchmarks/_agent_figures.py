"""The figures of the published trials, by the functions that `decide` and `import` call; and their speed."""

import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks._table import Row
from crossgrade.decide import AgentReading
from crossgrade.errors import DataError
from crossgrade.project import ResultOptions, decide_results
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
    ]


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
