"""Traces: CSV and JSON lines, rates and cache hits, rows that are no requests."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from crossgrade.workloads import read_trace
from tests.codes import raises_code


def written(tmp_path: Path, text: str, name: str = "trace.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_real_excerpt(data_dir: Path) -> None:
    trace = read_trace(data_dir / "traces" / "azure-2023-code-excerpt.csv")
    assert len(trace.usage) == 200
    assert (int(trace.usage.input_tokens[0]), int(trace.usage.output_tokens[0])) == (4808, 10)
    assert trace.duration_s is not None
    traffic = trace.traffic()
    assert float(traffic.calls_per_month) == pytest.approx(199 / trace.duration_s * 30 * 86_400)
    assert traffic.measured
    assert traffic.mix().cache_hit_share is None
    at_will = traffic.adjusted(calls_per_day=Decimal(10), cache_hit=0.5)
    assert at_will.calls_per_month == 300
    share = at_will.mix().cache_hit_share
    assert share == pytest.approx(0.5, abs=0.001)


def test_named_columns_quotes_and_cached_tokens(tmp_path: Path) -> None:
    text = '\ufeffat,input_tokens,output_tokens,cached_tokens\n"2026-01-01T00:00:00Z",10,2,5\n2026-01-01T00:01:00Z,30,4,15\n'
    trace = read_trace(written(tmp_path, text))
    assert (trace.duration_s, trace.cached) == (60, "reported")
    assert trace.traffic().mix().cache_hit_share == 0.5


def test_a_trace_without_times_has_no_rate(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, "input_tokens,output_tokens\n1,2\n3,4\n"))
    assert trace.duration_s is None
    assert trace.traffic().calls_per_month is None


def test_the_gateways_log_without_shadows_and_failures(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "at": 100.0, "input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 4},
        {"id": "b", "at": 110.0, "input_tokens": 20, "output_tokens": 2, "shadow": True},
        {"id": "c", "at": 115.0, "error": "timeout"},
        {"id": "d", "at": 120.0, "input_tokens": 30, "output_tokens": 3},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    trace = read_trace(written(tmp_path, text, "requests.jsonl"))
    assert trace.usage.input_tokens.tolist() == [10, 30]
    assert trace.usage.cache_read_input_tokens.tolist() == [4, -1]
    assert trace.duration_s == 20


def test_shared_prefixes_are_cache_hits(tmp_path: Path) -> None:
    rows = [
        {"timestamp": 0, "input_length": 1000, "output_length": 1, "hash_ids": [1, 2]},
        {"timestamp": 3000, "input_length": 1600, "output_length": 1, "hash_ids": [1, 2, 3]},
        {"timestamp": 5000, "input_length": 700, "output_length": 1, "hash_ids": [9, 2]},
    ]
    trace = read_trace(written(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "m.jsonl"))
    assert trace.usage.cache_read_input_tokens.tolist() == [0, 1024, 0]
    assert (trace.duration_s, trace.cached) == (5, "prefixes")


@pytest.mark.parametrize(
    ("text", "seen", "line"),
    [
        ("a,b\n1,2\n", ("trace-columns",), 1),
        ("input_tokens,output_tokens\n", ("trace-empty",), None),
        ("input_tokens,output_tokens\n1,2\n1,x\n", ("trace-tokens-invalid", "x"), 3),
        ("input_tokens,output_tokens\n1,2\n1\n", ("trace-tokens-invalid",), 3),
        ("input_tokens,output_tokens\n1,2.5\n", ("trace-tokens-invalid", "2.5"), 2),
        ("input_tokens,output_tokens\n1,2\n-5,1\n", ("trace-tokens-invalid", "-5"), 3),
        ("input_tokens,output_tokens\n1,99999999999\n", ("trace-tokens-invalid", "99999999999"), 2),
        ("input_tokens,output_tokens\n1,99999999999999999999999\n", ("trace-row-invalid",), None),
        (
            '{"input_tokens": 1, "output_tokens": 2}\n{"input_tokens": "many", "output_tokens": 1}\n',
            ("trace-tokens-invalid", "many"),
            2,
        ),
        ('{"input_tokens": 1, "output_tokens": 2}\nnonsense\n', ("not-json",), 2),
        ('{"input_tokens": 1, "output_tokens": -2}\n', ("trace-tokens-invalid", "-2"), 1),
    ],
)
def test_what_is_no_trace(tmp_path: Path, text: str, seen: str, line: int | None) -> None:
    with raises_code(*seen) as caught:
        read_trace(written(tmp_path, text))
    if line is not None:
        assert caught.value.line == line
    assert caught.value.file


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with raises_code("file-missing"):
        read_trace(tmp_path / "missing.csv")
