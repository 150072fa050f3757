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

CONFIG = """\
models:
  fake:
    provider: openai-compatible
    model: fake-model
    base_url: {base_url}
    prices: [{{input_per_mtok: 1, output_per_mtok: 2}}]
routes:
  support: {{incumbent: fake}}
serve:
  port: {port}
  admin_port: {admin_port}
  open_on_loopback: true
  limits:
    - {{scope: route, unit: requests, cap: {cap}, per: month}}
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Gateway:
    """A running `crossgrade serve`; `lines` are what it wrote to stderr."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder = folder
        self.base_url = base_url
        self.port, self.admin_port = _free_port(), _free_port()
        self.log = folder / "log"
        self.configure(cap=1_000)

    def configure(self, *, cap: int | str) -> None:
        text = CONFIG.format(base_url=self.base_url, port=self.port, admin_port=self.admin_port, cap=cap)
        (self.folder / "crossgrade.yaml").write_text(text, encoding="utf-8")

    def start(self, *options: str, **environ: str) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "crossgrade", "serve", *options],
                cwd=self.folder,
                env={**os.environ, **environ},
                stderr=log,
                start_new_session=True,
            )

    def await_line(self, part: str) -> str:
        for _ in range(3000):
            found = next((line for line in self.text.splitlines() if part in line), None)
            if found is not None:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError(f"no {part!r} in {self.text}")

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def ask(self) -> int:
        body = json.dumps({"model": "support", "messages": [{"role": "user", "content": "hi"}]}).encode()
        url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    def children(self, module: str) -> list[int]:
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-f", module], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=40)


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
        (keeper,) = gateway.children("serve.keeper")
        os.kill(keeper, signal.SIGKILL)
        gateway.await_line("keeper ended (SIGKILL)")
        for _ in range(20):
            assert gateway.ask() == 200
        gateway.await_line("admin API: ")
        url = f"http://127.0.0.1:{gateway.admin_port}/status"
        request = urllib.request.Request(url, headers={"authorization": "Bearer an-admin-key-of-length"})
        for _ in range(500):
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
            [sys.executable, "-m", "crossgrade", "serve", "--port", str(_free_port())],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 2
        assert "another `crossgrade serve` runs in this project" in second.stderr


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
