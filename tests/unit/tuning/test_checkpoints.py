"""Checkpoints: whole files only, the newest two, whatever interrupts the writing."""

import pytest

from crossgrade.tuning._checkpoints import Checkpoints, keep_file
from tests.codes import raises_code


def writing(content):
    return lambda path: path.write_bytes(content)


def test_keeps_the_newest_two(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest() == 0
    for step in (10, 20, 30):
        checkpoints.keep(step, writing(b"%d" % step))
    assert [step for step, _ in checkpoints.newest_first()] == [30, 20]
    assert checkpoints.newest() == 30
    checkpoints.clear()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_writing_leaves_the_one_before(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.keep(10, writing(b"whole"))

    def interrupted(path):
        path.write_bytes(b"ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoints.keep(20, interrupted)
    assert [(step, path.read_bytes()) for step, path in checkpoints.newest_first()] == [(10, b"whole")]
    assert len(list(tmp_path.iterdir())) == 1


def test_names_a_file_that_cannot_be_written(tmp_path):
    def full(path):
        raise OSError(28, "No space left on device")

    with raises_code("checkpoint-not-kept"):
        keep_file(tmp_path / "x", full)


def test_other_files_are_no_checkpoints(tmp_path):
    (tmp_path / "checkpoint-1.pt").write_bytes(b"")
    (tmp_path / "training.json").write_bytes(b"{}")
    assert Checkpoints(tmp_path).newest() == 0
