"""Near-copies: texts that say almost the same are one group, others are not."""

from hypothesis import given
from hypothesis import strategies as st

from crossgrade.workloads import near_copies

LONG = "The parcel that I ordered on Monday has still not arrived, and nobody at the shop answers my mails"


def test_a_word_case_and_punctuation_make_no_other_text() -> None:
    texts = [LONG, LONG.upper() + "!!", LONG.replace("Monday", "Friday"), "Where can I change my password?"]
    assert near_copies(texts) == [0, 0, 0, 3]


def test_groups_are_closed() -> None:
    chain = [" ".join(f"word{(start + at) % 97}" for at in range(30)) for start in range(0, 12, 2)]
    assert near_copies(chain) == [0] * len(chain)


def test_short_texts_are_near_copies_if_they_are_equal() -> None:
    assert near_copies(["yes", "Yes", "no", "", ""]) == [0, 0, 2, 3, 3]


def test_a_form_that_most_texts_have_does_not_count() -> None:
    form = "Dear support team, thank you for your time. Here is my question about your product: "
    texts = [f"{form}{chr(97 + at) * 9} {at * 7919:08d}" for at in range(26)]
    assert near_copies(texts) == list(range(26))


@given(st.lists(st.text(max_size=60), max_size=30))
def test_every_text_is_in_the_group_of_the_first(texts: list[str]) -> None:
    groups = near_copies(texts)
    assert len(groups) == len(texts)
    assert all(group <= place and groups[group] == group for place, group in enumerate(groups))
    assert near_copies([*texts, *texts])[len(texts) :] == groups
