"""`crossgrade evaluate` of a workload of an agent: trials in sandboxes, their calls through a real gateway."""

import json
import os
import shutil
import signal
import subprocess
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import pytest

from crossgrade.evaluate import read_trial
from crossgrade.project import Project as Opened
from crossgrade.testing import Fault, ReceivedRequest, Reply
from tests.e2e.driving import CommandLine, Gate, Project, Script
from tests.waiting import until

pytestmark = pytest.mark.needs("bwrap")

TEMPLATE = Path(str(files("crossgrade").joinpath("templates/coding-agent")))
NAMES = ("count-lines", "csv-total", "fix-script", "make-file", "rename-file")
WORKLOADS = """\
workloads:
  coding:
    kind: agent
    dataset: tasks
    epochs: 2
    agent:
      name: loop
      version: "1"
      command: python3 /agent/agent.py
      files: agent
      limits: {seconds: 60, calls: 4, usd: 0.5}
    scorer: {kind: reward}
    incumbent: old
    candidates: [new]
"""
SOLUTIONS = {
    (TEMPLATE / "tasks" / name / "instruction.md").read_text().strip(): (
        TEMPLATE / "tasks" / name / "solution" / "solve.sh"
    )
    .read_text()
    .strip()
    for name in NAMES
}


def solving(request: ReceivedRequest) -> Reply | Fault:
    """Answer with each task's solution; the new model does not solve the task of the table."""
    found = next((each for text, each in SOLUTIONS.items() if request.prompt.startswith(text)), None)
    if found is None:  # the first answer failed on purpose
        return Reply("true", input_tokens=200, output_tokens=2)
    if request.model == "new-model" and "sales.csv" in found:
        found = "true"
    return Reply(found, input_tokens=100, output_tokens=20)


@pytest.fixture
def agents(project: Project, script: dict[str, Script]) -> Project:
    """A project with the template's tasks and agent, and two models that know the solutions."""
    models = project.config.read_text().partition("workloads:")[0]
    project.config.write_text(models + WORKLOADS)
    for name in ("tasks", "agent"):
        shutil.copytree(TEMPLATE / name, project.folder / name)
    script |= {"old-model": solving, "new-model": solving}
    return project


def test_trials_are_answers_of_a_run(agents: Project, cli: CommandLine) -> None:
    ran = cli.succeeds("evaluate", "coding", "--json", "--yes")
    verdict = json.loads(ran.out)
    (compared,) = verdict["agents"]
    assert compared["incumbent_runs"]["setup"]["agent"] == "loop"
    assert compared["incumbent_runs"]["setup"]["agent_version"] == "1"
    assert compared["incumbent_runs"]["trials"] == compared["candidate_runs"]["trials"] == 10
    assert (compared["readings"][0]["incumbent_solved"], compared["readings"][0]["candidate_solved"]) == (
        1,
        0.8,
    )
    parity = next(each for each in verdict["guards"] if each["name"] == "agent-parity")
    assert parity["status"] == "pass"
    # A call a trial: 100 input and 20 output tokens, at 10 and 30 dollars per million.
    assert compared["usd_per_solved"][0]["value"] == pytest.approx(100 * 10e-6 + 20 * 30e-6)
    assert len(agents.asked("old-model")) == len(agents.asked("new-model")) == 10
    with Opened.open(agents.config) as opened:
        (run,) = opened.store.runs.recent("coding")
        assert opened.store.runs.totals(run.id).spent_usd == Decimal("0.0176")
    gateways = sorted((agents.folder / ".crossgrade" / "trials").iterdir())
    cli.succeeds("evaluate", "coding", "--yes")
    assert len(agents.fake.requests) == 20, "trials that were paid for are reused"
    assert sorted((agents.folder / ".crossgrade" / "trials").iterdir()) == gateways, "no gateway is needed"


def test_a_changed_test_or_agent_is_another_dataset(agents: Project, cli: CommandLine) -> None:
    cli.succeeds("evaluate", "coding", "--yes", "--no-decide")
    with (agents.folder / "agent" / "agent.py").open("a") as file:
        file.write("# another agent\n")
    cli.fails("decide", "coding", error="dataset-changed")


