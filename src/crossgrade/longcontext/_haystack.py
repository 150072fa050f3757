"""Tokenises the documents once, and builds prompts of an exact number of tokens from them.

In the byte-level BPE family a pattern cuts text into pieces that merges never cross, and it always cuts
between a single line feed and a letter or digit. Every segment begins with a letter or digit and ends in one
line feed, so the ids of joined segments are the joined ids of the segments, and a prompt's length is the sum
of their lengths. This is verified for each tokenizer: `HaystackPool` tokenises random joins again and refuses
a tokenizer that changes them, and `check_prompt` tokenises a whole prompt again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from crossgrade.errors import DataError, UsageError
from crossgrade.longcontext._documents import Document
from crossgrade.longcontext._tokenizers import IntArray, Tokenizer

_SEGMENT_CHARACTERS = 200
_LONG_CHARACTERS = 400
_LONGEST_SEGMENT = 1_200
_SENTENCE = re.compile(r"(?<=[.!?;:,\u3002\uff01\uff1f]) +(?=[^\W_])|(?<=[\u3002\uff01\uff1f])(?=[^\W_])")
_JOINS = 400
_PAD_ROOM = 24
_FILLERS = (" and", " the", " of", " to", ".", " a", "x")
_MOST_TRIES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class HaystackPrompt:
    """A built prompt of an exact number of tokens.

    `parts` joined are its text. They are not joined here, because the pool holds them anyway, and one
    letter beyond the Basic Multilingual Plane would make every letter of the text take four bytes.
    `planted_at` are the positions of the planted lines in tokens, `hay_from` that of the hay.
    `hay_tokens` is the length of the hay, and `unique_share` the share of its segments that differ.
    """

    parts: tuple[str, ...] = field(repr=False)
    ids: IntArray
    planted_at: tuple[int, ...]
    hay_from: int
    hay_tokens: int
    unique_share: float

    @property
    def text(self) -> str:
        """The whole text, joined at each access."""
        return "".join(self.parts)


class HaystackPool:
    """Documents cut into segments, each tokenised once.

    Raises `DataError` if joining two segments changes their tokens, if there is no usable line, or if no
    filler word is found.
    """

    def __init__(self, documents: Sequence[Document], tokenizer: Tokenizer, *, seed: int = 0) -> None:
        self.tokenizer = tokenizer
        self.texts: list[str] = []
        starts = []
        for document in documents:
            starts.append(len(self.texts))
            self.texts += cut(document.text)
        if not self.texts:
            raise DataError(
                "the documents hold no line that begins with a letter or digit",
                code="documents-without-lines",
            )
        pieces = tokenizer.encode_many(self.texts)
        self.sizes = np.fromiter((len(piece) for piece in pieces), dtype=np.int64, count=len(pieces))
        self._ends = np.cumsum(self.sizes)
        self._ids = np.concatenate(pieces)
        self._starts = [0, *self._ends.tolist()]
        self._bounds = [
            (start, end)
            for start, end in zip(starts, [*starts[1:], len(self.texts)], strict=True)
            if end > start
        ]
        self.tokens = int(self._ends[-1])
        self.characters = sum(map(len, self.texts))
        self._by_size = np.argsort(self.sizes, kind="stable")
        self._sorted_sizes = self.sizes[self._by_size]
        self.joins_checked = self._check_joins(seed)
        self._filler = self._find_filler()

    def ids(self, index: int) -> IntArray:
        """Return the token ids of one segment."""
        return self._ids[self._starts[index] : self._starts[index + 1]]

    def contains(self, text: str) -> bool:
        """Return whether a segment contains a text."""
        return any(text in segment for segment in self.texts)

    def build(
        self,
        tokens: int,
        *,
        head: str,
        planted: Sequence[tuple[float, str]],
        tail: str,
        rng: np.random.Generator,
        without: frozenset[int] = frozenset(),
    ) -> HaystackPrompt:
        """Build a prompt of exactly `tokens` tokens.

        `planted` are (depth, line) pairs, where the depth in [0, 1] is the share of the hay before the
        line. `head` and the lines end in a line feed. The lines and `tail` begin with a letter or digit.
        `without` are the indices of segments to leave out. Raises `UsageError` if there is no room for the
        parts.
        """
        parts = [head, *(line for _, line in planted), tail]
        head_ids, *line_ids, tail_ids = self.tokenizer.encode_many(parts)
        room = tokens - len(head_ids) - len(tail_ids) - sum(map(len, line_ids))
        if room < _PAD_ROOM:
            raise UsageError(
                f"{tokens:,} tokens are too few: question and planted lines alone take {tokens - room:,}",
                code="length-too-short",
                hint="begin the ladder higher, or ask fewer questions on a haystack",
            )
        order, left = self._fill(room, rng, without)
        pad, pad_ids = self._pad(left)
        cumulative = np.cumsum(self.sizes[order]) if len(order) else np.zeros(0, dtype=np.int64)
        slots = [int(np.searchsorted(cumulative, depth * (room - left) - 1)) for depth, _ in planted]
        return self._join(
            head=(head, head_ids),
            lines=[(text, ids) for (_, text), ids in zip(planted, line_ids, strict=True)],
            slots=slots,
            order=order,
            pad=(pad, pad_ids),
            tail=(tail, tail_ids),
            room=room,
        )

    def _join(
        self,
        *,
        head: tuple[str, IntArray],
        lines: Sequence[tuple[str, IntArray]],
        slots: Sequence[int],
        order: IntArray,
        pad: tuple[str, IntArray],
        tail: tuple[str, IntArray],
        room: int,
    ) -> HaystackPrompt:
        texts, ids, at = [head[0]], [head[1]], len(head[1])
        places = [0] * len(lines)
        done = 0
        for index in sorted(range(len(lines)), key=lambda each: slots[each]):
            at += self._take(order[done : slots[index]], texts, ids)
            done = max(done, slots[index])
            places[index] = at
            texts.append(lines[index][0])
            ids.append(lines[index][1])
            at += len(lines[index][1])
        self._take(order[done:], texts, ids)
        texts += [pad[0], tail[0]]
        ids += [pad[1], tail[1]]
        return HaystackPrompt(
            parts=tuple(texts),
            ids=np.concatenate(ids),
            planted_at=tuple(places),
            hay_from=len(head[1]),
            hay_tokens=room,
            unique_share=self._unique_share(order),
        )

    def _unique_share(self, order: IntArray) -> float:
        if not len(order):
            return 1.0
        there = np.zeros(len(self.texts), dtype=np.bool_)
        there[order] = True
        return float(there.sum()) / len(order)

    def _take(self, order: IntArray, texts: list[str], ids: list[IntArray]) -> int:
        """Append the texts and ids of segments, runs of neighbours at once; return their number of tokens."""
        if not len(order):
            return 0
        breaks = np.flatnonzero(np.diff(order) != 1) + 1
        firsts, lasts = order[np.r_[0, breaks]].tolist(), order[np.r_[breaks - 1, len(order) - 1]].tolist()
        for first, last in zip(firsts, lasts, strict=True):
            texts += self.texts[first : last + 1]
            ids.append(self._ids[self._starts[first] : self._starts[last + 1]])
        return int(self.sizes[order].sum())

    def check_prompt(self, prompt: HaystackPrompt) -> bool:
        """Tokenise the whole text again, and return whether every token is the same."""
        return bool(np.array_equal(self.tokenizer.check(prompt.text), prompt.ids))

    def _fill(self, room: int, rng: np.random.Generator, without: frozenset[int]) -> tuple[np.ndarray, int]:
        """Return segments that fit in `room` tokens, in their documents' order, and the tokens left."""
        chosen: list[np.ndarray] = []
        left = room
        barred = np.fromiter(without, dtype=np.int64, count=len(without))
        usable = self.tokens - int(self.sizes[barred].sum())
        if usable <= 0:
            raise DataError("no segment is left for the haystack", code="haystack-empty")
        full = False
        while not full:
            for index in rng.permutation(len(self._bounds)).tolist():
                start, end = self._bounds[index]
                # Begin anywhere in a document, so that its first lines are not in every prompt.
                middle = start + int(rng.integers(end - start))
                run = np.concatenate((np.arange(middle, end), np.arange(start, middle)))
                if len(barred) and ((barred >= start) & (barred < end)).any():
                    run = run[~np.isin(run, barred)]
                total = int(self.sizes[run].sum())
                if total > left - _PAD_ROOM:
                    fits = np.searchsorted(np.cumsum(self.sizes[run]), left - _PAD_ROOM, side="right")
                    run, full = run[: int(fits)], True
                    total = int(self.sizes[run].sum())
                chosen.append(run)
                left -= total
                if full:
                    break
        return self._top_up(chosen, left, rng, barred)

    def _top_up(
        self, chosen: list[np.ndarray], left: int, rng: np.random.Generator, barred: np.ndarray
    ) -> tuple[np.ndarray, int]:
        for _ in range(_MOST_TRIES):
            last = int(np.searchsorted(self._sorted_sizes, left - _PAD_ROOM, side="right"))
            if left <= _PAD_ROOM or not last:
                break
            among = self._by_size[max(0, last - 64) : last]
            index = int(among[rng.integers(len(among))])
            if index not in barred:
                chosen.append(np.array([index]))
                left -= int(self.sizes[index])
        order = np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64)
        return order.astype(np.int64), left

    def pad_line(self, tokens: int) -> str:
        """Return a meaningless line of exactly `tokens` tokens."""
        return self._pad(tokens)[0]

    def _pad(self, tokens: int) -> tuple[str, IntArray]:
        """Return a line of exactly `tokens` tokens, and its ids."""
        line = "Note" + self._filler * tokens + "\n"
        for repeats in range(tokens, -1, -1):
            line = "Note" + self._filler * repeats + "\n"
            ids = self.tokenizer.encode(line)
            if len(ids) == tokens:
                return line, ids
            if len(ids) < tokens:
                break
        raise DataError(f"no line of {tokens} tokens can be made with this tokenizer", code="line-not-made")

    def _find_filler(self) -> str:
        for filler in _FILLERS:
            sizes = [len(self.tokenizer.encode("Note" + filler * n + "\n")) for n in (0, 1, 2, 7, 60)]
            if [size - sizes[0] for size in sizes] == [0, 1, 2, 7, 60]:
                return filler
        raise DataError(
            "no word of one token was found that can fill a prompt to its length", code="filler-missing"
        )

    def _check_joins(self, seed: int) -> int:
        rng = np.random.default_rng(seed)
        pairs = rng.integers(len(self.texts), size=(_JOINS, 2))
        texts = [self.texts[a] + self.texts[b] for a, b in pairs]
        wrong = sum(
            not np.array_equal(self.tokenizer.check(text), np.concatenate([self.ids(a), self.ids(b)]))
            for text, (a, b) in zip(texts, pairs, strict=True)
        )
        if wrong:
            raise DataError(
                f"{wrong} of {_JOINS} joins of segments change tokens under {self.tokenizer.name}",
                code="tokenizer-joins",
                hint=f"prompts of exact length cannot be built; {unstable_hint(self.tokenizer)}",
            )
        return _JOINS


