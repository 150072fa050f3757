"""The two-sample test on answers: likeness of texts, exact permutations, looks, what it says of a difference."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.stats import AnswerDifference, answers_differ
from crossgrade.stats._answers import _rejected
from crossgrade.stats._likeness import (
    answer_likeness,
    common_beginnings,
    equal_places,
    shared_beginnings,
    shared_words,
)
from tests.codes import raises_code

TEXTS = st.lists(st.text(alphabet="ab \n\U0001f600é", max_size=12), min_size=1, max_size=8)


def drawn(rng: np.random.Generator, n: int, shift: float = 0.0, keys: int = 8) -> dict[str, list[str]]:
    """Return `n` answers to each question, of 4 words of 5; `shift` moves their probabilities."""
    odds = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
    odds = (1 - shift) * odds + shift * odds[::-1]
    words = np.array(["ant", "bee", "cat", "dog", "eel"])
    return {
        f"q{key}": [" ".join(row) for row in rng.choice(words, size=(n, 4), p=odds)] for key in range(keys)
    }


@given(TEXTS)
def test_common_beginnings_are_those_of_each_two(texts: list[str]) -> None:
    common = common_beginnings(texts)
    for (i, a), (j, b) in itertools.product(enumerate(texts), repeat=2):
        together = sum(
            1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))
        )
        assert common[i, j] == together


@given(TEXTS)
def test_likeness_is_a_symmetric_matrix_in_0_to_1(texts: list[str]) -> None:
    for kernel in (shared_beginnings, equal_places, shared_words, answer_likeness):
        likeness = kernel(texts)
        assert likeness.shape == (len(texts), len(texts))
        assert likeness == pytest.approx(likeness.T)
        assert np.diag(likeness) == pytest.approx(1)
        assert likeness.min() >= 0
        assert likeness.max() <= 1 + 1e-12


def test_known_likeness() -> None:
    texts = ["a red cat", "a red dog", ""]
    assert shared_beginnings(texts)[0, 1] == pytest.approx(6 / 9)
    assert equal_places(texts)[0, 1] == pytest.approx(6 / 9)
    assert equal_places(texts)[0, 2] == 0
    assert shared_words(["a b", "b a"])[0, 1] > 0.5


def test_a_lone_surrogate_is_a_character_like_others() -> None:
    assert equal_places(["\ud800a", "\ud800b"])[0, 1] == 0.5


def test_hosts_that_differ_are_found_and_equal_ones_are_not() -> None:
    rng = np.random.default_rng(1)
    different = answers_differ([(drawn(rng, 10), drawn(rng, 10, 0.8))])
    same = answers_differ([(drawn(rng, 10), drawn(rng, 10))])
    assert (different.outcome, same.outcome) == ("differs", "alike")
    assert different.p_value <= 0.01 < same.p_value
    assert different.similarity_between < different.similarity_within
    assert (different.questions, different.n_reference, different.n_checked) == (8, 80, 80)


def test_the_questions_that_differ_most_come_first() -> None:
    rng = np.random.default_rng(2)
    checked = drawn(rng, 10)
    checked["q3"] = ["something else"] * 10
    found = answers_differ([(drawn(rng, 10), checked)])
    assert found.differing[0].key == "q3"
    assert found.differing[0].between < found.differing[0].within
    assert len(found.differing) == 5


def test_a_test_in_looks_goes_on_until_it_knows() -> None:
    rng = np.random.default_rng(3)
    stages = [(drawn(rng, 3), drawn(rng, 3, 0.3)) for _ in range(3)]
    outcomes = [answers_differ(stages[: k + 1], looks=3).outcome for k in range(3)]
    assert outcomes[:2] == ["open", "open"]
    early = answers_differ([(drawn(rng, 8), drawn(rng, 8, 1.0))], looks=3)
    assert (early.outcome, early.look, early.looks) == ("differs", 1, 3)


def test_the_same_arguments_give_the_same_result() -> None:
    rng = np.random.default_rng(4)
    stages = [(drawn(rng, 4), drawn(rng, 4))]
    results: set[AnswerDifference] = {answers_differ(stages, seed=9) for _ in range(2)}
    assert len(results) == 1


def test_the_error_rate_holds_over_all_looks() -> None:
    rng = np.random.default_rng(5)
    wrong = 0
    for run in range(400):
        stages = [(drawn(rng, 2, keys=3), drawn(rng, 3, keys=3)) for _ in range(3)]
        outcomes = [
            answers_differ(stages[: k + 1], looks=3, alpha=0.1, seed=run, permutations=99).outcome
            for k in range(3)
        ]
        wrong += "differs" in outcomes
    assert wrong <= 400 * 0.1 + 3 * np.sqrt(400 * 0.09)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([0.05, 0.1, 0.25]))
def test_no_more_than_alpha_of_all_paths_are_rejected(seed: int, looks: int, alpha: float) -> None:
    """Each path in turn plays the observed one; few values make many ties."""
    paths = np.random.default_rng(seed).integers(0, 12, size=(looks, 40)).astype(float)
    rejected = sum(_rejected(np.roll(paths, -at, axis=1), alpha, looks) for at in range(40))
    assert rejected <= alpha * 40


def test_equal_answers_are_alike() -> None:
    answers = {"q": ["yes"] * 5}
    found = answers_differ([(answers, answers)])
    assert (found.outcome, found.p_value, found.statistic) == ("alike", 1.0, 0.0)


def test_ragged_answers_are_used_as_far_as_both_sides_have_them() -> None:
    found = answers_differ([({"a": ["x", "y"], "b": ["z"]}, {"a": ["x"], "c": ["w"]})])
    assert (found.questions, found.n_reference, found.n_checked) == (1, 2, 1)
    assert found.outcome == "alike"


def test_bad_arguments() -> None:
    answers = {"a": ["x"]}
    with raises_code("answers-too-few"):
        answers_differ([({"a": ["x"]}, {"b": ["x"]})])
    with raises_code("answers-too-few"):
        answers_differ([({"a": []}, answers)])
    with raises_code("answers-too-many"):
        answers_differ([({"a": ["x"] * 1000}, answers)])
    with raises_code("looks-invalid"):
        answers_differ([(answers, answers)] * 2)
    with raises_code("looks-invalid"):
        answers_differ([])
    with raises_code("permutations-invalid"):
        answers_differ([(answers, answers)], permutations=50)
    with raises_code("error-rate-invalid"):
        answers_differ([(answers, answers)], alpha=0)
