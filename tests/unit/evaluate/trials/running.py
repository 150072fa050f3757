"""Trials of agents that are fixed scripts, on the tasks of the template, without a gateway behind them."""

import shutil
from collections.abc import Sequence
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import pytest

from crossgrade.domain import TRIAL_ORDER, AgentLimits, AgentSpec, Message, ModelAnswer, ModelRequest
from crossgrade.evaluate import GatewayDoor, RewardedTrial, TrialCall, TrialProvider, read_trial
from crossgrade.workloads import AgentTask, read_task, task_names

TASKS = Path(str(files("crossgrade").joinpath("templates/coding-agent/tasks")))
NAMES = ("count-lines", "csv-total", "fix-script", "make-file", "rename-file")

needs_bubblewrap = pytest.mark.needs("bwrap")


class Unreachable:
    """A gateway that nothing reaches: it listens nowhere, and has recorded what it is told to."""

    def __init__(self, recorded: Sequence[TrialCall] = ()) -> None:
        self.recorded = recorded
        self.asked: list[str] = []

    def begin(self, run_id: str) -> None:
        """Note nothing."""

    end = begin

    def door(self, offer: str) -> GatewayDoor:
        return GatewayDoor(host="127.0.0.1", port=9, key="sk-of-the-trial", route=offer)

    def calls(self, run_id: str) -> Sequence[TrialCall]:
        self.asked.append(run_id)
        return self.recorded


def tasks(folder: Path = TASKS) -> dict[str, AgentTask]:
    return {name: read_task(folder / name) for name in task_names(folder)}


def agent(command: str, agent_files: Path | None = None, **limits: object) -> AgentSpec:
    known = {"seconds": 20.0, "memory_mb": 512, "workspace_mb": 32, "processes": 64, "usd": Decimal(1)}
    return AgentSpec(
        name="script",
        version="1",
        command=command,
        files=agent_files,
        limits=AgentLimits(**known | limits),  # type: ignore[arg-type]
    )


def solving(folder: Path) -> AgentSpec:
    """The agent that runs each task's own solution."""
    folder.mkdir()
    for name in NAMES:
        shutil.copy(TASKS / name / "solution" / "solve.sh", folder / f"{name}.sh")
    return agent("bash /agent/$CROSSGRADE_TASK.sh", folder)


def provider(
    spec: AgentSpec, gateway: Unreachable | None = None, known: dict[str, AgentTask] | None = None
) -> TrialProvider:
    return TrialProvider(name="model", agent=spec, tasks=known or tasks(), gateway=gateway or Unreachable())


def order(task: AgentTask) -> ModelRequest:
    text = TRIAL_ORDER.format(task=task.name, digest=task.digest, agent="0", instruction=task.instruction)
    return ModelRequest(model="model", messages=(Message(role="user", content=text),))


async def answer(asked: TrialProvider, name: str) -> ModelAnswer:
    return await asked.ask(order(asked.tasks[name]))


async def trial(asked: TrialProvider, name: str) -> RewardedTrial:
    found = read_trial((await answer(asked, name)).text)
    assert found is not None
    return found
