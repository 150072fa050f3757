"""The export of the request log: at least once under any fault, exactly once after reading by `scan`."""

import errno
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from crossgrade.serve import RecordBatch, RecordExport, _destinations, _export, _records
from tests.codes import raises_code
from tests.unit.serve.exporting import Log, exported, ids, killed_after_the_batch, rows, scanned

pytestmark = pytest.mark.needs("module:pyarrow")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "state")


@pytest.fixture
def export(tmp_path: Path) -> Callable[[], list[RecordBatch]]:
    """Exports all there is to `out`."""
    return lambda: exported(tmp_path / "state", str(tmp_path / "out"))


def test_what_is_new_is_exported_and_nothing_twice(tmp_path: Path, log: Log, export: Callable) -> None:
    assert export() == []
    log.flush(3)
    log.flush(2)
    assert [each.records for each in export()] == [5]
    assert export() == []
    log.flush(1)
    assert [each.records for each in export()] == [1]
    assert ids(tmp_path / "out") == log.ids
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert [name[11:] for name in names] == [
        "req-00000000-req-00000004.parquet",
        "req-00000005-req-00000005.parquet",
    ]


def test_a_row_has_what_the_record_says_but_for_texts(tmp_path: Path, log: Log, export: Callable) -> None:
    log.flush(1, prompt="my secret", error="upstream_error", input_tokens=None, side="candidate")
    export()
    (path,) = (tmp_path / "out").iterdir()
    (row,) = rows([path])
    assert row["at"].timestamp() == pytest.approx(1_793_000_000.25)
    assert (row["error"], row["input_tokens"], row["cost_usd"]) == ("upstream_error", None, 0.5)
    assert (row["side"], row["reason"], row["shadow"]) == ("candidate", "none", False)
    assert "prompt" not in row
    assert b"my secret" not in path.read_bytes()


def test_scan_reads_the_export_as_the_log(tmp_path: Path, log: Log, export: Callable) -> None:
    log.flush(20)
    log.flush(5, shadow=True)
    log.flush(5, input_tokens=None, cost_usd=None, status=429)
    export()
    here, there = scanned(tmp_path / "state" / "serve" / "requests"), scanned(tmp_path / "out")
    assert there.requests == here.requests == 25
    assert (there.spend_usd, there.input_tokens, there.first) == (
        here.spend_usd,
        here.input_tokens,
        here.first,
    )
    assert not there.problems


