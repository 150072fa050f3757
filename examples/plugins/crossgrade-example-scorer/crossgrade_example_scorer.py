"""Two scorers: a kind with options of its own, and a plain function for the kind `python`."""

from typing import Annotated

from msgspec import Meta

from crossgrade.domain import ModelAnswer, Sample, Score
from crossgrade.evaluate import ScorerKind
from crossgrade.evaluate.scorers import Means, Options, Scorer, TextScorer


class BrevityOptions(Options, frozen=True):
    """Options of `brevity`."""

    words: Annotated[int, Meta(description="Words up to which an answer is short enough.", ge=1)] = 50


def build(digest: str, options: BrevityOptions, _: Means) -> Scorer:
    """Return the scorer: 1 up to so many words, and the less the longer an answer is."""

    def grade(_sample: Sample, text: str) -> Score:
        words = len(text.split())
        return Score(value=min(1.0, options.words / max(words, 1)), extracted=str(words))

    return TextScorer(kind="brevity", digest=digest, grade=grade)


BREVITY = ScorerKind(
    name="brevity",
    summary="The answer is short.",
    options=BrevityOptions,
    build=build,
    version=1,
    needs=(),
    target=False,
)


def polite(_: Sample, answer: ModelAnswer, *, word: str = "please") -> bool:
    """Return whether an answer has a polite word: `{kind: python, options: {function: polite}}`."""
    return word in answer.text.lower()
