"""Tables of scores in the long form and the wide form: CSV, JSON, Parquet, Excel.

Long: one row a model and item, with `item_id`, `model`, `score`. Wide: one row an item, with one
score column a model, named like the model.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec

from crossgrade.domain import JSON, ended_at_limit, failure_label
from crossgrade.errors import DataError, closest
from crossgrade.workloads._columns import BadCellError, Columns, Values, amounts, text_digest
from crossgrade.workloads.files import (
    NumberedRows,
    as_text,
    decode_document,
    decode_line,
    json_lines,
    open_parquet,
    open_table,
    open_workbook,
    read_whole,
)
from crossgrade.workloads.importers.headers import (
    ID_FIELD,
    QUESTION_COLUMNS,
    SHARED_COLUMNS,
    Header,
    listed,
    proposals,
)
from crossgrade.workloads.importers.request import ImportRequest

OUTPUT_SUFFIXES = ("_response", "_output")
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
    _read_decoded(request, columns, json_lines(request.path, request.limits))


def read_json_array(request: ImportRequest, columns: Columns) -> None:
    """Import a table written as one JSON array of objects; raises as `read_json_lines` does."""
    data = read_whole(request.path, request.limits)
    items = decode_document(data, list[msgspec.Raw], path=request.path)

    def lines() -> Iterator[tuple[int, bytes]]:
        line, at = 1, 0
        for item in map(bytes, items):
            start = data.index(item, at)
            line += data.count(b"\n", at, start)
            yield line, item
            line, at = line + item.count(b"\n"), start + len(item)

    _read_decoded(request, columns, lines())


def read_parquet(request: ImportRequest, columns: Columns) -> None:
    """Import a table written as Parquet; raises as `open_parquet` does, and for what it cannot take."""
    with open_parquet(request.path, request.limits) as (names, rows):
        _read_objects(request, columns, names, [], rows)


def read_workbook(request: ImportRequest, columns: Columns) -> None:
    """Import the first sheet of an Excel workbook; raises as `open_workbook`, and for what it cannot take."""
    with open_workbook(request.path, request.limits) as (names, rows):
        _read_objects(request, columns, names, [], rows)


def _read_decoded(request: ImportRequest, columns: Columns, lines: Iterator[tuple[int, bytes]]) -> None:
    decoded = (
        (line, decode_line(data, path=request.path, line=line, limits=request.limits)) for line, data in lines
    )
    first = list(islice(decoded, 100))
    _read_objects(
        request, columns, tuple(dict.fromkeys(name for _, row in first for name in row)), first, decoded
    )


def _read_objects(
    request: ImportRequest,
    columns: Columns,
    names: tuple[str, ...],
    first: list[tuple[int, dict[str, JSON]]],
    rest: NumberedRows,
) -> None:
    def rows() -> Iterator[_Rows]:
        chunk = first or list(islice(rest, _CHUNK_LINES))
        while chunk:

            def values(name: str, rows: Sequence[tuple[int, Mapping[str, object]]] = chunk) -> list[object]:
                return [row.get(name) for _, row in rows]

            def lines(rows: Sequence[tuple[int, object]] = chunk) -> list[int]:
                return [line for line, _ in rows]

            yield _Rows(len(chunk), values, lines)
            chunk = list(islice(rest, _CHUNK_LINES))

    _read(request, columns, names, rows())


def _read(request: ImportRequest, columns: Columns, names: tuple[str, ...], chunks: Iterator[_Rows]) -> None:
    header = Header(request, names)
    append = _long(request, header, columns) if _is_long(request, header) else _wide(request, header, columns)
    for rows in chunks:
        try:
            append(rows, columns)
        except BadCellError as error:
            field = ID_FIELD if error.column == "sample_id" else error.column
            column = header.fields.get(field, field)
            raise DataError(
                f"{column} {error}",
                code="score-invalid",
                file=request.path,
                line=rows.lines()[error.index],
                where=f"column {column}",
            ) from error


def _is_long(request: ImportRequest, header: Header) -> bool:
    """Tell whether a row is of one model; a synonym says so only if the models are no columns."""
    if "model" in header.named or "score" not in header.fields:
        return "model" in header.named
    if request.model is not None:
        return True
    return "model" in header.fields and not (request.models and set(request.models) <= set(header.names))


def _long(request: ImportRequest, header: Header, columns: Columns) -> Callable[[_Rows, Columns], None]:
    for field in ("score", ID_FIELD):
        if field not in header.fields:
            raise header.missing(field, f"say which column it is with `--column {field}=NAME`")
    fields = {field: name for field, name in header.fields.items() if field != ID_FIELD}
    fields["sample_id"] = header.fields[ID_FIELD]
    columns.ignored.update(dict.fromkeys(name for name in header.names if name not in fields.values()))

    def append(rows: _Rows, columns: Columns) -> None:
        values: dict[str, Values] = {field: rows.values(name) for field, name in fields.items()}
        if "model" not in values:
            values["model"] = [request.model] * rows.count
        if (reasons := values.pop("finish_reason", None)) is not None:
            values.setdefault("truncated", [ended_at_limit(as_text(reason)) for reason in reasons])
        if "failure" in values:
            values["failure"] = _failures(values["failure"])
        for seconds, milliseconds in _SECONDS.items():
            if seconds in values:
                values[milliseconds] = amounts(values.pop(seconds), seconds) * 1000
        _append(rows.count, values, columns)

    return append


def _failures(names: Values) -> list[str | None]:
    """Return how runs failed, as labels; each name is looked up once."""
    texts = [as_text(name) for name in names]
    labels = {text: failure_label(text) for text in set(texts)}
    return [labels[text] for text in texts]


def _wide(request: ImportRequest, header: Header, columns: Columns) -> Callable[[_Rows, Columns], None]:
    names = header.names
    if not request.models:
        raise _no_form(request, header)
    for model in request.models:
        if model not in names:
            raise header.missing(model, _FORMS)
    outputs = {
        model: next((model + suffix for suffix in OUTPUT_SUFFIXES if model + suffix in names), None)
        for model in request.models
    }
    fields = {field: header.fields[field] for field in SHARED_COLUMNS if field in header.fields}
    ids = header.id_column
    question = next((name for name in QUESTION_COLUMNS if name in names), None)
    seen: Counter[str] = Counter()
    # Most other columns are models that nobody asked about, so that only what looks useful is named.
    rest = [name for name in names if name not in {*fields.values(), ids, *request.models}]
    columns.ignored.update(dict.fromkeys(name for name in rest if next(proposals([name]), None)))

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


_FORMS = (
    "a long table has the columns item_id, model and score, a wide one has a score column for each model, "
    "named like it; `--column model=NAME` says which column is the model"
)


def _no_form(request: ImportRequest, header: Header) -> DataError:
    if "score" in header.fields:
        hint = "name the model of the file (`MODEL=PATH`), or its column (`--column model=NAME`)"
    else:
        hint = (
            "name the score columns of a wide table with --incumbent and --candidate (`import`: --model), or "
            "say which column is which field (`--column score=NAME`)"
        )
    return DataError(
        "this is neither a long table (columns item_id, model and score) nor a wide one (a score column for "
        f"each model) whose models are named; the columns are {listed(header.names)}"
        f"{closest('score', header.names)}",
        code="table-form-unknown",
        file=request.path,
        line=1,
        hint=hint,
    )


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
