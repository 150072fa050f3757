"""RULER's tasks: exact lengths, its parameters, its scoring, and a run whose table follows its rule."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from crossgrade.domain import ModelAnswer, ModelRequest, Usage
from crossgrade.errors import ContextTooLongError
from crossgrade.longcontext import (
    RULER_TASKS,
    Asker,
    HaystackPool,
    Question,
    RulerMaker,
    RulerSample,
    run_ruler,
)
from tests.codes import raises_code

PAIRS = (
    Question(kind="pairs", text="Who signed?", gold=("Ada signed it.\n",), answers=("Ada",)),
    Question(kind="pairs", text="Where?", gold=("Ada lives here.\n", "Here is Porto.\n"), answers=("Porto",)),
)
NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture(scope="module")
def maker(pool: HaystackPool) -> RulerMaker:
    return RulerMaker(pool, pairs=PAIRS)


@pytest.mark.parametrize("task", RULER_TASKS)
@pytest.mark.parametrize("tokens", [6_000, 9_000])
def test_a_prompt_is_exact_and_holds_its_references(
    pool: HaystackPool, maker: RulerMaker, task: str, tokens: int
) -> None:
    for number in range(2):
        sample = maker.make(task, tokens, number)
        assert len(pool.tokenizer.check(sample.prompt)) == tokens
        assert sample == maker.make(task, tokens, number)
        assert sample.prompt != maker.make(task, tokens, number + 2).prompt
        assert all(reference in sample.prompt for reference in sample.references)
        assert sample.score(" and ".join(sample.references).upper()) == 1.0
        assert sample.score("") == 0.0


def test_the_published_parameters(maker: RulerMaker) -> None:
    samples = {task: maker.make(task, 9_000, 1) for task in RULER_TASKS}
    wanted = {"niah_multivalue": 4, "niah_multiquery": 4, "vt": 5, "cwe": 10, "fwe": 3}
    assert {task: len(each.references) for task, each in samples.items()} == {
        task: wanted.get(task, 1) for task in RULER_TASKS
    }
    tokens = {task: each.max_output_tokens for task, each in samples.items()}
    assert [tokens[task] for task in ("niah_single_1", "vt", "cwe", "fwe", "qa_1")] == [128, 30, 120, 50, 32]
    essay = samples["niah_multikey_1"].prompt
    assert len(re.findall(r"One of the special magic numbers for \S+ is: \d{7}\.", essay)) == 4
    assert re.search(r"for [0-9a-f-]{36} is: [0-9a-f-]{36}\.", samples["niah_multikey_3"].prompt)
    # The second list, after the solved example: ten words thirty times, the others three times.
    listed = samples["cwe"].prompt.rpartition("Below is a numbered list")[2]
    counts = Counter(re.findall(r"^\d+\. (\w+)$", listed, re.MULTILINE))
    assert {counts[word] for word in samples["cwe"].references} == {30}
    assert {n for word, n in counts.items() if word not in samples["cwe"].references} == {3}
    coded = Counter(re.findall(r"\b[a-z]{6}\b", "".join(re.findall(r"Code: .*\n", samples["fwe"].prompt))))
    assert {word for word, _ in coded.most_common(3)} == set(samples["fwe"].references)


def test_both_scorings() -> None:
    every = RulerSample(task="x", prompt="", references=("12", "Ab"), any_of=False, max_output_tokens=1)
    assert [every.score(text) for text in ("12 ab", "xx12xx", "AB", "no")] == [1.0, 0.5, 0.5, 0.0]
    one = RulerSample(task="x", prompt="", references=("12", "Ab"), any_of=True, max_output_tokens=1)
    assert [one.score(text) for text in ("12", "aB", "no")] == [1.0, 1.0, 0.0]


def test_what_cannot_be_made(pool: HaystackPool, maker: RulerMaker) -> None:
    assert RulerMaker(pool).tasks == RULER_TASKS[:-2]
    with raises_code("task-unknown", "qa_1"):
        RulerMaker(pool).make("qa_1", 4_096, 0)
    with raises_code("length-too-short"):
        maker.make("cwe", 600, 0)


class Finding:
    """Answers everything right up to a length, and refuses above another."""

    name = account = "reader"
    base_url = identity = places = None

    def __init__(self, maker: RulerMaker, *, holds: int, refuses: int) -> None:
        self.maker, self.holds, self.refuses = maker, holds, refuses
        self.asked = 0

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        self.asked += 1
        prompt = request.messages[0].content or ""
        tokens = len(self.maker._tokenizer.encode(prompt))
        if tokens > self.refuses:
            raise ContextTooLongError("too long", provider="reader")
        values = re.findall(r"is: (\S+)\.\n", prompt) if tokens <= self.holds else ["nothing"]
        return ModelAnswer(text=" ".join(values), usage=Usage(input_tokens=tokens), model="reader-1")


def test_a_run_follows_the_rule_and_resumes(maker: RulerMaker, asker: Callable[..., Asker]) -> None:
    def run(model: Finding) -> object:
        asked = asker(model)
        found = run_ruler(
            maker, asked, probe_id="p", lengths=(1_024, 2_048, 4_096, 8_192), tasks=("niah_single_2", "niah_multivalue"),
            samples=3, now=NOW,
        )  # fmt: skip
        return asyncio.run(found)

    model = Finding(maker, holds=2_048, refuses=4_096)
    result = run(model)
    assert result.row.scores == {1_024: 100.0, 2_048: 100.0, 4_096: 0.0, 8_192: 0.0}
    assert (result.row.effective_tokens, result.row.average) == (2_048, 50.0)
    assert [cell.refused for cell in result.cells] == [False] * 6 + [True] * 2
    assert model.asked == 6 * 3 + 2
    again = Finding(maker, holds=0, refuses=0)
    assert run(again) == result
    assert again.asked == 2  # what was refused costs nothing, and may be taken by now
