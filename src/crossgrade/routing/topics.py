"""Topics: segments of requests that were discovered in their texts, and told apart by their words.

A text belongs to the topic for which its words weigh most. The weights are plain numbers, so a gateway tells
a request's topic with the standard library.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from crossgrade.errors import UsageError

HEAD_CHARACTERS, TAIL_CHARACTERS = 3000, 1000
"""A longer text is scored by its beginning and its end."""

WORD = re.compile(rb"[0-9A-Z_a-z\x80-\xff]+")

MAX_TOPIC_BITS = 16
_SHORTEST = 3
"""Bytes of the shortest word that tells topics apart."""


def scored_text(text: str) -> bytes:
    """Return the part of a text that a router reads, in UTF-8: all of it, or its beginning and its end."""
    if len(text) > HEAD_CHARACTERS + TAIL_CHARACTERS:
        text = f"{text[:HEAD_CHARACTERS]} {text[-TAIL_CHARACTERS:]}"
    return text.encode("utf-8", "replace")


@dataclass(frozen=True, kw_only=True)
class Topics:
    """Weights of hashed words for each topic.

    Word number w of 2**`bits` has the weights `weights[w * k : (w + 1) * k]` for the k topics in `names`,
    each a byte. 128 is no weight, and a word without any is unknown.
    """

    names: tuple[str, ...]
    bits: int
    weights: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse weights that do not belong to these names."""
        if len(self.names) < 2 or len(set(self.names)) < len(self.names):
            problem = "the names are fewer than two, or one occurs twice"
        elif not 1 <= self.bits <= MAX_TOPIC_BITS:
            problem = f"{self.bits} bits are not in 1 to {MAX_TOPIC_BITS}"
        elif len(self.weights) != len(self.names) << self.bits:
            problem = f"there are {len(self.weights)} weights, {len(self.names) << self.bits} are expected"
        else:
            return
        raise UsageError(f"topics: {problem}", code="router-invalid", hint="train a new router")

    def of(self, text: str) -> str | None:
        """Return the topic of a text, or None if it has no word that is known."""
        size, nothing = len(self.names), b"\x80" * len(self.names)
        rows = []
        for word in topic_words(scored_text(text), self.bits):
            row = self.weights[word * size : (word + 1) * size]
            if row != nothing:
                rows.append(row)
        if not rows:
            return None
        sums = list(map(sum, zip(*rows, strict=True)))
        return self.names[sums.index(max(sums))]


def topic_words(text: bytes, bits: int) -> set[int]:
    """Return the numbers, below 2**bits, of the different words of a text."""
    mask = (1 << bits) - 1
    return {crc32(word) & mask for word in WORD.findall(text.lower()) if len(word) >= _SHORTEST}


def topics_tree(topics: Topics) -> dict[str, Any]:
    """Return topics as plain JSON values; weights are base64."""
    return {
        "names": list(topics.names),
        "bits": topics.bits,
        "weights": base64.b64encode(topics.weights).decode(),
    }


def read_topics(tree: Mapping[str, Any]) -> Topics:
    """Return the topics that `topics_tree` wrote. Raises TypeError, ValueError or KeyError for others."""
    if tree.keys() != {"names", "bits", "weights"}:
        raise KeyError("topics have other keys")
    names, bits = tree["names"], tree["bits"]
    if (
        type(bits) is not int
        or not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
    ):
        raise TypeError("a topic's name is not a text, or `bits` is not a whole number")
    return Topics(
        names=tuple(names), bits=bits, weights=base64.b64decode(tree["weights"].encode(), validate=True)
    )
