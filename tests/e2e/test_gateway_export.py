"""The records of a real gateway, exported while it serves, under `kill -9` of the export and of the broker."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.gateway._served import Served, children, records, serving
from tests.e2e.traffic import Traffic, priced_model
from tests.unit.serve.exporting import ids, scanned
from tests.waiting import until

pytestmark = [pytest.mark.needs("module:pyarrow"), pytest.mark.slow]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Served]:
    with priced_model() as model:
        config = {"models": {"support": model}, "serve": {"workers": 2, "log_prompts": True}}
        with serving(tmp_path, config) as served:
            yield served


def export(served: Served, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "crossgrade", "records", "export", "--to", "out", *options]
    return subprocess.Popen(command, cwd=served.folder, stdout=subprocess.DEVNULL)


def test_every_answered_request_is_in_the_export_once(gateway: Served) -> None:
    chance = random.Random(7)
    out = gateway.folder / "out"
    with Traffic(gateway) as traffic:
        for turn in range(4):
            process = export(gateway, "--every", "1")
            traffic.wait_for(50)
            if turn == 2:
                (broker,) = children(gateway, b"crossgrade.serve.broker")
                os.kill(broker, signal.SIGKILL)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(chance.uniform(1, 3))
            process.kill()
            process.wait()
        traffic.wait_for(50)
    until(lambda: traffic.answered.keys() <= {each["id"] for each in records(gateway)})
    assert export(gateway).wait() == 0
    found = ids(out)
    assert len(found) == len(set(found))
    assert traffic.answered.keys() <= set(found)
    assert set(found) == {each["id"] for each in records(gateway)}
    assert scanned(out).requests == len(found)
