"""A router: a score for each request, learned from paired results, by which a policy moves requests.

The score is P(candidate right) - stake P(incumbent right), so that a high score means "the candidate can do
it". It is computed from the opening text of a conversation and, where the router knows segments, from the
request's segment. Later requests of a conversation repeat its opening, so they get the same score without
any memory.

A router is either a **table** of one score a segment, or two logistic regressions (**heads**) on hashed
words, pairs of words and a few facts of the text. Both are plain numbers. Scoring needs only the standard
library.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any
from zlib import crc32

from crossgrade.errors import UsageError
from crossgrade.routing.topics import WORD, Topics, read_topics, scored_text, topics_tree

ROUTER_VERSION = 1
"""The version of the features and of the written form: a router of another version is refused."""

THRESHOLD_UNITS = 10_000
"""Thresholds are whole multiples of one in so many, so that their names say them exactly."""

ZERO_WEIGHT = 128
"""The byte of a weight of zero."""

CHECKED_TEXTS = (
    "Which of these is right? (A) 12.5 % (B) $3,000 (C) neither",
    "```python\ndef half(x): return x / 2\n```\nWhat does it do?",
    "Où est la gare ? 駅はどこですか。",
)
"""Texts by whose scores a reader checks that it computes what the writer did. No text of a user is kept."""

MOST_STAKE = 2.0
MAX_BITS = 18
_LARGEST, _LEAST_SPREAD = 1e9, 1e-9
"""No score overflows within these, and none that was trained comes near them."""

_CLOSE = 1e-6  # two machines may add floats in another order

_CODE_MARKS = (b"```", b"#include", b";\n", b"=>")
_CODE_WORDS = (b"def ", b"class ", b"import ")
_CODE = re.compile(rb"\bdef \w+\(|\bclass \w+|\bimport \w+")
_DIGITS, _CAPITALS, _OPERATORS = b"0123456789", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"-+*/=^<>"
_BEYOND_ASCII = bytes(range(128, 256))
_NUMBERS_ALONE = bytes(each if each in _DIGITS else 32 for each in range(256))
_PAIR = 2654435761  # Knuth's multiplier, so that "a b" and "b a" differ

FACTS = (
    "bytes",
    "word_length",
    "digits",
    "numbers",
    "capitals",
    "operators",
    "beyond_ascii",
    "lines",
    "questions",
    "dollars",
    "code",
)
"""The facts of a text, in the order of `text_facts`."""


def opening_text(messages: Iterable[tuple[str, str]]) -> str:
    """Return the texts of a conversation's messages, given as (role, text), up to the user's first one."""
    texts = []
    for role, text in messages:
        texts.append(text)
        if role == "user":
            break
    return "\n".join(texts)


def text_facts(text: bytes) -> tuple[float, ...]:
    """Return the facts of a text, as `FACTS` names them: shares in [0, 1], and logarithms of 1 + a count."""
    size = len(text) or 1
    return (
        math.log1p(len(text)),
        len(text) / (text.count(b" ") + 1),
        _count(text, _DIGITS) / size,
        math.log1p(len(text.translate(_NUMBERS_ALONE).split())),
        _count(text, _CAPITALS) / size,
        _count(text, _OPERATORS) / size,
        _count(text, _BEYOND_ASCII) / size,
        math.log1p(text.count(b"\n")),
        math.log1p(text.count(b"?")),
        math.log1p(text.count(b"$")),
        1.0 if _has_code(text) else 0.0,
    )


def _has_code(text: bytes) -> bool:
    """Return whether a text looks like code, by a regular expression only where that may match."""
    if any(map(text.__contains__, _CODE_MARKS)):
        return True
    return any(map(text.__contains__, _CODE_WORDS)) and _CODE.search(text) is not None


def _count(text: bytes, kinds: bytes) -> int:
    return len(text) - len(text.translate(None, kinds))


def buckets(text: bytes, bits: int, segment: str | None = None) -> set[int]:
    """Return the distinct buckets, below 2**bits, of a text's words, pairs of words, and its segment."""
    mask = (1 << bits) - 1
    words = list(map(crc32, WORD.findall(text.lower())))
    found = {word & mask for word in words}
    found.update([(first * _PAIR ^ second) >> 3 & mask for first, second in pairwise(words)])
    if segment is not None:
        found.add(crc32(b"\0" + segment.encode("utf-8", "replace")) & mask)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A logistic regression: each byte of `weights` is a whole number plus 128, in units of `unit`."""

    bias: float
    unit: float
    weights: bytes = field(repr=False)
    facts: tuple[float, ...]

    def probability(self, found: set[int], facts: tuple[float, ...]) -> float:
        """Return the probability of a right answer, in (0, 1), from buckets and standardised facts."""
        whole = sum(map(self.weights.__getitem__, found)) - ZERO_WEIGHT * len(found)
        total = whole * self.unit / math.sqrt(len(found) or 1)
        logit = self.bias + total + math.fsum(map(float.__mul__, self.facts, facts))
        return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))


@dataclass(frozen=True, kw_only=True)
class Router:
    """What scores requests of one route for one candidate.

    `stake` weighs the incumbent in the score, in (0, 2): it is the floor that what moves must keep.
    `segments` maps each segment that the router was trained on to its score (None: it was trained without
    segments). A request of any other segment, or of an unknown one, has no score and stays with the
    incumbent. With `topics`, the text tells the segment, and what a caller names is not looked at. `heads`
    are the candidate's and the incumbent's regressions over 2**`bits` buckets; without them the score is the
    segment's. `thresholds` are the least scores that a policy may ask for, the strictest first, in whole
    units of 1 / `THRESHOLD_UNITS`. `checks` are the scores of `CHECKED_TEXTS` in the first segment, which a
    reader computes again.
    """

    stake: float
    segments: Mapping[str, float] | None = None
    topics: Topics | None = None
    bits: int = 16
    facts_mean: tuple[float, ...] = ()
    facts_sd: tuple[float, ...] = ()
    heads: tuple[Head, Head] | None = None
    thresholds: tuple[float, ...] = ()
    checks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a router that cannot score or whose checks do not hold."""
        problem = self._problem()
        if problem is not None:
            raise UsageError(f"router: {problem}", code="router-invalid", hint=_HINT)

    def score(self, text: str | None, segment: str | None = None) -> float | None:
        """Return the score of a request, in [-stake, 1], or None for one that the router cannot judge."""
        if self.topics is not None:
            segment = None if text is None else self.topics.of(text)
        if self.segments is not None and segment not in self.segments:
            return None
        if self.heads is None:
            return None if self.segments is None or segment is None else self.segments[segment]
        if text is None:
            return None
        read = scored_text(text)
        found = buckets(read, self.bits, None if self.segments is None else segment)
        scaled = zip(text_facts(read), self.facts_mean, self.facts_sd, strict=True)
        facts = tuple((value - mean) / sd for value, mean, sd in scaled)
        candidate, incumbent = self.heads
        return candidate.probability(found, facts) - self.stake * incumbent.probability(found, facts)

    @cached_property
    def digest(self) -> str:
        """`sha256:` and the hex digest of the router's canonical JSON."""
        text = json.dumps(router_tree(self), sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def _problem(self) -> str | None:
        """Return what is wrong with the router, or None."""
        if not 0 < self.stake < MOST_STAKE:
            return f"the stake {self.stake} is not in (0, {MOST_STAKE:g})"
        if self.segments is None and self.heads is None:
            return "it has neither segments nor regressions"
        if self.topics is not None and (self.heads is not None or self.segments is None):
            return "topics are for a table of segments"
        if any(later >= earlier for earlier, later in pairwise(self.thresholds)):
            return "its thresholds do not fall"
        if any(round(each * THRESHOLD_UNITS) / THRESHOLD_UNITS != each for each in self.thresholds):
            return f"its thresholds are not whole multiples of 1 / {THRESHOLD_UNITS}"
        return self._malformed() or self._differs()

    def _malformed(self) -> str | None:
        """Return what is wrong with the regressions, or None."""
        if self.heads is not None and not 1 <= self.bits <= MAX_BITS:
            return f"{self.bits} bits are not in 1 to {MAX_BITS}"
        for head in self.heads or ():
            if len(head.weights) != 1 << self.bits:
                return f"a regression has {len(head.weights)} weights, {1 << self.bits} are expected"
            if not len(head.facts) == len(self.facts_mean) == len(self.facts_sd) == len(FACTS):
                return f"a regression is not over {len(FACTS)} facts"
        if any(sd < _LEAST_SPREAD for sd in self.facts_sd):
            return "a fact has no spread"
        numbers = [each for head in self.heads or () for each in (head.bias, head.unit, *head.facts)]
        if any(abs(each) > _LARGEST for each in (*numbers, *self.facts_mean)):
            return f"one of its numbers is beyond {_LARGEST:g}"
        return None

    def _differs(self) -> str | None:
        """Return which check this machine computes otherwise, or None."""
        if self.checks and len(self.checks) != len(CHECKED_TEXTS):
            return f"it has {len(self.checks)} checks, {len(CHECKED_TEXTS)} are expected"
        for text, found, wanted in zip(CHECKED_TEXTS, self.check_scores(), self.checks, strict=False):
            if abs(found - wanted) > _CLOSE:
                return f"the check {text[:40]!r} scores {found}, {wanted} is recorded"
        return None

    def check_scores(self) -> tuple[float, ...]:
        """Return the scores of `CHECKED_TEXTS` in the first segment, as this machine computes them."""
        segment = None if self.segments is None else min(self.segments, default=None)
        scores = (self.score(text, segment) for text in CHECKED_TEXTS)
        return tuple(score or 0.0 for score in scores)


_HINT = "decide again with `--router` to train a new one; routers are not edited by hand"


def threshold_name(least_score: float) -> str:
    """Return the name of all requests whose score is at least a threshold."""
    return f"score >= {least_score:.4f}"


def router_tree(router: Router) -> dict[str, Any]:
    """Return the router as plain JSON values; weights are base64 of one byte each."""
    topics = {} if router.topics is None else {"topics": topics_tree(router.topics)}
    return {
        "router_version": ROUTER_VERSION,
        **topics,
        "stake": router.stake,
        "segments": None if router.segments is None else dict(sorted(router.segments.items())),
        "bits": router.bits,
        "facts_mean": list(router.facts_mean),
        "facts_sd": list(router.facts_sd),
        "heads": None if router.heads is None else [_head_tree(head) for head in router.heads],
        "thresholds": list(router.thresholds),
        "checks": list(router.checks),
    }


def _head_tree(head: Head) -> dict[str, Any]:
    return {
        "bias": head.bias,
        "unit": head.unit,
        "weights": base64.b64encode(head.weights).decode(),
        "facts": list(head.facts),
    }


_KEYS = {
    "router_version",
    "stake",
    "segments",
    "bits",
    "facts_mean",
    "facts_sd",
    "heads",
    "thresholds",
    "checks",
}


def read_router(tree: object) -> Router:
    """Return the router that `router_tree` wrote; raises `UsageError` for anything else."""
    version = tree.get("router_version") if isinstance(tree, dict) else None
    if not isinstance(tree, dict) or type(version) is not int or version != ROUTER_VERSION:
        raise UsageError(
            f"router has version {version!r}, this release reads {ROUTER_VERSION}",
            code="router-invalid",
            hint=_HINT,
        )
    try:
        return _read(tree)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise UsageError(f"router is not readable: {error}", code="router-invalid", hint=_HINT) from error


def _read(tree: dict[str, Any]) -> Router:
    if tree.keys() - {"topics"} != _KEYS:
        raise KeyError(f"its keys are {sorted(map(str, tree))}")
    segments, heads, bits = tree["segments"], tree["heads"], tree["bits"]
    if type(bits) is not int:
        raise TypeError("`bits` is not a whole number")
    if segments is not None:
        segments = {_text(name): _number(score) for name, score in segments.items()}
    if heads is not None:
        candidate, incumbent = (_read_head(head) for head in heads)
        heads = candidate, incumbent
    return Router(
        stake=_number(tree["stake"]),
        segments=segments,
        topics=read_topics(tree["topics"]) if "topics" in tree else None,
        bits=bits,
        facts_mean=_numbers(tree["facts_mean"]),
        facts_sd=_numbers(tree["facts_sd"]),
        heads=heads,
        thresholds=_numbers(tree["thresholds"]),
        checks=_numbers(tree["checks"]),
    )


def _read_head(tree: dict[str, Any]) -> Head:
    if tree.keys() != {"bias", "unit", "weights", "facts"}:
        raise KeyError("a regression has other keys")
    return Head(
        bias=_number(tree["bias"]),
        unit=_number(tree["unit"]),
        weights=base64.b64decode(_text(tree["weights"]), validate=True),
        facts=_numbers(tree["facts"]),
    )


def _numbers(values: list[object]) -> tuple[float, ...]:
    return tuple(map(_number, values))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value
