"""A log read in parts, in this process or in several, is the log read as a whole."""

import gzip
import json
import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from multiprocessing import forkserver, parent_process
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.catalog import packaged_catalog
from crossgrade.errors import CrossgradeError
from crossgrade.workloads.files import FileLimits, Lines, line_starts
from crossgrade.workloads.traffic import (
    LoggedRequest,
    Reading,
    ReadingOptions,
    in_processes,
    parts,
    scan_record,
)
from crossgrade.workloads.traffic.encoding import ReadPart, read_part
from crossgrade.workloads.traffic.formats import TABLE, LogFormat
from crossgrade.workloads.traffic.parts import LogPart, log_parts
from crossgrade.workloads.traffic.scanning import scan_logs
from tests.unit.workloads.traffic.test_scanning import TODAY, chat, row

DATA = Path(__file__).parents[3] / "data" / "traffic"
OPTIONS = ReadingOptions()
LINES = NamedTemporaryFile()  # noqa: SIM115 -- a fixture would serve one example only


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 4096)


def written(path: Path, count: int) -> Path:
    """Write a log with blank lines, bad lines, two workloads, doubles, and names that come late."""
    lines = []
    for at in range(count):
        model = "gpt-4.1-mini" if at < count // 2 else "gpt-4.1"
        system = "You translate contracts." if at % 3 else None
        lines.append(json.dumps(row(at % (count - 5), model=model, messages=chat(f"Say {at}", system))))
        if at % 11 == 0:
            lines.append("")
        if at % 17 == 3:
            lines.append('{"id": ')
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def scanned(path: Path, **options: Any) -> dict[str, Any]:
    return scan_record(scan_logs([path], catalog=packaged_catalog(), today=TODAY, **options))


@given(st.lists(st.sampled_from([b"", b"a", b"bc \r", b"d" * 40, b"   "])), st.integers(1, 60), st.booleans())
def test_parts_have_the_lines_of_the_whole(lines: list[bytes], every: int, ends: bool) -> None:
    path = Path(LINES.name)
    path.write_bytes(b"\n".join(lines) + b"\n" * ends)
    whole = Lines(path, FileLimits(), print)
    wanted = list(whole)
    bounds, found, before = [*line_starts(path, every), path.stat().st_size], [], 0
    for start, end in pairwise(bounds):
        part = Lines(path, FileLimits(), print, start=start, end=end)
        found += [(number + before, line) for number, line in part]
        before += part.count
    assert found == wanted
    assert before == whole.count


def test_a_line_longer_than_a_part_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"x" * 100 + b"\n" + b"y" * 5 + b"\n")
    assert line_starts(path, 10) == [0, 101]


def test_a_scan_does_not_depend_on_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "log.jsonl", 400)
    whole = scanned(path)
    assert whole["problems"]
    assert whole["same_id"]
    for size in (500, 4096, 20_000):
        monkeypatch.setattr(parts, "PART_BYTES", size)
        assert len(list(log_parts([path], OPTIONS))) > 2
        assert scanned(path) == whole


@pytest.mark.usefixtures("small_parts")
def test_a_scan_does_not_depend_on_its_processes(tmp_path: Path) -> None:
    path = written(tmp_path / "log.jsonl", 200)
    with in_processes(2) as run:
        assert scanned(path, run=run) == scanned(path)


@pytest.mark.usefixtures("small_parts")
def test_a_file_that_shrinks_after_its_parts_are_known_is_not_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "log.jsonl", 200)

    def run(function: Any, found: Any) -> list[ReadPart]:
        known = list(found)
        os.truncate(path, known[-1].start - 10)
        return [function(part) for part in known]

    assert scanned(path, run=run)["problems"]["file cut short"] == 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.usefixtures("small_parts")
def test_an_interrupt_leaves_the_process_that_starts_others_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "log.jsonl", 100)
    with in_processes(2) as run:
        scanned(path, run=run)
    started = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # not in the stubs
    status = Path(f"/proc/{started}/status").read_text(encoding="ascii")
    blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
    assert blocked & 1 << signal.SIGINT - 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.usefixtures("small_parts")
def test_a_part_read_elsewhere_is_the_same_part(tmp_path: Path) -> None:
    path = written(tmp_path / "log.jsonl", 60)
    first, *_ = log_parts([path], OPTIONS)
    read = partial(read_part, options=OPTIONS)
    with in_processes(2) as run:
        _here, elsewhere = run(read, [first, first])
    here = read(first)
    assert elsewhere.n == here.n > 5
    assert all(
        np.array_equal(elsewhere.columns[name], here.columns[name], equal_nan=True) for name in here.columns
    )
    assert (elsewhere.kinds, elsewhere.models, elsewhere.counted) == (here.kinds, here.models, here.counted)


def _killed(part: LogPart) -> ReadPart:
    if parent_process() is not None:  # the first part is read in the test's own process
        os._exit(part.file)
    return read_part(part, OPTIONS)


def test_a_process_that_is_killed_is_an_error_and_no_gap(tmp_path: Path) -> None:
    two = [LogPart(file=3, path=tmp_path), LogPart(file=4, path=tmp_path)]
    with pytest.raises(CrossgradeError) as caught, in_processes(2) as run:
        list(run(_killed, two))
    assert caught.value.code == "worker-lost"


@pytest.mark.usefixtures("small_parts")
def test_what_cannot_be_sent_to_a_process_is_read_here(tmp_path: Path) -> None:
    path = written(tmp_path / "log.jsonl", 200)

    def read(row: Mapping[str, Any], **options: Any) -> LoggedRequest | None:
        assert TABLE.read is not None
        return TABLE.read(row, **options)

    mine = LogFormat("mine", (frozenset({"latency_ms"}),), read)
    with in_processes(2) as run:
        assert scanned(path, run=run, formats={"mine": mine})["requests"] == 195


@pytest.mark.usefixtures("small_parts")
def test_what_cannot_be_divided_is_one_part(tmp_path: Path) -> None:
    text = written(tmp_path / "log.jsonl", 60).read_bytes()
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(text))
    rows = [json.loads(line) for line in text.splitlines() if line.endswith(b"}")]
    (tmp_path / "log.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    (tmp_path / "log.csv").write_text("id,model\n" + "a,b\n" * 3000, encoding="utf-8")
    pieces = [json.dumps({"CorrelationId": f"c{at}", "SequenceNumber": 1}) for at in range(300)]
    (tmp_path / "azure.jsonl").write_text("\n".join(pieces), encoding="utf-8")
    for name in ("log.jsonl.gz", "log.json", "log.csv", "azure.jsonl"):
        assert [part.end for part in log_parts([tmp_path / name], OPTIONS)] == [None], name


@pytest.mark.usefixtures("small_parts")
def test_parquet_is_divided_by_row_groups(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    path, rows = tmp_path / "log.parquet", [row(at) for at in range(1000)]
    write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
    found = list(log_parts([path], OPTIONS))
    assert len(found) > 1
    assert [request.id for _, request in Reading(files=[path]).requests()] == [each["id"] for each in rows]


def test_order_of_reading_is_that_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "log.jsonl", 120)
    whole = [request.id for _, request in Reading(files=[path]).requests()]
    monkeypatch.setattr(parts, "PART_BYTES", 700)
    assert [request.id for _, request in Reading(files=[path]).requests()] == whole


def test_a_file_that_is_gone_is_counted(tmp_path: Path) -> None:
    reading = Reading(files=[tmp_path / "gone.jsonl"])
    assert list(reading.requests()) == []
    assert reading.problems.counts == {"file cut short": 1}
