"""Destinations elsewhere: a file system of fsspec, and what ClickHouse says on its HTTP port."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pyarrow.parquet as pq
import pytest

from crossgrade.errors import MissingExtraError
from crossgrade.serve._rows import record_columns
from tests.clickhouse import ClickHousePort, greeting, listening
from tests.codes import raises_code
from tests.unit.serve.exporting import Log, exported, scanned

pytestmark = pytest.mark.needs("module:pyarrow")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    log = Log(tmp_path)
    log.flush(5)
    return log


@pytest.mark.needs("module:upath")
def test_a_folder_of_a_store_elsewhere_is_exported_to_and_scanned(tmp_path: Path, log: Log) -> None:
    place = f"memory://{uuid4().hex}/records"
    assert len(exported(tmp_path, place)) == 1
    log.flush(5)
    assert len(exported(tmp_path, f"{place}/")) == 1
    assert scanned(place).requests == 10


@pytest.mark.needs("module:upath")
def test_a_store_that_refuses_is_told_by_its_code(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    raised: list[Exception] = [
        PermissionError("Access Denied"),
        FileNotFoundError("The specified bucket does not exist"),
        RuntimeError("a store's own kind of error"),
    ]

    def refuse(*_: object, **__: object) -> None:
        raise raised.pop(0)

    place = f"memory://{uuid4().hex}"
    with monkeypatch.context() as patched:
        patched.setattr(MemoryFileSystem, "open", refuse)
        for code in ("records-export-denied", "records-export-failed", "records-export-failed"):
            with raises_code(code, place):
                exported(tmp_path, place)
    assert len(exported(tmp_path, place)) == 1
    assert scanned(place).requests == 5


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("https://example.com/records", "records-destination-invalid"),
        ("s3://me:secret@bucket/records", "address-with-password"),
        ("nosuch://bucket/records", "log-address-unknown"),
        ("clickhouse://me:secret@localhost/db", "records-destination-invalid"),
        ("clickhouse://me:secret@localhost/db/requests; drop table x", "records-destination-invalid"),
    ],
)
def test_a_destination_that_is_none_is_refused(tmp_path: Path, to: str, code: str) -> None:
    with raises_code(code) as caught:
        exported(tmp_path, to)
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("module", "to", "extra"),
    [
        ("pyarrow", "records", "parquet"),
        ("upath", "memory://records", "objects"),
        ("clickhouse_connect", "clickhouse://localhost/db/requests", "clickhouse"),
    ],
)
def test_an_extra_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, to: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError) as caught:
        exported(tmp_path, to)
    assert caught.value.extra == extra


SETTINGS = (
    "async_insert",
    "insert_deduplicate",
    "insert_deduplication_token",
    "input_format_null_as_default",
)


class ClickHouse(ClickHousePort):
    """A server that knows one table, and a batch again by its token."""

    columns: list[str] | None
    batches: dict[str, list[str]]
    said: list[str]
    """What it answers to the next inserts instead: an error, or nothing after the batch is stored."""

    def answer(self, sql: str, data: bytes, given: dict[str, str]) -> tuple[bytes, int] | None:
        known = type(self)
        if "INSERT INTO" in sql:
            return known._insert(data, given)
        if "DESCRIBE" in sql and known.columns is None:
            return b"Code: 60. DB::Exception: Table does not exist. (UNKNOWN_TABLE)", 404
        if "DESCRIBE" in sql:
            assert known.columns is not None
            return b"".join(msgspec.json.encode({"name": each}) + b"\n" for each in known.columns), 200
        if "CREATE TABLE" in sql:
            known.columns = [each.name for each in record_columns()]
            return b"", 200
        said = greeting(sql, SETTINGS)
        assert said is not None
        return said, 200

    @classmethod
    def _insert(cls, data: bytes, given: dict[str, str]) -> tuple[bytes, int] | None:
        said = cls.said.pop(0) if cls.said else ""
        if said.startswith("Code"):
            return said.encode(), 500
        assert (given["async_insert"], given["input_format_null_as_default"]) == ("0", "0")
        table = pq.read_table(io.BytesIO(data))
        cls.batches.setdefault(given["insert_deduplication_token"], table.column("id").to_pylist())
        return None if said == "gone" else (b"", 200)


@pytest.fixture
def clickhouse() -> Iterator[str]:
    ClickHouse.columns, ClickHouse.batches, ClickHouse.said = None, {}, []
    with listening(ClickHouse) as address:
        yield f"clickhouse://writer:pa55word@{address}/db/requests"


def inserted() -> list[str]:
    return [each for batch in ClickHouse.batches.values() for each in batch]


@pytest.mark.needs("module:clickhouse_connect")
def test_a_table_is_made_and_filled(tmp_path: Path, log: Log, clickhouse: str) -> None:
    assert len(exported(tmp_path, clickhouse)) == 1
    log.flush(5)
    assert len(exported(tmp_path, clickhouse)) == 1
    assert inserted() == log.ids
    saved = [path.read_text() for path in (tmp_path / "serve" / "exports").glob("*/position.json")]
    assert len(saved) == 1
    assert "pa55word" not in saved[0]


@pytest.mark.needs("module:clickhouse_connect")
@pytest.mark.parametrize(
    ("said", "code"),
    [
        (
            "Code: 497. DB::Exception: pa55word: Not enough privileges. (ACCESS_DENIED)",
            "records-export-denied",
        ),
        ("Code: 243. DB::Exception: Cannot reserve 1 MiB. (NOT_ENOUGH_SPACE)", "records-export-full"),
        ("Code: 252. DB::Exception: Too many parts. (TOO_MANY_PARTS)", "records-export-failed"),
    ],
)
def test_a_server_that_refuses_gets_the_same_batch_again(
    tmp_path: Path, log: Log, clickhouse: str, said: str, code: str
) -> None:
    ClickHouse.said = [said]
    with raises_code(code) as caught:
        exported(tmp_path, clickhouse)
    assert "pa55word" not in str(caught.value)
    log.flush(5)
    assert len(exported(tmp_path, clickhouse)) == 2
    assert inserted() == log.ids


@pytest.mark.needs("module:clickhouse_connect")
def test_an_answer_that_is_lost_after_the_insert_makes_no_record_twice(
    tmp_path: Path, log: Log, clickhouse: str
) -> None:
    ClickHouse.said = ["gone"] * 5  # the driver itself tries again
    with raises_code("records-export-failed"):
        exported(tmp_path, clickhouse)
    assert inserted() == log.ids
    ClickHouse.said = []
    log.flush(5)
    assert len(exported(tmp_path, clickhouse)) == 2
    assert inserted() == log.ids


@pytest.mark.needs("module:clickhouse_connect")
def test_a_table_of_another_release_is_told_with_what_it_lacks(
    tmp_path: Path, log: Log, clickhouse: str
) -> None:
    ClickHouse.columns = [each.name for each in record_columns() if each.name != "side"] + ["our_own"]
    with raises_code("records-table-differs", "side") as caught:
        exported(tmp_path, clickhouse)
    assert "ADD COLUMN side LowCardinality(Nullable(String))" in caught.value.hint
    ClickHouse.columns.append("side")
    assert len(exported(tmp_path, clickhouse)) == 1


@pytest.mark.needs("module:clickhouse_connect")
def test_a_server_that_is_not_there_is_told(tmp_path: Path, log: Log) -> None:
    with raises_code("records-export-failed", "clickhouse://writer@127.0.0.1:1/db/requests") as caught:
        exported(tmp_path, "clickhouse://writer:pa55word@127.0.0.1:1/db/requests")
    assert "pa55word" not in str(caught.value)
