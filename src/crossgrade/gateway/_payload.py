"""What is sent to a target: the client's own bytes if it uses the same API, else a translation.

Of the client's own bytes only the value of `model` changes, and `stream_options` if usage must be requested.
"""

import re
import time
from collections.abc import Iterable, Set
from dataclasses import replace
from typing import Any, Literal, Protocol

import msgspec

from crossgrade.dialects import (
    CLIENTS,
    ClientName,
    ForcedCallReader,
    InboundRequest,
    Reader,
    StreamTranslator,
    as_schema_request,
    as_tool_call,
    failed_stop,
    forced_tools,
    read_number,
)
from crossgrade.domain import ModelAnswer, ModelRequest
from crossgrade.errors import BadRequestError, ProviderError
from crossgrade.gateway._answers import AnswerFollower
from crossgrade.gateway._body import (
    BodyFields,
    folded_bytes,
    model_span,
    options_span,
    read_body,
    tool_names,
    top_level_names,
)
from crossgrade.gateway._fields import IN_BACKGROUND, choosing
from crossgrade.gateway._head import Endpoint, Request
from crossgrade.gateway._problems import Problem
from crossgrade.gateway._targets import TargetState
from crossgrade.gateway._upstream import UpstreamConnection
from crossgrade.routing import opening_text


class Payload(Protocol):
    """A request's body on its way to a target.

    `endpoint` is the path that it came to. `fields` are those that the gateway acts on, as far as they are
    known. `size` is in bytes. `drops` says that parameters without an equal in a target's API are left out.
    `repeatable` says whether the body can be sent, or sent again. A `one_shot` body can be sent once only, so
    it needs a fresh connection. `answer_id` is the id that a translated answer has, None for any other.
    """

    answer_id: str | None
    drops: bool
    endpoint: Endpoint
    fields: BodyFields
    size: int
    repeatable: bool
    one_shot: bool

    @property
    def is_written(self) -> bool:
        """Whether the connection has taken the whole body."""

    @property
    def modality(self) -> str | None:
        """The kind of the prompt: `text`, `image` or `audio`; None if unknown."""

    @property
    def plain(self) -> bool | None:
        """Whether the body is text alone, without tools, their calls or results; None if unknown."""

    @property
    def answers(self) -> int:
        """How many answers are asked for, as far as that is known."""

    def forbidden(self, target: TargetState) -> Problem | None:
        """Return why a target may not be sent the body: it is not translated, and has a forbidden field."""

    def carried(self, target: TargetState) -> bool:
        """Return whether the target's API can express the request."""

    def send(self, target: TargetState, connection: UpstreamConnection, extra: bytes) -> None:
        """Write head and body; raises BadRequestError if the target's API cannot carry the request."""

    def passes(self, target: TargetState) -> bool:
        """Return whether the target's answer already is in the client's API."""

    def follower(self, target: TargetState) -> AnswerFollower:
        """Return what follows the answer's stream."""

    def whole(self, target: TargetState, body: bytes) -> bytes:
        """Return a whole answer in the client's API; raises ProviderError."""

    def opening(self) -> bytes:
        """Return the part of the body that stays the same while a conversation grows."""

    def opening_text(self) -> str | None:
        """Return the opening of the conversation as a router reads it; None if it is more than text."""

    def text(self) -> str | None:
        """Return the body as the client sent it, for the log; None if it was not kept."""

    def pieces(self, request: Request) -> Iterable[bytes | memoryview]:
        """Return the body as the client sent it with this request."""

    def paused(self) -> None:
        """Write no more for now."""

    def resumed(self) -> None:
        """Continue to write."""

    def let_go(self) -> None:
        """Forget the connection: that attempt is over, and another may follow."""

    def close(self) -> None:
        """Release what was kept."""


_SURELY_TAKEN_BYTES = 1 << 16
"""No server is known that closes the connection, instead of answering, at a body of this size or less."""


def may_be_by_body(error: ProviderError, payload: Payload, *, begun: bool) -> bool:
    """Return whether a call may have failed because of the body that it was sent.

    Its client may be slow to send it. Or the target closes at a body over its own limit: its answer is then
    lost where the connection is reset, even if all of the body is on its way. `begun` says that the head of
    an answer arrived.
    """
    if not payload.is_written:
        return True
    return not begun and error.code == "connection-broke-off" and payload.size > _SURELY_TAKEN_BYTES


