"""Run tests on a cluster of Ray, as `make verify` does: `python scripts/verify_on.py ray[://HOST:PORT] DIR…`.

Each test runs in a process of its own on some node, from a copy of this checkout that Ray brings there. The
nodes need what `make test` installs. Soaks and fuzzing of the gateway stay on one machine.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from tempfile import TemporaryDirectory
from typing import NamedTuple

from crossgrade.project import on_ray

ROOT = Path(__file__).parents[1]
NEEDED = ("benchmarks", "src", "tests", "pyproject.toml")
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "-n", "0")


class Ran(NamedTuple):
    """A test, and how it ended: pytest's status and what it printed."""

    test: str
    status: int
    said: str


def tests(folders: Sequence[str]) -> Iterator[str]:
    """Yield the tests of folders, by pytest's names."""
    listed = [*PYTEST, "--collect-only", *folders]
    found = subprocess.run(listed, capture_output=True, text=True, check=True, cwd=ROOT)
    yield from re.findall(r"^tests/\S+::\S.*$", found.stdout, re.MULTILINE)


def run_test(test: str) -> Ran:
    """Run one test from the working directory, which is the copy of the checkout."""
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": "src"}
    command = [sys.executable, *PYTEST[1:], test]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    return Ran(test, done.returncode, done.stdout + done.stderr)


def copied(folder: Path) -> Path:
    """Copy what the tests need of this checkout into a folder, and return it."""
    for name in NEEDED:
        if (ROOT / name).is_dir():
            copytree(ROOT / name, folder / name, ignore=ignore_patterns("__pycache__"))
        else:
            copy(ROOT / name, folder / name)
    return folder


def main(address: str, *folders: str) -> int:
    """Run the tests of folders on a cluster; return 1 if one failed."""
    failed = 0
    with TemporaryDirectory() as folder, on_ray(address, folder=copied(Path(folder))) as nodes:
        for ran in nodes.run(run_test, list(tests(folders))):
            print("ok    " if ran.status == 0 else "FAILED", ran.test, flush=True)
            if ran.status:
                failed += 1
                print(ran.said, flush=True)
    print(f"{failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
