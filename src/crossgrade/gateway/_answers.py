"""Answers on their way to the client: the provider's, passed on as they arrive, and the gateway's own."""

import math
import zlib
from collections.abc import Callable
from typing import Protocol, TypeAlias

from crossgrade.dialects import NO_COUNTS, ClientName, Dialect, StreamFollower
from crossgrade.errors import ProviderError, UpstreamError
from crossgrade.gateway._body import estimated_tokens
from crossgrade.gateway._problems import Problem, problem_body
from crossgrade.pricing import Tokens

_REASONS = {
    200: b"OK",
    202: b"Accepted",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Content Too Large",
    415: b"Unsupported Media Type",
    417: b"Expectation Failed",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    529: b"Overloaded",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON_TYPE = b"application/json"
STREAM_TYPE = b"text/event-stream; charset=utf-8"


def head(status: int, content_type: bytes, *, length: int | None, extra: bytes = b"") -> bytes:
    """Return a response's head; without a `length` the body is chunked.

    `extra` holds additional header lines, each with its CRLF.
    """
    framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    reason = _REASONS.get(status, b"Status")
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\n%b\r\n%b\r\n" % (
        status,
        reason,
        content_type,
        framing,
        extra,
    )


def whole(status: int, content_type: bytes, body: bytes, extra: bytes) -> bytes:
    """Return a whole response; `extra` is as for `head`."""
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n%b" % (
        status,
        _REASONS.get(status, b"Status"),
        content_type,
        len(body),
        extra,
        body,
    )


def problem_headers(problem: Problem) -> bytes:
    """Return the header lines that belong to an error."""
    lines = b""
    if problem.retry_after_s is not None:
        lines = b"retry-after: %d\r\n" % max(1, math.ceil(problem.retry_after_s))
    if problem.status == 401:
        more = f", {problem.challenge}" if problem.challenge else ""
        lines += f'www-authenticate: Bearer realm="crossgrade"{more}\r\n'.encode()
    return lines


def problem_answer(problem: Problem, client: ClientName, request_id: str, lines: bytes) -> bytes:
    """Return the whole answer for an error; `lines` are additional header lines."""
    body = problem_body(problem, client, request_id)
    extra = b"%bx-request-id: %b\r\n%b" % (problem_headers(problem), request_id.encode(), lines)
    return whole(problem.status, JSON_TYPE, body, extra)


WHOLE_BYTES = 8 << 20
"""An answer up to this size is kept until it is complete, so that its head can contain its cost."""

MOST_BYTES = 1 << 28
ERROR_BYTES = 1 << 18
_HIDDEN = b"***"
_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
"""Tells zlib to look which of the two it is."""


class AnswerFollower(Protocol):
    """Follows an answer's stream: a `StreamFollower`, or a translator between two dialects."""

    done: bool
    failure: ProviderError | None

    @property
    def usage(self) -> Tokens:
        """The tokens counted so far."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the provider; return bytes for the client."""

    def end(self) -> bytes:
        """Note the end of the stream; return bytes for the client."""


Pieces: TypeAlias = Callable[[bytes], None]
"""Sends one piece after another of an answer that has begun."""


class Outlet(Protocol):
    """Where a relay sends an answer."""

    def send_whole(
        self, body: bytes, usage: Tokens, response_id: str | None, output_tokens: int | None
    ) -> None:
        """Send a whole answer; `output_tokens` is an estimate, None if its cost is not known yet."""

    def begin_long(self, length: int | None) -> Pieces | None:
        """Begin an answer that is too large to be kept; return None if it cannot be passed on."""

    def begin_stream(self) -> Pieces:
        """Begin a stream; return the function that sends its pieces."""

    def end_stream(
        self, usage: Tokens, response_id: str | None, output_tokens: int, last: bytes = b""
    ) -> None:
        """Send the end of a long answer or stream, with a last piece."""

    def failed(self, error: ProviderError) -> None:
        """Note that the provider failed."""


class Relay(Protocol):
    """Takes one answer."""

    def data(self, data: bytes) -> None:
        """Take a piece of it."""

    def end(self) -> None:
        """Note its end."""

    def spent(self) -> tuple[Tokens, int | None]:
        """Return usage so far and an estimate of output tokens (None if unknown)."""


