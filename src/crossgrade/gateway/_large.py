"""Bodies too large to be parsed: they are checked by a scan, and pass in constant memory.

A body that begins with its `model`, as most clients write it, is passed on as it arrives. Any other body, and
one that the ledger commits to before it is sent, is written to an unlinked file until it is complete. It is
sent from there, as often as necessary. The end of a body is not sent before the scan has accepted all of it,
and limits have room for all that it asks for.
"""

import asyncio
import errno
import mmap
import re
import tempfile
from collections.abc import Callable, Iterator
from typing import IO

import msgspec

from crossgrade.errors import ContextTooLongError
from crossgrade.gateway._answers import AnswerFollower
from crossgrade.gateway._body import BodyFields
from crossgrade.gateway._exchange import Exchange
from crossgrade.gateway._head import Endpoint, Request
from crossgrade.gateway._payload import field_problem
from crossgrade.gateway._problems import Problem, bad_request
from crossgrade.gateway._scan import LEAST_BYTES, BodyScan
from crossgrade.gateway._server import ClientConnection
from crossgrade.gateway._targets import TargetState
from crossgrade.gateway._upstream import UpstreamConnection

_PIECE = 1 << 18
_TURN = 1 << 20
"""The bytes read from the file before other connections get their turn."""

MOST_SPOOLED_BYTES = 4 << 30
"""The bytes that a worker keeps in files at a time. Twice the largest accepted body, if that is more."""

_HEAD = re.compile(rb'\s*\{\s*"model"\s*:\s*("[^"\\]{1,256}")')


class Spool:
    """Unlinked files in a folder, which together hold at most `most` bytes."""

    def __init__(self, folder: str, most: int) -> None:
        self._folder = folder
        self.left = most

    def open(self) -> IO[bytes]:
        """Create a file."""
        return tempfile.TemporaryFile(dir=self._folder)

    def write(self, file: IO[bytes], data: bytes) -> None:
        """Append to a file; raises OSError if there is no room."""
        if len(data) > self.left:
            raise OSError(errno.ENOSPC, "too much is kept already")
        file.write(data)
        self.left -= len(data)

    def close(self, file: IO[bytes], size: int) -> None:
        """Close a file to which `size` bytes were written."""
        file.close()
        self.left += size


