"""A run that is killed at any moment loses nothing and pays for nothing twice; `make bench-evaluation` does it 100 times."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_killed_runs_resume_without_loss_and_without_paying_twice() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks._kill9", "5"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    seen = json.loads(ran.stdout)
    assert seen["kills"] >= 3
    assert seen["in_store_at_kill"] > 0
    assert (seen["lost"], seen["paid_twice"]) == (0, 0)
