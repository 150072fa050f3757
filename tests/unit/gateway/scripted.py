"""Providers whose answers are bytes that a test writes."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from typing import Any

from crossgrade.gateway.settings import Target

KEY = "sk-provider-0123456789abcdef"
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
PAUSE = b"\0pause\0"
GO = threading.Event()


def _keeps(answer: bytes) -> bool:
    """Return whether a client may send its next request on the connection of an answer: it is whole."""
    head, end, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    return bool(end) and b"content-length: %d" % len(body) in lines and b"connection: close" not in lines


def _requests(connection: socket.socket) -> Iterator[bytes]:
    """Read whole requests until the client closes."""
    with connection.makefile("rb") as stream:
        while lines := list(takewhile(bytes.strip, iter(stream.readline, b""))):
            size = next(
                line.partition(b":")[2] for line in lines if line.lower().startswith(b"content-length:")
            )
            yield b"".join(lines) + b"\r\n" + stream.read(int(size))


@contextmanager
def scripted(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Answer with raw bytes, waiting for GO where PAUSE stands.

    It closes each connection after one answer, unless the answer tells the client that it may send more. A
    client that hears of the close only later would send there, and not repeat it.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []
    first, *others = answer.split(PAUSE)
    open_: list[tuple[socket.socket, threading.Thread]] = []

    def converse(connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            for request in _requests(connection):
                received.append(request)
                connection.sendall(answer)

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            if _keeps(answer):
                talk = threading.Thread(target=converse, args=(connection,), daemon=True)
                open_.append((connection, talk))
                talk.start()
                continue
            with connection:
                received.append(connection.recv(1 << 20))
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
        for connection, talk in open_:
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
            talk.join()


def raw_target(url: str, **fields: Any) -> Target:
    """Return the target `raw`, which asks what `scripted` serves."""
    given = {"dialect": "openai", "key_env": "KEY", "timeout_s": 5.0, **fields}
    return Target(name="raw", provider="x", base_url=url, model="m", **given)
