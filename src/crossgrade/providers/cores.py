"""Counts the cores that this process may use, which in a container are fewer than the machine has."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")


def usable_cores(*, groups: Path = _GROUPS, own_group: Path = _OWN_GROUP) -> int:
    """Return the number of whole cores that this process may use, at least 1.

    It is the number of cores that the process is bound to (`taskset`, cpusets), limited by the quotas of its
    control group and its parents: `cpu.max` of version 2, `cpu.cfs_quota_us` of version 1. With more threads
    than that, all of them pause for the rest of every period. `groups` is where control groups are mounted.
    `own_group` is the file that names this process's groups. Source: Linux,
    Documentation/admin-guide/cgroup-v2.rst, "CPU Interface Files".
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([float(bound), *_shares(groups, own_group)])))


def _shares(groups: Path, own_group: Path) -> Iterator[float]:
    """Yield the limit of each control group of this process, in cores."""
    for controllers, path in _own_groups(own_group):
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = groups / "cpu" if controllers else groups
        for group in (PurePosixPath(path), *PurePosixPath(path).parents):
            folder = root / group.relative_to("/")
            with suppress(OSError, ValueError, ZeroDivisionError):  # without such a file there is no limit
                yield _share(folder, is_first_version=bool(controllers))


def _own_groups(own_group: Path) -> Iterator[tuple[str, str]]:
    """Yield the controllers (empty for version 2) and the path of each control group of this process."""
    with suppress(OSError):
        for line in own_group.read_text(encoding="utf-8").splitlines():
            fields = line.split(":", 2)
            if len(fields) == 3 and fields[2].startswith("/"):
                yield fields[1], fields[2]


def _share(folder: Path, *, is_first_version: bool) -> float:
    if is_first_version:
        quota, period = ((folder / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
        if int(quota) < 0:
            raise ValueError("no limit")
    else:
        quota, period = (folder / "cpu.max").read_text().split()
    return int(quota) / int(period)
