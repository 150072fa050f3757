"""From a request and an outcome to the bytes that a fake provider sends, and how it sends them."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from crossgrade.domain import JSON
from crossgrade.testing import _render
from crossgrade.testing._script import Fault, FaultKind, ReceivedRequest, Reply

Ending = Literal["keep", "drop", "hang"]

_HTML = b"<!doctype html><html><body><h1>502 Bad Gateway</h1>\x1b[31m<script>alert(1)</script></body></html>"
_NONSENSE: JSON = {
    "prompt_tokens": -5,
    "completion_tokens": "many",
    "input_tokens": -5,
    "output_tokens": 10**15,
}
_STREAM = {"content-type": "text/event-stream", "cache-control": "no-cache"}
_ERRORS: Mapping[FaultKind, tuple[int, str, str]] = {
    "bad_key": (401, "invalid_api_key", "Incorrect API key provided: sk-fake-0123456789abcdef0123."),
    "context_too_long": (400, "context_length_exceeded", "This model's maximum context length is 8 tokens."),
    "filtered": (400, "content_filter", "The response was filtered by our content management policy."),
    "rate_limit": (429, "rate_limit_exceeded", "Rate limit reached for requests."),
    "unknown_model": (404, "model_not_found", "The model does not exist or you do not have access to it."),
    "server_error": (500, "server_error", "The server had an error while processing your request."),
}


@dataclass(frozen=True, slots=True)
class Sending:
    """What goes over the connection: a head, then `pieces`, each after `piece_delay_s`.

    `ending` says what follows the last piece: the connection is kept, dropped, or left hanging.
    """

    head: bytes
    pieces: list[bytes] = field(default_factory=list)
    delay_s: float = 0.0
    piece_delay_s: float = 0.0
    ending: Ending = "keep"


def answer(request: ReceivedRequest, outcome: Reply | Fault) -> Sending:
    """Return what to send for a call of a model."""
    if isinstance(outcome, Reply):
        return _reply(request, outcome)
    if outcome.kind in _ERRORS:
        status, code, message = _ERRORS[outcome.kind]
        headers = {} if outcome.retry_after is None else {"retry-after": outcome.retry_after}
        return json_answer(error_body(request, code, message), status=status, headers=headers)
    return _PLAYED[outcome.kind](request, outcome)


def json_answer(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Sending:
    """Return a JSON response."""
    return _whole(msgspec.json.encode(body), status=status, headers=headers)


def error_body(request: ReceivedRequest, code: str, message: str) -> dict[str, Any]:
    """Return an error in the shape of the API that was called."""
    if request.path.endswith("/messages"):
        return {"type": "error", "error": {"type": code, "message": message}}
    return {"error": {"message": message, "type": code, "code": code, "param": None}}


def _reply(request: ReceivedRequest, reply: Reply) -> Sending:
    if request.stream:
        chunks = [_chunk(event) for event in _render.events(request, reply)]
        chunks[-1] += b"0\r\n\r\n"
        head = _head(200, {**_STREAM, "transfer-encoding": "chunked", **reply.headers})
        return Sending(head, chunks, reply.delay_s, reply.token_delay_s)
    sending = json_answer(_render.body(request, reply), headers=reply.headers)
    return Sending(sending.head, sending.pieces, reply.delay_s)


def _whole(
    body: bytes,
    *,
    status: int = 200,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Sending:
    head = {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}
    return Sending(_head(status, head), [body])


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Fake", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _html(_: ReceivedRequest, __: Fault) -> Sending:
    return _whole(_HTML, content_type="text/html; charset=utf-8")


def _half_json(request: ReceivedRequest, _: Fault) -> Sending:
    whole = msgspec.json.encode(_render.body(request, Reply()))
    return _whole(whole[: len(whole) // 2])


def _empty_choices(request: ReceivedRequest, _: Fault) -> Sending:
    body = {"id": "fake-1", "object": "chat.completion", "created": 1, "model": request.model}
    return json_answer({**body, "choices": [], "type": "message", "content": None})


def _wrong_usage(request: ReceivedRequest, _: Fault) -> Sending:
    return _reply(request, Reply(usage=_NONSENSE))


def _echo_key(request: ReceivedRequest, _: Fault) -> Sending:
    key = request.headers.get("authorization", request.headers.get("x-api-key", "")).removeprefix("Bearer ")
    return _reply(request, Reply(f"your key is {key}"))


def _hang(_: ReceivedRequest, __: Fault) -> Sending:
    return Sending(b"", ending="hang")


def _drop(request: ReceivedRequest, _: Fault) -> Sending:
    whole = _reply(request, Reply("one two three four"))
    kept = whole.pieces[: (len(whole.pieces) + 1) // 2]
    kept[-1] = kept[-1][: len(kept[-1]) // 2]
    return Sending(whole.head, kept, ending="drop")


def _drip(request: ReceivedRequest, _: Fault) -> Sending:
    whole = _reply(request, Reply("one two three four"))
    drops = [bytes([byte]) for byte in b"".join(whole.pieces)]
    return Sending(whole.head, drops, piece_delay_s=0.05)


def _no_end(request: ReceivedRequest, _: Fault) -> Sending:
    """End a stream cleanly after its text; a whole answer breaks off inside its JSON."""
    if not request.stream:
        return _half_json(request, Fault("half_json"))
    whole = _reply(request, Reply("one two three four"))
    return Sending(whole.head, [*whole.pieces[:4], b"0\r\n\r\n"])


def _huge(_: ReceivedRequest, fault: Fault) -> Sending:
    piece = _chunk(b"[" * 2**16)
    head = _head(200, {"content-type": "application/json", "transfer-encoding": "chunked"})
    return Sending(head, [piece] * max(1, fault.size // 2**16) + [b"0\r\n\r\n"])


def _gzip_bomb(_: ReceivedRequest, fault: Fault) -> Sending:
    pack = zlib.compressobj(9, wbits=31)
    body = b"".join(pack.compress(b" " * 2**20) for _ in range(max(1, fault.size >> 20))) + pack.flush()
    return _whole(body, headers={"content-encoding": "gzip"})


def _redirect(request: ReceivedRequest, _: Fault) -> Sending:
    elsewhere = f"http://{request.headers.get('host', 'localhost')}/elsewhere"
    return _whole(b"", status=307, headers={"location": elsewhere})


_PLAYED = {
    "drip": _drip,
    "drop": _drop,
    "echo_key": _echo_key,
    "empty_choices": _empty_choices,
    "gzip_bomb": _gzip_bomb,
    "half_json": _half_json,
    "hang": _hang,
    "html": _html,
    "huge": _huge,
    "no_end": _no_end,
    "redirect": _redirect,
    "wrong_usage": _wrong_usage,
}
