"""Slow writers and slow readers are bounded, whatever they drip; who makes progress is served."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from benchmarks.gateway._hostile import head, whole
from benchmarks.gateway._served import Served, metric, records, serving
from crossgrade.testing import FakeProvider, Reply
from tests.e2e.certified import ask
from tests.waiting import until

LIMIT_S = 1.0
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    long = Reply("word " * 400_000)
    with FakeProvider(lambda r: long if r.json.get("stream") else Reply("ok"), models=("m",)) as fake:
        config = {
            "models": {"gpt": {"provider": "openai-compatible", "model": "m", "base_url": fake.base_url}},
            "routes": {"support": {"incumbent": "gpt"}},
            "serve": {
                "head_timeout_s": LIMIT_S,
                "body_timeout_s": LIMIT_S,
                "idle_timeout_s": LIMIT_S,
                "max_connections": 40,
            },
        }
        with serving(tmp_path_factory.mktemp("slow"), config) as served:
            yield served


def drip(served: Served, first: bytes, rest: bytes, *, every_s: float) -> tuple[bytes, float]:
    """Send the rest a byte at a time until there is an answer; returns it, and after how many seconds."""
    began = time.monotonic()
    with socket.create_connection(served.address, timeout=PATIENCE_S) as connection:
        connection.sendall(first)
        connection.settimeout(every_s)
        for byte in rest:
            try:
                connection.sendall(bytes([byte]))
                if answer := connection.recv(65_536):
                    return answer, time.monotonic() - began
            except TimeoutError:
                pass
            except OSError:
                break
            assert time.monotonic() - began < PATIENCE_S
        connection.settimeout(PATIENCE_S)
        return connection.recv(65_536), time.monotonic() - began


def test_a_dripping_head_is_cut(gateway: Served) -> None:
    answer, after_s = drip(
        gateway, b"POST /v1/chat", b"/completions HTTP/1.1\r\n" + b"x-a: b\r\n" * 99, every_s=0.1
    )
    assert answer.startswith(b"HTTP/1.1 408"), answer[:200]
    assert after_s < PATIENCE_S / 2
    assert ask(gateway, "support").status == 200


def test_a_dripping_body_is_cut(gateway: Served) -> None:
    request = whole(key=gateway.key)
    answer, after_s = drip(gateway, request[:-60], request[-60:], every_s=0.2)
    assert answer.startswith(b"HTTP/1.1 408"), answer[:200]
    assert after_s < PATIENCE_S / 2
    assert ask(gateway, "support").status == 200


def test_a_dripping_large_body_is_cut_and_its_call_with_it(gateway: Served) -> None:
    """Its model is known from the beginning, so the provider may have been called already."""
    start = b'{"model":"support","messages":[{"role":"user","content":"' + b"a" * (2 << 20)
    first = head(gateway.key, length=8 << 20) + start
    answer, after_s = drip(gateway, first, b"a" * 200, every_s=0.2)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408"), answer[:200]
    assert after_s < PATIENCE_S / 2
    assert ask(gateway, "support").status == 200


def test_a_large_body_that_makes_progress_may_take_longer_than_the_limit(gateway: Served) -> None:
    start = b'{"model":"support","messages":[{"role":"user","content":"'
    piece, end, count = b"a" * (1 << 19), b'"}]}', 8
    length = len(start) + count * len(piece) + len(end)
    began = time.monotonic()
    with socket.create_connection(gateway.address, timeout=PATIENCE_S) as connection:
        connection.sendall(head(gateway.key, length=length) + start)
        for _ in range(count):
            connection.sendall(piece)
            time.sleep(LIMIT_S / 4)
        connection.sendall(end)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
    assert time.monotonic() - began > 1.5 * LIMIT_S


def test_a_reader_that_stops_is_cut_and_recorded(gateway: Served) -> None:
    before = {record["id"] for record in records(gateway)}
    with socket.create_connection(gateway.address, timeout=PATIENCE_S) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        body = {"model": "support", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        connection.sendall(whole(body, gateway.key))
        until(
            lambda: any(
                each["id"] not in before and each.get("error") == "client_gone" for each in records(gateway)
            )
        )
    assert ask(gateway, "support").status == 200


def test_idle_connections_are_closed_and_shut_nobody_out(gateway: Served) -> None:
    idle = [socket.create_connection(gateway.address, timeout=PATIENCE_S) for _ in range(60)]
    assert ask(gateway, "support").status == 200
    for connection in idle:
        with connection, suppress(ConnectionError):  # those that made room were reset
            connection.recv(4_096)
    until(lambda: metric(gateway, "crossgrade_gateway_connections") <= 2)
