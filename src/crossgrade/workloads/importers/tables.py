"""Tables of scores, CSV or JSON lines: the long form and the wide form.

Long: one row a model and item, with `item_id`, `model`, `score`. Wide: one row an item, with one
score column a model, named like the model.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from crossgrade.domain import ended_at_limit
from crossgrade.errors import DataError, closest
from crossgrade.workloads._columns import BadCellError, Columns, Values, amounts, text_digest
from crossgrade.workloads.files import as_text, decode_line, json_lines, open_table
from crossgrade.workloads.importers.request import WORKLOAD, ImportRequest

ID_COLUMNS = ("item_id", "sample_id", "id")
QUESTION_COLUMNS = ("prompt", "input", "question")
OUTPUT_SUFFIXES = ("_response", "_output")
SHARED_COLUMNS = (
    "workload",
    "segment",
    "group",
    "cluster",
    "weight",
    "input",
    "target",
    "prompt",
    "target_digest",
)
LONG_COLUMNS = (
    "model",
    "score",
    "human",
    "epoch",
    "error",
    "unparsed",
    "truncated",
    "finish_reason",
    "output",
    "prompt_digest",
    "settings_digest",
    "cost_usd",
    "latency_ms",
    "latency_s",
    "ttft_ms",
    "ttft_s",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
_SECONDS = {"latency_s": "latency_ms", "ttft_s": "ttft_ms"}
_CHUNK_LINES = 300


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some rows of a table: their number, their values by column, the line each starts on."""

    count: int
    values: Callable[[str], Sequence[object]]
    lines: Callable[[], Sequence[int]]


def read_csv(request: ImportRequest, columns: Columns) -> None:
    """Import a CSV table.

    Raises `DataError`, with file, line and column name, for anything it cannot take.
    """
    table = open_table(request.path, request.limits)
    at = {name: index for index, name in enumerate(table.header)}

    def rows() -> Iterator[_Rows]:
        for chunk in table.chunks:

            def values(name: str, rows: Sequence[list[str]] = chunk.rows) -> list[str]:
                index = at[name]
                return [row[index] for row in rows]

            yield _Rows(len(chunk.rows), values, chunk.lines)

    _read(request, columns, table.header, rows())


def read_json_lines(request: ImportRequest, columns: Columns) -> None:
    """Import a table written as JSON lines; the first 100 lines show which columns there are.

    Raises `DataError`, with file, line and column name, for anything it cannot take.
    """
    decoded = (
        (line, decode_line(data, path=request.path, line=line, limits=request.limits))
        for line, data in json_lines(request.path, request.limits)
    )
    first = list(islice(decoded, 100))
    names = tuple(dict.fromkeys(name for _, row in first for name in row))

    def rows() -> Iterator[_Rows]:
        chunk = first
        while chunk:

            def values(name: str, rows: Sequence[tuple[int, Mapping[str, object]]] = chunk) -> list[object]:
                return [row.get(name) for _, row in rows]

            def lines(rows: Sequence[tuple[int, object]] = chunk) -> list[int]:
                return [line for line, _ in rows]

            yield _Rows(len(chunk), values, lines)
            chunk = list(islice(decoded, _CHUNK_LINES))

    _read(request, columns, names, rows())


def _read(request: ImportRequest, columns: Columns, names: tuple[str, ...], chunks: Iterator[_Rows]) -> None:
    fields = _shared_fields(request, names)
    is_long = "model" in names or ("score" in names and request.model is not None)
    append = _long(request, names, fields) if is_long else _wide(request, names, fields)
    for rows in chunks:
        try:
            append(rows, columns)
        except BadCellError as error:
            ids = (name for name in ID_COLUMNS if name in names)
            column = next(ids, error.column) if error.column == "sample_id" else error.column
            raise DataError(
                f"{column} {error}",
                code="score-invalid",
                file=request.path,
                line=rows.lines()[error.index],
                where=f"column {column}",
            ) from error