class LargePayload:
    """A body on its way through: the request's `Sink`, and the `Payload` that a target is sent."""

    def __init__(
        self,
        exchange: Exchange,
        client: ClientConnection,
        request: Request,
        *,
        endpoint: Endpoint,
        path_route: str | None,
        spool: Spool,
        is_inscribed: Callable[[str | None, str | None], bool],
    ) -> None:
        self.fields = BodyFields()
        self.size = request.length or 0
        self.repeatable = True
        self.one_shot = False
        self.modality: str | None = None
        self.plain: bool | None = None
        self.answer_id: str | None = None
        self.drops = False
        self._exchange = exchange
        self._client = client
        self._request = request
        self.endpoint = endpoint
        self._path_route = path_route
        self._spool = spool
        self._is_inscribed = is_inscribed
        self._written = 0
        self._loop = asyncio.get_running_loop()
        self._first = b""
        self._span: tuple[int, int] | None = None
        self._scan = BodyScan()
        self._held: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._target: TargetState | None = None
        self._connection: UpstreamConnection | None = None
        self._passing = False
        self._paused = False
        self._pieces: Iterator[bytes | memoryview] = iter(())
        self._at = 0

    def take(self) -> None:
        """Start with the part of the body that has arrived."""
        parts, self._request.parts = self._request.parts, []
        self._request.sink = self
        if parts:
            self.body(b"".join(parts))
        if self._request.complete:
            self.body_end()

    # What comes from the client: `Sink`.

    def body(self, data: bytes) -> None:
        """Take the next piece."""
        self._scan.feed(data)
        if self._request.size == self._request.length:
            self._scan.end()  # so that all that it asks for is known at once
        problem = self._problem()
        if problem is not None:
            self._exchange.fail_body(problem)
        elif self._passing:
            self._pass(data)
        elif self._file is not None:
            self._keep(data)
        else:
            self._first += data
            if len(self._first) < LEAST_BYTES:
                return  # the scan reads as many first
            match = _HEAD.match(self._first)
            if match is None or self._request.length is None or self._must_be_whole(match):
                self._open_file()
            else:
                self._pass_on(match)

    def body_end(self) -> None:
        """Note that the body is complete."""
        self._scan.end()
        problem = self._problem()
        if problem is not None:
            self._exchange.fail_body(problem)
        elif not self._passing:
            if self._file is None:
                self._open_file()
            if self._file is not None:
                self._kept()
        elif self._connection is not None:
            self.fields = self._fields(self.fields.model)
            self._exchange.reserve_rest(self._finish)

    def _must_be_whole(self, found: re.Match[bytes]) -> bool:
        """Return whether the ledger has to commit to the body before any of it is sent."""
        return self._is_inscribed(self._path_route, _model(found[1]))

    def _problem(self) -> Problem | None:
        """Return why the body is refused by what was read of it."""
        if self._scan.problem is None and self._target is not None:
            return self.forbidden(self._target)
        return self._scan.problem

    def _fields(self, model: str | None) -> BodyFields:
        """Return the fields that are known by now."""
        return msgspec.structs.replace(BodyFields(model=model), **self._scan.bounds)

    # The body begins with its model: it is passed on.

    def _pass_on(self, found: re.Match[bytes]) -> None:
        self._passing = self.one_shot = True
        self._span = found.span(1)
        self.fields = self._fields(_model(found[1]))
        first, self._first = self._first, self._first[:LEAST_BYTES]
        self._held = [first[found.end() :]]
        self._client.pause_reading()
        self._exchange.begin(self, self._path_route)

    def _pass(self, data: bytes) -> None:
        """Pass on earlier pieces. The newest is held back, since the last one may have to be."""
        self._held.append(data)
        if self._connection is not None:
            self._send_held(self._connection, len(self._held) - 1)

    def _send_held(self, connection: UpstreamConnection, count: int) -> None:
        if self._request.complete:
            connection.busy_body = False
        for piece in self._held[:count]:
            connection.write_body(piece)
        del self._held[:count]

    def _finish(self) -> None:
        """Pass on the end of the body."""
        if self._connection is not None:
            self._send_held(self._connection, len(self._held))

    # Any other body is kept in a file first.

    def _open_file(self) -> None:
        try:
            self._file = self._spool.open()
        except OSError:
            self._no_room()
            return
        first, self._first = self._first, self._first[:LEAST_BYTES]
        self._keep(first)

    def _keep(self, data: bytes) -> None:
        assert self._file is not None
        try:
            self._spool.write(self._file, data)
        except OSError:
            self._no_room()
        else:
            self._written += len(data)

    def _no_room(self) -> None:
        message = "The body cannot be kept at the moment: put `model` first, so that it need not be."
        self._exchange.fail_body(Problem(status=503, message=message, code="no_space", retry_after_s=5.0))

    def _kept(self) -> None:
        assert self._file is not None
        self.size = self._request.size
        span = self._scan.span
        if span is None and self._path_route is None:
            self._exchange.fail_body(bad_request("The body names no `model`.", "no_model"))
        else:
            try:
                self._file.flush()
                self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError:
                self._no_room()
                return
            self._span = span
            model = None if span is None else _model(self._map[slice(*span)])
            self.fields = self._fields(model)
            self._exchange.begin(self, self._path_route)

    # What goes to the target: `Payload`.

    def forbidden(self, target: TargetState) -> Problem | None:
        """Return why the target may not be sent the body. What is still to come is checked as it comes."""
        if target.target.dialect != self.endpoint.dialect:
            return None  # it is not sent anything
        self._target = target
        return field_problem(self._scan.names, target)

    def carried(self, target: TargetState) -> bool:
        """Return whether the target's API is the client's: so large a body is not translated."""
        return target.target.dialect == self.endpoint.dialect

    def send(self, target: TargetState, connection: UpstreamConnection, extra: bytes) -> None:
        """Write the head, and start to write the body."""
        if target.target.dialect != self.endpoint.dialect:
            raise ContextTooLongError(
                f"{target.name} speaks another API, and a body of {self.size} bytes is not translated",
                code="body-not-translated",
                status=413,
            )
        model, (start, end) = self._replacement(target)
        length = self.size - (end - start) + len(model)
        connection.busy_body = True
        connection.write(target.request_head(self.endpoint.path, length, extra))
        self._connection = connection
        self._paused = False
        if self._passing:
            self.repeatable = False
            connection.write_body(self._first[:start] + model)
            if self._request.complete:
                self.body_end()
            else:
                self._send_held(connection, len(self._held) - 1)
                self._client.resume_reading()
        else:
            self._pieces = self._rewritten(start, end, model)
            self._pump()

    def _replacement(self, target: TargetState) -> tuple[bytes, tuple[int, int]]:
        """Return the bytes that name the target's model, and their place in the body."""
        if self._span is not None:
            return target.model_json, self._span
        at = self._first.index(b"{") + 1
        comma = b"," if self._scan.names else b""
        return b'"model":%b%b' % (target.model_json, comma), (at, at)

    def _rewritten(self, start: int, end: int, model: bytes) -> Iterator[bytes | memoryview]:
        """Yield the kept body, with the target's model in place of the client's."""
        assert self._map is not None
        whole = memoryview(self._map)
        self._at = 0
        for first, last, then in ((0, start, model), (end, len(whole), b"")):
            for at in range(first, last, _PIECE):
                self._at = at
                yield whole[at : min(at + _PIECE, last)]
            if then:
                yield then

    def _pump(self) -> None:
        """Write from the file until the connection accepts no more, or others should get their turn."""
        for _ in range(_TURN // _PIECE):
            if self._paused or self._connection is None:
                return
            piece = next(self._pieces, None)
            if piece is None:
                self._connection.busy_body = False
                return
            self._connection.write_body(piece)
        self._forget_sent()
        self._loop.call_soon(self._pump)

    def _forget_sent(self) -> None:
        """Release the pages that were sent, so that the body does not count as the process's memory."""
        if self._map is not None:
            behind = self._at // _TURN * _TURN
            if behind:
                self._map.madvise(mmap.MADV_DONTNEED, 0, behind)

    def pieces(self, request: Request) -> Iterator[bytes | memoryview]:  # noqa: ARG002  # as Payload has it
        """Yield the body from the file, and release what was read."""
        assert self._map is not None
        whole, behind = self._map, 0
        for at in range(0, len(whole), _PIECE):
            yield whole[at : at + _PIECE]
            if at - behind >= _TURN:
                behind = at // _TURN * _TURN
                whole.madvise(mmap.MADV_DONTNEED, 0, behind)

    def paused(self) -> None:
        """Write no more for now."""
        self._paused = True
        if self._passing:
            self._client.pause_reading()

    def resumed(self) -> None:
        """Continue to write."""
        self._paused = False
        if self._passing:
            self._client.resume_reading()
        else:
            self._pump()

    def passes(self, target: TargetState) -> bool:  # noqa: ARG002  # the signature of Payload
        """Return True: nothing is translated."""
        return True

    def follower(self, target: TargetState) -> AnswerFollower:
        """Return what follows the answer's stream."""
        return target.dialect.follow(swallow=False)

    def whole(self, target: TargetState, body: bytes) -> bytes:  # noqa: ARG002  # the signature of Payload
        """Return a whole answer unchanged: the APIs are the same."""
        return body

    def opening(self) -> bytes:
        """Return the body's first bytes, which later requests of the conversation share."""
        return self._first

    def opening_text(self) -> None:
        """Return None: a body that large is not parsed."""

    def text(self) -> None:
        """Return None: a body that large is not kept."""

    @property
    def is_written(self) -> bool:
        """Whether the connection has taken the whole body; True without a connection."""
        return self._connection is None or not self._connection.busy_body

    @property
    def answers(self) -> int:
        """How many answers are asked for by what was read of the body so far; at most, if of many prompts."""
        return self.fields.answers(self.endpoint.name, self._scan.prompts)

    def let_go(self) -> None:
        """Forget the connection: that attempt is over, and another may follow."""
        self._connection = None

    def close(self) -> None:
        """Release the file and the connection."""
        self.let_go()
        self._held = []
        self._map = None  # pieces that are not sent yet keep it alive
        self._pieces = iter(())
        file, self._file = self._file, None
        if file is not None:
            self._spool.close(file, self._written)


def _model(raw: bytes) -> str:
    """Return the model that a client names, empty if it is not a string."""
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
