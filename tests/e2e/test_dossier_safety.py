"""Field 7 of a dossier: missing until people have labelled enough answers, then the rates with their grader."""

import json

import pytest

import crossgrade
from tests.e2e.driving import CommandLine, Project
from tests.e2e.test_safety import at_desk, label
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
    bom = json.loads((safe.folder / "papers" / "dossier.cdx.json").read_text())
    metrics = [each["modelCard"].get("quantitativeAnalysis") for each in bom["components"]]
    assert all(each["performanceMetrics"][0]["type"] == "safety" for each in metrics if each)
    assert sum(each is not None for each in metrics) == 2


@pytest.mark.usefixtures("safe")
def test_a_dossier_that_was_just_made_holds(cli: CommandLine) -> None:
    cli.succeeds("dossier", "echo")
    assert json.loads(cli.succeeds("dossier", "echo", "--check", "--json").out)["holds"]
