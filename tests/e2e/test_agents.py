"""An agentic workload from its evaluation to a route that its own agent's trials allow."""

import json
from datetime import UTC, datetime
from pathlib import Path

from tests.codes import said
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
