"""`crossgrade evaluate` and what follows it: estimate, run, verdict, route table, report."""

import asyncio
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

import crossgrade
from crossgrade.testing import Reply
from tests.codes import names, noted, said
from tests.e2e.driving import KEY, CommandLine, Project, Script, number


@pytest.fixture
def steady(project: Project) -> Project:
    """A project whose models take two calls at a time, so that a run stops soon after it is certain."""
    project.change(
        "    api_key_env: FAKE_API_KEY\n", "    api_key_env: FAKE_API_KEY\n    max_concurrency: 2\n"
    )
    return project


def test_a_notebook_whose_event_loop_runs_already(project: Project) -> None:
    async def cell() -> str:
        with crossgrade.Project.open(project.config) as opened:
            assert opened.estimate("echo").samples == 120
            run = opened.evaluate("echo")
            stored = opened.decide("echo", run_id=run.run_id)
            assert opened.rescore(stored.id).differences == ()
            return stored.verdict.report("verdict.md").read_text()

    assert "echo: switch" in asyncio.run(cell())


def test_a_dry_run_estimates_and_asks_nobody(cli: CommandLine, project: Project) -> None:
    ran = cli.succeeds("evaluate", "echo", "--dry-run")
    assert ran.out.splitlines()[0].split() == [
        "model",
        "calls",
        "reused",
        "input",
        "tokens",
        "output",
        "tokens",
        "cost",
    ]
    estimate = json.loads(cli.succeeds("evaluate", "echo", "--dry-run", "--json").out)["estimate"]
    assert (estimate["samples"], [model["calls"] for model in estimate["models"]]) == (120, [120, 120])
    low, high = map(Decimal, estimate["cost_usd"])
    assert 0 < low < high
    assert "if it keeps" in ran.out
    expected = json.loads(cli.succeeds("evaluate", "echo", "--dry-run", "--json").out)["expected"]
    assert [each["retention"] for each in expected] == [0.7, 0.85, 0.95, 1.0]
    assert expected[0]["calls"] < expected[2]["calls"] <= 240
    assert expected[0]["certified"] < 0.2 < 0.6 < expected[-1]["certified"]
    assert all(low / 5 < Decimal(each["cost_usd"][0]) < Decimal(each["cost_usd"][1]) for each in expected)
    assert len(project.fake.requests) == 0
    assert json.loads(cli.succeeds("runs", "--json").out)["runs"] == []

    cli.succeeds("evaluate", "echo", "--yes")
    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    assert Decimal(run["spent_usd"]) <= high
    again = json.loads(cli.succeeds("evaluate", "echo", "--dry-run", "--json").out)["estimate"]
    assert sum(model["reused"] for model in again["models"]) == run["answers"]


