"""The words of two texts that differ, found in time that grows hardly faster than their length.

This is patience diff: what both texts have at their ends is set aside, words that occur once in both are
matched in their longest common order, and the gaps between them are compared the same way. In a gap without
such words, those count that occur equally often in both, first with first and so on. What is then left
unmatched is marked, so a repetitive text can show more differences than it has.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from crossgrade.ui._texts import Pieces, Tag

MOST_WORDS = 6_000
"""Texts with more words than this are compared line by line."""

MOST_LINES = 3_000
LEAST_COMMON = 0.25
"""Texts that share a smaller part of the shorter one's words are too different for marks to help."""

_DEEPEST = 16
# Chinese, Japanese and Korean put no blanks between words, so each of their characters counts as one.
_WIDE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_WIDE}]|[^\W{_WIDE}]+|[^\w\s]")
_LINE = re.compile(r"[^\n]+")
_OPEN, _CLOSE = Tag("<mark>"), Tag("</mark>")


def marked(one: Pieces, other: Pieces) -> tuple[Pieces, Pieces] | None:
    """Return both texts with what the other does not have inside `<mark>`.

    None if they are too long or share too little for marks to say anything.
    """
    for pattern, most in ((_WORD, MOST_WORDS), (_LINE, MOST_LINES)):
        ours, theirs = _tokens(one, pattern), _tokens(other, pattern)
        if max(len(ours), len(theirs)) <= most:
            break
    else:
        return None
    shorter = min(len(ours), len(theirs))
    if (Counter(ours) & Counter(theirs)).total() < LEAST_COMMON * shorter:
        return None
    pairs = _matched(ours, theirs)
    if len(pairs) < LEAST_COMMON * shorter:
        return None
    kept_ours, kept_theirs = {at for at, _ in pairs}, {at for _, at in pairs}
    return list(_with_marks(one, pattern, kept_ours)), list(_with_marks(other, pattern, kept_theirs))


def _tokens(pieces: Pieces, pattern: re.Pattern[str]) -> list[str]:
    return [word for piece in pieces if not isinstance(piece, Tag) for word in pattern.findall(piece)]


def _with_marks(pieces: Pieces, pattern: re.Pattern[str], kept: set[int]) -> Iterator[str]:
    """Return the pieces with marks around runs of words that are not kept; no mark goes over a tag."""
    number = 0
    for piece in pieces:
        if isinstance(piece, Tag):
            yield piece
            continue
        written, opened, ended = 0, None, 0
        for found in pattern.finditer(piece):
            if number in kept and opened is not None:
                yield from (piece[written:opened], _OPEN, piece[opened:ended], _CLOSE)
                written, opened = ended, None
            elif number not in kept:
                opened = found.start() if opened is None else opened
                ended = found.end()
            number += 1
        if opened is not None:
            yield from (piece[written:opened], _OPEN, piece[opened:ended], _CLOSE)
            written = ended
        yield piece[written:]


def _matched(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places of words that both texts have, in an order that both keep."""
    found: list[tuple[int, int]] = []
    waiting = [(0, len(ours), 0, len(theirs), 0)]
    while waiting:
        start, end, other_start, other_end, depth = waiting.pop()
        while start < end and other_start < other_end and ours[start] == theirs[other_start]:
            found.append((start, other_start))
            start, other_start = start + 1, other_start + 1
        while start < end and other_start < other_end and ours[end - 1] == theirs[other_end - 1]:
            end, other_end = end - 1, other_end - 1
            found.append((end, other_end))
        if start == end or other_start == other_end or depth == _DEEPEST:
            continue
        anchors = _anchors(ours, theirs, (start, end), (other_start, other_end))
        found += anchors
        if anchors:
            stops = [(start - 1, other_start - 1), *anchors, (end, other_end)]
            waiting += [
                (left + 1, right, other_left + 1, other_right, depth + 1)
                for (left, other_left), (right, other_right) in pairwise(stops)
            ]
    return found


def _anchors(
    ours: Sequence[str], theirs: Sequence[str], here: tuple[int, int], there: tuple[int, int]
) -> list[tuple[int, int]]:
    """Return the words that occur equally often in both parts, as far as both keep their order."""
    counts, other_counts = Counter(ours[slice(*here)]), Counter(theirs[slice(*there)])
    shared = {word for word, count in counts.items() if count == other_counts.get(word)}
    kept = {word for word in shared if counts[word] == 1} or shared
    places: dict[str, list[int]] = {}
    for at in range(there[1] - 1, there[0] - 1, -1):
        if theirs[at] in kept:
            places.setdefault(theirs[at], []).append(at)
    candidates = [(at, places[ours[at]].pop()) for at in range(*here) if ours[at] in kept]
    return _longest_rising(candidates)


def _longest_rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest subsequence whose second numbers rise (patience sorting)."""
    ends: list[int] = []
    tops: list[int] = []
    before: list[int] = []
    for number, (_, place) in enumerate(pairs):
        pile = bisect_left(ends, place)
        before.append(tops[pile - 1] if pile else -1)
        ends[pile : pile + 1] = [place]
        tops[pile : pile + 1] = [number]
    chain: list[tuple[int, int]] = []
    at = tops[-1] if tops else -1
    while at >= 0:
        chain.append(pairs[at])
        at = before[at]
    return chain[::-1]
