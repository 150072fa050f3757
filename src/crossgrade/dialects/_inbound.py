"""The request of a client, and a reader of JSON objects that overlooks no field."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import msgspec

from crossgrade.dialects._failures import excerpt
from crossgrade.domain import JSON, Image, Message, ModelRequest, Part, Tool
from crossgrade.errors import BadRequestError

MODES = ("auto", "none", "required")
"""The tool choices that name no tool."""

MOST_OBJECTS = 5000
"""Objects that are read of one request, so that no body takes long; each is a few lines of Python."""

_MOST_MARKS = 100_000
"""Brackets, colons and commas of a body; so many values are parsed in about 10 ms."""

_SHORT = 100
"""A text of so many characters has few parts, however many there are of it."""

_NO_MARKS = bytes(set(range(256)) - set(b'{}[]:,"'))
_BACKSLASH = ord("\\")

_CONVERSATION = ("conversation_id", "session_id", "thread_id")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundRequest:
    """A client's request, independent of its API.

    `stream` asks for events, `include_usage` for the tokens among them. `user` and `conversation` are the
    client's names for the user and the conversation, `metadata` its labels. None of the three is sent on.
    """

    request: ModelRequest
    stream: bool = False
    include_usage: bool = False
    user: str | None = None
    conversation: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def _too_many(what: str) -> BadRequestError:
    return BadRequestError(
        f"the body has too many {what} to be carried to a model of another API",
        code="too-many-objects",
        hint=f"send fewer, longer messages: at most {MOST_OBJECTS} messages, pieces and tools",
        details={"param": "messages"},
    )


class _Read:
    """What was read of one request so far: objects, and values in texts that are JSON themselves."""

    __slots__ = ("objects", "values")

    def __init__(self) -> None:
        self.objects = self.values = 0


class Fields:
    """The fields of one JSON object. Each is taken or dropped; `end` refuses what is left.

    `parent` is the object that holds it, under `name` and, in a list, `index`. A field that is null counts
    as not given. `raw` belongs to the reader, which takes its fields out.
    """

    __slots__ = ("_index", "_left", "_name", "_parent", "read")

    def __init__(
        self, raw: Any, parent: "Fields | None" = None, name: str = "", index: int | None = None
    ) -> None:
        self._parent = parent
        self._name = name
        self._index = index
        if type(raw) is not dict:
            raise BadRequestError(
                f"{f'`{self.at}`' if parent is not None else 'the body'} must be an object",
                code="field-invalid",
                hint="see the API's reference",
            )
        self.read: _Read = _Read() if parent is None else parent.read  # shared by all of a request
        self.read.objects += 1
        if self.read.objects > MOST_OBJECTS:
            raise _too_many("messages, pieces and tools")
        if None in raw.values():
            raw = {name: value for name, value in raw.items() if value is not None}
        self._left: dict[str, Any] = raw

    @property
    def at(self) -> str:
        """The object's place in the request, as `messages[0]`."""
        if self._parent is None:
            return ""
        place = self._parent.place(self._name)
        return place if self._index is None else f"{place}[{self._index}]"

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def place(self, name: str) -> str:
        """Return a field's place in the request."""
        return f"{self.at}.{name}" if self.at else name

    def any(self, name: str) -> Any:
        """Take a field of any type."""
        return self._left.pop(name, None)

    def text(self, name: str) -> str | None:
        """Take a text."""
        return self._typed(name, str, "a string")

    def flag(self, name: str) -> bool | None:
        """Take a boolean."""
        return self._typed(name, bool, "true or false")

    def integer(self, name: str) -> int | None:
        """Take a whole number."""
        return self._typed(name, int, "an integer")

    def number(self, name: str) -> float | None:
        """Take a number."""
        value = self.any(name)
        if value is not None and type(value) not in {int, float}:
            self._wanted(name, "a number")
        return value  # type: ignore[no-any-return]  # the line above says it

    def object(self, name: str) -> "Fields | None":
        """Take an object, to be read in turn."""
        value = self.any(name)
        return None if value is None else Fields(value, self, name)

    def tree(self, name: str) -> Mapping[str, JSON] | None:
        """Take an object as it is: a schema, arguments."""
        return self._typed(name, dict, "an object")

    def objects(self, name: str) -> Iterator["Fields"]:
        """Take a list of objects, to be read in turn."""
        for at, raw in enumerate(self._typed(name, list, "a list") or ()):
            yield Fields(raw, self, name, at)

    def weigh(self, text: str) -> str:
        """Return a text that is JSON. All of a request together may have so many parts as a body."""
        if len(text) > _SHORT:
            self.read.values += len(json_marks(text.encode("utf-8", "replace")))
            if self.read.values > _MOST_MARKS:
                raise _too_many("values in the arguments of calls")
        return text

    def need(self, name: str, value: _T | None) -> _T:
        """Return a taken value that the API requires."""
        if value is None:
            raise BadRequestError(
                f"`{self.place(name)}` is missing", code="field-missing", hint=f"add `{name}`"
            )
        return value

    def drop(self, *names: str) -> None:
        """Leave out fields that change nothing about the answer."""
        for name in names:
            self._left.pop(name, None)

    def drop_if(self, wanted: bool, names: Sequence[str]) -> None:  # noqa: FBT001 -- the subject
        """Leave out parameters of this API alone, if the route drops what cannot be carried."""
        if wanted:
            self.drop(*names)

    def neutral(self, name: str, *values: JSON) -> None:
        """Leave out a field that says nothing, by one of these values; any other is refused."""
        if self._left.get(name) in values:
            del self._left[name]

    def refuse(
        self,
        name: str,
        why: str = "cannot be carried to a model of another API",
        *,
        code: str = "field-not-carried",
    ) -> NoReturn:
        """Refuse a field."""
        raise BadRequestError(
            f"`{self.place(name)}` {why}",
            code=code,
            hint=f"leave `{name}` out, or ask a model whose own API has it",
            details={"param": self.place(name)},
        )

    def end(self) -> None:
        """Refuse what was neither taken nor dropped."""
        for name in self._left:  # one at most
            self.refuse(excerpt(name, longest=60))

    def _typed(self, name: str, kind: type[_T], words: str) -> _T | None:
        value = self._left.pop(name, None)
        if value is not None and type(value) is not kind:
            self._wanted(name, words)
        return value

    def _wanted(self, name: str, words: str) -> NoReturn:
        raise BadRequestError(
            f"`{self.place(name)}` must be {words}", code="field-invalid", hint="see the API's reference"
        )


