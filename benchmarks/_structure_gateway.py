"""One request through a worker of the gateway; client, provider and worker share an event loop."""

import asyncio
import json
import tempfile
from datetime import UTC, datetime

from benchmarks._structure import files_entered
from crossgrade.domain import Limit, Price, RouteSpec, Serving
from crossgrade.gateway import Ask, GatewaySettings, Grant, Target
from crossgrade.gateway._worker import Worker, _listen
from crossgrade.identity import KeyRecord, Keyring, KeySecret, new_key

_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "big-1",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
    }
).encode()
_BODY = json.dumps({"model": "support", "messages": [{"role": "user", "content": "hello"}]}).encode()


def files_entered_by_a_request() -> frozenset[str]:
    """Return the files that a worker enters for one request on a connection that has had three.

    The request has a key and counts against a limit; its answer is JSON and has a price.
    """
    loop = asyncio.new_event_loop()
    try:
        with tempfile.TemporaryDirectory() as folder:
            provider = loop.run_until_complete(asyncio.start_server(_answer, "127.0.0.1", 0))
            broker = loop.run_until_complete(asyncio.start_unix_server(_say_nothing, f"{folder}/broker.sock"))
            port = provider.sockets[0].getsockname()[1]
            client = loop.run_until_complete(_start(folder, port))
            for _ in range(3):
                loop.run_until_complete(client.ask())
            entered = files_entered(lambda: loop.run_until_complete(client.ask()))
            provider.close()
            broker.close()
            loop.run_until_complete(client.stop())
    finally:
        loop.close()
    return entered


async def _start(folder: str, provider: int) -> "_Client":
    target = Target(
        name="big",
        provider="openai-compatible",
        dialect="openai",
        base_url=f"http://127.0.0.1:{provider}",
        model="big-1",
        price=Price(input_per_mtok=1, output_per_mtok=2),
    )
    settings = GatewaySettings(
        serving=Serving(port=0, limits=(Limit(scope="route", unit="requests", window_s=86_400, cap=1e6),)),
        routes=(RouteSpec(name="support", incumbent="big"),),
        targets=(target,),
        state=folder,
        broker=f"{folder}/broker.sock",
    )
    worker = Worker(settings, environ={}, sweep_s=3600.0)
    key, now = new_key(), datetime.now(UTC)
    secret = KeySecret(digest=key.digest, created_at=now)
    await worker.start(_listen("127.0.0.1", 0))
    worker.gateway.callers.keys = Keyring(
        [KeyRecord(id=key.id, name="app", secrets=(secret,), created_at=now)]
    )
    worker.limits.send = lambda ask: _grant(worker, ask)
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
    return _Client(worker, reader, writer, key.text)


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be a broker that is connected, so that the worker does not look for one."""
    while await reader.read(65_536):
        pass
    writer.close()


def _grant(worker: Worker, ask: Ask) -> bool:
    """Grant at once what a broker would."""
    asyncio.get_running_loop().call_soon(worker.limits.granted, Grant(ask.lease, ask.cap))
    return True


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_ANSWER)
    try:
        while True:
            await reader.readexactly(_length(await reader.readuntil(b"\r\n\r\n")))
            writer.write(head + _ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


class _Client:
    def __init__(
        self, worker: Worker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str
    ) -> None:
        self.worker = worker
        self._reader = reader
        self._writer = writer
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n"
        self._request = head.format(key, len(_BODY)).encode() + _BODY

    async def ask(self) -> None:
        """Send the request and read its answer."""
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        body = await self._reader.readexactly(_length(head))
        if not head.startswith(b"HTTP/1.1 200") or b"x-crossgrade-cost-usd" not in head:
            raise RuntimeError(f"the request failed: {body.decode()[:300]}")

    async def stop(self) -> None:
        """Close every connection, and let what served them end."""
        self._writer.close()
        await self.worker.stop(1.0)
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=1.0)
