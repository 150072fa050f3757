"""Reads results of other tools into columns. Their format is recognised from their content."""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from shlex import quote
from types import MappingProxyType

import msgspec
import numpy as np

from crossgrade.domain import Origin
from crossgrade.errors import DataError, NotFoundError, UsageError, closest
from crossgrade.workloads._columns import BadCellError, Columns
from crossgrade.workloads._results import Labels, Results, rows_of
from crossgrade.workloads.files import WORKBOOK, FileLimits, ZipArchive, find_file, first_bytes, seekable
from crossgrade.workloads.importers import IMPORTERS, ImporterKind, ImportRequest
from crossgrade.workloads.importers.openai_evals import OUTPUT_ITEM
from crossgrade.workloads.importers.request import WORKLOAD

_LM_EVAL_AGGREGATES = {"results", "configs"}

# The first rule whose keys are all there names the format of a JSON file.
_JSON_RULES: tuple[tuple[str | None, set[str]], ...] = (
    ("deepeval", {"testRunData"}),
    ("deepeval", {"testCases"}),
    ("promptfoo", {"evalId", "results"}),
    ("garak", {"entry_type", "_config.version"}),
    ("inspect-json", {"eval", "status"}),
    ("lm-eval", {"doc_id", "doc"}),
    ("promptfoo-jsonl", {"provider", "gradingResult"}),
    (None, _LM_EVAL_AGGREGATES),
)
_OAIEVAL_FIRST_LINE = {"spec"}
_TABLES = frozenset({"csv", "json", "jsonl", "parquet", "xlsx"})
_FOLDERS = {"helm": "run_spec.json", "inspect": "*.eval", "lm-eval": "samples_*.jsonl"}
"""The formats of which a folder is read, and the files that it has then, at any depth."""
_ARRAY = re.compile(rb"\s*\[\s*\{")
_KEY = re.compile(rb'"(\w+)"\s*:')
_HEAD_BYTES = 64 * 1024


def read_results(
    source: str | Path | Sequence[str | Path] | Mapping[str, str | Path],
    *,
    file_format: str | None = None,
    models: Sequence[str] = (),
    columns: Mapping[str, str] = MappingProxyType({}),
    metric: str | None = None,
    workload: str | None = None,
    segment: str | None = None,
    group: str | None = None,
    cluster: str | None = None,
    scale: tuple[float, float] = (0.0, 1.0),
    origin: Origin = Origin.OWN,
    allow_unfinished: bool = False,
    passes: bool = False,
    root: Path | None = None,
    limits: FileLimits | None = None,
    importers: Mapping[str, ImporterKind] = IMPORTERS,
) -> Results:
    """Read scored answers from one or several files or run folders.

    `source` is a path, several, or a mapping that names the model of each (for logs that name
    both models alike, or none). `file_format` None is recognised.
    `models` names the score columns of a wide table, `columns` the column of a field (`{"score": "grade"}`)
    where a table calls it something else. `metric` picks a scorer, metric or filter
    where a log has several. With `passes` the score is whether an answer passed, where a log says so.
    `workload` keeps one of several workloads. `segment`, `group`, `cluster` name a column or metadata key, or
    are "workload". `scale` are the worst and best score. Paths must lie inside `root` where one is given.
    docs/reference/formats.md has the accepted columns and fields. `importers` are the formats that are known;
    those of plugins are asked first whether a file is theirs.

    Raises `DataError`, with file, line and column where there is one, for every input it cannot
    take; `NotFoundError` for a workload that is not there.
    """
    if not 0 < scale[1] - scale[0] < math.inf:
        raise UsageError(
            f"a scale from {scale[0]} to {scale[1]} is no range",
            code="scale-invalid",
            hint="give the worst score, then the best",
        )
    if file_format is not None and file_format not in importers:
        raise UsageError(
            f"no format {file_format!r}{closest(file_format, importers)}",
            code="format-unknown",
            hint=f"formats are {', '.join(importers)}",
        )
    bounds = limits or FileLimits()
    taken = Columns(scale=scale, trimmed=True)
    seen: list[str] = []
    paths = _paths(source)
    for model, given in paths:
        with nullcontext(given) if root is not None else seekable(given, bounds) as there:
            request = ImportRequest(
                path=find_file(there, root=root, folder=True),
                model=model,
                models=tuple(models),
                columns=columns,
                metric=metric,
                segment=segment,
                group=group,
                cluster=cluster,
                file_group=given.stem if len(paths) > 1 else None,
                allow_unfinished=allow_unfinished,
                passes=passes,
                limits=bounds,
            )
            found = file_format or _recognise(request.path, importers)
            _read_file(request, given, importers[found], taken)
            seen.append(f"{there.name} ({found})")
            name = _name(there)
    text = ", ".join(seen[:3]) + (f" and {len(seen) - 3} more" if len(seen) > 3 else "")
    results = taken.finish(origin=origin, name=name if len(paths) == 1 else "results", source=text)
    return _settle_workload(results, workload, {"segment": segment, "group": group, "cluster": cluster})


