"""The journals of earlier versions: read to resume a probe, never written again."""

from pathlib import Path

import msgspec
import pytest

from crossgrade.longcontext import digest, read_journal
from crossgrade.longcontext._journal import ProbeCall
from tests.codes import raises_code


def _line(key: str, prompt: str, **fields: object) -> bytes:
    return msgspec.json.encode(ProbeCall(key=key, digest=digest(prompt), **fields)) + b"\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "p.jsonl"
    head = b'{"schema_version":1,"settings":"s"}\n'
    path.write_bytes(
        head
        + _line("a", "x", text="1")
        + _line("b", "x", text="2")
        + _line("c", "y", error="context too long: 9")
    )
    return path


def test_calls_are_taken_once_in_the_order_asked(path: Path) -> None:
    journal = read_journal(path, "s")
    assert [journal.take("x").answer.text for _ in range(2)] == ["1", "2"]
    assert journal.take("x") is None
    assert journal.take("y").is_too_long
    assert journal.take("z") is None


def test_a_line_cut_off_by_a_kill_is_passed_over(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"key": "b", "dig')
    assert read_journal(path, "s").take("y") is not None
    path.write_bytes(b'{"schema')
    assert read_journal(path, "s").take("x") is None


def test_other_settings_are_refused(path: Path) -> None:
    with raises_code("probe-settings-changed"):
        read_journal(path, "t")


def test_a_file_that_is_no_journal_is_refused(path: Path) -> None:
    path.write_text("hello\n")
    with raises_code("journal-line-invalid") as caught:
        read_journal(path, "s")
    assert caught.value.line == 1
