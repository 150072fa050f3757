"""What a shell completes: commands, and the names that crossgrade.yaml gives."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from crossgrade.cli._frame import COMMANDS, load_command

CONFIG = """\
models:
  current: {provider: openai, model: gpt-4.1-mini, api_key_env: OPENAI_API_KEY}
  cheap: {provider: groq, model: llama-4-scout}
workloads:
  support:
    dataset: support.jsonl
    scorer: {kind: exact}
    prompt: {user: "{input}"}
    incumbent: current
    candidates: [cheap]
  summaries:
    dataset: support.jsonl
    scorer: {kind: exact}
    prompt: {user: "{input}"}
    incumbent: current
    candidates: [cheap]
routes:
  helpdesk: {workload: support}
"""


def completed(folder: Path, words: str) -> list[str]:
    environ = {
        **{name: value for name, value in os.environ.items() if name != "CROSSGRADE_CONFIG"},
        "_CROSSGRADE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    command = [sys.executable, "-m", "crossgrade"]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "crossgrade.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("crossgrade evaluate s", ["support", "summaries"]),
        ("crossgrade evaluate su", ["support", "summaries"]),
        ("crossgrade decide support s", ["summaries"]),
        ("crossgrade report sup", ["support"]),
        ("crossgrade cost sup", ["support"]),
        ("crossgrade route show h", ["helpdesk"]),
        ("crossgrade keys create ci --route h", ["helpdesk"]),
        ("crossgrade onboard ch", ["cheap"]),
        ("crossgrade help eval", ["evaluate"]),
        ("crossgrade help route pro", ["promote"]),
    ],
)
def test_names_of_the_project_are_completed(project: Path, words: str, names: list[str]) -> None:
    assert completed(project, words) == [f"plain,{name}" for name in names]


def test_another_configuration_is_read(project: Path, tmp_path: Path) -> None:
    (project / "crossgrade.yaml").rename(project / "other.yaml")
    assert completed(project, "crossgrade evaluate --config other.yaml sup") == ["plain,support"]


def test_where_the_configuration_is_broken_nothing_is_said(project: Path) -> None:
    (project / "crossgrade.yaml").write_text("models: [", encoding="utf-8")
    assert completed(project, "crossgrade evaluate s") == []


def test_results_are_completed_as_files(project: Path) -> None:
    assert completed(project, "crossgrade decide res") == ["file,res"]


def _arguments(command: click.Command, path: str):
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from _arguments(command.get_command(context, name), f"{path} {name}")
    else:
        yield from ((path, each) for each in command.params if isinstance(each, click.Argument))


def test_every_workload_and_route_is_completed() -> None:
    found = [each for entry in COMMANDS for each in _arguments(load_command(entry), entry.name)]
    bare = [
        (path, argument.name)
        for path, argument in found
        if argument.name in {"workload", "workloads", "route", "routes"}
        and argument._custom_shell_complete is None
    ]
    assert bare == []
