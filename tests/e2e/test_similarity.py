"""The `similarity` scorer end to end: answers and targets embedded by an offer of the project."""

import csv
import json
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

import crossgrade
from crossgrade.errors import BudgetExceededError
from crossgrade.testing import FakeProvider

CONFIG = """\
models:
  large: {{provider: openai-compatible, model: large, base_url: "{url}", max_concurrency: 4}}
  small: {{provider: openai-compatible, model: small, base_url: "{url}", max_concurrency: 4}}
  vectors:
    provider: openai-compatible
    model: vectors
    base_url: "{url}"
    max_concurrency: 4
    prices: [{{input_per_mtok: 1000}}]
workloads:
  answers:
    dataset: answers.jsonl
    prompt: {{user: "{{question}}"}}
    settings: {{max_output_tokens: 16}}
    scorer: {{kind: similarity, options: {{model: vectors}}}}
    incumbent: large
    candidates: [small]
    mode: fixed
"""


def test_answers_are_scored_by_how_near_they_are_to_the_target(tmp_path: Path) -> None:
    rows = [f'{{"question": "item {i}?", "target": "the parcel number {i} is late"}}\n' for i in range(24)]
    (tmp_path / "answers.jsonl").write_text("".join(rows), encoding="utf-8")
    script = {"large": "the parcel number is late", "small": "what a lovely green hat"}
    with FakeProvider(lambda request: script[request.model]) as fake:
        (tmp_path / "crossgrade.yaml").write_text(CONFIG.format(url=fake.base_url), encoding="utf-8")
        with crossgrade.Project.open(tmp_path / "crossgrade.yaml") as project:
            run = project.evaluate("answers")
            verdict = project.decide("answers", run_id=run.run_id).verdict
    whole = verdict.certificates[0].retention
    assert whole.n == 24
    assert whole.incumbent_mean is not None
    assert whole.candidate_mean is not None
    assert whole.incumbent_mean > 0.8 > 0.5 > whole.candidate_mean


def test_embeddings_are_paid_once_and_count_against_the_limit(tmp_path: Path) -> None:
    rows = [f'{{"question": "item {i}?", "target": "the parcel number {i} is late"}}\n' for i in range(24)]
    (tmp_path / "answers.jsonl").write_text("".join(rows), encoding="utf-8")
    with FakeProvider(lambda request: f"{request.model} says {request.prompt}") as fake:
        config = CONFIG.format(url=fake.base_url).replace(
            "max_concurrency: 4}", "max_concurrency: 4, prices: [{input_per_mtok: 0, output_per_mtok: 0}]}"
        )
        (tmp_path / "crossgrade.yaml").write_text(config, encoding="utf-8")
        with crossgrade.Project.open(tmp_path / "crossgrade.yaml") as project:
            with pytest.raises(BudgetExceededError):
                project.evaluate("answers", max_cost_usd=Decimal("0.1"))
            run_id = project.store.runs.recent()[0].id
            spent_usd = project.store.runs.totals(run_id).spent_usd
            assert spent_usd is not None
            assert Decimal("0.05") < spent_usd <= Decimal("0.1")
            project.evaluate("answers", resume=run_id)
            # Two answers of four words and a target of six, a tenth of a cent a word.
            assert project.store.runs.totals(run_id).spent_usd == Decimal("0.336")
            again = project.evaluate("answers")
            assert again.progress.spent_usd == 0


def test_a_request_that_comes_back_is_asked_once_and_weighs_its_count(tmp_path: Path) -> None:
    rows = [f'{{"question": "item {i % 20 if i % 2 else i}?", "target": "yes"}}\n' for i in range(60)]
    (tmp_path / "answers.jsonl").write_text("".join(rows), encoding="utf-8")
    config = CONFIG.replace("{{kind: similarity, options: {{model: vectors}}}}", "{{kind: exact}}")
    config = config.replace("    mode: fixed", "    id_field: id\n    mode: fixed")
    rows = [json.dumps({"id": f"s{i}", **json.loads(row)}) + "\n" for i, row in enumerate(rows)]
    (tmp_path / "answers.jsonl").write_text("".join(rows), encoding="utf-8")
    with FakeProvider(lambda request: "yes") as fake:
        (tmp_path / "crossgrade.yaml").write_text(config.format(url=fake.base_url), encoding="utf-8")
        with crossgrade.Project.open(tmp_path / "crossgrade.yaml") as project:
            project.evaluate("answers", reuse=False)
            stored = project.decide("answers")
            evidence = project.store.verdicts.evidence(stored.id)
    assert len(fake.requests) == 2 * 40
    assert evidence.n == 40
    assert evidence.weight is not None
    assert sorted(evidence.weight.tolist()) == [1.0] * 30 + [3.0] * 10
    assert not [
        guard for guard in stored.verdict.guards if guard.name == "duplicates" and guard.status != "pass"
    ]


def test_a_run_is_exported_for_people_and_read_back_with_their_scores(tmp_path: Path) -> None:
    rows = [f'{{"question": "item {i}?", "target": "yes"}}\n' for i in range(120)]
    (tmp_path / "answers.jsonl").write_text("".join(rows), encoding="utf-8")
    config = CONFIG.replace("{{kind: similarity, options: {{model: vectors}}}}", "{{kind: exact}}")
    with FakeProvider(lambda request: "yes") as fake:
        (tmp_path / "crossgrade.yaml").write_text(config.format(url=fake.base_url), encoding="utf-8")
        with crossgrade.Project.open(tmp_path / "crossgrade.yaml") as project:
            run = project.evaluate("answers")
            assert project.export_run(run.run_id, tmp_path / "run.csv").answers == 240
            labels = tmp_path / "labels.csv"
            blind = partial(project.export_run, run.run_id, tmp_path / "blind.csv", label_file=labels)
            assert (blind().waiting, blind().labelled) == (120, 0)
            labels.write_text(labels.read_text(encoding="utf-8").replace(",,\n", ",1,0\n"), encoding="utf-8")
            assert blind().labelled == 120
    with (tmp_path / "blind.csv").open(encoding="utf-8") as file:
        given = [(row["model"], row["human"]) for row in csv.DictReader(file)]
    assert {score for _, score in given} == {"0", "1"}
    # By the place of an answer in the file people cannot tell who wrote it.
    assert 30 < given.count(("large", "1")) < 90
    header, *lines = (tmp_path / "run.csv").read_text(encoding="utf-8").splitlines()
    assert header.endswith(",human")
    human = [
        header,
        *(f"{line}1" if ",small," not in line or at % 3 else f"{line}0" for at, line in enumerate(lines)),
    ]
    (tmp_path / "labelled.csv").write_text("\n".join(human) + "\n", encoding="utf-8")
    judged = crossgrade.decide_results(
        tmp_path / "labelled.csv", incumbent="large", options=crossgrade.ResultOptions(judge="vectors")
    )
    whole = judged.certificates[0].retention
    assert "PPI" in whole.method
    assert whole.value is not None
    assert whole.value < 1.0
