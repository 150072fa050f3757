"""One way to score a text in these tests."""

from collections.abc import Callable

import anyio
import pytest

from crossgrade.domain import ModelAnswer, Sample, Score, ScorerSpec
from crossgrade.evaluate import build_scorer

Grade = Callable[..., Score]


@pytest.fixture
def grade() -> Grade:
    """Return a function that scores one text against one target."""

    def one(kind: str, target: object, text: str, **options: object) -> Score:
        scorer = build_scorer(ScorerSpec(kind=kind, options=options))
        return anyio.run(scorer.score, Sample(id="s1", fields={}, target=target), ModelAnswer(text=text))

    return one
