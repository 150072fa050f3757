"""The client's side: one protocol object per connection, callbacks only, one exchange at a time."""

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias, cast

import httptools

from crossgrade.domain import Serving
from crossgrade.gateway._answers import CONTINUE, problem_answer
from crossgrade.gateway._closing import Discard, HalfClosed
from crossgrade.gateway._head import (
    Answering,
    KnownHead,
    Request,
    WholeRequest,
    body_too_large,
    check_head,
    client_of,
    head_too_large,
    known_head,
)
from crossgrade.gateway._problems import Problem, bad_request
from crossgrade.gateway._room import NO_ROOM, Room
from crossgrade.gateway._sweeper import NEVER, Sweeper
from crossgrade.identity import Principal

WRITE_HIGH = 1 << 18
_MOST_PIPELINED = 16
_UNVETTED_BYTES = 1 << 16
"""The number of bytes of a body that are kept before the caller's key is checked."""

_PROGRESS_BYTES = 1 << 18
"""A body that is passed on or spooled must bring this many bytes within every body time limit."""

_FRESH_S = 1.0
"""How long a connection without a request may still send one after the worker has begun to stop."""

_HEAD, _BODY = 1, 2
_NOT_REMEMBERED = frozenset((b"transfer-encoding", b"expect", b"upgrade"))


Caller: TypeAlias = tuple[dict[bytes, bytes], bytes | None, object, float, Principal]
"""The caller found on a connection: headers, key, keyring, when to look again, principal.

The third item is the keyring that knew the key. The fourth is in seconds since 1970.
"""


class Edge:
    """What all client connections of a worker share.

    `handle` answers a request that is complete, or whose body is too large to wait for. `vet` returns why a
    request that is still arriving will be refused, None if it may go on. `refused` records a refusal that did
    not pass through `handle`, and returns the request id. `empty` is set when the last connection has closed
    while the worker drains.
    """

    def __init__(
        self,
        sweeper: Sweeper,
        serving: Serving,
        handle: Callable[["ClientConnection", Request], None],
        vet: Callable[["ClientConnection", Request], Problem | None],
        refused: Callable[[Request | None, Problem], str],
    ) -> None:
        self.now = time.monotonic
        self.sweeper = sweeper
        self.serving = serving
        self.handle = handle
        self.vet = vet
        self.refused = refused
        self.room: Room[ClientConnection] = Room(serving)
        self.connections = self.room.connections
        self.draining = False
        self.empty = asyncio.Event()

    def broken(self, error: Exception) -> None:
        """Report an internal error, which ends one connection."""
        context = {"message": "a connection could not be served", "exception": error.__context__ or error}
        asyncio.get_running_loop().call_exception_handler(context)

    def drain(self) -> None:
        """Close idle connections now, and each other one after its answer."""
        self.draining = True
        if not self.connections:
            self.empty.set()
        for connection in tuple(self.connections):
            connection.drain()


