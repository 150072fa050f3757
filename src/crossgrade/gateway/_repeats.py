"""Heads that come again: on a kept connection they are nearly always the same bytes.

A client sends one head after another that differ in the length of the body at most. The parser reads
the first; the same bytes again mean the same, so that a later request is only compared with it.
"""

import re

from crossgrade.gateway._head import Request, WholeRequest

_LONGEST_HEAD = 8192
_MOST_DIGITS = 10
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)\r\n", re.IGNORECASE)
_SPECIAL = frozenset((b"transfer-encoding", b"expect", b"upgrade"))


class KnownHead:
    """A head that was parsed and passed every check, cut where its content-length stands."""

    __slots__ = ("_after", "_before", "_most", "_request", "_start")

    def __init__(self, before: bytes, after: bytes, request: Request, most: int) -> None:
        self._before = before
        self._start = len(before)
        self._after = after
        self._request = request
        self._most = most

    def again(self, data: bytes) -> Request | None:
        """Return the request that this is, if it is this head with a whole body and nothing more.

        Anything else is for the parser, which has seen nothing of it.
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
        return WholeRequest(self._request, body) if length == len(body) and length <= self._most else None


def known_head(data: bytes, request: Request, most: int) -> KnownHead | None:
    """Return what to compare with, if `data` is exactly this request; `most` bounds later bodies."""
    end = data.find(b"\r\n\r\n") + 4
    if end != len(data) - request.size or end > _LONGEST_HEAD or not _SPECIAL.isdisjoint(request.headers):
        return None
    found = _LENGTH.search(data, 0, end)
    if found is None:
        return None
    return KnownHead(data[: found.start(1)], data[found.end(1) : end], WholeRequest(request, b""), most)
