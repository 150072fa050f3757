"""ClickHouse's HTTP port as tests put one there: how it is asked and answers, whatever stands behind it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import parse_qsl, urlsplit

_PARQUET = b"PAR1"


class ClickHousePort(BaseHTTPRequestHandler, ABC):
    """One request to the port; a test says in `answer` what comes back."""

    @abstractmethod
    def answer(self, sql: str, data: bytes, given: dict[str, str]) -> tuple[bytes, int] | None:
        """Return the body and the status for a statement, None to break off the connection.

        `data` is the Parquet file that came with it, empty if there is none; `given` are the settings.
        """

    def do_POST(self) -> None:
        given = dict(parse_qsl(urlsplit(self.path).query))
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        sql, mark, rest = (given.pop("query", "").encode() + body).partition(_PARQUET)
        answer = self.answer(sql.decode().strip(), mark + rest, given)
        if answer is None:
            self.close_connection = True
            self.connection.close()
            return
        said, status = answer
        self.send_response(status)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listening(port: type[ClickHousePort]) -> Iterator[str]:
    """Listen; yield the server's host and port, as an address has them."""
    server = HTTPServer(("127.0.0.1", 0), port)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def greeting(sql: str, settings: Sequence[str]) -> bytes | None:
    """Return the answer to what the driver asks when it connects, of a server that knows these settings.

    None for any other statement.
    """
    if "timezone" in sql:
        return b"26.9.1.1\tUTC\n"
    if "system.settings" not in sql:
        return None
    count = len(settings)
    return _block(
        ("name", [_short(each) for each in settings], "String"),
        ("value", [_short("0")] * count, "String"),
        ("readonly", [b"\0"] * count, "UInt8"),
    )


def _block(*columns: tuple[str, list[bytes], str]) -> bytes:
    """Return a block in ClickHouse's native format, of less than 128 rows of short values."""
    rows = len(columns[0][1])
    return bytes([len(columns), rows]) + b"".join(
        _short(name) + _short(kind) + b"".join(values) for name, values, kind in columns
    )


def _short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()
