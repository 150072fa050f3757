"""All runs of the gateway's benchmark, and the rows of one state of the code: the median of its runs.

docs/benchmarks/gateway-runs.json keeps every run that was made, whatever it showed. Nothing is taken out of it.
"""

import json
from collections.abc import Iterator, Sequence
from statistics import median
from typing import TypedDict

from benchmarks._table import DOCS, Row, machine, now

STATE = 4
"""The state of the gateway that is measured. A change that is meant to move a figure begins a new one."""

ABOUT = (
    "It differs from state 3 by response ids that are checked and kept, terms, drift and labels, each of which the "
    "path of a request passes by unless a route asks for it."
)
"""What a reader should know about the runs of `STATE`."""

RUNS = DOCS / "gateway-runs.json"


class Run(TypedDict):
    """One run: the state of the gateway, when and where it was measured, and its rows."""

    state: int
    measured_at: str
    machine: str
    rows: list[Row]


def recorded_runs() -> list[Run]:
    """Return every recorded run, oldest first."""
    if not RUNS.exists():
        return []
    runs: list[Run] = json.loads(RUNS.read_text(encoding="utf-8"))["runs"]
    return runs


def add_run(rows: list[Row]) -> list[Run]:
    """Record a run of today's state and return all runs."""
    run: Run = {"state": STATE, "measured_at": now(), "machine": machine(), "rows": rows}
    runs = [*recorded_runs(), run]
    record = {"schema_version": 1, "runs": runs}
    RUNS.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return runs


def summary(runs: Sequence[Run], state: int = STATE) -> list[Row]:
    """Return one row a figure: the median over all runs of a state, how far they lie apart, and how many hold.

    A figure holds when its median is within the must and no run had a fault, such as a bad answer. The
    quantities of other servers are those of the last run.
    """
    chosen = [run for run in runs if run["state"] == state]
    if not chosen:
        return []
    return [_pooled(row["figure"], chosen) for row in chosen[-1]["rows"]]


def notes(runs: Sequence[Run], state: int = STATE) -> list[str]:
    """Say which runs the table is made of, and what the runs of other states missed."""
    lines = [
        f"The table sums up every recorded run of the gateway's state {state}: {_listed(runs, state)}. {ABOUT}"
    ]
    for other in sorted({run["state"] for run in runs} - {state}, reverse=True):
        missed = [
            f"{row['figure']} {row['value']:.3g} (must be {row['must']})"
            for row in summary(runs, other)
            if not row["holds"] and row["value"] is not None
        ]
        lines.append(
            f"State {other}, {_listed(runs, other)}: "
            + (f"the median missed {'; '.join(missed)}." if missed else "every median is within its must.")
        )
    lines.append(
        "What other servers need, and ours beside them, is from the last run. All runs are in gateway-runs.json."
    )
    return [" ".join(lines)]


def _listed(runs: Sequence[Run], state: int) -> str:
    chosen = [run for run in runs if run["state"] == state]
    where = "; ".join(f"{run['measured_at'][:16]} on {run['machine'].split(',')[0]}" for run in chosen)
    return f"{len(chosen)} run{'s' if len(chosen) != 1 else ''} ({where})"


def _pooled(figure: str, runs: Sequence[Run]) -> Row:
    rows = [row for run in runs for row in run["rows"] if row["figure"] == figure]
    last = rows[-1]
    values = list(_values(rows))
    if not values:
        return {**last, "measured_at": runs[-1]["measured_at"], "machine": runs[-1]["machine"]}
    middle = median(values)
    good = sum(bool(row["holds"]) for row in rows)
    faulty = any(_within(row, row["value"]) and not row["holds"] for row in rows)
    missing = f", {len(rows) - len(values)} not measured" if len(values) < len(rows) else ""
    count = f"median of {len(values)} runs, {min(values):.3g} to {max(values):.3g}{missing}, {good} within the must"
    inner = f"the last run: {last['spread']}" if last.get("spread") else ""
    return {
        **last,
        "value": round(middle, 3),
        "holds": _within(last, middle) and not faulty,
        "spread": "; ".join(filter(None, (count if len(rows) > 1 else "one run", inner))),
        "measured_at": runs[-1]["measured_at"],
        "machine": runs[-1]["machine"],
    }


def _values(rows: Sequence[Row]) -> Iterator[float]:
    for row in rows:
        value = row["value"]
        if isinstance(value, int | float):
            yield float(value)


def _within(row: Row, value: float | str | None) -> bool:
    """Whether a value is within the row's must, which reads `≤ 3` or `≥ 150`."""
    sign, _, bound = row["must"].partition(" ")
    if not isinstance(value, int | float):
        return False
    return value >= float(bound) if sign == "≥" else value <= float(bound)