def test_calls_that_fail_are_no_failure_of_the_agent(
    agents: Project, cli: CommandLine, script: dict[str, Script]
) -> None:
    script["new-model"] = lambda _: Fault("server_error")
    ran = cli("evaluate", "coding", "--yes", "--no-decide")
    assert ran.code == 3
    with Opened.open(agents.config) as opened:
        (run,) = opened.store.runs.recent("coding")
        answers = opened.store.answers.scored(run.id, str(run.settings["scorer_digest"]))
    failed = [each for each in answers if each.model == "new"]
    assert failed
    assert all(str(each.error).startswith("api:call_failed: ") for each in failed)


ODD = """\
import json, os, urllib.error, urllib.request

def post(path, **body):
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + path,
        json.dumps(body).encode() if body else b"not JSON",
        {"content-type": "application/json", "authorization": "Bearer " + os.environ["OPENAI_API_KEY"]},
    )
    try:
        return urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code

ask = {"messages": [{"role": "user", "content": "Say something."}]}
print(post("/chat/completions", model="any-name-at-all", **ask))
print(post("/telemetry", a=1), post("/chat/completions"), post("/messages/count_tokens", model="x", **ask))
open("done.txt", "w").close()
print(post("/chat/completions", model="x", messages=[{"role": "user", "content": "Wait."}]))
"""


def only_make_file(agents: Project) -> None:
    for name in NAMES:
        if name != "make-file":
            shutil.rmtree(agents.folder / "tasks" / name)


def test_calls_that_are_odd_or_cut_off_are_recorded_too(
    agents: Project, cli: CommandLine, script: dict[str, Script]
) -> None:
    only_make_file(agents)
    (agents.folder / "agent" / "agent.py").write_text(ODD)
    agents.change("epochs: 2", "epochs: 1")
    agents.change("seconds: 60, calls: 4", "seconds: 4, calls: 9")
    script |= dict.fromkeys(
        ("old-model", "new-model"),
        lambda request: Fault("hang") if request.prompt == "Wait." else Reply("something"),
    )
    cli.succeeds("evaluate", "coding", "--yes", "--no-decide")
    with Opened.open(agents.config) as opened:
        (run,) = opened.store.runs.recent("coding")
        answers = _answers(opened, run)
    trials = [read_trial(each.output or "") for each in answers]
    assert [(each.reward, each.failure) for each in trials if each] == [(1.0, "agent:AgentTimeoutError")] * 2
    assert {each.calls for each in trials if each} == {2}, "what is turned down is no call of a model"


STREAMS = """\
import json, os, urllib.request

open("done.txt", "w").close()
body = {"model": "x", "stream": True, "messages": [{"role": "user", "content": os.environ["CROSSGRADE_MODEL"]}]}
request = urllib.request.Request(
    os.environ["OPENAI_BASE_URL"] + "/chat/completions",
    json.dumps(body).encode(),
    {"content-type": "application/json", "authorization": "Bearer " + os.environ["OPENAI_API_KEY"]},
)
try:
    urllib.request.urlopen(request, timeout=3).read(1)
except TimeoutError:
    pass
os._exit(0)  # in the middle of the answer
"""


def test_a_call_in_flight_at_the_end_of_an_agent_is_paid_for(
    agents: Project, cli: CommandLine, script: dict[str, Script]
) -> None:
    only_make_file(agents)
    (agents.folder / "agent" / "agent.py").write_text(STREAMS)
    agents.change("epochs: 2", "epochs: 1")
    agents.change("    model: new-model\n", "    model: new-model\n    timeout_s: 3\n")
    # Thirty pieces over three seconds, and nothing within the time that a call may take.
    said = Reply(" ".join(["word"] * 30), input_tokens=1000, output_tokens=30, token_delay_s=0.1)
    script |= {"old-model": lambda _: said, "new-model": lambda _: Fault("hang")}
    cli.succeeds("evaluate", "coding", "--yes", "--no-decide")
    with Opened.open(agents.config) as opened:
        (run,) = opened.store.runs.recent("coding")
        old, new = sorted(_answers(opened, run), key=lambda each: each.model, reverse=True)
    trials = [read_trial(each.output or "") for each in (old, new)]
    assert [each.reward for each in trials if each] == [1, 1]
    assert old.cost_usd == Decimal("0.0109"), "the answer is read to its end, which has its usage"
    assert new.cost_usd is None, "what was cut off may have cost anything"
    assert [each.cut_off for each in trials if each] == [0, 1]
    verdict = json.loads(cli.succeeds("decide", "coding", "--json").out)
    (compared,) = verdict["agents"]
    assert compared["usd_per_solved"][1]["value"] is None


