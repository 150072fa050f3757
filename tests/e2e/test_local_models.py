"""A run of two real local models, from `crossgrade.yaml` to the report."""

import json
from pathlib import Path

import pytest

from tests.e2e.driving import CommandLine

CONFIG = """\
models:
  gemma: {provider: local, model: gemma-3-270m}
  smollm: {provider: local, model: smollm2-135m-instruct}
workloads:
  capitals:
    dataset: capitals.jsonl
    prompt: {user: "Question: What is the capital of {input}?\\nAnswer:", text: true}
    settings: {max_output_tokens: 6}
    scorer: {kind: includes}
    incumbent: gemma
    candidates: [smollm]
"""
CAPITALS = {"France": "Paris", "Japan": "Tokyo", "Italy": "Rome", "Spain": "Madrid"}


@pytest.mark.slow
@pytest.mark.needs("model:smollm2-135m-instruct", "model:gemma-3-270m")
def test_two_real_models(cli: CommandLine, folder: Path) -> None:
    (folder / "crossgrade.yaml").write_text(CONFIG)
    rows = [{"input": country, "target": capital} for country, capital in CAPITALS.items()]
    (folder / "capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = json.loads(cli.succeeds("evaluate", "capitals", "--json").out)
    assert found["name"] in {"undecided", "invalid"}  # four samples settle nothing
    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    assert (run["status"], run["answers"], run["errors"]) == ("finished", 8, 0)

    cli.succeeds("evaluate", "capitals")
    cli.succeeds("report")
    assert "capitals" in (folder / "crossgrade-report.html").read_text()


SAFETY = """safety:
  suites:
    refusing: {prompts: xstest-safe, planned: 4, max_output_tokens: 16}
    leaking: {prompts: leakage, planned: 4, max_output_tokens: 16}
"""


@pytest.mark.slow
@pytest.mark.needs("model:smollm2-135m-instruct", "model:gemma-3-270m")
def test_two_real_models_answer_safety_suites(cli: CommandLine, folder: Path) -> None:
    (folder / "crossgrade.yaml").write_text(CONFIG + SAFETY)
    suites = ("--suite", "refusing", "--suite", "leaking")
    cli.succeeds("safety", "run", "capitals", *suites)
    found = json.loads(cli.succeeds("safety", "show", "capitals", *suites, "--json").out)["suites"]
    assert [each["name"] for each in found] == ["capitals.refusing", "capitals.leaking"]
    for suite in found:
        assert [each["model"] for each in suite["models"]] == ["gemma", "smollm"]
        for each in suite["models"]:
            rate = each["so_far"]["rate"]
            assert rate["n"] + each["so_far"]["failed"] == 4
            assert rate["value"] is None
    written = folder / "labels.csv"
    cli.succeeds("label", "capitals.refusing", "--export", written)
    assert len(written.read_text(encoding="utf-8").splitlines()) >= 5
