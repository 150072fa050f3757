"""Heads that come again: compared with the one before, they mean what reading them anew would."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.errors import ProviderError
from crossgrade.gateway._head import KnownHead, known_head, plain_body
from crossgrade.gateway._sweeper import Sweeper
from crossgrade.gateway._upstream import Address, Pool, UpstreamConnection
from tests.unit.gateway.asked import Asked

BEFORE = b"HTTP/1.1 200 OK\r\nServer: uvicorn\r\nContent-Length: "
AFTER = b"\r\nContent-Type: application/json\r\n\r\n"


def answer(body: bytes, length: int | None = None, *, line: bytes = b"") -> bytes:
    digits = str(len(body) if length is None else length).encode()
    return BEFORE + digits + line + AFTER + body


def known(body: bytes = b"{}") -> KnownHead:
    found = known_head(answer(body), len(body), 1_000_000)
    assert found is not None
    return found


@given(body=st.binary(max_size=300), length=st.one_of(st.none(), st.integers(0, 400)), cut=st.integers(0, 3))
def test_it_is_taken_as_if_it_were_read(body: bytes, length: int | None, cut: int) -> None:
    data = answer(body, length)
    data = data[: len(data) - cut]
    assert known().body(data) == plain_body(data)


@pytest.mark.parametrize("digits", [b"", b"+2", b" 2", b"2 ", b"0x2", b"2_0", b"-2", b"\xb2", b"2" * 11])
def test_a_length_of_other_than_digits_is_for_the_parser(digits: bytes) -> None:
    assert known().body(BEFORE + digits + AFTER + b"{}") is None


def test_another_head_a_large_body_and_a_head_without_a_length_are_none() -> None:
    assert known().body(answer(b"{}").replace(b"uvicorn", b"llama")) is None
    assert known().body(answer(b"{}", line=b"\r\nTransfer-Encoding: chunked")) is None
    small = known_head(answer(b"{}"), 2, 5)
    assert small is not None
    assert (small.body(answer(b"12345")), small.body(answer(b"123456"))) == (b"12345", None)
    assert known_head(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n{}", 2, 5) is None
    assert known_head(answer(b"{} and more"), 2, 5) is None


class _Waited(Asked):
    """A call whose answer is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def on_ready(self, connection: UpstreamConnection) -> None:
        connection.write(b"GET / HTTP/1.1\r\n\r\n")

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> Callable[[bytes], None]:
        assert (status, headers[b"server"]) == (200, b"uvicorn")
        return super().on_head(status, headers)

    def on_whole(self, body: bytes) -> None:
        self.done.set_result(body)

    def on_end(self) -> None:
        self.done.set_result(self.body)

    def on_fail(self, error: ProviderError) -> None:
        self.done.set_exception(error)


def _ask(answers: list[bytes]) -> tuple[list[bytes], int, list[UpstreamConnection]]:
    """Ask for one answer after the other: what came, over how many connections, and those kept."""

    async def ask() -> tuple[list[bytes], int, list[UpstreamConnection]]:
        left, connections, ended = iter(answers), 0, list[asyncio.StreamWriter]()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await reader.readuntil(b"\r\n\r\n"):
                    writer.write(next(left))
            writer.close()
            ended.append(writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = Address("127.0.0.1", server.sockets[0].getsockname()[1], is_tls=False, path="")
        loop = asyncio.get_running_loop()
        pool = Pool(loop, Sweeper(loop), address, name="own", timeout_s=5.0, max_connections=4)
        bodies = []
        for _ in answers:
            call = _Waited()
            pool.start(call)
            bodies.append(await asyncio.wait_for(call.done, 10))
        kept = list(pool._idle)
        pool.close()
        while len(ended) < connections:  # noqa: ASYNC110 -- the other side's end sets no event
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)  # transports close in the next turn of the loop
        server.close()
        await server.wait_closed()
        return bodies, connections, kept

    return asyncio.run(ask())


def test_a_kept_connection_reads_every_answer_under_the_same_head() -> None:
    bodies = [b"{}", b'{"id": "a"}', b"{}" * 500, b"[]"]
    found, connections, (kept,) = _ask([answer(body) for body in bodies])
    assert (found, connections) == (bodies, 1)
    assert kept._known is not None


def test_what_follows_an_answer_under_a_known_head_ends_the_connection() -> None:
    found, connections, _ = _ask([answer(b"{}"), answer(b"[1]", 2), answer(b"[2]")])
    assert (found, connections) == ([b"{}", b"[1", b"[2]"], 2)


def test_after_eight_unlike_heads_none_is_kept() -> None:
    unlike = [answer(b"[%d]" % at, line=b"\r\nX-Request-Id: %d" % at) for at in range(12)]
    found, connections, (kept,) = _ask(unlike)
    assert (found, connections) == ([b"[%d]" % at for at in range(12)], 1)
    assert kept._known is None
