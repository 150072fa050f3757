"""An upstream that answers with exactly the bytes it is told, by the text of the user's message."""

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

Pieces = Sequence[bytes | float]
"""What is sent: bytes, and pauses in seconds; the connection is closed at the end."""


class RawUpstream:
    """Serves one canned answer a connection; `script` maps a user's message to the pieces of its answer."""

    def __init__(self, script: Mapping[str, Pieces]) -> None:
        self._script = script
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.requests: list[bytes] = []
        self.cut_short: list[str] = []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            request = _read(connection)
            if not request:
                return
            self.requests.append(request)
            asked = json.loads(request.partition(b"\r\n\r\n")[2])["messages"][-1]["content"]
            try:
                for piece in self._script[asked]:
                    if isinstance(piece, bytes):
                        connection.sendall(piece)
                    else:
                        time.sleep(piece)
            except OSError:
                self.cut_short.append(asked)


def _read(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65_536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    missing = int(length[1]) - len(body) if length else 0
    while missing > 0:
        more = connection.recv(65_536)
        data += more
        missing -= len(more)
    return data


def json_answer(body: object, *headers: str, status: str = "200 OK", closes: bool = True) -> bytes:
    """Build a whole JSON answer. One with `closes` says that the upstream then closes, which it always does."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(data)}", *headers]
    lines += ["Connection: close"] if closes else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + data


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def event(**delta: object) -> bytes:
    """Build one event of a chat completion's stream."""
    return b"data: " + json.dumps(chunk(**delta)).encode() + b"\n\n"


def chunk(*, finish: str | None = None, usage: object = None, **delta: object) -> dict[str, object]:
    """Build one chunk of a chat completion."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    more = {} if usage is None else {"usage": usage}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **more,
    }


def completion(text: str = "Hello there", **fields: object) -> dict[str, object]:
    """Build a whole chat completion."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
        **fields,
    }
