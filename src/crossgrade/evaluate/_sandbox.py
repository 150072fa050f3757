"""Runs what a model wrote, in bubblewrap, without network or files and with hard limits.

The sandbox sees a read-only Python and its libraries, an empty 16 MiB folder at /tmp and
nothing else: no home, no /etc, no /proc, no network but its own empty loopback. Every
namespace is new, capabilities are dropped, a seccomp filter keeps it from making a second
process, and processor time, memory, file size and output are bounded. What it prints is thrown
away.

The program shares an interpreter with its tests, as in HumanEval: an answer written to
deceive can fake a pass, though not by exiting or printing, but it cannot get out.
"""

import contextlib
import errno
import math
import os
import platform
import secrets
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import anyio
import msgspec
from anyio.abc import Process

from crossgrade.errors import SandboxError

Outcome = Literal["passed", "failed", "killed"]

LONGEST_PROGRAM = 1 << 20
MOST_REPORTED_BYTES = 1 << 16
SCRATCH_BYTES = 16 << 20
WALL_FACTOR = 3
_NOBODY = "65534"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramLimits:
    """The limits of a program. The wall-clock limit is three times `cpu_s`, for a busy machine."""

    cpu_s: float = 10.0
    memory_bytes: int = 512 << 20
    file_bytes: int = 1 << 20
    processes: int = 64

    @property
    def wall_s(self) -> float:
        """Seconds after which the program is killed even if it only waits."""
        return WALL_FACTOR * self.cpu_s

    def rlimits(self) -> dict[str, int]:
        """Return the limits by their names in the `resource` module."""
        return {
            "RLIMIT_CPU": math.ceil(self.cpu_s),
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_CORE": 0,
            "RLIMIT_NOFILE": 64,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of a program, and the error that ended it."""

    outcome: Outcome
    why: str = ""


async def run_python(program: str, tests: str, *, limits: ProgramLimits, unsandboxed: bool = False) -> Result:
    """Run a program and then its tests in a new interpreter. It passed if nothing was raised.

    Raises `SandboxError` if bubblewrap is missing or cannot make a sandbox here. With `unsandboxed` only the
    limits apply, and the program can do whatever this user can.
    """
    secret = secrets.token_hex(16)
    job = msgspec.json.encode(
        {"program": program, "tests": tests, "limits": limits.rlimits(), "secret": secret}
    )
    with (
        tempfile.TemporaryDirectory(prefix="crossgrade-") as scratch,
        filter_file(one_process_filter()) as filter_fd,
    ):
        command = child_command("_sandbox_child.py", sys.executable) if unsandboxed else _sandboxed(filter_fd)
        kept = () if unsandboxed or filter_fd is None else (filter_fd,)
        process = await anyio.open_process(
            command,
            cwd=scratch,
            env={"PATH": "/usr/bin:/bin", "HOME": scratch} if unsandboxed else {},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=kept,
        )
        said, complaint = await converse(process, job, limits.wall_s)
    words = _words(said, secret)
    if "started" not in words:
        raise SandboxError(
            f"the sandbox did not start: {complaint.decode(errors='replace').strip()[:300] or 'no message'}",
            code="sandbox-failed",
        )
    return _result(words, process.returncode)


def require_sandbox(hint: str | None = None) -> str:
    """Return the path of bubblewrap. Raises `SandboxError`, with a `hint`, if it is not installed."""
    found = shutil.which("bwrap")
    if found is None:
        raise SandboxError(
            "running model-written code needs bubblewrap, and `bwrap` is not on the PATH",
            code="sandbox-missing",
            hint=hint,
        )
    return found


def child_command(name: str, python: str | None = None) -> list[str]:
    """Return the command that runs a module of this room by its source, in the Python that sandboxes have."""
    child = resources.files("crossgrade.evaluate").joinpath(name).read_text(encoding="utf-8")
    return [python or str(Path(sys.executable).resolve()), "-I", "-S", "-c", child]


def _sandboxed(filter_fd: int | None) -> list[str]:
    """Return the bubblewrap command line that runs the child."""
    command = sandbox_command(filter_fd, scratch_bytes=SCRATCH_BYTES)
    return [*command, "--", *child_command("_sandbox_child.py")]


def sandbox_command(
    filter_fd: int | None,
    *mounts: str,
    scratch_bytes: int,
    folder: str = "/tmp",  # noqa: S108  # a new tmpfs
) -> list[str]:
    """Return bubblewrap's command line for a sandbox, without the command that runs in it.

    It has the system's programs, a Python, and a new /tmp of `scratch_bytes`, and begins in `folder`.
    `mounts` are further options of bubblewrap. Raises `SandboxError` if bubblewrap is not installed.
    """
    command = [require_sandbox(), "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    command += ["--cap-drop", "ALL", "--uid", _NOBODY, "--gid", _NOBODY, "--hostname", "sandbox"]
    command += ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/lib", "/lib32", "/lib64"):
        if Path(name).is_symlink():
            command += ["--symlink", str(Path(name).readlink()), name]
        elif Path(name).is_dir():
            command += ["--ro-bind", name, name]
    prefix = str(Path(sys.base_prefix).resolve())
    if not Path(prefix).is_relative_to("/usr"):
        command += ["--ro-bind", prefix, prefix]
    command += ["--dev", "/dev", "--remount-ro", "/dev", "--size", str(scratch_bytes), "--tmpfs", "/tmp"]  # noqa: S108  # a new tmpfs
    command += [*mounts, "--chdir", folder, "--remount-ro", "/"]
    if filter_fd is not None:
        command += ["--seccomp", str(filter_fd)]
    return command


@contextlib.contextmanager
def filter_file(program: bytes | None) -> Iterator[int | None]:
    """Yield a file with a seccomp filter for the sandbox to read, or None if this machine has none."""
    if program is None:
        yield None
        return
    with tempfile.TemporaryFile() as file:
        file.write(program)
        file.seek(0)
        yield file.fileno()


async def converse(process: Process, job: bytes, wall_s: float) -> tuple[bytes, bytes]:
    """Send the job, collect what is reported, and leave no process behind whatever happens."""
    said, complaint = bytearray(), bytearray()

    async def collect(stream: anyio.abc.ByteReceiveStream | None, into: bytearray) -> None:
        if stream is None:
            return
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while len(into) < MOST_REPORTED_BYTES:
                into += await stream.receive()
        if len(into) >= MOST_REPORTED_BYTES:
            _kill(process)

    async def send() -> None:
        if process.stdin is not None:
            with contextlib.suppress(anyio.BrokenResourceError, OSError):
                await process.stdin.send(job)
            await process.stdin.aclose()

    try:
        with anyio.move_on_after(wall_s):
            async with anyio.create_task_group() as group:
                group.start_soon(collect, process.stdout, said)
                group.start_soon(collect, process.stderr, complaint)
                group.start_soon(send)
                await process.wait()
    finally:
        _kill(process)
        with anyio.CancelScope(shield=True):
            await process.aclose()
    return bytes(said), bytes(complaint)


def _kill(process: Process) -> None:
    """Kill the whole process group. In the sandbox its namespace ends with it.

    A group keeps its id while it has members, so this reaches what an exited leader left behind.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _words(said: bytes, secret: str) -> dict[str, str]:
    """Return what the child reported. Lines without the secret come from the program and are ignored."""
    words: dict[str, str] = {}
    for line in said.splitlines():
        with contextlib.suppress(msgspec.DecodeError):
            told, word, why = msgspec.json.decode(line, type=tuple[str, str, str])
            if secrets.compare_digest(told.encode(), secret.encode()):
                words.setdefault(word, why)
    return words


def _result(words: dict[str, str], returncode: int | None) -> Result:
    if "failed" in words:
        return Result(outcome="failed", why=words["failed"])
    if "passed" in words:
        return Result(outcome="passed")
    if returncode is None or returncode in {-signal.SIGKILL, 128 + signal.SIGKILL, 128 + signal.SIGXCPU}:
        return Result(outcome="killed", why="killed: out of time or memory")
    return Result(outcome="failed", why="it ended before its tests had run")


# The seccomp filter: no new processes, no namespaces, no tracing. Limits on the number of processes do not
# bind root, and each process would have its own memory limit; a program that cannot make a second process
# needs neither. The filter is classic BPF (`man 2 seccomp`, Linux
# `Documentation/userspace-api/seccomp_filter.rst`), written by hand because it is twenty instructions long.
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _FAIL, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
# Offsets into struct seccomp_data: number, architecture, low half of the first argument.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_CLONE_THREAD = 0x00010000
_X32_BIT = 0x40000000

_CLONE_NEW = 0x7E020000
"""The flags of `clone` that make new namespaces."""

_AF_VSOCK = 40
_FORKS = (57, 58)
"""`fork` and `vfork` of x86_64. Other architectures have only `clone`."""

# Architecture constant; clone; socket; what fails with EPERM: fork, vfork, ptrace, unshare, setns, mount,
# keyctl, bpf, perf_event_open, userfaultfd, io_uring_setup; memfd_create and memfd_secret, whose files take
# memory that no folder's size bounds.
_TABLES = {
    "x86_64": (0xC000003E, 56, 41, (57, 58, 101, 272, 308, 165, 250, 321, 298, 323, 425, 319, 447)),
    "aarch64": (0xC00000B7, 220, 198, (117, 97, 268, 40, 219, 280, 241, 282, 425, 279, 447)),
}
_CLONE3 = 435


def one_process_filter(machine: str | None = None) -> bytes | None:
    """Return the program for this machine, in the form `bwrap --seccomp` reads; None if unknown.

    Threads stay possible. `clone3` fails with ENOSYS, because its flags are behind a pointer
    that a filter cannot follow, and C libraries then fall back to `clone`.
    """
    return _filter(
        machine,
        [(_IF_ANY_BIT, 1, 0, _CLONE_THREAD), (_RETURN, 0, 0, _FAIL | errno.EPERM)],
        allowed=(),
    )


def many_processes_filter(machine: str | None = None) -> bytes | None:
    """Return the program under which processes can be made, but no namespaces; None if unknown.

    Sockets of virtual machines, which no namespace holds back, are refused.
    """
    return _filter(
        machine,
        [(_IF_ANY_BIT, 0, 1, _CLONE_NEW), (_RETURN, 0, 0, _FAIL | errno.EPERM)],
        allowed=_FORKS,
    )


def _filter(
    machine: str | None, on_clone: list[tuple[int, int, int, int]], *, allowed: tuple[int, ...]
) -> bytes | None:
    table = _TABLES.get(machine or platform.machine())
    if table is None:
        return None
    architecture, clone, socket, forbidden = table
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_IF_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _FAIL | errno.EPERM),
        (_IF_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _FAIL | errno.ENOSYS),
    ]
    for number in forbidden:
        if number not in allowed:
            steps += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _FAIL | errno.EPERM)]
    steps += [
        (_IF_EQUAL, 0, 4, socket),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_IF_EQUAL, 0, 1, _AF_VSOCK),
        (_RETURN, 0, 0, _FAIL | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
        (_IF_EQUAL, 0, 1 + len(on_clone), clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        *on_clone,
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
