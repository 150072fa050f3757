"""`f1` and `similarity`: how close an answer is to the target, in its words or in its meaning.

`f1` is the token F1 of SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1): lower case, without
punctuation and the articles a, an and the; words are counted with multiplicity, and the best of several
references counts. Unlike SQuAD's, it treats Chinese and Japanese characters as words of their own, because
those scripts put no spaces between words. `similarity` compares the vectors of an embedding model.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from crossgrade.domain import ModelAnswer, Sample, Score
from crossgrade.errors import AuthError, ProviderError
from crossgrade.evaluate.scorers._contract import EmbedTexts, Grade, graded, unparsed
from crossgrade.evaluate.scorers._options import Options, references
from crossgrade.evaluate.scorers._text import considered, fold_case, visible

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
    """Return the cosine of two vectors, or None for unequal lengths, zero vectors, infinities and NaN."""
    if len(left) != len(right) or not all(map(math.isfinite, (*left, *right))):
        return None
    # The vectors are scaled first, so that squares neither overflow nor vanish.
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


_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\s{_IDEOGRAPHS}]+")
_ARTICLES = frozenset({"a", "an", "the"})


class F1Options(Options, frozen=True):
    """Options of `f1`."""

    ignore_articles: Annotated[bool, Meta(description="Leave out a, an and the, as SQuAD does.")] = True


def words(text: str, *, ignore_articles: bool = True) -> list[str]:
    """Return the words of a text that are compared, in order."""
    plain = "".join(c for c in fold_case(visible(text)) if not unicodedata.category(c).startswith("P"))
    return [word for word in _WORD.findall(plain) if not (ignore_articles and word in _ARTICLES)]


def token_f1(answer: list[str], reference: list[str]) -> float:
    """Return the harmonic mean of precision and recall over words; 1 if both have no words."""
    if not answer or not reference:
        return float(answer == reference)
    shared = (Counter(answer) & Counter(reference)).total()
    return 2 * shared / (len(answer) + len(reference))


def f1(options: F1Options) -> Grade:
    """Return the grader: the best token F1 over the targets, in [0, 1]."""

    def split(text: str) -> list[str]:
        return words(text, ignore_articles=options.ignore_articles)

    def grade(sample: Sample, text: str) -> Score:
        wanted = [split(reference) for reference in references("f1", sample)]
        if not text.strip():
            return unparsed("the answer is blank")
        seen = split(text)
        return graded(max(token_f1(seen, reference) for reference in wanted), text.strip())

    return grade
