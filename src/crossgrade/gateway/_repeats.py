"""Heads that come again: on a kept connection they are nearly always the same bytes.

A client sends one head after another that differ in the length of the body at most, and so do model
servers of one's own. The first is read; the same bytes again mean the same, so that a later one is only
compared with it.
"""

import re

_LONGEST_HEAD = 8192
_MOST_DIGITS = 10
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)\r\n", re.IGNORECASE)


class KnownHead:
    """A head that was read and passed every check, cut where its content-length stands."""

    __slots__ = ("_after", "_before", "_most", "_start")

    def __init__(self, before: bytes, after: bytes, most: int) -> None:
        self._before = before
        self._start = len(before)
        self._after = after
        self._most = most

    def body(self, data: bytes) -> bytes | None:
        """Return the body, if this is the head with a whole body and nothing more.

        None: anything else, which is for the parser to read; it has seen nothing of it.
        """
        if not data.startswith(self._before):
            return None
        start, after = self._start, self._after
        end = data.find(after, start, start + _MOST_DIGITS + len(after))
        digits = data[start:end]
        if end < 0 or not digits.isdigit():
            return None
        body = data[end + len(after) :]
        length = int(digits)
        return body if length == len(body) and length <= self._most else None


def known_head(data: bytes, size: int, most: int) -> KnownHead | None:
    """Return what to compare with, if `data` is a head and a body of `size`; `most` bounds later bodies."""
    end = data.find(b"\r\n\r\n") + 4
    if end != len(data) - size or end > _LONGEST_HEAD:
        return None
    found = _LENGTH.search(data, 0, end)
    if found is None:
        return None
    return KnownHead(data[: found.start(1)], data[found.end(1) : end], most)
