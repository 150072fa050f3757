"""How alike answers to one question are: kernels on texts, each a matrix in [0, 1] with 1 on the diagonal.

Answers of a language model grow from left to right. Two answers are the same up to a character and then go
apart, and after that the positions of their characters mean little. `shared_beginnings` counts the common
beginning only, `equal_places` is the Hamming kernel of Model Equality Testing (I. Gao, P. Liang and
C. Guestrin, arXiv:2410.20247), and `shared_words` compares what words are there, in whatever order.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from crossgrade.stats._pairs import FloatArray

MOST_CHARACTERS = 1_000
"""What is compared of an answer, from its beginning."""


def shared_beginnings(texts: Sequence[str]) -> FloatArray:
    """Return for each two texts the length of their common beginning over the longer one's, in [0, 1].

    Equal texts have 1, also two empty ones.
    """
    lengths = np.array([min(len(text), MOST_CHARACTERS) for text in texts], dtype=np.float64)
    longer = np.maximum.outer(lengths, lengths)
    common = common_beginnings(texts)
    return np.divide(common, longer, out=np.ones_like(longer), where=longer > 0)


def common_beginnings(texts: Sequence[str]) -> FloatArray:
    """Return for each two texts how many characters they begin with in common.

    In sorted order the common beginning of two texts is the shortest of those between them.
    """
    cut = [text[:MOST_CHARACTERS] for text in texts]
    order = sorted(range(len(cut)), key=cut.__getitem__)
    between = [_common(cut[a], cut[b]) for a, b in pairwise(order)]
    ranked = np.empty((len(cut), len(cut)))
    for i, at in enumerate(order):
        ranked[i, i] = len(cut[at])
        np.minimum.accumulate(between[i:], out=ranked[i, i + 1 :])
        ranked[i + 1 :, i] = ranked[i, i + 1 :]
    place = np.argsort(order)
    common: FloatArray = ranked[np.ix_(place, place)]
    return common


def equal_places(texts: Sequence[str]) -> FloatArray:
    """Return for each two texts the share of places with the same character, of the longer one's places."""
    codes = _codes(texts)
    lengths = (codes >= 0).sum(axis=0).astype(np.float64)
    equal = np.zeros((len(texts), len(texts)), dtype=np.int16)
    for place in codes:
        equal += (place[:, None] == place[None]) & (place >= 0)
    longer = np.maximum.outer(lengths, lengths)
    share: FloatArray = np.divide(equal, longer, out=np.ones_like(longer), where=longer > 0)
    return share


def shared_words(texts: Sequence[str]) -> FloatArray:
    """Return for each two texts the cosine of their counts of words and pairs of words, in [0, 1]."""
    columns: dict[tuple[str, ...], int] = {}
    cells: list[tuple[int, int]] = []
    for row, text in enumerate(texts):
        words = ["", *text[:MOST_CHARACTERS].split()]
        parts = [(word,) for word in words] + list(pairwise(words))
        cells += [(row, columns.setdefault(part, len(columns))) for part in parts]
    counts = np.zeros((len(texts), len(columns)))
    for row, column in cells:
        counts[row, column] += 1
    counts /= np.sqrt((counts**2).sum(axis=1, keepdims=True))
    return np.minimum(counts @ counts.T, 1.0)


def _common(first: str, second: str) -> int:
    least = min(len(first), len(second))
    if first[:least] == second[:least]:
        return least
    low, high = 0, least
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if first[:middle] == second[:middle] else (low, middle)
    return low


def _codes(texts: Sequence[str]) -> NDArray[np.signedinteger]:
    """Return a number for each character, -1 after a text's end, shape (longest, texts)."""
    cut = [text[:MOST_CHARACTERS] for text in texts]
    points = np.full((len(cut), max(map(len, cut), default=0)), -1, dtype=np.int32)
    for row, text in enumerate(cut):
        points[row, : len(text)] = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.int32)
    known = np.unique(points[points >= 0])
    codes = np.where(points < 0, -1, np.searchsorted(known, points))
    return np.ascontiguousarray(codes.T.astype(np.int16 if len(known) < 2**15 else np.int32))


def answer_likeness(texts: Sequence[str]) -> FloatArray:
    """Return how alike each two answers are, in [0, 1]: what the tests of this room use."""
    return (shared_beginnings(texts) + equal_places(texts) + shared_words(texts)) / 3
