"""`similarity`: how close the meaning of the answer is to the target, by an embedding model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from crossgrade.domain import ModelAnswer, Sample, Score
from crossgrade.errors import AuthError, ProviderError
from crossgrade.evaluate.scorers._contract import EmbedTexts, unparsed
from crossgrade.evaluate.scorers._options import Options, references
from crossgrade.evaluate.scorers._text import considered

LONGEST_TEXT = 32_000


class SimilarityOptions(Options, frozen=True):
    """Options of `similarity`."""

    model: Annotated[
        str, Meta(description="The offer whose `/embeddings` endpoint returns the vectors.", min_length=1)
    ]
    unrelated: Annotated[
        float,
        Meta(
            description="The cosine of unrelated texts with this model, which becomes score 0. If it "
            "stays at 0, unrelated answers keep a part of the score and every retention looks better than "
            "it is.",
            ge=-1,
            lt=1,
        ),
    ] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityScorer:
    """Scores an answer by its largest cosine to a target, rescaled so that `unrelated` is 0.

    A failed embedding call leaves the answer unscored, at an unknown cost.
    """

    kind: str
    digest: str
    options: SimilarityOptions
    embed: EmbedTexts

    async def score(self, sample: Sample, answer: ModelAnswer) -> Score:
        """Score one answer."""
        wanted = references(self.kind, sample)
        text = considered(answer.text).strip()[:LONGEST_TEXT]
        if not text:
            return unparsed("the answer is blank")
        try:
            embedded = await self.embed(self.options.model, [text, *wanted])
        except AuthError:
            raise
        except ProviderError as error:
            return Score(value=None, explanation=f"not embedded: {error.message}"[:1000], cost_usd=None)
        seen, *targets = embedded.vectors
        cosines = [cosine(seen, target) for target in targets]
        if len(targets) != len(wanted) or None in cosines:
            return Score(
                value=None,
                explanation="the embedding endpoint gave unusable vectors",
                cost_usd=embedded.cost_usd,
            )
        best = max(value for value in cosines if value is not None)
        unrelated = self.options.unrelated
        value = min(1.0, max(0.0, (best - unrelated) / (1 - unrelated)))
        return Score(value=value, extracted=f"cosine {best:.4f}", cost_usd=embedded.cost_usd)


def cosine(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Return the cosine of two vectors in [-1, 1]; None for other shapes, zeros, infinities and NaN."""
    if len(left) != len(right) or not all(map(math.isfinite, (*left, *right))):
        return None
    # Scaled first, so that squares neither overflow nor vanish.
    left, right = _unit(left), _unit(right)
    return (
        max(-1.0, min(1.0, math.fsum(a * b for a, b in zip(left, right, strict=True))))
        if left and right
        else None
    )


def _unit(vector: Sequence[float]) -> list[float]:
    largest = max(map(abs, vector), default=0.0)
    if not largest:
        return []
    length = math.hypot(*(value / largest for value in vector))
    return [value / largest / length for value in vector]
