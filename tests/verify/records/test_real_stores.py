"""Exports to a server of S3's API, and to a real engine of ClickHouse behind its HTTP port.

Both run in this process: `pip install 'moto[server]' s3fs chdb`. They are too large for every run of the tests.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clickhouse import ClickHousePort, listening
from tests.codes import raises_code
from tests.unit.serve.exporting import Log, exported, killed_after_the_batch, scanned
from tests.unit.serve.test_destinations import SETTINGS


@pytest.fixture
def log(tmp_path: Path) -> Log:
    log = Log(tmp_path)
    for _ in range(3):
        log.flush(40_000)
    return log


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a server with the bucket `logs`."""
    import boto3
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()  # which know another test's server
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket="logs")
    yield client
    server.stop()


@pytest.mark.needs("module:moto", "module:s3fs")
def test_s3_has_each_record_once(tmp_path: Path, log: Log, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(exported(tmp_path, "s3://logs/records")) == 2
    log.flush(10)
    with killed_after_the_batch(monkeypatch):
        exported(tmp_path, "s3://logs/records")
    log.flush(10)
    assert len(exported(tmp_path, "s3://logs/records")) == 2
    assert len(s3.list_objects_v2(Bucket="logs")["Contents"]) == 4
    assert scanned("s3://logs/records").requests == log.written == 120_020


@pytest.mark.needs("module:moto", "module:s3fs")
def test_a_bucket_that_is_missing_is_told_and_not_made(tmp_path: Path, log: Log, s3: Any) -> None:
    with raises_code("records-export-failed", "s3://gone/records"):
        exported(tmp_path, "s3://gone/records")
    assert [each["Name"] for each in s3.list_buckets()["Buckets"]] == ["logs"]


class Bridge(ClickHousePort):
    """ClickHouse's HTTP port before an engine in this process."""

    session: Any
    folder: Path
    tokens: list[str]
    broken: bool

    def answer(self, sql: str, data: bytes, given: dict[str, str]) -> tuple[bytes, int] | None:
        known = type(self)
        try:
            if data:
                path = known.folder / "batch.parquet"
                path.write_bytes(data)
                settings = ", ".join(f"{name} = '{given[name]}'" for name in SETTINGS)
                sql = re.sub(r"\s*FORMAT Parquet$", "", sql)
                sql += f" FROM INFILE '{path}' SETTINGS {settings} FORMAT Parquet"
                known.tokens.append(given["insert_deduplication_token"])
            said = known.session.query(sql, given.get("default_format", "TabSeparated")).bytes()
        except RuntimeError as error:
            return str(error).encode(), 500
        return None if data and known.broken else (said, 200)


@pytest.fixture
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from chdb.session import Session

    folder = tmp_path_factory.mktemp("clickhouse")
    Bridge.session = Session(str(folder / "db"))
    Bridge.folder, Bridge.tokens, Bridge.broken = folder, [], False
    Bridge.session.query("CREATE DATABASE db")
    with listening(Bridge) as address:
        yield f"clickhouse://{address}/db/requests"
    Bridge.session.close()


def counted(what: str) -> int:
    return int(Bridge.session.query(f"SELECT {what}").bytes())


@pytest.mark.needs("module:chdb", "module:clickhouse_connect")
def test_clickhouse_has_each_record_once(tmp_path: Path, log: Log, clickhouse: str) -> None:
    assert len(exported(tmp_path, clickhouse)) == 2
    Bridge.broken = True  # inserts, and does not say so
    log.flush(10)
    with raises_code("records-export-failed"):
        exported(tmp_path, clickhouse)
    Bridge.broken = False
    log.flush(10)
    assert len(exported(tmp_path, clickhouse)) == 2
    assert len(Bridge.tokens) > len(set(Bridge.tokens)) == 4
    assert counted("count() FROM db.requests") == log.written
    found = scanned(clickhouse.removesuffix("/requests"), query="SELECT * FROM db.requests")
    assert (found.requests, found.spend_usd) == (log.written, 0.5 * log.written)
    assert not found.problems


@pytest.mark.needs("module:chdb", "module:clickhouse_connect")
def test_records_that_come_in_other_batches_are_one_after_reading(
    tmp_path: Path, log: Log, clickhouse: str
) -> None:
    exported(tmp_path, clickhouse)
    (position,) = (tmp_path / "serve" / "exports").glob("*/position.json")
    position.unlink()
    log.flush(10)
    for path in (tmp_path / "serve" / "requests").glob("*.jsonl"):  # other batches than before
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[1:]))
    exported(tmp_path, clickhouse)
    assert counted("count() FROM db.requests") > log.written
    assert counted("count() FROM db.requests FINAL") == log.written
    found = scanned(clickhouse.removesuffix("/requests"), query="SELECT * FROM db.requests")
    assert found.requests == log.written


@pytest.mark.needs("module:chdb", "module:clickhouse_connect")
def test_a_column_that_cannot_be_unknown_is_refused_not_zero(
    tmp_path: Path, log: Log, clickhouse: str
) -> None:
    exported(tmp_path, clickhouse)
    Bridge.session.query("DROP TABLE db.requests SYNC")
    from crossgrade.serve._rows import table_sql

    Bridge.session.query(
        table_sql("db.requests").replace("input_tokens Nullable(Int64)", "input_tokens Int64")
    )
    log.flush(1, input_tokens=None)
    with raises_code("records-export-failed"):
        exported(tmp_path, clickhouse)
    assert counted("count() FROM db.requests") == 0
