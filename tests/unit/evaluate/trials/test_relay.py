"""The relay between a sandbox and the gateway: what it passes on, counts and refuses."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import anyio
import anyio.to_thread
import pytest

from crossgrade.evaluate import _trial_relay
from crossgrade.evaluate._trial_relay import TrialRelay

pytestmark = pytest.mark.anyio
RUN = "task.0001"


class _Echo(BaseHTTPRequestHandler):
    """Answers with the length of the body, which may come in chunks."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding"):
            size = 0
            while (length := int(self.rfile.readline().split(b";")[0], 16)) > 0:
                size += len(self.rfile.read(length))
                self.rfile.readline()
            self.rfile.readline()
        else:
            size = len(self.rfile.read(int(self.headers.get("content-length", 0))))
        body = json.dumps({"path": self.path, "size": size}).encode()
        self.send_response(404 if self.path.endswith("unknown") else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _upstream() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


async def _said(folder: Path, *requests: bytes, **fields: object) -> tuple[TrialRelay, bytes]:
    """Send requests on one connection through a relay; return it, and all that was answered."""
    with _upstream() as port:
        relay = TrialRelay(run_id=RUN, prefix=f"/run/{RUN}/", host="127.0.0.1", port=port, **fields)  # type: ignore[arg-type]
        path = folder / "s"
        async with relay.listening(path):
            answer = await anyio.to_thread.run_sync(_talk, path, requests)
    return relay, answer


def _talk(path: Path, requests: tuple[bytes, ...]) -> bytes:
    said = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        for request in requests:
            try:
                client.sendall(request)
                while (data := client.recv(65536)) and not (said := said + data).endswith(b"}"):
                    pass
            except OSError:
                break
            if not data:
                break
    return said


def _post(body: bytes = b"{}", path: str = f"/run/{RUN}/v1/chat/completions", head: str = "") -> bytes:
    lines = f"POST {path} HTTP/1.1\r\nhost: x\r\n{head or f'content-length: {len(body)}'}\r\n\r\n"
    return lines.encode() + body


async def test_requests_of_the_run_pass_and_calls_are_counted(tmp_path: Path) -> None:
    get = f"GET /run/{RUN}/v1/models HTTP/1.1\r\nhost: x\r\n\r\n".encode()
    relay, said = await _said(tmp_path, _post(b"x" * 1000), get, _post(b"y" * 200_000))
    assert said.count(b"200 OK") == 3
    assert b'"size": 200000' in said
    assert (relay.calls, relay.refused) == (2, 0)


async def test_a_body_in_chunks_passes(tmp_path: Path) -> None:
    body = b"5\r\nhello\r\n3;x=y\r\nyou\r\n0\r\n\r\n"
    relay, said = await _said(tmp_path, _post(body, head="transfer-encoding: chunked"), _post())
    assert b'"size": 8' in said
    assert said.count(b"200 OK") == 2
    assert relay.calls == 2


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (_post(path="/v1/chat/completions"), 403),
        (_post(path="/run/other/v1/chat/completions"), 403),
        (_post(path=f"http://x/run/{RUN}/v1"), 403),
        (_post(head="content-length: 2\r\ncontent-length: 3"), 400),
        (_post(head="content-length: 2\r\ntransfer-encoding: chunked"), 400),
        (_post(head="transfer-encoding: gzip, chunked"), 400),
        (_post(head="content-length: -1"), 400),
        (_post(head="content-length: 2\nx-crossgrade-run: other"), 400),
        (_post(head="content-length : 2"), 400),
        (_post(b"zz\r\n", head="transfer-encoding: chunked"), 400),
        (_post(b"0\r\nx: y\r\n\r\n", head="transfer-encoding: chunked"), 400),
        (_post(head="x: " + "y" * 70_000), 431),
    ],
)
async def test_anything_else_is_refused(tmp_path: Path, request_bytes: bytes, status: int) -> None:
    _, said = await _said(tmp_path, request_bytes)
    assert f" {status} ".encode() in said
    assert b"200 OK" not in said


