"""Fixtures of the tests of commands."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossgrade.cli._frame import run

_CONFIG = """\
models:
  old: {provider: openai, model: gpt-4.1}
  new: {provider: local, model: smollm2-135m-instruct}
workloads:
  support:
    dataset: support.jsonl
    scorer: {kind: exact}
    incumbent: old
    candidates: [new]
"""


@pytest.fixture(autouse=True)
def codes_of_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let notes show their codes, which tests read in place of their words."""
    monkeypatch.setenv("CROSSGRADE_LOG", "codes")


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a project, which is the current one."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "crossgrade.yaml").write_text(_CONFIG)
    return folder


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What a command says as JSON."""

    def ask(*arguments: object, code: int = 0) -> Any:
        """Run a command, check its exit code, and return its JSON."""
        capsys.readouterr()
        assert run([*map(str, arguments), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return ask
