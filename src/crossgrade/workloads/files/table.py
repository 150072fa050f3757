"""A delimited text file as chunks of rows, with the line each row starts on."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from crossgrade.errors import DataError
from crossgrade.workloads.files.limits import FileLimits, size
from crossgrade.workloads.files.source import line_blocks

# Fewer lists alive at once than start Python's garbage collector: twice as fast as many more.
CHUNK_ROWS = 512
_DELIMITERS = (",", "\t", ";")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows, each as long as the header, and where in the file they start."""

    rows: list[list[str]]
    first_line: int
    blank_before: list[int] = field(default_factory=list)

    def lines(self) -> list[int]:
        """Return the line on which each row starts; quoted fields may hold line ends."""
        found = []
        line = self.first_line
        blanks = Counter(self.blank_before)
        for index, row in enumerate(self.rows):
            line += blanks[index]
            found.append(line)
            line += 1 + sum(cell.count("\n") for cell in row)
        return found

    def next_line(self) -> int:
        """Return the line after the last row."""
        lines = self.lines()
        return lines[-1] + 1 + sum(cell.count("\n") for cell in self.rows[-1]) if lines else self.first_line


@dataclass(frozen=True, slots=True)
class InputTable:
    """A header and the rows under it."""

    path: Path
    header: tuple[str, ...]
    chunks: Iterator[Chunk]


def open_table(path: Path, limits: FileLimits) -> InputTable:
    """Open a CSV file (comma, semicolon or tab; quotes as in RFC 4180; UTF-8).

    Raises `DataError` if there is no header, a column is named twice, a row has more or fewer
    cells than the header, a quote does not close, or a limit is passed. Rows are checked while
    the chunks are read.
    """
    texts = (block.text(path) for block in line_blocks(path, limits))
    # Like a file opened with newline="\\n": only that ends a line, and it is kept.
    lines = chain.from_iterable(io.StringIO(text, newline="\n") for text in texts)
    first = next(lines, "")
    delimiter = max(_DELIMITERS, key=first.count)
    chunks = _rows(chain((first,), lines), delimiter, path, limits)
    first_row = next(chunks, None)
    header = column_names(first_row.rows[0] if first_row else (), path)
    return InputTable(path, header, _even(chunks, header, path))


def _rows(lines: Iterator[str], delimiter: str, path: Path, limits: FileLimits) -> Iterator[Chunk]:
    """Yield chunks of rows of any length, with the reader's complaints as located errors."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    first_line = 1
    while True:
        chunk = Chunk([], first_line)
        allowed = csv.field_size_limit(limits.line_bytes)
        try:
            # A list keeps what it was extended with before an exception: it tells where we are.
            chunk.rows.extend(islice(reader, CHUNK_ROWS if first_line > 1 else 1))
        except csv.Error as error:
            raise _unreadable(error, chunk, path, limits) from error
        finally:
            csv.field_size_limit(allowed)
        if not chunk.rows:
            return
        yield chunk
        first_line = reader.line_num + 1


def _unreadable(error: csv.Error, chunk: Chunk, path: Path, limits: FileLimits) -> DataError:
    if "field larger" in str(error):
        seen = f"a field that starts here is longer than {size(limits.line_bytes)}"
    elif "end of data" in str(error):
        seen = "a quote that opens here never closes"
    else:
        seen = f"this row cannot be read: {error}"
    return DataError(
        seen,
        code="table-row-invalid",
        file=path,
        line=chunk.next_line(),
        hint='a quote inside a quoted field is written ""',
    )


def column_names(header: Sequence[str], path: Path) -> tuple[str, ...]:
    """Return the names in the header of a table; raises `DataError` if there are none, or one is repeated."""
    names = tuple(cell.strip() for cell in header)
    if not any(names):
        raise DataError(
            "the file is empty, a header with column names is expected", code="table-empty", file=path, line=1
        )
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                f'the column "{name}" is there twice',
                code="column-repeated",
                file=path,
                line=1,
                hint="rename one of them",
            )
    return names


def _even(chunks: Iterator[Chunk], header: tuple[str, ...], path: Path) -> Iterator[Chunk]:
    """Pass chunks on without blank lines, and refuse rows of the wrong length."""
    for chunk in chunks:
        lengths = set(map(len, chunk.rows))
        if lengths == {len(header)}:
            yield chunk
            continue
        kept = Chunk([], chunk.first_line, blank_before=[])
        for index, row in enumerate(chunk.rows):
            if not row:
                kept.blank_before.append(len(kept.rows))
            elif len(row) == len(header):
                kept.rows.append(row)
            else:
                raise DataError(
                    f"this row has {len(row)} cells, the header has {len(header)}",
                    code="table-cells",
                    file=path,
                    line=chunk.lines()[index],
                    hint="put quotes around a cell that holds the separator",
                )
        yield kept