def unstable_hint(tokenizer: Tokenizer) -> str:
    """Return the hint for a tokenizer in which joining texts changes tokens."""
    if tokenizer.kind == "server":
        return "give the model's tokenizer.json with `--tokenizer`"
    return "leave `--tokenizer` out, and usage calibrates"


def cut(text: str) -> list[str]:
    """Cut a document into segments that begin with a letter or digit and end in one line feed."""
    segments: list[str] = []
    held: list[str] = []
    size = 0
    for read in _lines(text):
        line = read
        # Code may be indented for many lines. Then a segment begins at an indented line, without its indent.
        start = line.lstrip() if size >= _LONG_CHARACTERS else line
        if size >= _SEGMENT_CHARACTERS and start[:1].isalnum():
            segments.append("\n".join(held).rstrip() + "\n")
            held, size, line = [], 0, start
        if not held and not line[:1].isalnum():
            continue
        held.append(line)
        size += len(line) + 1
    if held:
        segments.append("\n".join(held).rstrip() + "\n")
    return segments


def _lines(text: str) -> list[str]:
    lines: list[str] = []
    for line in text.split("\n"):
        clean = line.rstrip()
        if len(clean) <= _LONGEST_SEGMENT:
            lines.append(clean)
            continue
        for sentence in _SENTENCE.split(clean):
            lines += [
                sentence[i : i + _LONGEST_SEGMENT].strip() for i in range(0, len(sentence), _LONGEST_SEGMENT)
            ]
    return lines
