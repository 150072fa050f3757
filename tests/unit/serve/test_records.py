"""The request log: rotation, a torn tail, a full disk, looking a response up."""

import errno
import os
from pathlib import Path

import msgspec
import pytest

from crossgrade.gateway import LeaseId, RequestRecord, Spend
from crossgrade.serve import _records, run_records
from crossgrade.serve._records import RecordFiles, Settled
from tests.codes import raises_code

LEASE = LeaseId("key", "k", "usd", 60, 0)


def _lines(*numbers: int, **fields: object) -> bytes:
    records = [
        RequestRecord(id=f"req-{number}", at=1.0, worker=0, response_id=f"chatcmpl-{number}", **fields)  # type: ignore[arg-type]  # fields that the test names
        for number in numbers
    ]
    return msgspec.json.Encoder().encode_lines(records)


def _settled(seq: int, spent: int = 5) -> Settled:
    return Settled("life", seq, [Spend(LEASE, spent, spent, 0)])


def test_what_was_settled_is_read_again_from_any_position(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path)
    assert files.append(_lines(1, 2), 2, _settled(1)) is None
    position = (files.segment, files.position)
    assert files.append(_lines(3), 1, _settled(2)) is None
    later = (files.segment, files.position)
    assert files.append(b"", 0, _settled(3)) is None
    files.close()
    assert [each.seq for each in RecordFiles(tmp_path).settled()] == [1, 2, 3]
    assert [each.seq for each in RecordFiles(tmp_path).settled(position)] == [2, 3]
    assert [each.seq for each in RecordFiles(tmp_path).settled(position, later)] == [2]
    assert RecordFiles(tmp_path).last_flushes() == {"life": 3}


@pytest.mark.parametrize("cut", [1, 20, 60, 200])
def test_a_tail_cut_off_by_a_crash_is_removed(tmp_path: Path, cut: int) -> None:
    files = RecordFiles(tmp_path)
    files.append(_lines(1), 1, _settled(1))
    whole = files.position
    files.append(_lines(2, 3), 2, _settled(2))
    path = tmp_path / files.segment
    files.close()
    os.truncate(path, path.stat().st_size - cut)
    again = RecordFiles(tmp_path)
    assert (again.position, path.stat().st_size) == (whole, whole)
    assert [each.seq for each in again.settled()] == [1]


def test_a_file_without_one_whole_flush_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "20260101-000001.jsonl"
    path.write_bytes(_lines(1))
    assert RecordFiles(tmp_path).position == 0
    assert path.read_bytes() == b""


def test_a_record_that_mentions_the_mark_is_no_settlement(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path)
    files.append(_lines(1, prompt='{"settled":{"life":"x","seq":9,"spends":[]}}'), 1, _settled(1))
    files.close()
    assert [each.seq for each in RecordFiles(tmp_path).settled()] == [1]


def test_files_are_rotated_by_size_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_records, "SEGMENT_BYTES", 2_000)
    monkeypatch.setattr(_records, "KEPT_BYTES", 6_000)
    files = RecordFiles(tmp_path)
    for number in range(60):
        files.append(_lines(number), 1, _settled(number))
    paths = sorted(tmp_path.glob("*.jsonl"))
    assert all(path.stat().st_size <= 2_000 for path in paths)
    assert sum(path.stat().st_size for path in paths) <= 8_000
    assert files.find("req-59") is not None
    assert files.find("req-0") is None
    seqs = [each.seq for each in files.settled()]
    assert seqs == list(range(seqs[0], 60))


def test_a_full_disk_drops_the_flush_as_a_whole_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = RecordFiles(tmp_path)
    files.append(_lines(1), 1, _settled(1))
    write = os.write

    def full(handle: int, data: bytes) -> int:
        write(handle, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(_records.os, "write", full)
        error = files.append(_lines(2, 3), 2, _settled(2))
    assert error is not None
    assert error.errno == errno.ENOSPC
    assert files.dropped == 2
    assert files.append(_lines(4), 1, _settled(3)) is None
    assert [each.seq for each in files.settled()] == [1, 3]
    assert files.find("req-2") is None


def test_a_response_is_found_by_either_id_but_not_a_shadows(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path)
    files.append(_lines(1, 2, 3), 3, _settled(1))
    files.append(_lines(4, shadow=True), 1, _settled(2))
    for identifier in ("req-2", "chatcmpl-2"):
        found = files.find(identifier)
        assert found is not None
        assert found.id == "req-2"
    assert files.find("req-4") is None
    assert files.find("req") is None
    assert files.find('"') is None


def test_a_word_that_every_line_has_costs_no_look_at_every_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Feedback is anybody's who has a key, and the broker has better things to do."""
    files = RecordFiles(tmp_path)
    files.append(_lines(1, 2, 3), 3, _settled(1))
    monkeypatch.setattr("crossgrade.serve._records._record_decoder", None)
    for word in ("chat", "id", "req-", "operation", "response_id"):
        assert files.find(word) is None


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with raises_code("request-log-unwritable"):
        RecordFiles(tmp_path / "file" / "requests")


def test_the_records_of_a_run_are_read_from_all_files_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_records, "SEGMENT_BYTES", 500)
    monkeypatch.setattr(_records, "_PIECE", 64)
    files = RecordFiles(tmp_path / "serve" / "requests")
    for number in range(20):
        run = {0: "r-1", 1: "r-10", 2: None}[number % 3]
        prompt = '"run":"r-1"' if run is None else None
        assert files.append(_lines(number, run=run, prompt=prompt), 1, _settled(number)) is None
    assert len(_records.log_paths(tmp_path / "serve" / "requests")) > 2
    assert [each.id for each in run_records(tmp_path, "r-1")] == [f"req-{n}" for n in range(0, 20, 3)]
    assert [each.id for each in run_records(tmp_path, "r-10")] == [f"req-{n}" for n in range(1, 20, 3)]
    assert run_records(tmp_path, "r") == []


def test_a_run_without_a_log_or_with_a_line_in_progress(tmp_path: Path) -> None:
    assert run_records(tmp_path, "r-1") == []
    folder = tmp_path / "serve" / "requests"
    folder.mkdir(parents=True)
    whole = _lines(1, run="r-1") + _lines(2, run="r-1")
    (folder / "20260101-000001.jsonl").write_bytes(whole[:-1])
    (folder / "20260102-000001.jsonl").touch()
    assert [each.id for each in run_records(tmp_path, "r-1")] == ["req-1"]
    (folder / "20260101-000001.jsonl").write_bytes(b'{"run":"r-1",}\n')
    with raises_code("request-log-unreadable"):
        run_records(tmp_path, "r-1")
