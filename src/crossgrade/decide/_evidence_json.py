"""Evidence as plain JSON and back, to the same bits."""

import math
from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec
import numpy as np

from crossgrade.decide._evidence import Evidence
from crossgrade.decide._json import finite_json
from crossgrade.errors import CrossgradeError, DataError

EVIDENCE_VERSION = 1
"""Raised when a field changes meaning; fields that are added have defaults, so old records stay readable."""


def evidence_to_json(evidence: Evidence) -> dict[str, Any]:
    """Return the evidence as plain JSON values, `schema_version` first.

    A column is a list with a value for each sample, `null` where there is none (NaN, or no text). A column
    that is not there is `null` as a whole. Other numbers that JSON lacks are texts, as `finite_json` says.
    """
    tree: dict[str, Any] = finite_json(msgspec.to_builtins(evidence, enc_hook=_listed))
    return {"schema_version": EVIDENCE_VERSION, **tree}


def evidence_from_json(tree: Any) -> Evidence:
    """Return the evidence that `evidence_to_json` wrote.

    Raises `DataError` for what is no evidence, or is that of a newer release.
    """
    version = tree.get("schema_version") if isinstance(tree, dict) else None
    if version != EVIDENCE_VERSION or isinstance(version, bool):
        raise DataError(
            f"evidence has schema version {version!r}, this release reads {EVIDENCE_VERSION}",
            code="evidence-too-new",
            hint="upgrade crossgrade to read it",
        )
    try:
        found: Evidence = msgspec.convert(
            {name: value for name, value in tree.items() if name != "schema_version"},
            Evidence,
            strict=False,  # an infinity is a text
            dec_hook=_column,
        )
    except (CrossgradeError, msgspec.ValidationError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(
            f"this is no evidence: {error}",
            code="evidence-invalid",
            hint="get the file again, byte for byte as it was written",
        ) from error
    return found


def _listed(column: Any) -> list[Any]:
    assert isinstance(column, np.ndarray)  # of the types of an evidence's fields msgspec lacks this one alone
    values: list[Any] = column.tolist()
    return [None if each != each else each for each in values] if column.dtype.kind == "f" else values  # noqa: PLR0124 -- NaN


def _column(kind: Any, values: Any) -> np.ndarray:
    """Return a column of the wanted kind. Raises `ValueError` for a value of another."""
    (dtype,) = get_args(get_args(kind)[1])
    if not isinstance(values, list):
        raise ValueError(f"{type(values).__name__} where a column belongs")
    fits, read = _KINDS[dtype]
    wrong = next((at for at, each in enumerate(values) if not fits(each)), None)
    if wrong is not None:
        raise ValueError(f"a column has {str(values[wrong])[:40]!r} in row {wrong}")
    column = np.empty(len(values), dtype=dtype)
    column[:] = [read(each) for each in values]
    return column


def _is_number(value: Any) -> bool:
    return value is None or type(value) in (int, float) or value in _INFINITE


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _as_it_is(value: Any) -> Any:
    return value


_INFINITE = (finite_json(math.inf), finite_json(-math.inf), "inf", "-inf")
"""The texts of infinities. The last two were written before all documents had one spelling."""

_KINDS: Mapping[Any, tuple[Callable[[Any], bool], Callable[[Any], Any]]] = {
    np.float64: (_is_number, _number),
    np.int64: (lambda value: type(value) is int, _as_it_is),
    np.bool_: (lambda value: type(value) is bool, _as_it_is),
    np.object_: (lambda value: value is None or isinstance(value, str), _as_it_is),
}
"""By the kind of a column: whether a value may stand in it, and what it is there."""
