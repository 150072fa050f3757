"""Builds prompts for several questions on one haystack, of the same length and the same but for their end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from crossgrade.errors import DataError
from crossgrade.longcontext._haystack import HaystackPool, HaystackPrompt, unstable_hint
from crossgrade.longcontext._questions import Question

HEAD = "Below are documents, and after them a question about what they say.\n"
ALONE_HEAD = "Below is an excerpt of documents, and after it a question about what it says.\n"
_SPARE = 8
_WINDOW_CHARACTERS = 2_000_000
_OVERLAP = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """One question on a haystack. `depth` is that of its first line in [0, 1], None if it has no line there.

    `shared` are the parts of the prompt that all questions on the haystack share, kept once.
    """

    question: Question
    depth: float | None
    shared: tuple[str, ...] = field(repr=False)
    tail: str

    @property
    def prompt(self) -> str:
        """The whole prompt, joined at each access."""
        return "".join(chain(self.shared, (self.tail,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The questions on one haystack; each prompt has exactly `tokens` tokens.

    `canary` asks about the prompt's second line, which is lost if a server cuts prompts.
    `unique_share` is the share of the hay's segments that differ.
    """

    tokens: int
    planted: tuple[Planted, ...]
    canary: Planted
    unique_share: float


def build_stack(
    pool: HaystackPool,
    questions: Sequence[Question],
    tokens: int,
    *,
    rng: np.random.Generator,
    check: bool = False,
) -> Stack:
    """Hide the questions' lines in one haystack, and return a prompt of exactly `tokens` tokens for each.

    Depths are stratified over the questions and drawn anew for each haystack. The lines of one question
    keep their order. With `check`, each prompt is tokenised again, in overlapping windows if it is longer
    than 2M characters, and a token that differs raises `DataError`.
    """
    lines = _scatter(questions, rng)
    canary = _canary(pool, rng)
    tails = [question.tail for question in (*questions, canary)]
    sizes = [len(ids) for ids in pool.tokenizer.encode_many(tails)]
    most = max(sizes) + _SPARE
    tails = [pool.pad_line(most - size) + tail for tail, size in zip(tails, sizes, strict=True)]
    without = frozenset(q.without for q in questions if q.without is not None)
    prompt = pool.build(
        tokens,
        head=HEAD + canary.gold[0],
        planted=[(d, line) for d, line, _ in lines],
        tail=tails[0],
        rng=rng,
        without=without,
    )
    shared = prompt.parts[:-1]
    if check:
        _check(pool, prompt, tails)
    first: dict[int, float] = {}
    for (_, _, owner), at in zip(lines, prompt.planted_at, strict=True):
        if owner >= 0:
            depth = (at - prompt.hay_from) / max(1, tokens - prompt.hay_from - most)
            first[owner] = min(depth, first.get(owner, 1.0))
    return Stack(
        tokens=tokens,
        planted=tuple(
            Planted(question=question, depth=first.get(index), shared=shared, tail=tail)
            for index, (question, tail) in enumerate(zip(questions, tails, strict=False))
        ),
        canary=Planted(question=canary, depth=None, shared=shared, tail=tails[-1]),
        unique_share=prompt.unique_share,
    )


def _canary(pool: HaystackPool, rng: np.random.Generator) -> Question:
    mark = str(int(rng.integers(10**5, 10**6)))
    while pool.contains(mark):
        mark = str(int(rng.integers(10**7, 10**8)))
    return Question(
        kind="record",
        text="which mark do the documents carry, by their very first line?",
        gold=(f"These documents carry the mark {mark}.\n",),
        answers=(mark,),
    )


def alone(question: Question) -> str:
    """Return the question on its gold passage alone, without any hay."""
    return ALONE_HEAD + "".join(question.gold or question.decoys) + question.tail


def without_documents(question: Question) -> str:
    """Return the question without documents, to find answers that a model knows from elsewhere."""
    return question.tail


def _scatter(questions: Sequence[Question], rng: np.random.Generator) -> list[tuple[float, str, int]]:
    """Return (depth, line, index of its question) of every line by depth; decoys have the index -1."""
    strata = rng.permutation(len(questions))
    lines: list[tuple[float, str, int]] = []
    for index, question in enumerate(questions):
        start = float((strata[index] + rng.random()) / len(questions))
        more = np.sort(rng.random(max(0, len(question.gold) - 1)))
        depths = [start, *(start + (1 - start) * float(share) for share in more)]
        lines += [(depth, line, index) for depth, line in zip(depths, question.gold, strict=False)]
        lines += [(float(rng.random()), line, -1) for line in question.decoys]
    return sorted(lines, key=lambda line: line[0])


def _check(pool: HaystackPool, prompt: HaystackPrompt, tails: Sequence[str]) -> None:
    """Tokenise the prompt again with each tail at its end, and raise `DataError` if a token differs.

    All tails have the same number of tokens. A tokenizer's own record of ten million tokens takes five
    gigabytes, so the prompt is tokenised in windows. Each join of segments lies inside a window.
    """
    shared, size = prompt.parts[:-1], len(prompt.ids)
    tail_at = size - len(pool.tokenizer.encode(prompt.parts[-1]))
    at = 0
    for begin, end in _windows(shared):
        text = "".join(shared[begin:end])
        for tail in tails if end == len(shared) else ("",):
            ids = pool.tokenizer.check(text + tail)
            known = min(len(ids), tail_at - at)
            same = np.array_equal(ids[:known], prompt.ids[at : at + known])
            if not same or (tail and at + len(ids) != size):
                raise DataError(
                    f"the tokens of a prompt of {size:,} are others when it is tokenised as a whole",
                    code="tokenizer-joins",
                    hint=f"this tokenizer's joins are not stable; {unstable_hint(pool.tokenizer)}",
                )
        at += len(ids) - len(pool.tokenizer.encode("".join(shared[max(begin, end - _OVERLAP) : end])))


def _windows(parts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of windows of about 2M characters that overlap by the last `_OVERLAP` parts."""
    begin = end = 0
    while end < len(parts):
        size = 0
        while end < len(parts) and size < _WINDOW_CHARACTERS:
            size += len(parts[end])
            end += 1
        yield begin, end
        begin = max(begin, end - _OVERLAP)
