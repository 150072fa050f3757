"""What is measured: datasets frozen by digest, results of other tools, pairs as evidence."""

from crossgrade.workloads._dataset import Dataset, DatasetFormat, dataset_fields, read_dataset
from crossgrade.workloads._pairing import pair
from crossgrade.workloads._prices import with_prices
from crossgrade.workloads._read import read_results
from crossgrade.workloads._recorded import evidence_from_answers, results_from_answers
from crossgrade.workloads._redact import redact_body, redact_json, redact_text
from crossgrade.workloads._results import Labels, Results
from crossgrade.workloads._traces import Trace, read_trace
from crossgrade.workloads._write import write_results
from crossgrade.workloads.files import Limits
from crossgrade.workloads.importers import ResultFormat

__all__ = [
    "Dataset",
    "DatasetFormat",
    "Labels",
    "Limits",
    "ResultFormat",
    "Results",
    "Trace",
    "dataset_fields",
    "evidence_from_answers",
    "pair",
    "read_dataset",
    "read_results",
    "read_trace",
    "redact_body",
    "redact_json",
    "redact_text",
    "results_from_answers",
    "with_prices",
    "write_results",
]
