"""One importer a format: each reads a file or folder and appends scored answers to columns."""

from collections.abc import Callable
from typing import Literal, TypeAlias

from crossgrade.workloads._columns import Columns
from crossgrade.workloads.importers.deepeval import read_deepeval
from crossgrade.workloads.importers.helm import read_helm
from crossgrade.workloads.importers.inspect import read_inspect_archive, read_inspect_json
from crossgrade.workloads.importers.lm_eval import read_lm_eval
from crossgrade.workloads.importers.promptfoo import read_promptfoo, read_promptfoo_lines
from crossgrade.workloads.importers.request import ImportRequest
from crossgrade.workloads.importers.tables import read_csv, read_json_lines

Importer: TypeAlias = Callable[[ImportRequest, Columns], None]
ResultFormat: TypeAlias = Literal[
    "csv",
    "deepeval",
    "helm",
    "inspect",
    "inspect-json",
    "jsonl",
    "lm-eval",
    "promptfoo",
    "promptfoo-jsonl",
]

IMPORTERS: dict[ResultFormat, Importer] = {
    "csv": read_csv,
    "deepeval": read_deepeval,
    "helm": read_helm,
    "inspect": read_inspect_archive,
    "inspect-json": read_inspect_json,
    "jsonl": read_json_lines,
    "lm-eval": read_lm_eval,
    "promptfoo": read_promptfoo,
    "promptfoo-jsonl": read_promptfoo_lines,
}

__all__ = ["IMPORTERS", "ImportRequest", "Importer", "ResultFormat"]