@pytest.mark.parametrize("step", ["before", "after"])
def test_a_batch_that_was_cut_off_is_repeated_as_it_was(
    tmp_path: Path, log: Log, export: Callable, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Killed before or after the file is written: the same file, though the log has grown meanwhile."""
    log.flush(3)
    with monkeypatch.context() as patched, killed_after_the_batch(monkeypatch):
        if step == "before":
            patched.setattr(_destinations, "_write_whole", killed)
        export()
    assert ids(tmp_path / "out") == ([] if step == "before" else log.ids)
    log.flush(4)
    assert [each.records for each in export()] == [3, 4]
    assert ids(tmp_path / "out") == log.ids


def killed(*_: object) -> None:
    """Take the place of a step, at which the process is killed."""
    raise KeyboardInterrupt


def test_only_what_is_settled_is_exported(tmp_path: Path, log: Log, export: Callable) -> None:
    log.flush(2)
    path = tmp_path / "state" / "serve" / "requests" / log.files.segment
    whole = path.read_bytes()
    path.write_bytes(
        whole + whole.splitlines(keepends=True)[0].replace(b"req-0", b"req-f") + b'{"id":"req-g"'
    )
    assert [each.records for each in export()] == [2]
    path.write_bytes(whole)  # what the broker does at its next start
    log.files.close()
    again = Log(tmp_path / "state")
    again.written = 2
    again.flush(1)
    assert [each.records for each in export()] == [1]
    assert ids(tmp_path / "out") == again.ids


def test_a_flush_that_a_full_disk_replaced_while_it_was_read_is_read_as_it_stands(
    tmp_path: Path, log: Log, export: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.flush(2)
    path = tmp_path / "state" / "serve" / "requests" / log.files.segment
    read = os.pread

    def replaced(*given: int) -> bytes:
        path.write_bytes(path.read_bytes().replace(b"req-0", b"req-f"))
        return read(*given)

    monkeypatch.setattr(os, "pread", replaced)
    assert [each.records for each in export()] == [2]
    assert ids(tmp_path / "out") == ["req-f0000000", "req-f0000001"]
    monkeypatch.setattr(os, "pread", lambda *_: b'{"settled":{"life":"x"\n')
    log.flush(2)
    assert export() == []
    monkeypatch.setattr(os, "pread", read)
    assert [each.records for each in export()] == [2]


def test_batches_are_bounded_and_follow_files(
    tmp_path: Path, log: Log, export: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_export, "BATCH_RECORDS", 4)
    monkeypatch.setattr(_records, "SEGMENT_BYTES", 1_500)
    for _ in range(20):
        log.flush(2)
    log.flush(0)
    batches = export()
    assert max(each.records for each in batches) == 4
    assert ids(tmp_path / "out") == log.ids
    log.flush(2)
    assert [each.records for each in export()] == [2]


def test_files_that_went_before_they_were_exported_are_told(
    tmp_path: Path, log: Log, export: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_records, "SEGMENT_BYTES", 1_000)
    log.flush(1)
    assert [each.removed for each in export()] == [False]
    monkeypatch.setattr(_records, "KEPT_BYTES", 3_000)
    for _ in range(30):
        log.flush(1)
    told = [each.removed for each in export()]
    assert told == [True] + [False] * (len(told) - 1)
    assert export() == []
    assert ids(tmp_path / "out")[-1] == log.ids[-1]


@pytest.mark.parametrize("content", [b"", b'{"to":', b'{"to":"x","version":99}', b"\xff"])
def test_a_position_that_is_damaged_or_of_another_version_exports_again(
    tmp_path: Path, log: Log, export: Callable, content: bytes
) -> None:
    log.flush(3)
    export()
    (position,) = (tmp_path / "state" / "serve" / "exports").glob("*/position.json")
    position.write_bytes(content)
    log.flush(2)
    assert [(each.records, each.repeated) for each in export()] == [(5, True)]
    assert len(ids(tmp_path / "out")) == 8
    assert scanned(tmp_path / "out").requests == 5
    assert export() == []


def test_another_log_under_the_same_name_is_exported_from_its_beginning(
    tmp_path: Path, log: Log, export: Callable
) -> None:
    """As after a crash of the machine, which lost the end of a file that was not synced yet."""
    log.flush(3)
    log.flush(3)
    export()
    path = tmp_path / "state" / "serve" / "requests" / log.files.segment
    log.files.close()
    os.truncate(path, path.stat().st_size - 10)
    again = Log(tmp_path / "state")
    again.written = 100
    again.flush(5)
    assert [(each.records, each.repeated) for each in export()] == [(8, True)]
    found = ids(tmp_path / "out")
    assert {*log.ids, *(f"req-{number:08x}" for number in range(100, 105))} == set(found)
    assert scanned(tmp_path / "out").requests == len(set(found))


def test_a_log_that_began_anew_is_exported(tmp_path: Path, log: Log, export: Callable) -> None:
    log.flush(3)
    export()
    path = tmp_path / "state" / "serve" / "requests" / log.files.segment
    path.rename(path.with_name("20200101-000001.jsonl"))
    assert [(each.records, each.repeated, each.removed) for each in export()] == [(3, True, False)]
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_damaged_line_does_not_stop_the_export(tmp_path: Path, log: Log, export: Callable) -> None:
    log.flush(3)
    path = tmp_path / "state" / "serve" / "requests" / log.files.segment
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"id":\xff\n' + b"".join(lines[2:]))
    assert [(each.records, each.unreadable) for each in export()] == [(2, 1)]


def test_one_process_at_a_time_exports_to_one_place(tmp_path: Path, log: Log) -> None:
    log.flush(1)
    state, out = tmp_path / "state", tmp_path / "out"
    with RecordExport.open(state, str(out)) as one:
        with raises_code("records-export-running", str(out)), RecordExport.open(state, f"file://{out}/"):
            pass
        with RecordExport.open(state, str(tmp_path / "other")) as two:
            assert two.export_next() is not None
        assert one.export_next() is not None
    assert ids(out) == ids(tmp_path / "other") == log.ids


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "records-export-full"),
        (errno.EACCES, "records-export-denied"),
        (errno.EIO, "records-export-failed"),
    ],
)
def test_a_refusal_loses_nothing(
    tmp_path: Path,
    log: Log,
    export: Callable,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    code: str,
) -> None:
    log.flush(3)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        with raises_code(code, str(tmp_path / "out")):
            export()
    assert list((tmp_path / "out").iterdir()) == []
    log.flush(2)
    assert [each.records for each in export()] == [3, 2]
    assert ids(tmp_path / "out") == log.ids


def test_a_position_that_cannot_be_kept_is_an_error(
    tmp_path: Path, log: Log, export: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.flush(1)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(_export, "write_private", refuse)
    with raises_code("records-position-unwritable"):
        export()


DRIVER = """
import sys
from pathlib import Path
from crossgrade.serve import RecordExport, _export
_export.BATCH_RECORDS = 20
with RecordExport.open(Path(sys.argv[1]), sys.argv[2]) as found:
    found.export_next()  # which imports what a batch takes
    print("open", flush=True)
    while True:
        found.export_next()
"""


@pytest.mark.slow
def test_kill_9_at_random_moments_leaves_each_record_once(tmp_path: Path, log: Log, export: Callable) -> None:
    chance = random.Random(20261128)
    reached = set()
    for _ in range(6):
        for _ in range(100):
            log.flush(10)
        with subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(tmp_path / "state"), str(tmp_path / "out")],
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0, 0.15))
            process.kill()
        reached.add(len(ids(tmp_path / "out")))
    assert len(reached) > 3  # most of them were killed within their work
    export()
    assert ids(tmp_path / "out") == log.ids
    assert scanned(tmp_path / "out").requests == log.written


def test_every_field_of_a_record_has_a_column() -> None:
    from crossgrade.gateway import RequestRecord
    from crossgrade.serve._rows import record_columns

    fields = {each.name for each in msgspec.structs.fields(RequestRecord)}
    assert {each.name for each in record_columns()} == fields - {"prompt"}
