"""Whatever a model writes, a scorer returns a score in [0, 1] and does not raise."""

from hypothesis import given
from hypothesis import strategies as st

from crossgrade.domain import ModelAnswer, Sample, ScorerSpec
from crossgrade.evaluate import build_scorer
from crossgrade.evaluate.scorers import considered, normalise
from crossgrade.evaluate.scorers.numeric import NumericOptions, read_number
from crossgrade.evaluate.scorers.similarity import token_f1, words

KINDS = {
    "exact": ({"labels": ["C", "42"]}, "C"),
    "includes": ({"whole_words": True}, "C"),
    "regex": ({"pattern": r"answer\W+(\w*)"}, "C"),
    "numeric": ({}, "42"),
    "choice": ({}, "C"),
    "f1": ({}, "the answer is C"),
    "json_schema": ({"schema": {"type": "object", "uniqueItems": True}}, None),
    "refusal": ({}, None),
    "json_fields": ({}, {"a": 1, "b": ["x"], "c": {"d": "e"}}),
}
SCORERS = {
    kind: (build_scorer(ScorerSpec(kind=kind, options=options)), Sample(id="s", fields={}, target=target))
    for kind, (options, target) in KINDS.items()
}

PIECES = st.sampled_from(
    ["answer", "is", ":", "(C)", "**C**", "42", "1,000", "$", "-", "\\boxed{", "}", "####", "\\frac{1}{2}", "1/2", "½", "٤", "²",
     "%", "e999", "NaN", "{", '{"a":', "[", "]", '"', "```json\n", "```", "<think>", "</think>", "\ud800", "\u202e", "\u200b", "\x00", "\n",
     "İ", "ß", "ﬁ", "A", "I", " ", "or"]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(alphabet=st.characters(), max_size=200),
    st.lists(PIECES, max_size=40).map("".join),
    st.lists(PIECES, max_size=40).map(" ".join),
)


@given(TEXTS)
def test_scores_are_scores(text: str) -> None:
    for kind, (scorer, sample) in SCORERS.items():
        score = _score(scorer, sample, text)
        assert score.value is not None, kind
        assert 0 <= score.value <= 1, kind
        assert not (score.unparsed and score.value), kind
        (score.extracted or "").encode()
        (score.explanation or "").encode()


def _score(scorer, sample, text):
    """Run a scorer that never waits without an event loop."""
    coroutine = scorer.score(sample, ModelAnswer(text=text))
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a text scorer waited")


@given(TEXTS)
def test_normalising_twice_changes_nothing(text: str) -> None:
    for ignore_case in (True, False):
        once = normalise(text, ignore_case=ignore_case)
        assert normalise(once, ignore_case=ignore_case) == once


@given(TEXTS)
def test_what_is_considered_stays(text: str) -> None:
    assert considered(considered(text)) == considered(text)


@given(TEXTS)
def test_a_target_given_as_the_answer_is_right(text: str) -> None:
    text = considered(text)
    for kind in ("exact", "includes", "f1"):
        scorer = build_scorer(ScorerSpec(kind=kind))
        score = _score(scorer, Sample(id="s", fields={}, target=text), text)
        assert score.value == 1 or score.unparsed


@given(st.integers(-(10**15), 10**15), st.integers(0, 999))
def test_numbers_survive_being_written(whole: int, thousandths: int) -> None:
    for text, decimal in (
        (f"It is {whole:,}.{thousandths:03}.", "."), (f"{whole}.{thousandths:03}", "."),
        (f"{whole:,}".replace(",", ".") + f",{thousandths:03}", ","), (f"\\boxed{{{whole}.{thousandths:03}}} for 7", "."),
    ):  # fmt: skip
        found = read_number(text, NumericOptions(decimal=decimal))
        assert found is not None
        assert abs(found.value) * 1000 == abs(whole) * 1000 + thousandths
        assert (found.value < 0) == (whole < 0)


@given(TEXTS, TEXTS)
def test_f1_is_symmetric(left: str, right: str) -> None:
    one, two = words(left), words(right)
    assert token_f1(one, two) == token_f1(two, one)
    assert token_f1(one, one) == 1
