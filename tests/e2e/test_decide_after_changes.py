"""Deciding on a run after crossgrade.yaml changed: what was measured must be the same, rules are said."""

import json

import pytest

import crossgrade.project
from tests.codes import names, noted, said
from tests.e2e.driving import CommandLine, Project


def guards(out: str) -> dict[str, dict[str, str]]:
    return {guard["name"]: guard for guard in json.loads(out)["guards"]}


def test_a_changed_prompt_was_not_measured(cli: CommandLine, project: Project) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    project.change("model: new-model", "model: newer-model")
    cli.fails("decide", "echo", error=("workload-changed", "echo"))


def test_a_changed_floor_is_said(cli: CommandLine, project: Project) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    assert guards(cli.succeeds("decide", "echo", "--json").out)["peeking"]["status"] == "pass"
    seen = guards(cli.succeeds("decide", "echo", "--floor", "0.7", "--json").out)["peeking"]
    assert seen["status"] == "warn"
    assert names(seen["seen"], "floor 0.85")


def test_several_draws_of_one_dataset_are_said(cli: CommandLine, project: Project) -> None:
    for seed in (1, 2):
        project.change("    scorer:", f"    seed: {seed}\n    scorer:")
        cli.succeeds("evaluate", "echo", "--yes")
        project.change(f"    seed: {seed}\n", "")
    project.change("    scorer:", "    seed: 2\n    scorer:")
    printed = cli.succeeds("decide", "echo", "--json").out
    verdict, selection = json.loads(printed), guards(printed)["selection"]
    assert verdict["settings"]["draws"] == 2
    assert said(verdict["reasons"], "guard-warned", selection["seen"], guard="selection")
    assert names(selection["seen"], 2)


def test_applying_again_replaces_the_route_and_keeps_the_chain(cli: CommandLine, project: Project) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    for version in (1, 2):
        assert noted(cli.succeeds("decide", "echo", "--apply").err, "route-applied", version)
    with crossgrade.project.Project.open(project.config) as opened:
        table = opened.store.routes.current()
    assert table is not None
    assert [route.name for route in table.routes] == ["echo"]
    assert (table.version, table.previous is None) == (2, False)


def test_a_run_that_did_not_finish_is_said_with_the_last_one_that_did(
    cli: CommandLine, project: Project
) -> None:
    finished = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--no-decide", "--json").out)["run_id"]
    assert not noted(cli.succeeds("decide", "echo").err, "run-unfinished")
    cli.fails("evaluate", "echo", "--no-reuse", "--max-cost", "0.002", code=3, error="budget-exceeded")
    newest = json.loads(cli.succeeds("runs", "--json").out)["runs"][0]["run"]
    told = cli.succeeds("decide", "echo").err
    assert noted(told, "run-unfinished", newest, "budget")
    assert noted(told, "resume", f"crossgrade evaluate echo --resume {newest}")
    assert noted(told, "run-finished", f"crossgrade decide echo --run {finished}")
    assert not noted(cli.succeeds("decide", "echo", "--run", finished).err, "run-unfinished")


def test_two_names_of_one_model_cost_what_each_says(cli: CommandLine, project: Project) -> None:
    """One endpoint at two prices is asked once; what the first name paid is not what the other would pay."""
    project.change("    model: new-model", "    model: old-model")
    cli.succeeds("evaluate", "echo", "--yes")
    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    assert len(project.fake.requests) == run["answers"] / 2
    found = json.loads(cli.succeeds("decide", "echo", "--json").out)
    keep, switch = (
        next(cost for cost in found["costs"] if cost["policy"]["kind"] == kind) for kind in ("keep", "switch")
    )
    assert switch["per_request_usd"]["value"] == pytest.approx(keep["per_request_usd"]["value"] / 10)
    assert switch["saving_share"]["value"] == pytest.approx(0.9)
