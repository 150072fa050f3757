"""Scores by a user's function, and by an embedding model."""

import math
from decimal import Decimal

import anyio
import pytest

from crossgrade.domain import ModelAnswer, Sample, ScorerSpec
from crossgrade.errors import AuthError, ConfigError, UpstreamError
from crossgrade.evaluate import build_scorer
from crossgrade.evaluate.scorers import Embedded
from tests.codes import raises_code

SAMPLE = Sample(id="s1", fields={}, target="cat")
SOURCE = """
from crossgrade.domain import Score

def plain(sample, answer, factor=1): return factor * (sample.target in answer.text)
async def later(sample, answer): return True
def full(sample, answer): return Score(value=0.5, explanation="half")
def none(sample, answer): return None
def nan(sample, answer): return float("nan")
def big(sample, answer): return 7.3
def word(sample, answer): return "good"
def fails(sample, answer): raise KeyError("x")
number = 3
"""


@pytest.fixture
def python(tmp_path, monkeypatch):
    """Return a function that scores "a cat" with one of the functions above."""
    name = f"scorers_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SOURCE)

    def one(function, **more):
        options = {"function": f"{name}:{function}", **more}
        scorer = build_scorer(ScorerSpec(kind="python", options=options), project_dir=tmp_path)
        return anyio.run(scorer.score, SAMPLE, ModelAnswer(text="<think>dog</think>a cat"))

    return one


def test_functions(python) -> None:
    assert python("plain").value == 1
    assert python("plain", arguments={"factor": 0.25}).value == 0.25
    assert python("later").value == 1
    assert python("full").explanation == "half"
    assert python("none").value is None
    assert python("nan").value is None


def test_an_exception_leaves_the_answer_unscored(python) -> None:
    score = python("fails")
    assert (score.value, score.unparsed, score.explanation) == (None, False, "KeyError: 'x'")


@pytest.mark.parametrize("function", ["big", "word"])
def test_a_value_off_the_scale_stops(python, function) -> None:
    with raises_code("score-invalid"):
        python(function)


@pytest.mark.parametrize("function", ["missing", "number"])
def test_what_is_no_function_is_refused(python, function) -> None:
    with pytest.raises(ConfigError):
        python(function)


def test_entry_points_and_plugins(tmp_path) -> None:
    with raises_code("plugin-missing", "mine"):
        build_scorer(ScorerSpec(kind="python", options={"function": "mine"}))
    with raises_code("plugins-off"):
        build_scorer(ScorerSpec(kind="python", options={"function": "json:loads"}), plugins=False)


def test_a_registered_function_is_found() -> None:
    functions = {"theirs": lambda sample, answer: 1}
    scorer = build_scorer(ScorerSpec(kind="python", options={"function": "theirs"}), functions=functions)
    assert anyio.run(scorer.score, SAMPLE, ModelAnswer(text="")).value == 1
    with pytest.raises(ConfigError) as caught:
        build_scorer(ScorerSpec(kind="python", options={"function": "their"}), functions=functions)
    assert caught.value.hint == "did you mean `theirs`?"


def similarity(vectors, **options):
    """Score "a cat" with an embedding endpoint that answers `vectors`, or raises it."""

    async def embed(model, texts):
        assert (model, list(texts)) == ("small", ["a cat", "cat"])
        if isinstance(vectors, Exception):
            raise vectors
        return Embedded(vectors, Decimal("0.5"))

    spec = ScorerSpec(kind="similarity", options={"model": "small", **options})
    return anyio.run(build_scorer(spec, embed=embed).score, SAMPLE, ModelAnswer(text=" a cat "))


def test_similarity_is_the_cosine() -> None:
    assert similarity([[1, 0], [1, 0]]).value == 1
    assert similarity([[3, 4], [4, 3]]).value == pytest.approx(0.96)
    assert similarity([[1, 0], [-1, 0]]).value == 0
    assert similarity([[1e200, 0], [1e200, 1e200]]).value == pytest.approx(math.sqrt(0.5))
    assert similarity([[3, 4], [4, 3]]).cost_usd == Decimal("0.5")


def test_similarity_starts_where_unrelated_texts_are() -> None:
    assert similarity([[3, 4], [4, 3]], unrelated=0.6).value == pytest.approx(0.9)
    assert similarity([[3, 4], [0, 1]], unrelated=0.9).value == 0


@pytest.mark.parametrize(
    "vectors",
    [[[1, 0]], [[1, 0], [1, 0, 0]], [[0, 0], [1, 0]], [[math.nan, 0], [1, 0]], UpstreamError("down")],
)
def test_unusable_embeddings_leave_it_unscored(vectors) -> None:
    score = similarity(vectors)
    assert score.value is None
    assert score.explanation


def test_a_refused_key_stops() -> None:
    with pytest.raises(AuthError):
        similarity(AuthError("no"))
    with raises_code("scorer-model-missing", "small"):
        build_scorer(ScorerSpec(kind="similarity", options={"model": "small"}))