def test_a_run_stops_once_the_verdict_is_certain(
    agents: Project, cli: CommandLine, script: dict[str, Script]
) -> None:
    agents.change("    epochs: 2\n", "    requirements: {evidence: agentic}\n")
    for name in NAMES[:3]:
        shutil.rmtree(agents.folder / "tasks" / name)
    for number in range(40):
        shutil.copytree(agents.folder / "tasks" / "make-file", agents.folder / "tasks" / f"copy-{number}")
    script["new-model"] = lambda _: Reply("true")
    ran = cli.succeeds("evaluate", "coding", "--json", "--yes")
    verdict = json.loads(ran.out)
    assert verdict["name"] == "keep"
    codes = {each["code"] for each in verdict["reasons"]}
    assert "evidence-missing" not in codes, "its own answers are trials"
    assert len(agents.asked("old-model")) < 30, "fewer tasks than are planned"


@pytest.mark.slow
def test_a_killed_run_goes_on_and_leaves_nothing_behind(
    agents: Project, cli: CommandLine, script: dict[str, Script]
) -> None:
    gate = Gate(solving, at=8)
    script |= {"old-model": gate, "new-model": gate}
    process = agents.start("evaluate", "coding", "--yes", "--no-decide")
    gate.reached()
    below = _descendants(process.pid)
    assert below
    process.send_signal(signal.SIGKILL)
    process.communicate()
    gate.open()
    script |= {"old-model": solving, "new-model": solving}
    until(lambda: not any(_alive(pid) for pid in below))
    with Opened.open(agents.config) as opened:
        (run,) = opened.store.runs.recent("coding")
        before = len(_answers(opened, run))
    assert before
    asked = len(agents.fake.requests)
    cli.succeeds("evaluate", "coding", "--yes", "--no-decide", "--resume", run.id)
    with Opened.open(agents.config) as opened:
        answers = _answers(opened, run)
        lost = opened.store.runs.lost_usd(run.id)
    assert len(answers) == 20
    assert len(agents.fake.requests) - asked <= 20 - before
    assert lost >= Decimal("0.5"), "what the killed process had begun may have cost its limit"
    cli.succeeds("evaluate", "coding", "--yes", "--no-decide", "--resume", run.id)
    with Opened.open(agents.config) as opened:
        assert opened.store.runs.lost_usd(run.id) == lost, "it is counted once"


def test_no_call_begins_that_may_cost_more_than_the_run_has_left(agents: Project, cli: CommandLine) -> None:
    only_make_file(agents)
    program = STREAMS.replace('"stream": True', '"max_tokens": 100000')
    (agents.folder / "agent" / "agent.py").write_text(program)
    ran = cli("evaluate", "coding", "--max-cost", "2.5", "--no-decide")
    assert ran.code == 3
    assert not agents.asked("old-model"), "100,000 tokens may cost 3 dollars"
    with Opened.open(agents.config) as opened:
        (run,) = opened.store.runs.recent("coding")
        assert opened.store.runs.status(run.id).value == "budget"
    cli.succeeds("evaluate", "coding", "--max-cost", "40", "--no-decide", "--resume", run.id)
    assert len(agents.asked("old-model")) == 2


def _answers(opened: Opened, run) -> list:
    return opened.store.answers.scored(run.id, str(run.settings["scorer_digest"]))


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for child in subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split():
        found += [int(child), *_descendants(int(child))]
    return found


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_limit_on_cost_sets_a_trial_aside(agents: Project, cli: CommandLine) -> None:
    ran = cli("evaluate", "coding", "--max-cost", "0.9")
    assert ran.code == 3
    assert not agents.fake.requests, "a pair of trials may cost two dollars"
    ran = cli.succeeds("evaluate", "coding", "--dry-run", "--json")
    estimate = json.loads(ran.out)["estimate"]
    assert [each["calls"] for each in estimate["models"]] == [10, 10]
    assert estimate["cost_usd"][1] == "10.0"
