"""Results that are in memory: lists of records, and frames of pandas or polars."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from crossgrade.errors import DataError

Record: TypeAlias = Mapping[str, Any]
Files: TypeAlias = str | Path | Sequence[str | Path] | Mapping[str, str | Path]


@runtime_checkable
class PandasFrame(Protocol):
    """What is read of a pandas frame."""

    def to_dict(self, orient: Literal["records"]) -> Sequence[Any]:
        """Return the rows."""


@runtime_checkable
class PolarsFrame(Protocol):
    """What is read of a polars frame."""

    def to_dicts(self) -> Sequence[Any]:
        """Return the rows."""


Source: TypeAlias = Files | Sequence[Record] | PandasFrame | PolarsFrame
"""Where scored answers come from: a path, several, a mapping from model to path, records, or a frame."""

_MISSING = {"NAType", "NaTType"}
"""The types of pandas' values that stand for a missing one and are no NaN."""


@contextmanager
def as_files(source: Source) -> Iterator[Files]:
    """Give paths as they are, and rows as a file of JSON lines: both are read by the same rules."""
    rows = _rows(source)
    if rows is None:
        yield source  # type: ignore[misc]  # neither records nor a frame
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "results.jsonl"
        path.write_bytes(b"".join(msgspec.json.encode(_plain(row), enc_hook=str) + b"\n" for row in rows))
        try:
            yield path
        except DataError as error:
            error.file = "row" if error.line else "results"
            raise


def _rows(source: Source) -> Sequence[Record] | None:
    """Return the rows of records or a frame, None for paths."""
    if isinstance(source, PolarsFrame):
        return source.to_dicts()
    if isinstance(source, PandasFrame):
        return source.to_dict(orient="records")
    if isinstance(source, Sequence) and not isinstance(source, str) and source:
        first, *_ = source
        return source if isinstance(first, Mapping) else None  # type: ignore[return-value]  # all are alike
    return None


def _plain(row: Record) -> dict[str, Any]:
    """Return a row as JSON has it: Python's own numbers, and null for what is missing."""
    return {str(name): _cell(value) for name, value in row.items()}


def _cell(value: Any) -> Any:
    if type(value).__name__ in _MISSING:
        return None
    if hasattr(value, "item") and not hasattr(value, "__len__"):  # a number of NumPy's
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value
