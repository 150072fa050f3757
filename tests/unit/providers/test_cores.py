"""The cores that a process may use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossgrade.providers import usable_cores


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def group(root: Path, path: str, **files: str) -> None:
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def cores(root: Path, *lines: str) -> int:
    own = root / "own"
    own.write_text("".join(line + "\n" for line in lines))
    return usable_cores(groups=root, own_group=own)


def test_without_control_groups_it_is_what_the_process_is_bound_to(tmp_path: Path) -> None:
    assert usable_cores(groups=tmp_path, own_group=tmp_path / "none") == 16


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("max 100000", 16),
        ("400000 100000", 4),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("3200000 100000", 16),
        ("", 16),
        ("nonsense", 16),
        ("100000 0", 16),
    ],
)
def test_the_share_of_a_container(tmp_path: Path, text: str, count: int) -> None:
    group(tmp_path, "", cpu__max=text)
    assert cores(tmp_path, "0::/") == count


def test_the_least_of_a_group_and_those_around_it_counts(tmp_path: Path) -> None:
    group(tmp_path, "system.slice", cpu__max="300000 100000")
    group(tmp_path, "system.slice/job.service", cpu__max="max 100000")
    assert cores(tmp_path, "0::/system.slice/job.service") == 3


@pytest.mark.parametrize(("quota", "count"), [("600000", 6), ("-1", 16)])
def test_the_first_version_of_control_groups(tmp_path: Path, quota: str, count: int) -> None:
    group(tmp_path, "cpu/docker/1", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000")
    group(tmp_path, "memory/docker/1", cpu__cfs_quota_us="100000", cpu__cfs_period_us="100000")
    assert cores(tmp_path, "9:name=systemd:/", "4:memory:/docker/1", "2:cpu,cpuacct:/docker/1") == count


def test_a_group_outside_of_what_is_mounted_is_looked_for_at_its_top(tmp_path: Path) -> None:
    group(tmp_path, "cpu", cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    assert cores(tmp_path, "2:cpu,cpuacct:/docker/1", "no line of it", "0::/../elsewhere") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds processes to cores")
def test_a_process_that_is_bound_to_one_core_has_one() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from crossgrade.providers import usable_cores; print(usable_cores())"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "1\n"
