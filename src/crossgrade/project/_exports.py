"""A run's answers as a table, and people's scores of them from a labelling file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crossgrade.store import Run
    from crossgrade.workloads import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What an export wrote and read: answers in the table, samples labelled, samples put before people."""

    answers: int
    labelled: int = 0
    waiting: int = 0


def write_export(results: "Results", run: "Run", path: Path, label_file: Path | None) -> Export:
    """Write the table of a run, and exchange people's scores with a labelling file where one is named.

    The labelling file is written where it is not there, and read where it is: its scores fill the
    table's column `human`. Raises `DataError` for a wrong labelling file, `StoreError` where one of the
    two cannot be written.
    """
    from crossgrade.workloads import blind_rows, read_labels, with_labels, write_labels, write_results

    labelled = waiting = 0
    if label_file is not None:
        models = len(results.model_names)
        if label_file.exists():
            writer = f"crossgrade runs --export {run.id} --label-file FILE"
            labels = read_labels(label_file, answers=models, writer=writer)
            results = with_labels(results, labels, run=run.id, seed=run.seed)
            labelled = len(labels)
        else:
            rows = blind_rows(results, run=run.id, seed=run.seed)
            write_labels(label_file, rows, answers=models)
            waiting = len(rows)
    answers = write_results(results, path, blank=("human",))
    return Export(answers=answers, labelled=labelled, waiting=waiting)
