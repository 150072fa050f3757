"""What every provider API offers: encoding a request, decoding an answer, reading a stream."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, get_args

import msgspec

from crossgrade.dialects._counts import Counts
from crossgrade.dialects._failures import excerpt, failure_inside
from crossgrade.dialects._following import StreamFollower
from crossgrade.dialects._inbound import read_json
from crossgrade.dialects.deltas import Collector, Reader
from crossgrade.dialects.hosts import Host
from crossgrade.domain import GrammarRequest, Image, Message, ModelAnswer, ModelRequest, Part
from crossgrade.errors import BadRequestError, UpstreamError

_T = TypeVar("_T")

UsageField: TypeAlias = Literal["usage", "usageMetadata"]
USAGE_FIELDS: tuple[UsageField, ...] = get_args(UsageField)
"""The fields of an answer that hold its usage."""


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request as sent: the path to add to the host's base URL, and the JSON body as a dict."""

    path: str
    body: dict[str, Any]

    def encode(self) -> bytes:
        """Return the body's bytes."""
        return msgspec.json.encode(self.body)


class Glance(NamedTuple):
    """The parts of a whole answer that matter: its tokens, its id, and whether it is unfinished."""

    counts: Counts
    id: str | None
    is_unfinished: bool


class _Whole(msgspec.Struct):
    """The parts of a whole answer, in any dialect, that matter."""

    usage: Any = None
    usage_metadata: Any = msgspec.field(default=None, name="usageMetadata")
    error: Any = None
    id: str | None = None
    type: str | None = None
    status: Any = None


_WHOLE = msgspec.json.Decoder(_Whole)
_UNFINISHED = ("queued", "in_progress")
"""States of a response of OpenAI's API that continues in the background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One provider API's translators, all pure.

    `encode(request, host, stream)` builds the call, `decode(body, request)` reads a whole
    answer and `reader(request)` reads a streamed one. Decoders raise `UpstreamError` for
    anything that is not a usable answer. `counts` reads the usage object of an answer, which
    is in the field `usage_field`. `follower` follows a stream that is passed on unchanged; it is None if no
    client speaks this API.
    """

    encode: Callable[[ModelRequest, Host, bool], WireRequest]
    decode: Callable[[bytes, ModelRequest], ModelAnswer]
    reader: Callable[[ModelRequest], Reader]
    counts: Callable[[Any], Counts]
    usage_field: UsageField = "usage"
    follower: type[StreamFollower] | None = None

    def follow(self, *, swallow: bool) -> StreamFollower:
        """Start to follow a stream that is passed on unchanged to a client of the same API."""
        assert self.follower is not None
        return self.follower(self.counts, swallow=swallow)

    def glance(self, body: bytes) -> Glance:
        """Read only the parts of a whole answer that matter.

        Raises `UpstreamError` if it is not a JSON object, and the provider's error if it is one.
        """
        try:
            whole = _WHOLE.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            what = excerpt(body) or "it is empty"
            raise UpstreamError(
                f"the provider's answer is not a JSON object: {what}", code="answer-not-json"
            ) from None
        if whole.error or whole.type == "error":
            raise failure_inside(body)
        usage = whole.usage if self.usage_field == "usage" else whole.usage_metadata
        return Glance(self.counts(usage), whole.id, whole.status in _UNFINISHED)

    def collect(self, request: ModelRequest) -> Collector:
        """Start gathering a streamed answer."""
        return Collector(self.reader(request))


def check_chat(request: ModelRequest, host: Host) -> None:
    """Raise `BadRequestError` for what APIs of chat messages alone do not carry: a raw text, a grammar."""
    if request.text is not None:
        raise BadRequestError(
            f"{host.name} takes chat messages, not a raw text prompt",
            code="raw-text-not-carried",
            hint="set `text: false` on the prompt",
        )
    if isinstance(request, GrammarRequest):
        check_grammar(host)


def check_grammar(host: Host) -> None:
    """Raise `BadRequestError` unless a host takes a grammar."""
    if host.grammar is None:
        raise BadRequestError(
            f"{host.name} takes no grammar for its answers",
            code="grammar-not-carried",
            hint="set `grammar: null` on the prompt; a `response_schema` may do",
        )


def decode_struct(decoder: msgspec.json.Decoder[_T], raw: bytes, what: str = "answer") -> _T:
    """Decode JSON of a known shape. Raises `UpstreamError`, which quotes it, if the shape is another."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise UpstreamError(
            f"the {what} has an unexpected shape ({excerpt(str(error))}): {excerpt(raw)}", code="answer-shape"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamError(
            f"the {what} is not valid JSON: {excerpt(raw) or 'it is empty'}", code="answer-not-json"
        ) from None


def json_arguments(text: str) -> Any:
    """Parse a tool call's arguments for a dialect that needs an object; `{}` if there are none."""
    try:
        return read_json(text) if text.strip() else {}
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise BadRequestError(
            f"the arguments of an earlier tool call are not JSON: {excerpt(text)}",
            code="arguments-not-json",
            hint="this API accepts only calls with valid JSON arguments in the conversation",
        ) from None


def compact_json(value: Any) -> str:
    """Write a JSON value as text without spaces."""
    return msgspec.json.encode(value).decode()


def message_parts(message: Message) -> tuple[Part, ...]:
    """Return a message's texts and images in order. A message without content has none."""
    return message.parts or (() if message.content is None else (message.content,))


def data_url(image: Image) -> str:
    """Return an image's URL, which holds its data if it has no other."""
    return image.url if image.url is not None else f"data:{image.media_type};base64,{image.data}"


def set_known(body: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """Add the fields whose value is not None."""
    body.update({name: value for name, value in fields.items() if value is not None})