def _read_file(request: ImportRequest, given: Path, kind: ImporterKind, taken: Columns) -> None:
    """Read one file or folder, which the user calls `given`, into the columns."""
    is_table = kind.name in _TABLES
    if request.metric is not None and is_table:
        raise UsageError(
            f"{given} is a table, which has one score an answer: it has no metric `{request.metric}`",
            code="metric-of-table",
            hint="leave the metric out, or say which column is the score: `--column score=NAME`",
        )
    if request.columns and not is_table:
        raise UsageError(
            f"{given} is a log ({kind.name}), whose fields are known: columns are named of a table",
            code="columns-of-log",
            hint="leave `--column` out",
        )
    before = len(taken)
    try:
        kind.read(request if is_table else replace(request, file_group=None), taken)
    except BadCellError as error:
        raise DataError(
            f"a sample's {error.column} {error}", code="score-invalid", file=given, where=error.column
        ) from error
    except RecursionError as error:
        raise DataError(
            "the JSON is nested too deep", code="json-too-deep", file=given, hint="flatten the record"
        ) from error
    if len(taken) == before:
        raise DataError(
            "there are no scored answers in it",
            code="results-empty",
            file=given,
            hint="check that the run ended",
        )
    _check_labels(request, taken)


def _name(path: Path) -> str:
    """Return the name of a file without the suffixes for its format and compression."""
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    return Path(name).stem or path.name or "results"


def _paths(
    source: str | Path | Sequence[str | Path] | Mapping[str, str | Path],
) -> list[tuple[str | None, Path]]:
    if isinstance(source, str | Path):
        return [(None, Path(source))]
    if isinstance(source, Mapping):
        return [(name, Path(path)) for name, path in source.items()]
    return [(None, Path(path)) for path in source]


def _recognise(path: Path, importers: Mapping[str, ImporterKind]) -> str:
    """Return the format of a file or folder, from its content alone where no plugin knows it."""
    head = b"" if path.is_dir() else first_bytes(path, _HEAD_BYTES)
    for kind in importers.values():
        if kind.knows is not None and kind.knows(path, head):
            return kind.name
    if path.is_dir():
        return _recognise_folder(path)
    if head.startswith(b"PK\x03\x04"):
        with ZipArchive(path, FileLimits()) as archive:
            return "xlsx" if WORKBOOK in archive.names() else "inspect"
    if head.startswith(b"PAR1"):
        return "parquet"
    if _ARRAY.match(head):
        return "openai-evals" if OUTPUT_ITEM.search(head) else "json"
    return _recognise_json(path, head, importers) if head.lstrip().startswith((b"{", b"[")) else "csv"