def test_the_whole_way_from_a_run_to_a_route(cli: CommandLine, steady: Project) -> None:
    project = steady
    ran = cli.succeeds("evaluate", "echo")
    assert ran.out.startswith("echo: SWITCH\n")
    assert noted(ran.err, "estimate", 120)
    asked = len(project.fake.requests)
    assert asked < 240  # the verdict was certain before every sample was asked
    (told,) = noted(ran.err, "run-ended")
    assert all(names(told, value) for value in (asked // 2, 120, asked))
    assert not noted(ran.err, "progress", "120 of 120")

    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    assert (run["status"], run["answers"], run["errors"]) == ("finished", asked, 0)
    (stored,) = json.loads(cli.succeeds("report", "--list", "--json").out)["verdicts"]
    assert (stored["workload"], stored["verdict"]) == ("echo", "switch")

    decided = json.loads(cli.succeeds("decide", "echo", "--gate", "--json").out)
    assert (decided["schema_version"], decided["name"]) == (3, "switch")
    assert decided["saving_per_month_usd"]["value"] > 0
    verified = json.loads(cli.succeeds("decide", "--verify", stored["id"], "--json").out)
    assert verified["retention"] == decided["retention"]

    again = cli.succeeds("decide", "echo")
    assert noted(again.err, "already-recorded", stored["id"])
    assert len(json.loads(cli.succeeds("report", "--list", "--json").out)["verdicts"]) == 1

    applied = cli.succeeds("decide", "echo", "--apply")
    assert noted(applied.err, "route-applied", 1, "echo", "switch")
    cli.succeeds("decide", "echo", "--apply")
    routes = json.loads((project.folder / ".crossgrade" / "routes.json").read_text())
    assert "echo" in json.dumps(routes)

    cli.succeeds("report")
    page = (project.folder / "crossgrade-report.html").read_text()
    assert "Switch echo from old to new" in page
    for name in ("r.md", "r.xml"):
        cli.succeeds("report", "echo", "--to", name)
        assert "echo" in Path(name).read_text()
    report = json.loads(cli.succeeds("report", "--json").out)["verdicts"]
    assert [verdict["workload"] for verdict in report] == ["echo"]
    assert len(project.fake.requests) == asked


def test_a_candidate_that_is_worse_is_kept_out_and_the_gate_says_so(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    script["new-model"] = lambda request: Reply("wrong" if number(request) % 2 else str(number(request)))
    found = json.loads(cli.succeeds("evaluate", "echo", "--json").out)
    assert found["name"] == "keep"
    assert cli("decide", "echo", "--gate").code == 1
    applied = cli.succeeds("decide", "echo", "--apply")
    assert noted(applied.err, "route-applied", "echo", "keep")


def test_segments_move_by_themselves(cli: CommandLine, project: Project, script: dict[str, Script]) -> None:
    project.dataset(240, kind=lambda i: "even" if i % 2 == 0 else "odd")
    project.change("    scorer:", "    segment_field: kind\n    scorer:")
    script["new-model"] = lambda request: Reply("wrong" if number(request) % 2 else str(number(request)))
    found = json.loads(cli.succeeds("evaluate", "echo", "--json").out)
    assert (found["name"], found["policy"]["segments"]) == ("split", ["even"])
    cli.succeeds("decide", "echo", "--apply", "--gate")


def test_a_certain_switch_asks_no_segment_on_until_told_to(cli: CommandLine, steady: Project) -> None:
    steady.dataset(600, kind=lambda i: ("red", "green", "blue")[i % 3])
    steady.change("    scorer:", "    segment_field: kind\n    scorer:")
    found = json.loads(cli.succeeds("evaluate", "echo", "--json").out)
    assert (found["name"], found["policy"]["kind"]) == ("switch", "switch")
    needless = {one["segment"] for one in found["certificates"] if one["not_needed"]}
    assert needless
    assert found["calls_saved"] > 0
    asked = len(steady.fake.requests)
    assert asked < 400
    on = json.loads(
        cli.succeeds(
            "evaluate", "echo", "--json", "--yes", "--every-hypothesis", "--resume", found["run_id"]
        ).out
    )
    assert len(steady.fake.requests) > asked
    assert not any(one["not_needed"] for one in on["certificates"])
    assert {one["segment"] for one in on["certificates"] if one["certified"]} > {None}


def test_a_run_that_gave_up_goes_on_when_resumed(
    cli: CommandLine, steady: Project, script: dict[str, Script]
) -> None:
    steady.dataset(400)
    script["old-model"] = lambda request: Reply("?" if number(request) % 5 == 0 else str(number(request)))
    script["new-model"] = lambda request: Reply("?" if number(request) % 16 < 6 else str(number(request)))
    found = json.loads(cli.succeeds("evaluate", "echo", "--no-decide", "--json").out)
    assert found["ending"] == "futile"
    asked = len(steady.fake.requests)
    cli.succeeds("evaluate", "echo", "--resume", found["run_id"])
    assert len(steady.fake.requests) > asked


def test_a_run_without_a_decision(cli: CommandLine, steady: Project) -> None:
    found = json.loads(cli.succeeds("evaluate", "echo", "--no-decide", "--json").out)
    assert found["ending"] == "certain"
    assert found["progress"]["calls"] == len(steady.fake.requests) < 240
    assert found["progress"]["done"] == 120
    assert 0 < 2 * found["progress"]["asked"] <= found["progress"]["calls"] < 240
    cli.fails("report", error="verdict-missing")
    cli.succeeds("decide", "echo", "--run", found["run_id"])


def test_the_budget_ends_a_run_that_goes_on_with_more(cli: CommandLine, project: Project) -> None:
    project.change("    scorer:", "    mode: fixed\n    scorer:")
    cli.fails("evaluate", "echo", "--max-cost", "0.004", code=3, error=("budget-exceeded", "$0.004"))
    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    assert run["status"] == "budget"
    assert 0 < Decimal(run["spent_usd"]) <= Decimal("0.004")
    cli.succeeds("evaluate", "echo", "--max-cost", "1", "--resume", run["run"])
    assert max(Counter(request.body for request in project.fake.requests).values()) == 1


def test_a_run_that_may_be_dear_asks_first(cli: CommandLine, project: Project) -> None:
    project.change("input_per_mtok: 10", "input_per_mtok: 100000")
    message = cli.fails("evaluate", "echo", error="cost-unconfirmed")
    assert "--max-cost" in message
    assert len(project.fake.requests) == 0


def test_a_limit_on_cost_needs_a_price(cli: CommandLine, project: Project) -> None:
    project.change("    prices: [{input_per_mtok: 1, output_per_mtok: 3}]\n", "")
    cli.fails("evaluate", "echo", "--max-cost", "1", error=("price-unknown-under-limit", "new"))
    found = json.loads(cli.succeeds("evaluate", "echo", "--json").out)
    assert found["name"] == "undecided"
    assert said(found["reasons"], "price-unknown")


def test_a_model_whose_answers_are_all_recorded_needs_no_key(
    cli: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.change(
        "    api_key_env: FAKE_API_KEY\n    prices: [{input_per_mtok: 10,",
        "    api_key_env: OLD_KEY\n    prices: [{input_per_mtok: 10,",
    )
    monkeypatch.setenv("OLD_KEY", KEY)
    project.change("    scorer:", "    mode: fixed\n    scorer:")
    cli.succeeds("evaluate", "echo", "--no-decide")
    monkeypatch.delenv("OLD_KEY")
    project.change("candidates: [new]", "candidates: [{model: new, settings: {max_output_tokens: 9}}]")
    asked = len(project.asked("old-model"))
    assert noted(cli.succeeds("evaluate", "echo").err, "run-ended", "120 calls", "120 answers")
    assert len(project.asked("old-model")) == asked

    runs = cli.succeeds("runs", "--json").out
    cli.fails("evaluate", "echo", "--no-reuse", code=3, error=("key-not-set", "OLD_KEY"))
    project.dataset(121)
    cli.fails("evaluate", "echo", code=3, error=("key-not-set", "OLD_KEY"))
    assert cli.succeeds("runs", "--json").out == runs  # refused before anything was asked


def test_resuming_a_finished_run_asks_nothing(cli: CommandLine, project: Project) -> None:
    project.change("    scorer:", "    mode: fixed\n    scorer:")
    cli.succeeds("evaluate", "echo")
    asked = len(project.fake.requests)
    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    cli.succeeds("evaluate", "echo", "--resume", run["run"])
    cli.succeeds("evaluate", "echo")
    assert len(project.fake.requests) == asked
    cli.succeeds("evaluate", "echo", "--no-reuse")
    assert len(project.fake.requests) == 2 * asked


def test_the_python_interface_does_the_same(project: Project) -> None:
    with crossgrade.Project.open("crossgrade.yaml") as opened:
        result = opened.evaluate("echo")
        stored = opened.decide("echo")
        assert stored.verdict.name == "switch"
        assert stored.verdict.run_id == result.run_id
        assert opened.verify(stored.id).differences == ()
        assert opened.report().read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("word", ["--json", "--markdown"])
def test_stdout_carries_data_only(cli: CommandLine, project: Project, word: str) -> None:
    ran = cli.succeeds("evaluate", "echo", "--json")
    json.loads(ran.out)
    ran = cli.succeeds("decide", "echo", *(["--json"] if word == "--json" else [word, "x.md", "--json"]))
    json.loads(ran.out)
    assert noted(ran.err, "already-recorded")
