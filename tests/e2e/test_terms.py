"""Licences, hosts and contracts: refused before anything is asked, told in every place that recommends a model."""

import json
from decimal import Decimal

import pytest

from crossgrade.project import Project as Opened
from tests.codes import noted
from tests.e2e.driving import CommandLine, Project, Script, honest

SCOUT = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
HERE = "team:\n  country: DE\n  monthly_active_users: 2000000\n"
PERMITTED = HERE + "  permitted: [{model: new, clause: territory-withheld, because: a letter of 3 May}]\n"


@pytest.fixture(autouse=True)
def scout(project: Project, script: dict[str, Script]) -> None:
    """The candidate is Llama 4 Scout on a server of the team's own."""
    script[SCOUT] = honest
    project.change("model: new-model", f"model: {SCOUT}")


def state(project: Project, team: str) -> None:
    project.change("workloads:\n", f"{team}workloads:\n")


def test_a_withheld_model_is_refused_before_it_is_asked(cli: CommandLine, project: Project) -> None:
    state(project, HERE)
    for command in (("evaluate", "echo"), ("onboard", "new", "-w", "echo")):
        cli.fails(*command, "--yes", error=("use-forbidden", "new", "DE", "territory-withheld"))
    assert not project.fake.requests
    found = cli.succeeds("evaluate", "echo", "--dry-run", "--json")
    assert noted(found.err, "use-forbidden", "new", "DE", "2026-11-28")
    (first, *_) = json.loads(found.out)["clauses"]
    assert (first["model"], first["code"], first["severity"]) == ("new", "territory-withheld", "forbidden")
    assert noted(cli.succeeds("onboard", "new", "-w", "echo", "--dry-run").err, "use-forbidden")
    assert not project.fake.requests


def test_a_withheld_model_is_neither_probed_nor_asked_for_a_record(
    cli: CommandLine, project: Project
) -> None:
    state(project, HERE)
    (project.folder / "notes.txt").write_text("Order 7 was sent on Monday.\n" * 2_000)
    cli.fails("probe", "run", "new", "--documents", "notes.txt", "--yes", error=("use-forbidden", "new"))
    found = json.loads(cli("doctor", "--live", "new", "--yes", "--json").out)
    assert "you may not use new" in next(each["seen"] for each in found["checks"] if each["name"] == "live")
    assert not project.fake.requests


def test_a_withheld_fallback_keeps_a_verdict_from_a_route(cli: CommandLine, project: Project) -> None:
    project.change("workloads:\n", "routes:\n  echo: {workload: echo, fallbacks: [spare]}\nworkloads:\n")
    again = project.config.read_text().split("  new:\n")[1].split("workloads:")[0].split("routes:")[0]
    project.change("  new:\n", f"  spare:\n{again}  new:\n")
    assert json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)["name"] == "switch"
    state(project, PERMITTED)
    cli.fails("route", "apply", "echo", error=("use-forbidden", "spare"))


def test_a_withheld_incumbent_is_refused_before_it_is_asked(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    script["new-model"] = honest
    project.change(f"model: {SCOUT}", "model: new-model")
    project.change("model: old-model", f"model: {SCOUT}")
    state(project, HERE)
    cli.fails("evaluate", "echo", "--yes", error=("use-forbidden", "old", "DE", "territory-withheld"))
    assert not project.fake.requests
    assert noted(cli.succeeds("evaluate", "echo", "--dry-run").err, "use-forbidden", "old")


def test_elsewhere_and_unstated_it_is_asked_with_what_it_asks_for(cli: CommandLine, project: Project) -> None:
    ran = cli.succeeds("evaluate", "echo", "--dry-run")
    assert noted(ran.err, "use-unknown", "team.country")
    assert not noted(ran.err, "use-conditional")
    state(project, HERE.replace("DE", "US"))
    ran = cli.succeeds("evaluate", "echo", "--yes", "--json")
    assert noted(ran.err, "use-conditional", "Built with Llama")
    found = json.loads(ran.out)
    assert found["name"] == "switch"
    assert {"use-conditional"} <= {each["code"] for each in found["reasons"]}


def test_a_verdict_never_switches_to_what_became_forbidden(cli: CommandLine, project: Project) -> None:
    assert json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)["name"] == "switch"
    cli.succeeds("route", "apply", "echo", "--canary")
    state(project, HERE)
    cli.fails("route", "promote", "echo", error=("use-forbidden", "new"))
    cli.fails("route", "apply", "echo", error=("use-forbidden", "new"))
    found = json.loads(cli.succeeds("decide", "echo", "--json").out)
    verdict = found.get("verdicts", [found])[0]
    assert verdict["name"] == "keep"
    (shown,) = json.loads(cli.succeeds("route", "show", "--json").out)["routes"]
    assert shown["status"] == "kept: new is forbidden (territory-withheld)"
    exported = cli.succeeds("route", "export", "echo", "--proxy", "litellm").out
    assert "old-model" in exported
    assert SCOUT not in exported
    assert "use-forbidden" in {each["code"] for each in verdict["reasons"]}
    assert "permission-stated" in {each["code"] for each in verdict["would_change"]}
    cli.succeeds("route", "abort", "echo")