class ParsedPayload:
    """A body that was parsed."""

    __slots__ = ("_encoded", "_inbound", "_span", "answer_id", "body", "drops", "endpoint", "fields", "size")

    repeatable = is_written = True
    one_shot = False

    def __init__(
        self, endpoint: Endpoint, body: bytes, fields: BodyFields, span: tuple[int, int] | None
    ) -> None:
        self.endpoint = endpoint
        self.body = body
        self.fields = fields
        self.size = len(body)
        self._span = span
        self._inbound: InboundRequest | None = None
        self._encoded: tuple[TargetState, tuple[str, bytes]] | None = None
        self.answer_id: str | None = None
        self.drops = False

    def forbidden(self, target: TargetState) -> Problem | None:
        """Return why the target may not be sent the body as it is. A translation has no such field."""
        if self._is_translated(target):
            return None
        names: Set[str] | Problem = frozenset()
        if self.fields.tools or self.endpoint.name == "responses":  # whose input may add tools
            names = tool_names(self.body, target.tool_marks)
        if not names and target.refuses_fields:
            names = top_level_names(self.body)
        return names if isinstance(names, Problem) else field_problem(names, target)

    def carried(self, target: TargetState) -> bool:
        """Return whether the target's API can express the request. What was translated is kept for `send`."""
        if self._is_translated(target):
            try:
                self._encoded = target, self._translated(target)
            except Exception:  # noqa: BLE001  # whatever the reason, another target must answer
                return False
        return True

    def send(self, target: TargetState, connection: UpstreamConnection, extra: bytes) -> None:
        """Write head and body in one piece."""
        self.answer_id = None
        path, body = self.encode(target)
        connection.write(target.request_head(path, len(body), extra) + body)

    def encode(self, target: TargetState) -> tuple[str, bytes]:
        """Return path and body for a target; raises BadRequestError."""
        endpoint = self.endpoint
        settings = target.target
        if self._is_translated(target):
            encoded, self._encoded = self._encoded, None
            return encoded[1] if encoded is not None and encoded[0] is target else self._translated(target)
        fields = self.fields
        ask_usage = bool(fields.stream) and settings.stream_usage and settings.dialect == "openai"
        body = rewritten(self.body, self._span, target.model_json, fields.stream_options, ask_usage=ask_usage)
        return endpoint.path, body

    def _translated(self, target: TargetState) -> tuple[str, bytes]:
        request = self._request(target)
        wire = target.dialect.encode(request, target.host, bool(self.fields.stream))
        return wire.path, wire.encode()

    def passes(self, target: TargetState) -> bool:
        """Return whether nothing is translated."""
        return not self._is_translated(target)

    def _is_translated(self, target: TargetState) -> bool:
        if target.target.dialect != self.endpoint.dialect:
            return True
        return target.is_local and self.fields.has_tools and _demands_call(self.body)

    def _forced(self, target: TargetState) -> bool:
        """Whether a local model is made to call a tool, as in an evaluation."""
        return target.is_local and self.fields.has_tools and bool(forced_tools(self._read().request))

    def _request(self, target: TargetState) -> ModelRequest:
        """Return the request as it is sent."""
        request = replace(self._read().request, model=target.target.model)
        return as_schema_request(request, forced_tools(request)) if self._forced(target) else request

    @property
    def modality(self) -> str:
        """The kind of the prompt: `text`, `image` or `audio`."""
        return modality(self.body)

    @property
    def plain(self) -> bool:
        """Whether the body is text alone, without tools, their calls or results."""
        return not self.fields.has_tools and self.modality == "text" and not _NOT_PLAIN.search(self.body)

    @property
    def answers(self) -> int:
        """How many answers are asked for."""
        return self.fields.answers(self.endpoint.name)

    @property
    def _client(self) -> ClientName:
        assert self.endpoint.client is not None
        return self.endpoint.client

    def _read(self) -> InboundRequest:
        if self._inbound is None:
            if not self.endpoint.has_output:
                raise BadRequestError(
                    "embeddings are for targets that speak OpenAI's API only", code="embeddings-not-carried"
                )
            self._inbound = CLIENTS[self._client].read_request(self.body, drop=self.drops)
        return self._inbound

    def follower(self, target: TargetState) -> AnswerFollower:
        """Return what follows the answer's stream, and translates it if the APIs differ."""
        if not self._is_translated(target):
            return target.dialect.follow(swallow=not asks_for_usage(self.fields.stream_options))
        inbound = self._read()
        reader: Reader = target.dialect.reader(self._request(target))
        if self._forced(target):
            reader = ForcedCallReader(reader)
        return StreamTranslator(
            reader,
            CLIENTS[self._client],
            inbound,
            id=self._named(),
            created=int(time.time()),
            says_failure=False,  # the exchange does that
        )

    def whole(self, target: TargetState, body: bytes) -> bytes:
        """Return a whole answer in the client's API."""
        if not self._is_translated(target):
            return body
        inbound = self._read()
        answer: ModelAnswer = target.dialect.decode(body, self._request(target))
        if self._forced(target):
            answer = as_tool_call(answer)
        failure = failed_stop(answer.finish_reason)
        if failure is not None:
            raise failure
        return CLIENTS[self._client].render_answer(answer, inbound, self._named(), int(time.time()))

    def _named(self) -> str:
        """Return a new id for the answer that the client gets."""
        self.answer_id = f"{CLIENTS[self._client].id_prefix}{time.time_ns():x}"
        return self.answer_id

    def opening(self) -> bytes:
        """Return the conversation's first messages."""
        return opening(self.body)

    def opening_text(self) -> str | None:
        """Return the opening of the conversation as a router reads it; None if it is more than text."""
        return opening_text_of(self.body)

    def text(self) -> str:
        """Return the body as the client sent it."""
        return self.body.decode("utf-8", "replace")

    def pieces(self, request: Request) -> Iterable[bytes | memoryview]:
        """Return the body as the client sent it: earlier responses may have been put into `body`."""
        return request.parts

    def paused(self) -> None:
        """Do nothing: everything is written already."""

    def resumed(self) -> None:
        """Do nothing: everything is written already."""

    def let_go(self) -> None:
        """Do nothing: everything was written at once."""

    def close(self) -> None:
        """Do nothing: the body is released with the request."""


