"""The example dialect asks, streams and serves; a worker loads it and no dialect that no target needs."""

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.gateway._served import serving
from tests.plugins.conftest import ROOT, Run

pytestmark = pytest.mark.needs("module:hatchling")

USAGE = {"tokens": {"input_tokens": 7, "output_tokens": 3}}


class Cohere(BaseHTTPRequestHandler):
    """Answers every chat with the last message's text, whole or as a stream."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = asked["messages"][-1]["content"].removeprefix("Say ")
        if asked["stream"]:
            events = [
                {"type": "message-start"},
                *(
                    {"type": "content-delta", "delta": {"message": {"content": {"text": piece}}}}
                    for piece in (text[:3], text[3:])
                ),
                {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": USAGE}},
            ]
            body = "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events).encode()
        else:
            content = [{"type": "text", "text": text}]
            body = json.dumps(
                {"message": {"content": content}, "finish_reason": "COMPLETE", "usage": USAGE}
            ).encode()
        self.send_response(200 if self.path == "/v2/chat" else 404)
        self.send_header("content-type", "text/event-stream" if asked["stream"] else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def cohere() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Cohere)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v2"
    server.shutdown()
    server.server_close()
    thread.join()


def models(url: str) -> dict[str, object]:
    price = [{"input_per_mtok": 2, "output_per_mtok": 4}]
    return {
        name: {"provider": "cohere", "model": name, "base_url": url, "prices": price}
        for name in ("command", "light")
    }


def test_a_run_asks_in_the_words_of_the_dialect(run: Run, tmp_path: Path, cohere: str) -> None:
    workload = {
        "dataset": "echo.jsonl", "prompt": {"user": "Say {input}"}, "scorer": {"kind": "exact"},
        "incumbent": "command", "candidates": ["light"],
    }  # fmt: skip
    config = {
        "plugins": ["crossgrade-example-dialect"],
        "models": models(cohere),
        "workloads": {"echo": workload},
    }
    (tmp_path / "crossgrade.yaml").write_text(json.dumps(config))
    rows = [json.dumps({"id": f"s{n}", "input": f"word {n}", "target": f"word {n}"}) for n in range(20)]
    (tmp_path / "echo.jsonl").write_text("\n".join(rows))
    done = run("evaluate", "echo", "--yes", cli=True, COHERE_API_KEY="sk-plugins-test")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(run("runs", "--json", cli=True).stdout)["runs"]
    assert float(found["spent_usd"]) == pytest.approx(40 * (7 * 2 + 3 * 4) / 1e6)


def test_the_gateway_translates_it(installed: Path, tmp_path: Path, cohere: str, monkeypatch) -> None:
    path = os.pathsep.join([str(installed), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    config = {
        "plugins": ["crossgrade-example-dialect", "crossgrade-example-host"],
        "models": models(cohere),
        "routes": {"echo": {"incumbent": "command"}},
        "serve": {"workers": 1},
    }
    with serving(tmp_path, config, environ={"COHERE_API_KEY": "sk-plugins-test"}) as served:
        whole = json.loads(ask(served.url, served.key, stream=False))
        assert whole["choices"][0]["message"]["content"] == "hello there"
        assert whole["usage"]["prompt_tokens"] == 7
        events = [line for line in ask(served.url, served.key, stream=True).splitlines() if line]
        assert events[-1] == "data: [DONE]"
        pieces = [json.loads(each.removeprefix("data: "))["choices"] for each in events[:-1]]
        text = "".join(choice[0]["delta"].get("content") or "" for choice in pieces if choice)
        assert text == "hello there"
    settings = json.loads((tmp_path / ".crossgrade" / "serve" / "settings.json").read_text())
    assert settings["dialects"] == {"cohere": "crossgrade_example_dialect:COHERE"}
    assert [row["name"] for row in settings["hosts"]] == ["cohere"]

    # A worker on these settings imports the plugin's dialect, nothing of Gemini's, and no NumPy.
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from crossgrade.gateway._worker import Worker\n"
        "from crossgrade.gateway.settings import read_settings\n"
        "async def main():\n    Worker(read_settings(Path(sys.argv[1])))\n"
        "asyncio.run(main())\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / ".crossgrade" / "serve" / "settings.json")]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert "crossgrade_example_dialect" in loaded
    assert not {
        name
        for name in loaded
        if name.startswith(("crossgrade.dialects.gemini", "numpy", "crossgrade_example_host"))
    }


def ask(url: str, key: str, *, stream: bool) -> str:
    body = {"model": "echo", "stream": stream, "messages": [{"role": "user", "content": "Say hello there"}]}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()
