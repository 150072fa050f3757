"""Discover segments in the texts of the samples that train a router.

Texts are compared by their words: weighted by rarity, projected on their main directions (latent semantic
analysis: S. Deerwester et al., J. Am. Soc. Inf. Sci. 41 (1990) 391-407), and divided into groups of similar
direction (spherical k-means: I. Dhillon and D. Modha, Machine Learning 42 (2001) 143-175). Scores have no
part in it. Everything is linear in the words up to the choice of the nearest group, so that the gateway needs
no more than one weight for each word and group.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from crossgrade.decide._evidence import FloatColumn, IntColumn
from crossgrade.routing import WORD, ZERO_WEIGHT, Topics, scored_text, topic_words

_BITS = 14
_SAMPLES_A_TOPIC = 100
_FEWEST, _MOST = 2, 12
_DIRECTIONS = 50
_STEPS = 30
_RARE, _COMMON = 3, 0.3
"""Words in fewer texts than the first, or in a larger share of texts than the second, tell nothing."""

_NAMING_WORDS = 3
_ELSEWHERE = 0.015
"""A word in more than this share of most other groups' texts is no group's own."""

_NAMING_LENGTHS = range(4, 31)
"""Characters of a word in a name. Text without spaces, as of Chinese, is one long word, and is not quoted."""

_LARGEST = 127
EXAMPLES = 10


@dataclass(frozen=True, kw_only=True)
class Discovered:
    """Topics, and of each the rows of the texts that are nearest to its middle."""

    topics: Topics
    examples: tuple[tuple[int, ...], ...]


def discover(texts: Sequence[str], seed: int, *, units: Sequence[str] = ()) -> Discovered | None:
    """Return the topics of some texts, or None if their words do not tell them apart.

    `units` are the texts' conversations (by default each text is one). What is said in fewer of them than
    `_RARE` names no topic, however often it is said there.
    """
    words = _words(texts)
    n, size = words.shape[0], min(max(words.shape[0] // _SAMPLES_A_TOPIC, _FEWEST), _MOST)
    often = np.asarray(words.sum(axis=0)).ravel()
    tells = (often >= _RARE) & (often <= _COMMON * n)
    weight = np.where(tells, np.log(n / np.maximum(often, 1)), 0.0)
    weighted = _unit_rows(csr_array(words * weight))
    directions = min(_DIRECTIONS, int(tells.sum()) - 1, n - 1)
    if directions < size:
        return None
    rng = np.random.default_rng(seed)
    # Start from a drawn vector, so that the same seed finds the same directions on every machine.
    turned = svds(weighted, k=directions, v0=rng.standard_normal(min(weighted.shape)))[2].T
    place = _unit(weighted @ turned)
    middle = _middles(place, size, rng)
    middle = middle[np.unique((place @ middle.T).argmax(axis=1))]  # without groups that have no text
    nearness = place @ middle.T
    group, size = nearness.argmax(axis=1), len(middle)
    if size < _FEWEST:
        return None
    names = tuple(_names(texts, units or range(n), group, size))
    return Discovered(
        topics=Topics(names=names, bits=_BITS, weights=_rounded(weight[:, None] * (turned @ middle.T))),
        examples=tuple(
            tuple(
                row for row in np.argsort(-nearness[:, each], kind="stable").tolist() if group[row] == each
            )[:EXAMPLES]
            for each in range(size)
        ),
    )


def _words(texts: Sequence[str]) -> csr_array:
    """Return which words each text has: a row a text, a column a hashed word."""
    ends, columns = [0], list[int]()
    for text in texts:
        columns.extend(sorted(topic_words(scored_text(text), _BITS)))
        ends.append(len(columns))
    return csr_array(
        (np.ones(len(columns)), np.array(columns, dtype=np.int64), ends), (len(texts), 1 << _BITS)
    )


def _unit_rows(matrix: csr_array) -> csr_array:
    length = np.sqrt(np.asarray((matrix * matrix).sum(axis=1)).ravel())
    return csr_array(matrix * (1 / np.where(length > 0, length, 1.0))[:, None])


def _unit(rows: FloatColumn) -> FloatColumn:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    found: FloatColumn = rows / np.where(length > 0, length, 1.0)
    return found


def _middles(place: FloatColumn, size: int, rng: np.random.Generator) -> FloatColumn:
    """Return the middle direction of each group. The first ones are drawn to be far apart."""
    chosen = [place[rng.integers(len(place))]]
    while len(chosen) < size:
        apart = np.maximum(1 - (place @ np.array(chosen).T).max(axis=1), 1e-12)
        chosen.append(place[rng.choice(len(place), p=apart / apart.sum())])
    middle = np.array(chosen)
    for _ in range(_STEPS):
        group = (place @ middle.T).argmax(axis=1)
        sums = np.zeros_like(middle)
        np.add.at(sums, group, place)
        middle = _unit(np.where(np.abs(sums).sum(axis=1, keepdims=True) > 0, sums, middle))
    return middle


def _rounded(weights: FloatColumn) -> bytes:
    unit = float(np.abs(weights).max(initial=0.0)) / _LARGEST or 1.0
    return (np.rint(weights / unit) + ZERO_WEIGHT).astype(np.uint8).tobytes()


def _names(texts: Sequence[str], units: Sequence[object], group: IntColumn, size: int) -> Iterator[str]:
    """Yield a name for each group: the words that occur in more of its texts than in others'.

    Words that most other groups have too come only where a group has no others, and longer words come first:
    in every language words of grammar are short (G. Zipf, The Psycho-Biology of Language, 1935).
    """
    everywhere, inside = Counter[str](), [Counter[str]() for _ in range(size)]
    said_by: dict[str, set[object]] = {}
    for text, unit, own in zip(texts, units, group.tolist(), strict=True):
        words = {word.decode("utf-8", "replace") for word in WORD.findall(scored_text(text).lower())}
        words = {word for word in words if _can_name(word)}
        everywhere.update(words)
        inside[own].update(words)
        for word in words:
            said_by.setdefault(word, set()).add(unit)
    taken, sizes = set[str](), np.bincount(group, minlength=size).tolist()
    for own, (counts, n) in enumerate(zip(inside, sizes, strict=True)):
        rest = max(len(texts) - n, 1)
        lift = {
            word: (seen / n - (everywhere[word] - seen) / rest)
            * math.log(len(texts) / everywhere[word]) ** 2
            * len(word)
            for word, seen in counts.items()
            if seen >= _RARE and len(said_by[word]) >= _RARE and everywhere[word] <= _COMMON * len(texts)
        }
        others = [(each, sizes[at]) for at, each in enumerate(inside) if at != own]
        its = {word for word in lift if median(each[word] / m for each, m in others) <= _ELSEWHERE}
        best = sorted(its or lift, key=lambda word: (-lift[word], word))[:_NAMING_WORDS]
        name = "/".join(best) or "other"
        yield name if name not in taken else f"{name} ({own + 1})"
        taken.add(name)


def _can_name(word: str) -> bool:
    return len(word) in _NAMING_LENGTHS and word.isprintable() and not any(map(str.isdigit, word))
