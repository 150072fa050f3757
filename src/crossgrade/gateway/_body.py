"""Bodies small enough to be parsed: the few fields that the gateway acts on, and fields that are refused.

Refused fields could redirect a request or leak a key. What is refused is a *key* of that name anywhere in the
body, in any spelling. Exceptions are the places where keys are the caller's own words: the JSON schemas of
tools and answers, and the arguments of tool calls in the conversation. Text (prompts, answers, arguments as
strings) is never searched.

Keys in JSON are always between two plain quotes, and a quote inside a string follows a backslash. So
`"api_base"` in the bytes is a key or a whole string, never a part of a text. One search shows that most
bodies contain nothing like it. Only the others are walked.
"""

import json
import math
import re
from collections.abc import Set
from itertools import accumulate, chain, groupby
from operator import itemgetter
from typing import Any, Final

import msgspec

from crossgrade.dialects import excerpt, json_marks
from crossgrade.gateway._fields import (
    ALIKE,
    BACKSLASH,
    MAX_DEPTH,
    MOST_FIELDS,
    ONCE,
    OWN_WORDS,
    SUSPECT_NAME,
    TOO_DEEP,
    TOO_MANY_FIELDS,
    Choices,
    Count,
    Path,
    folded,
    key_problem,
    twice,
)
from crossgrade.gateway._problems import Problem, bad_request
from crossgrade.gateway._scan import BodyScan

BYTES_PER_TOKEN = 4
"""The bytes per token of English text in JSON. Used only for estimates, which are marked as such."""

_KEY = re.compile(rb'\s*+[{,]\s*+"((?:[^"\\]|\\.)*+)"\s*+:\s*+')
_END_OF_BODY = re.compile(rb"\s*+\}\s*+")
_PLAIN_VALUE = re.compile(rb'\s*:\s*("[^"\\]*")')
_OPTIONS_KEY = re.compile(rb'"stream_options"\s*:\s*')
_LETTERS = re.compile(rb"\\u00[4-7]")
"""Letters of a field's name written as escapes."""

_ESCAPED_TYPE = re.compile(rb"\\u00(?:[4-7]|3[0-9aA])")
"""Letters, digits and the colon of a tool's type written as escapes."""

_BY_LETTER = groupby(sorted(ONCE), itemgetter(0))
_ONCE = re.compile(
    rb'"(%b)"[ \t\r\n]*+:'
    % "|".join(f"{letter}(?:{'|'.join(name[1:] for name in names)})" for letter, names in _BY_LETTER).encode()
)
_FEW_BYTES = 1024
"""In a larger body, to walk from one top-level field to the next is faster than to search."""


_NOTHING = msgspec.Raw(b"")


class _Metadata(msgspec.Struct):
    user_id: msgspec.Raw = _NOTHING


class _Conversation(msgspec.Struct):
    id: msgspec.Raw = _NOTHING


