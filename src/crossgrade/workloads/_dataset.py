"""Datasets read into samples and frozen by a digest of their content."""

import hashlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from crossgrade.domain import JSON, Sample
from crossgrade.errors import DataError, closest
from crossgrade.workloads.files import (
    FileLimits,
    as_text,
    canonical,
    decode_line,
    find_file,
    first_bytes,
    json_lines,
    open_parquet,
    open_table,
)

DatasetFormat = Literal["jsonl", "csv", "parquet", "tasks"]

_TARGET = "target"
_ID_CHARACTERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The samples of a dataset in file order, and the digest that freezes them.

    `digest` is `sha256:` and the SHA-256, in hexadecimal, over the samples in order: for each one
    the canonical JSON (sorted keys, no spaces, UTF-8, whole floats written as integers) of the
    array [id, fields, target, segment, cluster, weight], and a line end. It does not depend on
    the file's spacing, key order, line ends, quoting or compression.
    """

    samples: tuple[Sample, ...]
    digest: str
    path: Path
    format: DatasetFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class _Roles:
    """Which fields of a row are the sample's id, target, segment, cluster and weight."""

    id: str | None = None
    target: str | None = None
    segment: str | None = None
    cluster: str | None = None
    weight: str | None = None

    def named(self) -> list[str]:
        """Return the fields that must be there; the usual name of the target need not."""
        target = None if self.target == _TARGET else self.target
        return [name for name in (self.id, target, self.segment, self.cluster, self.weight) if name]


def read_dataset(
    path: str | Path,
    *,
    id_field: str | None = None,
    target_field: str | None = _TARGET,
    segment: str | None = None,
    cluster: str | None = None,
    weight: str | None = None,
    root: Path | None = None,
    limits: FileLimits | None = None,
) -> Dataset:
    """Read a dataset: JSON lines, CSV (either may be `.gz` or `.zst`) or Parquet.

    The format is recognised from the content. Without `id_field` a sample's id is a hash of its
    content. The other arguments name fields of the rows; a target, segment or cluster may be
    missing in a row, and a missing weight is 1. `root` is the folder the file must lie in.

    Without `id_field`, rows with the same content are one sample, with their weights added.

    Raises `DataError`, with file, line and column, for a file that is missing, outside `root`,
    empty, damaged, not UTF-8 or beyond `limits`, for missing fields, ids that are there twice,
    and weights that are not positive numbers; `MissingExtraError` for Parquet without pyarrow.
    """
    file = find_file(path, root=root)
    bounds = limits or FileLimits()
    roles = _Roles(id=id_field, target=target_field, segment=segment, cluster=cluster, weight=weight)
    kind = _format(file)
    samples = _samples(file, _READERS[kind](file, bounds, roles), roles)
    return frozen(samples if id_field else _once(samples), path=Path(path), kind=kind)


def frozen(samples: Iterable[Sample], *, path: Path, kind: DatasetFormat) -> Dataset:
    """Return samples as a dataset, frozen by their digest. Raises `DataError` if there are none."""
    kept = tuple(samples)
    if not kept:
        raise DataError(
            "the dataset is empty", code="dataset-empty", file=path, hint="add a row for each sample"
        )
    return Dataset(samples=kept, digest=_digest(kept), path=path, format=kind)


def dataset_fields(
    path: str | Path, *, root: Path | None = None, limits: FileLimits | None = None
) -> tuple[str, ...]:
    """Return the names of a dataset's fields, as its first row has them. Raises as `read_dataset` does."""
    file = find_file(path, root=root)
    with closing(_READERS[_format(file)](file, limits or FileLimits(), _Roles())) as rows:
        for _, row in rows:
            return tuple(row)
    raise DataError("the dataset is empty", code="dataset-empty", file=path, hint="add a row for each sample")


def _format(path: Path) -> DatasetFormat:
    head = first_bytes(path)
    if head.startswith(b"PAR1"):
        return "parquet"
    return "jsonl" if head.lstrip().startswith((b"{", b"[")) else "csv"


_Rows = Generator[tuple[int, Mapping[str, Any]]]


def _json_rows(path: Path, limits: FileLimits, roles: _Roles) -> _Rows:
    for line, data in json_lines(path, limits):
        row = decode_line(data, path=path, line=line, limits=limits)
        _check_fields(path, roles, tuple(row), line)
        yield line, row


