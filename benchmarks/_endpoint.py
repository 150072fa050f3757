"""An OpenAI-compatible endpoint that answers "yes" at once: `python -m benchmarks._endpoint`.

It prints its port, counts every request by model and last message, and answers any GET with the
counts so far. It ends when its standard input is closed.
"""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, cast
from urllib.request import urlopen

_COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "bench",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 13},
}


def _response(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


_YES = _response(json.dumps(_COMPLETION).encode())


class Endpoint(asyncio.Protocol):
    """One connection; `delay_s` holds every answer back."""

    counts: ClassVar[Counter[str]] = Counter()
    delay_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            _, _, length = head.partition(b"content-length:")
            size = int(length.split(b"\r\n", 1)[0]) if length else 0
            if len(self._buffer) < end + 4 + size:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + size], self._buffer[end + 4 + size :]
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        if not body:
            self._transport.write(_response(json.dumps(self.counts).encode()))
            return
        request = json.loads(body)
        if "messages" not in request:
            self._transport.close()  # not chat completions: a client of another API is a mistake
            return
        self.counts[f"{request['model']} {request['messages'][-1]['content']}"] += 1
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, self._transport.write, _YES)
        else:
            self._transport.write(_YES)


async def _serve(delay_s: float) -> None:
    Endpoint.delay_s = delay_s
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Endpoint, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@contextmanager
def endpoint(delay_s: float = 0.0) -> Iterator[str]:
    """Run an endpoint in a process of its own; yields its base URL."""
    command = [sys.executable, "-m", "benchmarks._endpoint", str(delay_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        assert process.stdin is not None
        process.stdin.close()


def counts(base_url: str) -> dict[str, int]:
    """How often each request has come so far."""
    with urlopen(base_url) as answer:
        return json.load(answer)


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0))
