"""Heads that come again: on a kept connection they are nearly always the same bytes.

A client sends one head after another that differ in the length of the body at most. The parser reads
the first; the same bytes again mean the same, so that a later request is only compared with it.
"""

import re

from crossgrade.gateway._head import Request

_LONGEST_HEAD = 8192
_MOST_DIGITS = 10
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)\r\n", re.IGNORECASE)
_SPECIAL = frozenset((b"transfer-encoding", b"expect", b"upgrade"))


class KnownHead:
    """A head that was parsed and passed every check, cut where its content-length stands."""

    __slots__ = ("_after", "_before", "_most", "_request")

    def __init__(self, before: bytes, after: bytes, request: Request, most: int) -> None:
        self._before = before
        self._after = after
        self._request = request
        self._most = most

    def again(self, data: bytes) -> Request | None:
        """Return the request that this is, if it is this head with a whole body and nothing more.

        Anything else is for the parser, which has seen nothing of it.
        """
        before = self._before
        if not data.startswith(before):
            return None
        start = len(before)
        end = data.find(b"\r", start, start + _MOST_DIGITS)
        digits = data[start:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self._after, end):
            return None
        start = end + len(self._after)
        length = int(digits)
        if length != len(data) - start or length > self._most:
            return None
        return self._request.with_body(data[start:])


def known_head(data: bytes, request: Request, most: int) -> KnownHead | None:
    """Return what to compare with, if `data` is exactly this request; `most` bounds later bodies."""
    end = data.find(b"\r\n\r\n") + 4
    if end != len(data) - request.size or end > _LONGEST_HEAD or not _SPECIAL.isdisjoint(request.headers):
        return None
    found = _LENGTH.search(data, 0, end)
    if found is None:
        return None
    return KnownHead(data[: found.start(1)], data[found.end(1) : end], request.with_body(b""), most)
