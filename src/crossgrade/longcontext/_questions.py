"""Makes questions whose answers are known by construction, and scores answers without a judge."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from crossgrade.errors import DataError, UsageError
from crossgrade.longcontext._documents import plain
from crossgrade.longcontext._haystack import HaystackPool

Kind = Literal["record", "fact", "alias", "chain", "total", "ordinal", "absent", "pairs"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DEFAULT_KINDS: tuple[Kind, ...] = ("fact", "alias", "chain", "total", "ordinal", "absent")

NOT_THERE = "NOT FOUND"
_FIRST = [
    "Amber",
    "Bitter",
    "Copper",
    "Distant",
    "Eastern",
    "Faithful",
    "Golden",
    "Hollow",
    "Ivory",
    "Jolly",
    "Kindred",
    "Lunar",
    "Marble",
    "Northern",
    "Olive",
    "Patient",
    "Quiet",
    "Rustic",
    "Silver",
    "Tidal",
    "Upper",
    "Velvet",
    "Western",
    "Yellow",
    "Crimson",
    "Gentle",
    "Hidden",
    "Iron",
    "Misty",
    "Polar",
]
_SECOND = [
    "Anchor",
    "Badger",
    "Canyon",
    "Dolphin",
    "Ember",
    "Falcon",
    "Glacier",
    "Heron",
    "Island",
    "Juniper",
    "Kettle",
    "Lantern",
    "Meadow",
    "Nettle",
    "Otter",
    "Pebble",
    "Quarry",
    "Raven",
    "Saddle",
    "Thistle",
    "Umber",
    "Valley",
    "Willow",
    "Yonder",
    "Basin",
    "Cedar",
    "Drummer",
    "Forge",
    "Harbor",
    "Summit",
]
_NUMBER = re.compile(r"(?<![\w.,])\d{2,9}(?![\w]|[.,]\d)")
_ANY_NUMBER = re.compile(r"\d(?:[\d,]*\d)?")
_ANSWER = re.compile(r"answer\s*[:=]\s*", re.IGNORECASE)
_TRIES = 200
_LONGEST_FACT, _SHORTEST_FACT = 400, 40
_LARGEST_ANSWER = 20_000
_MOST_PAIRS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with its answer.

    `gold` are the lines that contain the answer, in order. `decoys` are misleading lines to plant beside
    them. An answer must contain all of `answers` (numbers or texts) and no other number. If `answers` is
    empty, the right answer is that the documents do not say. `without` is the index of the segment that a
    fact was taken from, which must not be in the hay.
    """

    kind: Kind
    text: str
    gold: tuple[str, ...]
    answers: tuple[str, ...]
    decoys: tuple[str, ...] = ()
    without: int | None = None

    @property
    def tail(self) -> str:
        """The end of the prompt: the question and the form of the answer."""
        return (
            f"Question: {self.text}\nUse only the documents above. Reply with one line that begins with "
            f"ANSWER: and gives the answer alone, or ANSWER: {NOT_THERE} if the documents do not say.\n"
        )


