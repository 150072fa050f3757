"""Results written as the long form that every reader of this room takes."""

import csv
import math
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

from crossgrade.workloads._results import AMOUNTS, LABELS, TEXTS, Labels, Results
from crossgrade.workloads.files import whole_file

_WRITTEN_LABELS = {"question_digest": "prompt"}
"""A digest stands for the question it was made of: equal ones pair, different ones do not."""


def write_results(results: Results, path: Path, *, blank: Sequence[str] = ()) -> int:
    """Write results as one CSV table in the long form, whole or not at all; returns its rows.

    docs/reference/formats.md describes the columns; what no row has becomes no column, but for those
    named in `blank`, which are left to be filled in. Raises
    `StoreError` when the file cannot be written.
    """
    columns = list(_columns(results))
    columns += [(name, repeat("", len(results))) for name in blank if name not in dict(columns)]
    with whole_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([name for name, _ in columns])
        writer.writerows(zip(*(cells for _, cells in columns), strict=True))
    return len(results)


def _columns(results: Results) -> Iterator[tuple[str, Iterator[Any]]]:
    yield "item_id", (results.samples.names[code] for code in results.samples.codes)
    yield "model", (results.models.names[code] for code in results.models.codes)
    yield "score", map(_cell, results.score)
    if results.error.any():
        yield "error", ("error" if failed else "" for failed in results.error)
    if results.unparsed.any():
        yield "unparsed", ("true" if flag else "" for flag in results.unparsed)
    for name in LABELS:
        if name in results.labels:
            yield _WRITTEN_LABELS.get(name, name), _named(results.labels[name])
    for name in AMOUNTS:
        if name in results.amounts:
            yield name, map(_cell, results.amounts[name])
    for name in TEXTS:
        if name in results.texts:
            yield name, ("" if text is None else text for text in results.texts[name])


def _named(labels: Labels) -> Iterator[str]:
    return (labels.names[code] if code >= 0 else "" for code in labels.codes)


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value)).removesuffix(".0")
