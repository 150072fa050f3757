"""What every API flavour offers: encode a request, decode an answer, collect a stream."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from crossgrade.domain import ModelAnswer, ModelRequest
from crossgrade.errors import BadRequestError, UpstreamError
from crossgrade.wire._excerpt import excerpt
from crossgrade.wire._sse import SseEvent
from crossgrade.wire.hosts import Host

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request as sent: the path to add to the host's base URL, and the JSON body as a dict."""

    path: str
    body: dict[str, Any]

    def encode(self) -> bytes:
        """Return the body's bytes."""
        return msgspec.json.encode(self.body)


class Collector(Protocol):
    """Gathers the events of one stream into an answer."""

    started: bool
    """Whether the model's first token (text, call or reasoning) has come."""

    done: bool
    """Whether the stream's last event has come, so that nothing more is worth waiting for."""

    def feed(self, event: SseEvent) -> None:
        """Take the next event; raises a `ProviderError` for an error sent inside the stream."""

    def answer(self) -> ModelAnswer:
        """Return the whole answer; raises `UpstreamError` when the stream broke off before its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavour:
    """One API's three translators, all pure.

    `encode(request, host, stream)` builds the call, `decode(body, request)` reads a whole
    answer and `collect(request)` starts reading a streamed one. Decoders raise
    `UpstreamError` for anything that is not a usable answer.
    """

    encode: Callable[[ModelRequest, Host, bool], WireRequest]
    decode: Callable[[bytes, ModelRequest], ModelAnswer]
    collect: Callable[[ModelRequest], Collector]


def decode_struct(decoder: msgspec.json.Decoder[_T], raw: bytes, what: str = "answer") -> _T:
    """Decode JSON of a known shape; raises `UpstreamError` with a short quotation when it is not that."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise UpstreamError(
            f"the {what} has an unexpected shape ({excerpt(str(error))}): {excerpt(raw)}"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamError(f"the {what} is not valid JSON: {excerpt(raw) or 'it is empty'}") from None


def broken_off(what: str) -> UpstreamError:
    """Describe a stream that ended before its terminal marker."""
    return UpstreamError(f"the stream broke off before its end ({what}): the answer is incomplete")


def json_arguments(text: str) -> Any:
    """Parse a tool call's arguments for a flavour that wants them as an object, `{}` when there are none."""
    try:
        return msgspec.json.decode(text) if text.strip() else {}
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise BadRequestError(
            f"the arguments of an earlier tool call are not JSON: {excerpt(text)}",
            hint="this API accepts only calls with valid JSON arguments in the conversation",
        ) from None


def compact_json(value: Any) -> str:
    """Write a JSON value as text without spaces."""
    return msgspec.json.encode(value).decode()


def set_known(body: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """Add the fields whose value is not None."""
    body.update({name: value for name, value in fields.items() if value is not None})
