"""Prompts have exactly the tokens that were asked for, and are what a whole tokenisation gives."""

from dataclasses import replace

import numpy as np
import pytest

from crossgrade.longcontext import (
    Document,
    HaystackPool,
    QuestionMaker,
    Tokenizer,
    _prompts,
    build_stack,
    bytes_tokenizer,
    synthetic_documents,
)
from tests.codes import raises_code

CODE = "def f(x):\n    return [x,\n  /path\n\n\n]\n" * 40
PROSE = "Alone. " * 400 + "\n- a list\n# a heading\n123 begins with digits; ends.\n" * 30


@pytest.mark.parametrize("tokens", [256, 1024, 8_192, 60_000])
def test_a_prompt_has_exactly_its_tokens(pool: HaystackPool, tokens: int) -> None:
    rng = np.random.default_rng(tokens)
    planted = [(depth, f"Fact number {depth} is here.\n") for depth in (0.0, 0.4, 1.0)]
    prompt = pool.build(tokens, head="Head.\n", planted=planted, tail="Question?\n", rng=rng)
    assert len(prompt.ids) == tokens
    assert pool.check_prompt(prompt)
    assert prompt.text.startswith("Head.\n")
    assert prompt.text.endswith("Question?\n")
    assert all(line in prompt.text for _, line in planted)
    assert list(prompt.planted_at) == sorted(prompt.planted_at)
    if tokens > 8_000:
        depth = (prompt.planted_at[1] - prompt.hay_from) / prompt.hay_tokens
        assert depth == pytest.approx(0.4, abs=0.05)


def test_all_sorts_of_documents_join(tokenizer: Tokenizer) -> None:
    pool = HaystackPool([Document(name="c", text=CODE), Document(name="p", text=PROSE)], tokenizer)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        prompt = pool.build(700 + 31 * seed, head="H.\n", planted=[], tail="Q?\n", rng=rng)
        assert len(prompt.ids) == 700 + 31 * seed
        assert pool.check_prompt(prompt)


def test_documents_shorter_than_the_prompt_are_repeated_and_counted(tokenizer: Tokenizer) -> None:
    pool = HaystackPool(
        [Document(name="s", text="Only one line of text, and no more than that.\n")], tokenizer
    )
    prompt = pool.build(500, head="H.\n", planted=[], tail="Q?\n", rng=np.random.default_rng(1))
    assert len(prompt.ids) == 500
    assert prompt.unique_share < 0.2


def test_a_tokenizer_whose_joins_change_tokens_is_refused(tokenizer: Tokenizer) -> None:
    def shifted(text: str) -> np.ndarray:
        return tokenizer.encode(" " + text)  # as SentencePiece's models begin a text

    whole = replace(tokenizer, check=shifted)
    with raises_code("tokenizer-joins"):
        HaystackPool(synthetic_documents(20_000, 1), whole)


def test_too_few_tokens_for_the_question(pool: HaystackPool) -> None:
    with raises_code("length-too-short"):
        pool.build(
            20, head="Head.\n", planted=[(0.5, "Fact.\n" * 5)], tail="Q?\n", rng=np.random.default_rng()
        )


def test_documents_without_any_usable_line(tokenizer: Tokenizer) -> None:
    with raises_code("documents-without-lines"):
        HaystackPool([Document(name="x", text="---\n***\n")], tokenizer)


@pytest.mark.parametrize("tokens", [1_000, 5_000])
def test_the_questions_of_a_stack_share_all_but_their_end(pool: HaystackPool, tokens: int) -> None:
    maker = QuestionMaker(pool, ("fact", "alias", "chain", "total", "absent"), rng=np.random.default_rng(3))
    rng = np.random.default_rng(4)
    stack = build_stack(pool, [maker.make() for _ in range(5)], tokens, rng=rng, check=True)
    prompts = [each.prompt for each in (*stack.planted, stack.canary)]
    assert {len(pool.tokenizer.check(each)) for each in prompts} == {tokens}
    shared = next(i for i in range(min(map(len, prompts))) if len({each[i] for each in prompts}) > 1)
    assert all(prompt.index("Question: ") >= shared - 200 for prompt in prompts)
    for each in stack.planted:
        assert all(line in each.prompt for line in each.question.gold)
    assert stack.canary.question.gold[0] in stack.canary.prompt[:200]


def test_a_long_prompt_is_checked_in_windows_that_overlap(
    pool: HaystackPool, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_prompts, "_WINDOW_CHARACTERS", 9_000)
    questions = [QuestionMaker(pool, ("record",), rng=np.random.default_rng(n)).make() for n in range(4)]
    seen: list[str] = []
    wrong: list[str] = []

    def check(text: str) -> np.ndarray:
        seen.append(text)
        ids = tokenizer.check(text)
        return ids + any(line in text for line in wrong)

    monkeypatch.setattr(pool, "tokenizer", replace(tokenizer, check=check))
    stack = build_stack(pool, questions, 20_000, rng=np.random.default_rng(7), check=True)
    assert len(seen) > 8
    assert max(map(len, seen)) < 15_000
    joins = zip(stack.canary.shared, (*stack.canary.shared[1:], stack.canary.tail), strict=True)
    assert all(any(a + b in text for text in seen) for a, b in joins)
    for question in questions:
        wrong[:] = question.gold
        with raises_code("tokenizer-joins"):
            build_stack(pool, questions, 20_000, rng=np.random.default_rng(7), check=True)


def test_a_stack_keeps_its_text_once(pool: HaystackPool) -> None:
    maker = QuestionMaker(pool, ("record",), rng=np.random.default_rng(3))
    stack = build_stack(pool, [maker.make() for _ in range(5)], 9_000, rng=np.random.default_rng(4))
    known = set(map(id, pool.texts))
    assert all(each.shared is stack.canary.shared for each in stack.planted)
    assert sum(id(part) not in known for part in stack.canary.shared) <= 5 + 2  # lines, head and padding


def test_the_depth_of_an_answer_is_drawn_whatever_the_length(pool: HaystackPool) -> None:
    depths = {}
    for tokens in (2_000, 16_000):
        maker = QuestionMaker(pool, ("record",), rng=np.random.default_rng(5))
        rng = np.random.default_rng(6)
        stacks = [build_stack(pool, [maker.make() for _ in range(5)], tokens, rng=rng) for _ in range(40)]
        depths[tokens] = [each.depth for stack in stacks for each in stack.planted]
    for found in depths.values():
        assert np.mean(found) == pytest.approx(0.5, abs=0.06)
        assert np.histogram(found, bins=5, range=(0, 1.0001))[0].min() >= 20


def test_bytes_are_filled_exactly_too() -> None:
    pool = HaystackPool(synthetic_documents(50_000, 2), bytes_tokenizer())
    prompt = pool.build(9_000, head="H.\n", planted=[], tail="Q?\n", rng=np.random.default_rng(1))
    assert len(prompt.text.encode()) == 9_000
