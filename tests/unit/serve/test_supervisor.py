"""`crossgrade serve` as its users start it: ready, restarted, reloaded, drained, refused."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crossgrade.testing import FakeProvider
from tests.codes import shown_codes
from tests.unit.serve.running import Gateway, free_port


@contextmanager
def _gateway(folder: Path) -> Iterator[Gateway]:
    with FakeProvider("hello") as fake:
        gateway = Gateway(folder, fake.base_url)
        try:
            yield gateway
        finally:
            if hasattr(gateway, "process"):
                gateway.end()


def test_it_serves_restarts_what_dies_and_drains(tmp_path: Path) -> None:
    with _gateway(tmp_path) as gateway:
        gateway.start("--workers", "2", CROSSGRADE_ADMIN_KEY="an-admin-key-of-length")
        assert f"http://127.0.0.1:{gateway.port}" in gateway.await_line("ready: ")
        assert gateway.ask() == 200
        worker = gateway.children("crossgrade.gateway")[0]
        os.kill(worker, signal.SIGKILL)
        assert "ended (SIGKILL): started again" in gateway.await_line("worker ")
        (broker,) = gateway.children("serve.broker")
        os.kill(broker, signal.SIGKILL)
        gateway.await_line("broker ended (SIGKILL)")
        for _ in range(20):
            assert gateway.ask() == 200
        gateway.await_line("admin API: ")
        url = f"http://127.0.0.1:{gateway.admin_port}/status"
        request = urllib.request.Request(url, headers={"authorization": "Bearer an-admin-key-of-length"})
        for _ in range(6_000):
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    status = json.load(answer)
                break
            except OSError:
                time.sleep(0.01)
        (limit,) = status["limits"]
        assert (limit["scope"], limit["match"], limit["cap"]) == ("route", "support", 1000)
        assert (tmp_path / ".crossgrade" / "serve" / "settings.json").stat().st_mode & 0o777 == 0o600
        assert gateway.end() == 0
        assert "finishing requests in flight" in gateway.text
        assert "Traceback" not in gateway.text
        lines = [
            json.loads(line)
            for path in (tmp_path / ".crossgrade" / "serve" / "requests").glob("*.jsonl")
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        # The first may have been with the worker that was killed right after it.
        assert sum("id" in line for line in lines) in (20, 21)


def test_a_valid_configuration_is_reloaded_and_an_invalid_one_is_not(tmp_path: Path) -> None:
    with _gateway(tmp_path) as gateway:
        gateway.start()
        gateway.await_line("ready: ")
        before = gateway.children("crossgrade.gateway")
        gateway.configure(cap="-5")
        gateway.process.send_signal(signal.SIGHUP)
        assert "crossgrade.yaml" in gateway.await_line("not reloaded: ")
        assert (gateway.ask(), gateway.children("crossgrade.gateway")) == (200, before)
        gateway.configure(cap=2)
        gateway.process.send_signal(signal.SIGHUP)
        gateway.await_line("reloaded: 1 new worker")
        assert gateway.children("crossgrade.gateway") != before
        assert [gateway.ask(), gateway.ask()] == [200, 429]


def test_its_children_go_when_it_is_killed(tmp_path: Path) -> None:
    with _gateway(tmp_path) as gateway:
        gateway.start()
        gateway.await_line("ready: ")
        children = gateway.children("crossgrade")
        assert len(children) == 2
        gateway.process.kill()
        gateway.process.wait()
        for _ in range(1000):
            if not any(Path(f"/proc/{pid}").exists() for pid in children):
                break
            time.sleep(0.01)
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_a_port_in_use_and_a_second_gateway_are_said(tmp_path: Path) -> None:
    with _gateway(tmp_path) as gateway:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", gateway.port))
            taken.listen()
            gateway.start()
            assert gateway.process.wait(timeout=20) == 2
        assert f"cannot listen on 127.0.0.1 port {gateway.port}" in gateway.text
        gateway.start()
        gateway.await_line("ready: ")
        second = subprocess.run(
            [sys.executable, "-m", "crossgrade", "serve", "--port", str(free_port())],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 2
        assert shown_codes(second.stderr) == ["serve-already-running"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--host", "0.0.0.0", "--open-on-loopback"), "0.0.0.0 is not this machine alone"),
        (("--config", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    gateway = Gateway(tmp_path, "http://127.0.0.1:9/v1")
    gateway.start(*options)
    assert gateway.process.wait(timeout=20) == 2
    assert said in gateway.text


def test_a_model_without_its_key_is_said_where_it_stands(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, "http://127.0.0.1:9/v1")
    config = tmp_path / "crossgrade.yaml"
    text = config.read_text(encoding="utf-8").replace(
        "model: fake-model", "model: m\n    api_key_env: NOT_THERE"
    )
    config.write_text(text, encoding="utf-8")
    gateway.start()
    assert gateway.process.wait(timeout=20) == 2
    assert "needs a key in NOT_THERE" in gateway.text
    assert "crossgrade.yaml:" in gateway.text


@pytest.mark.needs("module:xllamacpp", "model:smollm2-135m-instruct")
def test_a_local_model_is_started_and_started_again(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, "")
    local = (
        "models: {{tiny: {{provider: local, model: smollm2-135m-instruct}}}}\n"
        "routes: {{support: {{incumbent: tiny}}}}\n"
        "serve: {{port: {port}, admin_port: {admin_port}, open_on_loopback: true}}\n"
    )
    gateway.configure(cap=0, text=local)
    gateway.start()
    try:
        gateway.await_line("ready: ")
        body = {"model": "support", "max_tokens": 4, "messages": [{"role": "user", "content": "Say hi"}]}
        assert gateway.call("/v1/chat/completions", body)[0] == 200
        loaded = gateway.await_line("local model tiny is loaded")
        os.kill(int(loaded.rpartition("pid ")[2].rstrip(")")), signal.SIGKILL)
        gateway.await_line("local model tiny ended: started again")
        for _ in range(3000):
            if gateway.text.count("local model tiny is loaded") == 2:
                break
            time.sleep(0.01)
        assert gateway.call("/v1/chat/completions", body)[0] == 200
    finally:
        gateway.end()


@pytest.mark.parametrize(
    ("package", "variable", "url", "extra"),
    [
        ("redis", "CROSSGRADE_REDIS_URL", "redis://127.0.0.1:6379/0", "redis"),
        ("psycopg", "CROSSGRADE_DATABASE_URL", "postgresql://127.0.0.1:5432/crossgrade", "postgres"),
    ],
)
def test_a_service_without_its_extra_ends_it_before_it_is_ready(
    package: str, variable: str, url: str, extra: str, tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / f"{package}.py").write_text(f"raise ModuleNotFoundError(name={package!r})")
    path = os.pathsep.join([str(hidden), *filter(None, [os.environ.get("PYTHONPATH")])])
    with _gateway(tmp_path) as gateway:
        gateway.start(PYTHONPATH=path, **{variable: url})
        assert gateway.process.wait(timeout=60) == 2
        assert f"pip install 'crossgrade[{extra}]'" in gateway.text
        assert "ready: " not in gateway.text


def test_a_redis_url_that_cannot_be_read_ends_it_and_is_not_repeated(tmp_path: Path) -> None:
    with _gateway(tmp_path) as gateway:
        gateway.start(CROSSGRADE_REDIS_URL="rediss:/a-password@nowhere")
        assert gateway.process.wait(timeout=60) == 2
        assert "CROSSGRADE_REDIS_URL cannot be read" in gateway.text
        assert "ready: " not in gateway.text
        assert "a-password" not in gateway.text
