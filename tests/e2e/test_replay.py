"""`crossgrade probe replay`: recorded runs of an agent with another model."""

import json
from pathlib import Path

import pytest

from crossgrade.domain import ToolCall
from crossgrade.testing import ReceivedRequest, Reply
from tests.codes import noted
from tests.e2e.driving import CommandLine, Project, Script
from tests.unit.workloads.test_recorded_runs import log, requests


def call(command: str) -> ToolCall:
    return ToolCall(id="x", name="bash", arguments=json.dumps({"command": command}))


def follows(request: ReceivedRequest) -> Reply:
    """Do what the runs did, but for task `r1`, where another command comes first, and `r2`, which ends early."""
    messages = request.json["messages"]
    task, steps = messages[0]["content"], sum(each["role"] == "tool" for each in messages)
    if task == "Task r1":
        return Reply("", tool_calls=(call("pwd"),), finish_reason="tool_calls")
    if steps == 0 or (steps == 1 and task != "Task r2"):
        command = ("ls", "cat a")[steps]
        return Reply("", tool_calls=(call(command),), finish_reason="tool_calls")
    return Reply("All done.")


@pytest.fixture
def runs(project: Project, script: dict[str, Script]) -> Path:
    script["new-model"] = follows
    return log(project.folder, [row for run in range(4) for row in requests(f"r{run}")])


def test_where_a_model_leaves_the_runs(cli: CommandLine, project: Project, runs: Path) -> None:
    ran = cli.succeeds("probe", "replay", "new", runs, "--yes", "--json")
    found = json.loads(ran.out)["replay"]
    assert (found["replayed"], found["agreed"]["value"], found["screening"]) == (4, 0.5, True)
    left = {each["run"]: each for each in found["divergences"]}
    assert (left["r1"]["step"], left["r1"]["kind"]) == (1, "arguments")
    assert (left["r2"]["step"], left["r2"]["kind"], left["r2"]["replayed"]) == (2, "answered", [])
    assert found["at_step"] == {"1": 1, "2": 1}
    assert found["tools"] == {"bash": 2}
    assert found["followed"] == pytest.approx((1 + 0 + 1 / 3 + 1) / 4)
    assert found["spent"]["calls"] == 9
    assert noted(ran.err, "screening")
    (kept,) = (project.folder / ".crossgrade" / "probes").glob("*.replay.json")
    assert json.loads(kept.read_text())["screening"] is True
    # What was paid for is not paid for again, and no verdict comes of it.
    again = json.loads(cli.succeeds("probe", "replay", "new", runs, "--yes", "--json").out)["replay"]
    assert (again["spent"]["calls"], again["divergences"]) == (0, found["divergences"])
    assert cli("decide", "echo").code != 0


def test_a_local_model_that_is_not_shown_the_tools_is_refused(
    cli: CommandLine, project: Project, runs: Path
) -> None:
    project.change("models:\n", "models:\n  here: {provider: local, model: gemma-3-270m}\n")
    cli.fails("probe", "replay", "here", runs, "--yes", error="replay-tools-not-shown")


def test_tools_alone(cli: CommandLine, runs: Path) -> None:
    ran = cli.succeeds("probe", "replay", "new", runs, "--yes", "--same", "tool", "--json")
    left = {each["run"]: each for each in json.loads(ran.out)["replay"]["divergences"]}
    assert {run: (each["step"], each["kind"]) for run, each in left.items()} == {
        "r1": (3, "went on"),
        "r2": (2, "answered"),
    }


def test_what_it_costs_comes_first(cli: CommandLine, project: Project, runs: Path) -> None:
    estimate = json.loads(cli.succeeds("probe", "replay", "new", runs, "--dry-run", "--json").out)["estimate"]
    assert (estimate["runs"], estimate["calls"]) == (4, [4, 12])
    low, high = map(float, estimate["cost_usd"])
    assert 0 < low < high
    assert not (project.folder / ".crossgrade" / "probes").exists()


def test_it_stops_at_a_limit_and_goes_on(cli: CommandLine, runs: Path) -> None:
    stopped = json.loads(cli.succeeds("probe", "replay", "new", runs, "--max-cost", "0.0085", "--json").out)[
        "replay"
    ]
    assert stopped["reason_code"] == "budget-exceeded"
    assert stopped["unfinished"] > 0
    done = json.loads(cli.succeeds("probe", "replay", "new", runs, "--yes", "--json").out)["replay"]
    assert done["unfinished"] == 0
    assert stopped["spent"]["calls"] + done["spent"]["calls"] == 9


def test_a_table_for_people(cli: CommandLine, runs: Path) -> None:
    ran = cli.succeeds("probe", "replay", "new", runs, "--yes")
    assert "followed_to_the_end" in ran.out or "followed to the end" in ran.out
    assert "1 of 3" in ran.out


def test_a_model_that_is_not_there(cli: CommandLine, project: Project, runs: Path) -> None:
    cli.fails("probe", "replay", "nwe", runs, error="model-unknown")
    nothing = log(project.folder, requests("a", commands=()), "none.jsonl")
    cli.fails("probe", "replay", "new", nothing, error="runs-not-replayable")
