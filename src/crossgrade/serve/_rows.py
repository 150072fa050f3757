"""Request records as rows: the columns of a Parquet file, and of a table in ClickHouse."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

from msgspec import inspect

from crossgrade.errors import MissingExtraError
from crossgrade.gateway import RequestRecord

_Kind: TypeAlias = Literal["time", "text", "integer", "number", "boolean"]

_LEFT_OUT = frozenset({"prompt"})
"""What `serve.log_prompts` adds stays in the log: exported records have no texts."""

_UNIQUE = frozenset({"id", "response_id", "run"})
_KINDS: dict[type[inspect.Type], _Kind] = {
    inspect.StrType: "text",
    inspect.LiteralType: "text",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.BoolType: "boolean",
}
_CLICKHOUSE: dict[_Kind, str] = {
    "time": "DateTime64(6, 'UTC')",
    "text": "String",
    "integer": "Int64",
    "number": "Float64",
    "boolean": "Bool",
}


@dataclass(frozen=True, slots=True)
class RecordColumn:
    """A column of exported records; where `optional`, null is unknown."""

    name: str
    kind: _Kind
    optional: bool

    @property
    def clickhouse_type(self) -> str:
        """Its type in ClickHouse."""
        plain = f"Nullable({_CLICKHOUSE[self.kind]})" if self.optional else _CLICKHOUSE[self.kind]
        return f"LowCardinality({plain})" if self.kind == "text" and self.name not in _UNIQUE else plain


@cache
def record_columns() -> tuple[RecordColumn, ...]:
    """Return the columns: the fields of a record, but for its texts."""
    found = inspect.type_info(RequestRecord)
    assert isinstance(found, inspect.StructType)
    return tuple(_column(each) for each in found.fields if each.name not in _LEFT_OUT)


def _column(field: inspect.Field) -> RecordColumn:
    kinds = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
    known = [each for each in kinds if not isinstance(each, inspect.NoneType)]
    kind = "time" if field.name == "at" else _KINDS[type(known[0])]
    return RecordColumn(field.name, kind, len(known) < len(kinds))


def parquet_of(records: Sequence[RequestRecord]) -> bytes:
    """Return records as a Parquet file; raises MissingExtraError without the extra `parquet`."""
    pa = _pyarrow()
    from pyarrow import parquet

    schema = pa.schema(
        [pa.field(each.name, _arrow_type(each.kind), nullable=each.optional) for each in record_columns()]
    )
    table = pa.Table.from_arrays([_values(each, records) for each in record_columns()], schema=schema)
    written = io.BytesIO()
    parquet.write_table(table, written, compression="zstd")
    return written.getvalue()


def _values(column: RecordColumn, records: Sequence[RequestRecord]) -> Any:
    values = [getattr(each, column.name) for each in records]
    if column.kind == "time":
        values = [round(each * 1_000_000) for each in values]
    return _pyarrow().array(values, _arrow_type(column.kind))


def _arrow_type(kind: _Kind) -> Any:
    pa = _pyarrow()
    types = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
    return pa.timestamp("us", "UTC") if kind == "time" else types[kind]


def check_parquet() -> None:
    """Raise MissingExtraError if Parquet cannot be written."""
    _pyarrow()


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingExtraError("writing Parquet", "parquet") from None
    return pa


def table_sql(table: str) -> str:
    """Return the statement that makes a table for records in ClickHouse.

    Batches that are sent twice are dropped by their names, as long as the last 1,000 are known. Records that
    come twice in other batches become one when ClickHouse merges, and at once in a query with FINAL.
    """
    columns = ",\n".join(f"    {each.name} {each.clickhouse_type}" for each in record_columns())
    return (
        f"CREATE TABLE IF NOT EXISTS {table}\n(\n{columns}\n)\n"
        "ENGINE = ReplacingMergeTree\nPARTITION BY toYYYYMM(at)\nORDER BY (at, id)\n"
        "SETTINGS non_replicated_deduplication_window = 1000"
    )
