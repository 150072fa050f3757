"""Every template is a project that is valid as it is."""

import json
from pathlib import Path

import pytest

from crossgrade.cli._frame import run
from crossgrade.cli.init import TEMPLATES
from crossgrade.config import config_schema, load_config
from crossgrade.evaluate import build_scorer
from crossgrade.workloads import read_dataset, read_tasks
from tests.codes import names, noted, shown_codes

LONGEST_PROMPT_BYTES = 1100
"""About 300 tokens: on two cores a small model reads that in a second."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("template", [each for each in TEMPLATES if each != "coding-agent"])
def test_a_template_is_a_valid_project(
    folder: Path, template: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", "--template", template, "project"]) == 0
    captured = capsys.readouterr()
    written = [Path(line) for line in captured.out.splitlines()]
    assert written[0] == Path("project/crossgrade.yaml")
    assert all(path.is_file() for path in written)
    assert noted(captured.err, "next", "project")
    assert run(["config", "validate", "--config", "project/crossgrade.yaml"]) == 0
    (workload,) = load_config(folder / "project" / "crossgrade.yaml").workloads.values()
    assert noted(captured.err, "next", "evaluate", workload.name)
    dataset = read_dataset(
        workload.dataset,
        id_field=workload.id_field,
        target_field=workload.target_field,
        segment=workload.segment,
        cluster=workload.cluster,
    )
    assert 15 <= len(dataset.samples) <= 40
    assert all(sample.target is not None for sample in dataset.samples)
    assert len({json.dumps(sample.fields, sort_keys=True) for sample in dataset.samples}) == len(
        dataset.samples
    )
    clusters = {sample.cluster for sample in dataset.samples}
    assert workload.cluster is None or len(clusters) >= 20, "fewer clusters cannot carry a decision"
    assert build_scorer(workload.scorer).kind == workload.scorer.kind
    for sample in dataset.samples:
        prompt = workload.incumbent.prompt.user
        for name, value in sample.fields.items():
            prompt = prompt.replace(f"{{{name}}}", str(value))
        assert len(prompt.encode()) <= LONGEST_PROMPT_BYTES
    assert workload.incumbent.prompt == workload.candidates[0].prompt
    assert (workload.requirements.evidence == "agentic") is (template == "agentic")


def test_the_agentic_template_says_why_it_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["init", "--template", "agentic"])
    assert noted(capsys.readouterr().err, "evidence-missing")
    assert "until `trials` names" in (folder / "crossgrade.yaml").read_text()


def test_the_template_of_an_agent_is_a_valid_project(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", "--template", "coding-agent"]) == 0
    assert noted(capsys.readouterr().err, "next", "evaluate", "coding")
    assert run(["config", "validate"]) == 0
    (workload,) = load_config(folder / "crossgrade.yaml").workloads.values()
    assert workload.agent is not None
    found = read_tasks(workload.dataset, workload.agent)
    assert len(found.samples) == 5
    assert build_scorer(workload.scorer).kind == "reward"


def test_the_editor_finds_the_schema(folder: Path) -> None:
    assert run(["init"]) == 0
    first = (folder / "crossgrade.yaml").read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    schema = folder / first.partition("=")[2]
    assert json.loads(schema.read_text()) == config_schema()
    assert (folder / ".crossgrade" / ".gitignore").read_text() == "*\n"


def test_json_names_the_files_and_the_workload(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "project", "--json"]) == 0
    wrote = json.loads(capsys.readouterr().out)
    assert (wrote.pop("schema_version"), wrote["template"]) == (1, "classification")
    assert all(Path(path).is_file() for path in wrote["files"])
    assert list(load_config(folder / "project" / "crossgrade.yaml").workloads) == [wrote["workload"]]
    run(["config", "schema"])
    schema = json.loads(capsys.readouterr().out)
    run(["config", "schema", "--json"])
    assert json.loads(capsys.readouterr().out) == {"schema_version": 1, "schema": schema}


def test_nothing_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tickets.jsonl").write_text("mine")
    assert run(["init"]) == 2
    error = capsys.readouterr().err
    assert shown_codes(error) == ["output-exists"]
    assert names(error, "tickets.jsonl")
    assert (folder / "tickets.jsonl").read_text() == "mine"
    assert not (folder / "crossgrade.yaml").exists()


def test_a_folder_that_cannot_be_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").write_text("")
    assert run(["init", "file/project"]) == 3
    assert shown_codes(capsys.readouterr().err) == ["file-unwritable"]


def test_what_is_commented_out_about_serving_is_valid(folder: Path) -> None:
    assert run(["init", "."]) == 0
    path = folder / "crossgrade.yaml"
    before, serving = path.read_text().split("# routes:")
    lines = [line.removeprefix("# ") for line in f"# routes:{serving}".splitlines()]
    path.write_text(before + "\n".join(lines).replace("WORKLOAD", "tickets") + "\n")
    config = load_config(path)
    assert config.routes["my-feature"].workload == "tickets"
    assert len(config.serving.limits) == 2
