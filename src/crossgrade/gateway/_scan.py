"""What is checked of a JSON object that is too large to be parsed, in one pass and constant memory.

The scan goes from token to token, and expressions take the parts without anything to look at in one step. It
finds the top-level `model` and the numbers that bound an answer. It refuses what is refused in a small body
too: forbidden keys, a field of `ONCE` twice or in another spelling, too many choices, too deep nesting.

What it accepts, a parser accepts, with two exceptions. The escape of half a letter may be in a text. And
beyond the first `CONTROLS_BYTES`, control characters other than NUL may be in a part of a text that has no
escape. No parser takes either for the end of the text, so both see the same fields.
"""

import codecs
import re
from typing import Final

import msgspec

from crossgrade.gateway._fields import (
    BACKSLASH,
    IN_BACKGROUND,
    MAX_DEPTH,
    MOST_FIELDS,
    ONCE,
    OWN_WORDS,
    SUSPECT_NAME,
    TOO_DEEP,
    TOO_MANY_FIELDS,
    TOOLS,
    Choices,
    Count,
    folded,
    key_problem,
    tool_name,
    twice,
)
from crossgrade.gateway._problems import Problem, bad_request

CONTROLS_BYTES: Final = 8 << 20
"""Up to here in a body, texts are searched for control characters. Beyond it, those with an escape are."""

LEAST_BYTES: Final = 512
"""The bytes that are read together first. They tell whether a body begins with its model."""

MOST_BYTES: Final = 1 << 18
"""The most bytes that are read together."""

_KEPT = 512
"""The bytes of a key that are read, and the most that a number may have.

No key that matters is longer, even with every letter as an escape.
"""

_LONGEST_VALUE = 4096
"""The longest value of a field that is read, with the spaces before it."""

_LONGEST_ESCAPE = 6
_LONGEST_PATH = max(map(len, OWN_WORDS)) + 1
_PLAIN_LEVELS = 2
_PART_BYTES = 24
_FEWEST_PARTS = 10_000
"""A body may have so many parts that are looked at one by one, and one more for each `_PART_BYTES` bytes."""

_QUOTE, _COLON, _COMMA, _OPEN, _CLOSE, _CLOSE_LIST = b'":,{}]'
_BRACKETS = b"{["
_BLANKS = (b" ", b"\n", b"\r", b"\t", b"")
_START, _FIRST, _NEXT, _KEY, _AFTER_KEY, _VALUE, _END = range(7)
"""What may come: the body's object; the first part of an object or list, or its end; a comma, or its end; a
key; a colon; a value; nothing more."""

