"""Questions: made so that the documents cannot answer them by accident, scored without a judge."""

from pathlib import Path

import numpy as np
import pytest

from crossgrade.longcontext import (
    KINDS,
    Document,
    HaystackPool,
    Question,
    QuestionMaker,
    Tokenizer,
    read_pairs,
    score_answer,
)
from tests.codes import raises_code
from tests.unit.longcontext.conftest import answer

NUMBER = Question(kind="record", text="what is number 7 of Amber Otter?", gold=("x",), answers=("4711",))
ABSENT = Question(kind="absent", text="what?", gold=(), answers=())
TEXT = Question(kind="pairs", text="who?", gold=("x",), answers=("Ada Lovelace",))


@pytest.mark.parametrize("kind", [each for each in KINDS if each != "pairs"])
def test_an_honest_reader_answers_each_kind(pool: HaystackPool, kind: str) -> None:
    maker = QuestionMaker(pool, (kind,), rng=np.random.default_rng(1))
    questions = [maker.make() for _ in range(12)]
    for question in questions:
        prompt = "".join(sorted(question.decoys)) + "".join(question.gold) + question.tail
        assert score_answer(question, answer(prompt)) == 1.0
        assert score_answer(question, "ANSWER: 1") == 0.0
        assert not any(line in text for line in question.gold for text in pool.texts)
    assert len({question.text for question in questions}) == len(questions)


@pytest.mark.parametrize(
    ("question", "given", "score"),
    [
        (NUMBER, "ANSWER: 4711", 1.0),
        (NUMBER, "answer: 4,711.", 1.0),
        (NUMBER, "Let me see: 12.\nANSWER: 4711", 1.0),
        (NUMBER, "The number 7 is 4711", 1.0),
        (NUMBER, "ANSWER: 4711 or 4712", 0.0),
        (NUMBER, "ANSWER: 47110", 0.0),
        (NUMBER, "ANSWER: NOT FOUND", 0.0),
        (NUMBER, "", 0.0),
        (ABSENT, "ANSWER: not found", 1.0),
        (ABSENT, "ANSWER: 4711", 0.0),
        (TEXT, "ANSWER: It was Ada  LOVELACE.", 1.0),
        (TEXT, "ANSWER: Ada", 0.0),
    ],
)
def test_scores(question: Question, given: str, score: float) -> None:
    assert score_answer(question, given) == score


def test_no_name_comes_twice_however_many_questions(pool: HaystackPool) -> None:
    maker = QuestionMaker(pool, ("record",), rng=np.random.default_rng(1))
    asked = [maker.make().text for _ in range(2_000)]
    assert len(set(asked)) == len(asked)


def test_a_line_that_stands_twice_makes_no_fact(tokenizer: Tokenizer) -> None:
    again = "The yearly report of the harbour office counts 2024 crates in its hall.\n"
    other = "The ledger of the second floor holds 8315 entries about the old pumps.\n"
    filler = "And so on, in words that say nothing of any use to anybody who reads them here.\n" * 4
    texts = (again + filler, again.replace("2024", "1987") + filler, other + filler)
    copies = HaystackPool([Document(name=f"{at}", text=text) for at, text in enumerate(texts)], tokenizer)
    maker = QuestionMaker(copies, ("fact",), rng=np.random.default_rng(1))
    first, second = maker.make(), maker.make()
    assert (first.kind, second.kind) == ("fact", "record")
    assert "old pumps" in first.text


def test_pairs(tmp_path: Path, pool: HaystackPool) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"question": "Who?", "answer": "Ada", "passage": "(1) Ada did."}\n\n')
    pairs = read_pairs(path)
    assert pairs[0].gold == ("Passage: (1) Ada did.\n",)
    assert QuestionMaker(pool, ("pairs",), pairs=pairs, rng=np.random.default_rng()).make() == pairs[0]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ('{"question": "q", "answer": "a"}', ("pairs-row-invalid",)),
        ("[1]", ("pairs-row-invalid",)),
        ("{", ("pairs-row-invalid",)),
        ('{"question": "q", "answer": "", "passage": "p"}', ("pairs-row-empty",)),
    ],
)
def test_broken_pairs_are_named_by_line(tmp_path: Path, text: str, seen: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n" + text)
    with raises_code(*seen) as caught:
        read_pairs(path)
    assert caught.value.line == 2


def test_pairs_are_wanted_without_a_file(pool: HaystackPool, tmp_path: Path) -> None:
    with raises_code("question-kinds-missing"):
        QuestionMaker(pool, ("pairs",), rng=np.random.default_rng())
    with raises_code("pairs-unreadable"):
        read_pairs(tmp_path / "missing.jsonl")
