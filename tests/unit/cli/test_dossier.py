"""`crossgrade dossier`: what it prints, writes, warns of, and exits with."""

import json
from pathlib import Path

import pytest

from crossgrade.cli._frame import run
from tests.codes import noted, shown_codes

CONFIG = """\
models:
  big: {provider: openai, model: gpt-4.1}
  small: {provider: groq, model: m}
workloads:
  triage:
    dataset: t.jsonl
    scorer: {kind: exact}
    incumbent: big
    candidates: [small]
dossier:
  required: [16]
  statements:
    - {field: 4, text: card, author: Ada, date: 2026-11-01, file: card.md}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "crossgrade.yaml").write_text(CONFIG)
    (tmp_path / "card.md").write_text("prose")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSGRADE_LOG", "codes")
    return tmp_path


def test_it_lists_the_fields_and_writes_the_files(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dossier", "triage"]) == 0
    out = capsys.readouterr()
    assert len(out.out.splitlines()) == 18
    assert noted(out.err, "dossier-lacks", "16")
    assert noted(out.err, "dossier-unsigned")
    names = {path.name for path in (project / "dossier-triage").iterdir()}
    assert names == {"dossier.html", "dossier.cdx.json", "dossier.json"}


def test_an_approval_is_recorded_and_the_check_says_whether_it_holds(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dossier", "triage", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dossier"]["lacks"] == [16]
    assert run(["dossier", "triage", "--check"]) == 1
    approve = ["--approve", "Ada", "--role", "model risk", "--condition", "it is tested again in May"]
    assert run(["dossier", "triage", "--out", "papers", *approve]) == 0
    assert "Ada, model risk" in (project / "papers" / "dossier.html").read_text()
    capsys.readouterr()
    assert run(["dossier", "triage", "--check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["holds"]


def test_a_file_that_changed_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dossier", "triage"]) == 0
    (project / "card.md").write_text("other")
    assert run(["dossier", "triage", "--check"]) == 1
    out = capsys.readouterr()
    assert "card.md has changed" in out.out
    assert noted(out.err, "dossier-ended")
    assert run(["dossier", "triage"]) == 0
    assert noted(capsys.readouterr().err, "dossier-finding", "card.md")


def test_a_folder_that_cannot_be_made_is_an_error_of_the_user(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "file").write_text("")
    assert run(["dossier", "triage", "--out", "file/papers"]) == 3
    assert shown_codes(capsys.readouterr().err)[-1] == "file-unwritable"


def test_an_author_cannot_control_the_terminal(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = project / "crossgrade.yaml"
    config.write_text(CONFIG.replace("author: Ada", 'author: "Ada\\u202e"'))
    assert run(["dossier", "triage"]) == 0
    (project / "card.md").write_text("other")
    capsys.readouterr()
    assert run(["dossier", "triage", "--check"]) == 1
    assert "\u202e" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--approve", "Ada"], "approval-incomplete"),
        (["--role", "risk"], "approval-incomplete"),
        (["--condition", "x"], "approval-incomplete"),
        (["--approve", "A\nda", "--role", "risk"], "approval-invalid"),
        (["--approve", "Ada", "--role", "r" * 501], "approval-invalid"),
        (["--check", "--out", "x"], "options-conflict"),
        (["--check", "--approve", "Ada", "--role", "risk"], "options-conflict"),
        (["--check"], "dossier-missing"),
        (["--out", "card.md/papers"], "file-unwritable"),
    ],
)
def test_wrong_options_are_refused(
    project: Path, arguments: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dossier", "triage", *arguments]) != 0
    assert code in shown_codes(capsys.readouterr().err)