def _shared_fields(request: ImportRequest, names: Sequence[str]) -> dict[str, str]:
    """Return which column of the table each field of both forms is taken from."""
    fields = {name: name for name in SHARED_COLUMNS if name in names}
    for field, name in request.named_labels().items():
        if name != WORKLOAD:
            if name not in names:
                raise _no_column(request, name, names)
            fields[field] = name
    return fields


def _long(
    request: ImportRequest, names: Sequence[str], fields: dict[str, str]
) -> Callable[[_Rows, Columns], None]:
    if "score" not in names:
        raise _no_column(request, "score", names)
    ids = [name for name in ID_COLUMNS if name in names]
    if not ids:
        raise _no_column(request, ID_COLUMNS[0], names)
    fields = {**fields, "sample_id": ids[0], **{name: name for name in LONG_COLUMNS if name in names}}

    def append(rows: _Rows, columns: Columns) -> None:
        values: dict[str, Values] = {field: rows.values(name) for field, name in fields.items()}
        if "model" not in values:
            values["model"] = [request.model] * rows.count
        if (reasons := values.pop("finish_reason", None)) is not None:
            values.setdefault("truncated", [ended_at_limit(as_text(reason)) for reason in reasons])
        for seconds, milliseconds in _SECONDS.items():
            if seconds in values:
                values[milliseconds] = amounts(values.pop(seconds), seconds) * 1000
        _append(rows.count, values, columns)

    return append


def _wide(
    request: ImportRequest, names: Sequence[str], fields: dict[str, str]
) -> Callable[[_Rows, Columns], None]:
    if not request.models:
        raise DataError(
            "neither the long form (columns item_id, model, score) nor told which columns are models; "
            f"the columns are {_listed(names)}{closest('score', names)}",
            code="table-form-unknown",
            file=request.path,
            line=1,
            hint="name the two score columns with --incumbent and --candidate, or rename the columns",
        )
    for model in request.models:
        if model not in names:
            raise _no_column(request, model, names)
    outputs = {
        model: next((model + suffix for suffix in OUTPUT_SUFFIXES if model + suffix in names), None)
        for model in request.models
    }
    ids = next((name for name in ID_COLUMNS if name in names), None)
    question = next((name for name in QUESTION_COLUMNS if name in names), None)
    seen: Counter[str] = Counter()

    def append(rows: _Rows, columns: Columns) -> None:
        shared: dict[str, Values] = {field: rows.values(name) for field, name in fields.items()}
        if ids is not None:
            shared["sample_id"] = rows.values(ids)
        elif question is not None:
            shared["sample_id"] = [_numbered(value, seen) for value in rows.values(question)]
        else:
            shared["sample_id"] = [f"line {line}" for line in rows.lines()]
        if request.file_group is not None:
            shared["sample_id"] = [f"{request.file_group}/{name}" for name in shared["sample_id"]]
            shared.setdefault("group", [request.file_group] * rows.count)
        for model, output in outputs.items():
            values = {**shared, "model": [model] * rows.count, "score": rows.values(model)}
            if output is not None:
                values["output"] = rows.values(output)
            _append(rows.count, values, columns)

    return append


def _append(count: int, values: dict[str, Values], columns: Columns) -> None:
    """Append rows in which `prompt` may stand in for its digest and for the input."""
    prompts = values.pop("prompt", None)
    inputs_are_prompts = prompts is not None and "input" not in values
    if prompts is not None:
        values.setdefault("prompt_digest", [text_digest(text) if text else None for text in prompts])
        values.setdefault("input", prompts)
    columns.extend(count, values, blank_is_error=True, inputs_are_prompts=inputs_are_prompts)


def _numbered(question: object, seen: Counter[str]) -> str:
    """Return an id made from the content; the second row with it ends in `#2`."""
    digest = text_digest(question)[:16]
    seen[digest] += 1
    return digest if seen[digest] == 1 else f"{digest}#{seen[digest]}"


def _no_column(request: ImportRequest, name: str, names: Sequence[str]) -> DataError:
    return DataError(
        f'there is no column "{name}"; the columns are {_listed(names)}{closest(name, names)}',
        code="column-missing",
        file=request.path,
        line=1,
        hint="name one of these columns",
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name[:60]}"' for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")
