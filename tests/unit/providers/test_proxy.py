"""Proxies: which one, and real bytes through one, plain and tunnelled."""

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest
from yarl import URL

from crossgrade.domain import ModelRequest, Offer
from crossgrade.providers import open_hosted
from crossgrade.providers._http import open_http, proxy_for
from crossgrade.testing import FakeProvider
from tests.codes import raises_code

CERTIFICATE = Path(__file__).parent / "data" / "inside.test.pem"
ANSWER = b'{"choices":[{"message":{"content":"through"},"finish_reason":"stop"}]}'
REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(ANSWER),
    ANSWER,
)


@pytest.mark.parametrize(
    ("environ", "host", "port"),
    [
        ({}, "api.example.com", None),
        ({"https_proxy": "http://proxy:3128"}, "api.example.com", 3128),
        ({"HTTPS_PROXY": "proxy:3128"}, "api.example.com", 3128),
        ({"all_proxy": "http://proxy"}, "api.example.com", 80),
        ({"http_proxy": "http://proxy:1"}, "api.example.com", None),
        ({"https_proxy": "http://proxy:1", "no_proxy": "other, .example.com"}, "api.example.com", None),
        ({"https_proxy": "http://proxy:1", "NO_PROXY": "ample.com"}, "api.example.com", 1),
        ({"https_proxy": "http://proxy:1", "no_proxy": "*"}, "api.example.com", None),
        ({"https_proxy": "http://proxy:1"}, "localhost", None),
        ({"https_proxy": "http://proxy:1"}, "[::1]", None),
        ({"https_proxy": "http://proxy:1", "HTTPS_PROXY": "http://proxy:2"}, "api.example.com", 1),
    ],
)
def test_which_proxy(environ: Mapping[str, str], host: str, port: int | None) -> None:
    proxy = proxy_for(URL(f"https://{host}/v1"), environ)
    assert (None if proxy is None else proxy.port) == port


@pytest.mark.parametrize(
    "named", ["socks5://proxy:1", "http://", "http://proxy:port", "http://me:%E2%82%AC@proxy"]
)
def test_proxies_that_are_refused(named: str) -> None:
    with raises_code("proxy-invalid"):
        proxy_for(URL("https://host/v1"), {"https_proxy": named})


def test_only_the_given_environment_counts(question: ModelRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def main(fake: FakeProvider) -> str:
        async with open_hosted(fake.offer(), environ={}) as provider:
            return (await provider.ask(question)).text

    with FakeProvider("direct") as fake:
        assert asyncio.run(main(fake)) == "direct"


class Backend:
    """A TLS server and a CONNECT proxy before it, both counting."""

    def __init__(self, context: ssl.SSLContext | None, *, refuse: bool = False) -> None:
        self.context = context
        self.refuse = refuse
        self.seen: list[bytes] = []
        self.running: list[tuple[asyncio.Task[None] | None, asyncio.StreamWriter]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.running.append((asyncio.current_task(), writer))
        while head := await read_head(reader):
            await self.reply(head, reader, writer)
        writer.close()

    async def reply(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
        writer.write(REPLY)

    async def proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.running.append((asyncio.current_task(), writer))
        self.seen.append(await read_head(reader))
        if self.refuse:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            writer.close()
            return
        if not self.seen[-1].startswith(b"CONNECT"):
            await self.reply(self.seen[-1], reader, writer)
            await self.serve(reader, writer)
            return
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.running.append((None, to_writer))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pump(reader, to_writer), pump(to_reader, writer))

    async def ask(
        self, base_url: str, scheme: str, context: ssl.SSLContext | None, request: ModelRequest
    ) -> str:
        inner = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.context)
        self.port = inner.sockets[0].getsockname()[1]
        outer = await asyncio.start_server(self.proxy, "127.0.0.1", 0)
        port = outer.sockets[0].getsockname()[1]
        environ = {f"{scheme}_proxy": f"http://u:p@127.0.0.1:{port}"}
        offer = Offer(name="inside", provider="openai-compatible", model="m", base_url=base_url)
        try:
            async with open_hosted(offer, environ=environ, ssl_context=context) as provider:
                first = await provider.ask(request)
                return first.text + (await provider.ask(request)).text
        finally:
            inner.close()
            outer.close()
            for _, writer in self.running:
                writer.transport.abort()
            tasks = (task for task, _ in self.running if task is not None)
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.01)  # until the encrypted transports have closed


async def read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(2**16):
            writer.write(data)
    except ConnectionError:
        pass
    writer.close()


def test_a_tunnel_is_encrypted_to_the_host(question: ModelRequest) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATE)
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    backend = Backend(server)
    text = asyncio.run(backend.ask("https://inside.test/v1", "https", trusting, question))
    assert text == "throughthrough"
    assert len(backend.seen) == 1
    assert backend.seen[0].startswith(b"CONNECT inside.test:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dTpw\r\n" in backend.seen[0]


def test_an_unknown_certificate_is_refused(question: ModelRequest) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATE)
    with raises_code("connect-failed"):
        asyncio.run(Backend(server).ask("https://inside.test/v1", "https", None, question))


def test_a_plain_proxy_gets_the_whole_address(question: ModelRequest) -> None:
    backend = Backend(None)
    text = asyncio.run(backend.ask("http://inside.test/v1", "http", None, question))
    assert text == "throughthrough"
    assert backend.seen[0].startswith(b"POST http://inside.test/v1/chat/completions HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dTpw\r\n" in backend.seen[0]


def test_an_ipv6_address_keeps_its_brackets(question: ModelRequest) -> None:
    backend = Backend(None)
    asyncio.run(backend.ask("http://[2001:db8::1]:8080/a%2Fb/v1/", "http", None, question))
    first, host = backend.seen[0].split(b"\r\n")[:2]
    assert first == b"POST http://[2001:db8::1]:8080/a%2Fb/v1/chat/completions HTTP/1.1"
    assert host == b"Host: [2001:db8::1]:8080"


def test_a_proxy_that_refuses(question: ModelRequest) -> None:
    with raises_code("proxy-refused"):
        asyncio.run(Backend(None, refuse=True).ask("https://inside.test/v1", "https", None, question))


def test_a_client_shows_neither_headers_nor_proxies() -> None:
    async def main() -> str:
        environ = {"https_proxy": "http://me:hunter2@proxy:1"}
        async with open_http("https://h/v1", {"authorization": "secret"}, environ=environ) as http:
            return repr(http)

    assert asyncio.run(main()) == "HttpClient('https://h/v1')"
