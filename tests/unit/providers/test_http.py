"""Raw bytes of odd, old and hostile servers, over real connections."""

import asyncio
import gzip
import socket
import threading
import zlib
from collections.abc import Callable

import pytest

from crossgrade.domain import ModelAnswer, ModelRequest, Offer
from crossgrade.errors import ProviderError, UpstreamError
from crossgrade.providers import open_hosted

BODY = b'{"choices":[{"message":{"content":"h\xc3\xa9llo"},"finish_reason":"stop"}]}'
JSON = b"content-type: application/json\r\n"
EVENTS = (
    b'data: {"choices":[{"delta":{"content":"h\xc3\xa9l"}}]}\r\n\r\n'
    b': ping\r\n\r\ndata: {"choices":[{"delta":{"content":"lo"},"finish_reason":"stop"}]}\r\n\r\n'
    b"data: [DONE]\r\n\r\ndata: [DONE]\r\n\r\ndata: after the end\r\n\r\n"
)
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


Found = ModelAnswer | ProviderError
Talk = Callable[..., tuple[list[Found], int]]


def sized(body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + JSON + more + b"content-length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


class RawServer:
    """Answers every request with the same bytes, in pieces of `cut`, and perhaps hangs up.

    `later` is sent when the client has its answer, unasked.
    """

    def __init__(self, raw: bytes, *, cut: int = 0, close: bool = False, later: bytes = b"") -> None:
        step = cut or max(1, len(raw))
        self.pieces = [raw[at : at + step] for at in range(0, len(raw), step)]
        self.close = close
        self.later = later
        self.connections = 0
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                self.heads.append(head)
                await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
                for piece in self.pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if self.close:
                    break
                if self.later:
                    await asyncio.sleep(0.01)
                    writer.write(self.later)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async def ask(self, request: ModelRequest, *, stream: bool, times: int) -> list[Found]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        offer = Offer(name="raw", provider="openai-compatible", model="m", base_url=url, timeout_s=30)
        found: list[Found] = []
        async with open_hosted(offer, environ={}, measure_ttft=stream, largest=2**20) as provider:
            for _ in range(times):
                try:
                    found.append(await provider.ask(request))
                except ProviderError as error:
                    found.append(error)
                if self.later:
                    await asyncio.sleep(0.03)
        server.close()
        await asyncio.sleep(0.005)  # until the server has seen its clients go
        return found


@pytest.fixture
def talk(question: ModelRequest) -> Talk:
    """Ask a raw server; return what came and how many connections it took."""

    def converse(
        raw: bytes, *, cut: int = 0, close: bool = False, stream: bool = False, times: int = 1
    ) -> tuple[list[Found], int]:
        server = RawServer(raw, cut=cut, close=close)
        return asyncio.run(server.ask(question, stream=stream, times=times)), server.connections

    return converse


def texts(found: list[Found]) -> list[str]:
    return [
        item.text if isinstance(item, ModelAnswer) else f"{type(item).__name__}: {item}" for item in found
    ]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(sized(BODY), id="sized"),
        pytest.param(b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\n" + sized(BODY), id="after 100 Continue"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + JSON + b"transfer-encoding: chunked\r\n\r\n" + chunked(BODY, 7)
            + b"0\r\ncontent-encoding: gzip\r\nset-cookie: a=b\r\n\r\n",
            id="chunked, with extensions and trailers",
        ),
        pytest.param(sized(gzip.compress(BODY), b"content-encoding: gzip\r\n"), id="gzip"),
        pytest.param(sized(zlib.compress(BODY), b"content-encoding: deflate\r\n"), id="deflate"),
        pytest.param(sized(BODY, b"Set-Cookie: a=b\r\nX-Obs: \xff\r\n"), id="cookies and odd bytes"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("cut", [0, 1])
def test_answers_whole_and_a_byte_at_a_time_on_one_connection(talk: Talk, raw: bytes, cut: int) -> None:
    found, connections = talk(raw, cut=cut, times=2)
    assert texts(found) == ["héllo", "héllo"]
    assert connections == 1


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n" + JSON + b"\r\n" + BODY, id="no length"),
        pytest.param(b"HTTP/1.0 200 OK\r\n" + JSON + b"\r\n" + BODY, id="HTTP/1.0"),
        pytest.param(sized(BODY, b"connection: close\r\n"), id="connection: close"),
    ],
)
def test_bodies_that_end_with_the_connection(talk: Talk, raw: bytes) -> None:
    found, connections = talk(raw, close=True, times=2)
    assert texts(found) == ["héllo", "héllo"]
    assert connections == 2


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_streams_split_anywhere(talk: Talk, cut: int) -> None:
    raw = SSE + b"transfer-encoding: chunked\r\n\r\n" + chunked(EVENTS, 11) + b"0\r\n\r\n"
    found, connections = talk(raw, cut=cut, stream=True, times=2)
    assert texts(found) == ["héllo", "héllo"]
    assert connections == 1


