"""An importer: tab-separated lines of item, model, score and answer, under a first line `#scores`."""

import csv
from collections.abc import Iterator
from pathlib import Path

from crossgrade.domain import ScoredAnswer
from crossgrade.errors import DataError
from crossgrade.workloads import Columns, ImporterKind, ImportRequest

_MARK = "#scores"


def knows(_: Path, head: bytes) -> bool:
    """Return whether a file is of this format, from its first bytes."""
    return head.startswith(_MARK.encode())


def read(request: ImportRequest, columns: Columns) -> None:
    """Append the scored answers of a file."""
    with request.path.open(newline="", encoding="utf-8") as file:
        columns.add(_answers(request, csv.reader(file, delimiter="\t")))


def _answers(request: ImportRequest, lines: Iterator[list[str]]) -> Iterator[ScoredAnswer]:
    next(lines, None)
    for number, line in enumerate(lines, start=2):
        try:
            item, model, score, output = line
            yield ScoredAnswer(sample_id=item, model=model, score=float(score), output=output)
        except ValueError as error:
            raise DataError(
                f"item, model, score and answer are expected: {error}",
                code="example-tsv-line",
                file=request.path,
                line=number,
                hint="separate the four by tabs",
            ) from error


TSV = ImporterKind(name="tsv", read=read, knows=knows)
