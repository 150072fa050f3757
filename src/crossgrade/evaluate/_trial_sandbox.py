"""The two sandboxes of a trial: one for the agent, and another one for the tests of what it left.

Both are made by bubblewrap, with every namespace new and no network. The agent's has the task's files at
`/app`, the agent's own at `/agent`, and a port of its loopback that leads to the gateway and nowhere else.
When the agent has ended, all its processes are killed and its files are kept as an archive. The tests find
the files of the archive at `/app`, in a sandbox that no process of the agent was ever in.
"""

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio
import msgspec

from crossgrade.domain import AgentLimits
from crossgrade.errors import SandboxError
from crossgrade.evaluate._sandbox import (
    child_command,
    converse,
    filter_file,
    many_processes_filter,
    sandbox_command,
)
from crossgrade.workloads import AgentTask

TEST = "test.sh"
"""The program of a task's tests."""

PORT = 8000
"""The port of the sandbox's loopback that leads to the gateway."""

SOCKET = "gateway.sock"
_GATEWAY = "/run/gateway"
_SCRATCH_BYTES = 128 << 20
_OVERHEAD_S = 60.0
"""How much longer a sandbox may take than its command: to copy files, and to be killed on a busy machine."""

Stop = Literal["", "timeout", "memory", "processes", "workspace"]


class PhaseEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How one sandbox ended: the command's exit status, the limit that stopped it, and the end of its output.

    `packed` says that the agent's files were kept, and `rewards` has the texts that the tests wrote, by file.
    `word` is `killed` if the sandbox was ended from inside or outside before it could report.
    """

    word: Literal["ended", "failed", "killed"] = "killed"
    status: int | None = None
    why: str = ""
    seconds: float = 0.0
    log: str = ""
    packed: bool = False
    rewards: dict[str, str | None] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """What an agent left, as an open archive. It is a file without a name, which ends with the trial."""

    descriptor: int
    limits: AgentLimits

    @property
    def most_bytes(self) -> int:
        """The largest size of its files together."""
        return self.limits.workspace_mb << 20


@contextmanager
def open_workspace(limits: AgentLimits) -> Iterator[Workspace]:
    """Open an empty archive for one trial."""
    with tempfile.TemporaryFile(prefix="crossgrade-") as file:
        yield Workspace(descriptor=file.fileno(), limits=limits)


async def run_agent(
    task: AgentTask,
    command: str,
    workspace: Workspace,
    *,
    files: Path | None,
    gateway: Path,
    variables: Mapping[str, str],
    seconds: float,
) -> PhaseEnd:
    """Run an agent's command on a task; what it leaves in `/app` is in the workspace then.

    `gateway` is the folder of the socket that leads to the gateway. Raises `SandboxError` if no sandbox can
    be made.
    """
    mounts = ["--ro-bind", str(gateway), _GATEWAY]
    if task.copies:
        mounts += ["--ro-bind", str(task.folder / "environment"), "/environment"]
    if files is not None:
        mounts += ["--ro-bind", str(files), "/agent"]
    order = {
        "phase": "agent",
        "command": ["/bin/sh", "-c", command],
        "env": {**_environment(), **variables},
        "copies": task.copies,
        "port": PORT,
        "socket": f"{_GATEWAY}/{SOCKET}",
        "most_bytes": workspace.most_bytes,
    }
    return await _run(order, mounts, workspace, seconds=seconds)


async def run_tests(task: AgentTask, workspace: Workspace) -> PhaseEnd:
    """Run a task's tests on what an agent left. Raises `SandboxError` if no sandbox can be made."""
    os.lseek(workspace.descriptor, 0, os.SEEK_SET)
    mounts = ["--ro-bind", str(task.tests), "/tests", "--size", str(16 << 20), "--tmpfs", "/logs"]
    order = {"phase": "verify", "command": ["/bin/bash", f"/tests/{TEST}"], "env": _environment()}
    return await _run(order, mounts, workspace, seconds=task.verifier_s)


def _environment() -> dict[str, str]:
    """Return the variables that every command in a sandbox has."""
    return {
        "PATH": f"{Path(sys.base_prefix).resolve()}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108  # inside the sandbox
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


async def _run(
    order: dict[str, Any], mounts: Sequence[str], workspace: Workspace, *, seconds: float
) -> PhaseEnd:
    limits = workspace.limits
    memory_bytes = limits.memory_mb << 20
    secret = secrets.token_hex(16)
    job = msgspec.json.encode(
        {
            **order,
            "secret": secret,
            "seconds": seconds,
            "processes": limits.processes,
            "memory_bytes": memory_bytes,
            "workspace_fd": workspace.descriptor,
            "limits": {
                "RLIMIT_CPU": int(seconds) + 1,
                "RLIMIT_DATA": memory_bytes,
                "RLIMIT_FSIZE": workspace.most_bytes,
                "RLIMIT_NOFILE": 1024,
            },
        }
    )
    room = workspace.most_bytes + (workspace.most_bytes >> 2)  # files take whole pages
    app = ["--as-pid-1", "--proc", "/proc", "--size", str(room), "--tmpfs", "/app"]
    for shared in ("/etc/alternatives", "/etc/ld.so.cache"):  # by which programs are found, and libraries
        app += ["--ro-bind-try", shared, shared]
    with filter_file(many_processes_filter()) as filter_fd:
        command = sandbox_command(filter_fd, *app, *mounts, scratch_bytes=_SCRATCH_BYTES, folder="/app")
        kept = [workspace.descriptor, *([] if filter_fd is None else [filter_fd])]
        began = time.monotonic()
        process = await anyio.open_process(
            [*command, "--", *child_command("_trial_child.py")],
            env={},
            start_new_session=True,
            pass_fds=kept,
        )
        said, complaint = await converse(process, job, seconds + _OVERHEAD_S)
    reports = _reports(said, secret, time.monotonic() - began)
    if not reports:
        why = complaint.decode(errors="replace").strip()[:300] or "no message"
        raise SandboxError(f"the sandbox did not start: {why}", code="sandbox-failed")
    return reports[1] if len(reports) > 1 else PhaseEnd()


def _reports(said: bytes, secret: str, wall_s: float) -> list[PhaseEnd]:
    """Return what was reported, the start as `killed`, which it is if nothing follows.

    Lines without the secret come from a program in the sandbox and are ignored.
    """
    found = []
    for line in said.splitlines():
        try:
            told, words = msgspec.json.decode(line, type=tuple[str, dict[str, Any]])
            if not secrets.compare_digest(told.encode(), secret.encode()):
                continue
            report = PhaseEnd() if words["word"] == "started" else msgspec.convert(words, PhaseEnd)
        except (msgspec.MsgspecError, UnicodeError):
            continue  # it was cut off, or is none
        if 0 <= report.seconds <= wall_s:
            found.append(report)
    return found