async def test_no_more_calls_pass_than_the_trial_may_make(tmp_path: Path) -> None:
    relay, said = await _said(tmp_path, _post(), _post(), _post(), most_calls=2)
    assert said.count(b"200 OK") == 2
    assert b"trial-limit-spent" in said
    assert (relay.calls, relay.refused, relay.closed) == (2, 1, "calls")


async def test_what_the_gateway_turned_down_is_no_call_of_a_model(tmp_path: Path) -> None:
    relay, said = await _said(tmp_path, _post(path=f"/run/{RUN}/unknown"), _post())
    assert b" 404 " in said
    assert b" 200 " in said
    assert (relay.calls, relay.rejected) == (2, 1)


async def test_a_closed_relay_refuses(tmp_path: Path) -> None:
    relay, said = await _said(tmp_path, _post(), closed="usd")
    assert b" 429 " in said
    assert (relay.calls, relay.refused) == (0, 1)


async def test_more_connections_than_a_trial_may_have_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_trial_relay, "MOST_CONNECTIONS", 2)
    with _upstream() as port:
        relay = TrialRelay(run_id=RUN, prefix=f"/run/{RUN}/", host="127.0.0.1", port=port)
        async with relay.listening(tmp_path / "s"):
            await anyio.to_thread.run_sync(_talk_behind_others, tmp_path / "s")
    assert relay.calls == 1


def _talk_behind_others(path: Path) -> None:
    idle = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    with socket.socket(socket.AF_UNIX) as client:
        for each in (*idle, client):
            each.connect(str(path))
        client.sendall(_post())
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        for each in idle:
            each.close()
        client.settimeout(10)
        assert b"200 OK" in client.recv(65536)


async def test_a_call_waits_for_room_and_for_the_answer_before_it(tmp_path: Path) -> None:
    seen = []

    def has_room() -> bool:
        seen.append(relay.calls)
        return len(seen) > 2

    with _upstream() as port:
        relay = TrialRelay(run_id=RUN, prefix=f"/run/{RUN}/", host="127.0.0.1", port=port, has_room=has_room)
        async with relay.listening(tmp_path / "s"):
            await anyio.to_thread.run_sync(_talk_at_once, tmp_path / "s")
    assert seen == [0, 0, 0, 1]
    assert relay.calls == 2


def _talk_at_once(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.settimeout(10)
        client.sendall(_post() + _post())
        said = b""
        while said.count(b"200 OK") < 2:
            said += client.recv(65536)


class _Stream(_Echo):
    """Answers in chunks, of which the last ones wait until the client of the relay is gone."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(200):
            self.wfile.write(b"5\r\nhello\r\n")
            if not number:
                self.server.left.wait(10)  # type: ignore[attr-defined]
        self.wfile.write(b"0\r\n\r\n")
        self.connection.settimeout(10)
        self.server.after = self.connection.recv(1)  # type: ignore[attr-defined]
        self.server.ended.set()  # type: ignore[attr-defined]


async def test_an_answer_is_read_to_its_end_without_its_client(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Stream) as server:
        server.daemon_threads = True
        server.left, server.ended = Event(), Event()  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, daemon=True).start()
        relay = TrialRelay(run_id=RUN, prefix=f"/run/{RUN}/", host="127.0.0.1", port=server.server_address[1])
        async with relay.listening(tmp_path / "s"):
            await anyio.to_thread.run_sync(_leave, tmp_path / "s", server.left)  # type: ignore[attr-defined]
            assert await anyio.to_thread.run_sync(server.ended.wait, 10)  # type: ignore[attr-defined]
        assert server.after == b"", "nothing broke before the end, which ended the connection"  # type: ignore[attr-defined]
        server.shutdown()


def _leave(path: Path, left: Event) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(_post())
        said = b""
        while b"hello" not in said:
            said += client.recv(65536)
    left.set()


async def test_no_call_begins_once_the_agent_has_ended(tmp_path: Path) -> None:
    with _upstream() as port:
        relay = TrialRelay(
            run_id=RUN, prefix=f"/run/{RUN}/", host="127.0.0.1", port=port, has_room=lambda: False
        )
        async with relay.listening(tmp_path / "s"), anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, _talk, tmp_path / "s", (_post(),))
            await anyio.sleep(0.05)
            relay.is_over = True
    assert relay.calls == 0
