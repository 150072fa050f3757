"""Runs inside the sandbox of a trial: it oversees an agent, or the tests of what the agent left.

Its source is handed to a fresh interpreter with `-c`, and it imports the standard library only. It reads one
order from standard input, and reports on what was its standard output in lines of JSON, each with the order's
secret. It is the first process of the sandbox, so none can end it. The processes that it starts cannot look
into it either, though they belong to the same user: it is not dumpable.

An agent's work is in `/app`, whose size is bounded. When the agent has ended, every process but this one is
killed, and the files are written to a tar archive behind a descriptor. The tests find what was in it.
"""

import collections
import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

POLL_S = 0.05
LOG_BYTES = 6_000
SHOWN_CHARS = 1_000
LISTEN_S = 5.0
MOST_ENTRIES = 50_000
THREADS_EACH = 16
MOST_CONNECTIONS = 64
REWARD_BYTES = 4_096
_PR_SET_DUMPABLE = 4


def main() -> None:
    """Carry out one order, and report `started`, then how it ended."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    order = json.loads(sys.stdin.buffer.read())
    report, secret = os.dup(1), order.pop("secret")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def say(**words: object) -> None:
        os.write(report, json.dumps([secret, words]).encode() + b"\n")

    say(word="started")
    try:
        say(word="ended", **(work if order["phase"] == "agent" else verify)(order))
    except (OSError, ValueError, tarfile.TarError) as error:
        say(word="failed", why=f"{type(error).__name__}: {error}"[:500])
    os._exit(0)


def work(order: dict[str, Any]) -> dict[str, Any]:
    """Run the agent on a copy of the task's files, and keep what it leaves."""
    for source, target in order["copies"]:
        copy(Path("/environment", source), Path(target))
    with socket.create_server(("127.0.0.1", order["port"]), backlog=16) as server:
        ended = run(order, server)
    try:
        why = pack(order["workspace_fd"], order["most_bytes"])
    except (OSError, RecursionError, tarfile.TarError):
        why = "workspace"  # the agent made something of its files that cannot be read
    return {**ended, "why": why or ended["why"], "packed": why is None}


def verify(order: dict[str, Any]) -> dict[str, Any]:
    """Run the tests on what an agent left, and return the reward that they wrote."""
    unpack(order["workspace_fd"])
    Path("/logs/verifier").mkdir(parents=True, exist_ok=True)
    ended = run(order)
    # Whatever stands in the place of reward.json, nothing else is the reward then.
    name = "reward.json" if os.path.lexists("/logs/verifier/reward.json") else "reward.txt"
    log = ended["log"][-SHOWN_CHARS:]
    return {**ended, "log": log, "rewards": {name: read_small(f"/logs/verifier/{name}")}}


def run(order: dict[str, Any], server: socket.socket | None = None) -> dict[str, Any]:
    """Run the order's command within its limits; return how it ended, and the end of what it said.

    Connections to `server` are passed on to the gateway meanwhile.
    """
    began = time.monotonic()
    reading, writing = os.pipe()
    process = subprocess.Popen(  # noqa: S603 - the sandbox exists to run it
        order["command"],
        cwd="/app",
        env=order["env"],
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=writing,
        start_new_session=True,
        preexec_fn=lambda: limit(order["limits"]),  # noqa: PLW1509 - there is no other thread yet
    )
    os.close(writing)
    if server is not None:
        threading.Thread(target=forward, args=(server, order["socket"]), daemon=True).start()
    said: collections.deque[bytes] = collections.deque(maxlen=16)
    listening = threading.Thread(target=listen, args=(reading, said), daemon=True)
    listening.start()
    why = oversee(process, order, began)
    seconds = time.monotonic() - began
    with contextlib.suppress(OSError):
        os.kill(-1, signal.SIGKILL)  # all but this one: what an agent left running ends here
    status = process.wait()
    listening.join(LISTEN_S)  # to what is still in the pipe, which has no writer any more
    log = b"".join(said)[-LOG_BYTES:].decode("utf-8", "replace")
    return {"status": status, "why": why, "seconds": round(seconds, 3), "log": log}


def oversee(process: "subprocess.Popen[bytes]", order: dict[str, Any], began: float) -> str:
    """Wait until the command ends; return which limit ended it, or nothing."""
    while process.poll() is None:
        reap(process.pid)
        if time.monotonic() - began > order["seconds"]:
            return "timeout"
        count, threads, resident = usage()
        if count > order["processes"] or threads > THREADS_EACH * order["processes"]:
            return "processes"
        if resident > order["memory_bytes"]:
            return "memory"
        time.sleep(POLL_S)
    return ""


def reap(command: int) -> None:
    """Take the status of what has ended, but the command's: the first process inherits every orphan."""
    with contextlib.suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid == command:
                return
            os.waitpid(ended.si_pid, 0)


