"""Huge inputs are refused before they fill the memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

READ = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
from crossgrade.errors import DataError
from crossgrade.workloads import read_dataset, read_results
for read in (read_dataset, read_results):
    try:
        read(sys.argv[1])
    except DataError as error:
        print(error)
"""


def refusals(path: Path, memory_mib: int) -> str:
    # NumPy's thread pools reserve address space of their own; one thread keeps it small.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(memory_mib * 2**20)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("start", [b"item_id,model,score\n", b'{"model": "m", "score": 1, "item_id": "'])
def test_a_line_of_five_gigabytes(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.write(start)
        file.truncate(5 * 2**30)  # sparse: takes no space on disk
    assert refusals(path, 600).count("this line is longer than 16 MiB") == 2
