"""Queries of databases as logs: each through its own driver, read only, nothing left behind."""

import importlib.util
import os
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from crossgrade.catalog import packaged_catalog
from crossgrade.errors import MissingExtraError
from crossgrade.workloads.traffic import Scan, scan_logs
from crossgrade.workloads.traffic.databases import opened_sources, without_password
from tests.clickhouse import ClickHousePort, greeting, listening
from tests.codes import raises_code

ROWS = """
    select 'r' || i as id, 'support' as route, 'gpt-4.1-mini' as model, 200 as status,
           timestamp '2026-11-01 10:00:00' + i * interval '1 minute' as started_at,
           1000 as input_tokens, 100 as output_tokens, cast(0.5 as decimal(10, 4)) as cost_usd
"""


def scan(url: str, query: str | None) -> Scan:
    return scan_logs([url], catalog=packaged_catalog(), today=date(2026, 11, 25), query=query)


def check(found: Scan) -> None:
    assert (found.requests, found.input_tokens, found.spend_usd) == (300, 300_000, 150.0)
    assert str(found.first) == "2026-11-01 10:00:00+00:00"
    assert found.findings[0].name == "support"
    assert not found.problems


@pytest.mark.needs("module:duckdb")
def test_duckdb_reads_parquet_in_place(tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "log.parquet"
    duckdb.execute(f"COPY ({ROWS} from range(300) t(i)) TO '{path}' (FORMAT parquet)")
    check(scan("duckdb:", f"select * from '{path}';"))


@pytest.mark.needs("module:duckdb")
def test_a_duckdb_file_is_read_and_not_written(tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "log.db"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"create table requests as {ROWS} from range(300) t(i)")
    check(scan(f"duckdb:{path}", "select * from requests"))
    with raises_code("query-refused", "nothing_here"):
        scan(f"duckdb:{path}", "select * from nothing_here")
    with raises_code("database-missing"):
        scan(f"duckdb:{tmp_path / 'other.db'}", "select 1")


@pytest.mark.needs("postgresql")
def test_postgresql_is_read_and_not_written() -> None:
    url = os.environ["CROSSGRADE_TEST_POSTGRES_URL"]
    check(scan(url, f"{ROWS} from generate_series(0, 299) i"))
    with raises_code("query-refused"):
        scan(url, "with x as (delete from pg_class returning 1) select * from x")


class ClickHouse(ClickHousePort):
    """What ClickHouse says on its HTTP port to the queries of these tests."""

    asked: list[tuple[str, dict[str, str]]]

    def answer(self, sql: str, data: bytes, given: dict[str, str]) -> tuple[bytes, int]:
        assert not data
        type(self).asked.append((sql, given))
        if "from requests" in sql:
            rows = (
                f'{{"id":"r{n}","route":"support","model":"gpt-4.1-mini","started_at":"2026-11-01T10:{n % 60:02d}:00Z",'
                '"input_tokens":1000,"output_tokens":100,"cost_usd":0.5}\n'
                for n in range(300)
            )
            return "".join(rows).encode(), 200
        said = greeting(sql, SETTINGS)
        if said is not None:
            return said, 200
        return b"Code: 60. DB::Exception: Unknown table (UNKNOWN_TABLE)", 404


SETTINGS = ("readonly", "date_time_output_format", "output_format_json_quote_64bit_integers")


@pytest.fixture
def clickhouse() -> Iterator[str]:
    ClickHouse.asked = []
    with listening(ClickHouse) as address:
        yield f"clickhouse://reader:pa55word@{address}/logs"


@pytest.mark.needs("module:clickhouse_connect")
def test_clickhouse_is_read_and_not_written(clickhouse: str) -> None:
    check(scan(clickhouse, "select * from requests"))
    query, settings = ClickHouse.asked[-1]
    assert "JSONEachRow" in query or settings.get("default_format") == "JSONEachRow"
    assert settings["readonly"] == "2"
    with raises_code("query-refused", "UNKNOWN_TABLE") as caught:
        scan(clickhouse, "select * from others")
    assert "pa55word" not in str(caught.value)


def test_a_password_is_neither_shown_nor_kept() -> None:
    assert without_password("postgresql://u:p@host:5432/db?x=1") == "postgresql://u@host:5432/db?x=1"
    assert without_password("logs/a.jsonl") == "logs/a.jsonl"


def test_a_query_and_its_database_come_together(tmp_path: Path) -> None:
    with raises_code("query-missing"):
        scan("postgresql://localhost/x", None)
    with raises_code("query-not-alone"), opened_sources([tmp_path], "select 1"):
        pass


def test_a_driver_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name, url in (("duckdb", "duckdb:"), ("clickhouse_connect", "clickhouse://localhost/x")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtraError):
            scan(url, "select 1")


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if importlib.util.find_spec("duckdb"):
        with opened_sources(["duckdb:"], "select 1 as a") as files:
            assert files[0].read_text() == '{"a":1}\n'
    assert list(tmp_path.iterdir()) == []


@pytest.mark.needs("module:duckdb")
def test_the_documented_sums_of_a_warehouse_are_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import duckdb

    page = (Path(__file__).parents[4] / "docs" / "reference" / "traffic.md").read_text(encoding="utf-8")
    query = re.search(r"```sql\n(.*?)```", page, re.DOTALL)
    assert query is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    duckdb.execute(
        "COPY (select 'support' as team_id, 'gpt-4.1-mini' as model, 'openai' as custom_llm_provider, "
        "timestamp '2026-11-01 10:00:00' + i * interval '1 hour' as \"startTime\", 1000 as prompt_tokens, "
        "100 as completion_tokens, 0.5 as spend from range(300) t(i)) TO 'logs/a.parquet' (FORMAT parquet)"
    )
    found = scan("duckdb:", query[1])
    assert (found.requests, found.input_tokens, found.spend_usd) == (300, 300_000, 150.0)
    assert found.findings[0].moves[0].saving_per_month_usd.value is not None
