"""`crossgrade port`: a prompt is searched on development items and tested once on items nothing touched."""

import json
import re

import pytest

from crossgrade.project import Project as Opened
from crossgrade.testing import Fault, ReceivedRequest, Reply
from tests.codes import noted, said
from tests.e2e.driving import CommandLine, Project, Script

WORDS = "Give only the answer"


def wordy(request: ReceivedRequest) -> Reply | Fault:
    """Answer right; as the candidate in a sentence six times in ten, unless told not to."""
    n = int(re.findall(r"\d+", request.prompt)[-1])
    is_told = WORDS in json.dumps(request.json)
    return Reply(str(n) if is_told or n % 10 < 4 else f"I think that it is {n} or {n + 1}")


@pytest.fixture
def failed(cli: CommandLine, project: Project, script: dict[str, Script]) -> Project:
    """A project whose candidate failed on the first 60 of 400 samples; three rounds are planned."""
    script["new-model"] = wordy
    project.dataset(400)
    project.change("    requests_per_month", "    planned: 60\n    rounds: 3\n    requests_per_month")
    verdict = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)
    assert verdict["name"] == "keep"
    assert verdict["alpha"] == 0.025
    project.fake.requests.clear()
    return project


def test_a_prompt_is_ported_tested_once_and_certified(cli: CommandLine, failed: Project) -> None:
    ran = cli.succeeds("port", "echo", "--candidate", "new", "--yes", "--json")
    found = json.loads(ran.out)
    verdict = found["verdict"]
    assert verdict["name"] == "switch"
    assert verdict["alpha"] == 0.0125
    test = verdict["settings"]["tuning"]
    assert (test["number"], test["rounds"], test["alpha"]) == (2, 3, 0.05)
    assert WORDS in json.dumps(found["proposed"])
    assert 0.2 < found["retention_before"] < 0.6
    assert found["retention_after"] == 1
    for code in ("tuned-candidate", "tuning-lineage", "gain-held"):
        assert said(verdict["reasons"], code)
    cli.succeeds("decide", "--verify", found["verdict_id"])
    cli.succeeds("decide", "echo")
    with Opened.open(failed.config) as opened:
        first, test_run = reversed(opened.store.runs.recent("echo"))
        asked = opened.store.answers.samples_of_run(test_run.id)
        (tuning,) = opened.store.tunings.recent("echo")
        split = tuning.settings["split"]
        assert asked == set(split["certification"])
        assert asked.isdisjoint(split["development"])
        assert asked.isdisjoint(opened.store.answers.samples_of_run(first.id))
        assert set(split["development"]) >= opened.store.answers.samples_of_run(first.id)
    assert noted(ran.err, "port-plan")
