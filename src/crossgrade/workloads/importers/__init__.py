"""The table of importers. Each reads a file or folder of one format and appends scored answers to columns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from crossgrade.workloads._columns import Columns
from crossgrade.workloads.importers.deepeval import read_deepeval
from crossgrade.workloads.importers.garak import GarakCount, GarakReport, read_garak, read_garak_report
from crossgrade.workloads.importers.harbor import is_harbor, read_harbor
from crossgrade.workloads.importers.helm import read_helm
from crossgrade.workloads.importers.inspect import read_inspect_archive, read_inspect_json
from crossgrade.workloads.importers.lm_eval import read_lm_eval
from crossgrade.workloads.importers.oaieval import read_oaieval
from crossgrade.workloads.importers.openai_evals import read_openai_evals
from crossgrade.workloads.importers.promptfoo import read_promptfoo, read_promptfoo_lines
from crossgrade.workloads.importers.request import ImportRequest
from crossgrade.workloads.importers.swe_bench import is_swe_bench, read_swe_bench
from crossgrade.workloads.importers.tables import (
    read_csv,
    read_json_array,
    read_json_lines,
    read_parquet,
    read_workbook,
)
from crossgrade.workloads.importers.tau_bench import is_tau_bench, read_tau_bench
from crossgrade.workloads.importers.terminal_bench import is_terminal_bench, read_terminal_bench

Importer: TypeAlias = Callable[[ImportRequest, Columns], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImporterKind:
    """A format of results, built in or a plugin's.

    `read` appends the scored answers of one file or folder to the columns (`columns.add(answers)`), and
    raises `DataError` for what it cannot read. `knows` returns from the path and the first 64 KiB (nothing of
    a folder) whether it is of this format. If it is None, `--format` must name it or a built-in rule applies.
    """

    name: str
    read: Importer
    knows: Callable[[Path, bytes], bool] | None = None


_AGENTS = (
    ImporterKind(name="harbor", read=read_harbor, knows=is_harbor),
    ImporterKind(name="swe-bench", read=read_swe_bench, knows=is_swe_bench),
    ImporterKind(name="tau-bench", read=read_tau_bench, knows=is_tau_bench),
    ImporterKind(name="terminal-bench", read=read_terminal_bench, knows=is_terminal_bench),
)
"""The formats of agents' runs."""

IMPORTERS: Mapping[str, ImporterKind] = {
    name: ImporterKind(name=name, read=read)
    for name, read in (
        ("csv", read_csv),
        ("deepeval", read_deepeval),
        ("garak", read_garak),
        ("helm", read_helm),
        ("inspect", read_inspect_archive),
        ("inspect-json", read_inspect_json),
        ("json", read_json_array),
        ("jsonl", read_json_lines),
        ("lm-eval", read_lm_eval),
        ("oaieval", read_oaieval),
        ("openai-evals", read_openai_evals),
        ("parquet", read_parquet),
        ("promptfoo", read_promptfoo),
        ("promptfoo-jsonl", read_promptfoo_lines),
        ("xlsx", read_workbook),
    )
} | {kind.name: kind for kind in _AGENTS}
"""Every built-in format of results by name."""

__all__ = [
    "IMPORTERS",
    "GarakCount",
    "GarakReport",
    "ImportRequest",
    "Importer",
    "ImporterKind",
    "read_garak_report",
]