def usage() -> tuple[int, int, int]:
    """Return the number of other processes in this sandbox, their threads, and the bytes of memory they hold.

    Segments of shared memory that no process has attached hold memory too.
    """
    count = threads = pages = 0
    own = ("1", str(os.getpid()))
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and entry.name not in own:
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = (
                    (entry / "stat").read_bytes().rpartition(b")")[2].split()
                )  # from the third, `man 5 proc`
                threads += int(fields[17])
                pages += int(fields[21])
                count += 1
    return count, threads, pages * resource.getpagesize() + detached_bytes()


def detached_bytes() -> int:
    """Return the memory of the segments of System V shared memory that no process has attached, in bytes."""
    with contextlib.suppress(OSError):
        names, *rows = (line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines())
        attached, resident = names.index("nattch"), names.index("rss")
        return sum(int(row[resident]) for row in rows if row[attached] == "0")
    return 0


def limit(limits: dict[str, int]) -> None:
    """Set the limits of resources, in the process that becomes the command."""
    for name, value in limits.items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (least, least))


def listen(reading: int, said: collections.deque[bytes]) -> None:
    """Keep the end of what is said."""
    with contextlib.suppress(OSError):
        while data := os.read(reading, 4096):
            said.append(data)


def copy(source: Path, target: Path) -> None:
    """Copy a file, or what a folder contains."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


def pack(descriptor: int, most_bytes: int) -> str | None:
    """Write the files in /app to a tar archive; return why they cannot be kept, None if they are.

    Only folders, files and links are kept, none of them with the rights of its owner.
    """
    entries, total = [], 0
    names_of: dict[int, str] = {}  # by inode: a file may have several names, and is kept once
    for parent, folders, names in os.walk("/app"):
        for name in sorted([*folders, *names]):
            path = Path(parent, name)
            mode = path.lstat()
            if not (stat.S_ISDIR(mode.st_mode) or stat.S_ISREG(mode.st_mode) or stat.S_ISLNK(mode.st_mode)):
                continue
            entries.append((path, mode))
            if stat.S_ISREG(mode.st_mode) and mode.st_ino not in names_of:
                names_of[mode.st_ino] = str(path.relative_to("/app"))
                total += mode.st_size
            if total > most_bytes or len(entries) > MOST_ENTRIES:
                return "workspace"
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w|") as archive:
        for path, mode in entries:
            entry = tarfile.TarInfo(str(path.relative_to("/app")))
            entry.mode = stat.S_IMODE(mode.st_mode) & 0o755 | 0o600
            if stat.S_ISLNK(mode.st_mode):
                entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
                archive.addfile(entry)
            elif stat.S_ISDIR(mode.st_mode):
                entry.type, entry.mode = tarfile.DIRTYPE, entry.mode | 0o700
                archive.addfile(entry)
            elif names_of[mode.st_ino] != entry.name:
                entry.type, entry.linkname = tarfile.LNKTYPE, names_of[mode.st_ino]
                archive.addfile(entry)
            else:
                path.chmod(entry.mode)  # a file may not be readable for its owner
                entry.size = mode.st_size
                with path.open("rb") as content:
                    archive.addfile(entry, content)
    return None


def unpack(descriptor: int) -> None:
    """Write what an archive has into /app: links last, so that nothing is written through one."""
    links = []
    with os.fdopen(descriptor, "rb") as file, tarfile.open(fileobj=file, mode="r|") as archive:
        for entry in archive:
            parts = Path(entry.name).parts
            if not parts or ".." in parts or entry.name.startswith("/"):
                continue
            path = Path("/app", entry.name)
            if entry.issym():
                links.append((path, entry.linkname))
                continue
            if not (entry.isdir() or entry.isreg() or entry.islnk()):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if entry.isdir():
                path.mkdir(exist_ok=True)
            elif entry.islnk():
                path.hardlink_to(Path("/app", entry.linkname))  # no symbolic link is there yet
            else:
                content = archive.extractfile(entry)
                with path.open("wb") as target:
                    if content is not None:
                        shutil.copyfileobj(content, target)
            path.chmod(entry.mode & 0o755)
    for path, points_at in links:
        with contextlib.suppress(FileExistsError):
            path.symlink_to(points_at)


def read_small(path: str) -> str | None:
    """Return the text of a small file that is no link, None if there is none."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        return os.read(handle, REWARD_BYTES).decode("utf-8", "replace")
    finally:
        os.close(handle)


def forward(server: socket.socket, path: str) -> None:
    """Pass connections to a port of the sandbox's loopback on to the socket that leads to the gateway."""
    places = threading.BoundedSemaphore(MOST_CONNECTIONS)
    with contextlib.suppress(OSError):
        while True:
            client, _ = server.accept()
            places.acquire()
            threading.Thread(target=connect, args=(client, path, places), daemon=True).start()


def connect(client: socket.socket, path: str, places: threading.BoundedSemaphore) -> None:
    """Pass one connection on, in both directions, until either side ends it."""
    with client, socket.socket(socket.AF_UNIX) as upstream:
        try:
            upstream.connect(path)
            back = threading.Thread(target=pump, args=(upstream, client), daemon=True)
            back.start()
            pump(client, upstream)
            back.join()
        except OSError:
            pass
        finally:
            places.release()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until their end, and the end too."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
