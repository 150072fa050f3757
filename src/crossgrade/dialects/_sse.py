"""An incremental reader of server-sent events. The bytes may be split anywhere."""

from dataclasses import dataclass

from crossgrade.errors import UpstreamError

LONGEST_LINE = 1 << 20
LONGEST_EVENT = 4 << 20


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One dispatched event: its name (`""` when none was given) and its data, lines joined by LF."""

    name: str
    data: bytes


class SseReader:
    """Turns arriving bytes into events by the WHATWG rules for event streams.

    Lines end in LF, CRLF or CR; comments, ids and retry times are skipped; several `data`
    lines make one event. An event whose closing blank line never came is not dispatched. A
    line over `longest_line` or an event over `longest_event` bytes raises `UpstreamError`.
    """

    def __init__(self, *, longest_line: int = LONGEST_LINE, longest_event: int = LONGEST_EVENT) -> None:
        self._longest_line = longest_line
        self._longest_event = longest_event
        self._partial: list[bytes] = []
        self._partial_size = 0
        self._after_cr = False
        self._first = True
        self._name = ""
        self._data: list[bytes] = []
        self._data_size = 0

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Take the next bytes and return the events they complete."""
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = chunk.split(b"\n")
        events: list[SseEvent] = []
        for line in lines:
            if self._partial:
                line = b"".join((*self._partial, line))  # noqa: PLW2901  # the line began in an earlier chunk
                self._partial.clear()
                self._partial_size = 0
            event = self._line(line)
            if event is not None:
                events.append(event)
        if rest:
            self._partial.append(rest)
            self._partial_size += len(rest)
            self._bound(self._partial_size, self._longest_line, "line")
        return events

    def _line(self, line: bytes) -> SseEvent | None:
        if self._first:
            self._first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        self._bound(len(line), self._longest_line, "line")
        field, _, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            self._data.append(value)
            self._data_size += len(value) + 1
            self._bound(self._data_size, self._longest_event, "event")
        elif field == b"event":
            self._name = value.removeprefix(b" ").decode("utf-8", "replace")
        return None

    def _dispatch(self) -> SseEvent | None:
        event = SseEvent(self._name, b"\n".join(self._data)) if self._data else None
        self._name = ""
        self._data.clear()
        self._data_size = 0
        return event

    @staticmethod
    def _bound(size: int, limit: int, what: str) -> None:
        if size > limit:
            raise UpstreamError(
                f"the stream holds a {what} of more than {limit} bytes", code="stream-event-too-large"
            )
