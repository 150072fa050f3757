"""Two answers against each other, asked in both orders."""

from decimal import Decimal

import anyio
import pytest

from crossgrade.domain import ModelAnswer, ModelRequest, Sample, ScorerSpec
from crossgrade.errors import UpstreamError
from crossgrade.evaluate import build_scorer

SAMPLE = Sample(id="s1", fields={"input": "Name a cat."})


def compared(*script, incumbent="Garfield", candidate="Rex", cost_of=lambda _, __: Decimal("0.01")):
    """Return both scores, and what the judge was asked."""
    said, asked = list(script), []

    async def ask(request: ModelRequest, **_: object) -> ModelAnswer:
        asked.append(request.messages[1].content)
        answer = said.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return ModelAnswer(text=answer)

    spec = ScorerSpec(kind="pairwise", options={"model": "big", "criteria": "It is a cat."})
    scorer = build_scorer(spec, ask=ask, cost_of=cost_of)
    scores = anyio.run(scorer.score_pair, SAMPLE, ModelAnswer(text=incumbent), ModelAnswer(text=candidate))
    return scores, asked


def say(better: str) -> str:
    return f'{{"reason": "r", "better": "{better}"}}'


@pytest.mark.parametrize(
    ("first", "second", "values"),
    [("1", "2", (1, 0)), ("2", "1", (0, 1)), ("tie", "tie", (0.5, 0.5)), ("1", "1", (0.5, 0.5)), ("2", "2", (0.5, 0.5)),
     ("1", "tie", (0.5, 0.5))],
)  # fmt: skip
def test_both_orders_must_agree(first, second, values) -> None:
    scores, asked = compared(say(first), say(second))
    assert tuple(score.value for score in scores) == values
    assert [score.cost_usd for score in scores] == [Decimal("0.01")] * 2
    assert asked[0].index("Garfield") < asked[0].index("Rex")
    assert asked[1].index("Rex") < asked[1].index("Garfield")


@pytest.mark.parametrize("script", [(say("1"), "no idea"), ("no idea", say("1")), (say("3"), say("1")),
                                    (UpstreamError("down"), say("1"))])  # fmt: skip
def test_one_missing_opinion_leaves_both_unscored(script) -> None:
    scores, _ = compared(*script)
    assert [score.value for score in scores] == [None, None]
    assert scores[0].explanation.startswith("no usable opinion from the judge")


def test_cost_is_unknown_when_a_part_is() -> None:
    scores, _ = compared(say("1"), say("2"), cost_of=None)
    assert [score.cost_usd for score in scores] == [None, None]


def test_the_judge_is_not_asked_what_is_clear() -> None:
    for incumbent, candidate, values in (
        ("same  answer", "same answer\n", (0.5, 0.5)), (" ", "Rex", (0, 1)), ("Tom", "", (1, 0)), ("", "", (0, 0)),
    ):  # fmt: skip
        scores, asked = compared(incumbent=incumbent, candidate=candidate)
        assert tuple(score.value for score in scores) == values
        assert not asked
        assert [score.cost_usd for score in scores] == [0, 0]
