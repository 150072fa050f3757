"""The way from one trial's sandbox to the gateway: it counts calls, and lets nothing else through.

An agent cannot be trusted to say which run it is, and which model it may ask, so every request must name the
trial's own. Requests are passed on unchanged. What cannot be told apart safely, such as two lengths of one
body, is refused.
"""

import re
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio
import msgspec
from anyio.abc import ByteStream, SocketAttribute, SocketListener, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

MOST_CONNECTIONS = 64
"""The number of connections that a trial may have at once. Further ones wait."""

_LOOK_S, _TURN_S = 0.25, 0.01
_MOST_HEAD_BYTES = 64 << 10
_BLOCK = 64 << 10
_MOST_BODY_BYTES = 32 << 20
_BREAKS = (
    OSError,
    anyio.EndOfStream,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.IncompleteRead,
)
_LAST_CHUNK = b"0\r\n\r\n"
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,8}(?:;[^\r\n]{0,256})?")


class _RefusedError(Exception):
    """A request that is not passed on."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(slots=True)
class _Pair:
    """A connection from the sandbox and its one to the gateway.

    `awaits_answer` says that a call waits for its answer, and `is_open` that an answer without a stated
    length has begun and not ended.
    """

    client: ByteStream
    upstream: ByteStream
    awaits_answer: bool = False
    is_open: bool = False


@dataclass(slots=True, kw_only=True)
class TrialRelay:
    """The relay of one trial to a gateway at a host and port, for paths that begin with `prefix`.

    `calls` were passed on, at most `most_calls` (None: any number). Of these, `rejected` were turned down by
    the gateway or never whole: they reached no model, and need have no record. Once `closed` names a limit
    that is spent, further calls are refused, and `refused` counts them. `is_down` says that the gateway did
    not take the newest connection. A call waits until `has_room` lets it begin beside those in flight.
    With `weigh` the body of a call is read before the call is passed on, which its path and body may forbid.
    Once `is_over`, no further call begins. An answer that has begun is read to its end, also if the agent is
    gone: what is cut off has no known cost.
    """

    run_id: str
    prefix: str
    host: str
    port: int
    most_calls: int | None = None
    calls: int = 0
    rejected: int = 0
    refused: int = 0
    closed: str = ""
    is_down: bool = False
    has_room: Callable[[], bool] = lambda: True
    weigh: Callable[[str, bytes], bool] | None = None
    is_over: bool = False

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[None]:
        """Serve connections to a unix socket inside the block."""
        listener = await anyio.create_unix_listener(path)
        async with listener, anyio.create_task_group() as group:
            group.start_soon(self._accept, listener)
            try:
                yield
            finally:
                group.cancel_scope.cancel()

    async def _accept(self, listener: SocketListener) -> None:
        """Serve connections. An agent that opens many would take the open files of the whole run."""
        places = anyio.Semaphore(MOST_CONNECTIONS)
        async with anyio.create_task_group() as group:
            while True:
                await places.acquire()
                group.start_soon(self._serve, await listener.accept(), places)

    async def _serve(self, client: SocketStream, places: anyio.Semaphore) -> None:
        try:
            await self._relay(client)
        finally:
            places.release()

    async def _relay(self, client: SocketStream) -> None:
        async with client:
            with suppress(*_BREAKS):
                upstream = await self._connected()
                # A closed connection is reset: a gateway goes on for a client that only ended its own side.
                connected = upstream.extra(SocketAttribute.raw_socket)  # noqa: S610 - of anyio
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                async with upstream, anyio.create_task_group() as group:
                    pair = _Pair(client, upstream)
                    group.start_soon(self._answer, pair, group.cancel_scope)
                    try:
                        await self._pass_requests(pair)
                    except _RefusedError as refused:
                        await client.send(_refusal(refused))
                        group.cancel_scope.cancel()
                    except _BREAKS:
                        await self._see_through(pair)
                        with suppress(*_BREAKS):
                            await upstream.send_eof()

    async def _connected(self) -> SocketStream:
        try:
            upstream = await anyio.connect_tcp(self.host, self.port)
        except OSError:
            self.is_down = True
            raise
        self.is_down = False
        return upstream

    async def _see_through(self, pair: "_Pair") -> None:
        """Wait for the end of an answer whose client has gone: the gateway would give it up."""
        while pair.awaits_answer or pair.is_open:  # noqa: ASYNC110
            await anyio.sleep(_LOOK_S)

    async def _answer(self, pair: "_Pair", scope: anyio.CancelScope) -> None:
        """Pass everything that the gateway answers on, until it ends the connection.

        What no client takes any more is read all the same.
        """
        is_heard, tail = True, b""
        with suppress(*_BREAKS):
            while True:
                data = await pair.upstream.receive()
                tail = (tail + data)[-len(_LAST_CHUNK) :]
                status = data[9:12]
                if pair.awaits_answer and data.startswith(b"HTTP/1.") and not status.startswith(b"1"):
                    pair.awaits_answer = False
                    pair.is_open = b"\r\ncontent-length:" not in data.partition(b"\r\n\r\n")[0].lower()
                    self.rejected += status.startswith(b"4") and status != b"429"
                pair.is_open &= tail != _LAST_CHUNK
                if is_heard:
                    try:
                        await pair.client.send(data)
                    except _BREAKS:
                        is_heard = False
        scope.cancel()

    async def _pass_requests(self, pair: "_Pair") -> None:
        client, upstream = BufferedByteReceiveStream(pair.client), pair.upstream
        while True:
            try:
                head = await client.receive_until(b"\r\n\r\n", _MOST_HEAD_BYTES)
            except anyio.DelimiterNotFound:
                raise _RefusedError(431, "head-too-long", "the head of the request is too long") from None
            is_call, is_whole = head.startswith(b"POST "), False
            # An answer is told apart by its first bytes, so the next call waits until they are there.
            while is_call and not self.closed and (pair.awaits_answer or not self.has_room()):
                await anyio.sleep(_LOOK_S if not pair.awaits_answer else _TURN_S)
                if self.is_over:
                    raise anyio.EndOfStream
            length = self._admitted(head)
            pair.awaits_answer = is_call
            try:
                if is_call and self.weigh is not None:
                    await upstream.send(head + b"\r\n\r\n" + await self._weighed(client, head, length))
                else:
                    await upstream.send(head + b"\r\n\r\n")
                    await _pass_body(client, upstream, length)
                is_whole = True
            finally:
                if is_call and not is_whole and pair.awaits_answer:
                    pair.awaits_answer = False
                    self.rejected += 1

    async def _weighed(self, client: BufferedByteReceiveStream, head: bytes, length: int | None) -> bytes:
        """Return the body of a call as it was sent. Raises `_RefusedError` if it may not be passed on."""
        assert self.weigh is not None
        kept = _Kept()
        await _pass_body(client, kept, length)
        path = head.split(b" ", 2)[1].decode("latin-1").partition("?")[0]
        if not self.weigh(path, _content(kept.data) if length is None else bytes(kept.data)):
            self.closed = self.closed or "budget"
            self.refused += 1
            raise _RefusedError(429, "budget-spent", "the run has no dollars left for a call like this")
        return bytes(kept.data)

    def _admitted(self, head: bytes) -> int | None:
        """Count a request and return the length of its body, None if it comes in chunks."""
        line, *fields = head.split(b"\r\n")
        method, _, rest = line.decode("latin-1").partition(" ")
        target = rest.partition(" ")[0]
        if not target.startswith(self.prefix):
            raise _RefusedError(403, "run-not-own", f"every path of this trial begins with {self.prefix}")
        length = _body_length(fields)
        if method != "POST":
            return length
        if self.most_calls is not None and self.calls >= self.most_calls:
            self.closed = self.closed or "calls"
        if self.closed:
            self.refused += 1
            message = f"the trial's limit of {self.closed} is spent"
            raise _RefusedError(429, "trial-limit-spent", message)
        self.calls += 1
        return length


def _body_length(fields: list[bytes]) -> int | None:
    """Return the length of a body by its header fields, None if it comes in chunks."""
    lengths, codings = [], []
    for each in fields:
        name, separator, value = each.partition(b":")
        if not separator or name != name.strip() or b"\n" in each or b"\r" in each:
            raise _RefusedError(400, "head-malformed", "a header field is malformed")
        if name.lower() == b"content-length":
            lengths.append(value.strip())
        elif name.lower() == b"transfer-encoding":
            codings.append(value.strip().lower())
    if codings:
        if lengths or codings != [b"chunked"]:
            raise _RefusedError(400, "body-ambiguous", "the body's length is stated twice, or not plainly")
        return None
    if len(lengths) > 1 or not all(each.isdigit() and len(each) < 12 for each in lengths):
        raise _RefusedError(400, "body-ambiguous", "the body's length is stated twice, or not plainly")
    return int(lengths[0]) if lengths else 0


class _Sink(Protocol):
    """Takes what a body consists of."""

    async def send(self, item: bytes) -> None:
        """Take the next bytes."""


class _Kept:
    """Keeps a body, up to a size that no API takes."""

    def __init__(self) -> None:
        self.data = bytearray()

    async def send(self, item: bytes) -> None:
        """Keep the next bytes. Raises `_RefusedError` once they are too many."""
        self.data += item
        if len(self.data) > _MOST_BODY_BYTES:
            raise _RefusedError(413, "body-too-long", "the body of the request is too long")


def _content(body: bytes | bytearray) -> bytes:
    """Return what a body in chunks, which has passed `_pass_chunks`, says."""
    found, at = list[bytes](), 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(bytes(body[at:end]).partition(b";")[0], 16)
        if not size:
            return b"".join(found)
        found.append(bytes(body[end + 2 : end + 2 + size]))
        at = end + 4 + size


async def _pass_body(client: BufferedByteReceiveStream, upstream: _Sink, length: int | None) -> None:
    if length is None:
        await _pass_chunks(client, upstream)
    else:
        await _pass_bytes(client, upstream, length)


async def _pass_bytes(client: BufferedByteReceiveStream, upstream: _Sink, length: int) -> None:
    while length > 0:
        data = await client.receive(min(length, _BLOCK))
        length -= len(data)
        await upstream.send(data)


async def _pass_chunks(client: BufferedByteReceiveStream, upstream: _Sink) -> None:
    """Pass a body in chunks on. Trailers are refused: nobody sends them."""
    while True:
        line = await client.receive_until(b"\r\n", 512)
        if _CHUNK.fullmatch(line) is None:
            raise _RefusedError(400, "chunk-malformed", "a chunk of the body is malformed")
        size = int(line.partition(b";")[0], 16)
        data = await client.receive_exactly(2) if size == 0 else b""
        if data not in (b"", b"\r\n"):
            raise _RefusedError(400, "chunk-malformed", "a body in chunks has trailers")
        await upstream.send(line + b"\r\n" + data)
        if size == 0:
            return
        await _pass_bytes(client, upstream, size)
        end = await client.receive_exactly(2)
        if end != b"\r\n":
            raise _RefusedError(400, "chunk-malformed", "a chunk of the body is malformed")
        await upstream.send(end)


def _refusal(refused: _RefusedError) -> bytes:
    error = {"message": str(refused), "type": "crossgrade", "code": refused.code}
    body = msgspec.json.encode({"error": error})
    head = (
        f"HTTP/1.1 {refused.status} Refused\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
