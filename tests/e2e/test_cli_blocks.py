"""Runs whose incumbent answers one sample in K, and runs that go on with an earlier plan."""

import json
from typing import Any

import pytest

from crossgrade.store import Store
from crossgrade.testing import Reply
from tests.codes import said
from tests.e2e.driving import CommandLine, Project, Script, number


@pytest.fixture
def cheap(project: Project) -> Project:
    """A project whose candidate costs a fiftieth, with far more samples than are planned."""
    project.dataset(3000)
    project.change("{input_per_mtok: 1, output_per_mtok: 3}", "{input_per_mtok: 0.2, output_per_mtok: 0.6}")
    project.change("    scorer:", "    planned: 300\n    scorer:")
    return project


@pytest.fixture(autouse=True)
def close(script: dict[str, Script]) -> None:
    """Two models that differ on some samples, so that a verdict takes a while."""
    script["old-model"] = lambda request: Reply("?" if number(request) % 5 == 0 else str(number(request)))
    script["new-model"] = lambda request: Reply("?" if number(request) % 7 < 2 else str(number(request)))


def _design(project: Project, run_id: str) -> Any:
    with Store.open(project.folder / ".crossgrade" / "crossgrade.db") as store:
        return store.runs.design(run_id)


def test_the_incumbent_answers_one_sample_in_k_and_the_verdict_says_so(
    cli: CommandLine, cheap: Project
) -> None:
    found = json.loads(cli.succeeds("evaluate", "echo", "--json", "--yes").out)
    blocks = _design(cheap, found["run_id"]).blocks
    assert blocks.size > 1
    old, new = (len(cheap.asked(model)) for model in ("old-model", "new-model"))
    assert old < new
    whole = found["certificates"][0]["retention"]
    assert whole["n"] <= old
    assert found["asked"] <= new
    assert not any(guard["status"] == "fail" for guard in found["guards"])
    cli.succeeds("decide", "--verify", found["verdict_id"])
    if found["name"] == "switch":
        assert said(found["reasons"], "saves", f"K = {blocks.size}")


def test_other_samples_of_the_same_models_need_no_pilot(cli: CommandLine, cheap: Project) -> None:
    first = json.loads(cli.succeeds("evaluate", "echo", "--json", "--yes").out)
    rows = ({"input": f"{i}", "target": f"{i}"} for i in range(10_001, 13_001))
    (cheap.folder / "echo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = {model: len(cheap.asked(model)) for model in ("old-model", "new-model")}
    second = json.loads(cli.succeeds("evaluate", "echo", "--json", "--yes").out)
    design = _design(cheap, second["run_id"])
    assert (design.pilot, design.blocks.source) == (0, first["run_id"])
    assert design.blocks.size > 1
    old, new = (len(cheap.asked(model)) - before[model] for model in before)
    assert old <= new // design.blocks.size + 3
    cli.succeeds("decide", "--verify", second["verdict_id"])


def test_blocks_can_be_left_out(cli: CommandLine, cheap: Project) -> None:
    cheap.change("    scorer:", "    blocks: false\n    scorer:")
    found = json.loads(cli.succeeds("evaluate", "echo", "--json", "--yes").out)
    assert _design(cheap, found["run_id"]).blocks is None
    assert len(cheap.asked("old-model")) == len(cheap.asked("new-model"))


def test_a_larger_plan_goes_on_with_the_first_one_and_is_no_other_draw(
    cli: CommandLine, project: Project
) -> None:
    project.dataset(900)
    project.change("    scorer:", "    planned: 40\n    scorer:")
    first = json.loads(cli.succeeds("evaluate", "echo", "--json", "--yes").out)
    assert first["name"] == "undecided"
    asked = len(project.fake.requests)
    project.change("planned: 40", "planned: 400")
    second = json.loads(cli.succeeds("evaluate", "echo", "--json", "--yes").out)
    design = _design(project, second["run_id"])
    assert (design.samples, design.first_samples, design.first_run) == (400, 40, first["run_id"])
    prompts = project.asked("old-model")
    assert len(prompts) == len(set(prompts)), "an answer was paid for twice"
    assert len(project.fake.requests) > asked
    guards = {guard["name"]: guard for guard in second["guards"]}
    assert second["settings"]["draws"] == 1
    assert guards["selection"]["status"] == "pass"
    cli.succeeds("decide", "--verify", second["verdict_id"])
    project.change("planned: 400", "planned: 60")
    third = json.loads(cli.succeeds("evaluate", "echo", "--json", "--yes").out)
    assert _design(project, third["run_id"]).first_samples == 40


def test_a_dataset_that_grew_begins_with_what_it_had(cli: CommandLine, project: Project) -> None:
    project.dataset(60)
    first = json.loads(cli.succeeds("evaluate", "echo", "--json", "--yes").out)
    project.dataset(200)
    second = json.loads(cli.succeeds("evaluate", "echo", "--json", "--yes").out)
    design = _design(project, second["run_id"])
    assert (design.first_samples, design.first_run, design.grown_from) == (60, first["run_id"], (60,))
    order = [prompt.split()[-1] for prompt in project.asked("old-model")]
    assert {int(each) for each in order[:60]} == set(range(1, 61))
    cli.succeeds("decide", "--verify", second["verdict_id"])
    project.dataset(500)
    third = json.loads(cli.succeeds("evaluate", "echo", "--json", "--yes").out)
    assert _design(project, third["run_id"]).grown_from == (60, 200)


def test_other_rows_are_another_plan(cli: CommandLine, project: Project) -> None:
    project.dataset(60)
    cli.succeeds("evaluate", "echo", "--yes")
    project.dataset(90, more=lambda i: "x")
    second = json.loads(cli.succeeds("evaluate", "echo", "--json", "--yes").out)
    design = _design(project, second["run_id"])
    assert (design.first_samples, design.first_run, design.grown_from) == (90, None, ())
