"""Ctrl-C, a terminated or killed command: answers kept, exit 130, nothing paid for twice."""

import json
import signal
import time
from collections import Counter

import pytest

from crossgrade.testing import Reply
from tests.codes import noted
from tests.e2e.driving import CommandLine, Gate, Project, Ran, Script, checked, number

ASKED = 40
"""Calls after which a run is interrupted, of 120."""


@pytest.fixture
def gate(script: dict[str, Script]) -> Gate:
    """Behind it both models answer well."""
    gate = Gate(lambda request: Reply(str(number(request))), at=ASKED)
    script["old-model"] = script["new-model"] = gate
    return gate


@pytest.fixture
def slow(project: Project) -> Project:
    """A project of 120 calls, whose verdict is never certain early."""
    project.dataset(60)
    project.change("    scorer:", "    mode: fixed\n    scorer:")
    return project


def interrupted(project: Project, gate: Gate, *, signals: int = 1) -> Ran:
    """Start a run, press Ctrl-C in the middle of it, and wait for its end."""
    process = project.start("evaluate", "echo", "--yes")
    gate.reached()
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02 * (signals > 1))  # two at once would be one
    if signals == 1:
        gate.open()
    out, err = process.communicate(timeout=60)
    gate.open()
    return checked(Ran(process.returncode, out, err))


def run_of(cli: CommandLine) -> dict[str, object]:
    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    return run


def test_ctrl_c_keeps_every_answer_and_the_run_resumes(cli: CommandLine, slow: Project, gate: Gate) -> None:
    ran = interrupted(slow, gate)
    assert (ran.code, ran.out) == (130, "")
    assert noted(ran.err, "interrupt-waits", 15)
    assert noted(ran.err, "interrupted")
    run = run_of(cli)
    assert run["status"] == "interrupted"
    assert run["answers"] == len(slow.fake.requests) >= ASKED
    assert noted(ran.err, "resume", f"crossgrade evaluate echo --resume {run['run']}")

    cli.succeeds("evaluate", "echo", "--yes", "--resume", str(run["run"]))
    assert (
        max(Counter(slow.asked("old-model") + [f"new {each}" for each in slow.asked("new-model")]).values())
        == 1
    )
    assert len(slow.fake.requests) == 120
    assert run_of(cli)["status"] == "finished"


def test_a_new_run_after_ctrl_c_pays_for_nothing_twice_either(
    cli: CommandLine, slow: Project, gate: Gate
) -> None:
    interrupted(slow, gate)
    cli.succeeds("evaluate", "echo", "--yes")
    assert len(slow.fake.requests) == 120


def test_ctrl_c_twice_ends_at_once_and_loses_only_what_was_in_flight(
    cli: CommandLine, slow: Project, gate: Gate
) -> None:
    ran = interrupted(slow, gate, signals=3)
    assert ran.code == -signal.SIGINT  # which a shell reads as 130
    assert noted(ran.err, "interrupt-waits")
    run = run_of(cli)
    assert run["status"] == "killed"
    cli.succeeds("evaluate", "echo", "--yes", "--resume", str(run["run"]))
    assert run_of(cli)["status"] == "finished"


def test_a_termination_does_as_ctrl_c(cli: CommandLine, slow: Project, gate: Gate) -> None:
    process = slow.start("evaluate", "echo", "--yes")
    gate.reached()
    process.terminate()
    gate.open()
    ran = checked(Ran(0, *process.communicate(timeout=60)))
    assert process.returncode == 143
    assert noted(ran.err, "interrupt-waits", 15)
    run = run_of(cli)
    assert run["status"] == "interrupted"
    assert run["answers"] == len(slow.fake.requests) >= ASKED
    cli.succeeds("evaluate", "echo", "--yes", "--resume", str(run["run"]))
    assert len(slow.fake.requests) == 120
    assert run_of(cli)["status"] == "finished"


def test_a_second_termination_ends_at_once(cli: CommandLine, slow: Project, gate: Gate) -> None:
    process = slow.start("evaluate", "echo", "--yes")
    gate.reached()
    process.terminate()
    time.sleep(0.2)
    process.terminate()
    process.communicate(timeout=60)
    gate.open()
    assert process.returncode == -signal.SIGTERM
    assert run_of(cli)["status"] == "killed"


def test_ctrl_c_before_anything_was_asked(cli: CommandLine, slow: Project, gate: Gate) -> None:
    process = slow.start("evaluate", "echo", "--yes")
    process.send_signal(signal.SIGINT)
    gate.open()
    out, _ = process.communicate(timeout=60)
    assert process.returncode in {130, -signal.SIGINT}
    assert out == ""
    cli.succeeds("evaluate", "echo", "--yes")
