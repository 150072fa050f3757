"""Makes RULER's thirteen tasks at exact lengths: eleven synthetic ones and two on the user's own questions.

The parameters are those of NVIDIA/RULER (arXiv 2404.06654, table 2 and appendix B): numbers of keys, values
and queries, hops, word frequencies, output tokens, and its two scorings. It differs on purpose:

- A prompt has exactly the given number of tokens.
- The depth is drawn anew for each sample.
- The essays, which may not be redistributed, are replaced by the user's documents.
- Words are made up from a seed, so that there are always enough.
- The question-answering tasks use the user's own pairs, with one passage (qa_1) or several (qa_2).
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from crossgrade.errors import UsageError
from crossgrade.longcontext._documents import Document
from crossgrade.longcontext._haystack import HaystackPool
from crossgrade.longcontext._questions import Question

Hay = Literal["noise", "essay", "needle"]

_NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n"
_ADJECTIVES = "able brave calm dark early fair grand happy icy jolly keen late mild neat odd pale quick rare"
_NOUNS = "anchor bridge canvas desert engine forest garden harbor island jungle kettle ladder meadow needle"
_CONSONANTS, _VOWELS = "bcdfghjklmnprstvwz", "aeiou"
_COMMON, _COMMON_TIMES, _OTHER_TIMES = 10, 30, 3
_ZETA, _CODED_SHARE, _CODED_LETTERS = 2.0, 50, 6
_WORDS_A_LINE = 16
_HOPS = 4
_SPARE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RulerSample:
    """One prompt of one task, and the references to find in its answer (`any_of`: one suffices)."""

    task: str
    prompt: str
    references: tuple[str, ...]
    any_of: bool
    max_output_tokens: int

    def score(self, answer: str) -> float:
        """Return RULER's score: the share of references found in the answer, for QA 1 if any is found."""
        found = [reference.casefold() in answer.casefold() for reference in self.references]
        return float(any(found)) if self.any_of else sum(found) / len(found)


@dataclass(frozen=True, slots=True)
class _Needles:
    """The parameters of one of the eight retrieval tasks."""

    hay: Hay
    values: Literal["numbers", "uuids"] = "numbers"
    keys: Literal["words", "uuids"] = "words"
    n_keys: int = 1
    n_values: int = 1
    n_queries: int = 1


_NEEDLES = {
    "niah_single_1": _Needles("noise"),
    "niah_single_2": _Needles("essay"),
    "niah_single_3": _Needles("essay", values="uuids"),
    "niah_multikey_1": _Needles("essay", n_keys=4),
    "niah_multikey_2": _Needles("needle"),
    "niah_multikey_3": _Needles("needle", values="uuids", keys="uuids"),
    "niah_multivalue": _Needles("essay", n_values=4),
    "niah_multiquery": _Needles("essay", n_keys=4, n_queries=4),
}
_ANSWER_TOKENS = {"vt": 30, "cwe": 120, "fwe": 50, "qa_1": 32, "qa_2": 32}
RULER_TASKS = (*_NEEDLES, "vt", "cwe", "fwe", "qa_1", "qa_2")
"""RULER's tasks in its own order."""


