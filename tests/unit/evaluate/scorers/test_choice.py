"""The letter an answer picks, and the answers that pick none."""

import pytest

from crossgrade.errors import ConfigError, DataError

PICKS = {
    "C": "C", "c": "C", "(C)": "C", "**C**": "C", "C.": "C", "`C`": "C", "Ｃ": "C", "Option C": "C", "C. Paris": "C",
    "C) because it fits": "C", "**C) Paris**": "C", "Answer: C": "C", "answer: c": "C", "**Answer:** C": "C",
    "### Answer\nC": "C", "The answer is (C)": "C", "The answer is C.": "C", "the correct answer is option C": "C",
    "The best choice is C) Paris": "C", "Correct answer: **(C)**": "C", "The answer is\n\nC": "C", "My answer: [C]": "C",
    r"\boxed{C}": "C", r"The final answer is $\boxed{\text{C}}$": "C", "It rains.\nC": "C",
    "Of these, (C) is right.": "C", "The answer is A because it is": "A", "A": "A", "I": "I",
    "The answer is A... no wait, the answer is D.": "D", "Answer: B and not C": "B", "The answer is B and so on": "B",
}  # fmt: skip

NO_PICK = [
    "", "A cat sat", "I think so", "The answer is A or B", "A and B", "Answer: A, B", "Answer: A/B", "The answer is A cat",
    "the answer is a bit unclear", "A. Paris\nB. Rome\nC. Berlin", "(A) is wrong, (B) is right", "Z", "none of them",
]  # fmt: skip


@pytest.mark.parametrize(("text", "letter"), PICKS.items())
def test_picks(grade, text, letter) -> None:
    score = grade("choice", letter, text)
    assert (score.value, score.extracted) == (1, letter)
    assert grade("choice", "E", text).value == 0


@pytest.mark.parametrize("text", NO_PICK)
def test_picks_nothing(grade, text) -> None:
    score = grade("choice", "A", text)
    assert (score.value, score.unparsed) == (0, True)


def test_targets_are_letters_or_numbers_from_0(grade) -> None:
    assert grade("choice", 2, "C").value == 1
    assert grade("choice", "(c)", "C").value == 1
    assert grade("choice", ["A", "C"], "C").value == 1
    for bad in (10, "Paris", True):
        with pytest.raises(DataError):
            grade("choice", bad, "C")


def test_letters(grade) -> None:
    assert grade("choice", "Y", "Y", letters="XYZ").value == 1
    assert grade("choice", "X", "D", letters="XYZ").unparsed
    for bad in ("", "A", "abc", "AAB"):
        with pytest.raises(ConfigError):
            grade("choice", "A", "A", letters=bad)
