"""Samples of lm-evaluation-harness: `samples_TASK_TIME.jsonl` with `results_TIME.json` beside it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from crossgrade.domain import ScoredAnswer
from crossgrade.errors import DataError
from crossgrade.workloads._columns import Columns, text_digest
from crossgrade.workloads.files import as_number, as_text, canonical, decode_document, json_lines, read_whole
from crossgrade.workloads.importers.request import ImportRequest

UNPARSED = "[invalid]"
_NAME = re.compile(r"(?P<prefix>.*)samples_(?P<task>.+?)(?:_(?P<time>\d{4}-\d\d-\d\dT.+))?")
_QUESTION_FIELDS = ("question", "input", "prompt", "problem", "query", "text")
_ROW_FIELDS = {
    "doc_id",
    "doc",
    "target",
    "arguments",
    "resps",
    "filtered_resps",
    "filter",
    "metrics",
    "doc_hash",
    "prompt_hash",
    "target_hash",
}
_SETTINGS = ("generation_kwargs", "num_fewshot", "doc_to_text", "description", "output_type")


class _Results(msgspec.Struct):
    results: dict[str, dict[str, Any]] = {}
    configs: dict[str, dict[str, Any]] = {}
    config: dict[str, Any] = {}
    higher_is_better: dict[str, dict[str, bool | None]] = {}
    model_name: str | None = None
    system_instruction: str | None = None


def read_lm_eval(request: ImportRequest, columns: Columns) -> None:
    """Import the samples of one task, or of every task in a folder.

    A doc id counts within its task, which becomes the workload of the rows.

    Raises `DataError` if there are several filters or metrics and none is named, when the model
    is named nowhere, or for a metric of which less is better.
    """
    if not request.path.is_dir():
        _import_task(request, request.path, columns)
        return
    for path in sorted(request.path.rglob("samples_*.jsonl")):
        _import_task(request, path, columns)


def _import_task(request: ImportRequest, path: Path, columns: Columns) -> None:
    name = _NAME.fullmatch(path.name.partition(".jsonl")[0])
    task = name["task"] if name else path.stem
    results = _results_beside(request, path, name)
    choice = request.choose(_choices(request, path), "metric and filter")
    metric = choice.partition(",")[0]
    if results.higher_is_better.get(task, {}).get(metric) is False:
        raise DataError(
            f"of {metric}, less is better; a score where more is better is expected",
            code="metric-less-is-better",
            file=path,
            hint="name another metric with --metric",
        )
    model = request.model or _model_name(results)
    if model is None:
        raise DataError(
            "the samples do not name their model, and no results file lies beside them",
            code="model-not-named-in-results",
            file=path,
            hint="put results_TIME.json into the same folder, or name the model",
        )
    before = len(columns)
    columns.add(_answers(request, path, model, choice, _settings_digest(results, task)), workload=task)
    stated = as_number(results.results.get(task, {}).get(choice))
    if stated is not None:
        columns.state(model, stated, len(columns) - before)


def _results_beside(request: ImportRequest, path: Path, name: re.Match[str] | None) -> _Results:
    """Return the aggregates of the same run, or empty ones."""
    if name is None:
        return _Results()
    time = f"_{name['time']}" if name["time"] else ""
    beside = path.with_name(f"{name['prefix']}results{time}.json")
    if not beside.is_file():
        return _Results()
    return decode_document(read_whole(beside, request.limits), _Results, path=beside)


def _model_name(results: _Results) -> str | None:
    arguments = results.config.get("model_args")
    named = arguments.get("model") if isinstance(arguments, Mapping) else None
    return results.model_name or as_text(named)


def _rows(request: ImportRequest, path: Path) -> Iterator[dict[str, Any]]:
    for line, data in json_lines(path, request.limits):
        yield decode_document(data, dict[str, Any], path=path, line=line)


def _choices(request: ImportRequest, path: Path) -> Iterator[str]:
    for row in _rows(request, path):
        yield from (f"{metric},{row.get('filter', 'none')}" for metric in _metrics(row))


def _metrics(row: Mapping[str, Any]) -> list[str]:
    """Return the row's metrics; logs before `metrics` was written have any other number."""
    named = row.get("metrics")
    if isinstance(named, list):
        return [str(name) for name in named]
    return [name for name, value in row.items() if name not in _ROW_FIELDS and isinstance(value, int | float)]


def _answers(
    request: ImportRequest, path: Path, model: str, choice: str, settings: str | None
) -> Iterator[ScoredAnswer]:
    metric, _, chosen = choice.partition(",")
    for number, row in enumerate(_rows(request, path), start=1):
        if row.get("filter", "none") != chosen:
            continue
        if "doc_id" not in row:
            raise DataError("a sample has no doc_id", code="sample-without-id", file=path, line=number)
        doc = row.get("doc")
        fields = doc if isinstance(doc, Mapping) else {}
        yield ScoredAnswer(
            sample_id=str(row["doc_id"]),
            model=model,
            score=as_number(row.get(metric)),
            segment=request.label("segment", fields),
            group=request.label("group", fields),
            cluster=request.label("cluster", fields),
            unparsed=UNPARSED in (as_text(row.get("filtered_resps")) or ""),
            output=as_text(_first(row.get("resps"))),
            input=_question(doc, fields),
            target=as_text(row.get("target")),
            prompt_digest=as_text(row.get("prompt_hash")),
            target_digest=_key_digest(row),
            settings_digest=settings,
        )


def _question(doc: object, fields: Mapping[str, Any]) -> str | None:
    named = next((fields[name] for name in _QUESTION_FIELDS if isinstance(fields.get(name), str)), None)
    return named if named is not None else as_text(doc)


def _key_digest(row: Mapping[str, Any]) -> str | None:
    """Return what must be equal for two rows to be about the same document and key."""
    hashes = [row.get("doc_hash"), row.get("target_hash")]
    return text_digest(hashes) if any(hashes) else None


def _first(value: object) -> object:
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def _settings_digest(results: _Results, task: str) -> str | None:
    config = results.configs.get(task)
    if config is None:
        return None
    asked = {name: config.get(name) for name in _SETTINGS}
    return text_digest(canonical({**asked, "system": results.system_instruction}).decode())
