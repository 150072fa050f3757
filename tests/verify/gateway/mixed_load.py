"""A mixed load on a gateway, at a given rate, and what became of it."""

import asyncio
import contextlib
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_IN_FLIGHT = 256
PATIENCE_S = 30.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def _chat(kind: str, route: str = "good", *, size: int = 200, **fields: object) -> bytes:
    text = f"do-{kind} " + "x" * size
    return json.dumps({"model": route, "messages": [{"role": "user", "content": text}], **fields}).encode()


def _ended(status: int, body: bytes) -> bool:
    return status == 200 and body.rstrip().endswith(b"data: [DONE]")


def _broke_off(status: int, body: bytes) -> bool:
    return status in (502, 503) or (status == 200 and b'"error"' in body and b"[DONE]" not in body)


def _answered(status: int, body: bytes) -> bool:
    return status == 200 and b"eight words" in body


def _failed_well(status: int, body: bytes) -> bool:
    return status in (502, 503) and b'"error"' in body


@dataclass(frozen=True)
class Kind:
    """One sort of request: how often, its body, what its answer must be, and how its client leaves.

    `leaves` is "body" for a client that goes before its body is whole, "answer" for one that goes in
    the middle of the answer.
    """

    share: int
    body: bytes
    good: Callable[[int, bytes], bool]
    leaves: str | None = None


_TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
KINDS = {
    "json": Kind(50, _chat("json"), _answered),
    "long": Kind(8, _chat("json", size=60_000), _answered),
    "large": Kind(1, _chat("json", size=2 << 20), _answered),
    "tools": Kind(
        10, _chat("tools", tools=[_TOOL]), lambda status, body: status == 200 and b"weather" in body
    ),
    "stream": Kind(15, _chat("stream", stream=True), _ended),
    "leaves the stream": Kind(3, _chat("endless", stream=True), lambda status, _: status == 200, "answer"),
    "leaves the body": Kind(2, _chat("json"), lambda status, _: status == 0, "body"),
    "nonsense": Kind(3, b'{"model":"good","messages":[', lambda status, _: status == 400),
    "unknown route": Kind(2, _chat("json", "nobody"), lambda status, _: status == 404),
    "error": Kind(2, _chat("error", "bad"), _failed_well),
    "html": Kind(1, _chat("html", "bad"), _failed_well),
    "reset": Kind(1, _chat("reset", "bad"), _failed_well),
    "broken stream": Kind(2, _chat("broken", "bad", stream=True), _broke_off),
}

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Load:
    """A generator of load; `wrong` keeps some of the answers that should have been others."""

    address: tuple[str, int]
    key: str
    seed: int = 1
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    left_out: int = 0
    _idle: list[_Connection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    async def saturate(self, clients: int, seconds: float) -> float:
        """Ask as fast as answers come; return requests a second."""
        before, began = self.done.total(), time.monotonic()

        async def client() -> None:
            while time.monotonic() - began < seconds:
                await self._one(self._pick())

        await asyncio.gather(*(client() for _ in range(clients)))
        rate = (self.done.total() - before) / (time.monotonic() - began)
        await self._close()
        return rate

    async def keep(self, rate: float, seconds: float, most: int) -> None:
        """Ask at this rate whether or not answers come, at most so many requests in all."""
        began = time.monotonic()
        running: set[asyncio.Task[None]] = set()
        for number in range(min(most, int(rate * seconds))):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            if len(running) >= MOST_IN_FLIGHT:
                self.left_out += 1
                continue
            task = asyncio.create_task(self._one(self._pick()))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        await self._close()

    async def _close(self) -> None:
        for _, writer in self._idle:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        self._idle.clear()

    def _pick(self) -> str:
        return self._random.choices(list(KINDS), [kind.share for kind in KINDS.values()])[0]

    async def _one(self, name: str) -> None:
        kind = KINDS[name]
        try:
            async with asyncio.timeout(PATIENCE_S):
                status, body = await self._ask(kind)
        except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError) as error:
            status, body = -1, repr(error).encode()
        self.done[name] += 1
        if not kind.good(status, body) and len(self.wrong) < 20:
            self.wrong.append(f"{name}: {status} {body[-200:]!r}")

    async def _ask(self, kind: Kind) -> tuple[int, bytes]:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {self.key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(kind.body)}\r\n\r\n"
        ).encode()
        while self._idle and self._idle[-1][0].at_eof():
            self._idle.pop()[1].close()
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(*self.address)
        try:
            if kind.leaves == "body":
                writer.write(head + kind.body[: len(kind.body) // 2])
                await writer.drain()
                writer.transport.abort()
                return 0, b""
            writer.write(head + kind.body)
            await writer.drain()
            status, body = await _read(reader, until_leaving=kind.leaves == "answer")
        except BaseException:
            writer.transport.abort()
            raise
        if kind.leaves == "answer" or status in (400, 408, 413):
            writer.transport.abort()
        else:
            self._idle.append((reader, writer))
        return status, body


async def _read(reader: asyncio.StreamReader, *, until_leaving: bool) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    length = _LENGTH.search(head)
    if length is not None:
        return status, await reader.readexactly(int(length[1]))
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
        if until_leaving:
            return status, body
    await reader.readline()
    return status, body