def pass_whole(outlet: Outlet, dialect: Dialect, key: bytes | None, body: bytes) -> None:
    """Send on the body of a whole answer, unless it is an error in the place of one."""
    try:
        glance = dialect.glance(body)
    except ProviderError as error:
        outlet.failed(error)
        return
    if key is not None:
        body = body.replace(key, _HIDDEN)
    output = None if glance.is_unfinished else estimated_tokens(len(body))
    outlet.send_whole(body, glance.counts, glance.id, output)


class WholeRelay:
    """Keeps a JSON answer until it is complete; one that grows too large is passed on as it arrives."""

    __slots__ = ("_dialect", "_key", "_length", "_outlet", "_parts", "_send", "_size")

    def __init__(self, outlet: Outlet, dialect: Dialect, key: bytes | None, length: int | None) -> None:
        self._outlet = outlet
        self._dialect = dialect
        self._key = key
        self._length = length
        self._parts: list[bytes] = []
        self._size = 0
        self._send: Pieces | None = None

    def data(self, data: bytes) -> None:
        """Take a piece of the answer."""
        self._size += len(data)
        if self._send is not None:
            self._pass(data, self._send)
            return
        self._parts.append(data)
        if self._size > WHOLE_BYTES:
            self._send = self._outlet.begin_long(self._length)
            if self._send is None:
                return
            parts, self._parts = self._parts, []
            self._pass(b"".join(parts), self._send)

    def end(self) -> None:
        """Send the answer."""
        if self._send is not None:
            self._outlet.end_stream(NO_COUNTS, None, estimated_tokens(self._size))
            return
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        pass_whole(self._outlet, self._dialect, self._key, body)

    def spent(self) -> tuple[Tokens, int | None]:
        """Return what is known: nothing while the answer is kept until it is complete."""
        return NO_COUNTS, estimated_tokens(self._size) if self._send is not None else None

    def _pass(self, data: bytes, send: Pieces) -> None:
        if self._size > MOST_BYTES:
            self._outlet.failed(
                UpstreamError(
                    f"the provider's answer is larger than {MOST_BYTES} bytes", code="answer-too-large"
                )
            )
            return
        if self._key is not None:
            data = data.replace(self._key, b"*" * len(self._key))  # the length stays as announced
        send(data)


class StreamRelay:
    """Passes events on as they arrive.

    The head waits for the first one: until then, another attempt is possible.
    """

    __slots__ = ("_events", "_follower", "_key", "_needles", "_outlet", "_over", "_read", "_send")

    def __init__(self, outlet: Outlet, follower: AnswerFollower, key: bytes | None) -> None:
        self._outlet = outlet
        self._follower = follower
        self._key = key
        self._over = False
        self._send: Pieces | None = None
        self._needles: tuple[bytes, ...] = ()
        self._events = self._read = 0

    def data(self, data: bytes) -> None:
        """Take a piece of the stream. Nearly all are whole events that count nothing, which pass unread."""
        send = self._send
        if send is not None and self._needles and data.endswith(b"\n\n"):
            for needle in self._needles:
                if data.find(needle) >= 0:  # `in` takes half as long again, since it tries a number first
                    break
            else:
                self._events += data.count(b"\n\n")
                send(data if self._key is None else data.replace(self._key, _HIDDEN))
                return
        follower = self._follower
        self._take(follower.feed(data))
        self._needles = follower.needles if isinstance(follower, StreamFollower) else ()
        self._read = self._events

    def end(self) -> None:
        """Note the end of the stream; without its terminal marker, or an event that ends it, it broke off."""
        if not self._over:
            self._take(self._follower.end())
        if not self._over:
            self._over = True
            if self.is_counted:
                self._outlet.end_stream(self._follower.usage, self.response_id, self._events)
                return
            self._outlet.failed(
                UpstreamError(
                    "the stream broke off before its end: no terminal marker", code="stream-broke-off"
                )
            )

    def _take(self, events: bytes) -> None:
        follower = self._follower
        if self._send is None and (events or follower.done) and follower.failure is None:
            self._send = self._outlet.begin_stream()
        if events and self._send is not None:
            events = self._counted(events)
            if follower.failure is not None or not follower.done:
                self._send(events)
        if follower.failure is not None:
            self._over = True
            self._outlet.failed(follower.failure)
        elif follower.done:
            self._over = True
            self._outlet.end_stream(follower.usage, self.response_id, self._events, events)

    @property
    def is_counted(self) -> bool:
        """Whether the last event said how much was generated, and no more is to come but a marker."""
        follower = self._follower
        if not isinstance(follower, StreamFollower) or not follower.ended or follower.unfinished:
            return False
        is_last = self._send is not None and self._read == self._events  # nothing has passed since
        return is_last and follower.usage.output_tokens is not None

    @property
    def response_id(self) -> str | None:
        """The id that the provider gave the answer; None if it is not known, or the answer is translated."""
        return self._follower.response_id if isinstance(self._follower, StreamFollower) else None

    def spent(self) -> tuple[Tokens, int | None]:
        """Return what was counted, and an estimate of about one token per event."""
        return self._follower.usage, self._events or None

    def _counted(self, events: bytes) -> bytes:
        """Count events that are about to be sent, and hide the target's key in them."""
        self._events += events.count(b"\n\n") or 1
        return events if self._key is None else events.replace(self._key, _HIDDEN)


