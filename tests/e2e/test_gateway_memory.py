"""Large bodies and slow peers in constant memory: what waits, waits on the disk or with its sender."""

import contextlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.gateway._served import Served, serving
from tests.e2e.certified import ask
from tests.e2e.raw_upstream import completion, event, json_answer
from tests.waiting import until

SIZE = 40 << 20
MOST_GROWN = 8 << 20
"""The benchmark holds the gateway to 5 MiB; this is what a busy test machine may add."""

TEXT = b"a" * (1 << 16)


class SlowUpstream:
    """Reads a request and sends its answer a piece at a time, with a pause between; counts what it read."""

    def __init__(self, *, pause_s: float = 0.0) -> None:
        self.pause_s = pause_s
        self.read = 0
        self.answer: list[bytes] = [json_answer(completion())]
        self.sent = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(4_096)
            head, _, rest = data.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            assert length is not None
            missing = int(length[1]) - len(rest)
            while missing:
                missing -= len(connection.recv(1 << 18))
                time.sleep(self.pause_s)
            self.read = int(length[1])
            for piece in self.answer:
                connection.sendall(piece)
                self.sent += len(piece)


@pytest.fixture(scope="module")
def upstream() -> Iterator[SlowUpstream]:
    made = SlowUpstream()
    yield made
    made.close()


@pytest.fixture(scope="module")
def gateway(upstream: SlowUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = {"provider": "openai-compatible", "model": "m", "base_url": upstream.base_url, "timeout_s": 60}
    config = {"models": {"gpt": model}, "routes": {"support": {"incumbent": "gpt", "attempts": 1}}}
    with serving(tmp_path_factory.mktemp("memory"), config) as served:
        for _ in range(20):
            assert ask(served, "support").status == 200
        send(served, pieces(1 << 21, first=True))
        yield served


@pytest.fixture(autouse=True)
def quick(upstream: SlowUpstream) -> None:
    upstream.pause_s, upstream.sent = 0.0, 0
    upstream.answer = [json_answer(completion())]


def pieces(size: int, *, first: bool) -> Iterator[bytes]:
    """Yield a body of about this size, its `model` first or last."""
    model = b'"model":"support"'
    yield b"{" + (model + b"," if first else b"") + b'"messages":[{"role":"user","content":"'
    for _ in range(size // len(TEXT)):
        yield TEXT
    yield b'"}]' + (b"" if first else b"," + model) + b"}"


def send(served: Served, body: Iterator[bytes], *, chunked: bool = False) -> int:
    """Send a body and return the status of the answer."""
    parts = list(body)
    framing = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % sum(map(len, parts))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\ncontent-type: application/json\r\n%b\r\n\r\n"
    with socket.create_connection(served.address, timeout=120) as connection:
        connection.sendall(head % (served.key.encode(), framing))
        for part in parts:
            connection.sendall(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        if chunked:
            connection.sendall(b"0\r\n\r\n")
        return int(connection.recv(65_536).split(b" ", 2)[1])


@contextlib.contextmanager
def grown(served: Served) -> Iterator[list[int]]:
    """Give a list that has in the end by how many bytes the worker's memory rose at its peak."""
    (worker,) = served.workers
    reset = Path(f"/proc/{worker}/clear_refs")
    if not os.access(reset, os.W_OK):
        pytest.skip("the peak of a process's memory cannot be reset here")
    reset.write_text("5")
    before, seen = _peak(worker), []
    yield seen
    seen.append(_peak(worker) - before)


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("first", [True, False])
def test_40_mb_pass_in_constant_memory(
    gateway: Served, upstream: SlowUpstream, first: bool, chunked: bool
) -> None:
    with grown(gateway) as seen:
        assert send(gateway, pieces(SIZE, first=first), chunked=chunked) == 200
    assert upstream.read >= SIZE
    assert seen[0] < MOST_GROWN
    assert list((gateway.folder / ".crossgrade").rglob("*spool*")) == []


def test_several_at_once_too(gateway: Served) -> None:
    statuses: list[int] = []
    clients = [
        threading.Thread(target=lambda: statuses.append(send(gateway, pieces(SIZE, first=False))))
        for _ in range(3)
    ]
    with grown(gateway) as seen:
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    assert statuses == [200] * 3
    assert seen[0] < 3 * MOST_GROWN


@pytest.mark.parametrize("first", [True, False])
def test_a_provider_that_reads_slowly_does_not_fill_memory(
    gateway: Served, upstream: SlowUpstream, first: bool
) -> None:
    upstream.pause_s = 0.005
    with grown(gateway) as seen:
        assert send(gateway, pieces(SIZE, first=first)) == 200
    assert seen[0] < MOST_GROWN


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_reads_slowly_holds_the_provider_back(
    gateway: Served, upstream: SlowUpstream, stream: bool
) -> None:
    """The answer is read on as the client takes it, and arrives whole."""
    if stream:
        words = event(content="word " * 2_000)
        upstream.answer = [b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"]
        upstream.answer += [words] * (SIZE // len(words))
        upstream.answer += [event(finish="stop"), b"data: [DONE]\n\n"]
    else:
        whole = json_answer(completion("b" * SIZE))
        upstream.answer = [whole[at : at + 65_536] for at in range(0, len(whole), 65_536)]
    body = json.dumps({"model": "support", "messages": [{"role": "user", "content": "x"}], "stream": stream})
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {gateway.key}\r\n"
        f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with grown(gateway) as seen, socket.create_connection(gateway.address, timeout=60) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall((head + body).encode())
        received = len(connection.recv(1 << 16))
        time.sleep(0.5)
        assert upstream.sent < SIZE / 2, "the provider is held back while nobody reads"
        while more := connection.recv(1 << 18):
            received += len(more)
            tail = more
    assert received > SIZE * 0.99
    # A whole answer is kept, to know its cost before its head is sent, until it is too large for that;
    # what was kept then goes through the client's and the loop's buffers.
    assert seen[0] < (MOST_GROWN if stream else 4 * MOST_GROWN) < SIZE
    if stream:
        assert b"[DONE]" in tail
    until(lambda: ask_is_served(gateway, upstream))


def ask_is_served(served: Served, upstream: SlowUpstream) -> bool:
    upstream.answer = [json_answer(completion())]
    return ask(served, "support").status == 200