def field_problem(names: Set[str], target: TargetState) -> Problem | None:
    """Return why a target may not be sent these top-level keys and types of tools, None if it may."""
    found = target.forbidden & names
    return choosing(min(found), target.name) if found else None


def read_payload(endpoint: Endpoint, body: bytes) -> ParsedPayload | Problem:
    """Parse a body, or return why it is refused."""
    lower = folded_bytes(body)
    fields = read_body(body, lower)
    if isinstance(fields, Problem):
        return fields
    if fields.in_background:
        return IN_BACKGROUND
    span = model_span(body, lower, fields)
    if isinstance(span, Problem):
        return span
    return ParsedPayload(endpoint, body, fields, span)


class _Choosing(msgspec.Struct):
    tool_choice: Any = None


_CHOOSING = msgspec.json.Decoder(_Choosing, float_hook=read_number)


def _demands_call(body: bytes) -> bool:
    """Return whether a body of OpenAI's API forces the model to call a tool."""
    return _CHOOSING.decode(body).tool_choice not in (None, "auto", "none")


_IMAGE = re.compile(rb'"(?:image_url|input_image)"|"type"\s*:\s*"image"')
_NOT_PLAIN = re.compile(
    rb'"(?:tool(?:_(?:calls|use|result))?|f(?:unction(?:s|_call(?:_output)?|Call|Response)?|ile(?:Data|_data)?)'
    rb'|in(?:put_file|line(?:Data|_data))|document)"'
)
"""Keys and types of tools and of files. Inside a text their quotes are escaped, so no text matches.

No two branches begin alike, which is five times as fast where a body has many quotes.
"""

_ASK_USAGE = b',"stream_options":{"include_usage":true}'


_NOTHING = msgspec.Raw(b"")


class _Opening(msgspec.Struct):
    messages: list[msgspec.Raw] | None = None
    input: msgspec.Raw = _NOTHING
    prompt: msgspec.Raw = _NOTHING
    system: msgspec.Raw = _NOTHING


class _WithRole(msgspec.Struct):
    role: Any = None


_OPENING = msgspec.json.Decoder(_Opening)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_ROLE = msgspec.json.Decoder(_WithRole, float_hook=read_number)
_OPTIONS = msgspec.json.Decoder(dict[str, Any] | None, float_hook=read_number)