_INFLATES = {b"gzip", b"x-gzip", b"deflate"}
_MOST_GROWTH = 200
_ANY_GROWTH = 1 << 16
_PIECE = 1 << 18


class InflatingRelay:
    """Inflates an answer that came compressed, though nobody asked for that, and hands it to another relay.

    `inner` is that relay. An answer that grows more than 200 times is refused: no JSON does.
    """

    __slots__ = ("_also", "_grown", "_inflater", "_name", "_outlet", "_over", "_size", "inner")

    def __init__(self, outlet: Outlet, relay: Relay, name: str, also: Pieces | None) -> None:
        self._outlet = outlet
        self._also = also
        self.inner = relay
        self._name = name
        self._inflater = zlib.decompressobj(_ZLIB_OR_GZIP)
        self._size = self._grown = 0
        self._over = False

    def data(self, data: bytes) -> None:
        """Take a piece of the compressed answer."""
        self._size += len(data)
        try:
            while data and not self._over:
                piece = self._inflater.decompress(data, _PIECE)
                data = self._inflater.unconsumed_tail
                self._grown += len(piece)
                if self._grown > _ANY_GROWTH + _MOST_GROWTH * (self._size - len(data)):
                    self._fail("grows too much")
                elif piece:
                    if self._also is not None:
                        self._also(piece)
                    self.inner.data(piece)
        except zlib.error:
            self._fail("is damaged")

    def end(self) -> None:
        """Note the end of the answer."""
        if not self._over and not self._inflater.eof:
            self._fail("is cut short")
        if not self._over:
            self.inner.end()

    def spent(self) -> tuple[Tokens, int | None]:
        """Return what is known of the inflated answer."""
        return self.inner.spent()

    def _fail(self, what: str) -> None:
        self._over = True
        self._outlet.failed(
            UpstreamError(f"{self._name} compressed its answer, which {what}", code="answer-compressed")
        )


def inflating(
    outlet: Outlet, relay: Relay, encoding: bytes, name: str, also: Pieces | None
) -> InflatingRelay | None:
    """Return a relay that inflates an answer for another, None for an encoding that is not known.

    `also` gets the inflated pieces first.
    """
    return InflatingRelay(outlet, relay, name, also) if encoding.strip().lower() in _INFLATES else None


class ErrorRelay:
    """Reads an error's body, up to a bound."""

    __slots__ = ("_hand_over", "_parts", "_size")

    def __init__(self, hand_over: Callable[[bytes], None]) -> None:
        self._hand_over = hand_over
        self._parts: list[bytes] = []
        self._size = 0

    def data(self, data: bytes) -> None:
        """Take a piece of the body; over the bound it counts as complete."""
        self._size += len(data)
        self._parts.append(data)
        if self._size > ERROR_BYTES:
            self.end()

    def end(self) -> None:
        """Hand over the body."""
        self._hand_over(b"".join(self._parts))

    def spent(self) -> tuple[Tokens, int | None]:
        """Return nothing: an error is not billed."""
        return NO_COUNTS, 0
