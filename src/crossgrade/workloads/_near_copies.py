"""Finds near-copies: samples that say almost the same, so that one of them tells what another asks.

Two texts are near-copies if they share most of their pieces of five characters (Jaccard similarity). Which
pairs may be is found by prefix filtering: if two sets are similar enough, the rarest pieces of each have one
in common (C. Xiao, W. Wang, X. Lin and J. X. Yu, WWW 2008, 131-140). Near-copies of near-copies are in one
group.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import JSON, PLACEHOLDER, Sample, Workload
from crossgrade.workloads.files import as_text

SIMILAR = 0.7
"""The share of common pieces from which two texts are near-copies: one word in eight may differ."""

_PIECE = 5
_LONGEST = 20_000
"""So many characters of a text are compared."""

_MOST_SHARED = 200
"""A piece that more texts have proposes the first of them only: boilerplate takes no quadratic time."""

_FEW = 20
_WORD_BREAK = re.compile(r"\W+")
_FACTORS = np.array([1_000_003**power % 2**64 for power in range(_PIECE)], dtype=np.uint64)

_Pieces = NDArray[np.uint64]


def telling_fields(samples: Sequence[Sample], workload: Workload) -> list[str]:
    """Return the fields of the incumbent's prompt that tell one sample from another, in the prompt's order.

    A field that has the same few values everywhere, as a list of examples or the name of a product, is none
    of them: fewer than half as many values as samples. If that leaves none, all of the prompt's fields are.
    """
    prompt = workload.incumbent.prompt
    used = [name for text in (prompt.system, prompt.user) for name in PLACEHOLDER.findall(text or "")]
    names = list(dict.fromkeys((*used, *([prompt.history] if prompt.history else []))))
    values = {name: {_text(sample.fields.get(name)) for sample in samples} for name in names}
    return [name for name in names if 2 * len(values[name]) >= len(samples)] or names


def sample_texts(samples: Sequence[Sample], workload: Workload) -> list[str]:
    """Return the text of each sample that tells it from the others: its `telling_fields`."""
    names = telling_fields(samples, workload)
    return [" ".join(_text(sample.fields.get(name)) for name in names) for sample in samples]


def _text(value: JSON) -> str:
    return as_text(value) or ""


def near_copies(texts: Sequence[str]) -> list[int]:
    """Return the group of each text: the place of the first text that it is a near-copy of, or its own.

    Case, spaces and punctuation do not count. Texts of fewer than five letters are near-copies if they are
    equal. Pieces that more than half of the texts have, where there are enough, are their form and are left
    out.
    """
    plain = [_WORD_BREAK.sub(" ", text[:_LONGEST].casefold()).strip() for text in texts]
    groups = _Groups(len(texts))
    first: dict[str, int] = {}
    for place, text in enumerate(plain):
        groups.join(place, first.setdefault(text, place))
    places = sorted(first.values())
    for one, other in _similar([_pieces(plain[place]) for place in places]):
        groups.join(places[one], places[other])
    return [groups.of(place) for place in range(len(texts))]


def _pieces(text: str) -> _Pieces:
    """Return the hashes of a text's pieces, sorted, each once."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    if len(codes) < _PIECE:
        return np.empty(0, np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(codes, _PIECE)
    return np.unique((windows * _FACTORS).sum(axis=1, dtype=np.uint64))


def _similar(sets: Sequence[_Pieces]) -> Iterator[tuple[int, int]]:
    """Yield pairs of places whose sets are similar, the earlier place second."""
    counts = Counter(piece for pieces in sets for piece in pieces.tolist())
    form = {piece for piece, n in counts.items() if 2 * n > len(sets)} if len(sets) >= _FEW else set()
    having: defaultdict[int, list[int]] = defaultdict(list)
    kept = [_without(pieces, form) for pieces in sets]
    for place, pieces in enumerate(kept):
        rare = sorted(pieces.tolist(), key=lambda piece: (counts[piece], piece))
        prefix = rare[: len(rare) - int(np.ceil(SIMILAR * len(rare))) + 1]
        near = {other for piece in prefix for other in having[piece]}
        for other in sorted(near):
            if _similarity(pieces, kept[other]) >= SIMILAR:
                yield place, other
        for piece in prefix:
            if len(having[piece]) < _MOST_SHARED:
                having[piece].append(place)


def _without(pieces: _Pieces, form: set[int]) -> _Pieces:
    if not form:
        return pieces
    left = pieces[~np.isin(pieces, np.fromiter(form, np.uint64, len(form)))]
    return left if left.size else pieces


def _similarity(one: _Pieces, other: _Pieces) -> float:
    shorter, longer = sorted((len(one), len(other)))
    if shorter < SIMILAR * longer:
        return 0.0
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (shorter + longer - common)


class _Groups:
    """Disjoint groups of places, each named by its first."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def of(self, place: int) -> int:
        while self._parent[place] != place:
            self._parent[place] = self._parent[self._parent[place]]
            place = self._parent[place]
        return place

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.of(one), self.of(other)))
        self._parent[high] = low
