"""Work on a cluster of Ray: two nodes on this machine, one of which is lost on the way."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks._scale_cluster import outcome
from crossgrade._version import __version__
from tests.codes import names
from tests.e2e.driving import CommandLine, Project
from tests.e2e.test_traffic import row
from tests.unit.serve.running import free_port

DRIVER = Path(__file__).with_name("ray_driver.py")


@pytest.fixture
def log(folder: Path) -> Path:
    """Write a log of three parts."""
    path = folder / "log.jsonl"
    texts = [{"role": "user", "content": "Say " + "one " * 3000}]
    rows = [json.dumps(row(number, messages=texts)) for number in range(3000)]
    path.write_text("\n".join(rows) + "\nnot a record\n", encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_cluster_gives_the_same_and_outlives_a_node(cli: CommandLine, project: Project, log: Path) -> None:
    pytest.importorskip("ray")
    project.change("candidates: [new]", "candidates: [new]\n    mode: fixed")
    shutil.copytree(project.folder, project.folder / "here")
    environ = {**os.environ, "CROSSGRADE_TEST_KEY": "secret"}
    driven = subprocess.run(
        [sys.executable, str(DRIVER), str(free_port()), str(log)],
        env=environ, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert driven.returncode == 0, driven.stderr[-2000:]
    found = json.loads(driven.stdout.rpartition("\nseen ")[2])
    assert found["nodes"] == [[1.0, ["CROSSGRADE_TEST_KEY"], True]] * 2
    assert {found[name] for name in ("refused", "refused_there", "missing")} == {"file-missing"}
    assert found["squares"] == [number * number for number in range(16)]
    assert found["processes"] >= 2
    assert found["scan"] == 0, driven.stderr[-2000:]
    ((status, node),) = found["doctor"]  # the other node is lost
    assert status == "ok"
    assert names(node, __version__)
    assert names(node, platform.python_version())
    cli.succeeds("scan", log.name, "--jobs", "1", "--output", "here.json")
    assert json.loads(Path("on-ray.json").read_text()) == json.loads(Path("here.json").read_text())
    assert found["nameless"] == "cluster-unknown"
    assert found["lost"] == "worker-lost"
    assert found["evaluate"] == 0, driven.stderr[-2000:]
    assert len(project.asked("old-model")) == len(set(project.asked("new-model"))) == 120
    cli.succeeds("evaluate", "echo", "--yes", "--config", "here/crossgrade.yaml")
    here, there = (outcome(folder, "latest") for folder in (project.folder / "here", project.folder))
    assert here == there
    assert "secret" not in driven.stdout + driven.stderr
    assert found["files"] > 20
    assert found["with_key"] == []


@pytest.mark.parametrize("address", ["ray:/nowhere", "ray://", "ray://:1", "ray://here:port", "ray://a:1/b"])
def test_an_address_of_no_cluster_is_an_error(cli: CommandLine, log: Path, address: str) -> None:
    cli.fails("scan", log, "--on", address, error=("cluster-unknown", address))


def test_a_cluster_that_does_not_listen_is_an_error(cli: CommandLine, log: Path) -> None:
    pytest.importorskip("ray")
    address = f"ray://127.0.0.1:{free_port()}"
    cli.fails("scan", log, "--on", address, code=3, error=("ray-unreachable", address))


def test_a_cluster_is_named_once(cli: CommandLine, log: Path) -> None:
    cli.fails("scan", log, "--on", "ray", "--on", "ray", error="option-twice")