class QuestionMaker:
    """Makes questions of the given kinds in turn, with names and numbers that the documents lack."""

    def __init__(
        self,
        pool: HaystackPool,
        kinds: Sequence[Kind],
        *,
        pairs: Sequence[Question] = (),
        rng: np.random.Generator,
    ) -> None:
        """Prepare. Raises `UsageError` without any kind, and for the kind `pairs` without pairs."""
        if not kinds or ("pairs" in kinds and not pairs):
            raise UsageError(
                "no kinds of questions, or `pairs` without a file of them",
                code="question-kinds-missing",
                hint="see `--kinds`",
            )
        self._pool, self._kinds, self._pairs, self._rng = pool, tuple(kinds), tuple(pairs), rng
        self._made = 0
        self._taken: set[str] = set()
        self._numbered = 0
        self._facts = [i for i, text in enumerate(pool.texts) if _NUMBER.search(text)]

    def make(self) -> Question:
        """Return the next question."""
        kind = self._kinds[self._made % len(self._kinds)]
        self._made += 1
        if kind == "fact":
            return self._fact() or self._record()
        if kind == "pairs":
            return self._pairs[(self._made // len(self._kinds)) % len(self._pairs)]
        makers = {
            "record": self._record,
            "alias": self._alias,
            "chain": self._chain,
            "total": self._total,
            "ordinal": self._ordinal,
            "absent": self._absent,
        }
        return makers[kind]()

    def _fact(self) -> Question | None:
        """Change a number in a line of the documents, so that knowing the original does not help."""
        for _ in range(min(_TRIES, 4 * len(self._facts))):
            segment = self._facts[int(self._rng.integers(len(self._facts)))]
            lines = [
                line
                for line in self._pool.texts[segment].split("\n")
                if _SHORTEST_FACT <= len(line) <= _LONGEST_FACT
                and line[:1].isalnum()
                and _NUMBER.search(line)
            ]
            if not lines:
                continue
            line = lines[int(self._rng.integers(len(lines)))]
            found = _NUMBER.search(line)
            assert found is not None
            value = self._number(len(found.group()) if len(found.group()) > 3 else 4)
            gap = line[: found.start()] + "____" + line[found.end() :]
            if gap in self._taken or self._stands_elsewhere(line, found, segment):
                continue
            self._taken.add(gap)
            return Question(
                kind="fact",
                text=f"one line of the documents reads as follows, with a number left out: \u201c{gap}\u201d "
                "Which number stands at the gap?",
                gold=(f"{line[: found.start()]}{value}{line[found.end() :]}\n",),
                answers=(value,),
                without=segment,
            )
        return None

    def _stands_elsewhere(self, line: str, found: re.Match[str], segment: int) -> bool:
        """Return whether another segment has the same line with any number, so that two would fit the gap."""
        before, after = line[: found.start()], line[found.end() :]
        same = re.compile(rf"{re.escape(before)}\d[\d.,]*{re.escape(after)}")
        longest = max(before, after, key=len)
        return any(
            at != segment and longest in text and same.search(text)
            for at, text in enumerate(self._pool.texts)
        )

    def _record(self) -> Question:
        name, value = self._name(), self._number()
        return Question(
            kind="record",
            text=f"what is the access number of the {name} account?",
            gold=(f"The access number of the {name} account is {value}.\n",),
            answers=(value,),
        )

    def _alias(self) -> Question:
        name, other, value = self._name(), self._name(), self._number()
        return Question(
            kind="alias",
            text=f"which number opens the file that is known inside the house as {other}?",
            gold=(
                f"Inside the house the {name} dossier goes by another name: {other}.\n",
                f"To open the {name} dossier, dial {value}.\n",
            ),
            answers=(value,),
        )

    def _chain(self) -> Question:
        names, value = [self._name() for _ in range(3)], self._number()
        stray, wrong = [self._name() for _ in range(2)], self._number()
        return Question(
            kind="chain",
            text=f"follow the {names[0]} request to the request that finally replaced it: "
            "with which number was that one closed?",
            gold=(
                f"The {names[0]} request was replaced by the {names[1]} request.\n",
                f"The {names[1]} request was replaced by the {names[2]} request.\n",
                f"The {names[2]} request was closed with number {value}.\n",
            ),
            decoys=(
                f"The {stray[0]} request was replaced by the {stray[1]} request.\n",
                f"The {stray[1]} request was closed with number {wrong}.\n",
            ),
            answers=(value,),
        )

    def _total(self) -> Question:
        name, other = self._name(), self._name()
        counts = [int(each) for each in self._rng.integers(3, 40, size=3)]
        stray = int(self._rng.integers(3, 40))
        return Question(
            kind="total",
            text=f"how many crates were delivered to the {name} warehouse in all, over every delivery?",
            gold=tuple(f"Delivery to the {name} warehouse: {count} crates.\n" for count in counts),
            decoys=(f"Delivery to the {other} warehouse: {stray} crates.\n",),
            answers=(str(sum(counts)),),
        )

    def _ordinal(self) -> Question:
        name = self._name()
        values = [self._number() for _ in range(3)]
        wanted = int(self._rng.integers(3))
        return Question(
            kind="ordinal",
            text=f"several notes to the {name} desk give a number. Which number is in the "
            f"{('first', 'second', 'third')[wanted]} of them, in the order of the documents?",
            gold=tuple(f"Note to the {name} desk: the number is {value}.\n" for value in values),
            answers=(values[wanted],),
        )

    def _absent(self) -> Question:
        name, other, value = self._name(), self._name(), self._number()
        return Question(
            kind="absent",
            text=f"what is the access number of the {name} account?",
            gold=(),
            decoys=(f"The access number of the {other} account is {value}.\n",),
            answers=(),
        )

    def _name(self) -> str:
        for _ in range(_TRIES):
            first, second = (words[int(self._rng.integers(len(words)))] for words in (_FIRST, _SECOND))
            name = f"{first} {second}"
            if name not in self._taken and not self._pool.contains(name):
                self._taken.add(name)
                return name
        while True:
            self._numbered += 1
            name = f"{_FIRST[0]} {_SECOND[0]} {_roman(self._numbered)}"
            if not self._pool.contains(name):
                return name

    def _number(self, digits: int = 6) -> str:
        for _ in range(_TRIES):
            value = str(int(self._rng.integers(10 ** (digits - 1), 10**digits)))
            if value not in self._taken and not self._pool.contains(value):
                self._taken.add(value)
                return value
        return self._number(min(digits + 2, 12))


def _roman(number: int) -> str:
    """Return a number written in letters, because names must not contain digits."""
    return "".join("ABCDEFGHIJ"[int(digit)] for digit in str(number))


def score_answer(question: Question, answer: str) -> float:
    """Return 1.0 if an answer is right and contains no other number, otherwise 0.0.

    The text after the last `ANSWER:` counts, or the whole text if there is none. Its numbers must be those
    of the right answer. Numbers from the question are ignored. A text is compared by its words.
    """
    answer = answer[-_LARGEST_ANSWER:]
    marks = list(_ANSWER.finditer(answer))
    given = answer[marks[-1].end() :] if marks else answer
    denies = NOT_THERE.casefold() in given.casefold()
    if not question.answers:
        return float(denies)
    if denies:
        return 0.0
    if not all(each.isdigit() for each in question.answers):
        words = " ".join(re.findall(r"\w+", given.casefold()))
        return float(all(" ".join(re.findall(r"\w+", each.casefold())) in words for each in question.answers))
    found = {number.replace(",", "") for number in _ANY_NUMBER.findall(given)}
    asked = {number.replace(",", "") for number in _ANY_NUMBER.findall(question.text)}
    return float(found - (asked - set(question.answers)) == set(question.answers))


def read_pairs(path: Path) -> tuple[Question, ...]:
    """Read the user's own pairs: JSONL rows of `question`, `answer` and the `passage` that contains it.

    A `passage` may be a list of passages that contain it together, in the order of the documents.

    Raises `DataError` with the line of an invalid row.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the pairs: {error}", code="pairs-unreadable", file=path) from error
    pairs = []
    for number, line in enumerate(lines[:_MOST_PAIRS], 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            question, answer = (plain(str(row[key])).strip() for key in ("question", "answer"))
            held = row["passage"] if isinstance(row["passage"], list) else [row["passage"]]
            passages = [plain(str(each)).strip() for each in held]
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            raise DataError(
                "a row of pairs is a JSON object with `question`, `answer` and `passage`",
                code="pairs-row-invalid",
                file=path,
                line=number,
            ) from error
        if not (question and answer and passages and all(passages)):
            raise DataError(
                "question, answer and passage must not be empty",
                code="pairs-row-empty",
                file=path,
                line=number,
            )
        gold = tuple((each if each[0].isalnum() else f"Passage: {each}") + "\n" for each in passages)
        pairs.append(Question(kind="pairs", text=question, gold=gold, answers=(answer,)))
    return tuple(pairs)
