"""`crossgrade onboard`: a model goes from its name to a canary in one command, and the times are kept."""

import json

import pytest

from crossgrade.project import Project as Opened
from crossgrade.testing import Reply
from tests.codes import noted
from tests.e2e.driving import CommandLine, Project, Script, number

NEXT = """\
  next:
    provider: openai-compatible
    model: next-model
    base_url: URL
    api_key_env: FAKE_API_KEY
    prices: [{input_per_mtok: 0.5, output_per_mtok: 1, valid_from: 2026-09-01, source: their page}]
workloads:
"""


@pytest.fixture(autouse=True)
def third(project: Project, script: dict[str, Script]) -> None:
    """A third model in the configuration, that no workload names."""
    script["next-model"] = script["old-model"]
    project.change("workloads:\n", NEXT.replace("URL", project.fake.base_url))


def test_from_its_name_to_a_canary(cli: CommandLine, project: Project) -> None:
    ran = cli.succeeds("onboard", "next", "--workload", "echo", "--yes")
    assert "Switch echo from old to next" in ran.out
    steps = [line.split()[0] for line in ran.out[ran.out.index("step ") :].splitlines()[1:]]
    assert steps == ["listed", "seen", "verdict", "canary"]
    assert "price listed by their page" in ran.out
    assert "5% of echo" in ran.out
    assert noted(ran.err, "candidate-to-add", "next", "workloads.echo.candidates")
    with Opened.open(project.config) as opened:
        table = opened.store.routes.current()
        assert table is not None
        route = table.by_name["echo"]
    assert (route.policy.candidate, route.share) == ("next", 0.05)
    cli.succeeds("route", "promote", "echo")

    again = json.loads(cli.succeeds("onboard", "next", "-w", "echo", "--json").out)
    assert [step["step"] for step in again["steps"]] == ["listed", "seen", *(["verdict", "canary"] * 2)]
    assert again["version"] == 3
    assert again["steps"][0]["at"].startswith("2026-09-01")


def test_a_canary_that_would_replace_another_candidate_is_announced(
    cli: CommandLine, project: Project
) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    cli.succeeds("route", "apply", "echo")
    kept = cli.succeeds("onboard", "next", "-w", "echo", "--yes", "--no-canary")
    assert not noted(kept.err, "canary-replaces")
    assert json.loads(cli.succeeds("route", "show", "--json").out)["routes"][0]["candidate"] == "new"
    ran = cli.succeeds("onboard", "next", "-w", "echo", "--yes")
    assert noted(ran.err, "canary-replaces", "new", 100, "echo", "old")


def test_a_model_that_is_worse_stays_out(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    script["next-model"] = lambda request: Reply("wrong" if number(request) % 2 else str(number(request)))
    ran = cli("onboard", "next", "--workload", "echo", "--yes", "--json")
    assert ran.code == 1
    found = json.loads(ran.out)
    assert (found["verdict"]["name"], found["version"]) == ("keep", None)
    assert [step["step"] for step in found["steps"]] == ["listed", "seen", "verdict"]
    assert not (project.folder / ".crossgrade" / "routes.json").exists()


def test_without_a_canary_only_the_verdict_is_there(cli: CommandLine, project: Project) -> None:
    cli.succeeds("onboard", "next", "--workload", "echo", "--yes", "--no-canary")
    assert not (project.folder / ".crossgrade" / "routes.json").exists()


def test_a_dry_run_asks_nobody(cli: CommandLine, project: Project) -> None:
    ran = cli.succeeds("onboard", "next", "--workload", "echo", "--dry-run")
    assert noted(ran.err, "estimate", 120)
    assert not project.fake.requests


def test_names_that_do_not_exist(cli: CommandLine) -> None:
    cli.fails("onboard", "nxt", "--workload", "echo", error=("model-unknown", "nxt", "crossgrade.yaml"))
    cli.fails("onboard", "next", "--workload", "eco", error=("workload-unknown", "eco"))
    cli.fails("onboard", "old", "--workload", "echo", error=("models-not-distinct", "old", "echo"))
    cli.fails("onboard", "next", error=("usage", "Missing", "--workload"))


def test_a_prompt_that_the_gateway_does_not_send_is_said(cli: CommandLine, project: Project) -> None:
    project.change("candidates: [new]", 'candidates: [{model: new, prompt: {user: "Please say {input}"}}]')
    cli.succeeds("evaluate", "echo", "--yes")
    assert noted(cli.succeeds("route", "apply", "echo").err, "prompt-not-served", "new")


def test_a_prompt_that_clients_send_needs_no_word(cli: CommandLine, project: Project) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    assert not noted(cli.succeeds("route", "apply", "echo").err, "prompt-not-served")
