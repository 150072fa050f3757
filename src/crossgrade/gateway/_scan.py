"""Finding the top-level `model` of a JSON object that is too large to be parsed, in constant memory.

Nearly all bytes are only searched for `"model"`. A quote inside a string follows a backslash, so without one
these bytes are a whole string. What follows shows whether the string is a key of the outermost object: the
scan reads to the close of the key's own object and checks whether the body ends there. Keys of inner objects
close soon, the outermost object only once.
"""

import re

_LONGEST_KEY = 32
_KEY = re.compile(rb'"(?:m|\\u006[Dd])(?:o|\\u006[Ff])(?:d|\\u0064)(?:e|\\u0065)(?:l|\\u006[Cc])"')
_SPACE = re.compile(rb"[ \t\r\n]*")
_TOKEN = re.compile(rb'["{}\[\]:,]')
_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)

_BACKSLASH = 0x5C

_SEARCH, _COLON, _VALUE, _REST, _CLOSED = range(5)


class ModelScan:
    """Takes a body's bytes in pieces; after `end`, `span` is where the value of `model` is.

    `span` is None if there is no such key or its value is not a string. `twice` says that the outermost
    object has the key more than once, in any spelling. The body is not checked to be JSON.
    """

    __slots__ = (
        "_after_backslash", "_at", "_depth", "_escaped", "_found", "_in_string", "_is_value", "_name",
        "_outer", "_state", "_tail", "span", "twice",
    )  # fmt: skip

    def __init__(self, at: int = 0) -> None:
        self.span: tuple[int, int] | None = None
        self.twice = False
        self._at = at
        self._tail = b""
        self._after_backslash = False
        self._state = _SEARCH
        self._begin(False)

    def _begin(self, found: bool) -> None:  # noqa: FBT001  # private
        self._found: tuple[int, int] | None = None
        self._depth = 0
        self._in_string = self._is_value = self._escaped = False
        self._name: bytes | None = None
        self._outer = False
        if found:
            self._state = _COLON

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        if self._tail:
            if len(data) < _LONGEST_KEY or _may_hold_key(self._tail + data[:_LONGEST_KEY]):
                self._at -= len(self._tail)
                data = self._tail + data
            self._tail = b""
        else:
            self._after_backslash = False
        base = self._at
        self._at += len(data)
        at = 0
        while at < len(data):
            if self._state == _SEARCH:
                at = self._search(data, at)
            elif self._in_string:
                at = self._string(data, at, base)
            elif self._state == _REST:
                at = self._rest(data, at)
            else:
                at = self._between(data, at, base)

    def end(self) -> None:
        """Note the end of the body."""
        if self._state == _CLOSED:
            self.twice = self.twice or self._outer
            self.span = self._found

    @property
    def is_inside(self) -> bool:
        """Whether a `model` key was read that may belong to the outermost object."""
        return self._state != _SEARCH

    @property
    def is_top_level(self) -> bool:
        """Whether the outermost object has such a key, as far as was read: its object has closed."""
        return self._state == _CLOSED

    def _search(self, data: bytes, at: int) -> int:
        match = _KEY.search(data, at) if _may_hold_key(data, at) else None
        while match is not None and self._ends_string(data, match.start()):
            match = _KEY.search(data, match.start() + 1)
        if match is None:
            start = max(at, len(data) - _LONGEST_KEY + 1)
            self._after_backslash = self._ends_string(data, start)
            self._tail = data[start:]
            return len(data)
        self._begin(True)
        return match.end()

    def _ends_string(self, data: bytes, at: int) -> bool:
        """Return whether a backslash precedes a position: a quote there is inside a longer string."""
        return data[at - 1] == _BACKSLASH if at else self._after_backslash

    def _between(self, data: bytes, at: int, base: int) -> int:
        """Read around the key's colon, or after the close of its object."""
        at = _SPACE.match(data, at).end()  # type: ignore[union-attr]  # it matches nothing as well
        if at == len(data):
            return at
        if self._state == _COLON and data[at] == 0x3A:
            self._state = _VALUE
            return at + 1
        if self._state != _VALUE:
            self._state = _SEARCH  # not a key, or a key of an inner object
            return at
        self._state = _REST
        if data[at] != 0x22:
            return at
        self._in_string = self._is_value = True
        self._found = (base + at, 0)
        return at + 1

    def _string(self, data: bytes, at: int, base: int) -> int:
        """Read to the end of a string, which may come in a later piece."""
        start = at
        if self._escaped:
            self._escaped = False
            at += 1
        at = _STRING.match(data, at).end()  # type: ignore[union-attr]  # it matches nothing as well
        self._escaped = data[at : at + 1] == b"\\"  # a backslash at the end of the piece
        end = at + self._escaped
        if self._name is not None and len(self._name) <= _LONGEST_KEY:
            self._name += data[start : min(end, start + _LONGEST_KEY)]
        if end == len(data):
            return end
        self._in_string = False
        if self._is_value and self._found is not None:
            self._found = (self._found[0], base + at + 1)
            self._is_value = False
        return at + 1

    def _rest(self, data: bytes, at: int) -> int:
        """Read one token of what follows the key's value, up to the close of its object."""
        match = _TOKEN.search(data, at)
        if match is None:
            return len(data)
        token = match[0]
        if token == b'"':
            self._in_string = True
            self._name = b"" if self._depth == 0 else None
            return match.end()
        if token == b":" and self._name is not None and _KEY.fullmatch(b'"%b"' % self._name):
            self._outer = True
        self._name = None
        if token in b"{[":
            self._depth += 1
        elif token in b"}]":
            self._depth -= 1
            if self._depth < 0:
                self._state = _CLOSED
        return match.end()


def _may_hold_key(data: bytes, at: int = 0) -> bool:
    """Return whether a search may find a key. Needles below six bytes are found several times faster."""
    return data.find(b'"mode', at) >= 0 or data.find(b"\\u00", at) >= 0