class BodyFields(msgspec.Struct):
    """The fields of a body that the gateway acts on. All others are between the client and the model."""

    model: str | None = None
    stream: bool | None = None
    stream_options: msgspec.Raw = _NOTHING
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    max_output_tokens: Count | None = None
    n: Choices | None = None
    best_of: Choices | None = None
    temperature: msgspec.Raw = _NOTHING
    top_p: msgspec.Raw = _NOTHING
    seed: int | None = None
    tools: msgspec.Raw = _NOTHING
    user: str | None = None
    metadata: _Metadata | None = None
    conversation: msgspec.Raw = _NOTHING
    prompt_cache_key: str | None = None
    previous_response_id: str | None = None
    background: msgspec.Raw = _NOTHING
    prompt: msgspec.Raw = _NOTHING

    def most_output_tokens(self, endpoint: str) -> int | None:
        """Return the most tokens that one answer may have; None if there is no bound.

        Only the fields of the endpoint's own API bound an answer. Of two, providers may heed either.
        """
        if endpoint == "responses":
            return self.max_output_tokens or None
        most = self.max_tokens or 0
        if self.max_completion_tokens and endpoint == "chat":
            most = max(most, self.max_completion_tokens)
        return most or None

    def bounds(self, endpoint: str) -> frozenset[str]:
        """Return the fields that bound an answer."""
        if endpoint == "responses":
            return frozenset(("max_output_tokens",) if self.max_output_tokens else ())
        names = ("max_tokens", "max_completion_tokens") if endpoint == "chat" else ("max_tokens",)
        return frozenset(name for name in names if getattr(self, name))

    def answers(self, endpoint: str, prompts: int | None = None) -> int:
        """Return how many answers are asked for: all choices, for every prompt.

        `prompts` is their number if it is known. A prompt is a text or a list of tokens. Only completions
        take several.
        """
        if endpoint == "responses":
            return 1
        choices = max(self.n or 1, self.best_of or 1)
        if endpoint != "completions":
            return choices
        return choices * (self._prompts() if prompts is None else prompts or 1)

    def _prompts(self) -> int:
        """Count the texts and lists in the list of prompts. What is in those lists counts too: too many."""
        raw = bytes(self.prompt)
        if not raw.startswith(b"["):
            return 1
        lists = json_marks(raw).count(b"[") - 1 if raw.count(b"[") > 1 else 0
        if BACKSLASH in raw:
            raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
        return raw.count(b'"') // 2 + lists or 1

    @property
    def has_tools(self) -> bool:
        """Whether the request offers tools."""
        return bytes(self.tools).strip(b"[] \n\r\t") not in (b"", b"null")

    @property
    def user_name(self) -> str | None:
        """The end user that the client names, None if it names none."""
        if self.user is not None:
            return self.user
        return None if self.metadata is None else _text(self.metadata.user_id)

    @property
    def in_background(self) -> bool:
        """Whether the answer is not to be waited for."""
        return bytes(self.background) not in (b"", b"null", b"false")

    @property
    def conversation_name(self) -> str | None:
        """A name that the request shares with others of its conversation, None if it has none."""
        for name in (self.named_conversation, self.prompt_cache_key, self.previous_response_id):
            if isinstance(name, str) and name:
                return name
        return None

    @property
    def named_conversation(self) -> str | None:
        """The conversation's own name, None if it has none. A prompt cache's key is not one."""
        named = self.conversation
        if bytes(named).startswith(b"{"):
            named = _CONVERSATION.decode(named).id
        return _text(named) or None


_BODY_FIELDS = msgspec.json.Decoder(BodyFields)
_CONVERSATION = msgspec.json.Decoder(_Conversation)
_TEXT = msgspec.json.Decoder(str)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


_ALIKE_BYTES = tuple((chr(letter).encode(), plain.encode()) for letter, plain in ALIKE.items())


def folded_bytes(body: bytes) -> bytes:
    """Return a body with every letter as a parser that ignores case may read it in a key."""
    lower = body.lower()
    if not lower.isascii():
        for letter, plain in _ALIKE_BYTES:
            lower = lower.replace(letter, plain)
    return lower


def read_body(body: bytes, lower: bytes) -> BodyFields | Problem:
    """Parse a body, or return why it is refused; `lower` is the same body as `folded_bytes` gives it."""
    try:
        fields = _BODY_FIELDS.decode(body)
    except msgspec.ValidationError as error:
        return bad_request(f"The body has a field of the wrong type: {excerpt(str(error))}", "invalid_type")
    except UnicodeDecodeError:
        return bad_request("The body is not UTF-8.", "invalid_json")
    except msgspec.DecodeError as error:
        what = excerpt(str(error)) if body.strip() else "it is empty"
        return bad_request(f"The body is not JSON: {what}", "invalid_json")
    except RecursionError:
        return bad_request("The body is nested too deep.", "too_deep")
    if (fields.temperature or fields.top_p) and (name := _not_a_number(fields)):
        return bad_request(f"The body's `{name}` must be a number within range.", "invalid_type")
    problem = check_fields(body, lower)
    if problem is None and not body.isascii():
        problem = _utf8_problem(body)
    return fields if problem is None else problem


def _text(raw: msgspec.Raw) -> str | None:
    """Return a text of a parsed body, None for any other value. It was found to be one by the parser."""
    return _TEXT.decode(raw) if bytes(raw).startswith(b'"') else None


