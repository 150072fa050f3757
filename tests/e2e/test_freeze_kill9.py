"""A freeze that is killed while it buys loses nothing; `make bench-evaluation` kills 100 of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_killed_freeze_goes_on_without_loss_and_without_paying_twice() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks._frozen_kill9", "4"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    seen = json.loads(ran.stdout)
    assert seen["kills"] >= 4
    assert seen["in_store_at_kill"] > 0
    assert (seen["lost"], seen["paid_twice"], seen["unclean"]) == (0, 0, 0)
