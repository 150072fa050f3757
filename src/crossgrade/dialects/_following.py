"""Follows a stream that is passed on unchanged. Few of its events are parsed."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec

from crossgrade.dialects._counts import Counts
from crossgrade.dialects._failures import failure_inside
from crossgrade.dialects._sse import SseEvent, SseReader
from crossgrade.errors import ProviderError, UpstreamError

LONGEST_EVENT = 4 << 20

_BOUNDARY = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n")
_BLOCK = re.compile(rb".*?(?:\r\n\r\n|\n\n|\r\r|\n\r\n)", re.DOTALL)
_ONE_LINE = re.compile(rb"data: ?([^\r\n]*)\n\n")
_ID = re.compile(rb'"id"\s*:\s*"([^"\\]{1,200})"')


class EventParts(msgspec.Struct):
    """The parts of an event, in any dialect, that matter."""

    type: str = ""
    choices: Any = None
    usage: Any = None
    error: Any = None
    message: Any = None
    response: Any = None


_PARTS = msgspec.json.Decoder(EventParts)


class StreamFollower(ABC):
    """Follows one stream of one dialect; each dialect has a kind of its own, see `Dialect.follow`.

    `feed` returns the bytes to pass on: whole events only, so that what follows a broken one can be
    read. With `swallow` the event that only counts tokens, which the client did not ask for, is left
    out. `done` says that the terminal marker came; nothing after it is passed on. `ended` says that the last
    event fed ends an answer, even if no marker follows. `failure` is what the provider said inside the
    stream; its event is not passed on.

    `marks` are byte strings that an event which may matter contains. Nearly all events contain none, and
    cost no more than the search. Many providers say `"usage":null` in every event; tokens are named only
    where they are counted.
    """

    marks: ClassVar[tuple[bytes, ...]] = ()

    __slots__ = (
        "_counts", "_is_new", "_partial", "done", "ended", "failure", "raw_usage", "response_id", "swallow",
    )  # fmt: skip

    def __init__(self, counts: Callable[[Any], Counts], *, swallow: bool) -> None:
        self.done = self.ended = False
        self.failure: ProviderError | None = None
        self.response_id: str | None = None
        self.swallow = swallow
        self.raw_usage: dict[str, Any] = {}
        self._counts = counts
        self._is_new = True
        self._partial = b""

    @property
    def needles(self) -> tuple[bytes, ...]:
        """What whole events that must be fed have in them; others may pass unread. Empty: all must be fed."""
        is_read = self._is_new or self._partial or self.done or self.failure is not None
        return () if is_read else self.marks

    @property
    def unfinished(self) -> bytes:
        """What came of an event that is not whole yet."""
        return self._partial

    @property
    def usage(self) -> Counts:
        """The tokens that the provider counted; unknown until then."""
        return self._counts(self.raw_usage)

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes and return the events that they complete."""
        if self.done or self.failure is not None:
            return b""
        if self._partial:
            data = self._partial + data
        if data.endswith(b"\n\n"):  # as nearly every piece does
            self._partial = b""
        else:
            cut = data.rfind(b"\n\n") + 2 if b"\r" not in data else _last_boundary(data)
            self._keep(data[cut:] if cut > 1 else data)
            if cut < 2:
                return b""
            data = data[:cut]
        if self._is_new:
            self._is_new = False
            found = _ID.search(data)
            self.response_id = found[1].decode("latin-1") if found is not None else None
        return self._look(data)

    def end(self) -> bytes:
        """Take note of the stream's end; return a terminal marker whose blank line never came."""
        return b""

    @abstractmethod
    def take(self, parts: EventParts) -> bool:
        """Take what matters of an event. Return whether the event is passed on."""

    def event(self, block: bytes) -> bool:
        """Read one event that may matter. Return whether it is passed on."""
        return all(self._parsed(event) for event in events_in(block))

    def _keep(self, rest: bytes) -> None:
        self._partial = rest
        if len(rest) > LONGEST_EVENT:
            self.failure = UpstreamError(
                f"the stream holds an event of more than {LONGEST_EVENT} bytes", code="stream-event-too-large"
            )

    def _look(self, data: bytes) -> bytes:
        """Parse the events that may matter, if there are any, and return those to pass on.

        Passing on the bytes before them in one piece saves a third of the time for a stream that arrives at
        once.
        """
        first = self._first(data)
        if first < 0:
            return data
        before = -1 if b"\r" in data else data.rfind(b"\n\n", 0, first)
        begin = before + 2 if before >= 0 else 0
        passed = [data[:begin]]
        for block in _blocks(data[begin:]):
            try:
                keep = self._first(block) < 0 or self.event(block)
            except ProviderError as error:
                self.failure = error
                break
            if keep:
                passed.append(block)
            if self.done:
                break
        return b"".join(passed)

    def _first(self, data: bytes) -> int:
        """Return the position of the first mark, or -1 if there is none."""
        first = -1
        for mark in self.marks:
            at = data.find(mark) if first < 0 else data.find(mark, 0, first)
            if at >= 0:
                first = at
        return first

    def _parsed(self, event: SseEvent) -> bool:
        try:
            parts = _PARTS.decode(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return True  # whatever it is, it is for the client to read
        if parts.error or event.name == "error" or parts.type == "error":
            raise failure_inside(event.data)
        return self.take(parts)


def events_in(block: bytes) -> Sequence[SseEvent]:
    """Read the event in a block of lines; one of one line, as nearly all are, without a reader for it."""
    line = _ONE_LINE.fullmatch(block)
    if line is not None:
        return (SseEvent("", line[1]),)
    return SseReader(longest_line=LONGEST_EVENT).feed(block)


def _blocks(data: bytes) -> list[bytes]:
    """Return whole events, each with the blank line that ends it."""
    if b"\r" in data:
        return _BLOCK.findall(data)
    return [block + b"\n\n" for block in data[:-2].split(b"\n\n")]


def _last_boundary(data: bytes) -> int:
    """Return the position where the last whole event ends, or 0 if there is none."""
    end = 0
    for found in _BOUNDARY.finditer(data):
        end = found.end()
    return end