def rewritten(
    body: bytes, span: tuple[int, int] | None, model: bytes, options: msgspec.Raw, *, ask_usage: bool
) -> bytes:
    """Return the body with `model` (a JSON string) in the span, or added if there is none.

    With `ask_usage` the stream is asked to end with its usage. `options` are the body's `stream_options`.
    """
    if ask_usage and options:
        ask_usage = False
        changed, place = _asking(options), options_span(body, options)
        if changed is not None and place is not None:
            start, end = place
            shift = len(changed) - (end - start) if span is not None and span[0] > start else 0
            span = None if span is None else (span[0] + shift, span[1] + shift)
            body = b"%b%b%b" % (body[:start], changed, body[end:])
    asking = _ASK_USAGE if ask_usage else b""
    if span is not None:
        return b"%b%b%b%b" % (body[: span[0]], model, asking, body[span[1] :])
    at = body.index(b"{") + 1
    comma = b"" if body[at:].lstrip()[:1] == b"}" else b","
    return b'%b"model":%b%b%b%b' % (body[:at], model, asking, comma, body[at:])


def _asking(options: msgspec.Raw) -> bytes | None:
    """Return `stream_options` with usage requested, None if they are no object: the provider refuses them."""
    try:
        fields = _OPTIONS.decode(options) or {}
    except msgspec.DecodeError:
        return None
    fields["include_usage"] = True
    return msgspec.json.encode(fields)


def asks_for_usage(options: msgspec.Raw) -> bool:
    """Return whether the client itself requested usage in its stream."""
    if not options:
        return False
    try:
        return (_OPTIONS.decode(options) or {}).get("include_usage") is True
    except msgspec.DecodeError:
        return False


def opening(body: bytes) -> bytes:
    """Return the messages up to the user's first: they stay the same while a conversation grows."""
    try:
        start = _OPENING.decode(body)
        messages = start.messages or ()
        if bytes(start.input).lstrip(b"[ \t\r\n").startswith(b"{"):  # a list of texts has no roles
            messages, start.input = _ITEMS.decode(start.input), _NOTHING
        first = []
        for message in messages:
            first.append(bytes(message))
            if not _instructs(message):
                break
    except (msgspec.DecodeError, RecursionError):
        return b""
    return b"\n".join((*first, bytes(start.system), bytes(start.input), bytes(start.prompt)))


class _Spoken(msgspec.Struct):
    role: str = "user"
    content: msgspec.Raw = _NOTHING


class _Conversation(msgspec.Struct):
    messages: list[_Spoken] | None = None
    input: str | list[_Spoken] | None = None
    prompt: str | None = None
    system: msgspec.Raw = _NOTHING
    instructions: str | None = None


class _Part(msgspec.Struct):
    text: str
    type: Literal["text", "input_text"] = "text"


_CONVERSATION = msgspec.json.Decoder(_Conversation)
_CONTENT = msgspec.json.Decoder(str | list[_Part])


def opening_text_of(body: bytes) -> str | None:
    """Return the texts of a body's messages up to the user's first; None if they are more than text."""
    try:
        found = _CONVERSATION.decode(body)
        spoken = found.messages or (found.input if isinstance(found.input, list) else [])
        messages = [
            ("system", text) for text in (_text(found.system), found.instructions) if text is not None
        ]
        for message in spoken:
            messages.append((message.role, _text(message.content) or ""))
            if message.role == "user":
                break
        prompt = found.prompt if isinstance(found.input, list) else found.input or found.prompt
    except (msgspec.DecodeError, RecursionError):
        return None
    return opening_text((*messages, *([] if prompt is None else [("user", prompt)])))


def _text(content: msgspec.Raw) -> str | None:
    """Return a content's text, None if there is none; raises DecodeError for more than text."""
    if not content or bytes(content) == b"null":
        return None
    decoded = _CONTENT.decode(content)
    return decoded if isinstance(decoded, str) else "\n".join(part.text for part in decoded)


def _instructs(message: msgspec.Raw) -> bool:
    """Return whether a message has the role of an instruction."""
    try:
        return _ROLE.decode(message).role in ("system", "developer")
    except msgspec.ValidationError:  # a plain string, as embeddings have
        return False


def modality(body: bytes) -> str:
    """Return the kind of a prompt by its parts: `image`, `audio`, else `text`."""
    if _IMAGE.search(body):
        return "image"
    return "audio" if body.find(b'"input_audio"') >= 0 else "text"
