"""The least gateway: it reads a client's request, plays an upstream, and answers in the client's API."""

import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from crossgrade.dialects import CLIENTS, DIALECTS, HOSTS, ClientName, StreamTranslator, WireRequest
from crossgrade.domain import DialectName
from crossgrade.errors import BadRequestError
from tests.unit.dialects.upstreams import STREAMS, WHOLE

PATHS: dict[str, ClientName] = {
    "/v1/chat/completions": "openai",
    "/v1/completions": "openai-text",
    "/v1/messages": "anthropic",
    "/v1/responses": "openai-responses",
}


class Bridge:
    """Serves every client API in front of one upstream API; `sent` is what the upstream was last sent."""

    def __init__(self, upstream: DialectName, stream: bytes | None = None) -> None:
        self._upstream = upstream
        self._stream = b"".join(STREAMS[upstream]) if stream is None else stream
        self.sent: WireRequest

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        bridge = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, kind, answer = bridge.answer(PATHS[self.path.partition("?")[0]], body)
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, client: ClientName, body: bytes) -> tuple[int, str, bytes]:
        """Return the status, the type and the body of an answer."""
        api, dialect = CLIENTS[client], DIALECTS[self._upstream]
        try:
            inbound = api.read_request(body)
            asked = replace(inbound.request, model="open-1")
            self.sent = dialect.encode(asked, HOSTS[self._upstream], inbound.stream)
        except BadRequestError as error:
            return 400, "application/json", api.render_error(400, error.message)
        id_ = f"{api.id_prefix}abc123"
        if not inbound.stream:
            answer = dialect.decode(WHOLE[self._upstream], asked)
            return 200, "application/json", api.render_answer(answer, inbound, id_, 1)
        translator = StreamTranslator(dialect.reader(asked), CLIENTS[client], inbound, id=id_, created=1)
        written = [translator.feed(self._stream[at : at + 7]) for at in range(0, len(self._stream), 7)]
        return 200, "text/event-stream", b"".join([*written, translator.end()])
