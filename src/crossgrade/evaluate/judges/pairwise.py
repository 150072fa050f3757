"""`pairwise`: a model says which of two answers is better, asked in both orders.

Judges prefer the answer they read first, or last (Zheng et al. 2023, arXiv:2306.05685, section
3.3); asking both ways and counting a disagreement as a tie takes that preference out.
"""

from dataclasses import dataclass
from decimal import Decimal

from crossgrade.domain import ModelAnswer, Sample, Score
from crossgrade.evaluate.judges._judge import LONGEST_JUDGED, Judge, JudgeOptions, Opinion, material
from crossgrade.evaluate.judges._prompts import PAIRWISE, REFERENCE
from crossgrade.evaluate.judges.rubric import answer_schema
from crossgrade.evaluate.scorers import Means, considered, unparsed

KIND = "pairwise"


class PairwiseOptions(JudgeOptions, frozen=True):
    """Options of `pairwise`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairwiseScorer:
    """Scores two answers 1 and 0, or one half each for a tie or when the order decided.

    Both are unscored when either order gave no usable opinion. Each score carries half of what
    the two calls cost.
    """

    kind: str
    digest: str
    options: PairwiseOptions
    judge: Judge

    async def score_pair(
        self, sample: Sample, incumbent: ModelAnswer, candidate: ModelAnswer
    ) -> tuple[Score, Score]:
        """Score both answers; the judge is not asked where one is blank or both are the same."""
        parts = material(self.kind, self.options, sample)
        texts = [considered(answer.text)[:LONGEST_JUDGED] for answer in (incumbent, candidate)]
        blank = [not text.strip() for text in texts]
        if any(blank):
            return self._unasked(blank[0], blank[1])
        if texts[0].split() == texts[1].split():
            tie = Score(value=0.5, explanation="the answers are the same")
            return tie, tie
        first = await self._better(parts, texts[0], texts[1])
        second = await self._better(parts, texts[1], texts[0])
        return _both(first, second)

    def _unasked(self, incumbent_blank: bool, candidate_blank: bool) -> tuple[Score, Score]:  # noqa: FBT001  # a pair
        other = Score(value=1.0, explanation="the other answer is blank")
        blank = unparsed("the answer is blank")
        return blank if incumbent_blank else other, blank if candidate_blank else other

    async def _better(self, parts: dict[str, str], one: str, two: str) -> Opinion:
        told = PAIRWISE.format(
            criteria=self.options.criteria.strip(),
            reference=REFERENCE if self.options.show_target else "",
            fenced="{fenced}",
        )
        return await self.judge.opinion(told, parts | {"answer 1": one, "answer 2": two})


def _both(first: Opinion, second: Opinion) -> tuple[Score, Score]:
    """Return both scores from the opinion on (incumbent, candidate) and on the swapped order."""
    costs = (first.cost_usd, second.cost_usd)
    half = None if None in costs else sum((cost for cost in costs if cost is not None), Decimal(0)) / 2
    incumbent = {"1": 1.0, "2": 0.0, "tie": 0.5}.get((first.grade or "").lower())
    swapped = {"1": 0.0, "2": 1.0, "tie": 0.5}.get((second.grade or "").lower())
    if incumbent is None or swapped is None:
        why = f"no usable opinion from the judge; {first.reason if incumbent is None else second.reason}"
        unscored = Score(value=None, explanation=why, cost_usd=half)
        return unscored, unscored
    agreed = incumbent == swapped
    value = incumbent if agreed else 0.5
    why = first.reason if agreed else "the judge changed its mind when the order was swapped"
    seen = f"{first.grade}, swapped {second.grade}"
    return (
        Score(value=value, extracted=seen, explanation=why, cost_usd=half),
        Score(value=1 - value, extracted=seen, explanation=why, cost_usd=half),
    )


def pairwise(digest: str, options: PairwiseOptions, means: Means) -> PairwiseScorer:
    """Return the scorer; `means.ask` must be there."""
    assert means.ask is not None
    schema = answer_schema("better", {"type": "string", "enum": ["1", "2", "tie"]})
    judge = Judge(options=options, ask=means.ask, cost_of=means.cost_of, key="better", schema=schema)
    return PairwiseScorer(kind=KIND, digest=digest, options=options, judge=judge)
