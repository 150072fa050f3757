"""Safety runs of local models: their labels count as long as the model's file is the same."""

from pathlib import Path

import pytest

from crossgrade.evaluate import run_settings
from crossgrade.project import Project, ReportOptions
from crossgrade.providers.models import ModelShelf
from crossgrade.store import Answer, Run, RunSample, RunStatus, new_id
from tests.e2e.test_safety import DATA
from tests.unit.providers.test_local_models import gguf

CONFIG = """\
models:
  big: {provider: openai, model: gpt-4.1}
  small: {provider: local, model: ./mine.gguf}
safety:
  suites:
    harm: {prompts: harm.jsonl, measures: harmful_compliance, licence: own}
workloads:
  triage:
    dataset: t.jsonl
    scorer: {kind: exact}
    incumbent: big
    candidates: [small]
    requirements: {safety: [harm]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t.jsonl").write_text('{"input": "a", "target": "b"}\n')
    (tmp_path / "harm.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    (tmp_path / "crossgrade.yaml").write_text(CONFIG)
    (tmp_path / "mine.gguf").write_bytes(gguf(tail=b"first"))
    return tmp_path


def not_asked(folder: Path) -> tuple[str, ...]:
    with Project.open(folder / "crossgrade.yaml", environ={}) as project:
        return project.safety.show("triage")[0].not_asked


def test_other_weights_under_the_same_name_need_new_answers(folder: Path) -> None:
    with Project.open(folder / "crossgrade.yaml", environ={}) as project:
        asked = project.workload("triage.harm")
        dataset = project.dataset(asked)
        weights = {"small": f"sha256:{ModelShelf().find('./mine.gguf', root=folder).sha256}"}
        settings = run_settings(asked, dataset_digest=dataset.digest, scorer_digest="s", weights=weights)
        run = Run(
            id=new_id(),
            workload=asked.name,
            dataset_digest=dataset.digest,
            settings=settings,
            settings_digest="d",
            seed=0,
            planned=2,
        )
        project.store.runs.append(run)
        project.store.runs.append_event(run.id, RunStatus.FINISHED, {})
        failed = {"error": "no answer", "error_kind": "overloaded", "epoch": 1}
        project.store.answers.append([RunSample(run_id=run.id, sample_id="a", position=0)])
        project.store.answers.append(
            [
                Answer(
                    run_id=run.id,
                    sample_id="a",
                    model=model,
                    prompt_digest="p",
                    settings_digest="s",
                    **failed,
                )
                for model in ("big", "small")
            ]
        )
    assert not_asked(folder) == ()
    (folder / "mine.gguf").write_bytes(gguf(tail=b"other"))
    assert not_asked(folder) == ("small",)
    (folder / "mine.gguf").unlink()
    assert not_asked(folder) == ("small",)


def test_a_report_on_other_weights_does_not_count(folder: Path) -> None:
    report = min(DATA.glob("garak-*.report.jsonl.gz"))
    options = ReportOptions(metric="any")
    with Project.open(folder / "crossgrade.yaml", environ={}) as project:
        found = project.safety.import_report(
            report, workload="triage", model="small", suite="harm", options=options
        )
        assert found.is_new
    assert not_asked(folder) == ("big",)
    (folder / "mine.gguf").write_bytes(gguf(tail=b"other"))
    assert not_asked(folder) == ("big", "small")
