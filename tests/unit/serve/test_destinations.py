"""Destinations elsewhere: a file system of fsspec, and what ClickHouse says on its HTTP port."""

import io
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import msgspec
import pyarrow.parquet as pq
import pytest

from crossgrade.errors import MissingExtraError
from crossgrade.serve import RecordExport
from crossgrade.serve._rows import record_columns
from tests.codes import raises_code
from tests.unit.serve.exporting import Log, scanned
from tests.unit.workloads.traffic.test_databases import block

pytestmark = pytest.mark.needs("module:pyarrow")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    log = Log(tmp_path)
    log.flush(5)
    return log


def exported(state: Path, to: str) -> int:
    """Export all there is; return how many batches."""
    with RecordExport.open(state, to) as found:
        return sum(1 for _ in iter(found.export_next, None))


@pytest.mark.needs("module:upath")
def test_a_folder_of_a_store_elsewhere_is_exported_to_and_scanned(tmp_path: Path, log: Log) -> None:
    place = f"memory://{uuid4().hex}/records"
    assert exported(tmp_path, place) == 1
    log.flush(5)
    assert exported(tmp_path, f"{place}/") == 1
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
    assert exported(tmp_path, place) == 1
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


class ClickHouse(BaseHTTPRequestHandler):
    """A server that knows one table, and a batch again by its token."""

    columns: list[str] | None
    batches: dict[str, list[str]]
    said: list[str]
    """What it answers to the next inserts instead: an error, or nothing after the batch is stored."""

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("content-length") or 0)))

    def do_GET(self) -> None:
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        given = parse_qs(urlsplit(self.path).query)
        query = given.get("query", [""])[0].encode() + body
        known = type(self)
        if b"INSERT INTO" in query:
            self._insert(query, given)
        elif b"DESCRIBE" in query and known.columns is None:
            self._send(b"Code: 60. DB::Exception: Table does not exist. (UNKNOWN_TABLE)", 404)
        elif b"DESCRIBE" in query:
            assert known.columns is not None
            self._send(b"".join(msgspec.json.encode({"name": each}) + b"\n" for each in known.columns))
        elif b"CREATE TABLE" in query:
            known.columns = [each.name for each in record_columns()]
            self._send(b"")
        elif b"system.settings" in query:
            short = [bytes([len(name)]) + name.encode() for name in SETTINGS]
            count = len(SETTINGS)
            self._send(
                block(
                    ("name", "String", short),
                    ("value", "String", [b"\x010"] * count),
                    ("readonly", "UInt8", [b"\0"] * count),
                )
            )
        else:
            self._send(b"26.9.1.1\tUTC\n")

    def _insert(self, query: bytes, given: dict[str, list[str]]) -> None:
        known = type(self)
        said = known.said.pop(0) if known.said else ""
        if said.startswith("Code"):
            self._send(said.encode(), 500)
            return
        assert (given["async_insert"], given["input_format_null_as_default"]) == (["0"], ["0"])
        table = pq.read_table(io.BytesIO(query[query.index(b"PAR1") :]))
        known.batches.setdefault(given["insert_deduplication_token"][0], table.column("id").to_pylist())
        if said == "gone":
            self.close_connection = True
            self.connection.close()
        else:
            self._send(b"")

    def _send(self, said: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def clickhouse() -> Iterator[str]:
    ClickHouse.columns, ClickHouse.batches, ClickHouse.said = None, {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), ClickHouse)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"clickhouse://writer:pa55word@127.0.0.1:{server.server_port}/db/requests"
    server.shutdown()
    server.server_close()
    thread.join()


def inserted() -> list[str]:
    return [each for batch in ClickHouse.batches.values() for each in batch]


@pytest.mark.needs("module:clickhouse_connect")
def test_a_table_is_made_and_filled(tmp_path: Path, log: Log, clickhouse: str) -> None:
    assert exported(tmp_path, clickhouse) == 1
    log.flush(5)
    assert exported(tmp_path, clickhouse) == 1
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
    assert exported(tmp_path, clickhouse) == 2
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
    assert exported(tmp_path, clickhouse) == 2
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
    assert exported(tmp_path, clickhouse) == 1


@pytest.mark.needs("module:clickhouse_connect")
def test_a_server_that_is_not_there_is_told(tmp_path: Path, log: Log) -> None:
    with raises_code("records-export-failed", "clickhouse://writer@127.0.0.1:1/db/requests") as caught:
        exported(tmp_path, "clickhouse://writer:pa55word@127.0.0.1:1/db/requests")
    assert "pa55word" not in str(caught.value)
