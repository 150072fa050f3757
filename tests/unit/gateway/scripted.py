"""Providers whose answers are bytes that a test writes."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crossgrade.gateway.settings import Target

KEY = "sk-provider-0123456789abcdef"
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
PAUSE = b"\0pause\0"
GO = threading.Event()


@contextmanager
def scripted(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Serve raw bytes to every connection, waiting for GO where PAUSE stands; then close."""
    listening = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                received.append(connection.recv(1 << 20))
                first, *others = answer.split(PAUSE)
                connection.sendall(first)
                for piece in others:
                    assert GO.wait(10)
                    connection.sendall(piece)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1", received
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def raw_target(url: str, **fields: Any) -> Target:
    """Return the target `raw`, which asks what `scripted` serves."""
    given = {"dialect": "openai", "key_env": "KEY", "timeout_s": 1.0, **fields}
    return Target(name="raw", provider="x", base_url=url, model="m", **given)