def _recognise_folder(path: Path) -> str:
    for name, inside in _FOLDERS.items():
        if next(path.rglob(inside), None):
            return name
    raise DataError(
        f"this folder has none of the files {', '.join(_FOLDERS.values())} in it",
        code="folder-not-results",
        file=path,
        hint="give the files themselves",
    )


def _recognise_json(path: Path, head: bytes, importers: Mapping[str, ImporterKind]) -> str:
    if OUTPUT_ITEM.search(head):
        return "openai-evals"
    first_line = head.lstrip().partition(b"\n")[0]
    try:
        row = msgspec.json.decode(first_line)
        keys = set(row) if isinstance(row, dict) else set()
        otherwise: str | None = "jsonl" if keys else None
    except (ValueError, RecursionError):
        # A document over several lines, or a line longer than the head: any key will do.
        keys = {name.decode() for name in _KEY.findall(head)}
        otherwise = "jsonl" if {"model", "score"} <= keys else None
    if keys == _OAIEVAL_FIRST_LINE:
        return "oaieval"
    found = next((name for name, wanted in _JSON_RULES if wanted <= keys), otherwise)
    if found is not None:
        return found
    if keys >= _LM_EVAL_AGGREGATES:
        raise DataError(
            "these are lm-eval's aggregates; the samples are expected",
            code="results-aggregated",
            file=path,
            hint="run lm-eval with --log_samples and give samples_TASK_TIME.jsonl",
        )
    raise DataError(
        f"this JSON is of no known tool; its keys are {', '.join(sorted(keys)[:12]) or 'none'}",
        code="json-unknown",
        file=path,
        line=1,
        hint=f"name the format, one of {', '.join(importers)}",
    )


def _check_labels(request: ImportRequest, columns: Columns) -> None:
    for label, name in request.named_labels().items():
        if name != WORKLOAD and not columns.has_label(label):
            raise DataError(
                f"no sample has {name!r} in its metadata, to be its {label}",
                code="metadata-missing",
                file=request.path,
                hint="name a column, or a key of the samples' metadata",
            )


def _settle_workload(results: Results, workload: str | None, labels: Mapping[str, str | None]) -> Results:
    """Keep the rows of one workload, or take the workloads as segments, groups or clusters."""
    names = results.workload_names
    if workload is not None:
        if workload not in names:
            raise NotFoundError(
                f"no rows of the workload {workload!r}; there are {', '.join(names) or 'none named'}"
                f"{closest(workload, names)}",
                code="workload-not-in-results",
                hint="leave --workload out, or name one of these",
            )
        codes = results.labels[WORKLOAD].codes
        return rows_of(results, np.flatnonzero(codes == names.index(workload)))
    taken = [label for label, name in labels.items() if name == WORKLOAD]
    if len(names) > 1 and not taken:
        raise DataError(
            f"the results are of several workloads: {', '.join(names[:10])}",
            code="workloads-mixed",
            hint=f"choose one with --workload {quote(names[0])}, or add --segment workload",
        )
    if not taken or not names:
        return results
    shared = dict.fromkeys(taken, results.labels[WORKLOAD])
    qualified = _qualified(results.samples, results.labels[WORKLOAD])
    return replace(results, samples=qualified, labels={**results.labels, **shared})


def _qualified(samples: Labels, workloads: Labels) -> Labels:
    """Return sample ids that name their workload, since ids may start again in each."""
    width = len(workloads.names) + 1
    both = samples.codes.astype(np.int64) * width + workloads.codes + 1
    distinct, first, codes = np.unique(both, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    names = np.empty(len(order), np.object_)
    names[:] = [_joined(samples, workloads, int(code), width) for code in distinct[order]]
    return Labels(rank[codes], names)


def _joined(samples: Labels, workloads: Labels, both: int, width: int) -> str:
    sample, workload = samples.names[both // width], both % width - 1
    return str(sample) if workload < 0 else f"{workloads.names[workload]}/{sample}"