def _csv_rows(path: Path, limits: FileLimits, roles: _Roles) -> _Rows:
    table = open_table(path, limits)
    _check_fields(path, roles, table.header, 1)
    for chunk in table.chunks:
        for line, row in zip(chunk.lines(), chunk.rows, strict=True):
            yield line, dict(zip(table.header, row, strict=True))


def _parquet_rows(path: Path, limits: FileLimits, roles: _Roles) -> _Rows:
    with open_parquet(path, limits) as (names, rows):
        _check_fields(path, roles, names, None)
        yield from rows


_READERS: Mapping[DatasetFormat, Callable[[Path, FileLimits, _Roles], _Rows]] = {
    "jsonl": _json_rows,
    "csv": _csv_rows,
    "parquet": _parquet_rows,
}


def _check_fields(path: Path, roles: _Roles, names: Sequence[str], line: int | None) -> None:
    for wanted in roles.named():
        if wanted not in names:
            listed = ", ".join(f'"{name[:60]}"' for name in names[:20])
            raise DataError(
                f'there is no field "{wanted}"; the fields are {listed}{closest(wanted, names)}',
                code="field-missing-in-data",
                file=path,
                line=line,
                hint="correct the field's name in the workload, or add the field to every row",
            )


def _samples(path: Path, rows: _Rows, roles: _Roles) -> Iterator[Sample]:
    lines: dict[str, int] = {}
    for line, row in rows:
        sample_id = _text(row, roles.id) if roles.id else _content_id(row)
        if not sample_id:
            raise DataError(
                f'the id field "{roles.id}" is empty',
                code="id-empty",
                file=path,
                line=line,
                hint="give each row an id",
            )
        if roles.id and (first := lines.setdefault(sample_id, line)) != line:
            raise DataError(
                f'the id "{sample_id}" is on line {first} and on line {line}',
                code="id-repeated",
                file=path,
                line=line,
                where=roles.id,
                hint="give each row an id of its own",
            )
        yield Sample(
            id=sample_id,
            fields=row,
            target=_value(row, roles.target),
            segment=_text(row, roles.segment),
            cluster=_text(row, roles.cluster),
            weight=_weight(path, row, roles.weight, line),
            line=line,
        )


def _once(samples: Iterable[Sample]) -> list[Sample]:
    """Return rows without ids: those with the same content are one sample, with their weights added."""
    found: dict[str, Sample] = {}
    for sample in samples:
        known = found.get(sample.id)
        found[sample.id] = sample if known is None else replace(known, weight=known.weight + sample.weight)
    return list(found.values())


def _content_id(row: Mapping[str, JSON]) -> str:
    return hashlib.sha256(canonical(row)).hexdigest()[:_ID_CHARACTERS]


def _value(row: Mapping[str, JSON], name: str | None) -> JSON:
    """Return a field; the empty text of a CSV cell is no value."""
    value = row.get(name) if name else None
    return None if value == "" else value


def _text(row: Mapping[str, JSON], name: str | None) -> str | None:
    return as_text(_value(row, name))


def _weight(path: Path, row: Mapping[str, JSON], name: str | None, line: int) -> float:
    value = _value(row, name)
    if value is None:
        return 1.0
    try:
        weight = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise DataError(
            f"the weight is {as_text(value)!r}, a positive number is expected",
            code="weight-invalid-in-data",
            file=path,
            line=line,
            where=name,
        )
    return weight


def samples_before(dataset: Dataset, digest: str) -> int | None:
    """Return how many samples the dataset had under this digest, before rows were added to its end.

    None if it never had it: rows were changed, moved or taken out since.
    """
    hashed = enumerate(_hashed(dataset.samples), 1)
    return next((number for number, each in hashed if f"sha256:{each.hexdigest()}" == digest), None)


def sample_digest(sample: Sample) -> str:
    """Return `sha256:` and the SHA-256, in hexadecimal, of what a dataset's digest has of one sample."""
    return f"sha256:{hashlib.sha256(_row(sample)).hexdigest()}"


def _row(sample: Sample) -> bytes:
    fields = (sample.id, sample.fields, sample.target, sample.segment, sample.cluster, sample.weight)
    return canonical(list(fields))


def _digest(samples: Sequence[Sample]) -> str:
    *_, last = _hashed(samples)
    return f"sha256:{last.hexdigest()}"


def _hashed(samples: Iterable[Sample]) -> "Iterator[hashlib._Hash]":
    """Yield the hash after each sample."""
    digest = hashlib.sha256()
    for each in samples:
        digest.update(_row(each))
        digest.update(b"\n")
        yield digest
