"""`judge`: a model grades each answer by criteria, on a declared scale."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from crossgrade.domain import JSON, ModelAnswer, Sample, Score
from crossgrade.evaluate.judges._judge import LONGEST_JUDGED, Judge, JudgeOptions, material
from crossgrade.evaluate.judges._prompts import BINARY, RATING, REFERENCE, RUBRIC
from crossgrade.evaluate.scorers import Means, considered, unparsed

KIND = "judge"


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
    """Scores an answer by a judge's grade; unscored, never 0, when there is no usable grade."""

    kind: str
    digest: str
    options: RubricOptions
    judge: Judge

    async def score(self, sample: Sample, answer: ModelAnswer) -> Score:
        """Score one answer; a blank one is worth 0 and the judge is not asked."""
        parts = material(self.kind, self.options, sample)
        text = considered(answer.text)
        if not text.strip():
            return unparsed("the answer is blank")
        opinion = await self.judge.opinion(
            instruction(self.options), parts | {"answer": text[:LONGEST_JUDGED]}
        )
        value = self._value(opinion.grade)
        why = opinion.reason or None
        if value is None:
            why = f"no usable grade from the judge; {opinion.reason}"
        return Score(value=value, extracted=opinion.grade, explanation=why, cost_usd=opinion.cost_usd)

    def _value(self, grade: str | None) -> float | None:
        """Return a grade as a score in [0, 1]; None for what is not on the scale."""
        if grade is None:
            return None
        if self.options.scale == "pass_fail":
            return {"pass": 1.0, "fail": 0.0}.get(grade.lower())
        number, _, out_of = grade.partition("/")
        if out_of.strip() not in {"", str(self.options.best)}:
            return None
        try:
            rating = float(number)
        except ValueError:
            return None
        if not (math.isfinite(rating) and 1 <= rating <= self.options.best):
            return None
        return max(0.0, (rating - self.options.zero_at) / (self.options.best - self.options.zero_at))


def instruction(options: RubricOptions) -> str:
    """Return what the judge is told, with a place `{fenced}` for the word of the marks."""
    rating = options.scale == "rating"
    return RUBRIC.format(
        criteria=options.criteria.strip(),
        scale=RATING.format(worst=1, best=options.best) if rating else BINARY,
        reference=REFERENCE if options.show_target else "",
        fenced="{fenced}",
        example="1" if rating else '"fail"',
    )


def rubric(digest: str, options: RubricOptions, means: Means) -> RubricScorer:
    """Return the scorer; `means.ask` must be there."""
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
    )
    return RubricScorer(kind=KIND, digest=digest, options=options, judge=judge)


def answer_schema(key: str, grade: JSON) -> JSON:
    """Return the JSON schema of a judge's answer: a reason, then the grade."""
    return {
        "type": "object",
        "properties": {"reason": {"type": "string"}, key: grade},
        "required": ["reason", key],
        "additionalProperties": False,
    }