def json_marks(body: bytes) -> bytes:
    """Return the brackets of JSON, the colons after its keys, and its commas."""
    if _BACKSLASH in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = body.translate(None, _NO_MARKS).replace(b'""', b"")  # most texts have none of these marks
    return b"".join(marks.split(b'"')[::2])


def read_number(text: str) -> float:
    """Read a number with a fraction or an exponent. Raises `ValueError` if it is out of range.

    It is given to a parser whose own way takes ten times as long for some, such as 2.2250738585072011e-308.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is out of range")
    return value


read_json = msgspec.json.Decoder(float_hook=read_number).decode
"""Parses JSON that a client wrote. Raises `msgspec.DecodeError`, `UnicodeDecodeError` or `RecursionError`."""


def read_body(body: bytes) -> Fields:
    """Read a request's body. Raises `BadRequestError` if it is not a JSON object."""
    if len(body) > _MOST_MARKS and len(json_marks(body)) > _MOST_MARKS:
        raise _too_many("fields")
    try:
        return Fields(read_json(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequestError(
            f"the body is not valid JSON: {excerpt(body, longest=60) or 'it is empty'}",
            code="body-not-json",
            hint="send a JSON object with content-type application/json",
        ) from None


def read_content(
    fields: Fields, name: str, part: Callable[[Fields], Part | None], *, joint: str = "\n\n"
) -> tuple[str | None, tuple[Part, ...]]:
    """Take a message's content: its text, pieces joined by `joint`, and its parts when it has images.

    `part` reads one piece, None for one that is dropped.
    """
    given = fields.any(name)
    if given is None or isinstance(given, str):
        return given, ()
    if not isinstance(given, list):
        raise BadRequestError(
            f"`{fields.place(name)}` must be a string or a list",
            code="field-invalid",
            hint="see the API's reference",
        )
    read = [part(Fields(raw, fields, name, at)) for at, raw in enumerate(given)]
    parts = tuple(piece for piece in read if piece is not None)
    text = joint.join(piece for piece in parts if isinstance(piece, str))
    return text, parts if any(isinstance(piece, Image) for piece in parts) else ()


def check_last_turn(name: str, messages: Sequence[Message]) -> None:
    """Raise `BadRequestError` if the assistant's turn is last, which no other API continues alike."""
    if messages and messages[-1].role == "assistant":
        raise BadRequestError(
            f"`{name}` ends with the assistant's turn, which models of other APIs do not continue",
            code="assistant-turn-last",
            hint="end the conversation with the user's turn",
            details={"param": name},
        )


def read_image_url(fields: Fields, name: str, *, detail: str | None = None) -> Image:
    """Take an image's address, or the image inside a data URL."""
    url = fields.need(name, fields.text(name))
    if url.startswith("data:"):
        head, _, data = url.partition(",")
        return inline_image(fields, name, head[5:].removesuffix(";base64"), data, detail=detail)
    if not url.startswith(("https://", "http://")):
        fields.refuse(name, "must be an http(s) or data URL", code="field-invalid")
    return Image(url=url, detail=detail)


def inline_image(fields: Fields, name: str, kind: str, data: str, *, detail: str | None = None) -> Image:
    """Return an image of base64 data. Raises `BadRequestError` if it is not an image."""
    if not kind.startswith("image/") or ";" in kind or not data:
        fields.refuse(name, "must be an image as base64 data", code="field-invalid")
    return Image(data=data, media_type=kind, detail=detail)


def read_tool_choice(
    fields: Fields, tools: Sequence[Tool], name_of: Callable[[Fields], str | None]
) -> str | None:
    """Take OpenAI's `tool_choice`: a mode, or an object in which `name_of` finds the tool."""
    choice = fields.any("tool_choice")
    if isinstance(choice, dict):
        chosen = Fields(choice, fields, "tool_choice")
        chosen.neutral("type", "function")
        name = chosen.need("name", name_of(chosen))
        chosen.end()
        return check_tool(fields, name, tools)
    if choice is not None and choice not in MODES:
        fields.refuse(
            "tool_choice",
            "must be auto, none, required or an object that names a function",
            code="field-invalid",
        )
    if choice == "required" and not tools:
        fields.refuse("tool_choice", "requires a call, but there are no tools", code="field-invalid")
    return choice  # type: ignore[no-any-return]  # None or one of the modes


def check_tool(fields: Fields, name: str, tools: Sequence[Tool]) -> str:
    """Return the name of the one tool to call. Raises `BadRequestError` if there is no such tool."""
    if name in MODES or all(tool.name != name for tool in tools):
        fields.refuse("tool_choice", "names none of the tools", code="field-invalid")
    return name


def read_labels(fields: Fields) -> dict[str, str]:
    """Take `metadata`: the client's own labels."""
    given = fields.tree("metadata") or {}
    if len(given) > MOST_OBJECTS:
        raise _too_many("labels")
    return {name: str(value) for name, value in given.items() if isinstance(value, str | int | float)}


def conversation(metadata: Mapping[str, str], cache_key: str | None) -> str | None:
    """Return the client's name for a conversation: a usual label, else the key of its prompt cache."""
    return next((metadata[name] for name in _CONVERSATION if metadata.get(name)), cache_key)
