"""An agentic workload from its evaluation to a route that its own agent's trials allow."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.codes import noted, said
from tests.e2e.driving import CommandLine, Project

TODAY = datetime.now(UTC).date().isoformat()
TRIALS = """
    trials:
      path: trials.csv
      agent: harness
      agent_version: "2.1"
      ran_on: DAY
"""


def write_trials(path: Path, solved: float) -> None:
    """Write three attempts at 80 tasks; the candidate solves a share of what the incumbent solves."""
    rows = ["item_id,model,score,epoch,agent,agent_version,dataset,limits,failure,cost_usd,latency_ms"]
    for task in range(80):
        for attempt in range(3):
            b = (task * 7 + attempt) % 10 < 7
            c = b and (task * 3 + attempt) % 100 < 100 * solved
            for model, won in (("old", b), ("new", c)):
                failure = "" if won else "agent_timeout"
                rows.append(
                    f"t{task},{model},{int(won)},{attempt},harness,2.1,core@1,{{}},{failure},0.4,90000"
                )
    path.write_text("\n".join(rows) + "\n")


def verdict_of(cli: CommandLine, *arguments: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(cli.succeeds("decide", "echo", "--json", *arguments).out)
    return found


def agentic(project: Project, more: str = "") -> None:
    project.change("    scorer:", f"    requirements: {{evidence: agentic}}{more}\n    scorer:")


def test_trials_of_the_own_agent(cli: CommandLine, project: Project) -> None:
    agentic(project)
    cli.succeeds("evaluate", "echo", "--yes", "--every-hypothesis")
    stays = verdict_of(cli)
    assert stays["name"] == "keep"
    assert said(stays["reasons"], "evidence-missing")
    assert said(stays["would_change"], "evidence-imported")

    write_trials(project.folder / "trials.csv", solved=0.99)
    project.change("evidence: agentic}", "evidence: agentic}" + TRIALS.replace("DAY", TODAY).rstrip())
    moves = verdict_of(cli)
    assert moves["name"] == "switch", moves["sentence"]
    # The trials are in the verdict, so that it is computed again without their file.
    (project.folder / "trials.csv").unlink()
    cli.succeeds("decide", "--verify", "latest")


def test_trials_that_are_too_old_or_too_bad(cli: CommandLine, project: Project) -> None:
    agentic(project, TRIALS.replace("DAY", "2020-01-01").rstrip())
    write_trials(project.folder / "trials.csv", solved=0.99)
    cli.succeeds("evaluate", "echo", "--yes")
    assert verdict_of(cli)["name"] == "undecided"
    project.change("2020-01-01", TODAY)
    write_trials(project.folder / "trials.csv", solved=0.4)
    assert verdict_of(cli)["name"] == "keep"


def test_an_agents_log_says_what_trials_cost(cli: CommandLine, project: Project) -> None:
    call = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "look_up"}}]}
    rows = [
        {
            "id": f"{run}-{at}",
            "timestamp": 1_793_000_000 + 3600 * run + at,
            "model": "old-model",
            "provider": "openai-compatible",
            "route": "travel",
            "session": f"run-{run}",
            "temperature": 0,
            "input_tokens": 1000,
            "output_tokens": 100,
            "status": 200,
            "messages": [
                {"role": "user", "content": f"Say {run}"},
                *[call, {"role": "tool", "tool_call_id": "c", "content": "12:40"}] * at,
            ],
            "completion": f"{run}",
        }
        for run in range(40)
        for at in range(5)
    ]
    log = project.folder / "log.jsonl"
    log.write_text("".join(json.dumps(each) + "\n" for each in rows))
    (finding,) = json.loads(cli.succeeds("scan", log, "--json").out)["findings"]
    assert (finding["needs_evidence"], finding["runs"]["calls"]) == ("agentic", 5)
    told = cli.succeeds("scan", log, "--output", project.folder / "scan.json").err
    assert "init --template coding-agent" in told
    assert "400 trials" in told
    assert "workload create" not in told
    cli.succeeds("workload", "create", "travel", "--from", log, "--candidate", "new", "--targets", "logged")
    shown = json.loads(cli.succeeds("workload", "show", "travel", "--json").out)
    assert "agentic" in json.dumps(shown["workload"]["requirements"])
    cli.succeeds("evaluate", "travel", "--yes", "--no-decide")
    verdict = json.loads(cli.succeeds("decide", "travel", "--json").out)
    assert verdict["name"] == "keep"
    facts = {each["model"]: each["trial_cost"] for each in verdict["settings"]["facts"]}
    assert {each["basis"] for each in facts.values()} == {"log"}
    # 5 calls of 1,000 tokens in and 100 out, at $10 and $30, and $1 and $3 a million.
    assert [facts["old"]["usd"], facts["new"]["usd"]] == pytest.approx([0.065, 0.0065])
    assert said(verdict["would_change"], "trials-cost")


def test_an_import_shows_both_readings_of_each_agent(cli: CommandLine, tmp_path: Path) -> None:
    rows = ["item_id,model,score,epoch,agent,failure"]
    rows += [f"t{at},m,{int(at < 5)},0,one," for at in range(8)] + [
        "t8,m,,0,one,api_error",
        "t9,m,,0,one,api_error",
    ]
    rows += [f"t{at},m,0,0,two,{name}" for at, name in enumerate(("a", "b", "c", "d"))]
    path = tmp_path / "trials.csv"
    path.write_text("\n".join(rows) + "\n")
    one, two = json.loads(cli.succeeds("import", path, "--json").out)["agent_runs"]
    assert (one["agent"], one["solved_as_failures"], one["solved_left_out"]) == ("one", 0.5, 0.625)
    assert (two["agent"], two["solved_as_failures"]) == ("two", 0.0)
    assert not noted(cli.succeeds("import", path).err, "scores-out-of-range")
    shown = cli.succeeds("import", path).out
    assert "62.5 %" in shown
    assert "…" in shown
    path.write_text("\n".join(rows).replace("t0,m,1,", "t0,m,5,") + "\n")
    assert noted(cli.succeeds("import", path).err, "scores-out-of-range", 1)