def _not_a_number(fields: BodyFields) -> str | None:
    """Return the name of a field that should be a number that a float can hold, and is not."""
    if not _is_number(fields.temperature):
        return "temperature"
    return None if _is_number(fields.top_p) else "top_p"


def _is_number(raw: msgspec.Raw) -> bool:
    """Return whether a value of a parsed body is a number that a float can hold, or not given."""
    value = bytes(raw)
    if value[:1] in (b"", b"n"):
        return True
    return value[0] in b"-0123456789" and math.isfinite(float(value))


def _utf8_problem(body: bytes) -> Problem | None:
    try:
        body.decode()
    except UnicodeDecodeError:
        return bad_request("The body is not UTF-8.", "invalid_json")
    return None


def top_level_names(body: bytes) -> set[str] | Problem:
    """Return the top-level keys of a parsed body, in lower case, or why there are too many."""
    fields = _FIELDS.decode(body)
    return TOO_MANY_FIELDS if len(fields) > MOST_FIELDS else set(map(folded, fields))


def tool_names(body: bytes, marks: tuple[bytes, ...]) -> Set[str] | Problem:
    """Return the top-level keys of a parsed body and the types of its tools (`tools.TYPE`).

    Nothing is returned for a body without `marks`, which are in the types that matter unless these are
    written with escapes. Most bodies have neither.
    """
    if not any(mark in body for mark in marks) and not (
        BACKSLASH in body and body.find(b"\\u00") >= 0 and _ESCAPED_TYPE.search(body) is not None
    ):
        return frozenset()
    scan = _scanned(body)
    return scan if isinstance(scan, Problem) else scan.names


def model_span(body: bytes, lower: bytes, fields: BodyFields) -> tuple[int, int] | Problem | None:
    """Return where the value of the top-level `model` is in a parsed body; None if there is no such key.

    `lower` is the body as `folded_bytes` gives it. A field that the gateway acts on is refused if it is there
    twice, or in another spelling that some parser accepts: client and provider could each mean another one.
    """
    if len(body) <= _FEW_BYTES and lower.count(b'"model"') == 1 and fields.model is not None:
        names = _ONCE.findall(lower)
        if (
            len(names) == len(set(names))
            and names == _ONCE.findall(body)
            and (BACKSLASH not in body or _LETTERS.search(body) is None)
        ):
            match = _PLAIN_VALUE.match(body, body.find(b'"model"') + 7)
            if match is not None:
                return match.span(1)
    spans = _spans(body)
    if isinstance(spans, dict):
        return spans.get("model")
    scan = spans or _scanned(body)
    return scan if isinstance(scan, Problem) else scan.span


def options_span(body: bytes, options: msgspec.Raw) -> tuple[int, int] | None:
    """Return where the top-level `stream_options` are in a body that has them and that `model_span` accepted.

    A key below the top may have the same name, or a text may be equal to it.
    """
    if body.count(b'"stream_options"') == 1 and (BACKSLASH not in body or _LETTERS.search(body) is None):
        match = _OPTIONS_KEY.search(body)
        if match is not None:
            return match.end(), match.end() + len(bytes(options))
    spans = _spans(body)
    if isinstance(spans, dict):
        return spans.get("stream_options")
    scan = spans or _scanned(body)
    return None if isinstance(scan, Problem) else scan.options


def _spans(body: bytes) -> dict[str, tuple[int, int]] | Problem | None:
    """Find the values of all top-level fields by walking from key to key; the parser gives their lengths.

    None means that the parser does not tell, since a field is there twice.
    """
    fields = _FIELDS.decode(body)
    if len(fields) > MOST_FIELDS:
        return TOO_MANY_FIELDS
    at = body.index(b"{")
    spans: dict[str, tuple[int, int]] = {}
    while (key := _KEY.match(body, at)) is not None:
        written, start = key[1], key.end()
        name = _TEXT.decode(b'"%b"' % written) if BACKSLASH in written else written.decode()
        lower = folded(name)
        if name != lower and lower in ONCE:
            return twice(name)
        value = memoryview(fields[name])
        if name in spans or not body.startswith(value, start):
            return None
        at = start + len(value)
        spans[name] = (start, at)
    # A number may begin like another one, so a value can seem to be there and not end where it should.
    is_whole = len(spans) == len(fields) and _END_OF_BODY.fullmatch(body, at) is not None
    return spans if is_whole else None


