"""What is measured: datasets frozen by digest, results of other tools, pairs as evidence."""

from crossgrade.workloads._columns import BadCellError, Columns, trimmed_name
from crossgrade.workloads._copies import without_copies
from crossgrade.workloads._dataset import (
    Dataset,
    DatasetFormat,
    dataset_fields,
    read_dataset,
    sample_digest,
    samples_before,
)
from crossgrade.workloads._labelling import (
    MOST_LABEL_ROWS,
    NO_ANSWER,
    LabelRow,
    LabelScores,
    asked_of_all,
    blind_rows,
    read_labels,
    with_labels,
    write_labels,
)
from crossgrade.workloads._near_copies import SIMILAR, near_copies, sample_texts, telling_fields
from crossgrade.workloads._pairing import pair
from crossgrade.workloads._read import read_results
from crossgrade.workloads._recorded import evidence_from_answers, results_from_answers
from crossgrade.workloads._redact import Redactor, redact_body, redact_json, redact_text, revealed
from crossgrade.workloads._results import Labels, Results, mean_usage, with_prices, write_results
from crossgrade.workloads._runs import agent_runs, rows_by_setup, runs_of_agent, select_runs
from crossgrade.workloads._sealing import Seal, names_by_spacy, seal_from
from crossgrade.workloads._task_folders import AgentTask, files_digest, read_task, read_tasks, task_names
from crossgrade.workloads._traces import Trace, read_trace
from crossgrade.workloads.files import FileLimits
from crossgrade.workloads.importers import IMPORTERS, ImporterKind, ImportRequest

__all__ = [
    "IMPORTERS",
    "MOST_LABEL_ROWS",
    "NO_ANSWER",
    "SIMILAR",
    "AgentTask",
    "BadCellError",
    "Columns",
    "Dataset",
    "DatasetFormat",
    "FileLimits",
    "ImportRequest",
    "ImporterKind",
    "LabelRow",
    "LabelScores",
    "Labels",
    "Redactor",
    "Results",
    "Seal",
    "Trace",
    "agent_runs",
    "asked_of_all",
    "blind_rows",
    "dataset_fields",
    "evidence_from_answers",
    "files_digest",
    "mean_usage",
    "names_by_spacy",
    "near_copies",
    "pair",
    "read_dataset",
    "read_labels",
    "read_results",
    "read_task",
    "read_tasks",
    "read_trace",
    "redact_body",
    "redact_json",
    "redact_text",
    "results_from_answers",
    "revealed",
    "rows_by_setup",
    "runs_of_agent",
    "sample_digest",
    "sample_texts",
    "samples_before",
    "seal_from",
    "select_runs",
    "task_names",
    "telling_fields",
    "trimmed_name",
    "with_labels",
    "with_prices",
    "without_copies",
    "write_labels",
    "write_results",
]
