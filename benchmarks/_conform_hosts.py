"""Hosts of local models with planted faults: a llama.cpp server, and a proxy before it that does one thing wrong."""

import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY = "local"
_TIMEOUT_S = 600.0

Body = dict[str, Any]


@dataclass(frozen=True)
class LocalHost:
    """A server of one GGUF file on loopback, which takes the key `KEY`."""

    base_url: str


@contextmanager
def local_host(path: Path, *, context_tokens: int = 2048) -> Iterator[LocalHost]:
    """Serve a GGUF file with llama.cpp on one thread, one request at a time and without a prompt cache."""
    order = {
        "path": str(path),
        "adapter": None,
        "api_key": KEY,
        "alias": "model",
        "port": 0,
        "threads": 1,
        "slots": 1,
        "context_tokens": context_tokens,
        "cache_prompt": False,
    }
    with subprocess.Popen(
        [sys.executable, "-m", "crossgrade.providers.local_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        ready = json.loads(process.stdout.readline())
        yield LocalHost(ready["base_url"].rstrip("/") + "/v1")
        process.stdin.close()


def dropping_tools(body: Body) -> Body:
    """Leave tools out of the prompt."""
    return {name: value for name, value in body.items() if name not in {"tools", "tool_choice"}}


def without_temperature(body: Body) -> Body:
    """Answer greedily, whatever was asked."""
    return {**body, "temperature": 0}


def cutting(characters: int) -> Callable[[Body], Body]:
    """Return the fault of reading only the end of each message, without a word."""

    def cut(body: Body) -> Body:
        messages = [{**each, "content": str(each["content"])[-characters:]} for each in body["messages"]]
        return {**body, "messages": messages}

    return cut


def with_wrong_template(body: Body) -> Body:
    """Write the conversation as another model's template would, as the text of one message."""
    lines = [f"### {each['role'].title()}:\n{each['content']}" for each in body["messages"]]
    prompt = "\n\n".join([*lines, "### Assistant:\n"])
    return {**body, "messages": [{"role": "user", "content": prompt}]}


@dataclass
class FaultyHost:
    """A proxy that changes each request by `fault` and sends it to `upstream`.

    Equal greedy requests have equal answers, so each is computed once. Others are drawn afresh, or, with
    `drawn`, once for all hosts that share it: the n-th answer of each to a request is then the same one.
    """

    upstream: str
    fault: Callable[[Body], Body] = lambda body: body
    greedy: dict[str, bytes] = field(default_factory=dict)
    drawn: dict[tuple[str, int], bytes] | None = None
    asked: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, body: Body) -> tuple[int, bytes]:
        """Return status and body of the answer to a request."""
        changed = json.dumps(self.fault(body), sort_keys=True)
        key = f"{path} {changed}"
        if json.loads(changed).get("temperature") == 0:
            return self._once(self.greedy, key, path, changed)
        if self.drawn is None:
            return self._send(path, changed)
        with self.lock:
            self.asked[key] += 1
            place = key, self.asked[key]
        return self._once(self.drawn, place, path, changed)

    def _once(self, kept: dict[Any, bytes], place: object, path: str, changed: str) -> tuple[int, bytes]:
        if place in kept:
            return 200, kept[place]
        status, said = self._send(path, changed)
        if status == 200:
            kept[place] = said
        return status, said

    def _send(self, path: str, changed: str) -> tuple[int, bytes]:
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(self.upstream.removesuffix("/v1") + path, changed.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:
                return 200, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


@contextmanager
def proxied(host: FaultyHost) -> Iterator[str]:
    """Run a faulty host; yield its base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body: Mapping[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, said = host.answer(self.path, dict(body))
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
