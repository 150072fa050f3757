"""Tables in binary files: Parquet, and the first sheet of an Excel workbook."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from crossgrade.domain import JSON
from crossgrade.errors import DataError, MissingExtraError
from crossgrade.workloads.files.archive import ZipArchive
from crossgrade.workloads.files.limits import MIB, FileLimits
from crossgrade.workloads.files.table import column_names

WORKBOOK = "xl/workbook.xml"
"""The member of a zip archive that says it is an Excel workbook."""

_SHEETS = "xl/worksheets/"  # read row by row, while the other members are held in memory
_HELD_BYTES = 64 * MIB
_MOST_ROWS = 2**20  # of a sheet: a reader that fills gaps would count up to any number that a row has

NumberedRows: TypeAlias = Iterator[tuple[int, dict[str, JSON]]]


@contextmanager
def open_parquet(path: Path, limits: FileLimits) -> Iterator[tuple[tuple[str, ...], NumberedRows]]:
    """Yield the columns of a Parquet file, and its rows with their numbers, counted from 1.

    Raises `DataError` if it is damaged, too large, or holds NaN or binary data; `MissingExtraError`
    without pyarrow.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingExtraError("Parquet", "parquet") from error
    try:
        with ParquetFile(path) as file:
            total = file.metadata.num_rows
            size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
            if size > limits.total_bytes:
                raise DataError(
                    f"the {total} rows take {size} bytes in memory",
                    code="dataset-too-large",
                    file=path,
                    hint="split the file",
                )
            rows = (row for batch in file.iter_batches(batch_size=1024) for row in batch.to_pylist())
            yield (
                tuple(file.schema_arrow.names),
                (
                    (number, {name: _json(value, path, number) for name, value in row.items()})
                    for number, row in enumerate(rows, start=1)
                ),
            )
    except (ArrowException, OSError) as error:
        raise DataError(
            f"the Parquet file is damaged: {error}", code="parquet-damaged", file=path, hint="write it again"
        ) from error


@contextmanager
def open_workbook(path: Path, limits: FileLimits) -> Iterator[tuple[tuple[str, ...], NumberedRows]]:
    """Yield the columns of a workbook's first sheet, and its rows with their numbers; row 1 is the header.

    A formula counts as the value that Excel computed last. Raises `DataError` if the workbook is damaged or
    too large, or a cell stands beside the header's columns; `MissingExtraError` without openpyxl.
    """
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise MissingExtraError("Excel workbooks", "excel") from error
    with ZipArchive(path, limits) as archive:
        archive.check_sizes({name: _HELD_BYTES for name in archive.names() if not name.startswith(_SHEETS)})
    with path.open("rb") as file:  # openpyxl closes not all that it opens
        with _damage(path):
            book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # what the sheet says of its size need not be true
            rows = enumerate(sheet.iter_rows(values_only=True), start=1)
            first = list(next(rows, (1, ()))[1])
        while first and first[-1] is None:
            first.pop()
        names = column_names(["" if each is None else str(each) for each in first], path)
        yield names, _sheet_rows(rows, names, path)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Raise what openpyxl raises, which is whatever its parsers raise, as one located error."""
    try:
        yield
    except Exception as error:
        raise DataError(
            f"the workbook is damaged ({type(error).__name__})",
            code="workbook-damaged",
            file=path,
            hint="save it again, or save the sheet as CSV",
        ) from error


def _sheet_rows(rows: Iterator[tuple[int, Any]], names: tuple[str, ...], path: Path) -> NumberedRows:
    while True:
        with _damage(path):
            number, cells = next(rows, (0, ()))
            if number > _MOST_ROWS:
                raise OverflowError(number)
        if not number:
            return
        if any(cell is not None for cell in cells[len(names) :]):
            raise DataError(
                f"this row has more cells than the header, which has {len(names)}",
                code="table-cells",
                file=path,
                line=number,
                hint="name every column in the first row",
            )
        if any(cell is not None for cell in cells):
            yield number, {name: _json(cell, path, number) for name, cell in zip(names, cells, strict=False)}


def _json(value: object, path: Path, row: int) -> JSON:
    """Return a value of a cell as JSON; times become ISO 8601 texts."""
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(
            f"row {row} holds {value}",
            code="value-not-json",
            file=path,
            hint="write null where there is no value",
        )
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _json(item, path, row) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item, path, row) for item in value]
    if isinstance(value, bytes):
        raise DataError(
            f"row {row} holds binary data", code="value-binary", file=path, hint="leave binary columns out"
        )
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
