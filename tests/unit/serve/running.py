"""A running `crossgrade serve`, as its users start it, and a running Redis."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.waiting import until

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


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def redis() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run a Redis server that keeps nothing on disk; yield its process and its address."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: _accepts(port))
            yield process, f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


class Gateway:
    """A running `crossgrade serve`; `lines` are what it wrote to stderr."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder = folder
        self.base_url = base_url
        self.port, self.admin_port = free_port(), free_port()
        self.log = folder / "log"
        self.configure(cap=1_000)

    def configure(self, *, cap: int | str, text: str = CONFIG) -> None:
        text = text.format(base_url=self.base_url, port=self.port, admin_port=self.admin_port, cap=cap)
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

    def ask(self, content: str = "hi") -> int:
        """Ask the route and return the status."""
        body = {"model": "support", "messages": [{"role": "user", "content": content}]}
        return self.call("/v1/chat/completions", body)[0]

    def call(self, path: str, body: object = None) -> tuple[int, bytes]:
        """POST a body, or GET without one."""
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data, {"content-type": "application/json"} if data else {})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def children(self, module: str) -> list[int]:
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-f", module], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=40)
