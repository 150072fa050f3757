"""A configuration that is read again under load: no request is lost, and the new one is served."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from crossgrade.testing import FakeProvider, Reply
from tests.e2e.certified import ask, until
from tests.e2e.serving import Served, serving
from tests.e2e.test_gateway_kill9 import Traffic


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Served]:
    with FakeProvider(Reply("hello", input_tokens=5, output_tokens=5, delay_s=0.01), models=("m",)) as fake:
        model = {"provider": "openai-compatible", "model": "m", "base_url": fake.base_url}
        config = {
            "models": {"old": model, "new": model},
            "routes": {"support": {"incumbent": "old"}},
            "serve": {
                "workers": 2,
                "limits": [{"scope": "key", "unit": "requests", "cap": 1_000_000, "per": "day"}],
            },
        }
        with serving(tmp_path, config) as served:
            yield served


def change(served: Served, edit: Any) -> None:
    path = served.folder / "crossgrade.yaml"
    config = YAML(typ="safe").load(path)
    edit(config)
    with path.open("w") as file:
        YAML(typ="safe").dump(config, file)
    served.process.send_signal(signal.SIGHUP)


def test_new_workers_take_over_without_losing_a_request(gateway: Served) -> None:
    def log() -> str:
        return (gateway.folder / "serve.log").read_text()

    with Traffic(gateway) as traffic:
        for number in range(1, 4):
            traffic.wait_for(60)
            before = gateway.workers
            incumbent = "new" if number % 2 else "old"
            change(gateway, lambda config, name=incumbent: config["routes"]["support"].update(incumbent=name))
            until(lambda number=number: log().count("reloaded: 2 new workers") == number)
            until(lambda before=before: not set(before) & set(gateway.workers))
            traffic.wait_for(60)
        change(gateway, lambda config: config["routes"]["support"].update(incumbent="nobody"))
        until(lambda: "not reloaded: " in log())
        traffic.wait_for(60)
    assert not traffic.refused
    assert not traffic.failed
    assert ask(gateway, "support").target == "new"
    assert "Traceback" not in log()