def test_a_permission_lets_it_be_tested_and_stays_in_the_verdict(cli: CommandLine, project: Project) -> None:
    state(project, PERMITTED)
    found = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)
    assert found["name"] == "switch"
    (reason,) = [each["text"] for each in found["reasons"] if each["code"] == "use-permitted"]
    assert "a letter of 3 May" in reason
    with Opened.open(project.config) as opened:
        (check,) = opened.verified(["echo"])
        settings = check.confirmed().settings
    assert settings is not None
    assert [each.because for each in settings.clauses if each.severity == "permitted"] == [
        "a letter of 3 May"
    ]


def test_what_is_not_known_of_a_host_blocks_a_switch(cli: CommandLine, project: Project) -> None:
    state(project, HERE.replace("DE", "US") + "  max_retention_days: 0\n")
    found = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)
    assert found["name"] == "undecided"
    assert "use-unknown" in {each["code"] for each in found["reasons"]}


def test_what_became_unknown_is_not_put_in_force(cli: CommandLine, project: Project) -> None:
    """The verdict was reached before the team asked for it, and a new one would not switch."""
    assert json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)["name"] == "switch"
    state(project, HERE.replace("DE", "US") + "  max_retention_days: 0\n")
    cli.fails("route", "apply", "echo", error=("use-unknown", "new", "retention-unknown"))


CONTRACT = "team:\n  contracts: [{provider: openai-compatible, minimum_usd_per_month: 100000}]\n"


def test_a_minimum_enters_the_verdict_and_the_bill(cli: CommandLine, project: Project) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    before = json.loads(cli.succeeds("cost", "echo", "--json").out)
    state(project, CONTRACT)  # more than both models cost, so that the move changes nothing
    after = json.loads(cli.succeeds("cost", "echo", "--json").out)
    assert Decimal(before["offers"][0]["saving_usd_per_month"]) > 0
    assert Decimal(after["offers"][0]["saving_usd_per_month"]) == 0
    found = json.loads(cli.succeeds("decide", "echo", "--json").out)
    verdict = found.get("verdicts", [found])[0]
    assert verdict["name"] == "keep"
    assert {"contract-owed", "costs-more"} <= {each["code"] for each in verdict["reasons"]}


def test_cost_and_catalogue_show_what_the_terms_say(cli: CommandLine, project: Project) -> None:
    state(project, HERE)
    small = ("--input-tokens", "1000", "--output-tokens", "100", "--per-day", "100")
    offers = ("--offer", "llama-4-scout@groq", "--offer", "gpt-oss-120b@groq")
    found = json.loads(cli.succeeds("cost", *small, *offers, "--json").out)
    doubts = {each["offer"]: each["doubts"] for each in found["offers"]}
    assert any("DE" in each for each in doubts["llama-4-scout@groq"])
    assert not doubts["gpt-oss-120b@groq"]
    shown = json.loads(cli.succeeds("catalog", "show", "llama-4-scout@groq", "--json").out)["offer"]
    assert shown["licence"] == "Llama 4 Community License"
    assert shown["clauses"][0]["code"] == "territory-withheld"
    text = cli.succeeds("catalog", "show", "llama-4-scout@groq").out
    assert "territory-withheld" in text
