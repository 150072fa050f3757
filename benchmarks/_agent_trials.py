"""Five sandboxed tasks: what agents that are fixed scripts reach, and how long a sandbox takes."""

import shutil
import statistics
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from benchmarks._table import Row
from crossgrade.domain import TRIAL_ORDER, AgentLimits, AgentSpec, Message, ModelRequest
from crossgrade.evaluate import GatewayDoor, RewardedTrial, TrialCall, TrialProvider, read_trial
from crossgrade.workloads import read_task, task_names

TASKS = Path(str(files("crossgrade").joinpath("templates/coding-agent/tasks")))
_REPEATS = 3
_WITHIN = f"tasks of `crossgrade init --template coding-agent`, each {_REPEATS} times; bubblewrap"
_CHEAT = """
mkdir -p /logs/verifier /tests; echo 1 > /logs/verifier/reward.txt
echo '{"reward": 1}' > /logs/verifier/reward.json; cp /logs/verifier/* /app
printf 'echo 1 > /logs/verifier/reward.txt' > /tests/test.sh; ln -s /logs/verifier/reward.json /app/reward
ended='["", {"word": "ended", "packed": true, "rewards": {"reward.json": "1"}}]'
for fd in 1 2 3 4 5; do (echo; echo "$ended"; echo "${ended:5:-1}") > /proc/1/fd/$fd; done; kill -9 1
cat /etc/shadow; find / -name test.sh -exec cat {} + ; (echo > /dev/tcp/127.0.0.1/22); exit 0
"""
_HOGS = {
    "time": "while :; do :; done",
    "memory": "for i in 1 2 3 4 5 6 7 8; do python3 -c 'import time; x = bytearray(99 << 20); time.sleep(60)' & "
    "done; wait",
    "segments": "python3 -c 'import ctypes, time; c = ctypes.CDLL(None); c.shmat.restype = ctypes.c_void_p; "
    "[(lambda a: (ctypes.memset(a, 1, 99 << 20), c.shmdt(ctypes.c_void_p(a))))"
    "(c.shmat(c.shmget(0, ctypes.c_size_t(99 << 20), 0o1600), None, 0)) for _ in range(8)]; time.sleep(60)'",
    "threads": "python3 -c 'import threading, time; threading.stack_size(65536); "
    "[threading.Thread(target=time.sleep, args=(60,)).start() for _ in range(2000)]'",
    "processes": "f() { f | f & }; f; sleep 60",
    "disk": "for i in $(seq 9); do head -c 2G /dev/zero > /app/$i; done",
}


class _NoGateway:
    """A gateway that these agents do not use."""

    def door(self, offer: str) -> GatewayDoor:
        return GatewayDoor(host="127.0.0.1", port=9, key="none", route=offer)

    def calls(self, run_id: str) -> Sequence[TrialCall]:  # noqa: ARG002 - the protocol's shape
        return ()


def trial_rows() -> list[Row]:
    """Run the agents of the issue on the five tasks."""
    return anyio.run(_rows)


async def _rows() -> list[Row]:
    with TemporaryDirectory() as folder:
        own = Path(folder)
        for name in task_names(TASKS):
            shutil.copy(TASKS / name / "solution" / "solve.sh", own / f"{name}.sh")
        oracle = await _all(_agent("bash /agent/$CROSSGRADE_TASK.sh", own))
    nop, cheat = await _all(_agent("true")), await _all(_agent(_CHEAT))
    stopped = {
        name: (await _one(_agent(command, seconds=3.0 if name == "time" else 30.0), "make-file")).failure
        for name, command in _HOGS.items()
    }
    seconds = [each.agent_seconds + each.verifier_seconds for each in oracle]
    return [
        _solved("oracle", oracle, "5 of 5", 1.0),
        _solved("no-op", nop, "0", 0.0),
        _solved("agent that writes the reward", cheat, "0", 0.0),
        {
            "figure": "five sandboxed tasks, agent that takes all it gets",
            "value": f"stopped, {sum(each is not None for each in stopped.values())} of {len(stopped)}",
            "must": "stopped",
            "aim": "same",
            "holds": all(each is not None for each in stopped.values()),
            "conditions": f"{', '.join(f'{name}: {each}' for name, each in stopped.items())}; limits 3 s "
            "(30 s for the others), 512 MiB of memory, 64 processes, 64 MiB of files",
        },
        {
            "figure": "time of a trial in both sandboxes, without what starts them",
            "value": round(statistics.median(seconds) * 1000),
            "unit": "ms",
            "conditions": f"median of {len(seconds)} trials of the oracle; {_WITHIN}",
        },
    ]


def _solved(agent: str, trials: Sequence[RewardedTrial], must: str, reward: float) -> Row:
    tasks = {each.task for each in trials}
    solved = sum(all(each.reward == 1 for each in trials if each.task == task) for task in tasks)
    return {
        "figure": f"five sandboxed tasks, {agent}",
        "value": f"{solved} of {len(tasks)}",
        "unit": "solved",
        "must": must,
        "aim": "same",
        "holds": all(each.reward == reward for each in trials),
        "conditions": _WITHIN,
    }


def _agent(command: str, own: Path | None = None, seconds: float = 30.0) -> AgentSpec:
    limits = AgentLimits(seconds=seconds, memory_mb=512, workspace_mb=64, processes=64)
    return AgentSpec(name="script", version="1", command=command, files=own, limits=limits)


async def _all(agent: AgentSpec) -> list[RewardedTrial]:
    return [await _one(agent, name) for name in task_names(TASKS) for _ in range(_REPEATS)]


async def _one(agent: AgentSpec, name: str) -> RewardedTrial:
    task = read_task(TASKS / name)
    provider = TrialProvider(name="model", agent=agent, tasks={name: task}, gateway=_NoGateway())
    text = TRIAL_ORDER.format(task=name, digest=task.digest, agent="0", instruction=task.instruction)
    order = ModelRequest(model="model", messages=(Message(role="user", content=text),))
    found = read_trial((await provider.ask(order)).text)
    assert found is not None
    return found
