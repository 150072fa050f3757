"""Bodies small enough to be parsed: the few fields that count, and the bytes an upstream gets.

The bytes pass through as they are, but for the value of `model` (and `stream_options`, where
usage has to be asked for).
"""

import re
from typing import Annotated, Any

import msgspec

from crossgrade.dialects import excerpt
from crossgrade.gateway._answers import Problem, bad_request
from crossgrade.gateway._schema import BACKSLASH, check_fields

BYTES_PER_TOKEN = 4
"""Of English text in JSON; only for estimates, which are marked as such."""

DEFAULT_OUTPUT_TOKENS = 1024
"""Reserved for an answer when the request does not bound it."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
_MOST_CHOICES = 128

_KEY = re.compile(rb'[{,]\s*"((?:[^"\\]|\\.)*)"\s*:\s*')
_STREAM_OPTIONS = re.compile(rb'"stream_options"\s*:\s*')
_IMAGE = re.compile(rb'"(?:image_url|input_image)"|"type"\s*:\s*"image"')
_ASK_USAGE = b',"stream_options":{"include_usage":true}'


_PLAIN_VALUE = re.compile(rb'\s*:\s*("[^"\\]*")')
_LETTERS = re.compile(rb"\\u00[46]")
"""Letters of `model` written as escapes."""


_NOTHING = msgspec.Raw(b"")


class _Metadata(msgspec.Struct):
    user_id: Any = None


class Asked(msgspec.Struct):
    """What a body says that the gateway acts on; everything else is between client and model."""

    model: str | None = None
    stream: bool | None = None
    stream_options: msgspec.Raw = _NOTHING
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    max_output_tokens: _Count | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=_MOST_CHOICES)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    tools: msgspec.Raw = _NOTHING
    user: str | None = None
    metadata: _Metadata | None = None
    conversation: Any = None
    prompt_cache_key: str | None = None
    previous_response_id: str | None = None
    background: Any = None

    @property
    def most_output_tokens(self) -> int | None:
        """The most tokens that the answer may have, over all choices; None where nothing is said."""
        most = self.max_completion_tokens or self.max_output_tokens or self.max_tokens
        return None if most is None else most * (self.n or 1)

    @property
    def has_tools(self) -> bool:
        """Whether tools are offered."""
        return bytes(self.tools).strip(b"[] \n\r\t") not in (b"", b"null")

    @property
    def user_name(self) -> str | None:
        """Who the client says is asking."""
        if self.user is not None:
            return self.user
        name = None if self.metadata is None else self.metadata.user_id
        return name if isinstance(name, str) else None

    @property
    def conversation_name(self) -> str | None:
        """What the request shares with others of its conversation, where the client says so."""
        for name in (self.named_conversation, self.prompt_cache_key, self.previous_response_id):
            if isinstance(name, str) and name:
                return name
        return None

    @property
    def named_conversation(self) -> str | None:
        """The conversation's own name: a prompt cache's key may be that of all traffic."""
        named = self.conversation
        if isinstance(named, dict):
            named = named.get("id")
        return named if isinstance(named, str) and named else None


class _Opening(msgspec.Struct):
    messages: list[msgspec.Raw] | None = None
    input: msgspec.Raw = _NOTHING
    prompt: msgspec.Raw = _NOTHING
    system: msgspec.Raw = _NOTHING


class _Said(msgspec.Struct):
    role: Any = None


_ASKED = msgspec.json.Decoder(Asked)
_OPENING = msgspec.json.Decoder(_Opening)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_ROLE = msgspec.json.Decoder(_Said)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OPTIONS = msgspec.json.Decoder(dict[str, Any] | None)


def read_body(body: bytes, lower: bytes) -> Asked | Problem:
    """Parse a body, or say why it is refused; `lower` is the same in lower case."""
    try:
        asked = _ASKED.decode(body)
    except msgspec.ValidationError as error:
        return bad_request(f"The body has a field of the wrong type: {excerpt(str(error))}", "invalid_type")
    except UnicodeDecodeError:
        return bad_request("The body is not UTF-8.", "invalid_json")
    except msgspec.DecodeError as error:
        what = excerpt(str(error)) if body.strip() else "it is empty"
        return bad_request(f"The body is not JSON: {what}", "invalid_json")
    except RecursionError:
        return bad_request("The body is nested too deep.", "too_deep")
    problem = check_fields(body, lower)
    if problem is None and not body.isascii():
        problem = _utf8_problem(body)
    return asked if problem is None else problem


def _utf8_problem(body: bytes) -> Problem | None:
    try:
        body.decode()
    except UnicodeDecodeError:
        return bad_request("The body is not UTF-8.", "invalid_json")
    return None


def model_span(body: bytes, lower: bytes, asked: Asked) -> tuple[int, int] | Problem | None:
    """Return where the value of the top-level `model` stands in a body that was read; None: there is none.

    `lower` is the body in lower case.
    The key given twice (in any spelling that some parser takes for it) is refused: client and
    provider could each mean another one.
    """
    if lower.count(b'"model"') == 1 and (BACKSLASH not in body or _LETTERS.search(body) is None):
        at = body.find(b'"model"')
        found = _PLAIN_VALUE.match(body, at + 7) if at >= 0 else None
        if found is not None and asked.model is not None:
            return found.span(1)
    return _searched_span(body)


def _searched_span(body: bytes) -> tuple[int, int] | Problem | None:
    """Find the span by walking from key to key; the parser says how long each value is."""
    fields = _FIELDS.decode(body)
    at = body.index(b"{")
    found: tuple[int, int] | None = None
    for _ in range(len(fields) + 1):
        key = _KEY.match(body, at)
        if key is None:
            return found
        name = msgspec.json.decode(b'"%b"' % key[1], type=str)
        value = bytes(fields[name])
        if body[key.end() : key.end() + len(value)] != value:
            return _twice(name)
        if name.lower() == "model":
            if found is not None or name != "model":
                return _twice(name)
            found = (key.end(), key.end() + len(value))
        at = key.end() + len(value)
        while body[at : at + 1].isspace():
            at += 1
    return _twice("model")


def _twice(name: str) -> Problem:
    where = name[:100]
    return bad_request(f"The key `{where}` is there twice.", "duplicate_key")


def rewritten(
    body: bytes, span: tuple[int, int] | None, model: bytes, options: msgspec.Raw, *, ask_usage: bool
) -> bytes:
    """Return the body with `model` (a JSON string) in the span, or put in where there is none.

    With `ask_usage` the stream is asked to end with its usage; `options` are the body's
    `stream_options`.
    """
    if ask_usage and options:
        changed = _asking(body, options)
        if changed is not None:
            after = span is None or body.find(b'"stream_options"') > span[1]
            shift = 0 if after else len(changed) - len(body)
            span = None if span is None else (span[0] + shift, span[1] + shift)
            return rewritten(changed, span, model, _NOTHING, ask_usage=False)
        ask_usage = False
    asking = _ASK_USAGE if ask_usage else b""
    if span is not None:
        return b"%b%b%b%b" % (body[: span[0]], model, asking, body[span[1] :])
    at = body.index(b"{") + 1
    comma = b"" if body[at:].lstrip()[:1] == b"}" else b","
    return b'%b"model":%b%b%b%b' % (body[:at], model, asking, comma, body[at:])


def _asking(body: bytes, options: msgspec.Raw) -> bytes | None:
    """Return the body with usage asked for in its `stream_options`, None where that cannot be done safely."""
    raw = bytes(options)
    found = _STREAM_OPTIONS.search(body)
    if found is None or body.count(b'"stream_options"') > 1 or not body.startswith(raw, found.end()):
        return None
    try:
        fields = _OPTIONS.decode(raw) or {}
    except msgspec.DecodeError:
        return None
    fields["include_usage"] = True
    return b"%b%b%b" % (body[: found.end()], msgspec.json.encode(fields), body[found.end() + len(raw) :])


def asks_for_usage(options: msgspec.Raw) -> bool:
    """Tell whether the client itself asked for usage in its stream."""
    if not options:
        return False
    try:
        return (_OPTIONS.decode(options) or {}).get("include_usage") is True
    except msgspec.DecodeError:
        return False


def opening(body: bytes) -> bytes:
    """Return what stays the same while a conversation grows: its messages up to the user's first."""
    try:
        start = _OPENING.decode(body)
        messages = start.messages or ()
        if bytes(start.input).startswith(b"["):
            messages, start.input = _ITEMS.decode(start.input), _NOTHING
        first = []
        for message in messages:
            first.append(bytes(message))
            if not _instructs(message):
                break
    except (msgspec.DecodeError, RecursionError):
        return b""
    return b"\n".join((*first, bytes(start.system), bytes(start.input), bytes(start.prompt)))


def _instructs(message: msgspec.Raw) -> bool:
    """Tell whether a message says how to answer, rather than what."""
    try:
        return _ROLE.decode(message).role in ("system", "developer")
    except msgspec.ValidationError:  # a text alone, as embeddings have
        return False


def modality(body: bytes) -> str:
    """Return what a prompt is made of, by the kinds of its parts: `image`, `audio`, else `text`."""
    if _IMAGE.search(body):
        return "image"
    return "audio" if body.find(b'"input_audio"') >= 0 else "text"


def estimated_tokens(size: int) -> int:
    """Return about how many tokens so many bytes hold, at least 1."""
    return size // BYTES_PER_TOKEN or 1
