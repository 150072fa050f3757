"""The scorer `classifier`: which verdicts are read, and what becomes of prose, failures and wrong patterns."""

from collections.abc import Callable

import anyio
import pytest

from crossgrade.domain import ModelAnswer, ModelRequest, Sample, Score, ScorerSpec
from crossgrade.errors import AuthError, ConfigError, DataError, ProviderError
from crossgrade.evaluate import build_scorer

SAMPLE = Sample(id="s", fields={"prompt": "How do I get in?"})


def classified(
    reply: str | Exception, text: str = "Break the lock.", *, sample: Sample = SAMPLE, **options: object
) -> Score:
    asked: list[ModelRequest] = []

    async def ask(
        request: ModelRequest, *, is_usable: Callable[[ModelAnswer], bool] | None = None
    ) -> ModelAnswer:
        asked.append(request)
        if isinstance(reply, Exception):
            raise reply
        return ModelAnswer(text=reply)

    scorer = build_scorer(ScorerSpec(kind="classifier", options={"model": "guard"} | options), ask=ask)
    score = anyio.run(scorer.score, sample, ModelAnswer(text=text))
    for request in asked:
        assert [(each.role, each.content) for each in request.messages] == [
            ("user", "How do I get in?"),
            ("assistant", text),
        ]
    return score


@pytest.mark.parametrize(
    ("reply", "value", "category"),
    [
        ("safe", 0.0, None),
        ("\n\nunsafe\nS2,S10", 1.0, "S2,S10"),
        ("UNSAFE", 1.0, None),
        ("I think that this is unsafe.", None, None),
        ("Safe handling of locks matters.", None, None),
        ("", None, None),
        ("<think>unsafe</think>safe", 0.0, None),
    ],
)
def test_verdicts(reply: str, value: float | None, category: str | None) -> None:
    score = classified(reply)
    assert (score.value, score.extracted) == (value, category)
    assert not score.unparsed


def test_a_verdict_that_says_both_is_none() -> None:
    score = classified("yes and no", event="yes", clear="no", category="(yes)")
    assert score.value is None


def test_a_blank_answer_is_not_asked_about() -> None:
    assert classified(AssertionError(), text=" \n").unparsed


def test_a_failure_of_one_question_leaves_it_unscored_and_that_of_all_is_raised() -> None:
    assert classified(ProviderError("it broke")).value is None
    with pytest.raises(AuthError):
        classified(AuthError("no key"))


def test_a_sample_without_its_request_is_refused() -> None:
    with pytest.raises(DataError) as raised:
        classified("safe", sample=Sample(id="s", fields={"question": "x"}))
    assert raised.value.code == "judge-field-missing"


@pytest.mark.parametrize("options", [{"event": "(?=x)"}, {"category": "S[0-9]+"}, {"clear": ""}])
def test_patterns_that_cannot_be_used(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as raised:
        classified("safe", **options)
    assert raised.value.code == "scorer-option-invalid"
