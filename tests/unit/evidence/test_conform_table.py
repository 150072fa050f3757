"""The table of a conformity check: what sampling noise, rounding and missing draws must not decide."""

import random

import pytest

from crossgrade.domain import ConformCheck, ModelAnswer, TokenLogprob, Usage
from crossgrade.evidence import (
    ConformInput,
    ConformSettings,
    ConformSide,
    answers_so_far,
    conform_questions,
    conform_table,
)

SETTINGS = ConformSettings(lengths=(256,), stages=(2, 2, 2))
QUESTIONS = conform_questions(SETTINGS, "A line without facts.\n" * 80)
ANSWERS = [each for each in QUESTIONS if each.check == "answers"]
TEXT = "the harbour lies north and boats come home at night with fish salt bread an old woman tells"
WORDS = TEXT.split()


def side(name: str, *, parts: int = 0, taste: int = 1, stages: int = 3) -> ConformSide:
    """Return a side's answers: `parts` greedy ones leave the others' at their middle."""
    made, rng = ConformSide(name=name), random.Random(name)
    likely = [random.Random(taste + at).random() ** 2 for at in range(len(WORDS))]
    for question in ANSWERS:
        greedy = question.key.endswith("/t0")
        for draw in range(question.first, question.first + question.draws):
            own = random.Random(f"{question.key} {taste}") if greedy else rng
            words = own.choices(WORDS, likely, k=24)
            if greedy and int(question.key[:2]) < parts:
                words[12:] = random.Random(name).choices(WORDS, k=12)
            if question.stage < stages:
                made.keep(question, draw, ModelAnswer(text=" ".join(words), finish_reason="length"))
    return made


def rows(one: ConformSide, two: ConformSide) -> dict[str, ConformCheck]:
    given = ConformInput(side=one, other=two, questions=QUESTIONS, settings=SETTINGS)
    return {each.name: each for each in conform_table(given)}


def test_greedy_answers_that_rounding_parts_are_no_other_model() -> None:
    found = rows(side("a", parts=15), side("b", parts=15))
    assert found["answers"].outcome == found["greedy"].outcome == "agrees"
    assert found["greedy"].seen.startswith("15 of 25")


def test_other_weights_differ_in_greedy_and_in_drawn_answers() -> None:
    found = rows(side("a"), side("b", taste=7))
    assert found["answers"].outcome == found["greedy"].outcome == "differs"


def test_a_draw_that_is_missing_does_not_move_later_ones_to_its_stage() -> None:
    one, two = side("a"), side("b")
    key = ("answers", "00/t1")
    del one.drawn[key][1], one.drawn[key][2]
    found = answers_so_far(one, two, SETTINGS)
    assert found is not None
    assert found.n_checked == 25 * 6 - 2
    assert found.n_reference == 25 * 6 - 2, "the other side's answers of that stage are left out, too"


def test_a_test_that_ended_early_is_open() -> None:
    found = rows(side("a", stages=1), side("b"))["answers"]
    assert found.outcome == "open"
    assert "1 of 3 stages" in found.seen


def test_hosts_that_both_ignore_the_temperature_are_compared_by_their_greedy_answers() -> None:
    frozen = []
    for name in ("a", "b"):
        made = side(name, parts=15)
        for (check, key), drawn in list(made.drawn.items()):
            if key.endswith("/t1"):
                greedy = made.drawn[check, f"{key[:-1]}0"][1]
                drawn.update(dict.fromkeys(drawn, greedy))
        frozen.append(made)
    found = rows(*frozen)
    assert found["answers"].outcome == "unchecked"
    assert found["temperature"].outcome == found["greedy"].outcome == "agrees"


@pytest.mark.parametrize("missing", ["a", "b"])
def test_greedy_answers_of_one_side_alone_are_not_compared(missing: str) -> None:
    one, two = side("a"), side("b")
    gone = one if missing == "a" else two
    gone.drawn = {place: drawn for place, drawn in gone.drawn.items() if not place[1].endswith("/t0")}
    assert rows(one, two)["greedy"].outcome == "unchecked"


def logprobs(name: str, value: float, prompts: int = 25, other: float = -3.0) -> ConformSide:
    made = ConformSide(name=name)
    for question in [each for each in QUESTIONS if each.check == "log-probabilities"][:prompts]:
        place = TokenLogprob(token="a", logprob=value, top={"a": value, "b": other})
        made.keep(question, 1, ModelAnswer(text="a", logprobs=(place,)))
    return made


@pytest.mark.parametrize("value", [-1e308, 5.0, float("nan"), float("-inf"), float("inf")])
def test_impossible_log_probabilities_are_a_gap_with_a_reason(value: float) -> None:
    found = rows(logprobs("a", value), logprobs("b", -0.5))["log-probabilities"]
    assert found.outcome == "unchecked"
    assert f"impossible ones in 25 answers, as {value:g}" in found.seen
    found = rows(logprobs("a", -0.5), logprobs("b", value))["log-probabilities"]
    assert (found.outcome, f"{value:g}" in found.seen) == ("unchecked", True)


def test_the_least_number_of_a_token_that_was_not_taken_is_a_probability_of_0() -> None:
    found = rows(logprobs("a", -0.5, other=-3.4e38), logprobs("b", 1e-6))["log-probabilities"]
    assert found.outcome == "differs"
    found = rows(logprobs("a", -0.5, other=-3.4e38), logprobs("b", -0.5))["log-probabilities"]
    assert found.outcome == "agrees"


def test_a_row_that_could_not_have_differed_is_open() -> None:
    found = rows(logprobs("a", -6.0, prompts=3), logprobs("b", -0.5, prompts=3))["log-probabilities"]
    assert found.outcome == "open"
    assert "3 answers are too few for the test" in found.seen
    assert "none counted above 0.25" in found.seen, "the printed mean is not that of the gaps"
    few = ConformSettings(lengths=(256,), prompts=1, stages=(2, 2, 2))
    one, two = side("a"), side("b")
    for each in (one, two):
        each.drawn = {place: drawn for place, drawn in each.drawn.items() if place[1].startswith("00/")}
    given = ConformInput(side=one, other=two, questions=QUESTIONS, settings=few)
    found = {each.name: each for each in conform_table(given)}["answers"]
    assert (found.outcome, "too few" in found.seen) == ("open", True)


def test_lengths_that_one_side_was_not_asked_are_not_compared() -> None:
    settings = ConformSettings(lengths=(256, 512))
    asked = [
        each
        for each in conform_questions(settings, "A line without facts.\n" * 160)
        if each.check == "context"
    ]
    one, two = ConformSide(name="a"), ConformSide(name="b")
    for made, most in ((one, 4), (two, 8)):
        for at, question in enumerate(asked[:most]):
            for draw in (1, 2, 3):
                usage = Usage(input_tokens=260 + 256 * (at >= 4))
                made.keep(question, draw, ModelAnswer(text=question.expects, usage=usage))
    one.gaps["context"] = "refused: too busy"
    given = ConformInput(side=one, other=two, questions=asked, settings=settings)
    found = {each.name: each for each in conform_table(given)}["context"]
    assert (found.outcome, "too busy" in found.seen) == ("agrees", True)


def test_a_seed_that_no_question_was_asked_twice_with_is_not_checked() -> None:
    one, two = ConformSide(name="a"), ConformSide(name="b")
    for question in [each for each in QUESTIONS if each.check == "seed"]:
        for made in (one, two):
            made.keep(question, 1, ModelAnswer(text="a"))
    assert rows(one, two)["seed"].outcome == "unchecked"
