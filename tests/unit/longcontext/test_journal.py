"""The journal: what was paid for is on disk, whatever ends the probe."""

from pathlib import Path

from crossgrade.longcontext import ProbeJournal, digest
from crossgrade.longcontext._journal import ProbeCall
from tests.codes import raises_code


def _begun(path: Path) -> None:
    with ProbeJournal(path, "s") as journal:
        journal.add(ProbeCall(key="a", digest=digest("prompt"), text="yes", input_tokens=3))


def test_calls_are_found_again_by_key_and_prompt(tmp_path: Path) -> None:
    path = tmp_path / "probes" / "p.jsonl"
    _begun(path)
    with ProbeJournal(path, "s") as journal:
        assert journal.find("a", "prompt").text == "yes"
        assert journal.find("a", "another prompt") is None
        assert journal.find("b", "prompt") is None


def test_a_line_cut_off_by_a_kill_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    _begun(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"key": "b", "dig')
    with ProbeJournal(path, "s") as journal:
        assert list(journal.calls) == ["a"]
    assert path.read_bytes() == whole
    path.write_bytes(b'{"schema')
    with ProbeJournal(path, "s") as journal:
        assert not journal.calls


def test_other_settings_are_refused(tmp_path: Path) -> None:
    _begun(tmp_path / "p.jsonl")
    with raises_code("probe-settings-changed"):
        ProbeJournal(tmp_path / "p.jsonl", "t")


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("hello\n")
    with raises_code("journal-line-invalid") as caught:
        ProbeJournal(path, "s")
    assert caught.value.line == 1