def test_a_stream_that_stays_open_after_its_end_is_complete(talk: Talk) -> None:
    raw = SSE + b"transfer-encoding: chunked\r\n\r\n" + chunked(EVENTS, 1000)
    assert texts(talk(raw, stream=True, times=2)[0]) == ["héllo", "héllo"]


def test_bytes_that_nobody_asked_for_end_the_connection(talk: Talk) -> None:
    found, connections = talk(sized(BODY) + b"HTTP/1.1 200 OK\r\n\r\n" + sized(BODY), times=2)
    assert texts(found) == ["héllo", "héllo"]
    assert connections == 2


def test_what_comes_between_calls_is_not_the_next_answer(question: ModelRequest) -> None:
    server = RawServer(sized(BODY), later=sized(BODY.replace(b"llo", b"ll ")))
    found = asyncio.run(server.ask(question, stream=False, times=3))
    assert texts(found) == ["héllo", "UpstreamError: the server answered more than it was asked", "héllo"]
    assert server.connections == 2


def test_a_connection_that_closed_while_the_loop_was_busy_is_not_used(question: ModelRequest) -> None:
    close, closed = threading.Event(), threading.Event()

    def answer_twice(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                while not connection.recv(2**16).endswith(b"}"):
                    pass
                connection.sendall(sized(BODY))
                close.wait()
            closed.set()

    async def main(port: int) -> list[Found]:
        url = f"http://127.0.0.1:{port}/v1"
        offer = Offer(name="raw", provider="openai-compatible", model="m", base_url=url, timeout_s=30)
        async with open_hosted(offer, environ={}) as provider:
            first = await provider.ask(question)
            close.set()
            closed.wait()  # blocks the loop, which therefore cannot have noticed
            return [first, await provider.ask(question)]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_twice, args=(listener,))
        thread.start()
        found = asyncio.run(main(listener.getsockname()[1]))
        thread.join()
    assert texts(found) == ["héllo", "héllo"]


def test_cookies_are_not_kept(question: ModelRequest) -> None:
    server = RawServer(sized(BODY, b"set-cookie: a=b\r\n"))
    asyncio.run(server.ask(question, stream=False, times=2))
    assert len(server.heads) == 2
    assert not any(b"cookie" in head for head in server.heads)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", "not valid HTTP", id="not HTTP"),
        pytest.param(b"", "without an answer", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + JSON, "without an answer", id="half a head"),
        pytest.param(sized(BODY)[:-9], "in the middle", id="half a body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, "more than 8190", id="an endless header"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000, "Too many headers", id="endless headers"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "not valid HTTP",
            id="two lengths",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + JSON + b"transfer-encoding: chunked\r\n\r\nzz\r\n", "not valid HTTP",
            id="a bad chunk size",
        ),
        pytest.param(sized(BODY, b"content-encoding: br\r\n"), "unknown content-encoding: 'br'", id="brotli"),
        pytest.param(sized(BODY, b"content-encoding: gzip\r\n"), "damaged", id="no gzip at all"),
        pytest.param(sized(gzip.compress(BODY)[:-20], b"content-encoding: gzip\r\n"), "JSON", id="half a gzip"),
        pytest.param(sized(b" " * 2**21), "larger than 1048576 bytes", id="a large body"),
        pytest.param(
            b"HTTP/1.1 500 Oops\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(b"x" * 2**21, 2**16),
            "larger than",
            id="a large error",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(b" " * (2**20 + 1), 1),
            "larger than",
            id="a flood of tiny chunks",
        ),
    ],
)  # fmt: skip
def test_what_is_no_answer(talk: Talk, raw: bytes, words: str) -> None:
    (found,), _ = talk(raw, close=True)
    assert isinstance(found, UpstreamError)
    assert words in found.message
    assert found.message.isprintable()
