"""Workloads that share one error rate, from runs that stop by their part of it to verdicts in one correction."""

import json

import pytest

from crossgrade.project import Project as OpenProject
from tests.codes import names, noted, said
from tests.e2e.driving import CONFIG, CommandLine, Project

NAMES = ("echo", "again")


@pytest.fixture
def family(project: Project) -> Project:
    """Two equal workloads that share 5 %."""
    text = project.config.read_text()
    workload = CONFIG[CONFIG.index("  echo:") :]
    assert text.endswith(workload)
    project.config.write_text("family_alpha: 0.05\n" + text + workload.replace("echo:", "again:", 1))
    project.dataset(120)
    return project


def test_runs_stop_at_their_part_and_verdicts_share_one_correction(cli: CommandLine, family: Project) -> None:
    for name in NAMES:
        cli.succeeds("evaluate", name, "--yes", "--no-decide")
    ran = cli.succeeds("decide", *NAMES, "--json", "--gate")
    assert len(noted(ran.err, "recorded")) == 2
    first, second = json.loads(ran.out)["verdicts"]
    assert [first["workload"], second["workload"]] == list(NAMES)
    assert [each["name"] for each in (first, second)] == ["switch", "switch"]
    for verdict in (first, second):
        assert verdict["alpha"] == 0.05
        assert {point["threshold"] for point in verdict["path"]} == {80.0}
        assert all(names(verdict["sentence"], each) for each in ("5 %", 2))
        (other,) = verdict["settings"]["siblings"]
        assert said(verdict["reasons"], "error-rate-shared", other["workload"])
        assert (other["workload"], other["share"]) == (({*NAMES} - {verdict["workload"]}).pop(), 0.5)
    with OpenProject.open(family.config) as opened:
        for name in NAMES:
            (stored,) = opened.newest_verdicts([name])
            check = opened.verify(stored.id)
            assert (check.differences, check.unchecked) == ((), ())


def test_a_workload_without_a_run_keeps_its_part(cli: CommandLine, family: Project) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    out = cli.succeeds("decide", "echo", "--json").out
    assert said(json.loads(out)["reasons"], "error-rate-kept", "again")
    cli.fails("decide", *NAMES, error=("run-missing", "again"))


def test_p_values_of_a_workload_without_a_verdict_are_taken_as_recorded(
    cli: CommandLine, family: Project
) -> None:
    for name in NAMES:
        cli.succeeds("evaluate", name, "--yes", "--no-decide")
    cli.succeeds("decide", "echo")
    with OpenProject.open(family.config) as opened:
        (stored,) = opened.newest_verdicts(["echo"])
    ran = cli.succeeds("decide", "--verify", stored.id)
    assert noted(ran.err, "taken-as-recorded", "again")


def test_a_what_if_keeps_the_parts(cli: CommandLine, family: Project) -> None:
    for name in NAMES:
        cli.succeeds("evaluate", name, "--yes", "--no-decide")
    found = json.loads(cli.succeeds("decide", "echo", "--alpha", "0.1", "--json").out)
    assert (found["alpha"], found["settings"]["alpha_share"]) == (0.1, pytest.approx(0.5))
    cli.fails("decide", *NAMES, "--floor", "0.9", error=("options-conflict", "--floor"))


def test_several_workloads_with_their_own_rates(cli: CommandLine, family: Project) -> None:
    family.change("family_alpha: 0.05\n", "")
    for name in NAMES:
        cli.succeeds("evaluate", name, "--yes", "--no-decide")
    ran = cli.succeeds("decide", *NAMES, "--apply", "--markdown", "both.md", "--report", "both.html")
    assert "together" not in ran.out
    assert len(noted(ran.err, "route-applied")) == 2
    assert all(name in (family.folder / "both.md").read_text() for name in NAMES)