_SPACE = re.compile(rb"[ \t\r\n]*+")
_ESCAPE = rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'
_TEXT = re.compile(rb'[^"\\\x00-\x1f]*+(?:%b[^"\\\x00-\x1f]*+)*+' % _ESCAPE)
_DIGITS = rb"[0-9]{0,%d}+" % (_KEPT // 3)
_SCALAR = (
    rb"(?:0|[1-9]%b)(?=[,\]}])"  # most of them, in half the time
    rb"|(?:true|false|null|-?+(?:0|[1-9]%b)(?:\.[0-9]%b)?+(?:[eE][+-]?+[0-9][0-9]{0,99}+)?+)(?=[ \t\r\n,\]}])"
) % (_DIGITS, _DIGITS, _DIGITS)
"""A number that is not long, or one of the three words."""

_ANY_SCALAR = re.compile(_SCALAR.replace(_DIGITS, b"[0-9]*+").replace(b"{0,99}", b"*"))
_PART_OF_SCALAR = re.compile(rb"[-+.0-9Ea-z]*+")
_FIELD_VALUE = re.compile(rb'[ \t\r\n]*+("(?:[^"\\]|\\.)*+"|[^ \t\r\n,}\]"{\[]++)', re.DOTALL)
_RUN_TEXT = rb'"[^"\\\x00-\x1f]{0,2048}+(?:%b[^"\\\x00-\x1f]{0,2048}+)*+"' % _ESCAPE
"""A string without a long stretch of text. A search for the end of a long one is far faster."""


def _runs(key: bytes, levels: int) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Return what matches any number of plain items of a list, and of plain members of an object.

    A match begins after the opening bracket or after an earlier part. Plain parts have no keys but such as
    `key` matches, and are nested so many levels deep at most. Most bodies have hardly any other parts.
    """
    space = _SPACE.pattern
    plain = rb"(?:%b|%b)" % (_RUN_TEXT, _SCALAR)
    member = rb"%b%b:%b%%b" % (key, space, space)
    for _ in range(levels):
        items = rb"(?:%b%b(?:,%b(?!\])|(?=\])))*+" % (plain, space, space)
        members = rb'(?:%b%b(?:,%b(?=")|(?=\})))*+' % (member % plain, space, space)
        plain = rb"(?:%b|\{%b%b\}|\[%b%b\])" % (plain, space, members, space, items)
    run = rb"(?:(?:,|%b,|(?<=%b))%b%b)*+"
    return (
        re.compile(run % (space, rb"\[", space, plain)),
        re.compile(run % (space, rb"\{", space, member % plain)),
    )


_PLAIN_KEY = rb'"(?!(?i:%b))[^"\\\x00-\x1f\x80-\xff]*+"'
"""A key that does not begin so. Letters beyond ASCII are not plain, since some count as others."""

_UNSUSPICIOUS = _PLAIN_KEY % SUSPECT_NAME
_RUNS = tuple((_runs(_UNSUSPICIOUS, levels), _runs(_RUN_TEXT, levels)) for levels in (0, _PLAIN_LEVELS))
_IN_TOOLS = _runs(_PLAIN_KEY % (SUSPECT_NAME + b'|type"'), 0)
_ON_THE_WAY = {path[:-1] for path in TOOLS if len(path) > 1}
_TO_TOOLS = tuple(_runs(_PLAIN_KEY % (SUSPECT_NAME + b'|tools"'), levels) for levels in (0, _PLAIN_LEVELS))
_BOUNDS = {
    **dict.fromkeys(("n", "best_of"), msgspec.json.Decoder(Choices)),
    **dict.fromkeys(
        ("max_tokens", "max_completion_tokens", "max_output_tokens"), msgspec.json.Decoder(Count)
    ),
}
_STRING = msgspec.json.Decoder(msgspec.Raw)


class _Node:
    """An open object or list: the keys that lead to it, and whether keys in it are the caller's own words."""

    __slots__ = ("is_object", "own", "path", "run")

    def __init__(self, path: tuple[str, ...], *, is_object: bool, own: bool, levels: int) -> None:
        self.path = path
        self.is_object = is_object
        self.own = own
        self.run = _run_of(path, own=own, levels=levels)[is_object].match


def _run_of(path: tuple[str, ...], *, own: bool, levels: int) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Return what passes over the plain parts of lists and objects at a place: of tools, all but the type."""
    nested = levels >= _PLAIN_LEVELS
    if path in TOOLS:
        return _IN_TOOLS
    return _TO_TOOLS[nested] if path in _ON_THE_WAY else _RUNS[nested][own]


class BodyScan:
    """Takes a body's bytes in pieces; `problem` is why it is refused, as soon as that is known.

    `span` is where the value of the top-level `model` is, None while it was not read; `options` is the same
    of `stream_options`, with the spaces around it. `bounds` are the top-level numbers that bound the answer.
    `prompts` is how many prompts there are at most, 0 if there is no list of them. `names` are the other
    top-level keys, in lower case, and the types of tools (`tools.TYPE`).

    Pieces are read together, so that what is found depends on the bytes alone and not on how they were split:
    first `least` bytes, then twice as many each time, up to `most`. The rest is read at the end.
    """

    def __init__(self, least: int = LEAST_BYTES, most: int = MOST_BYTES) -> None:
        self.problem: Problem | None = None
        self.span: tuple[int, int] | None = None
        self.options: tuple[int, int] | None = None
        self._options_at = 0
        self.bounds: dict[str, int] = {}
        self.names: set[str] = set()
        self.prompts = 0
        self._prompts: _Node | None = None
        self._nodes: list[_Node] = []
        self._state = _START
        self._key = ""
        self._at = self._parts = 0
        self._tail = self._letter = b""
        self._name: bytes | None = None
        self._inside = False
        self._pieces: list[bytes] = []
        self._arrived = 0
        self._wanted = least
        self._most = most

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        self._pieces.append(data)
        self._arrived += len(data)
        if self._arrived >= self._wanted:
            self._take_blocks(b"".join(self._pieces))

    def _take_blocks(self, data: bytes) -> None:
        at = 0
        while self.problem is None and len(data) - at >= self._wanted:
            self._take_block(data[at : at + self._wanted])
            at += self._wanted
            self._wanted = min(2 * self._wanted, self._most)
        self._pieces = [] if self.problem is not None else [data[at:]]
        self._arrived = sum(map(len, self._pieces))

    def _take_block(self, data: bytes) -> None:
        if self._letter or not data.isascii():
            self._check_letters(data)
        if self._tail:
            data = self._tail + data
        read = self._read(data)
        self._tail = data[read:]
        self._at += read

    def end(self) -> Problem | None:
        """Note the end of the body; return why it is refused, None if it is not. It may be called again."""
        if self.problem is None and self._arrived:
            self._take_block(b"".join(self._pieces))
            self._pieces, self._arrived = [], 0
        if self.problem is None and self._state != _END:
            self.problem = _not_json("it ends too early")
        return self.problem

    def _check_letters(self, data: bytes) -> None:
        """Check that a piece is UTF-8, but for a letter that is not complete yet."""
        data = self._letter + data
        try:
            self._letter = data[codecs.utf_8_decode(data, "strict", False)[1] :]
        except UnicodeDecodeError:
            self.problem = bad_request("The body is not UTF-8.", "invalid_json")

    def _read(self, data: bytes) -> int:
        """Read a piece; return from where on it is needed again, together with the next one."""
        size, nodes = len(data), self._nodes
        at = self._take_text(data, 0) if self._inside else 0
        most = _FEWEST_PARTS + (self._at + size) // _PART_BYTES
        while self.problem is None and not self._inside:
            if len(nodes) > 1:
                at = self._run(nodes[-1], data, at)
            if data[at : at + 1] in _BLANKS:
                at = _SPACE.match(data, at).end()  # type: ignore[union-attr]  # it matches nothing as well
                if at == size:
                    break
            after = self._take(data, at)
            if after < 0:
                break
            at = after
            if self._parts > most:
                self.problem = TOO_MANY_FIELDS
        return at

    def _run(self, node: _Node, data: bytes, at: int) -> int:
        """Pass over the plain parts of an object or list; return where to go on."""
        if self._state == _FIRST:
            if data[at : at + 1] in _BLANKS or data[at] == _COMMA:
                return at
        elif self._state != _NEXT:
            return at
        end = node.run(data, at).end()  # type: ignore[union-attr]  # it matches nothing as well
        if end > at:
            self._state = _NEXT
            if node is self._prompts:  # a quote in a text counts as well: rather too many
                self.prompts += (data.count(b'"', at, end) + 1) // 2 + data.count(b"[", at, end)
        return end

    def _take(self, data: bytes, at: int) -> int:
        """Take one token; return where to go on, -1 if more bytes are needed."""
        state, token = self._state, data[at]
        if state == _NEXT:
            if self._options_at and len(self._nodes) == 1:
                self.options, self._options_at = (self._options_at, self._at + at), 0
            if token != _COMMA:
                return self._close(token, at)
            self._state = _KEY if self._nodes[-1].is_object else _VALUE
            return at + 1
        if state == _AFTER_KEY:
            return self._take_colon(data, at)
        if state == _KEY or (state == _FIRST and self._nodes[-1].is_object):
            return self._take_name(data, at + 1) if token == _QUOTE else self._close(token, at)
        return self._take_value(token, data, at)

    def _take_value(self, token: int, data: bytes, at: int) -> int:
        """Take a value, or the end of a list that has none."""
        if (token == _QUOTE or token in _BRACKETS) and self._nodes and self._nodes[-1] is self._prompts:
            self.prompts += 1
        if token in _BRACKETS:
            return self._open(at, is_object=token == _OPEN)
        if self._state not in (_VALUE, _FIRST):
            return self._unexpected(at)
        if token == _QUOTE:
            self._state = _NEXT
            self._parts += 1
            return self._take_text(data, at + 1)
        if token == _CLOSE_LIST and self._state == _FIRST:
            return self._close(token, at)
        return self._take_scalar(data, at)

    def _unexpected(self, at: int) -> int:
        self.problem = _not_json(f"what is at byte {self._at + at} does not belong there")
        return at

    def _take_scalar(self, data: bytes, at: int) -> int:
        """Take a number, or `true`, `false` or `null`."""
        found = _ANY_SCALAR.match(data, at)
        end = (found or _PART_OF_SCALAR.match(data, at)).end()  # type: ignore[union-attr]  # as above
        if end - at > _KEPT:
            self.problem = bad_request("The body has a number that is too long.", "invalid_type")
        elif found is None:
            return self._unexpected(at) if end < len(data) else -1
        self._state = _NEXT
        self._parts += 1
        return end

    def _take_name(self, data: bytes, at: int) -> int:
        """Take a key, and keep its name if it is to be checked."""
        if not self._nodes[-1].own:
            end = data.find(b'"', at, at + _KEPT)
            if end < 0 and len(data) - at < _KEPT:
                return -1
            plain = end >= 0 and data[end - 1] != BACKSLASH
            self._name = data[at:end] if plain else _TEXT.match(data, at, at + _KEPT)[0]  # type: ignore[index]  # it matches nothing as well
        self._state = _AFTER_KEY
        self._parts += 1
        return self._take_text(data, at)

    def _take_text(self, data: bytes, at: int) -> int:
        """Check a string, from a position inside it; return where to go on."""
        end = data.find(b'"', at)  # far faster than the expression, and most texts have no quote
        if end > at and data[end - 1] == BACKSLASH:
            end = _TEXT.match(data, at).end()  # type: ignore[union-attr]  # it matches nothing as well
            stop = data[end : end + 1]
            self._inside = stop != b'"'
            if self._inside and (len(data) - end >= _LONGEST_ESCAPE or stop not in (b"\\", b"")):
                self.problem = _BAD_TEXT
            return end if self._inside else end + 1
        self._inside = end < 0
        if self._inside:
            end = _whole_escapes(data, at)
        text = data[at:end]
        if BACKSLASH in text or self._at < CONTROLS_BYTES:
            try:
                _STRING.decode(b'"%b"' % text)
            except msgspec.DecodeError:  # it may be the half of a pair
                if _TEXT.fullmatch(text) is None:
                    self.problem = _BAD_TEXT
        elif 0 in text:
            self.problem = _BAD_TEXT
        return end if self._inside else end + 1

    def _take_colon(self, data: bytes, at: int) -> int:
        """Take the colon after a key, and the key with it."""
        if data[at] != _COLON:
            return self._unexpected(at)
        if self._name is not None:
            if not self._take_key(self._name, data, at + 1):
                return -1
            self._name = None
        self._state = _VALUE
        return at + 1

    def _open(self, at: int, *, is_object: bool) -> int:
        nodes = self._nodes
        if not nodes:
            if self._state != _START or not is_object:
                self.problem = _not_json("it is not one object")
            nodes.append(_Node((), is_object=is_object, own=False, levels=MAX_DEPTH))
        elif self._state not in (_VALUE, _FIRST):
            return self._unexpected(at)
        elif len(nodes) >= MAX_DEPTH:
            self.problem = TOO_DEEP
        else:
            parent = nodes[-1]
            path, own = parent.path, parent.own
            if parent.is_object and not own and len(path) < _LONGEST_PATH:
                path = (*path, self._key)
                own = path in OWN_WORDS
            levels = MAX_DEPTH - 1 - len(nodes)
            nodes.append(_Node(path, is_object=is_object, own=own, levels=levels))
            if len(nodes) == 2 and not is_object and self._key == "prompt":
                self._prompts = nodes[-1]
        self._state = _FIRST
        self._parts += 1
        return at + 1

    def _close(self, token: int, at: int) -> int:
        if self._state == _KEY or token != (_CLOSE if self._nodes[-1].is_object else _CLOSE_LIST):
            return self._unexpected(at)
        self._parts += 1
        self._nodes.pop()
        self._state = _NEXT if self._nodes else _END
        return at + 1

    def _take_key(self, name: bytes, data: bytes, after: int) -> bool:
        """Check a key, whose value begins at `after`; return whether there were bytes enough."""
        path = self._nodes[-1].path
        key = self._key = _text(name)
        self.problem = self.problem or key_problem(key, path)
        if self.problem is not None:
            return True
        if len(self._nodes) == 1:
            return self._take_field(key, data, after)
        return path not in TOOLS or folded(key) != "type" or self._take_type(key, data, after)

    def _take_type(self, key: str, data: bytes, after: int) -> bool:
        """Read the type of a tool; return whether there were bytes enough."""
        value = self._field_value(key, data, after)
        if value is None:
            return False
        if value[1][0] == _QUOTE:
            self._add_name(tool_name(_text(value[1][1:-1])))
        return True

    def _add_name(self, name: str) -> None:
        self.names.add(name)
        if len(self.names) > MOST_FIELDS:
            self.problem = TOO_MANY_FIELDS

    def _take_field(self, key: str, data: bytes, after: int) -> bool:
        """Read the value of a top-level key that matters; return whether there were bytes enough."""
        lower = folded(key)
        if lower in ONCE and (key != lower or lower in self.names):
            self.problem = twice(key)
        elif key == "stream_options":
            self._options_at = self._at + after
        elif key == "model" or key in _BOUNDS or key == "background":
            value = self._field_value(key, data, after)
            if value is None:
                return False
            if key == "model":
                self._take_model(key, value)
            elif key == "background":
                self.problem = None if value[1] in (b"null", b"false") else IN_BACKGROUND
            elif value[1] != b"null":
                self._take_bound(key, value[1])
        if key != "model":
            self._add_name(lower)
        return True

    def _field_value(self, key: str, data: bytes, after: int) -> re.Match[bytes] | None:
        """Return a field's value; None if it is refused, or more bytes are needed."""
        value = _FIELD_VALUE.match(data, after)
        at = _SPACE.match(data, after).end()  # type: ignore[union-attr]  # it matches nothing as well
        end, token = len(data) if value is None else value.end(), data[at : at + 1]
        if token in (b",", b"}", b"]"):
            self._unexpected(at)
        elif end - after > _LONGEST_VALUE or token in (b"{", b"["):
            self.problem = IN_BACKGROUND if key == "background" else _wrong_type(key)
        return value if self.problem is None and end < len(data) else None

    def _take_model(self, key: str, value: re.Match[bytes]) -> None:
        if self.span is not None:
            self.problem = twice(key)
        elif value[1][0] != _QUOTE and value[1] != b"null":
            self.problem = _wrong_type(key)
        self.span = (self._at + value.start(1), self._at + value.end(1))

    def _take_bound(self, key: str, raw: bytes) -> None:
        try:
            self.bounds[key] = _BOUNDS[key].decode(raw)
        except msgspec.DecodeError as error:
            if raw[0] == _QUOTE or isinstance(error, msgspec.ValidationError):
                self.problem = _wrong_type(key)
            # Anything else is no JSON, as will be found.


def _whole_escapes(data: bytes, at: int) -> int:
    """Return up to where a text that begins at a position, and has no end yet, has no incomplete escape."""
    near = data.find(b"\\", max(at, len(data) - _LONGEST_ESCAPE))
    if near < 0:
        return len(data)
    before = data[at:near]
    near += (len(before) - len(before.rstrip(b"\\"))) % 2  # the second of a pair begins no escape
    return _TEXT.match(data, near).end()  # type: ignore[union-attr]  # it matches nothing as well


def _text(name: bytes) -> str:
    """Return a key's text. One that is no JSON keeps its bytes."""
    if BACKSLASH in name:
        try:
            return msgspec.json.decode(b'"%b"' % name, type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    return name.decode("utf-8", "replace")


def _wrong_type(key: str) -> Problem:
    return bad_request(f"The body's `{key[:100]}` is of the wrong type or out of range.", "invalid_type")


def _not_json(why: str) -> Problem:
    return bad_request(f"The body is not a JSON object: {why}.", "invalid_json")


_BAD_TEXT = _not_json("it has a text with a character or an escape that JSON does not have")
