"""Models that score models: `judge` grades one answer by criteria, `pairwise` says which of two is better.

`pairwise` asks in both orders. Judges prefer the answer that they read first, or last (Zheng et al. 2023,
arXiv:2306.05685, section 3.3); counting a disagreement as a tie takes that preference out.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from crossgrade.domain import JSON, ModelAnswer, Sample, Score, sum_usd
from crossgrade.evaluate._judge import (
    BINARY,
    LONGEST_JUDGED,
    PAIRWISE,
    RATING,
    REFERENCE,
    RUBRIC,
    Judge,
    JudgeOptions,
    Opinion,
    material,
    read_opinion,
)
from crossgrade.evaluate.scorers import Means, considered, unparsed

__all__ = [
    "PAIRWISE",
    "PAIRWISE_KIND",
    "RUBRIC",
    "Opinion",
    "PairwiseOptions",
    "PairwiseScorer",
    "RubricOptions",
    "RubricScorer",
    "pairwise",
    "read_opinion",
    "rubric",
]

RUBRIC_KIND = "judge"


class RubricOptions(JudgeOptions, frozen=True):
    """Options of `judge`."""

    scale: Annotated[
        Literal["rating", "pass_fail"], Meta(description="A number from 1 to `best`, or pass and fail.")
    ] = "rating"
    best: Annotated[int, Meta(description="The best rating.", ge=2, le=100)] = 5
    zero_at: Annotated[
        float,
        Meta(
            description="The rating that scores 0: score = (rating - zero_at) / (best - zero_at), not "
            "below 0. A retention depends on it, so describe such an answer in the workload's `zero`."
        ),
    ] = 1.0

    def __post_init__(self) -> None:
        """Refuse a zero that is not below the best rating."""
        if not 0 <= self.zero_at < self.best:
            raise ValueError("`zero_at` must be at least 0 and below `best`")


@dataclass(frozen=True, slots=True, kw_only=True)
class RubricScorer:
    """Scores an answer by a judge's grade. Without a usable grade the answer is unscored, never 0."""

    kind: str
    digest: str
    options: RubricOptions
    judge: Judge

    async def score(self, sample: Sample, answer: ModelAnswer) -> Score:
        """Score one answer. A blank one scores 0 and the judge is not asked."""
        parts = material(self.kind, self.options, sample)
        text = considered(answer.text)
        if not text.strip():
            return unparsed("the answer is blank")
        opinion = await self.judge.opinion(
            instruction(self.options), parts | {"answer": text[:LONGEST_JUDGED]}
        )
        value = score_of(self.options, opinion.grade)
        why = opinion.reason or None
        if value is None:
            why = f"no usable grade from the judge; {opinion.reason}"
        return Score(value=value, extracted=opinion.grade, explanation=why, cost_usd=opinion.cost_usd)


def score_of(options: RubricOptions, grade: str | None) -> float | None:
    """Return a grade as a score in [0, 1], or None if it is not on the scale."""
    if grade is None:
        return None
    if options.scale == "pass_fail":
        return {"pass": 1.0, "fail": 0.0}.get(grade.lower())
    number, _, out_of = grade.partition("/")
    if out_of.strip() not in {"", str(options.best)}:
        return None
    try:
        rating = float(number)
    except ValueError:
        return None
    if not (math.isfinite(rating) and 1 <= rating <= options.best):
        return None
    return max(0.0, (rating - options.zero_at) / (options.best - options.zero_at))


def instruction(options: RubricOptions) -> str:
    """Return the instruction for the judge, with a placeholder `{fenced}` for the word of the marks."""
    rating = options.scale == "rating"
    return RUBRIC.format(
        criteria=options.criteria.strip(),
        scale=RATING.format(worst=1, best=options.best) if rating else BINARY,
        reference=REFERENCE if options.show_target else "",
        fenced="{fenced}",
        example="1" if rating else '"fail"',
    )


def rubric(digest: str, options: RubricOptions, means: Means) -> RubricScorer:
    """Return the scorer. `means.ask` must not be None."""
    assert means.ask is not None
    grade: JSON = {"type": "string", "enum": ["pass", "fail"]}
    if options.scale == "rating":
        grade = {"type": "integer", "minimum": 1, "maximum": options.best}
    judge = Judge(
        options=options,
        ask=means.ask,
        cost_of=means.cost_of,
        key="grade",
        schema=answer_schema("grade", grade),
        accepts=lambda grade: score_of(options, grade) is not None,
    )
    return RubricScorer(kind=RUBRIC_KIND, digest=digest, options=options, judge=judge)


def answer_schema(key: str, grade: JSON) -> JSON:
    """Return the JSON schema of a judge's answer: a reason, then the grade."""
    return {
        "type": "object",
        "properties": {"reason": {"type": "string"}, key: grade},
        "required": ["reason", key],
        "additionalProperties": False,
    }


PAIRWISE_KIND = "pairwise"


class PairwiseOptions(JudgeOptions, frozen=True):
    """Options of `pairwise`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairwiseScorer:
    """Scores two answers 1 and 0, or one half each for a tie or if the order decided.

    Both stay unscored if either order gave no usable opinion. Each score carries half of the cost of the two
    calls.
    """

    kind: str
    digest: str
    options: PairwiseOptions
    judge: Judge

    async def score_pair(
        self, sample: Sample, incumbent: ModelAnswer, candidate: ModelAnswer
    ) -> tuple[Score, Score]:
        """Score both answers. The judge is not asked if one is blank or both are the same."""
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


_BETTER = {"1": 1.0, "2": 0.0, "tie": 0.5}
"""What a judge may answer, with the score of the answer that it read first."""


def _both(first: Opinion, second: Opinion) -> tuple[Score, Score]:
    """Return both scores from the opinion on (incumbent, candidate) and on the swapped order."""
    both = sum_usd((first.cost_usd, second.cost_usd))
    half = None if both is None else both / 2
    incumbent, other = (_BETTER.get((each.grade or "").lower()) for each in (first, second))
    swapped = None if other is None else 1 - other
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
    """Return the scorer. `means.ask` must not be None."""
    assert means.ask is not None
    schema = answer_schema("better", {"type": "string", "enum": ["1", "2", "tie"]})
    judge = Judge(
        options=options,
        ask=means.ask,
        cost_of=means.cost_of,
        key="better",
        schema=schema,
        accepts=lambda grade: (grade or "").lower() in _BETTER,
    )
    return PairwiseScorer(kind=PAIRWISE_KIND, digest=digest, options=options, judge=judge)
