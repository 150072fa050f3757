"""Tasks for agents: what is read of a folder, and which are refused."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from crossgrade.domain import AgentLimits, AgentSpec
from crossgrade.workloads import files_digest, read_task, read_tasks
from tests.codes import raises_code

AGENT = AgentSpec(name="script", version="1", command="true")


def make(folder: Path, name: str = "one", dockerfile: str | None = None, toml: str = "") -> Path:
    task = folder / name
    (task / "tests").mkdir(parents=True)
    (task / "environment").mkdir()
    (task / "environment" / "a.txt").write_text("a")
    (task / "task.toml").write_text(toml)
    (task / "instruction.md").write_text("Do it.\n")
    (task / "tests" / "test.sh").write_text("echo 1 > /logs/verifier/reward.txt\n")
    if dockerfile is not None:
        (task / "environment" / "Dockerfile").write_text(dockerfile)
    return task


def test_a_folder_of_tasks_is_a_dataset(tmp_path: Path) -> None:
    make(tmp_path, "b")
    make(tmp_path, "a")
    (tmp_path / "notes").mkdir()
    found = read_tasks(tmp_path, AGENT)
    assert [each.id for each in found.samples] == ["a", "b"]
    assert found.format == "tasks"
    assert found.samples[0].fields["instruction"] == "Do it."


def test_the_digest_knows_every_file_and_the_agent(tmp_path: Path) -> None:
    task = make(tmp_path)
    files = tmp_path.parent / "files"
    files.mkdir()
    (files / "agent.py").write_text("1")
    agent = replace(AGENT, files=files)
    seen = {read_tasks(tmp_path, AGENT).digest, read_tasks(tmp_path, agent).digest}
    seen.add(read_tasks(tmp_path, replace(agent, limits=AgentLimits(calls=3))).digest)
    (files / "agent.py").write_text("2")
    seen.add(read_tasks(tmp_path, agent).digest)
    (task / "tests" / "test.sh").write_text("echo 0 > /logs/verifier/reward.txt\n")
    seen.add(read_tasks(tmp_path, agent).digest)
    (task / "tests" / "test.sh").chmod(0o755)
    seen.add(read_tasks(tmp_path, agent).digest)
    assert len(seen) == 6


def test_times_are_those_of_the_task(tmp_path: Path) -> None:
    toml = "[agent]\ntimeout_sec = 30\n[verifier]\ntimeout_sec = 5.5\n"
    task = read_task(make(tmp_path, toml=toml))
    assert (task.agent_s, task.verifier_s) == (30.0, 5.5)
    assert read_task(make(tmp_path, "plain")).agent_s == 900.0


@pytest.mark.parametrize(
    ("dockerfile", "copies"),
    [
        (None, ((".", "/app"),)),
        ("FROM ubuntu:24.04\nWORKDIR /app\n", ()),
        ("FROM x\n# c\nWORKDIR /app\nCOPY . .\n", ((".", "/app"),)),
        ("FROM x\nWORKDIR /app/src\nCOPY a.txt b.txt\n", (("a.txt", "/app/src/b.txt"),)),
        ("FROM x\nWORKDIR /app\nCOPY a.txt ./\n", (("a.txt", "/app/a.txt"),)),
        ("FROM x\nCOPY a.txt \\\n  /app/sub/\n", (("a.txt", "/app/sub/a.txt"),)),
    ],
)
def test_what_a_dockerfile_copies_is_copied(tmp_path: Path, dockerfile: str | None, copies: tuple) -> None:
    task = read_task(make(tmp_path, dockerfile=dockerfile))
    assert (task.copies, task.needs_docker) == (copies, None)


@pytest.mark.parametrize(
    "line",
    [
        "RUN apt-get install -y git",
        "COPY a.txt /etc/a.txt",
        "COPY --from=build /x /app",
        "COPY *.txt /app",
        "COPY ../x /app",
        "COPY missing /app",
        'COPY ["a.txt", "/app"]',
        "COPY 'a /app",
        "WORKDIR /srv",
        "ENV A=1",
    ],
)
def test_what_only_docker_can_make_is_refused(tmp_path: Path, line: str) -> None:
    make(tmp_path, dockerfile=f"FROM x\n{line}\nCOPY a.txt /app/\n")
    with raises_code("task-needs-docker"):
        read_tasks(tmp_path, AGENT)


def test_compose_needs_docker(tmp_path: Path) -> None:
    (make(tmp_path) / "environment" / "docker-compose.yaml").write_text("services: {}\n")
    with raises_code("task-needs-docker"):
        read_tasks(tmp_path, AGENT)


@pytest.mark.parametrize("lacking", ["instruction.md", "tests/test.sh"])
def test_a_task_that_lacks_a_file(tmp_path: Path, lacking: str) -> None:
    (make(tmp_path) / lacking).unlink()
    with raises_code("task-invalid"):
        read_tasks(tmp_path, AGENT)


@pytest.mark.parametrize(
    "toml",
    [
        "[agent",
        "agent = 3",
        "[agent]\ntimeout_sec = 0",
        "[agent]\ntimeout_sec = 'x'",
        "[agent]\ntimeout_sec = inf",
    ],
)
def test_settings_that_cannot_be_read(tmp_path: Path, toml: str) -> None:
    make(tmp_path, toml=toml)
    with raises_code("task-invalid"):
        read_tasks(tmp_path, AGENT)


def test_names_are_plain(tmp_path: Path) -> None:
    make(tmp_path, "a b")
    with raises_code("task-invalid"):
        read_tasks(tmp_path, AGENT)


def test_a_folder_without_tasks(tmp_path: Path) -> None:
    with raises_code("tasks-missing"):
        read_tasks(tmp_path, AGENT)
    with raises_code("file-missing"):
        read_tasks(tmp_path / "none", AGENT)


def test_links_out_of_a_task_and_what_is_no_file(tmp_path: Path) -> None:
    task = make(tmp_path)
    (task / "environment" / "inside").symlink_to("a.txt")
    assert len(files_digest(task)) == 64
    link = task / "environment" / "outside"
    link.symlink_to(tmp_path / "secret")
    with raises_code("link-out-of-task"):
        files_digest(task)
    link.unlink()
    link.symlink_to("/etc")
    with raises_code("link-out-of-task"):
        files_digest(task)
    link.unlink()
    os.mkfifo(link)
    with raises_code("task-invalid"):
        files_digest(task)


def test_a_task_that_is_too_large(tmp_path: Path) -> None:
    task = make(tmp_path)
    os.truncate(task / "environment" / "a.txt", 300 << 20)
    with raises_code("task-too-large"):
        files_digest(task)


def _deep(task: Path) -> None:
    descriptor = os.open(task / "environment", os.O_RDONLY)
    for _ in range(1_300):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


def _tests_as_environment(task: Path) -> None:
    (task / "environment" / "a.txt").unlink()
    (task / "environment").rmdir()
    (task / "environment").symlink_to("tests")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda task: (task / "environment" / "loop").symlink_to("loop"),
        lambda task: (task / "environment" / os.fsdecode(b"\xff")).touch(),
        _deep,
        _tests_as_environment,
        lambda task: (task / "task.toml").write_text("a." * 60_000 + "a = 1"),
        lambda task: (task / "task.toml").write_text("a." * 5_000 + "a = 1"),
        lambda task: (task / "instruction.md").write_text("x" * 130_000),
        lambda task: (task / "instruction.md").write_text("x\0y"),
    ],
    ids=["loop", "name", "deep", "tests", "long-key", "many-dots", "instruction", "zero"],
)
def test_a_hostile_folder_is_refused(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    task = make(tmp_path)
    spoil(task)
    try:
        with raises_code("task-invalid"):
            read_task(task)
    finally:
        subprocess.run(["rm", "-rf", str(task)], check=True)  # what is too deep for shutil


def test_a_link_to_a_name_that_is_not_text_is_part_of_the_digest(tmp_path: Path) -> None:
    task = make(tmp_path)
    before = files_digest(task)
    (task / "environment" / "link").symlink_to(os.fsdecode(b"\xff"))
    assert files_digest(task) != before
