"""A worker as its own process."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from crossgrade.domain import RouteSpec, Serving
from crossgrade.gateway.settings import GatewaySettings, write_settings
from crossgrade.testing import FakeProvider, Reply

FORBIDDEN = {
    "aiohttp", "alembic", "anyio", "click", "jinja2", "numpy", "pydantic", "rich", "ruamel", "scipy",
    "sqlalchemy", "starlette", "joserfc", "cryptography", "multiprocessing", "unittest",
}  # fmt: skip


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture
def process(tmp_path, make):
    """Return a function that starts a worker before a fake provider."""
    started = []

    def start(fake, **serving):
        port = _free_port()
        settings = GatewaySettings(
            serving=Serving(port=port, open_on_loopback=True, **serving),
            routes=(RouteSpec(name="support", incumbent="big"),),
            targets=(make.target(fake),),
            state=str(tmp_path),
            broker=str(tmp_path / "broker.sock"),
        )
        write_settings(settings, tmp_path / "settings.json")
        child = subprocess.Popen(
            [sys.executable, "-m", "crossgrade.gateway", str(tmp_path / "settings.json"), "--worker", "3"],
            stderr=subprocess.PIPE,
        )
        started.append(child)
        for line in child.stderr:
            if json.loads(line)["event"] == "listening":
                return child, port
        raise AssertionError("it never listened")

    yield start
    for child in started:
        child.kill()
        child.wait()
        child.stderr.close()


def _ask(port, body):
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def test_it_ends_a_running_stream_before_it_stops(process, make):
    with FakeProvider(Reply("one two three four five", token_delay_s=0.05)) as fake:
        child, port = process(fake)
        connection = _ask(port, make.chat(stream=True))
        first = connection.recv(100)
        idle = socket.create_connection(("127.0.0.1", port), timeout=10)
        child.send_signal(signal.SIGTERM)
        assert idle.recv(10) == b""
        answer = make.read_answer(connection, first)
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert connection.recv(10) == b""
        assert child.wait(10) == 0
        events = [json.loads(line)["event"] for line in child.stderr]
        assert events == ["draining", "stopped"]
        connection.close()
        idle.close()


def test_it_is_light(process, make, fake):
    child, port = process(fake)
    connection = _ask(port, make.chat())
    assert make.read_answer(connection).status == 200
    connection.close()
    status = Path(f"/proc/{child.pid}/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    assert resident < 60 * 1024


LOADED = """
import asyncio, sys
from pathlib import Path
from crossgrade.gateway._worker import Worker, _listen
from crossgrade.gateway.settings import read_settings

async def ask(port, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"model": "support", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}'
    head = f"POST {path} HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\ncontent-length: {len(body)}\\r\\n\\r\\n"
    writer.write(head.encode() + body)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    writer.close()

async def run():
    worker = Worker(read_settings(Path(sys.argv[1])))
    await worker.start(_listen("127.0.0.1", 0))
    for path in sys.argv[2:]:
        await ask(worker.port, path)
    print(*sys.modules, sep="\\n")
    await worker.stop(1.0)

asyncio.run(run())
"""


@pytest.fixture
def loaded(tmp_path, make, fake):
    """Return the modules of a process whose worker has only OpenAI targets and answered these paths."""

    def modules(*paths: str) -> set[str]:
        settings = GatewaySettings(
            serving=Serving(port=0, open_on_loopback=True),
            routes=(RouteSpec(name="support", incumbent="big"),), targets=(make.target(fake),),
            state=str(tmp_path), broker=str(tmp_path / "broker.sock"),
        )  # fmt: skip
        write_settings(settings, tmp_path / "settings.json")
        command = [sys.executable, "-c", LOADED, str(tmp_path / "settings.json"), *paths]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return set(done.stdout.split())

    return modules


def _apis(names: set[str]) -> set[str]:
    """Return the provider APIs whose upstream modules are loaded."""
    return {name.split(".")[2] for name in names if name.endswith(".upstream")}


def test_it_imports_nothing_that_a_request_does_not_need(loaded):
    names = loaded("/v1/chat/completions")
    assert not {name for name in names if name.partition(".")[0] in FORBIDDEN}
    assert "crossgrade.dialects.gemini" not in names  # a dialect that no target needs
    rooms = {name.split(".")[1] for name in names if name.startswith("crossgrade.")}
    assert rooms <= {
        "_version",
        "domain",
        "errors",
        "gateway",
        "identity",
        "routing",
        "telemetry",
        "dialects",
        "pricing",
    }
    assert _apis(names) == {"openai_chat"}


def test_the_api_of_clients_is_imported_when_its_path_is_first_used(loaded):
    assert _apis(loaded("/v1/chat/completions", "/v1/messages")) == {"openai_chat", "anthropic"}


def test_a_broken_settings_file_is_said_and_ends_it(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "crossgrade.gateway", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "[settings-unreadable]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said(process, make, fake, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = GatewaySettings(
            serving=Serving(port=port), routes=(), targets=(), state=str(tmp_path), broker=str(tmp_path / "k")
        )
        write_settings(settings, tmp_path / "settings.json")
        done = subprocess.run(
            [sys.executable, "-m", "crossgrade.gateway", str(tmp_path / "settings.json")],
            capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip
        assert done.returncode == 3
        assert "Traceback" not in done.stderr


def test_it_is_open_on_loopback_only(tmp_path):
    settings = GatewaySettings(
        serving=Serving(host="0.0.0.0", open_on_loopback=True),
        routes=(), targets=(), state=str(tmp_path), broker=str(tmp_path / "k"),
    )  # fmt: skip
    write_settings(settings, tmp_path / "settings.json")
    done = subprocess.run(
        [sys.executable, "-m", "crossgrade.gateway", str(tmp_path / "settings.json")],
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    assert done.returncode == 2
    assert "[keys-required]" in done.stderr


def test_who_has_only_come_is_still_answered(process, make, fake):
    child, port = process(fake)
    fresh = socket.create_connection(("127.0.0.1", port), timeout=10)
    child.send_signal(signal.SIGTERM)
    assert json.loads(child.stderr.readline())["event"] == "draining"
    body = make.chat()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    fresh.sendall(head.encode() + body)
    answer = make.read_answer(fresh)
    assert answer.status == 200
    assert answer.headers["connection"] == "close"
    assert child.wait(10) == 0
    fresh.close()
