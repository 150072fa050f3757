"""Tasks for agents: folders of Harbor's layout, read as a dataset of one sample a task.

A task has `task.toml`, `instruction.md`, `tests/test.sh`, and in `environment/` what its agent finds at
`/app`. A Dockerfile there is understood if it only copies files: then no Docker is needed.
"""

import errno
import hashlib
import os
import re
import shlex
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from crossgrade.domain import AgentSpec, Sample
from crossgrade.errors import DataError
from crossgrade.workloads._dataset import Dataset, frozen
from crossgrade.workloads.files import canonical, file_errors

WORKSPACE = PurePosixPath("/app")
"""Where an agent works, and where a task's files are."""

MOST_TASKS = 5_000
MOST_FILES = 10_000
MOST_BYTES = 256 << 20
_MOST_TEXT_BYTES = 1 << 20
_MOST_SETTINGS_BYTES = 64 << 10
_MOST_DOTS = 32
"""In a line of `task.toml`. The time that a dotted key takes grows with the square of its parts."""

_MOST_INSTRUCTION_BYTES = 120 << 10
"""An agent gets its instruction as a variable, which the kernel bounds at 128 KiB (`man 2 execve`)."""

_MOST_LEVELS = 64
_BLOCK = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DEFAULT_S = 900.0
_LONGEST_S = 86_400.0
_PLAIN = {"FROM", "COPY", "WORKDIR", "LABEL", "MAINTAINER"}
"""Instructions of a Dockerfile that need no Docker. The files of its base image are not there, though."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTask:
    """One task: what is asked, what the agent finds, and what may be taken.

    `copies` are pairs of a path below `environment/` and where the agent finds it, at `/app` or below.
    `needs_docker` says what of its environment only Docker can make, None if nothing.
    """

    name: str
    folder: Path
    instruction: str
    digest: str
    copies: tuple[tuple[str, str], ...]
    agent_s: float = _DEFAULT_S
    verifier_s: float = _DEFAULT_S
    needs_docker: str | None = None

    @property
    def tests(self) -> Path:
        """The folder with the tests, which no agent sees."""
        return self.folder / "tests"


def read_tasks(folder: Path, agent: AgentSpec) -> Dataset:
    """Read the tasks in a folder as a dataset: one sample a task, with the fields of `TRIAL_ORDER`.

    The digest of each task and of the agent's own files are fields, so that a change of either is seen as one
    of the dataset. Raises `DataError` for a folder without tasks, and as `read_task` does.
    """
    by = agent_digest(agent)
    samples = []
    for name in task_names(folder):
        task = read_task(folder / name)
        if task.needs_docker is not None:
            raise DataError(
                f"task {name} needs Docker: {task.needs_docker}",
                code="task-needs-docker",
                file=task.folder,
                hint="run it with its own harness and `crossgrade import` its results, or take it out",
            )
        fields = {"task": name, "digest": task.digest, "agent": by, "instruction": task.instruction}
        samples.append(Sample(id=name, fields=fields))
    if not samples:
        raise DataError(
            "no folder here has a task.toml",
            code="tasks-missing",
            file=folder,
            hint="name the folder with the tasks' folders in it",
        )
    return frozen(samples, path=folder, kind="tasks")


def task_names(folder: Path) -> list[str]:
    """Return the names of the folders that have a `task.toml`, in order. Raises `DataError` for too many."""
    with file_errors(folder):
        names = sorted(each.name for each in folder.iterdir() if (each / "task.toml").is_file())
    if len(names) > MOST_TASKS:
        raise DataError(
            f"{len(names):,} tasks, at most {MOST_TASKS:,} are read",
            code="tasks-too-many",
            file=folder,
            hint="make a folder with fewer tasks",
        )
    return names


def read_task(folder: Path) -> AgentTask:
    """Read one task.

    Raises `DataError` for a task that lacks a file, leads outside its folder or is too large.
    """
    if _NAME.fullmatch(folder.name) is None:
        raise _invalid(folder, "its name has other characters than letters, digits, `.`, `_` and `-`")
    for part in ("environment", "tests"):
        if (folder / part).is_symlink():
            raise _invalid(folder, f"{part} is a link")
    settings = _settings(folder / "task.toml")
    for needed in (Path("instruction.md"), Path("tests", "test.sh")):
        if not (folder / needed).is_file():
            raise _invalid(folder, f"it has no {needed}")
    copies, needs = _environment(folder / "environment")
    return AgentTask(
        name=folder.name,
        folder=folder,
        instruction=_instruction(folder / "instruction.md"),
        digest=files_digest(folder),
        copies=copies,
        agent_s=_seconds(folder, settings, "agent"),
        verifier_s=_seconds(folder, settings, "verifier"),
        needs_docker=needs,
    )


def agent_digest(agent: AgentSpec) -> str:
    """Return the SHA-256, in hexadecimal, of all that makes an agent: its files, command and limits."""
    limits = agent.limits
    parts: list[Any] = [agent.name, agent.version, agent.command, dict(agent.variables)]
    parts += [limits.seconds, limits.memory_mb, limits.workspace_mb, limits.processes]
    parts += [limits.calls, limits.tokens, str(limits.usd)]
    parts.append(None if agent.files is None else files_digest(agent.files))
    return hashlib.sha256(canonical(parts)).hexdigest()


def files_digest(folder: Path) -> str:
    """Return the SHA-256, in hexadecimal, of a folder's files: paths, whether they can be run, and contents.

    Raises `DataError` for a link that leads outside, for anything that is no file, folder or link, and for
    more than 10,000 files or 256 MiB.
    """
    digest, total = hashlib.sha256(), 0
    for count, path in enumerate(_files(folder), 1):
        mode = path.lstat()
        total += mode.st_size
        if count > MOST_FILES or total > MOST_BYTES:
            raise DataError(
                f"more than {MOST_FILES:,} files or {MOST_BYTES >> 20} MiB",
                code="task-too-large",
                file=folder,
                hint="leave out what the agent and the tests do not need",
            )
        kind = "link" if path.is_symlink() else "program" if mode.st_mode & stat.S_IXUSR else "file"
        digest.update(canonical([path.relative_to(folder).as_posix(), kind]))
        digest.update(os.fsencode(path.readlink()) if path.is_symlink() else _content(path))
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    digest = hashlib.sha256()
    with file_errors(path), path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.digest()


def _files(folder: Path) -> Iterator[Path]:
    """Yield files and links in a folder and below it, in order."""
    root = folder.resolve()
    with file_errors(folder):
        for parent, folders, names in os.walk(folder):
            folders.sort()
            here = Path(parent).relative_to(folder)
            if len(here.parts) > _MOST_LEVELS:
                raise _invalid(folder, f"it has folders in more than {_MOST_LEVELS} levels")
            for name in sorted([*names, *(each for each in folders if (Path(parent) / each).is_symlink())]):
                path = Path(parent) / name
                if os.fsencode(name).decode(errors="replace") != name:
                    raise _invalid(folder, f"the name {ascii(name)[:80]} is not UTF-8")
                if path.is_symlink() and not _resolved(path).is_relative_to(root):
                    raise DataError(
                        f"the link {path.relative_to(folder)} leads out of the folder",
                        code="link-out-of-task",
                        file=folder,
                        hint="copy what it points to into the folder, or remove it",
                    )
                if not path.is_symlink() and not path.is_file():
                    raise _invalid(folder, f"{path.relative_to(folder)} is no file")
                yield path


def _resolved(link: Path) -> Path:
    """Return what a link leads to. Raises `DataError` if it leads to itself."""
    try:
        link.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _invalid(link, "it is a link that leads to itself") from None
    return link.resolve()


def _instruction(path: Path) -> str:
    text = _text(path).strip()
    if len(text.encode()) > _MOST_INSTRUCTION_BYTES or "\0" in text:
        raise _invalid(path, f"it is larger than {_MOST_INSTRUCTION_BYTES >> 10} KiB, or has a zero byte")
    return text


def _settings(path: Path) -> dict[str, Any]:
    text = _text(path)
    if len(text) > _MOST_SETTINGS_BYTES or any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
        raise _invalid(
            path, f"it is larger than {_MOST_SETTINGS_BYTES >> 10} KiB, or a line has too many dots"
        )
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _invalid(path, f"it is not TOML ({error})") from error


def _text(path: Path) -> str:
    with file_errors(path), path.open("rb") as file:
        data = file.read(_MOST_TEXT_BYTES + 1)
    if len(data) > _MOST_TEXT_BYTES:
        raise _invalid(path, f"it is larger than {_MOST_TEXT_BYTES >> 20} MiB")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _invalid(path, "it is not UTF-8") from error


def _seconds(folder: Path, settings: dict[str, Any], part: str) -> float:
    section = settings.get(part, {})
    found = section.get("timeout_sec", _DEFAULT_S) if isinstance(section, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found <= _LONGEST_S:
        raise _invalid(folder / "task.toml", f"`{part}.timeout_sec` is {str(found)[:40]!r}, wanted seconds")
    return float(found)


def _environment(folder: Path) -> tuple[tuple[tuple[str, str], ...], str | None]:
    """Return what is copied where, and what of an environment needs Docker."""
    for name in ("docker-compose.yaml", "docker-compose.yml"):
        if (folder / name).exists():
            return (), f"environment/{name}"
    if not folder.is_dir():
        return (), None
    recipe = folder / "Dockerfile"
    if not recipe.is_file():
        return ((".", str(WORKSPACE)),), None
    copies: list[tuple[str, str]] = []
    here = WORKSPACE
    for line in re.sub(r"\\\r?\n", " ", _text(recipe)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if not word or word.startswith("#"):
            continue
        if word.upper() not in _PLAIN:
            return (), f"environment/Dockerfile says {word.upper()[:20]}"
        if word.upper() == "WORKDIR":
            here = here / rest.strip()
        found = _copied(folder, rest, here) if word.upper() == "COPY" else ()
        if found is None or not _is_in_workspace(here):
            return (), f"environment/Dockerfile says `{line.strip()[:80]}`"
        copies += found
    return tuple(copies), None


def _copied(folder: Path, rest: str, here: PurePosixPath) -> list[tuple[str, str]] | None:
    """Return what a `COPY` copies where; None if that is beyond plain files below `/app`."""
    try:
        words = shlex.split(rest)
    except ValueError:
        return None
    if len(words) < 2 or any(word.startswith(("--", "[")) or "*" in word for word in words):
        return None
    *sources, last = words
    target = here / last
    if not _is_in_workspace(target):
        return None
    found = []
    for source in sources:
        path = PurePosixPath(source.lstrip("/") or ".")
        if ".." in path.parts or not (folder / path).exists():
            return None
        is_file = (folder / path).is_file()
        into = last.endswith(("/", ".")) or len(sources) > 1
        found.append((str(path), str(target / path.name if is_file and into else target)))
    return found


def _is_in_workspace(path: PurePosixPath) -> bool:
    return path.is_relative_to(WORKSPACE) and ".." not in path.parts


def _invalid(path: Path, what: str) -> DataError:
    return DataError(
        f"this is no task that can be run: {what}",
        code="task-invalid",
        file=path,
        hint="a task has task.toml, instruction.md, environment/ and a test.sh in its tests, as Harbor's do",
    )
