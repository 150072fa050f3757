"""The records of a real gateway, exported while it serves, under `kill -9` of the export and of the broker."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.gateway._served import Served, children, records, serving
from crossgrade.testing import FakeProvider, Reply
from tests.e2e.test_gateway_kill9 import Traffic
from tests.unit.serve.exporting import ids, scanned

pytestmark = [pytest.mark.needs("module:pyarrow"), pytest.mark.slow]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Served]:
    with FakeProvider(Reply("hello", input_tokens=5, output_tokens=5, delay_s=0.01), models=("m",)) as fake:
        model = {
            "provider": "openai-compatible", "model": "m", "base_url": fake.base_url,
            "prices": [{"input_per_mtok": 10, "output_per_mtok": 20}],
        }  # fmt: skip
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
    give_up = time.monotonic() + 20
    while not traffic.answered.keys() <= {each["id"] for each in records(gateway)}:
        assert time.monotonic() < give_up
        time.sleep(0.1)
    assert export(gateway).wait() == 0
    found = ids(out)
    assert len(found) == len(set(found))
    assert traffic.answered.keys() <= set(found)
    assert set(found) == {each["id"] for each in records(gateway)}
    assert scanned(out).requests == len(found)
