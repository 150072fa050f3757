"""The reference as one side of a check: its answers, and how far a greedy answer of a host is from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crossgrade.domain import GenerationSettings, LogprobRequest, Message, ModelAnswer, ModelRequest
from crossgrade.evidence import ReferenceModel
from crossgrade.providers.checkpoints import read_checkpoint
from tests.codes import raises_code

DATA = Path(__file__).parents[2] / "data" / "llama4" / "like-scout"
ASKED = ModelRequest(
    model="",
    messages=(Message(role="user", content="abc"),),
    settings=GenerationSettings(temperature=0.0, max_output_tokens=12),
)
LETTERS = [chr(ord("A") + at) for at in range(40)]


@pytest.fixture(scope="module")
def model() -> ReferenceModel:
    checkpoint = read_checkpoint(DATA)
    return ReferenceModel(
        name="like-scout",
        weights=checkpoint.weights,
        shape=checkpoint.shape,
        prompt_of=lambda messages: [1, *(3 + ord(each) % 30 for each in messages[-1].content or "")],
        text_of=lambda tokens: "".join(LETTERS[each] for each in tokens),
        ends=frozenset(),
    )


def test_its_own_answer_has_no_shortfall_and_another_one_has(model: ReferenceModel) -> None:
    own = model.answer(ASKED)
    assert len(own.text) == own.usage.output_tokens == 12
    assert model.shortfall(ASKED, own) == 0
    assert model.shortfall(ASKED, replace(own, text=own.text[:5])) == 0
    spoilt = own.text[:3] + next(each for each in LETTERS if each != own.text[3])
    assert model.shortfall(ASKED, replace(own, text=spoilt)) > 0


def test_a_token_almost_as_likely_is_a_small_shortfall_however_the_answer_goes_on(
    model: ReferenceModel,
) -> None:
    asked = LogprobRequest(model="", messages=ASKED.messages, settings=ASKED.settings, top=2)
    first = model.answer(asked).logprobs[0]
    (second,) = first.top.keys() - {first.token}
    gap = first.logprob - first.top[second]
    for rest in ("", "ZZZ"):
        found = model.shortfall(ASKED, ModelAnswer(text=second + rest, finish_reason="length"))
        assert found == pytest.approx(gap)


def test_the_end_of_an_answer_counts_as_a_token(model: ReferenceModel) -> None:
    own = model.answer(ASKED)
    ending = replace(model, ends=frozenset({LETTERS.index(own.text[4])}))
    at = own.text.index(own.text[4])
    short = ending.answer(ASKED)
    assert (short.text, short.finish_reason) == (own.text[:at], "stop")
    assert ending.shortfall(ASKED, short) == 0
    assert ending.shortfall(ASKED, own) > 0
    if at:
        assert ending.shortfall(ASKED, replace(short, text=own.text[: at - 1])) > 0


def test_answers_are_drawn_from_the_softmax(model: ReferenceModel) -> None:
    asked = LogprobRequest(
        model="",
        messages=ASKED.messages,
        settings=GenerationSettings(temperature=1.0, max_output_tokens=1),
        top=40,
    )
    rng = np.random.default_rng(1)
    drawn = [model.answer(asked, rng) for _ in range(400)]
    likely = drawn[0].logprobs[0].top
    assert sum(np.exp(value) for value in likely.values()) == pytest.approx(1)
    for word, value in likely.items():
        share = sum(each.text == word for each in drawn) / len(drawn)
        assert abs(share - np.exp(value)) < 5 * np.sqrt(np.exp(value) / len(drawn)) + 0.01


def test_numbers_that_overflow_are_an_error(model: ReferenceModel) -> None:
    weights = {**model.weights, "output.weight": np.full_like(model.weights["output.weight"], 3e38)}
    with np.errstate(over="ignore", invalid="ignore"), raises_code("logits-not-finite"):
        replace(model, weights=weights).answer(ASKED)
