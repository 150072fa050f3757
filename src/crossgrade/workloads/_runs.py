"""What results say of an agent's runs: what they were made with, how many there are, and why some failed."""

from collections import Counter

import numpy as np

from crossgrade.domain import SETUP_FIELDS, AgentRuns, AgentSetup, FailureCount, read_failure
from crossgrade.workloads._results import Results, Rows


def agent_runs(results: Results, rows: Rows) -> dict[AgentSetup, AgentRuns]:
    """Return what is known of the runs among some rows of one model, by what they were made with.

    It is empty where the results say nothing of agents.
    """
    if not any(name in results.labels for name in (*SETUP_FIELDS, "failure")):
        return {}
    return {setup: _counted(results, setup, chosen) for setup, chosen in rows_by_setup(results, rows).items()}


def rows_by_setup(results: Results, rows: Rows) -> dict[AgentSetup, Rows]:
    """Return the rows by what they were made with, in the order in which it first stands there."""
    columns = [results.labels.get(name) for name in SETUP_FIELDS]
    codes = np.stack([np.full(len(rows), -1) if each is None else each.codes[rows] for each in columns])
    distinct, first, which = np.unique(codes, axis=1, return_index=True, return_inverse=True)
    found = {}
    for at in np.argsort(first).tolist():
        names = {
            name: str(column.names[code])
            for name, column, code in zip(SETUP_FIELDS, columns, distinct[:, at].tolist(), strict=True)
            if column is not None and code >= 0
        }
        found[AgentSetup(**names)] = rows[which.ravel() == at]
    return found


def _counted(results: Results, setup: AgentSetup, rows: Rows) -> AgentRuns:
    attempts = np.bincount(results.samples.codes[rows])
    attempts = attempts[attempts > 0]
    return AgentRuns(
        setup=setup,
        trials=len(rows),
        attempts=(int(attempts.min(initial=len(rows))), int(attempts.max(initial=0))),
        without_verdict=int(results.error[rows].sum()),
        failures=_failures(results, rows),
    )


def _failures(results: Results, rows: Rows) -> tuple[FailureCount, ...]:
    """Return how the trials failed, the most frequent first."""
    column = results.labels.get("failure")
    if column is None:
        return ()
    codes, lacking = column.codes[rows], results.error[rows]
    trials = Counter(codes[codes >= 0].tolist())
    without = Counter(codes[(codes >= 0) & lacking].tolist())
    counts = []
    for code, number in trials.most_common():
        origin, name = read_failure(str(column.names[code]))
        counts.append(FailureCount(name=name, origin=origin, trials=number, without_verdict=without[code]))
    return tuple(counts)