class RulerMaker:
    """Makes samples of any task at any length from one pool of documents."""

    def __init__(self, pool: HaystackPool, *, pairs: Sequence[Question] = (), seed: int = 42) -> None:
        self._pool, self._tokenizer = pool, pool.tokenizer
        self._pairs = {
            "qa_1": [pair for pair in pairs if len(pair.gold) == 1],
            "qa_2": [pair for pair in pairs if len(pair.gold) > 1],
        }
        self._seed = seed
        self._pools: dict[str, HaystackPool] = {}

    @property
    def tokenizer_name(self) -> str:
        """The name of the tokenizer that counts the tokens."""
        return self._tokenizer.name

    def answer_tokens(self, task: str) -> int:
        """Return the output tokens that RULER reserves for a task, which count as part of a length."""
        return _ANSWER_TOKENS.get(task, 128)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that can be made; question answering needs pairs."""
        return tuple(task for task in RULER_TASKS if self._pairs.get(task, True))

    def make(self, task: str, tokens: int, number: int) -> RulerSample:
        """Return sample `number` of a task, a prompt of exactly `tokens` tokens.

        The same seed, task, length and number give the same sample. Raises `UsageError` for an unknown task
        and for a length that is too short for it.
        """
        if task not in self.tasks:
            raise UsageError(
                f"there is no task {task!r} here; there are {', '.join(self.tasks)}",
                code="task-unknown",
                hint="qa_1 and qa_2 need `--pairs` with one or several passages",
            )
        if tokens < _SPARE:
            raise UsageError(
                f"{tokens:,} tokens are too few for any task",
                code="length-too-short",
                hint="begin at 4,096 tokens, as RULER does",
            )
        rng = np.random.default_rng([self._seed, RULER_TASKS.index(task), tokens, number])
        if task in _NEEDLES:
            return self._needles(task, _NEEDLES[task], tokens, rng)
        made: dict[str, Callable[[int, np.random.Generator], RulerSample]] = {
            "vt": self._tracking,
            "cwe": self._common_words,
            "fwe": self._frequent_words,
        }
        return made[task](tokens, rng) if task in made else self._answering(task, tokens, rng)

    def _needles(self, task: str, shape: _Needles, tokens: int, rng: np.random.Generator) -> RulerSample:
        keys = [_key(shape.keys, rng) for _ in range(shape.n_keys)]
        values = {key: [_value(shape.values, rng) for _ in range(shape.n_values)] for key in keys}
        lines = [_needle(key, value, shape.values) for key in keys for value in values[key]]
        asked = keys[: shape.n_queries]
        wanted = tuple(value for key in asked for value in values[key])
        names = asked[0] if len(asked) == 1 else ", ".join(asked[:-1]) + f", and {asked[-1]}"
        one, many = shape.values[:-1], shape.values
        if len(wanted) > 1:
            which, verb = f"are all the special magic {many} for {names}", "are"
        else:
            which, verb = f"is the special magic {one} for {names}", "is"
        there = which.removeprefix("are all ").removeprefix("is ")
        tail = (
            f"What {which} mentioned in the provided text? T{there[1:]} mentioned in the provided text {verb}"
        )
        told, quiz = f"Some special magic {many} are", str(many)
        if len(lines) == 1:
            told, quiz = f"A special magic {one} is", one
        head = (
            f"{told} hidden within the following text. Make sure to memorize it. "
            f"I will quiz you about the {quiz} afterwards.\n"
        )
        hay = self._hay(shape)
        prompt = hay.build(
            tokens, head=head, planted=[(float(rng.random()), line) for line in lines], tail=tail, rng=rng
        )
        return RulerSample(
            task=task, prompt=prompt.text, references=wanted, any_of=False, max_output_tokens=128
        )

    def _tracking(self, tokens: int, rng: np.random.Generator) -> RulerSample:
        example, example_names, example_value = _chain(rng)
        lines, names, value = _chain(rng)
        head = (
            "Memorize and track the chain(s) of variable assignment hidden in the following text.\n"
            + "".join(_NOISE + line for line in example)
            + _tracking_question(example_value)
            + " ".join(example_names)
            + "\nMemorize and track the chain(s) of variable assignment hidden in the following text.\n"
        )
        depths = np.sort(rng.random(len(lines)))
        prompt = self._hay(_Needles("noise")).build(
            tokens,
            head=head,
            planted=[(float(depth), line) for depth, line in zip(depths, lines, strict=True)],
            tail=_tracking_question(value).rstrip(),
            rng=rng,
        )
        return RulerSample(
            task="vt",
            prompt=prompt.text,
            references=tuple(names),
            any_of=False,
            max_output_tokens=_ANSWER_TOKENS["vt"],
        )

    def _common_words(self, tokens: int, rng: np.random.Generator) -> RulerSample:
        taken: set[str] = set()
        example = [_word(rng, taken) for _ in range(_COMMON * 4)]
        listed = _numbered(
            rng.permutation([w for w in example[:10] for _ in range(10)] + example[10:] * 3).tolist()
        )
        head = f"{_WORDS_ASKED}{''.join(listed)}{_COMMON_ASKED}{_answered(example[:10])}\n{_WORDS_ASKED}"
        common = [_word(rng, taken) for _ in range(_COMMON)]
        others: list[str] = []

        def body(n: int) -> list[str]:
            while len(others) < n:
                others.append(_word(rng, taken))
            words = [word for word in common for _ in range(_COMMON_TIMES)] + others[:n] * _OTHER_TIMES
            return _numbered(np.random.default_rng(self._seed + n).permutation(words).tolist())

        text = self._fit(tokens, head, _COMMON_ASKED.rstrip(), body)
        return RulerSample(
            task="cwe",
            prompt=text,
            references=tuple(common),
            any_of=False,
            max_output_tokens=_ANSWER_TOKENS["cwe"],
        )

    def _frequent_words(self, tokens: int, rng: np.random.Generator) -> RulerSample:
        size = max(4, tokens // _CODED_SHARE)
        vocabulary = [
            "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), _CODED_LETTERS)) for _ in range(size)
        ]
        vocabulary = list(dict.fromkeys(vocabulary))
        vocabulary[0] = "..."
        shares = np.arange(1, len(vocabulary) + 1) ** -_ZETA
        shares /= shares.sum()

        def body(n: int) -> list[str]:
            counts = np.maximum(1, np.round(shares * n * _WORDS_A_LINE)).astype(np.int64)
            words = np.random.default_rng(self._seed + n).permutation(np.repeat(vocabulary, counts)).tolist()
            return [
                "Code: " + " ".join(words[at : at + _WORDS_A_LINE]) + "\n"
                for at in range(0, len(words), _WORDS_A_LINE)
            ]

        head = (
            "Read the following coded text and track the frequency of each coded word. "
            "Find the three most frequently appeared coded words.\n"
        )
        tail = (
            "Question: Do not provide any explanation. Please ignore the dots '....'. What are the three "
            "most frequently appeared words in the above coded text? Answer: According to the coded text "
            "above, the three most frequently appeared words are:"
        )
        text = self._fit(tokens, head, tail, body)
        return RulerSample(
            task="fwe",
            prompt=text,
            references=tuple(vocabulary[1:4]),
            any_of=False,
            max_output_tokens=_ANSWER_TOKENS["fwe"],
        )

    def _answering(self, task: str, tokens: int, rng: np.random.Generator) -> RulerSample:
        pairs = self._pairs[task]
        pair = pairs[int(rng.integers(len(pairs)))]
        depths = np.sort(rng.random(len(pair.gold)))
        prompt = self._pool.build(
            tokens,
            head=f"{_ANSWER_ONLY}\nThe following are given documents.\n",
            planted=[(float(depth), line) for depth, line in zip(depths, pair.gold, strict=True)],
            tail=f"{_ANSWER_ONLY} Question: {pair.text} Answer:",
            rng=rng,
        )
        return RulerSample(
            task=task,
            prompt=prompt.text,
            references=pair.answers,
            any_of=True,
            max_output_tokens=_ANSWER_TOKENS[task],
        )

    def _fit(self, tokens: int, head: str, tail: str, body: Callable[[int], list[str]]) -> str:
        """Return exactly `tokens` tokens: head, as large a body as fits, a line of padding, and tail."""
        ends = sum(map(len, self._tokenizer.encode_many([head, tail])))

        def size(n: int) -> int:
            return ends + sum(map(len, self._tokenizer.encode_many(body(n))))

        most = tokens - _SPARE
        low, low_size = 1, size(1)
        if low_size > most:
            raise UsageError(
                f"{tokens:,} tokens are too few for this task: its words alone take {low_size:,}",
                code="length-too-short",
                hint="begin at 4,096 tokens, as RULER does",
            )
        high, high_size = 2, size(2)
        while high_size <= most:
            low, low_size, high = high, high_size, high * 2
            high_size = size(high)
        # Sizes grow almost linearly, so linear interpolation between the ends converges fast.
        while high - low > 1 and most - low_size > _SPARE:
            guess = low + (most - low_size) * (high - low) // (high_size - low_size)
            middle = min(max(guess, low + 1), high - 1)
            middle_size = size(middle)
            if middle_size <= most:
                low, low_size = middle, middle_size
            else:
                high, high_size = middle, middle_size
        return "".join([head, *body(low), self._pool.pad_line(tokens - low_size), tail])

    def _hay(self, shape: _Needles) -> HaystackPool:
        if shape.hay == "essay":
            return self._pool
        name = f"{shape.hay} {shape.keys}"
        if name not in self._pools:
            rng = np.random.default_rng([self._seed, 99])
            if shape.hay == "noise":
                text = _NOISE * 4_000
            else:
                text = "".join(
                    _needle(_key(shape.keys, rng), _value(shape.values, rng), shape.values)
                    for _ in range(20_000)
                )
            self._pools[name] = HaystackPool([Document(name=name, text=text)], self._tokenizer)
        return self._pools[name]


_ANSWER_ONLY = (
    "Answer the question based on the given documents. Only give me the answer and do not output any other "
    "words."
)
_WORDS_ASKED = (
    "Below is a numbered list of words. In these words, some appear more often than others. Memorize the "
    "ones that appear most often.\n"
)
_COMMON_ASKED = (
    "Question: What are the 10 most common words in the above list? Answer: The top 10 words that appear "
    "most often in the list are:\n"
)


def _tracking_question(value: str) -> str:
    return (
        f"Question: Find all variables that are assigned the value {value} in the text above. Answer: "
        f"According to the chain(s) of variable assignment in the text above, {_HOPS + 1} variables are "
        f"assigned the value {value}, they are: "
    )


def _chain(rng: np.random.Generator) -> tuple[list[str], list[str], str]:
    names = ["".join(rng.choice(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), 5)) for _ in range(_HOPS + 1)]
    value = str(int(rng.integers(10_000, 100_000)))
    lines = [f"VAR {names[0]} = {value}\n"]
    lines += [f"VAR {name} = VAR {before}\n" for before, name in pairwise(names)]
    return lines, names, value


def _numbered(words: Sequence[str]) -> list[str]:
    return [f"{number}. {word}\n" for number, word in enumerate(words, 1)]


def _answered(words: Sequence[str]) -> str:
    return " ".join(f"{number}. {word}" for number, word in enumerate(words, 1))


def _word(rng: np.random.Generator, taken: set[str]) -> str:
    """Return a made-up word that is not in `taken`, and add it there. Later words are longer."""
    syllables = 2 if len(taken) < 3_000 else 3 if len(taken) < 200_000 else 5
    while True:
        word = "".join(
            str(rng.choice(list(_CONSONANTS))) + str(rng.choice(list(_VOWELS))) for _ in range(syllables)
        )
        if word not in taken:
            taken.add(word)
            return word


def _key(kind: str, rng: np.random.Generator) -> str:
    if kind == "uuids":
        return _uuid(rng)
    return f"{rng.choice(_ADJECTIVES.split())}-{rng.choice(_NOUNS.split())}{int(rng.integers(1000))}"


def _value(kind: str, rng: np.random.Generator) -> str:
    return _uuid(rng) if kind == "uuids" else str(int(rng.integers(10**6, 10**7)))


def _uuid(rng: np.random.Generator) -> str:
    return str(uuid.UUID(bytes=rng.bytes(16), version=4))


def _needle(key: str, value: str, kind: str) -> str:
    return f"One of the special magic {kind} for {key} is: {value}.\n"