def _scanned(body: bytes) -> BodyScan | Problem:
    """Scan a parsed body for what the parser does not tell.

    Of a field that is there twice, it keeps the last value only. Of the types of tools, it tells none.
    """
    scan = BodyScan()
    scan.feed(body)
    return scan.end() or scan


def estimated_tokens(size: int) -> int:
    """Return about how many tokens `size` bytes contain, at least 1."""
    return size // BYTES_PER_TOKEN or 1


_MOST_BRACKETS = MAX_DEPTH
"""A body with no more opening brackets than this cannot be nested deeper than `MAX_DEPTH`."""

_SUSPECT: Final = re.compile(b'"(?:%b)[^"]*"' % SUSPECT_NAME)
"""Plain spellings, searched for in the lower-case body. The expression begins with one letter, which is fast.
"""

_ESCAPED: Final = re.compile(rb"\\u00(?:[4-7]|2d)")
"""Letters written as escapes, which no encoder does."""

_AS_STEPS: Final = bytes.maketrans(b"{[}]", b"\x01\x01\xff\xff")
_MOST_MARKS: Final = 50_000
"""Brackets and colons of a body whose keys are looked at one by one, so that none takes long."""

_CONTAINERS: Final = (tuple, list)
"""An object as its pairs, so that no value of a repeated key is lost, and a list."""

_LABELLED: Final = ("metadata",)
_ON_THE_WAY: Final = frozenset(
    (_LABELLED, *(path[:length] for path in OWN_WORDS for length in range(1, len(path))))
)


def check_fields(body: bytes, lower: bytes) -> Problem | None:
    """Return why a body is refused: a forbidden key, or nesting that is too deep; None if it is accepted.

    The body was parsed before, so it is JSON. `lower` is the same body as `folded_bytes` gives it.
    """
    brackets = body.count(b"{") + body.count(b"[")
    if brackets > _MOST_BRACKETS and _is_deep(body):
        return TOO_DEEP
    if _SUSPECT.search(lower) is None and not (
        BACKSLASH in body and body.find(b"\\u00") >= 0 and _ESCAPED.search(body) is not None
    ):
        return None
    return _walk(body)


def _is_deep(body: bytes) -> bool:
    """Return whether JSON is nested too deep. Long conversations have many brackets, and a walk is slow."""
    steps = json_marks(body).translate(_AS_STEPS, b":,")
    return max(accumulate(memoryview(steps).cast("b")), default=0) > MAX_DEPTH


def _walk(body: bytes) -> Problem | None:
    """Look at all keys, level by level, those of one kind of place together: five times as fast as a scan."""
    if len(json_marks(body).translate(None, b",")) > _MOST_MARKS:
        return TOO_MANY_FIELDS
    try:
        tree = json.loads(body, object_pairs_hook=tuple)
    except ValueError as error:
        return bad_request(f"The body is not acceptable JSON: {str(error)[:200]}", "invalid_json")
    level: dict[Path, list[Any]] = {(): [tree]}
    while level:
        below: dict[Path, list[Any]] = {}
        for path, nodes in level.items():
            objects = [node for node in nodes if type(node) is tuple]
            for key in set(map(itemgetter(0), chain.from_iterable(objects))):
                problem = key_problem(key, path)
                if problem is not None:
                    return problem
            lists = [node for node in nodes if type(node) is list]
            inner = below.setdefault(path, [])
            inner += [value for value in chain.from_iterable(lists) if value and type(value) in _CONTAINERS]
            pairs = [
                pair for pair in chain.from_iterable(objects) if pair[1] and type(pair[1]) in _CONTAINERS
            ]
            if path is None or path == _LABELLED:
                inner += map(itemgetter(1), pairs)
                continue
            for key, value in pairs:
                place = (*path, key)
                if place not in OWN_WORDS:
                    below.setdefault(place if place in _ON_THE_WAY else None, []).append(value)
        level = {path: nodes for path, nodes in below.items() if nodes}
    return None
