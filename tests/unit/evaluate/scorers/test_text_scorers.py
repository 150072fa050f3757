"""exact, includes, regex and F1 on what models really write."""

import pytest

from crossgrade.errors import ConfigError, DataError
from crossgrade.evaluate.scorers import considered, normalise


@pytest.mark.parametrize(
    ("text", "value"),
    [("Paris", 1), (" paris.\n", 1), ("**Paris**", 1), ('"Paris"', 1), ("Ｐａｒｉｓ", 1), ("\u200fParis", 1),
     ("Paris, France", 0), ("London", 0), ("-Paris", 0)],
)  # fmt: skip
def test_exact(grade, text, value) -> None:
    assert grade("exact", "Paris", text).value == value


def test_exact_can_be_strict(grade) -> None:
    assert grade("exact", "Paris", "paris", ignore_case=False).value == 0
    assert grade("exact", "Paris", "Paris.", strip_punctuation=False).value == 0


def test_exact_takes_any_of_several_targets_and_scalars(grade) -> None:
    assert grade("exact", ["NYC", "New York"], "new  york").value == 1
    assert grade("exact", 7, "7").value == 1
    assert grade("exact", True, "True").value == 1
    assert grade("exact", 2.0, "2").value == 1


def test_a_blank_answer_is_unparsed(grade) -> None:
    score = grade("exact", "Paris", " \n\u200b")
    assert (score.value, score.unparsed) == (0, True)


@pytest.mark.parametrize(
    ("text", "value", "unparsed"),
    [("billing", 1, False), ("The category is Billing.", 1, False), ("refund", 0, False),
     ("I think it is a refund request", 0, False), ("billing or refund", 0, True), ("no idea", 0, True),
     ("billings", 0, True)],
)  # fmt: skip
def test_exact_with_labels_tells_wrong_from_unparsed(grade, text, value, unparsed) -> None:
    score = grade("exact", "billing", text, labels=["billing", "refund", "refund request"])
    assert (score.value, score.unparsed) == (value, unparsed)


def test_includes(grade) -> None:
    assert grade("includes", "cat", "A CAT sat").value == 1
    assert grade("includes", "cat", "concatenate").value == 1
    assert grade("includes", "cat", "concatenate", whole_words=True).value == 0
    assert grade("includes", ["cat", "dog"], "a cat").value == 1
    assert grade("includes", ["cat", "dog"], "a cat", match="all").value == 0


@pytest.mark.parametrize("target", [None, [], [["nested"]]])
def test_a_sample_without_a_usable_target_is_a_data_error(grade, target) -> None:
    for kind in ("exact", "includes", "f1", "numeric", "choice", "json_fields"):
        with pytest.raises(DataError) as caught:
            grade(kind, target, "")
        assert caught.value.where == "sample 's1'"
        assert caught.value.hint


def test_regex_captures_and_compares(grade) -> None:
    pattern = r"total:\s*(\w+)"
    assert grade("regex", "B", "Total: A, then total: b", pattern=pattern).value == 1
    assert grade("regex", "A", "Total: A, then total: b", pattern=pattern, take="first").value == 1
    assert grade("regex", "A", "nothing", pattern=pattern).unparsed
    assert grade("regex", "ab12", "see AB12", pattern=r"[A-Z]{2}\d+").value == 1


def test_regex_can_only_match(grade) -> None:
    score = grade("regex", None, "no", pattern="sorry", compare="match")
    assert (score.value, score.unparsed) == (0, False)
    assert grade("regex", None, "I am Sorry", pattern="sorry", compare="match").value == 1


@pytest.mark.parametrize("pattern", ["(", r"(?<=a)b", r"(a)\1", "((a{1000}){1000}){1000}"])
def test_regex_refuses_what_is_not_linear(grade, pattern) -> None:
    with pytest.raises(ConfigError) as caught:
        grade("regex", "x", "x", pattern=pattern)
    assert caught.value.where == "options"
    assert repr(pattern) in caught.value.message


def test_regex_survives_what_stops_backtracking_engines(grade) -> None:
    assert grade("regex", "x", "a" * 300_000 + "!", pattern=r"^(a+)+$").unparsed


def test_f1_is_squad_s(grade) -> None:
    assert grade("f1", "the Denver Broncos", "Denver Broncos!").value == 1
    assert grade("f1", "Denver Broncos", "The Broncos").value == pytest.approx(2 / 3)
    assert grade("f1", ["one", "two three"], "two").value == pytest.approx(2 / 3)
    assert grade("f1", "one", "two").value == 0
    assert grade("f1", "東京都", "東京").value == pytest.approx(0.8)


def test_reasoning_is_not_part_of_the_answer() -> None:
    assert considered("<think>Paris? London?</think>\nRome") == "\nRome"
    assert considered("Paris? London?</think>Rome") == "Rome"
    assert considered("\n<think>never ends") == ""
    assert considered("the <think> tag") == "the <think> tag"
    assert len(considered("x" * (1 << 21))) == 1 << 20
    assert considered("a\ud800b") == "a\ufffdb"


def test_normalise_keeps_a_text_of_punctuation() -> None:
    assert normalise("?!") == "?!"
    assert normalise("  « Straße »  ") == "strasse"
