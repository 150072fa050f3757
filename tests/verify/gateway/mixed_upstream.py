"""An upstream for soaks, in a process of its own: it does what the request's text says, good and bad.

`python mixed_upstream.py` prints its port; `GET /open` tells how many other connections are open.
"""

import asyncio
import json
import re
from collections.abc import Callable

_USAGE = {"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17}
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_KIND = re.compile(rb"do-(\w+)")
_HEAD = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _message(message: dict[str, object], finish: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return json.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": _USAGE,
        }
    ).encode()


def _event(text: str | None, finish: str | None = None, **fields: object) -> bytes:
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}
    chunk = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **fields,
    }
    data = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


_TEXT = _message({"content": "eight words that a model would have said"}, "stop")
_CALL = {"id": "t", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
_TOOLS = _message({"content": None, "tool_calls": [_CALL]}, "tool_calls")
_WORD = _event("word ")
_END = _event(None, "stop", usage=_USAGE) + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection, kept alive; a request on it says what it wants by `do-KIND`."""

    open = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._data = b""
        self._timer: asyncio.TimerHandle | None = None
        Connection.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        Connection.open -= 1
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        length = _LENGTH.search(head)
        if length is not None and len(body) < int(length[1]):
            return
        self._data = b""
        if head.startswith(b"GET /open"):
            self._answer(b"200 OK", b"%d" % (Connection.open - 1))
            return
        kind = _KIND.search(body)
        answer: dict[bytes, Callable[[], None]] = {
            b"json": lambda: self._answer(b"200 OK", _TEXT),
            b"tools": lambda: self._answer(b"200 OK", _TOOLS),
            b"stream": lambda: self._stream(12, _END),
            b"endless": lambda: self._stream(2_000, b""),
            b"broken": lambda: self._stream(3, b""),
            b"error": lambda: self._answer(b"500 Oops", b'{"error":{"message":"oops"}}'),
            b"html": lambda: self._answer(b"200 OK", b"<html>hello</html>", b"text/html"),
            b"reset": self._transport.abort,
        }
        answer[kind[1] if kind is not None else b"error"]()

    def _answer(self, status: bytes, body: bytes, kind: bytes = b"application/json") -> None:
        self._transport.write(_HEAD % (status, kind, len(body), body))

    def _stream(self, words: int, end: bytes) -> None:
        self._transport.write(_STREAM_HEAD)
        self._words(words, end)

    def _words(self, left: int, end: bytes) -> None:
        if left:
            self._transport.write(_WORD)
            self._timer = asyncio.get_running_loop().call_later(0.005, self._words, left - 1, end)
        elif end:
            self._transport.write(end)
        else:
            self._transport.abort()


async def main() -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
