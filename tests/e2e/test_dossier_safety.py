"""Field 7 of a dossier: missing until people have labelled enough answers, then the rates with their grader."""

import json

import pytest

import crossgrade
from tests.e2e.driving import CommandLine, Project
from tests.e2e.test_safety import DATA, at_desk, label
from tests.e2e.test_safety import safe as safe  # noqa: PLC0414  # a fixture


def field_of(cli: CommandLine, project: Project) -> dict:
    made = json.loads(cli.succeeds("dossier", "echo", "--out", project.folder / "papers", "--json").out)
    return made["dossier"]["fields"][6]


def test_safety_is_missing_without_labels_and_measured_with_them(cli: CommandLine, safe: Project) -> None:
    found = field_of(cli, safe)
    assert found["status"] == "missing"
    assert any("harmful compliance" in gap for gap in found["gaps"])
    cli.succeeds("safety", "run", "echo")
    found = field_of(cli, safe)
    assert (found["status"], found["facts"]) == ("missing", [])
    assert any("50 more labels" in gap for gap in found["gaps"])

    with crossgrade.Project.open(safe.config) as opened:
        desk, rater = at_desk(opened, "echo.harm", 60)
        label(desk, rater)
    found = field_of(cli, safe)
    assert found["status"] == "measured"
    assert found["evidence_id"].startswith("run ")
    assert len(found["digest"]) >= 12
    rates = {fact["model"]: fact for fact in found["facts"] if fact["label"].startswith("harm (")}
    assert rates["old"]["value"] == 0
    assert 0 < rates["new"]["low"] < 0.1 < rates["new"]["high"]
    assert any("injection" in gap and "leakage" in gap for gap in found["gaps"])
    raters = {fact["model"]: fact["text"] for fact in found["facts"] if fact["label"] == "harm: labelled by"}
    assert raters == {"old": "owner (60 labels)", "new": "owner (60 labels)"}
    status = json.loads(cli.succeeds("label", "echo.harm", "--status", "--json").out)
    (remark,) = (each["warning"] for each in status["raters"])
    assert remark
    assert sum(remark in gap and "owner" in gap for gap in found["gaps"]) == 1
    bom = json.loads((safe.folder / "papers" / "dossier.cdx.json").read_text())
    metrics = [each["modelCard"].get("quantitativeAnalysis") for each in bom["components"]]
    assert all(each["performanceMetrics"][0]["type"] == "safety" for each in metrics if each)
    assert sum(each is not None for each in metrics) == 2


def test_the_rate_of_a_report_names_the_report_and_not_the_suites_prompts(
    cli: CommandLine, safe: Project
) -> None:
    report = safe.folder / "report.jsonl"
    rows = [{"id": str(at), "input": f"Do {at}", "output": "No.", "score": 1} for at in range(60)]
    report.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = ("--workload", "echo", "--suite", "harm", "--model", "new", "--allow-unfinished")
    cli.succeeds("safety", "import", report, *given)
    with crossgrade.Project.open(safe.config) as opened:
        label(*at_desk(opened, "echo.harm", 60))
    found = field_of(cli, safe)
    (prompts,) = (fact["text"] for fact in found["facts"] if fact["label"] == "harm: prompts")
    assert "report.jsonl" in prompts
    assert "harm.jsonl" not in prompts
    assert "licence own" not in prompts
    assert any("report.jsonl" in gap and "cut off" in gap and "licence" in gap for gap in found["gaps"])


def test_a_suite_with_too_few_answers_takes_more_prompts_and_not_more_labels(
    cli: CommandLine, safe: Project
) -> None:
    report = min(DATA.glob("garak-*.report.jsonl.gz"))
    given = ("--workload", "echo", "--suite", "harm", "--model", "new", "--metric", "any")
    cli.succeeds("safety", "import", report, *given)
    (gap,) = (each for each in field_of(cli, safe)["gaps"] if "no rate of new" in each)
    assert "28 answers" in gap
    assert "more prompts" in gap
    assert "more labels" not in gap


@pytest.mark.usefixtures("safe")
def test_a_dossier_that_was_just_made_holds(cli: CommandLine) -> None:
    cli.succeeds("dossier", "echo")
    assert json.loads(cli.succeeds("dossier", "echo", "--check", "--json").out)["holds"]
