"""A run's scored answers as one table, with people's scores as far as there are any."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from crossgrade.project._baselines import check_withheld, is_withheld
from crossgrade.project._measured import offers_of, run_answers, run_results
from crossgrade.project._run_labels import RunLabels, labels_in_store

if TYPE_CHECKING:
    from crossgrade.project._opened import OpenProject
    from crossgrade.store import Run
    from crossgrade.workloads import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What an export wrote and read: answers in the table, samples labelled, samples to be labelled.

    `unfinished` counts the items whose labels the table waits for, `rounds` the planned rounds of labels.
    """

    answers: int
    labelled: int = 0
    waiting: int = 0
    unfinished: int = 0
    rounds: int = 1


def export_run(project: "OpenProject", run_id: str, path: Path, *, label_file: Path | None) -> Export:
    """Write the table of a run; see `Project.export_run`.

    The table's column `human` has the scores of a labelling file that exists. Without a labelling file it has
    the labels in the store, once all drawn items are done, as a decision takes them: with the columns
    `label_probability` and `label_skipped` where there is something to say. Raises DataError for a wrong
    labelling file, and StoreError if a file cannot be written.
    """
    from crossgrade.workloads import write_results

    store = project.store
    run = store.runs.get(run_id)
    if label_file is None:
        check_withheld(store, run)
    workload = project.config.workloads.get(run.workload)
    offers = {} if workload is None else offers_of(workload)
    answers = run_answers(store, run, offers, project.catalog.price)
    results = run_results(run, answers)
    labelled = waiting = unfinished = 0
    rounds = 1
    if label_file is not None:
        results, labelled, waiting = _with_file(results, run, label_file)
    elif workload is not None and project.judge(workload) is not None:
        labels = labels_in_store(store, run, epochs=workload.epochs, now=datetime.now(UTC))
        if labels is not None:
            results, labelled, unfinished = _with_store(results, labels, workload.incumbent.name)
            rounds = labels.counts.rounds
    blind = label_file is not None and is_withheld(store, run)
    return Export(
        answers=0 if blind else write_results(results, path, blank=("human",)),
        labelled=labelled,
        waiting=waiting,
        unfinished=unfinished,
        rounds=rounds,
    )


def _with_store(results: "Results", labels: RunLabels, incumbent: str) -> "tuple[Results, int, int]":
    """Return results with the labels in the store, how many there are, and how many items they wait for."""
    add_labels, counts = labels.columns(incumbent), labels.counts
    if add_labels is None:
        return results, 0, counts.left
    return add_labels(results), counts.labelled, 0


def _with_file(results: "Results", run: "Run", label_file: Path) -> "tuple[Results, int, int]":
    """Read a labelling file, or write one if there is none.

    Returns the results with its scores, how many samples are labelled, and how many are to be labelled.
    """
    from crossgrade.workloads import blind_rows, read_labels, with_labels, write_labels

    models = len(results.model_names)
    if label_file.exists():
        writer = f"crossgrade runs --export {run.id} --label-file FILE"
        scored = read_labels(label_file, answers=models, writer=writer)
        return with_labels(results, scored, run=run.id, seed=run.seed), len(scored), 0
    rows = blind_rows(results, run=run.id, seed=run.seed)
    write_labels(label_file, rows, answers=models)
    return results, 0, len(rows)
