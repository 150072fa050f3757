"""Witnesses that tests talk to: the product's own on a socket of this process, and one that does as it is told."""

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from crossgrade.serve import WitnessFolder, witness_server
from tests.waiting import until


@contextmanager
def serving(folder: WitnessFolder) -> Iterator[str]:
    """Serve a witness's folder; yield its address."""
    with socket.socket() as listening, folder.served():
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        server = witness_server(folder)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            until(lambda: server.started)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def add_checkpoint(url: str, body: bytes) -> tuple[int, bytes, str]:
    """Send a request; return status, body and media type."""
    request = urllib.request.Request(f"{url}/add-checkpoint", data=body)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read(), answer.headers.get_content_type()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers.get_content_type()


Told = Callable[[bytes], tuple[int, bytes]]


@contextmanager
def told(answer: Told) -> Iterator[str]:
    """Serve what `answer` makes of each request's body; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = answer(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            if status in {301, 302, 307, 308}:
                self.send_header("location", body.decode())
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
