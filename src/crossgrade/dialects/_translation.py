"""Translates a stream of one API, event by event, into a stream of another."""

from crossgrade.dialects._client import ClientApi
from crossgrade.dialects._errors import error_words
from crossgrade.dialects._inbound import InboundRequest
from crossgrade.dialects._sse import SseReader
from crossgrade.dialects.deltas import Counted, Delta, Finished, Reader, broken_off, failed_stop
from crossgrade.domain import Usage
from crossgrade.errors import ProviderError, UpstreamError

LONGEST_STREAM = 64 << 20
"""The largest stream. Its size is bounded because some APIs repeat the whole answer in the last event."""


class StreamTranslator:
    """Turns an upstream's bytes into a client's events as they come, wherever they are split.

    `reader` reads the upstream's API (`DIALECTS[…].reader(request)`, of the request as sent),
    `client` is the API to write. Feed what comes and send on what is returned; after the
    upstream's last byte call `end`. A stream that fails, or stops before its end, ends in an
    error event (unless `says_failure` is off: somebody else says it) and never in the client's
    terminal marker; nothing is raised.
    """

    def __init__(
        self,
        reader: Reader,
        client: ClientApi,
        inbound: InboundRequest,
        *,
        id: str,  # noqa: A002  # the field's name in every API
        created: int,
        says_failure: bool = True,
    ) -> None:
        self.done = False
        """Whether the last event was returned: nothing that comes after is read."""

        self.failure: ProviderError | None = None
        """Why the stream failed. If nothing was sent yet, another target may be asked instead."""

        self.usage = Usage()
        self.finish_reason: str | None = None
        self._reader = reader
        self._events = SseReader()
        self._size = 0
        self._is_counted = False
        self._says_failure = says_failure
        self._writer = client.writer(inbound, id, created)

    def feed(self, chunk: bytes) -> bytes:
        """Take the upstream's next bytes and return the client's events that they complete."""
        written: list[bytes] = []
        self._size += len(chunk)
        try:
            if self._size > LONGEST_STREAM:
                raise UpstreamError(
                    f"the stream is longer than {LONGEST_STREAM} bytes", code="stream-too-long"
                )
            for event in () if self.done else self._events.feed(chunk):
                written += [self._take(delta) for delta in self._reader.read(event)]
                if self._reader.done:
                    written.append(self._finish())
                    break
        except ProviderError as error:
            written.append(self._fail(error))
        return b"".join(written)

    def end(self) -> bytes:
        """Take note of the upstream's end. Return the events that end the client's stream.

        Its mark may be missing where the finish reason and the usage have come: nothing else would.
        """
        if self.done:
            return b""
        if self._reader.marked and not self._is_counted:
            return self._fail(self._broken_off())
        return self._finish()

    def fail(self, error: ProviderError) -> bytes:
        """Give up the stream, such as after a time limit. Return the event that ends the client's stream."""
        return b"" if self.done else self._fail(error)

    def _take(self, delta: Delta) -> bytes:
        if isinstance(delta, Counted):
            self.usage = delta.usage
            self._is_counted = delta.usage.output_tokens is not None
        elif isinstance(delta, Finished):
            self.finish_reason = delta.reason
        return self._writer.write(delta)

    def _finish(self) -> bytes:
        if self.finish_reason is None:
            return self._fail(self._broken_off())
        failure = failed_stop(self.finish_reason)
        if failure is not None:
            return self._fail(failure)
        self.done = True
        return self._writer.end()

    def _broken_off(self) -> UpstreamError:
        return broken_off(self._reader.ending if self.finish_reason is None else "terminal marker")

    def _fail(self, error: ProviderError) -> bytes:
        self.done = True
        self.failure = error
        if not self._says_failure:
            return b""
        status, code = error_words(error)
        return self._writer.error(status, error.message, None, code)