class ClientConnection(asyncio.Protocol):
    """Reads requests from one client and writes their answers, in order.

    `caller` is the caller that was found, None before that. `transport` is None once the connection is lost.
    """

    __slots__ = (
        "_current", "_edge", "_feeding", "_held", "_idle_since", "_incoming", "_known", "_known_request",
        "_parser", "_reading", "_waiting", "_writable", "caller", "deadline", "exchange", "transport",
    )  # fmt: skip

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._parser = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport | HalfClosed | None = None
        self._incoming: Request | None = None
        self._current: Request | None = None
        self._known: KnownHead | None = None
        self._known_request: Request | None = None
        self._waiting: deque[Request] = deque()
        self._held = b""
        self._feeding = 0
        self._idle_since = 0.0
        self._reading = True
        self._writable = True
        self.deadline = NEVER
        self.exchange: Answering | None = None
        self.caller: Caller | None = None

    # The connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to wait for a request."""
        transport = cast("asyncio.Transport", transport)  # uvloop's transport is not a subclass
        edge = self._edge
        self.transport = transport
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=WRITE_HIGH)
        has_room = edge.room.enter(self, connected)
        edge.sweeper.watched.add(self)
        self.deadline = edge.now() + edge.serving.head_timeout_s
        if not has_room:
            self._give_up(NO_ROOM)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Cancel what is in progress."""
        self.transport = None
        self._edge.room.leave(self)
        self._edge.sweeper.watched.discard(self)
        if self._edge.draining and not self._edge.connections:
            self._edge.empty.set()
        exchange, self.exchange = self.exchange, None
        self._waiting.clear()
        if exchange is not None:
            exchange.client_gone()

    def eof_received(self) -> bool:
        """Handle the end of the client's bytes: an incomplete request is refused.

        A client that waits for the first byte of its answer may go on waiting. One that ends its side after a
        part of the answer has arrived hangs up. Returns False to close the connection.
        """
        if self.exchange is None:
            if self._incoming is not None:
                self._give_up(
                    bad_request("The connection was closed in the middle of the request.", "cut_short")
                )
            return False
        current, transport = self._current, self.transport
        if isinstance(transport, HalfClosed):
            return True
        if current is None or not current.complete or self.exchange.begun or transport is None:
            return False
        self._incoming = None
        if self._waiting and not self._waiting[-1].complete:
            self._waiting.pop()
        (self._waiting or (current,))[-1].keep_alive = False
        self.transport = HalfClosed(transport)
        return True

    def known(self) -> None:
        """Note that the caller is known, so that the connection is not closed to make room."""
        self._edge.room.known(self)

    @property
    def idle_since(self) -> float | None:
        """Since when it has waited for another request, in monotonic seconds; None if it does not wait."""
        is_idle = self._current is None and self._incoming is None and self._writable
        return self._idle_since if is_idle and self.transport and not self.transport.is_closing() else None

    def expire(self, now: float) -> None:  # noqa: ARG002  # the signature of Watched
        """Act on the deadline: refuse a late request, close an idle or unread connection."""
        self.deadline = NEVER
        incoming = self._incoming
        if incoming is None or not self._writable or incoming.problem is not None:
            self.abort()
            return
        what = "body" if incoming.headed else "head"
        self._give_up(
            Problem(status=408, code="request_timeout", message=f"The request's {what} came too slowly.")
        )

    def drain(self) -> None:
        """Close now if nothing is in progress, else after the answer.

        A new connection may still send a request.
        """
        if self._current is None and self._incoming is None:
            if self._known is None and self.caller is None:
                self.deadline = min(self.deadline, self._edge.now() + _FRESH_S)
            else:
                self.close()

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()

    def pause_writing(self) -> None:
        """Note that the client reads slowly. It may do so for the idle time."""
        self._writable = False
        if not self._lingers:
            self.deadline = self._edge.now() + self._edge.serving.idle_timeout_s
        if self.exchange is not None:
            self.exchange.client_paused()

    def resume_writing(self) -> None:
        """Continue with what waited for the client to read."""
        self._writable = True
        if not self._lingers:
            self.deadline = NEVER
        if self.exchange is not None:
            self.exchange.client_resumed()
        elif self._current is None:
            self._next()

    # Reading.

    def data_received(self, data: bytes) -> None:
        """Parse bytes, or hold them back until the present answer is sent."""
        current, known = self._current, self._known
        if current is not None:
            if current.complete:
                self._held += data
                self.pause_reading()
            else:
                self._feed(data)
        elif self._incoming is not None or self._waiting:
            self._feed(data)
        elif known is None or (body := known.body(data)) is None:
            self._feed(data)
            self._remember(data)
        else:
            assert self._known_request is not None
            self._begin(WholeRequest(self._known_request, body))

    def _remember(self, data: bytes) -> None:
        """Keep the head of a good request that came in one piece."""
        request = self._current
        if (
            request is not None
            and request.complete
            and request.keep_alive
            and request.problem is None
            and _NOT_REMEMBERED.isdisjoint(request.headers)
        ):
            self._known = known_head(data, request.size, self._edge.serving.body_parse_bytes)
            self._known_request = WholeRequest(request, b"")

    def _feed(self, data: bytes) -> None:
        self._feeding = len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            self._edge.broken(error)
            self.abort()
        except httptools.HttpParserError:
            self._malformed()
        incoming = self._incoming
        if incoming is not None and self.transport is not None:
            self._time(incoming, len(data))

    def _time(self, incoming: Request, size: int) -> None:
        """Bound the size of the head and the time of a request that is not complete."""
        serving = self._edge.serving
        if not incoming.headed:
            incoming.head_bytes += size
            if incoming.head_bytes > serving.head_max_bytes:
                self._give_up(head_too_large(serving))
            elif incoming.phase < _HEAD and self._current is None:
                incoming.phase = _HEAD
                self.deadline = self._edge.now() + serving.head_timeout_s
        elif incoming.phase < _BODY and incoming.problem is None and self._writable and self._reading:
            incoming.phase = _BODY
            self.deadline = self._edge.now() + serving.body_timeout_s
            if not incoming.vetted and incoming.sink is None:
                self._vet(incoming)

    def on_message_begin(self) -> None:
        """Start a request."""
        self._incoming = Request()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request target."""
        assert self._incoming is not None
        self._incoming.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        request = self._incoming
        if request is None:
            return  # a trailer of one that gets no answer
        name = name.lower()
        headers = request.headers
        if name in headers or request.headed:
            request.repeated(name, value)
        else:
            headers[name] = value

    def on_headers_complete(self) -> None:
        """Check the head. A request that is refused or large starts before its body has arrived."""
        request = self._incoming
        assert request is not None
        parser, serving = self._parser, self._edge.serving
        request.method = parser.get_method()
        if b"upgrade" in request.headers and parser.should_upgrade() and request.problem is None:
            return  # the request is read again without it
        request.headed = True
        request.version = parser.get_http_version()
        request.head_bytes += self._feeding
        request.problem = check_head(request, serving)
        length = request.length
        if (
            request.problem is not None
            or (length is not None and length > serving.body_parse_bytes)
            or b"expect" in request.headers
        ):
            self._ready(request)

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        request = self._incoming
        if request is None:
            return  # one request too many, which gets no answer
        size = request.size = request.size + len(data)
        serving = self._edge.serving
        if size <= serving.body_parse_bytes and request.sink is None:
            request.parts.append(data)
            if size > _UNVETTED_BYTES and not request.vetted:
                self._vet(request)
        else:
            self._take_large(request, data)

    def _vet(self, request: Request) -> None:
        """Refuse an unauthorised request before more of its body is kept."""
        request.vetted = True
        problem = request.problem or self._edge.vet(self, request)
        if problem is None:
            return
        request.problem = problem
        request.parts.clear()
        if not request.started:
            self._ready(request)
        elif request is self._current and self.exchange is None:
            self.refuse(problem)  # the client was told to continue

    def _take_large(self, request: Request, data: bytes) -> None:
        """Take a piece of a body that is too large to be kept here."""
        serving = self._edge.serving
        if request.sink is not None:
            if request.size % _PROGRESS_BYTES < len(data):
                request.phase = _HEAD  # it makes progress, so a new time limit begins
            request.sink.body(data)
        elif request.problem is None:
            request.parts.append(data)
            self._outgrown(request)
        if request.size > serving.body_max_bytes and request.problem is None:
            request.problem = body_too_large(serving)
            self._give_up(request.problem)

    def on_message_complete(self) -> None:
        """Answer the request, which is now complete."""
        request = self._incoming
        if request is None or not request.headed:
            return
        self._incoming = None
        request.complete = True
        request.keep_alive = self._parser.should_keep_alive() and request.version == "1.1"
        if not request.started:
            self._ready(request)
        elif request is self._current:
            self._completed(request)

    def _completed(self, request: Request) -> None:
        if self._writable:
            self.deadline = NEVER
        if request.sink is not None:
            request.sink.body_end()
        elif self.exchange is None and request.problem is None:
            self._edge.handle(self, request)  # the client was told to continue
        elif self.exchange is None:
            self.close()  # it was refused before its body arrived

    def _ready(self, request: Request) -> None:
        if request.started:
            return
        request.started = True
        if self._current is None and not self._waiting:
            self._begin(request)
        elif len(self._waiting) < _MOST_PIPELINED:
            self._waiting.append(request)
        else:
            self._malformed()

    def _outgrown(self, request: Request) -> None:
        """Start a chunked request that has turned out to be large."""
        if not request.started:
            self._ready(request)
        elif request is self._current and self.exchange is None:
            self._edge.handle(self, request)

    def _begin(self, request: Request) -> None:
        self._current = request
        self.deadline = NEVER
        if request.problem is not None:
            self.refuse(request.problem)
        elif request.complete:
            self._edge.handle(self, request)
        else:
            self._begin_early(request)

    def _begin_early(self, request: Request) -> None:
        """Start a request whose body has not arrived: it is large, or the client waits for `100 Continue`."""
        waits = b"expect" in request.headers and request.size == 0 and request.version == "1.1"
        small = request.length is not None and request.length <= self._edge.serving.body_parse_bytes
        if not small and (request.length is not None or request.size):
            self._edge.handle(self, request)
            waits = waits and self.exchange is not None  # the request was not refused at once
        if waits:
            self.write(CONTINUE)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read a request again without its request to upgrade, for which the parser left the body out."""
        request, self._incoming = self._incoming, None
        if request is None:  # CONNECT was refused already and gets no second answer
            self._malformed() if self._current is not None else self.close()
            return
        if request.method == b"CONNECT":
            self._give_up(bad_request("This is an API, not a forward proxy.", "bad_target"))
            return
        self._parser = httptools.HttpRequestParser(self)
        self._feed(request.without_upgrade() + rest)

    def _malformed(self) -> None:
        """Answer bytes that are not HTTP. A request that is in progress still gets its answer."""
        current = self._current
        self._incoming = None
        if current is None or not current.complete:
            self._give_up(bad_request("The request is not well-formed HTTP/1.1.", "malformed_http"))
        else:
            current.keep_alive = False
            self.pause_reading()

    # Writing.

    def write(self, data: bytes) -> None:
        """Send bytes if the client is still connected."""
        if self.transport is not None:
            self.transport.write(data)

    def pause_reading(self) -> None:
        """Read no more from the client for now."""
        if self._reading and self.transport is not None:
            self._reading = False
            self.transport.pause_reading()
            if self._incoming is not None and self._writable:
                self.deadline = NEVER

    def resume_reading(self) -> None:
        """Read on, first what was held back. The time limit of the request starts again."""
        if not self._reading and self.transport is not None:
            self._reading = True
            if self._held:  # not at once: the parser may be at work
                asyncio.get_running_loop().call_soon(self._feed_held)
            else:
                self.transport.resume_reading()
            if self._incoming is not None and self._writable:
                self.deadline = self._edge.now() + self._edge.serving.body_timeout_s

    def _feed_held(self) -> None:
        """Parse what was held back, unless reading has been paused again."""
        if self._reading and self.transport is not None:
            held, self._held = self._held, b""
            self.transport.resume_reading()
            self._feed(held)

    @property
    def closing(self) -> bytes:
        """The header line that closes the connection after the present answer; empty if it is kept."""
        current = self._current
        kept = current is not None and current.complete and current.keep_alive and not self._edge.draining
        return b"" if kept else b"connection: close\r\n"

    def refuse(self, problem: Problem) -> None:
        """Answer the present request with an error, and record it."""
        self.answer_problem(problem, self._edge.refused(self._current, problem))

    def answer_problem(self, problem: Problem, request_id: str, lines: bytes = b"") -> None:
        """Answer the present request with an error; `lines` are additional header lines."""
        self._write_problem(self._current, problem, request_id, lines)
        self.finish()

    def _write_problem(
        self, request: Request | None, problem: Problem, request_id: str, lines: bytes
    ) -> None:
        client = client_of(b"" if request is None else request.target)
        answer = problem_answer(problem, client, request_id, lines + self.closing)
        if request is not None and request.method == b"HEAD":
            answer = answer[: answer.index(b"\r\n\r\n") + 4]
        self.write(answer)

    def _give_up(self, problem: Problem) -> None:
        """Refuse and close: what follows on this connection cannot be trusted or waited for."""
        exchange, self.exchange = self.exchange, None
        request = self._current or self._incoming
        if exchange is not None:
            exchange.client_gone()
            self.abort()
        elif self.transport is not None and not self.transport.is_closing():
            if request is not None:
                request.keep_alive = False
                request.problem = problem
            self._current = request
            self._write_problem(request, problem, self._edge.refused(request, problem), b"")
            if request is None or request.complete or not request.headed:
                self.close()
            else:
                self._linger()

    def finish(self) -> None:
        """Continue after an answer: with the next request, or close."""
        request = self._current
        self.exchange = None
        if request is None or self.transport is None:
            return
        if not request.complete:
            self._linger()
        elif not request.keep_alive or self._edge.draining:
            self.close()
        else:
            self._current = None
            if self._writable:
                self._next()

    def _next(self) -> None:
        if self._waiting:
            self._begin_waiting(self._waiting.popleft())
            return
        self._idle_since = now = self._edge.now()
        self.deadline = now + self._edge.room.idle_s
        if not self._reading:
            self.resume_reading()

    def _begin_waiting(self, request: Request) -> None:
        """Start a request that arrived during the previous answer. More of its body may be held back."""
        if not request.complete:
            self.resume_reading()
        self._begin(request)
        if request is self._incoming and request.problem is None and self._reading:
            self.deadline = self._edge.now() + self._edge.serving.body_timeout_s

    @property
    def _lingers(self) -> bool:
        return self._current is not None and isinstance(self._current.sink, Discard)

    def _linger(self) -> None:
        """Let a client that still sends read its answer: to close at once would reset the connection."""
        request = self._current
        assert request is not None
        self.resume_reading()
        request.sink = Discard(self, self._edge.now)
        request.problem = request.problem or bad_request("The answer came before the request's end.")

    def close(self) -> None:
        """Close after everything written is sent."""
        if self.transport is not None:
            self.transport.close()
